"""The published settings, exactly.

Trains one network for two million updates. Expect no grid cells in the first thousands of updates:
with sums over pairs and this learning rate none have been seen to form. `full.py` is the recipe
that works.

    python -m sicjax.main --config=configs/paper.py

Cost: 2,000,000 updates of 2 batches each. The whole run has not been timed. On one NVIDIA H200, an
update with the same B, T and N (H 64 instead of 256, one batch) took 3.9 ms for one network
and 29.6 ms for 16, without the fused kernel. On two cores of an AMD EPYC, an update of one batch at
this scale took 0.168 s (experiments/results/benchmark.md).

From the paper (section 3 and its appendix): B 130, T 60, N 128, velocities within ±0.15 m, sigma_x
0.05 m, sigma_g 0.4, weights 1.0 (separation), 0.1 (invariance), 0.5 (capacity), sums over pairs
as the equations print them, an MLP of 3 layers, AdamW, learning rate 2e-5 with ReduceLROnPlateau,
gradient clip 0.1, 2 accumulated batches, 2,000,000 updates.

Not in the paper, and where the value here comes from:

    loss.conformal_isometry = 0.1       ours
    model.hidden_width = 256            ours
    model.activation = relu             ours; the same as in the recurrence
    model.identity_start = False        PyTorch's default start of a linear layer
    model.last_layer_scale = 1.0        PyTorch's default start of a linear layer
    model.positive_start = False        a normal vector, the plainest choice
    model.train_initial_state = True    ours
    a vector without positive entries   stays zero (ours)
    optimizer.weight_decay = 0.01       PyTorch's default of AdamW, as are b1 and b2
    optimizer.plateau_*                 PyTorch's defaults: factor 0.1, patience 10; a window of
                                        1,000 updates stands for an epoch (ours)
    optimizer.clip                      of the norm over all weights (PyTorch Lightning's default)
"""

from sicjax.config import default


def get_config():
    config = default()
    config.loss.reduction = "sum"
    config.model.identity_start = False
    config.model.last_layer_scale = 1.0
    config.model.positive_start = False
    return config
