"""The recipe that preceded `quick.py`: 10,000 updates, and all steps in conformal isometry.

Trains one network of 64 units. Expect two modules of grid cells after some minutes on two CPU
cores.

    python -m sicjax.main --config=configs/short_steps.py

Cost: 10,000 updates, minutes on two CPU cores.

Result, in the 3 m box, for seeds 800 to 815, which are all the seeds trained after the recipe was
frozen (experiments/results/claims_short_steps.md):

- all 16 have two modules (10 to 20 units at 0.47 to 0.48 m, 34 to 48 at 0.81 to 0.84 m), and the
  same two in the 4 m box;
- 53 to 61 of 64 units are active;
- the median grid score of the grid cells is 1.23;
- position explains 0.66 of their variance after walks of 2,000 steps;
- the largest module is a torus in 13.

It was the first recipe with steps of at most 10 cm instead of the paper's 15, and the first change
towards today's `quick.py`. With the steps, all lengths shrink by a factor of 1.45
(experiments/results/scaling.md). Only sigma_x stays at 5 cm, which is now half of the longest step
instead of a third. So more steps are short enough to count in conformal isometry, and more pairs
are near.
"""

from sicjax.config.files import load_config


def get_config():
    config = load_config("quick")
    config.num_steps = 10000
    config.loss.min_step = 0.0
    config.loss.conformal_isometry = 0.1
    return config
