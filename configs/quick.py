"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

Smaller than the paper: B 32 instead of 130, N 64 instead of 128, H 64. The capacity weight and the
open choices are those of `full.py`, except for three that go together: steps of at most 10 cm
instead of 15, which shrinks all lengths but sigma_x; of those, steps no longer than 6.7 mm don't
count in conformal isometry, whose expectation is infinite with them (docs/method.md), so that nine
units in ten stay active; and conformal isometry weighs 0.2.
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("full")
    config.num_steps = 7000
    config.data.num_trajectories = 32
    config.data.max_velocity = 0.1
    config.model.num_units = 64
    config.loss.min_step = 0.0067
    config.loss.conformal_isometry = 0.2
    return config
