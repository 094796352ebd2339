"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

Cost: 8,000 steps, about four minutes on one CPU core, and one or two for the report.

Result, from the long-walk map of the 2 m box: 0.78, 0.80, 0.78, 0.83 and 0.79 of the active units
carry a lattice of period 1.2 m for seeds 0 to 4, all that were tried; hexagonal, but for seed 1,
which is square. Training is chaotic: another processor or library version can give another network
(one and two cores here gave the same).

Smaller than the paper: B 32 instead of 130, N 64 instead of 128, H 64. The open choices are those
of `full.py`. With N 128 and B 16 none had formed after 6,000 steps.
"""

from sicjax.config import default


def get_config():
    config = default()
    config.num_steps = 8000
    config.parallel = "auto"
    config.data.num_trajectories = 32
    config.model.num_units = 64
    config.model.hidden_width = 64
    config.model.activation = "tanh"
    config.loss.conformal_isometry = 0.1
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.accumulation = 1
    config.evaluation.snapshot_every = 1000
    return config
