"""A small network that keeps its place: two modules, trained slower, then on longer walks.

Trains one network of 64 units. Expect two modules and little drift after seven minutes on one CPU
core.

    python -m sicjax.main --config=configs/long_walks.py

Cost: 42,000 updates take about seven minutes on one core of an AMD EPYC (9 to 12 ms each), plus
the report. On an NVIDIA H100, 16 networks side by side (--config.num_networks=16) take four.

Result, in the 4 m box, for seeds 1800 to 1815, which are all the seeds trained after the recipe was
frozen (experiments/results/claims_long_walks.md):

- 15 have two modules (13 to 30 units at 0.81 to 0.82 m, 27 to 39 at 1.40 to 1.42 m); one has only
  the coarse module; every module is a torus;
- 59 to 63 of 64 units are active;
- position explains 0.89 of a grid cell's variance after 2,000 steps, 0.55 after 10,000;
- a state pushed off the torus by 20 % is back after 5 to 8 steps;
- a shift of 10 cm along the torus is kept at rest: after 100 steps it measures 1.05 of that.

Seed 1811 is `sicjax.load_pretrained("long_walks")`.

It differs from `quick.py` in two ways. The rate is 3e-4, about a third, for 30,000 updates. Then
come 12,000 updates on walks three times as long (T 180, B 12), with a larger invariance weight and
sigma_x, and less capacity. The long walks stretch both lattices by 1.7 and remove more drift than
any other change that was tried; the new weights make the network keep its place. Verdicts come from
a box of 4 m.
"""

from sicjax.config.files import load_config


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
