"""Three modules in the paper's ratios, 1 : √3 : 3: less invariance, a slow rate, small batches.

Trains one network of the paper's size (N 128, T 60, steps of up to 15 cm) in two stages, in 35
minutes on one CPU core. All three networks trained so far have three modules of 13 grid cells or
more in ratios of 1.73 and 1.73: one of sixteen fresh seeds (experiments/results/claims_scales.md),
and two seeds that failed with 96 units (search.md).

    python -m sicjax.main --config=configs/scales.py

Cost: 45 updates a second, then 33, on one core of a slow AMD EPYC (100 GFLOP/s in its best matrix
product) that other programs did not use; and the report.

Result of these three networks (seeds 5000, 3200 and 3201), in a box of 6 m on walks of 2,000 steps:

- modules of 15 to 18 grid cells at 0.78 to 0.82 m, 26 to 40 at 1.35 to 1.43 m, and 13 to 26 at 2.34
  to 2.47 m;
- eight of the nine modules are tori; 121 of 128 units are active;
- position explains 0.80 to 0.85 of their variance; on walks of 120 steps 0.97.

It differs from `modules.py` as follows.

1. 60,000 updates at a rate of 3e-4 with an invariance weight of 0.04. Units drop two fields in
   three, and two in three again. B is 16, so an update has a quarter of the pairs. With 96 units,
   three of six seeds had too few units on the coarsest lattice. Two of these three were trained
   again with 128 units, and have enough.
2. 20,000 updates on longer walks (T 120, B 8) with the weights of the last stage of `modules.py`.
   They stretch all lattices by a half, and the network keeps its place.
"""

from sicjax.config.files import load_config


def get_config():
    config = load_config("modules")
    config.num_steps = 80000
    config.model.num_units = 128
    config.data.num_trajectories = 16
    config.loss.invariance = 0.04
    config.optimizer.learning_rate = 3e-4
    settling = dict(config.stages["settling"])
    settling |= {
        "num_steps": 20000, "data.trajectory_length": 120, "data.num_trajectories": 8,
    }  # fmt: skip
    config.stages = {"lattices": {"num_steps": 60000}, "settling": settling}
    return config
