"""The training of the tests: all share one shape, because XLA takes seconds for each other one.

It is a config file, too: `--config=tests/tiny.py`.
"""

from pathlib import Path

from sicjax.config import default

PATH = Path(__file__)


def get_config():
    """Return a config of two networks and six updates; every second one is logged and saved."""
    config = default()
    config.num_networks, config.num_steps = 2, 6
    config.log_every = config.checkpoint_every = config.steps_per_dispatch = 2
    config.report = False
    config.data.num_trajectories, config.data.trajectory_length = 4, 6
    config.model.num_units, config.model.hidden_width = 8, 4
    config.optimizer.accumulation, config.optimizer.learning_rate = 1, 1e-3
    config.optimizer.schedule = "constant"
    return config
