"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

RESULT

Smaller than the paper: B*T 1,920 instead of 7,800, N 64 instead of 128, H 64. The capacity weight
and the open choices are those of `full.py`, but for three, each ours. Steps no longer than 1 cm
don't count in conformal isometry, whose expectation is infinite with them (docs/method.md), and it
weighs half as much: all units stay active. And walks are short at first, T 20: the lattice that
forms on them gives more cells to the finer module than one that forms at T 60 at once.
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("full")
    config.model.num_units = 64
    config.data.num_trajectories = 32
    config.loss.min_step = 0.01
    config.loss.conformal_isometry = 0.05
    config.num_steps = 12000
    config.stages = {
        "short walks": {
            "num_steps": 4000, "data.trajectory_length": 20, "data.num_trajectories": 96,
        },
        "walks": {"num_steps": 8000, "optimizer.learning_rate": 7e-4},
    }  # fmt: skip
    return config
