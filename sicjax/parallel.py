"""Devices and processes: the only place that knows `pmap`, meshes and collectives.

Letters: P networks, D devices of all processes, K networks per device.

    leaves [P, ...]      a population, as checkpoints hold it
    leaves [D, K, ...]   its rows, one a device, as a pmapped step takes them

Arrays are global: every process sees all their shapes and holds the rows of its own devices.
Knows pytrees, not what they mean.
"""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sicjax.config import ConfigError

Tree = Any
_AXIS = "devices"


@dataclasses.dataclass(frozen=True)
class Split:
    """How the work on one network is split over devices; with one share nothing is communicated.

    Each device computes its share of a sum. The gradient of the share of every device, with the
    states gathered inside, is that of the whole sum by `total`: gathering is transposed to adding.
    """

    count: int = 1

    def index(self) -> Array | int:
        """Which share this device has."""
        return lax.axis_index(_AXIS) if self.count > 1 else 0

    def total(self, tree: Tree) -> Tree:
        """The sum over devices of what each has."""
        return lax.psum(tree, _AXIS) if self.count > 1 else tree

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
        return lax.all_gather(rows, _AXIS, tiled=True)[:number]


WHOLE = Split()


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the networks of a population live.

    With `batch` every device holds all networks and takes its share of each one's batch; else
    each device holds its own share of the networks, and the last ones may be masked copies.
    """

    num_networks: int
    devices: tuple[jax.Device, ...]
    batch: bool = False

    @property
    def per_device(self) -> int:
        """K."""
        return self.num_networks if self.batch else -(-self.num_networks // len(self.devices))

    @property
    def split(self) -> Split:
        """How each network's batch is split."""
        return Split(len(self.devices)) if self.batch else WHOLE

    def rows(self, tree: Tree) -> Tree:
        """Leaves [P, ...] -> [D, K, ...]."""
        return _rows(self, tree)

    def population(self, rows: Tree) -> Tree:
        """Leaves [D, K, ...] -> [P, ...], spread over the devices as evenly as shapes allow."""
        return _population(self, rows)

    def shapes(self, population: Tree) -> Tree:
        """Shapes [P, ...] with the places that `population` gives them, to restore into."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.evenly(leaf)),
            population,
        )

    def everywhere(self, number: int) -> Array:
        """An integer for every device, [D]."""
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
            function: to be mapped over devices.
            rows: its arguments, or their shapes.
            donate: the first argument's memory may be used for the results.

        Raises:
            ConfigError: under `jax.disable_jit`.
        """
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            raise ConfigError(
                "jax_disable_jit is on: training is made of compiled programs; turn it off for"
                " sicjax.train (losses, rollouts and maps do without compiling)"
            )
        mapped = on_devices(function, self.devices, donate=donate)
        return mapped.lower(*jax.tree.map(self._local, rows)).compile()

    @property
    def mesh(self) -> Mesh:
        """The devices in a row."""
        return Mesh(np.array(self.devices), (_AXIS,))

    def sharding(self, *axes: str | None) -> NamedSharding:
        """Array axes spread over the devices; without any, whole on each."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def evenly(self, leaf: Any) -> NamedSharding:
        """Along networks if D divides them, else the longest axis it does; whole if none."""
        number = len(self.devices)
        fits = [axis for axis, size in enumerate(leaf.shape) if size and size % number == 0]
        if not fits:
            return self.sharding()
        axis = 0 if fits[0] == 0 else max(fits, key=lambda axis: leaf.shape[axis])
        return self.sharding(*[None] * axis, _AXIS)

    def _local(self, leaf: jax.ShapeDtypeStruct) -> Any:
        """What `pmap` wants to see of rows in order to compile: those of this process.

        It can't do with shapes where there are several processes.
        """
        if jax.process_count() == 1:
            return leaf
        mine = len(self.mesh.local_devices)
        return np.broadcast_to(np.zeros((), leaf.dtype), (mine, *leaf.shape[1:]))


def make_layout(
    num_networks: int, parallel: str = "networks", devices: int | None = None,
    most: int | None = None,
) -> Layout:  # fmt: skip
    """The layout of a population.

    Args:
        num_networks: P.
        parallel: "networks", each device its own, "batch", all devices on each network, or "auto",
            the first if no device stays idle, else the second.
        devices: D; by default all there are, of one process no more than there are networks. A CPU
            gives a lone network two, one for a masked copy: XLA compiles for several devices along
            another path, and the network shall be the same to the bit as in a population.
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


def all_devices() -> list[jax.Device]:
    """Every device of every process.

    Raises:
        ConfigError: JAX has no backend as JAX_PLATFORMS asks for.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter, without a word, of "cuda"
        said = " ".join(str(error).partition("(set JAX_PLATFORMS")[0].split())
        asked = jax.config.values.get("jax_platforms")
        accelerator = {"cuda": "cuda13", "gpu": "cuda13", "tpu": "tpu"}.get(str(asked))
        raise ConfigError(
            f"JAX_PLATFORMS={asked}: {said or 'JAX finds no such device'}; unset it"
            + (f', or python -m pip install "jax[{accelerator}]"' if accelerator else "")
        ) from None


def on_devices(function: Callable, devices: tuple[jax.Device, ...], *, donate: bool = False) -> Any:
    """`function` of leaves [K, ...] -> one of leaves [D, K, ...]; the first may be donated."""
    return jax.pmap(function, _AXIS, devices=devices, donate_argnums=(0,) if donate else ())


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


def device_bytes(compiled: Any) -> int:
    """Bytes that a compiled program needs on each device: arguments, results, workspace."""
    found = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes + found.output_size_in_bytes
        - found.alias_size_in_bytes + found.temp_size_in_bytes
    )  # fmt: skip


def device_limit(layout: Layout) -> float | None:
    """Bytes that a device of this process has to give; None if it doesn't tell.

    Those of a CPU that the layout uses share what the machine, or its container, has free.
    """
    mine = layout.mesh.local_devices
    if stats := mine[0].memory_stats():
        return stats.get("bytes_limit")
    free = []
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())
        free.append(most - int((group / "memory.current").read_text()))
    return min(free) / len(mine) if free else None


class PeerError(RuntimeError):
    """Another process of the run has stopped; `exit_code` is what it ends with."""

    def __init__(self, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__("another process of this run has stopped; its output says why")


@contextlib.contextmanager
def on_first() -> Iterator[bool]:
    """Whether this is process 0; what it raises inside ends the others too. All must enter.

    Raises:
        PeerError: on the others.
    """
    error: Exception | None = None
    try:
        yield is_first()
    except Exception as raised:
        error = raised
    if exit_code := from_first(getattr(error, "exit_code", 1) if error else 0):
        raise error or PeerError(exit_code)


def is_first() -> bool:
    """Whether this is process 0, which writes logs and reports."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Whether this is the only process of its run."""
    return jax.process_count() == 1


def largest(number: int) -> int:
    """The largest of the numbers that the processes give; all must ask."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def from_first(number: int) -> int:
    """The number that process 0 gives; all must ask."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def start_processes(**where: Any) -> None:
    """Join the other processes of a run (`jax.distributed.initialize`).

    When one dies the others end, within half a minute rather than jax's default of 100 s.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours
    jax.distributed.initialize(heartbeat_timeout_seconds=20, **where)


def use_all_cores(environment: Mapping[str, str] = os.environ) -> None:
    """Make each core of the CPU a device: one device alone spends several cores badly.

    Only before JAX's first computation; a number of devices that the user has set stays.
    """
    set_by_user = "xla_force_host_platform_device_count" in environment.get("XLA_FLAGS", "")
    if not set_by_user and jax.config.values["jax_num_cpu_devices"] < 1:
        with contextlib.suppress(RuntimeError):  # JAX has computed already
            jax.config.update("jax_num_cpu_devices", available_cores())


def available_cores(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use, by its affinity and its container's quota; at least 1.

    Args:
        group: folder of the control group, whose cpu.max says how much time it gets of how much.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no quota
        quota, period = (group / "cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(cores, 1)


def has_other_processes(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several that SLURM or a TPU pod has started."""
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # set by srun, not by sbatch
        return True
    if environment.get("JAX_PLATFORMS", "tpu") != "tpu":
        return False
    on_tpu = bool(list(Path("/dev").glob("accel[0-9]*")) or list(Path("/dev").glob("vfio/[0-9]*")))
    return on_tpu and importlib.util.find_spec("libtpu") is not None


def leave_processes() -> None:
    """Part from the other processes: from here on each is alone with its devices."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


# Jitted once for each layout and tree, with the places of the results named inside.


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
        return lax.with_sharding_constraint(rows, layout.sharding(_AXIS))

    return jax.tree.map(place, tree)


@partial(jax.jit, static_argnums=0)
def _population(layout: Layout, rows: Tree) -> Tree:
    return jax.tree.map(
        lambda leaf: lax.with_sharding_constraint(leaf, layout.evenly(leaf)), _flat(layout, rows)
    )


@partial(jax.jit, static_argnums=0)
def _everywhere(layout: Layout, number: int) -> Array:
    spread = jnp.full(len(layout.devices), number, jnp.int32)
    return lax.with_sharding_constraint(spread, layout.sharding(_AXIS))


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
