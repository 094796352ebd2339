"""The processes of a run: joining, agreeing and leaving."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from sicjax.errors import PeerError


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
