"""Devices and processes: the only place that knows `pmap`, meshes and collectives.

Letters: P networks, D devices of all processes, K networks per device.

    leaves [P, ...]      a population, as checkpoints hold it
    leaves [D, K, ...]   its rows, one per device, as a pmapped update takes them

Arrays are global: every process sees all their shapes and holds the rows of its own devices.
This file handles pytrees without knowing their meaning. To exchange `pmap` for `jit` with
`NamedSharding`, change `Layout.compile` and `on_devices` here and the collectives in `split`.
"""

import contextlib
import dataclasses
import functools
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax._src import pmap as jax_pmap  # only this drops one function from pmap's cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sicjax.devices.hardware import all_devices
from sicjax.devices.split import AXIS, WHOLE, Split
from sicjax.errors import ConfigError

Tree = Any
KEPT_FUNCTIONS = 16  # mapped functions whose programs stay compiled: two for each size of a network


@dataclasses.dataclass(frozen=True)
class Layout:
    """The distribution of a population's networks over devices.

    With `batch` every device holds all networks and computes its share of each network's batch.
    Otherwise each device holds its own share of the networks; the last rows may be copies that fill
    up the last device.
    """

    num_networks: int
    devices: tuple[jax.Device, ...]
    batch: bool = False

    @property
    def per_device(self) -> int:
        """K, the number of networks on each device."""
        return self.num_networks if self.batch else -(-self.num_networks // len(self.devices))

    @property
    def split(self) -> Split:
        """The way each network's batch is split over the devices."""
        return Split(len(self.devices)) if self.batch else WHOLE

    def rows(self, tree: Tree) -> Tree:
        """Leaves [P, ...] -> [D, K, ...]."""
        return _rows(self, tree)

    def population(self, rows: Tree) -> Tree:
        """Leaves [D, K, ...] -> [P, ...], spread as evenly over the devices as shapes allow."""
        return _population(self, rows)

    def shapes(self, population: Tree) -> Tree:
        """Return shapes [P, ...] with the shardings of `population`, to restore into."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.evenly(leaf)),
            population,
        )

    def everywhere(self, number: int) -> Array:
        """Return an integer for every device, [D]."""
        return _everywhere(self, number)

    def to_host(self, rows: Tree) -> Tree:
        """Leaves [D, K, ...] -> NumPy [P, ...], the same on every process."""
        whole = rows if jax.process_count() == 1 else _replicated(self, rows)
        return _flat(self, jax.device_get(whole))

    def network(self, rows: Tree, index: int) -> Tree:
        """Leaves [D, K, ...] -> NumPy [...] of one network, the same on every process."""
        return jax.device_get(_network(self, rows, *divmod(index, self.per_device)))

    def compile(self, function: Callable, *rows: Tree, donate: bool = False):
        """Compile `function` of leaves [K, ...] for leaves [D, K, ...].

        Args:
            function: what each device computes.
            rows: its arguments, or their shapes.
            donate: the results may take the memory of the first argument.

        Raises:
            ConfigError: under `jax.disable_jit`.
        """
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            raise ConfigError(
                "jax_disable_jit is on, but training needs compiled programs; turn it off for"
                " sicjax.train (losses, rollouts and maps work without)"
            )
        mapped = on_devices(function, self.devices, donate=donate)
        return mapped.lower(*jax.tree.map(self._local, rows)).compile()

    @property
    def mesh(self) -> Mesh:
        """The devices, in one row."""
        return Mesh(np.array(self.devices), (AXIS,))

    def sharding(self, *axes: str | None) -> NamedSharding:
        """Return the sharding of the named axes; without names, every device has everything."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def evenly(self, leaf: Any) -> NamedSharding:
        """Shard along networks if D divides their number, otherwise along the longest such axis."""
        number = len(self.devices)
        fits = [axis for axis, size in enumerate(leaf.shape) if size and size % number == 0]
        if not fits:
            return self.sharding()
        axis = 0 if fits[0] == 0 else max(fits, key=lambda axis: leaf.shape[axis])
        return self.sharding(*[None] * axis, AXIS)

    def _local(self, leaf: jax.ShapeDtypeStruct) -> Any:
        """Return what `pmap` needs to compile: with several processes, arrays of the local rows."""
        if jax.process_count() == 1:
            return leaf
        mine = len(self.mesh.local_devices)
        return np.broadcast_to(np.zeros((), leaf.dtype), (mine, *leaf.shape[1:]))


def make_layout(
    num_networks: int, parallel: str = "networks", devices: int | None = None,
    most: int | None = None,
) -> Layout:  # fmt: skip
    """Return the layout of a population.

    Args:
        num_networks: P.
        parallel: "networks": each device has its own; "batch": all devices work on each network;
            "auto": "networks" if no device stays idle, otherwise "batch".
        devices: D; by default all, but in a single process at most P, unless batches are split. On
            a CPU a single network gets two devices, one of them for a copy. XLA optimises a program
            for several devices differently, and the network must be bit for bit the same as in a
            population.
        most: largest number of CPU devices over which splitting a batch is worth it; by default
            all.
    """
    found = all_devices()
    batch = parallel == "batch" or (parallel == "auto" and num_networks < len(found))
    if devices is None:
        on_cpu, wanted = found[0].platform == "cpu", len(found)
        if not batch:
            wanted = max(num_networks, 2 if on_cpu else 1)
        elif on_cpu and most is not None:
            wanted = most
        devices = min(len(found), wanted) if jax.process_count() == 1 else len(found)
    return Layout(num_networks, tuple(found[:devices]), batch and devices > 1)


@functools.lru_cache(maxsize=KEPT_FUNCTIONS)
def on_devices(function: Callable, devices: tuple[jax.Device, ...], *, donate: bool = False) -> Any:
    """Map a function of leaves [K, ...] over devices: [D, K, ...]. Argument 0 may be donated.

    The same function gives the same result, so JAX compiles it once for the same shapes. The
    programs of the last few functions are kept.
    """
    mapped = jax.pmap(function, AXIS, devices=devices, donate_argnums=(0,) if donate else ())
    # pmap's own cache would hold every program until the process ends. A network takes about 900
    # memory maps, and Linux allows a process 65,530.
    with contextlib.suppress(AttributeError):  # another version of JAX may keep them elsewhere
        forget = jax_pmap._cached_shard_map.evict_function
        weakref.finalize(mapped, forget, function).atexit = False
    return mapped


# Each is compiled once per layout and tree, and names the sharding of its results inside.


@partial(jax.jit, static_argnums=0)
def _rows(layout: Layout, tree: Tree) -> Tree:
    number, missing = len(layout.devices), 0
    if not layout.batch:
        missing = number * layout.per_device - layout.num_networks

    def place(leaf):
        if layout.batch:
            rows = jnp.broadcast_to(leaf, (number, *leaf.shape))
        else:
            padded = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], missing, axis=0)])
            rows = padded.reshape(number, -1, *leaf.shape[1:])
        return lax.with_sharding_constraint(rows, layout.sharding(AXIS))

    return jax.tree.map(place, tree)


@partial(jax.jit, static_argnums=0)
def _population(layout: Layout, rows: Tree) -> Tree:
    return jax.tree.map(
        lambda leaf: lax.with_sharding_constraint(leaf, layout.evenly(leaf)), _flat(layout, rows)
    )


@partial(jax.jit, static_argnums=0)
def _everywhere(layout: Layout, number: int) -> Array:
    spread = jnp.full(len(layout.devices), number, jnp.int32)
    return lax.with_sharding_constraint(spread, layout.sharding(AXIS))


@partial(jax.jit, static_argnums=0)
def _replicated(layout: Layout, tree: Tree) -> Tree:
    return lax.with_sharding_constraint(tree, layout.sharding())


@partial(jax.jit, static_argnums=0)
def _network(layout: Layout, rows: Tree, row: int, place: int) -> Tree:
    one = jax.tree.map(lambda leaf: leaf[row, place], rows)
    return lax.with_sharding_constraint(one, layout.sharding())


def _flat(layout: Layout, rows: Tree) -> Tree:
    if layout.batch:
        return jax.tree.map(lambda leaf: leaf[0], rows)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: layout.num_networks], rows)
