"""Three modules of grid cells: an invariance weight of 0.07, more units, slower, then longer walks.

    python -m sicjax.main --config=configs/modules.py
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 38000
    config.data.max_velocity = 0.15
    config.model.num_units = 112
    config.loss.min_step = 0.01
    config.loss.invariance = 0.07
    config.loss.capacity = 0.14
    config.loss.conformal_isometry = 0.025
    config.loss.sigma_g = 0.36
    config.loss.sigma_x = 0.055
    config.optimizer.learning_rate = 4e-4
    config.stages = {
        "walks": {"num_steps": 30000},
        "long walks": {
            "num_steps": 8000, "data.trajectory_length": 180, "data.num_trajectories": 12,
        },
    }  # fmt: skip
    config.evaluation.verdict_box = 5.0
    return config
