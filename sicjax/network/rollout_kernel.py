"""The rollout of a training batch by one GPU kernel per direction (Pallas, Triton).

Letters: B trajectories, T steps, N units.

`rollout_permuted` launches several kernels for each of the T steps, forwards and backwards. Here
one program walks one whole trajectory: its state stays on the chip, and only the matrices are read.
The T matrices of a batch fit into the GPU's second-level cache, which all programs share.

The formulas are those of `rollout_permuted`. Nobody has timed these kernels on a GPU yet, so they
are off by default; `python -m experiments.benchmark --json --config.fused_rollout=true` times an
update with them.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from sicjax.network.model import _rectify
from sicjax.network.rollout import across, matrix_gradients


def _walk(matrices, order, start, states, inverse_norms):
    """Walk this program's trajectory forwards."""

    def advance(step, state):
        # Tensor cores don't help a matrix-vector product: multiply and add in float32.
        pushed = jnp.sum(matrices[order[step]] * state[None, :], axis=1)
        state, inverse_norm = _rectify(pushed)
        states[step, :] = state
        inverse_norms[step] = jnp.sum(inverse_norm)  # of one entry: a scalar
        return state

    lax.fori_loop(0, order.shape[0], advance, start[...])


def _walk_back(matrices, order, states, inverse_norms, cotangents, pushed, carried):
    """Walk this program's trajectory backwards with the cotangents."""

    def retreat(back, after):
        step = order.shape[0] - 1 - back
        total = cotangents[step, :] + after
        found = across(total, states[step, :], inverse_norms[step])
        pushed[step, :] = found
        return jnp.sum(matrices[order[step]] * found[:, None], axis=0)

    nothing = jnp.zeros(carried.shape, carried.dtype)
    carried[...] = lax.fori_loop(0, order.shape[0], retreat, nothing)


def _call(kernel: Any, matrices: Array, order: Array, inputs: Any, outputs: Any, *, name: str):
    """Run a kernel once per trajectory.

    Args:
        kernel: receives references to matrices [T, N, N], order [T], inputs and outputs.
        matrices: [T, N, N], the same for every program.
        order: [B, T].
        inputs: arrays [B, ...], of which a program gets one row, or [N], which it gets completely.
        outputs: shapes [B, ...]; a program writes its row.
        name: name of the kernel, for profiles.
    """

    def row(shape):
        return pl.BlockSpec((None, *shape[1:]), lambda b: (b, *[0] * (len(shape) - 1)))

    def whole(shape):
        return pl.BlockSpec(shape, lambda b: (0,) * len(shape))

    specs = [whole(leaf.shape) if leaf.ndim == 1 else row(leaf.shape) for leaf in inputs]
    interpret = jax.default_backend() == "cpu"
    # Eight warps hold a [128, 128] matrix in 64 registers per thread.
    return pl.pallas_call(
        kernel,
        grid=(len(order),),
        in_specs=[whole(matrices.shape), row(order.shape), *specs],
        out_specs=[row(leaf.shape) for leaf in outputs],
        out_shape=outputs,
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(num_warps=8, num_stages=1),
        name=name,
    )(matrices, order, *inputs)


def _padded(array: Array, axes: tuple[int, ...]) -> Array:
    """Pad axes of units to a power of two, as Triton requires; the padding units are silent."""
    units = array.shape[axes[0]]
    missing = max(16, 1 << (units - 1).bit_length()) - units
    return jnp.pad(array, [(0, missing if axis in axes else 0) for axis in range(array.ndim)])


@jax.custom_vjp
def rollout_fused(transitions: Array, order: Array, initial_state: Array) -> Array:
    """Run the recurrence as `rollout_permuted` does, by one kernel per direction.

    Args:
        transitions: [T, N, N] float32, one matrix per distinct velocity.
        order: [B, T] int32, rows are permutations of range(T).
        initial_state: [N] float32, g_0, non-negative.

    Returns:
        States [B, T, N].
    """
    return _fwd(transitions, order, initial_state)[0]


def _fwd(transitions: Array, order: Array, initial_state: Array):
    start = _padded(initial_state, (0,))
    shape = partial(jax.ShapeDtypeStruct, dtype=transitions.dtype)
    states, inverse_norms = _call(
        _walk, _padded(transitions, (1, 2)), order, [start],
        [shape((*order.shape, len(start))), shape(order.shape)], name="rollout",
    )  # fmt: skip
    states = states[..., : len(initial_state)]
    return states, (transitions, order, initial_state, states, inverse_norms)


def _bwd(residuals, cotangents: Array):
    transitions, order, initial_state, states, inverse_norms = residuals
    inputs = [_padded(states, (2,)), inverse_norms, _padded(cotangents, (2,))]
    shape = partial(jax.ShapeDtypeStruct, dtype=transitions.dtype)
    wide = inputs[0].shape
    pushed, carried = _call(
        _walk_back, _padded(transitions, (1, 2)), order, inputs,
        [shape(wide), shape((wide[0], wide[2]))], name="rollout_back",
    )  # fmt: skip
    units = len(initial_state)
    pushed, states = (jnp.moveaxis(of, 1, 0) for of in (pushed[..., :units], states))
    gradients = matrix_gradients(pushed, states, order, initial_state)
    return gradients, None, jnp.sum(carried[:, :units], axis=0)


rollout_fused.defvjp(_fwd, _bwd)
