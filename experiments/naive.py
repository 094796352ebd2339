"""The straightforward training update, the reference for tests and timings of the fast one.

The hypernetwork at every (b, t), plain autodiff through the scan, distances between all pairs of
states in chunks of rows, or in one matrix. The batch, the other loss terms and the optimiser are
the fast update's.

Letters: B trajectories, T steps, N units, M = B*T states, C rows in a chunk.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from sicjax.network.losses import capacity_loss, conformal_isometry_loss
from sicjax.network.model import PRECISION, norm_relu
from sicjax.network.rollout import rollout_permuted
from sicjax.training.method import Parameters, Settings, draw_batch, make_transition
from sicjax.training.step import Loss, Metrics

CHUNK = 600


def make_naive_loss(
    config: ConfigDict, *, chunk: int | None = CHUNK, share: bool = False
) -> Loss:  # fmt: skip
    """As `sicjax.training.make_loss` with mean reduction, computed the obvious way.

    Args:
        config: of the run.
        chunk: as in `naive_pair_losses`.
        share: evaluate the hypernetwork once per velocity and use the fast recurrence; only the
            pair losses are then straightforward.
    """
    transition = make_transition(config)

    def loss(parameters: Parameters, key: Array, settings: Settings) -> tuple[Array, Metrics]:
        batch = draw_batch(config, key, settings)
        initial_state = norm_relu(parameters.initial_direction)
        if share:
            matrices = transition(parameters, batch.velocities)  # [T, N, N]
            states = rollout_permuted(matrices, batch.order, initial_state)
        else:
            states = naive_rollout(transition(parameters, batch.steps), initial_state)
        weights = settings.loss
        separation, invariance = naive_pair_losses(
            states, batch.positions, weights.sigma_x, weights.sigma_g, chunk
        )
        terms = {
            "separation": separation,
            "invariance": invariance,
            "capacity": capacity_loss(states),
            "conformal_isometry": conformal_isometry_loss(
                states,
                initial_state,
                batch.steps,
                max_step=weights.sigma_x,
                min_step=weights.min_step,
            ),
        }
        total = jnp.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
        return total, {"loss": total, **terms}

    return loss


def naive_rollout(transitions: Array, initial_state: Array) -> Array:
    """States [B, T, N] along matrices [B, T, N, N]."""

    def advance(state: Array, matrices: Array) -> tuple[Array, Array]:
        state = norm_relu(jnp.einsum("bij,bj->bi", matrices, state, precision=PRECISION))
        return state, state

    first = jnp.broadcast_to(initial_state, (len(transitions), *initial_state.shape))
    states = lax.scan(advance, first, jnp.moveaxis(transitions, 1, 0))[1]
    return jnp.moveaxis(states, 0, 1)


def naive_pair_losses(
    states: Array, positions: Array, sigma_x: ArrayLike, sigma_g: ArrayLike,
    chunk: int | None = CHUNK,
) -> tuple[Array, Array]:  # fmt: skip
    """Mean separation and invariance from the M x M distance matrix.

    Args:
        states: [B, T, N].
        positions: [B, T, 2].
        sigma_x: distance between near and far pairs.
        sigma_g: scale of neural distances.
        chunk: rows of the matrix that are in memory at a time; None for all.
    """
    g, x = states.reshape(-1, states.shape[-1]), positions.reshape(-1, 2)
    number = len(g)
    width = min(chunk or number, number)
    missing = -number % width
    sigma_x, sigma_g = jnp.asarray(sigma_x), jnp.asarray(sigma_g)
    rows = jnp.pad(jnp.arange(number), (0, missing), constant_values=-1)
    square = jnp.sum(g * g, axis=1)

    def of_rows(index: Array) -> tuple[Array, Array, Array, Array]:
        inner = jnp.matmul(g[index], g.T, precision=PRECISION)
        neural = jnp.maximum(square[index][:, None] + square[None] - 2 * inner, 0)
        distance = jnp.sum((x[index][:, None] - x[None]) ** 2, axis=-1)
        counted = (index[:, None] >= 0) & (index[:, None] != jnp.arange(number)[None])
        far, near = counted & (distance > sigma_x**2), counted & (distance < sigma_x**2)
        similarity = jnp.exp(-neural / (2 * sigma_g**2))
        return (
            jnp.sum(similarity, where=far), jnp.sum(far, dtype=g.dtype),
            jnp.sum(neural, where=near), jnp.sum(near, dtype=g.dtype),
        )  # fmt: skip

    sums = lax.map(of_rows, rows.reshape(-1, width))
    similarity, far, neural, near = (jnp.sum(leaf) for leaf in sums)
    return similarity / jnp.maximum(far, 1), neural / jnp.maximum(near, 1)
