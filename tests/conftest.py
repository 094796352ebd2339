"""Settings for all tests: two fake CPU devices, and no surprises from JAX."""

import contextlib
import gc
import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)

import jax
import pytest


@pytest.fixture(autouse=True, scope="session")
def compilation_cache(tmp_path_factory):
    """Compile programs that several tests share once, in a cache of this session's own.

    JAX_COMPILATION_CACHE_DIR names another one, which several sessions may share.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(tmp_path_factory.mktemp("compiled"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True, scope="module")
def programs_are_let_go():
    """Each compiled program maps memory, and a process has so many maps: 65,530 on Linux."""
    yield
    jax.clear_caches()
    gc.collect()


MATHS = {
    "test_accelerators", "test_conformal_isometry", "test_losses", "test_model", "test_naive",
    "test_trajectories", "test_training",
}  # fmt: skip


@pytest.fixture(autouse=True)
def axes_are_written_down(request):
    """The mathematics broadcasts over axes that are there; a user's own parts may do else."""
    strict = request.module.__name__.rpartition(".")[2] in MATHS
    with jax.numpy_rank_promotion("raise") if strict else contextlib.nullcontext():
        yield


@pytest.fixture
def x64():
    """Double precision inside one test."""
    with jax.enable_x64(True):
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
