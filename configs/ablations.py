"""The paper's ablations: the whole method, and the same with one part removed or changed.

Trains 32 networks: 8 variants, 4 seeds of each. Expect 48 minutes on one CPU core, reports
included, and a table that says where the paper's claims hold.

    python -m experiments.ablations
    python -m experiments.ablations --config.num_networks=8
    python -m sicjax.main --config=configs/ablations.py

The first two commands add the table and the figure; the third only trains and reports. The whole
method is `quick.py`. The variants are the paper's six ablations, and the whole method with the
capacity weight that the paper prints. Network k of each variant starts from the same seed. All are
one population and one compiled program.

Cost: 48 minutes with the reports on one core of an AMD EPYC (3 updates a second of all 32 networks,
and 20 s a report).

Result, in the 3 m box (experiments/results/ablations.md):

- whole method: two modules from all four seeds;
- no capacity: one module from three seeds, a square lattice from one;
- no separation, no invariance or no permutations: no grid cells;
- no conformal isometry: one sheared module from two seeds, a square lattice from two;
- half the sigma_g: fields at the edges, and bands, but not the paper's place-like fields;
- the published capacity weight: two modules from all four seeds.
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
