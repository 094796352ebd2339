"""The paper's ablations: the whole method, and the same with one part changed, from matched seeds.

    python -m experiments.ablations
    python -m experiments.ablations --config.num_networks=8
    python -m sicjax.main --config=configs/ablations.py

The first two add the table and the figure; the third only trains and reports. The whole is
`quick.py`; beside it are the paper's six ablations, and the whole with the capacity weight that the
paper prints. Network k of each starts from the same seed. One population, one compiled program.

Cost: 48 minutes with the reports on one core of an AMD EPYC: 3 steps a second for all 32 networks,
and 20 s a report.

Result, in the 3 m box (experiments/results/ablations.md): the whole has two modules from all four
seeds; without capacity three have one and one is square; without separation, invariance or
permutations there is no grid cell; without conformal isometry two have one sheared module and two
are square; half the sigma_g gives fields at the edges and bands, and not the paper's place-like
fields; the published capacity weight gives two modules from all four.
"""

from sicjax.config.files import load_config


def get_config():
    config = load_config("quick")
    config.num_networks = 4
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
