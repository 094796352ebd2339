"""A third scale, and a code that holds: slower, and on longer walks once the lattices stand.

    python -m sicjax.main --config=configs/modules.py

Cost: 38,000 steps, 6 minutes on one core of an AMD EPYC (9 to 11 ms a step), and the report.

Result, in the 5 m box: of seeds 700 to 705, the six that were trained after the recipe was frozen,
all have two modules (14 to 18 units at 0.92 to 0.94 m, 26 to 34 at 1.60 to 1.62 m) and, besides,
four to seven units at half the coarse period, two to five of which pass as grid cells: a third
scale, but no module, for which it takes ten. 63 or 64 of 64 units are active; position explains
0.76 of a grid cell's variance after 2,000 steps, 0.30 after 10,000. The finer module is a torus in
all six, the coarser, many of whose units fire unevenly, in none
(experiments/results/claims_modules.md).

Differs from `quick.py` in four things. Steps no longer than 1 cm don't count in conformal isometry,
whose expectation is infinite with them (docs/method.md), and it weighs half as much: all units stay
active. The rate is 3e-4, a third, for 30,000 steps: at that rate some units keep a lattice of half
the coarsest period, a third scale, which at 1e-3 none do. Then T 180, B 12, for 8,000 steps: walks
that reach further stretch all lattices, by a third, and remove drift as nothing else does. Verdicts
come from a box of 5 m, which holds ten fields of the coarsest lattice.
"""

from sicjax.recipes import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 38000
    config.data.max_velocity = 0.15
    config.loss.min_step = 0.01
    config.loss.conformal_isometry = 0.05
    config.optimizer.learning_rate = 3e-4
    config.stages = {
        "walks": {"num_steps": 30000},
        "long walks": {
            "num_steps": 8000, "data.trajectory_length": 180, "data.num_trajectories": 12,
        },
    }  # fmt: skip
    config.evaluation.verdict_box = 5.0
    return config
