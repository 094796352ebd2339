"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

Cost: 8,000 steps, three minutes on two CPU cores (22 ms a step), and 40 s for the report.

Result, in the 3 m box, for seeds 0 to 4, all that were tried on two cores: 32 of 37, 38 of 43,
7 of 36, 21 of 36 and 32 of 36 active units are grid cells; seed 0 has two modules (13 units at
0.74 m, 19 at 1.29 m), seeds 1, 3 and 4 have one at 1.23 m, seed 2 has none. On one core the
same seeds gave four hexagonal networks and a square one. Training is chaotic: another
processor, number of cores or library version can give another network.

Smaller than the paper: B 32 instead of 130, N 64 instead of 128, H 64. The open choices are those
of `full.py`. With N 128 and B 16 none had formed after 6,000 steps.
"""

from sicjax.config import default


def get_config():
    config = default()
    config.num_steps = 7000
    config.parallel = "auto"
    config.data.num_trajectories = 32
    config.model.num_units = 64
    config.model.hidden_width = 64
    config.model.activation = "tanh"
    config.loss.capacity = 0.2
    config.loss.conformal_isometry = 0.1
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 1000
    config.optimizer.accumulation = 1
    config.evaluation.snapshot_every = 1000
    return config
