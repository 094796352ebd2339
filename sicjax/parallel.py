"""Devices: the only place that knows `pmap`. Pytrees in, pytrees out.

Letters: P networks, D devices, K = ceil(P / D) networks per device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any
_AXIS = "devices"


def num_devices(num_networks: int) -> int:
    """D: every local device, or fewer if there are fewer networks."""
    return min(jax.local_device_count(), num_networks)


def spread(tree: Tree, devices: int) -> Tree:
    """Leaves [P, ...] -> [D, K, ...], one row a device; missing networks copy the last one."""

    def spread_leaf(leaf):
        leaf = jnp.asarray(leaf)
        padding = jnp.repeat(leaf[-1:], -leaf.shape[0] % devices, axis=0)
        return jnp.concatenate([leaf, padding]).reshape(devices, -1, *leaf.shape[1:])

    # Through `pmap`, so that the rows lie as a pmapped step returns them: one compilation.
    place = jax.pmap(lambda rows: rows, _AXIS, devices=jax.local_devices()[:devices])
    return place(jax.tree.map(spread_leaf, tree))


def gather(tree: Tree, num_networks: int) -> Tree:
    """Leaves [D, K, ...] -> [P, ...], the copies left out."""
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_networks], jax.device_get(tree)
    )


def on_devices(function: Callable, devices: int, *, static_argnums: tuple[int, ...] = ()) -> Any:
    """`function` of leaves [K, ...] -> one of leaves [D, K, ...]; the first argument is donated."""
    return jax.pmap(
        function,
        _AXIS,
        devices=jax.local_devices()[:devices],
        donate_argnums=(0,),
        static_broadcasted_argnums=static_argnums,
    )
