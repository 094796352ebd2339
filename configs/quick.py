"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

Cost: 7,000 steps, a minute on two CPU cores (7 to 10 ms a step), and half a minute for the report.

Result, in the 3 m box: of seeds 900 to 915, all that were trained after the recipe was frozen, all
have two modules (10 to 25 units at 0.49 to 0.52 m, 29 to 44 at 0.85 to 0.89 m), and the same two
in the 4 m box; median grid score of the grid cells 1.23; position explains 0.58 of their variance
after 2,000 steps; the largest module is a torus in all (experiments/results/claims_quick.md). Seed
0: 17 units at 0.50 m, 35 at 0.87 m, 52 of 58 active units grid cells. Training is chaotic: another
processor, number of cores or library version can give another network from the same seed.

Smaller than the paper: B 32 instead of 130, N 64 instead of 128. What else differs from the
published settings (see `paper.py`), each ours: steps of at most 10 cm instead of 15, which shrink
all lengths but sigma_x; of those, steps no longer than 6.7 mm don't count in conformal isometry,
whose expectation is infinite with them (docs/method.md), so that nine units in ten stay active; a
conformal isometry weight of 0.2 (the paper gives none); a capacity weight of 0.2 instead of 0.5;
means over pairs instead of sums; AdamW at 1e-3, at which more units stay active than at 2e-3, with
a warm-up and a cosine to zero instead of 2e-5 with ReduceLROnPlateau; one batch a step; a tanh
hypernetwork of width 64 (the paper gives no width) whose last bias starts as the identity matrix;
and a positive g_0.
"""

from sicjax.config import default


def get_config():
    config = default()
    config.num_steps = 7000
    config.parallel = "auto"
    config.data.num_trajectories = 32
    config.data.max_velocity = 0.1
    config.model.num_units = 64
    config.model.hidden_width = 64
    config.model.activation = "tanh"
    config.loss.min_step = 0.0067
    config.loss.capacity = 0.2
    config.loss.conformal_isometry = 0.2
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 1000
    config.optimizer.accumulation = 1
    config.evaluation.snapshot_every = 1000
    return config
