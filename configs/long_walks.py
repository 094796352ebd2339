"""A network that holds its place: two modules of like size, trained slower, then on longer walks.

    python -m sicjax.main --config=configs/long_walks.py

Cost: 38,000 steps, 6 minutes on one core of an AMD EPYC (9 to 12 ms a step), and the report.

Result, in the 4 m box: seeds 1000 to 1007, all that were trained after the recipe was frozen, have
two modules each (14 to 25 units at 0.65 to 0.67 m, 26 to 33 at 1.12 to 1.17 m); 61 to 63 of 64
units are active; position explains 0.83 of a grid cell's variance after 2,000 steps, 0.36 after
10,000, and more than half of it for 1,795 to 3,026 steps. The finer module is a torus in all eight,
the coarser in four (experiments/results/claims_long_walks.md).

Differs from `quick.py` in two things: the rate is 3e-4, a third, for 30,000 steps; then come 8,000
steps of walks three times as long, T 180, B 12, which stretch both lattices by 1.4 and remove
drift as nothing else does. Verdicts come from a box of 4 m.
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 42000
    config.optimizer.learning_rate = 3e-4
    config.stages = {
        "walks": {"num_steps": 30000},
        "long walks": {
            "num_steps": 12000, "data.trajectory_length": 180, "data.num_trajectories": 12,
            "loss.invariance": 0.2, "loss.capacity": 0.08, "loss.conformal_isometry": 0.05,
            "loss.sigma_g": 0.45, "loss.sigma_x": 0.065,
        },
    }  # fmt: skip
    config.evaluation.verdict_box = 4.0
    return config
