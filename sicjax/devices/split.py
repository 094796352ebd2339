"""How the work on one network is split over devices; the collectives of a compiled step."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Tree = Any
AXIS = "devices"


@dataclasses.dataclass(frozen=True)
class Split:
    """How the work on one network is split over devices; with one share nothing is communicated.

    Each device computes its share of a sum. The gradient of the share of every device, with the
    states gathered inside, is that of the whole sum by `total`: gathering is transposed to adding.
    """

    count: int = 1

    def index(self) -> Array | int:
        """Which share this device has."""
        return lax.axis_index(AXIS) if self.count > 1 else 0

    def total(self, tree: Tree) -> Tree:
        """The sum over devices of what each has."""
        return lax.psum(tree, AXIS) if self.count > 1 else tree

    def share(self, value: Array) -> Array:
        """An equal share of what every device has whole."""
        return value / self.count if self.count > 1 else value

    def take(self, rows: Array) -> Array:
        """The rows of [B, ...] of this device, equally many for each; the last may be copies."""
        if self.count == 1:
            return rows
        size = -(-rows.shape[0] // self.count)
        padding = jnp.repeat(rows[-1:], size * self.count - rows.shape[0], axis=0)
        padded = jnp.concatenate([rows, padding])
        return lax.dynamic_slice_in_dim(padded, self.index() * size, size)

    def every(self, rows: np.ndarray) -> np.ndarray | Array:
        """Every D-th row, from this device's own on; of a multiple of D."""
        if self.count == 1:
            return rows
        return jnp.asarray(rows).reshape(-1, self.count, *rows.shape[1:])[:, self.index()]

    def gathered(self, rows: Array, number: int) -> Array:
        """What `take` took apart, [number, ...] without the copies."""
        if self.count == 1:
            return rows
        return lax.all_gather(rows, AXIS, tiled=True)[:number]


WHOLE = Split()
