"""Settings for all tests: two fake CPU devices, and no surprises from JAX."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "allow")


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
