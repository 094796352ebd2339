"""The paper's ablations: the whole method, and the same with one part changed, from matched seeds.

    python -m experiments.ablations
    python -m experiments.ablations --config.num_networks=8
    python -m sicjax.main --config=configs/ablations.py

The first two add the table and the figure; the third only trains and reports. The whole is
`quick.py` at the learning rate and length that it had when this was run, 2e-3 and 7,000 steps
instead of 1e-3 and 10,000; beside it are the paper's six ablations, and the whole with the capacity
weight that the paper prints. Network k of each starts from the same seed. One population, one
compiled program.

Cost: 2.3 steps a second for all 32 networks on two quiet cores of an AMD EPYC, so 50 minutes, and
12 for the reports.

Result, in the 3 m box (experiments/results/ablations.md): the whole has two modules from all four
seeds; without capacity all four have one; without separation, invariance or permutations there is
no grid cell; without conformal isometry one is square, two are sheared and one is hexagonal; half
the sigma_g gives bands, and not the paper's place-like fields; the published capacity weight gives
one module with four to eight finer cells beside it.
"""

from sicjax.config import load_file


def get_config():
    config = load_file("configs/quick.py")
    config.num_networks = 4
    config.num_steps = 7000
    config.optimizer.learning_rate = 2e-3
    config.variants = {
        "full": {},
        "no capacity": {"loss.capacity": 0.0},
        "no separation": {"loss.separation": 0.0},
        "no invariance": {"loss.invariance": 0.0},
        "no conformal isometry": {"loss.conformal_isometry": 0.0},
        "sigma_g halved": {"loss.sigma_g": config.loss.sigma_g / 2},
        "no permutations": {"data.permute": False},
        "published capacity weight": {"loss.capacity": 0.5},
    }
    return config
