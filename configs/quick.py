"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

@@
"""

from sicjax.config import default


def get_config():
    config = default()
    config.num_steps = 4000
    config.data.num_trajectories = 16
    config.model.hidden_width = 64
    config.model.activation = "tanh"
    config.loss.conformal_isometry = 0.01
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.accumulation = 1
    return config
