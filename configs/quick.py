"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

Cost: 8,000 steps, four to five minutes on one CPU core, and one to two minutes for the report.

Result: see `RESULTS_TABLE` below the code of the README; all five seeds tried, 0 to 4, grow a
lattice in at least three quarters of their active units.

Smaller than the paper: B 32 instead of 130, N 64 instead of 128, H 64. The open choices are those of
`full.py`. With N 64 a single module forms within 8,000 steps; N 128 takes several times longer to
settle at this batch size.
"""

from sicjax.config import default


def get_config():
    config = default()
    config.num_steps = 8000
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
