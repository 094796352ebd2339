"""Separation and invariance by one fused GPU kernel (Pallas, Triton), with the gradient.

Letters: M states, N units, S states of a tile, e_ij = exp(-|g_i - g_j|^2 / (2 sigma_g^2)).

`pair_losses` sends the products, exponentials and slopes of every tile through the GPU's memory.
Here they stay on the chip, as in flash attention (Dao et al. 2022). One program owns S rows, loops
over all tiles of columns, and writes only [S, N] products and three sums per row. It visits ordered
pairs, so it takes 4 M^2 N multiplications where the tiles take 3 M^2 N, and it needs no atomic
additions.

The formulas are those of `pair_losses`. Nobody has timed this kernel on a GPU yet, so it is off by
default; `python -m experiments.benchmark --json --config.fused_pairs=true` times an update with it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

S = 64  # rows and columns of a tile: a [64, 128] float32 accumulator is 64 registers per thread


def _kernel(
    scalars, rows, row_halves, row_places, columns, halves, places, products, slope_sums, far_sums,
    near_sums, *, precision,
):  # fmt: skip
    """Visit all pairs of this program's S states with every other state."""
    first = pl.program_id(0) * S
    g, half, x, y = rows[...], row_halves[...], row_places[0, :], row_places[1, :]
    square_x, variance, far_slope, near_slope = (scalars[k] for k in range(4))
    row = first + lax.broadcasted_iota(jnp.int32, (S, S), 0)

    def visit(tile, carried):
        product, slope_sum, far_sum, near_sum = carried
        at = pl.ds(tile * S, S)
        other = columns[at, :]  # [S, N]
        # log e_ij = -|g_i|^2 / 2 - |g_j|^2 / 2 + g_i . g_j, for states divided by sigma_g
        inner = lax.dot_general(g, other, (((1,), (1,)), ((), ())), precision=precision)
        log_e = half[:, None] + halves[at][None, :] + inner
        dx, dy = x[:, None] - places[0, at][None, :], y[:, None] - places[1, at][None, :]
        square = dx * dx + dy * dy  # NaN, of padding, is neither near nor far
        column = tile * S + lax.broadcasted_iota(jnp.int32, (S, S), 1)
        near = (square < square_x) & (row != column)  # no state is paired with itself
        similarity = jnp.where(square > square_x, jnp.exp(log_e), 0.0)
        distance = jnp.where(near, jnp.maximum(-2.0 * variance * log_e, 0.0), 0.0)
        slopes = far_slope * similarity + jnp.where(near, near_slope, 0.0)
        product += lax.dot_general(slopes, other, (((1,), (0,)), ((), ())), precision=precision)
        return (
            product,
            slope_sum + jnp.sum(slopes, axis=1),
            far_sum + jnp.sum(similarity, axis=1),
            near_sum + jnp.sum(distance, axis=1),
        )

    nothing = jnp.zeros((S,), g.dtype)
    start = jnp.zeros_like(g), nothing, nothing, nothing
    found = lax.fori_loop(0, columns.shape[0] // S, visit, start)
    for reference, value in zip((products, slope_sums, far_sums, near_sums), found, strict=True):
        reference[...] = value


def _visit_all(
    states: Array, places: Array, scalars: Array, *, interpret: bool, tensor_cores: bool
) -> tuple[Array, Array, Array, Array]:
    """Run the kernel on padded states [M, N] and places [2, M].

    Returns:
        Products A G [M, N], row sums of A [M], and row sums [M] of e over far pairs and of
        |g - g'|^2 over near ones; each unordered pair counts in two rows.
    """
    length, units = states.shape
    halves = -jnp.sum(states**2, axis=-1) / 2
    # Three TF32 products on the tensor cores keep float32's accuracy; an interpreter has no such
    # cores.
    precision: lax.Precision | lax.DotAlgorithmPreset = lax.Precision.HIGHEST
    if tensor_cores and not interpret:
        precision = lax.DotAlgorithmPreset.TF32_TF32_F32_X3
    # A program owns one tile of rows and loops over all columns, so it gets both.
    whole = [
        pl.BlockSpec((length, units), lambda i: (0, 0)),
        pl.BlockSpec((length,), lambda i: (0,)),
        pl.BlockSpec((2, length), lambda i: (0, 0)),
    ]
    own = [
        pl.BlockSpec((S, units), lambda i: (i, 0)),
        pl.BlockSpec((S,), lambda i: (i,)),
        pl.BlockSpec((2, S), lambda i: (0, i)),
    ]
    sums = jax.ShapeDtypeStruct((length,), states.dtype)
    return pl.pallas_call(
        partial(_kernel, precision=precision),
        grid=(length // S,),
        in_specs=[pl.BlockSpec((4,), lambda i: (0,)), *own, *whole],
        out_specs=[own[0], own[1], own[1], own[1]],
        out_shape=[jax.ShapeDtypeStruct(states.shape, states.dtype), sums, sums, sums],
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(num_warps=4, num_stages=2),
        name="pair_losses",
    )(scalars, states, halves, places, states, halves, places)


def count_pairs(positions: Array, sigma_x: Array) -> tuple[Array, Array]:
    """Count unordered far and near pairs of positions [M, 2], as floats; NaN is in no pair."""
    x, y = positions.T
    # XLA fuses comparison and sum, so that no [M, M] array is stored.
    square = (x[:, None] - x[None, :]) ** 2 + (y[:, None] - y[None, :]) ** 2
    one = jnp.ones((), positions.dtype)
    far = jnp.sum(jnp.where(square > sigma_x**2, one, 0), axis=1)
    near = jnp.sum(jnp.where(square < sigma_x**2, one, 0), axis=1)
    present = jnp.sum(jnp.where(jnp.isnan(x), 0, one))  # each of them is near itself
    itself = jnp.where(sigma_x > 0, present, 0)
    return jnp.sum(far) / 2, (jnp.sum(near) - itself) / 2


def fused_pass(
    states: Array, positions: Array, sigma_x: Array, sigma_g: Array, weights: Array, *,
    reduction: str, tensor_cores: bool = False,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Compute the pair losses and their gradient with the fused kernel.

    Args:
        states: [M, N] float32.
        positions: [M, 2] metres; a state at NaN is in no pair.
        sigma_x: scalar, metres.
        sigma_g: scalar.
        weights: [2], of separation and of invariance.
        reduction: "mean" over pairs, or "sum" over unordered pairs.
        tensor_cores: multiply by three TF32 products each instead of float32.

    Returns:
        The weighted total, separation and invariance [2], the numbers of far and near pairs [2],
        and the gradient of the total [M, N].
    """
    number, units = states.shape
    positions = jnp.where(jnp.isnan(positions).any(axis=1, keepdims=True), jnp.nan, positions)
    num_far, num_near = count_pairs(positions, sigma_x)
    one = jnp.ones((), states.dtype)
    per_far = 1 / jnp.maximum(num_far, 1) if reduction == "mean" else one
    per_near = 1 / jnp.maximum(num_near, 1) if reduction == "mean" else one
    variance = sigma_g * sigma_g
    scalars = jnp.stack(
        [sigma_x * sigma_x, variance, -weights[0] * per_far / variance, 2 * weights[1] * per_near]
    )
    # Triton wants powers of two; zero units change nothing, and padded states stand at NaN.
    wide = max(16, 1 << (units - 1).bit_length())
    missing = -number % S
    centred = (states - jnp.mean(states, axis=0, keepdims=True)) / sigma_g
    padded = jnp.pad(centred, ((0, missing), (0, wide - units)))
    places = jnp.pad(positions, ((0, missing), (0, 0)), constant_values=jnp.nan).T
    interpret = jax.default_backend() == "cpu"
    products, slope_sums, far_sums, near_sums = _visit_all(
        padded, places, scalars, interpret=interpret, tensor_cores=tensor_cores
    )
    terms = jnp.stack([jnp.sum(far_sums) / 2 * per_far, jnp.sum(near_sums) / 2 * per_near])
    # The graph Laplacian of A: (sum_j A_ij) g_i - (A G)_i.
    gradient = sigma_g * (slope_sums[:, None] * padded - products)
    counts = jnp.stack([num_far, num_near])
    return jnp.sum(weights * terms), terms, counts, gradient[:number, :units]
