"""A network that holds its place: two modules of like size, trained slower, then on longer walks.

    python -m sicjax.main --config=configs/long_walks.py

Differs from `quick.py` in two things: the rate is 3e-4, a third, for 30,000 steps; then come 8,000
steps of walks three times as long, T 180, B 12, which stretch both lattices by 1.4 and remove
drift as nothing else does. Verdicts come from a box of 4 m.
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 38000
    config.optimizer.learning_rate = 3e-4
    config.stages = {
        "walks": {"num_steps": 30000},
        "long walks": {
            "num_steps": 8000, "data.trajectory_length": 180, "data.num_trajectories": 12,
        },
    }  # fmt: skip
    config.evaluation.verdict_box = 4.0
    return config
