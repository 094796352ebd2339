"""The optimiser: clipped AdamW, and the schedule of its learning rate."""

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array
from ml_collections import ConfigDict
from optax.contrib import reduce_on_plateau


def make_optimizer(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Return clip, Adam, weight decay and cut on a plateau; the caller applies the rate."""
    options = config.optimizer
    plateau = options.schedule == "plateau"
    return optax.chain(
        optax.clip_by_global_norm(options.clip),
        optax.scale_by_adam(options.b1, options.b2),
        optax.add_decayed_weights(options.weight_decay),
        reduce_on_plateau(
            factor=options.plateau_factor,
            patience=options.plateau_patience,
            accumulation_size=options.plateau_window,
        )
        if plateau
        else optax.with_extra_args_support(optax.identity()),
    )


def make_schedule(config: ConfigDict) -> optax.Schedule:
    """Map a stage's update to a fraction of the peak learning rate, before cuts on a plateau."""
    options = config.optimizer
    if options.schedule == "cosine":
        after = optax.cosine_decay_schedule(
            1.0, max((options.decay_steps or config.num_steps) - options.warmup_steps, 1)
        )
    else:
        after = optax.constant_schedule(1.0)
    # The warm-up starts above zero and ends exactly at the peak.
    warmup = optax.linear_schedule(
        1 / max(options.warmup_steps, 1), 1.0, max(options.warmup_steps - 1, 1)
    )
    return optax.join_schedules([warmup, after], [options.warmup_steps])


def plateau_scale(optimizer_state: Any) -> Array:
    """Return the factor on the learning rate after all cuts on a plateau; 1 without cuts."""
    return getattr(optimizer_state[-1], "scale", jnp.float32(1))
