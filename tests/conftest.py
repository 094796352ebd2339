"""Settings for all tests: two fake CPU devices, caches of the session's own, strict JAX."""

import gc
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
# One folder for what the session's workers, and the programs that tests start, compile and draw
# with: each program is compiled once, and the developer's own ~/.cache is neither read nor filled.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sicjax-tests-")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.environ["XDG_CACHE_HOME"] + "/compiled")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
import pytest

# The package broadcasts over axes that are there, and only those.
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_unconfigure(config):
    """Remove the session's caches, once its workers are done."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def programs_are_let_go():
    """Each compiled program maps memory, and a process has so many maps: 65,530 on Linux."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def x64():
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def strict_types():
    """No promotion of types inside one test: what meets has one type."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def as_jax_is():
    """JAX's own promotion of ranks and types, for code such as users write."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def tiny_config():
    """A config that trains in a second."""
    from sicjax.config import default

    config = default()
    config.num_steps = 6
    config.log_every = 2
    config.checkpoint_every = 2
    config.steps_per_dispatch = 2
    config.report = False
    config.data.num_trajectories = 4
    config.data.trajectory_length = 6
    config.model.num_units = 8
    config.model.hidden_width = 4
    config.optimizer.accumulation = 1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    return config
