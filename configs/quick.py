"""Paper scale.

    python -m sicjax.main --config=configs/full.py
"""

from sicjax.config import default


def get_config():
    config = default()
    config.num_steps = 30_000
    return config
