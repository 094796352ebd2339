"""A population on all devices: four settings from many seeds, in one compiled program.

Trains 8 networks of `quick.py`: four capacity weights, 2 seeds of each. Raise
--config.num_networks until all your devices are busy.

    python -m sicjax.main --config=configs/pod.py
    python -m experiments.sweep --config=configs/pod.py --config.num_networks=64

`num_networks` counts the seeds of each capacity weight. Network k of a variant is the network that
`quick.py` gives with that weight and the seed `config.seed + k`. docs/pods.md explains TPU pods,
SLURM and several machines. `experiments.sweep` adds a table and a figure of all networks. A report
takes about half a minute for each network; --config.report=scores only counts their modules, and
--config.report=false does neither.
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
