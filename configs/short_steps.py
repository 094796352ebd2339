"""The recipe on the way to `quick.py`: 10,000 steps, and all of a walk in conformal isometry.

    python -m sicjax.main --config=configs/short_steps.py

Cost: 10,000 steps, minutes on two CPU cores.

Result, in the 3 m box: of seeds 800 to 815, all that were trained after the recipe was frozen, all
have two modules (10 to 20 units at 0.47 to 0.48 m, 34 to 48 at 0.81 to 0.84 m), and the same two in
the 4 m box; 53 to 61 of 64 units are active; median grid score of the grid cells 1.23; position
explains 0.66 of their variance after 2,000 steps; the largest module is a torus in 13
(experiments/results/claims_short_steps.md).

It is what `quick.py` was before, with steps of at most 10 cm instead of the paper's 15, and the
first step towards what it is now. All lengths shrink along with the steps, by a factor of 1.45
(experiments/results/scaling.md), but not sigma_x, 5 cm, which is half of the longest step instead
of a third: more steps are short enough to count in conformal isometry, and more pairs are near.
"""

from sicjax.config.files import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 10000
    config.loss.min_step = 0.0
    config.loss.conformal_isometry = 0.1
    return config
