"""A population on all devices: four settings from many seeds, in one compiled program.

    python -m sicjax.main --config=configs/pod.py
    python -m experiments.sweep --config=configs/pod.py --config.num_networks=64

The recipe of `quick.py` with four capacity weights, each trained from `num_networks` seeds: network
k of a variant is what `quick.py` gives with that weight and seed `config.seed + k`. On a TPU pod,
under SLURM or on several machines see docs/pods.md. `experiments.sweep` adds a table and a figure
over all networks. A report takes about half a minute for each network; --config.report=scores only
counts their modules, and --config.report=false does neither.
"""

from sicjax.config.files import load_config


def get_config():
    config = load_config("quick")
    config.num_networks = 2
    config.variants = {
        "capacity 0.1": {"loss.capacity": 0.1},
        "capacity 0.5": {"loss.capacity": 0.5},
        "capacity 1": {"loss.capacity": 1.0},
        "capacity 3": {"loss.capacity": 3.0},
    }
    return config
