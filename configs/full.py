"""The complete method at paper scale: B 130, T 60, N 128, the published weights and scales.

    python -m sicjax.main --config=configs/full.py

Cost: about 0.6 s a step on one core of an AMD EPYC, so some five hours. It has not yet been run to
the end at this size: what it gives is not known. `quick.py` is the same recipe at B 32 and N 64,
where lattices of one scale form from every seed that was tried.

What differs from the published settings (see `paper.py`), each ours: means over pairs instead of
sums, AdamW at 2e-3 with a warm-up and a cosine to zero instead of 2e-5 with ReduceLROnPlateau, one
batch a step, a tanh hypernetwork whose last bias starts as the identity matrix, a positive g_0, and
a conformal isometry weight of 0.1 (the paper gives none).
"""

from sicjax.config import default


def get_config():
    config = default()
    config.num_steps = 30_000
    config.model.activation = "tanh"
    config.loss.conformal_isometry = 0.1
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.accumulation = 1
    return config
