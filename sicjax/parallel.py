"""Devices: the only place that knows `pmap`. Pytrees in, pytrees out.

Letters: P networks, D devices, K = ceil(P / D) networks per device.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
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


def unseen_accelerator(
    devices: Path = Path("/dev"), environment: Mapping[str, str] = os.environ
) -> str | None:
    """One line on a GPU or TPU of this machine that JAX doesn't use; None if all is well.

    Args:
        devices: folder of the device files.
        environment: variables; one that keeps JAX off the device on purpose is respected.
    """
    chosen = environment.get("JAX_PLATFORMS") or jax.config.values.get("jax_platforms")
    if jax.default_backend() != "cpu" or chosen:
        return None
    install = 'JAX runs on the CPU; to use it: python -m pip install "jax[{}]=={}"'
    if any(devices.glob("nvidia[0-9]*")) and environment.get("CUDA_VISIBLE_DEVICES", "0") not in (
        "", "-1",
    ):  # fmt: skip
        return "there is an NVIDIA GPU, but " + install.format("cuda13", jax.__version__)
    if any(devices.glob("accel[0-9]*")) or "TPU_ACCELERATOR_TYPE" in environment:
        return "there is a TPU, but " + install.format("tpu", jax.__version__)
    return None
