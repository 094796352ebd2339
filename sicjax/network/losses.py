"""The four loss terms of SIC and their weighted sum (Schaeffer et al. 2023, section 3).

Letters: B trajectories, T steps, N units, M = B*T states. Positions and steps in metres.
Distances between states are Euclidean and don't assume unit norm. A pair is far when
|x - x'| > sigma_x, near when |x - x'| < sigma_x (a tie is neither), and a state is never paired
with itself. "mean" divides by the number of such pairs; "sum" counts each unordered pair once.
Without such a pair, and for an empty batch, the loss is 0. All four are jitted; forward-mode
derivatives of the pair losses are refused.

Losses are computed and returned in float32, or in float64 for float64 states. States in half
precision give float32, too: sums over pairs exceed float16, and bfloat16 has only two digits.
Gradients have the type of their argument. A state that isn't finite makes its terms NaN or
infinite. A state whose position is NaN counts as missing: it is in no pair.
"""

import collections
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from sicjax.arguments import NOT_NEGATIVE, POSITIVE, checked, floating, real
from sicjax.devices.split import WHOLE, Split
from sicjax.network.pair_losses import pair_losses
from sicjax.network.trajectories import Batch


def _flatten(states: Array, positions: Array, reduction: str) -> tuple[Array, Array]:
    """Return states [M, N] and positions [M, 2], in the type of the computation."""
    states = floating("states", states)
    positions = jax.lax.stop_gradient(real("positions", positions)).astype(states.dtype)
    if states.ndim != 3 or positions.shape != (*states.shape[:2], 2):
        raise ValueError(
            f"states {states.shape}, positions {positions.shape}: must be [B, T, N] and [B, T, 2]"
        )
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r}: must be 'mean' or 'sum'")
    return states.reshape(-1, states.shape[-1]), positions.reshape(-1, 2)


def _pair_losses(states, positions, sigma_x, sigma_g, weights, reduction):
    states, positions = _flatten(states, positions, reduction)
    if not len(states):
        return jnp.zeros((), states.dtype)
    scalars = (jnp.asarray(value, states.dtype) for value in (sigma_x, sigma_g, weights))
    # Without branches: under `vmap` both sides would run, and a second reverse derivative would
    # fail.
    return pair_losses(states, positions, *scalars, reduction, False)[0]


@checked(sigma_x=NOT_NEGATIVE, sigma_g=POSITIVE)
@partial(jax.jit, static_argnames="reduction")
def separation_loss(
    states: Array, positions: Array, *, sigma_x: ArrayLike, sigma_g: ArrayLike,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    """Return the similarity of far places' states: exp(-|g - g'|^2 / (2 sigma_g^2)) over far pairs.

    Args:
        states: [B, T, N].
        positions: [B, T, 2] metres.
        sigma_x: metres; pairs further apart than this count.
        sigma_g: neural distance over which the similarity falls.
        reduction: "mean" or "sum".

    Returns:
        Scalar. Differentiable in the states and sigma_g; zero gradient in positions and sigma_x.

    Raises:
        TypeError: states that aren't floating point.
        ValueError: shapes that don't match, an unknown reduction, a sigma_x below 0, or a sigma_g
            that isn't positive and finite.

    Source: Schaeffer et al. 2023, section 3 (separation loss).

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> states = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
        >>> positions = jnp.array([[[0.0, 0.0], [1.0, 0.0]]])
        >>> print(f"{sicjax.separation_loss(states, positions, sigma_x=0.05, sigma_g=1.0):.4f}")
        0.3679
    """
    return _pair_losses(states, positions, sigma_x, sigma_g, (1, 0), reduction)


@checked(sigma_x=NOT_NEGATIVE)
@partial(jax.jit, static_argnames="reduction")
def invariance_loss(
    states: Array, positions: Array, *, sigma_x: ArrayLike, reduction: str = "mean"
) -> Array:
    """Return the squared distance of states of near places: |g - g'|^2 over near pairs.

    Args:
        states: [B, T, N].
        positions: [B, T, 2] metres.
        sigma_x: metres; pairs closer than this count.
        reduction: "mean" or "sum".

    Returns:
        Scalar. In float32 accurate to 1e-5 of the mean |g|^2.

    Raises:
        TypeError: states that aren't floating point.
        ValueError: shapes that don't match, an unknown reduction, or a sigma_x below 0.

    Source: Schaeffer et al. 2023, section 3 (invariance loss).

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> states = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
        >>> print(sicjax.invariance_loss(states, jnp.zeros((1, 2, 2)), sigma_x=0.05))
        2.0
    """
    return _pair_losses(states, positions, sigma_x, 1.0, (0, 1), reduction)


@checked()
@jax.jit
def capacity_loss(states: Array) -> Array:
    """Return minus the squared length of the mean state; low if states have much in common.

    Args:
        states: [B, T, N].

    Returns:
        Scalar, -|mean of g|^2.

    Raises:
        TypeError: states that aren't floating point.
        ValueError: states that are not [B, T, N].

    Source: Schaeffer et al. 2023, section 3 (capacity loss).

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> print(sicjax.capacity_loss(jnp.ones((2, 3, 4))))
        -4.0
    """
    states = floating("states", states)
    if states.ndim != 3:
        raise ValueError(f"states {states.shape}: must be [B, T, N]")
    mean = jnp.sum(states, axis=(0, 1)) / max(states.shape[0] * states.shape[1], 1)
    return -jnp.sum(mean * mean)


@checked(max_step=NOT_NEGATIVE, min_step=NOT_NEGATIVE)
@jax.jit
def conformal_isometry_loss(
    states: Array, initial_state: Array, steps: Array, *, max_step: ArrayLike,
    min_step: ArrayLike = 0.0,
) -> Array:  # fmt: skip
    """Return the variance of the code's speed, |g_t - g_{t-1}| / |v_t|, over short steps.

    With min_step 0, as in the paper, the loss has no finite expectation. W(0) g is not exactly g,
    so the shortest steps move the state by a length that does not shrink with |v|. Over steps drawn
    evenly from a plane, the mean of 1 / |v|^2 diverges. So the loss of a batch depends on its few
    shortest steps, even in a large batch.

    Args:
        states: [B, T, N].
        initial_state: [N], the state before the first step.
        steps: [B, T, 2] metres.
        max_step: metres; steps with min_step < |v| < max_step count.
        min_step: metres.

    Returns:
        Scalar, the population variance; 0 if no step counts.

    Raises:
        TypeError: states that aren't floating point.
        ValueError: shapes that don't match, or a length below 0.

    Source: Schaeffer et al. 2023, section 3 (conformal isometry loss).

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> states = jnp.array([[[0.0, 1.0], [1.0, 1.0]]])
        >>> steps = jnp.array([[[0.01, 0.0], [0.02, 0.0]]])
        >>> loss = sicjax.conformal_isometry_loss(states, jnp.zeros(2), steps, max_step=0.05)
        >>> print(f"{loss:.1f}")  # speeds 100 and 50 per metre
        625.0
    """
    states = floating("states", states)
    initial_state = real("initial_state", initial_state).astype(states.dtype)
    steps = real("steps", steps).astype(states.dtype)
    if states.ndim != 3 or steps.shape != (*states.shape[:2], 2):
        raise ValueError(
            f"states {states.shape} and steps {steps.shape}: must be [B, T, N] and [B, T, 2]"
        )
    if initial_state.shape != states.shape[2:]:
        raise ValueError(f"initial_state {initial_state.shape}: must be [N] = {states.shape[2:]}")
    speeds, counted = neural_speeds(
        states, initial_state, steps, max_step=max_step, min_step=min_step
    )
    number = jnp.maximum(jnp.sum(counted), 1).astype(speeds.dtype)
    mean = jnp.sum(speeds, where=counted) / number
    return jnp.sum((speeds - mean) ** 2, where=counted) / number


def neural_speeds(
    states: Array, initial_state: Array, steps: Array, *, max_step: ArrayLike,
    min_step: ArrayLike = 0.0,
) -> tuple[Array, Array]:  # fmt: skip
    """Return |g_t - g_{t-1}| / |v_t| per metre, and whether min_step < |v_t| < max_step; [B, T].

    The speed of a step that does not count is 0, also if the step is NaN. If the state does not
    move, the gradient is 0.
    """
    start = jnp.broadcast_to(initial_state, (states.shape[0], 1, states.shape[2]))
    moved = jnp.diff(states, axis=1, prepend=start)
    neural_square, square = jnp.sum(moved**2, axis=-1), jnp.sum(steps**2, axis=-1)
    counted = (square > jnp.square(min_step)) & (square < jnp.square(max_step))
    moving = counted & (neural_square != 0)  # NaN too: its speed is NaN
    ratio = jnp.where(moving, neural_square, 1) / jnp.where(moving, square, 1)
    return jnp.where(moving, jnp.sqrt(ratio), 0), counted


def _capacity(states: Array, _start: Array, _batch: Batch, _settings: "LossSettings") -> Array:
    return capacity_loss(states)


def _conformal_isometry(
    states: Array, start: Array, batch: Batch, settings: "LossSettings"
) -> Array:
    return conformal_isometry_loss(
        states, start, batch.steps, max_step=settings.sigma_x, min_step=settings.min_step
    )


# A single pass over all pairs of states computes these.
PAIR_TERMS = ("separation", "invariance")
# The other terms, by name. A new one needs an entry here, its weight in config/fields.py, and an
# export if users should call it. Add it at the end: checkpoints hold the index of a failed term.
OTHER_TERMS: Mapping[str, Callable[[Array, Array, Batch, "LossSettings"], Array]] = {
    "capacity": _capacity,
    "conformal_isometry": _conformal_isometry,
}
TERMS = (*PAIR_TERMS, *OTHER_TERMS)

_named: Any = collections.namedtuple  # a type checker can't follow fields that come from a table
_SettingsBase: Any = _named("LossSettings", (*TERMS, "own_terms", "sigma_x", "sigma_g", "min_step"))
_TermsBase: Any = _named("LossTerms", (*TERMS, "num_far", "num_near"))


class LossSettings(_SettingsBase):
    """Scalars of the loss; traced, so networks of one program may differ in them.

    A weight for each term; own_terms, a factor of the terms that a `Method` adds; sigma_x, metres;
    sigma_g; and min_step, metres (steps of conformal isometry are longer than it and shorter than
    sigma_x).
    """

    __slots__ = ()


class LossTerms(_TermsBase):
    """The terms, unweighted, and the pair counts of one batch; all scalars."""

    __slots__ = ()


def sic_loss(
    states: Array, initial_state: Array, batch: Batch, settings: LossSettings, *,
    reduction: str = "mean", branch: bool = True, split: Split = WHOLE, fused: bool = False,
) -> tuple[Array, LossTerms]:  # fmt: skip
    """Return the weighted sum of the four terms, and the terms (the pair terms as values only).

    If devices split a batch, the sum is this device's share; the terms are complete.

    Args:
        states: [B, T, N].
        initial_state: [N].
        batch: the batch that the states belong to.
        settings: weights and scales; conformal isometry takes steps between min_step
            and sigma_x.
        reduction: of the pair losses, "mean" or "sum".
        branch: as in `pair_losses`.
        split: as in `pair_losses`.
        fused: as in `pair_losses`.
    """
    flat_states, positions = _flatten(states, batch.positions, reduction)
    weights = jnp.stack([getattr(settings, name) for name in PAIR_TERMS]).astype(flat_states.dtype)
    scales = (jnp.asarray(s, flat_states.dtype) for s in (settings.sigma_x, settings.sigma_g))
    pairs, terms = pair_losses(
        flat_states, positions, *scales, weights, reduction, branch, split, fused
    )
    values = {
        name: term(states, initial_state, batch, settings) for name, term in OTHER_TERMS.items()
    }
    total = pairs
    for name, value in values.items():
        total = total + split.share(getattr(settings, name) * value)
    of_pairs = {name: getattr(terms, name) for name in PAIR_TERMS}
    return total, LossTerms(**of_pairs, **values, num_far=terms.num_far, num_near=terms.num_near)
