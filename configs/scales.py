"""Three modules in the paper's ratios, 1 : √3 : 3: less invariance, a slow rate, small batches.

Trains one network of 96 units in two stages. Expect three modules of ten grid cells or more after
half an hour on one CPU core. So far one network has been grown in this way, so it is not known how
many seeds succeed (experiments/results/search.md).

    python -m sicjax.main --config=configs/scales.py

Cost: 27 minutes for 108,000 updates on one core of a slow AMD EPYC that other programs did not use
(98 GFLOP/s in its best matrix product; 75 updates a second, then 26).

Result of the one network, in the 6 m box on walks of 2,000 steps: modules of 17, 27 and 16 grid
cells at 0.77, 1.34 and 2.32 m, in ratios of 1.73 and 1.73. 91 of 96 units are active. In a 5 m box
position explains 0.73 of their variance after 2,000 steps, and in a 2 m box 0.96 after 120.

It differs from `modules.py` as follows.

1. 100,000 updates at a rate of 3e-4 with an invariance weight of 0.04. Units drop two fields in
   three, and two in three again. B is 16, so an update has a quarter of the pairs. After this stage
   alone the same network has 11, 19, 24 and 10 grid cells at 0.444, 0.512, 0.888 and 1.53 m, near
   the periods in the paper's figure; but it soon loses its place.
2. 8,000 updates on longer walks (T 180, B 8) with the weights of the last stage of `modules.py`.
   They stretch all lattices by a half, and the network keeps its place.
"""

from sicjax.config.files import load_config


def get_config():
    config = load_config("modules")
    config.num_steps = 108000
    config.model.num_units = 96
    config.data.num_trajectories = 16
    config.loss.invariance = 0.04
    config.optimizer.learning_rate = 3e-4
    settling = dict(config.stages["settling"])
    settling |= {"num_steps": 8000, "data.num_trajectories": 8}
    config.stages = {"lattices": {"num_steps": 100000}, "settling": settling}
    return config
