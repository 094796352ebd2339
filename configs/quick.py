"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

Cost: 7,000 steps, three minutes on two CPU cores (27 ms a step), and a minute for the report.

Result, in the 3 m box: of seeds 100 to 115, all that were trained after the recipe was frozen, 8
have two modules (10 to 12 units at 0.70 to 0.74 m, 21 to 32 at 1.22 to 1.28 m), 7 have one, 1 has
none; median 60° score of the grid cells 1.13 (experiments/results/claims_quick.md). Seed 0: 13
units at 0.74 m, 29 at 1.28 m, 42 of 43 active units grid cells. Training is chaotic: another
processor, number of cores or library version can give another network from the same seed.

Smaller than the paper: B 32 instead of 130, N 64 instead of 128, H 64. The capacity weight and the
open choices are those of `full.py`.
"""

from sicjax.config import load_file


def get_config():
    config = load_file("configs/full.py")
    config.num_steps = 10000
    config.data.num_trajectories = 32
    config.model.num_units = 64
    return config
