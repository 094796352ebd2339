"""Three modules of grid cells: less invariance, more units, slower, then on longer walks.

    python -m sicjax.main --config=configs/modules.py

Cost: 38,000 steps, 12 minutes on one core of an AMD EPYC (18 to 20 ms a step), and the report.

Result, in the 5 m box: of seeds 1100 to 1109, all that were trained after the recipe was frozen,
9 of 10 have three modules of ten grid cells or more (10 to 15 units at 0.71 to 0.87 m,
17 to 23 at 0.82 to 1.00 m, 16 to 52 at 1.41 to 1.74 m): the finest has half the
coarsest period, the middle one that over √3. 106 to 112 of 112 units are active; position explains
0.74 of a grid cell's variance after 2,000 steps, 0.29 after 10,000. The coarsest module, many of
whose units fire unevenly, passes as a torus in none (experiments/results/claims_modules.md).

Differs from `quick.py` in these: the invariance weighs 0.07 instead of 0.1, which lets units keep
half the coarsest period, as 64 random settings showed (experiments/results/search.md); 112 units,
for of 64 too few would do so to be a module; capacity, conformal isometry and both scales as the
best of those 64 had them. The rate is 4e-4 for 30,000 steps; then T 180, B 12, for 8,000 steps,
walks that reach further stretch all lattices and remove drift. Steps are as long as the paper's,
and those no longer than 1 cm don't count in conformal isometry (docs/method.md).
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 50000
    config.data.max_velocity = 0.15
    config.model.num_units = 112
    config.loss.min_step = 0.01
    config.loss.invariance = 0.07
    config.loss.capacity = 0.14
    config.loss.conformal_isometry = 0.025
    config.loss.sigma_g = 0.36
    config.loss.sigma_x = 0.055
    config.optimizer.learning_rate = 4e-4
    long = {"data.trajectory_length": 180, "data.num_trajectories": 12}
    config.stages = {
        "walks": {"num_steps": 30000},
        "long walks": {"num_steps": 8000, **long},
        "settling": {
            "num_steps": 12000, **long, "loss.invariance": 0.2, "loss.capacity": 0.06,
            "loss.conformal_isometry": 0.02, "loss.sigma_g": 0.45, "loss.sigma_x": 0.07,
        },
    }  # fmt: skip
    config.evaluation.verdict_box = 6.0
    return config
