"""Rollouts: the recurrence g_t = Norm(ReLU(W(v_t) g_{t-1})) along trajectories and walks.

Letters: B trajectories, W walks, T steps, N units, H hidden width. Velocities in metres per step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from sicjax.network.model import PRECISION, Hypernetwork, _rectify, norm_relu

# From this number of units on, a CPU is faster with one matrix after another (measured).
IN_TURN = 64


class Factors(NamedTuple):
    """W(v) as sum_r a_r(v) M_r, with as few matrices as a set of velocities needs."""

    projection: Array  # [H + 1, R] maps (hidden features of v, 1) to a(v)
    matrices: Array  # [N, R * N], M_r transposed and side by side: row j, column r * N + i


def factorise(
    hypernetwork: Hypernetwork, parameters: Any, velocities: ArrayLike, *, tolerance: float
) -> Factors:
    """Write W as a sum of R <= H + 1 matrices, with the smallest R that keeps a tolerance.

    The last layer is linear, so W(v) = sum_h f_h(v) K_h + bias. Velocities fill only a plane, so
    the smooth features f_h of a velocity are nearly dependent. Their principal components, measured
    by their effect on W, therefore fall off fast. R is rounded up to a multiple of 4, so that few
    programs are compiled.

    Args:
        hypernetwork: the network.
        parameters: its Flax parameters.
        velocities: [S, 2] metres per step, a sample of the velocities to come.
        tolerance: largest relative error of W, root mean square over the sample.
    """
    hidden = np.asarray(hypernetwork.apply(parameters, velocities, hidden_only=True), np.float64)
    layers = parameters["params"]
    last = layers[f"Dense_{hypernetwork.num_layers - 1}"]
    kernel = np.concatenate([last["kernel"], last["bias"][None]]).astype(np.float64)
    # kernel = mixing @ basis with orthonormal rows of the basis, so that |W| = |features @ mixing|.
    values, vectors = np.linalg.eigh(kernel @ kernel.T)
    scales = np.sqrt(np.maximum(values, 1e-14 * max(values[-1], 1e-300)))
    features = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)  # 1 for the bias
    values, directions = np.linalg.svd(features @ (vectors * scales), full_matrices=False)[1:]
    # Squared error of W if only the first r directions are kept, for r = 0, 1, ...
    left_out = np.append(np.cumsum((values**2)[::-1])[::-1], 0)
    rank = int(np.argmax(left_out <= tolerance**2 * left_out[0]))
    kept = directions[: -(-max(rank, 1) // 4) * 4]
    units = hypernetwork.num_units
    matrices = ((kept / scales) @ (vectors.T @ kernel)).reshape(-1, units, units)
    return Factors(
        jnp.asarray((vectors * scales) @ kept.T, jnp.float32),
        jnp.asarray(matrices.transpose(2, 0, 1).reshape(units, -1), jnp.float32),
    )


def rollout(transition: Callable[[Array], Array], initial_state: Array, velocities: Array) -> Array:
    """Run the recurrence along any velocities; evaluate the hypernetwork at each.

    Args:
        transition: [..., 2] metres per step -> [..., N, N].
        initial_state: [N], g_0.
        velocities: [..., T, 2] metres per step.

    Returns:
        States [..., T, N], without the initial state.
    """

    def advance(states: Array, velocity: Array) -> tuple[Array, Array]:
        pushed = jnp.einsum("...ij,...j->...i", transition(velocity), states, precision=PRECISION)
        states = norm_relu(pushed)
        return states, states

    start = jnp.broadcast_to(initial_state, (*velocities.shape[:-2], initial_state.shape[-1]))
    states = lax.scan(advance, start, jnp.moveaxis(velocities, -2, 0))[1]
    return jnp.moveaxis(states, 0, -2)


def rollout_factorised(
    factors: Factors, hidden: Callable[[Array], Array], initial_state: Array, velocities: Array
) -> Array:
    """Run the recurrence along any velocities without forming W: R N^2 products instead of H N^2.

    Args:
        factors: of W.
        hidden: [..., 2] metres per step -> [..., H], the input of the hypernetwork's last layer.
        initial_state: [N], g_0, or [W, N].
        velocities: [W, T, 2] metres per step.

    Returns:
        States [W, T, N].
    """
    features = hidden(velocities)
    features = jnp.concatenate([features, jnp.ones_like(features[..., :1])], axis=-1)
    amounts = jnp.matmul(features, factors.projection, precision=PRECISION)  # [W, T, R]

    def advance(states: Array, amount: Array) -> tuple[Array, Array]:
        pushed = jnp.matmul(states, factors.matrices, precision=PRECISION)
        pushed = pushed.reshape(*amount.shape, -1)  # [W, R, N]: every state times every matrix
        states = norm_relu(jnp.sum(amount[:, :, None] * pushed, axis=1))
        return states, states

    start = jnp.broadcast_to(initial_state, (velocities.shape[0], initial_state.shape[-1]))
    states = lax.scan(advance, start, jnp.moveaxis(amounts, 1, 0))[1]
    return jnp.moveaxis(states, 0, 1)


@jax.custom_vjp
def rollout_permuted(transitions: Array, order: Array, initial_state: Array) -> Array:
    """Run the recurrence over trajectories that share their velocities in different orders.

    Such a batch has only T matrices, and every trajectory uses each of them once. So the gradient
    of matrix k is one [N, B] x [B, N] product: the back-propagated states times the states before
    them, both read in the order of the inverse permutation. A scatter of outer products at each
    step would be slower.

    Args:
        transitions: [T, N, N], one matrix per distinct velocity.
        order: [B, T] int, rows are permutations of range(T).
        initial_state: [N], g_0, non-negative.

    Returns:
        States [B, T, N].
    """
    return _rollout_permuted_fwd(transitions, order, initial_state)[0]


def _apply_each(matrices: Array, index: Array, vectors: Array) -> Array:
    """Multiply matrix index[b] of [T, N, N] with row b of [B, N].

    Accelerators gather the matrices and take one batched product. On a CPU the copies cost more
    than the product, so it uses one matrix after another in place, unless the matrices are so small
    that the loop costs more.
    """

    def apply(one):
        matrix = lax.dynamic_index_in_dim(matrices, one[0], keepdims=False)
        return jnp.dot(matrix, one[1], precision=PRECISION)

    in_turn = partial(lax.map, apply) if vectors.shape[-1] >= IN_TURN else jax.vmap(apply)
    return lax.platform_dependent((index, vectors), cpu=in_turn, default=jax.vmap(apply))


def _rollout_permuted_fwd(transitions: Array, order: Array, initial_state: Array):
    def advance(states: Array, index: Array):
        pushed = _apply_each(transitions, index, states)
        states, inverse_norm = _rectify(pushed)
        return states, (states, inverse_norm)

    start = jnp.broadcast_to(initial_state, (order.shape[0], initial_state.shape[0]))
    states, inverse_norms = lax.scan(advance, start, order.T)[1]
    return jnp.moveaxis(states, 0, 1), (transitions, order, initial_state, states, inverse_norms)


def _rollout_permuted_bwd(residuals, cotangents: Array):
    transitions, order, initial_state, states, inverse_norms = residuals
    transposed = jnp.swapaxes(transitions, 1, 2)

    def retreat(carried: Array, step):
        cotangent, state, inverse_norm, index = step
        pushed = across(cotangent + carried, state, inverse_norm)
        carried = _apply_each(transposed, index, pushed)
        return carried, pushed

    steps = (jnp.moveaxis(cotangents, 1, 0), states, inverse_norms, order.T)
    carried, pushed = lax.scan(retreat, jnp.zeros_like(states[0]), steps, reverse=True)
    gradients = matrix_gradients(pushed, states, order, initial_state)
    return gradients, None, jnp.sum(carried, axis=0)


def across(total: Array, state: Array, inverse_norm: Array) -> Array:
    """Go back through one Norm(ReLU(p)) with the cotangent `total` [..., N] of its state.

    The gradient in p is the part of the cotangent across the state, divided by |relu(p)|, where p
    is positive.
    """
    along = jnp.sum(total * state, axis=-1, keepdims=True)
    return jnp.where(state > 0, (total - along * state) * inverse_norm, 0)


def matrix_gradients(pushed: Array, states: Array, order: Array, initial_state: Array) -> Array:
    """Return the gradient of every W_k [T, N, N].

    It is the sum over trajectories of (gradient in p) x (state before), at the step of k.

    Args:
        pushed: [T, B, N], gradients in p = W g of every step.
        states: [T, B, N], after every step.
        order: [B, T] int, rows are permutations of range(T).
        initial_state: [N], g_0.
    """
    start = jnp.broadcast_to(initial_state, (1, *states.shape[1:]))
    before = jnp.concatenate([start, states[:-1]])
    when = jnp.argsort(order, axis=1).T  # [T, B]: the step at which trajectory b used velocity k
    trajectory = jnp.arange(order.shape[0])
    return jnp.einsum(
        "kbi,kbj->kij", pushed[when, trajectory], before[when, trajectory], precision=PRECISION
    )


rollout_permuted.defvjp(_rollout_permuted_fwd, _rollout_permuted_bwd)
