"""Paper scale: B 130, T 60, N 128, then walks three times as long.

    python -m sicjax.main --config=configs/full.py

Frozen before its seeds are drawn; what came of them follows.
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 9500
    config.data.num_trajectories = 130
    config.model.num_units = 128
    config.loss.conformal_isometry = 0.15
    config.optimizer.learning_rate = 7e-4
    config.stages = {
        "walks": {"num_steps": 7000},
        "long walks": {
            "num_steps": 2500, "data.trajectory_length": 180, "data.num_trajectories": 43,
            "loss.invariance": 0.25, "loss.capacity": 0.08, "loss.conformal_isometry": 0.2,
            "loss.sigma_x": 0.07, "optimizer.learning_rate": 3.5e-4, "optimizer.warmup_steps": 200,
        },
    }  # fmt: skip
    config.evaluation.verdict_box = 4.0
    return config
