"""Split the work on one network over devices, with the collectives of a compiled update."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Tree = Any
AXIS = "devices"


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of the work on one network into equal shares; one share needs no communication.

    Each device gathers the states of all devices and computes its share of a sum. The `total` of
    the shares' gradients is the gradient of the whole sum, because the transpose of gathering is
    adding.
    """

    count: int = 1

    def index(self) -> Array | int:
        """Return the number of this device's share."""
        return lax.axis_index(AXIS) if self.count > 1 else 0

    def total(self, tree: Tree) -> Tree:
        """Return the sum over devices."""
        return lax.psum(tree, AXIS) if self.count > 1 else tree

    def share(self, value: Array) -> Array:
        """Return an equal share of a value that every device has."""
        return value / self.count if self.count > 1 else value

    def take(self, rows: Array) -> Array:
        """Return this device's rows of [B, ...]; each gets equally many, the last may be copies."""
        if self.count == 1:
            return rows
        size = -(-rows.shape[0] // self.count)
        padding = jnp.repeat(rows[-1:], size * self.count - rows.shape[0], axis=0)
        padded = jnp.concatenate([rows, padding])
        return lax.dynamic_slice_in_dim(padded, self.index() * size, size)

    def every(self, rows: np.ndarray) -> np.ndarray | Array:
        """Return every D-th row, starting at this device's number; D must divide their number."""
        if self.count == 1:
            return rows
        return jnp.asarray(rows).reshape(-1, self.count, *rows.shape[1:])[:, self.index()]

    def gathered(self, rows: Array, number: int) -> Array:
        """Return the rows that `take` distributed, [number, ...], without the copies."""
        if self.count == 1:
            return rows
        return lax.all_gather(rows, AXIS, tiled=True)[:number]


WHOLE = Split()
