"""A third scale, and a code that holds: slower, and on longer walks once the lattices stand.

    python -m sicjax.main --config=configs/modules.py

RESULT

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
