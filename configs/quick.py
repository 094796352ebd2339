"""Grid cells in minutes on a laptop.

    python -m sicjax.main --config=configs/quick.py

Cost: 10,000 steps, 74 to 95 seconds on two CPU cores (7 to 10 ms a step), and half a minute for the
report.

Result, in the 3 m box: of seeds 400 to 415, all that were trained after the recipe was frozen, 14
have two modules (11 to 19 units at 0.66 to 0.69 m, 32 to 41 at 1.15 to 1.20 m) and two have one;
median 60° score of the grid cells 1.22; position explains 0.53 of their variance after 2,000 steps
(experiments/results/claims_quick.md). Seed 0: 11 units at 0.69 m, 42 at 1.19 m, 53 of 57 active
units grid cells. Training is chaotic: another processor, number of cores or library version can
give another network from the same seed.

Smaller than the paper: B 32 instead of 130, N 64 instead of 128, H 64. The capacity weight and the
open choices are those of `full.py`.
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("full")
    config.num_steps = 10000
    config.data.num_trajectories = 32
    config.model.num_units = 64
    return config
