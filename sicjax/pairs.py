"""Separation and invariance over all pairs of states: tiled, with the exact gradient, O(M) memory.

Letters: M = B*T states, N units, K tiles of S states; e_ij = exp(-|g_i - g_j|^2 / (2 sigma_g^2)).

Both losses are sums over pairs of a function of |g_i - g_j|^2. With A_ij twice its derivative,
weighted, the gradient is the graph Laplacian of A applied to the states:

    d loss / d g_i = sum_j A_ij (g_i - g_j) = (sum_j A_ij) g_i - (A G)_i
    A_ij = -w_sep e_ij / sigma_g^2 for a far pair, 2 w_inv for a near one

One pass over tiles of pairs yields loss and gradient together; no M x M array exists. A is
symmetric, so each unordered pair of tiles is visited once. The states are first sorted along x:
tiles that lie further apart in x than sigma_x hold far pairs alone and need no positions.

Several devices may share one network's pairs (`Split`): each has all states, takes every D-th
pair of tiles, and returns its share of the total and of the gradient.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from sicjax.model import PRECISION
from sicjax.parallel import WHOLE, Split


class PairTerms(NamedTuple):
    """What one pass over the pairs measures."""

    separation: Array  # scalar, unweighted, reduced as asked
    invariance: Array  # scalar, unweighted, reduced as asked
    num_far: Array  # scalar float: unordered pairs with |x - x'| > sigma_x
    num_near: Array  # scalar float: unordered pairs with |x - x'| < sigma_x


class _Tiles(NamedTuple):
    """Centred states sorted along x. Missing ones stand at NaN, which is neither near nor far."""

    states: Array  # [K, S, N]
    positions: Array  # [K, 2, S]
    pairs: (
        np.ndarray | Array
    )  # [K (K + 1) / 2, 2] int32: each unordered pair of tiles, or a share of them
    apart: Array  # [len(pairs)] bool: all pairs of states in this pair of tiles are far


def _tile_size(num_states: int) -> int:
    """Wide enough for efficient products, narrow enough that few tiles touch in space."""
    return int(np.clip(2 ** round(np.log2(max(num_states, 1) / 16)), 8, 256))


def _make_tiles(states: Array, positions: Array, sigma_x: Array, split: Split) -> _Tiles:
    size = _tile_size(states.shape[0])
    number = -(-states.shape[0] // size)
    pairs = np.stack(np.triu_indices(number), axis=1).astype(np.int32)
    if missing := -len(pairs) % split.count:  # a tile of missing states fills the shares up
        pairs = np.concatenate([pairs, np.full((missing, 2), number, np.int32)])
        number += 1
    mine = split.every(pairs)
    padding = ((0, number * size - states.shape[0]), (0, 0))
    states = jnp.pad(states, padding).reshape(-1, size, states.shape[1])
    positions = jnp.pad(positions, padding, constant_values=jnp.nan).reshape(-1, size, 2)
    positions = jnp.swapaxes(positions, 1, 2)
    left, right = mine.T
    x = positions[:, 0]
    complete = ~jnp.isnan(x[:, -1])  # NaN sorts last
    apart = (x[right, 0] - x[left, -1] > sigma_x) & complete[left] & complete[right]
    return _Tiles(states, positions, mine, apart)


def _near_and_far(a: Array, b: Array, distinct: Array, sigma_x: Array) -> tuple[Array, Array]:
    """Masks [S, S] of near and far pairs from positions [2, S] of two tiles.

    In a pair of a tile with itself (not `distinct`) each pair of states is counted once.
    """
    dx, dy = a[0][:, None] - b[0][None, :], a[1][:, None] - b[1][None, :]
    elsewhere = np.tril(np.full(dx.shape, np.nan, dx.dtype))  # NaN is neither near nor far
    square = dx * dx + dy * dy + jnp.where(distinct, 0, elsewhere)
    return square < sigma_x * sigma_x, square > sigma_x * sigma_x


def _choose(branch: bool, apart: Array, when_apart, otherwise, *operands: Array):
    """`when_apart` or `otherwise` of the operands; only the second without `branch`.

    Tiles are cut out before the branch: in it, each loop would look its tile up for every entry.
    """
    if branch:
        return lax.cond(apart, when_apart, otherwise, *operands)
    return otherwise(*operands)


def _count_pairs(tiles: _Tiles, sigma_x: Array, *, branch: bool) -> tuple[Array, Array]:
    """Numbers of far and near pairs: exact within a tile, added as floats (M^2 outgrows int32)."""
    dtype, size = tiles.states.dtype, tiles.states.shape[1]

    def when_apart(a, b, distinct):
        return jnp.full((), size**2, dtype), jnp.zeros((), dtype)

    def otherwise(a, b, distinct):
        near, far = _near_and_far(a, b, distinct, sigma_x)
        return jnp.sum(far, dtype=dtype), jnp.sum(near, dtype=dtype)

    def visit(_, pair):
        left, right, apart = pair
        a, b = tiles.positions[left], tiles.positions[right]
        return None, _choose(branch, apart, when_apart, otherwise, a, b, left < right)

    far, near = lax.scan(visit, None, (*tiles.pairs.T, tiles.apart))[1]
    return jnp.sum(far), jnp.sum(near)


def _product(a: Array, b: Array, over: tuple[int, int]) -> Array:
    return lax.dot_general(a, b, (((over[0],), (over[1],)), ((), ())), precision=PRECISION)


def _one_pass(
    states, positions, sigma_x, sigma_g, weights, *, reduction, branch, split, with_gradient
):
    """Total, terms, separation and invariance, and the total's gradient [M, N] (zero unless asked).

    The terms are whole, all else is this device's share.
    """
    positions = jnp.where(jnp.isnan(positions).any(axis=1, keepdims=True), jnp.nan, positions)
    order = jnp.argsort(positions[:, 0])
    # Distances don't change when the mean is subtracted, and their rounding errors shrink.
    centred = (states - jnp.mean(states, axis=0))[order]
    tiles = _make_tiles(centred, positions[order], sigma_x, split)
    variance = sigma_g * sigma_g
    log_half = -jnp.sum(tiles.states**2, axis=-1) / (2 * variance)  # log e_ij = two of these + ...

    num_far, num_near = split.total(_count_pairs(tiles, sigma_x, branch=branch))
    one = jnp.ones((), states.dtype)
    per_far = 1 / jnp.maximum(num_far, 1) if reduction == "mean" else one
    per_near = 1 / jnp.maximum(num_near, 1) if reduction == "mean" else one
    far_slope = -weights[0] * per_far / variance
    near_slope = 2 * weights[1] * per_near

    # log e_ij of two tiles, from the inner products of their states.
    def log_similarity(inner, left_half, right_half):
        return left_half[:, None] + right_half[None, :] + inner / variance

    # Each gives the slopes A_ij up to a factor, that factor, and its sums of e and of |g - g'|^2.
    def when_apart(inner, left_half, right_half, a, b, distinct):
        similarity = jnp.exp(log_similarity(inner, left_half, right_half))
        return similarity, far_slope, jnp.sum(similarity), jnp.zeros_like(one)

    def otherwise(inner, left_half, right_half, a, b, distinct):
        near, far = _near_and_far(a, b, distinct, sigma_x)
        log_e = log_similarity(inner, left_half, right_half)
        similarity = jnp.where(far, jnp.exp(log_e), 0)
        square = jnp.where(near, jnp.maximum(-2 * variance * log_e, 0), 0)
        slopes = far_slope * similarity + jnp.where(near, near_slope, 0)
        return slopes, one, jnp.sum(similarity), jnp.sum(square)

    def visit(gradient, pair):
        left, right, apart = pair
        slopes, factor, far_sum, near_sum = _choose(
            branch, apart, when_apart, otherwise,
            _product(tiles.states[left], tiles.states[right], (1, 1)),
            log_half[left], log_half[right],
            tiles.positions[left], tiles.positions[right], left < right,
        )  # fmt: skip
        if with_gradient:  # outside the branch, where it is updated in place
            to_left = jnp.sum(slopes, axis=1)[:, None] * tiles.states[left]
            to_left -= _product(slopes, tiles.states[right], (1, 0))
            to_right = jnp.sum(slopes, axis=0)[None, :] * transposed[right]
            to_right -= _product(transposed[left], slopes, (1, 0))
            gradient = (
                gradient[0].at[left].add(factor * to_left),
                gradient[1].at[right].add(factor * to_right),
            )
        return gradient, (far_sum, near_sum)

    # The right tile's share is held transposed, as [N, S]: its product then needs no transpose.
    transposed = jnp.swapaxes(tiles.states, 1, 2)
    start = jnp.zeros_like(tiles.states), jnp.zeros_like(transposed)
    parts, (far_sums, near_sums) = lax.scan(visit, start, (*tiles.pairs.T, tiles.apart))
    shares = jnp.stack([jnp.sum(far_sums) * per_far, jnp.sum(near_sums) * per_near])
    separation, invariance = split.total(shares)
    terms = PairTerms(separation, invariance, num_far, num_near)
    gradient = (parts[0] + jnp.swapaxes(parts[1], 1, 2)).reshape(-1, states.shape[1])
    gradient = gradient[jnp.argsort(order)]
    return weights[0] * shares[0] + weights[1] * shares[1], terms, shares, gradient


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def pair_losses(
    states: Array,
    positions: Array,
    sigma_x: Array,
    sigma_g: Array,
    weights: Array,
    reduction: str = "mean",
    branch: bool = True,
    split: Split = WHOLE,
) -> tuple[Array, PairTerms]:
    """Weighted sum of separation and invariance, differentiable; and its terms, which are not.

    Args:
        states: [M, N].
        positions: [M, 2] metres; a state at NaN enters no pair.
        sigma_x: scalar, metres. The losses are step functions of it and of the positions, so
            those gradients are zero.
        sigma_g: scalar.
        weights: [2], of separation and of invariance.
        reduction: "mean" over such pairs, or "sum" over unordered pairs.
        branch: skip the position test for tiles that lie apart. False under `vmap`, where a
            branch costs both its sides.
        split: over the devices that share the pairs; all hold the same arguments.

    Returns:
        The total, or this device's share of it, and `PairTerms`, which are whole (derivatives of
        the terms are taken as zero).
    """
    return _one_pass(
        states, positions, sigma_x, sigma_g, weights,
        reduction=reduction, branch=branch, split=split, with_gradient=False,
    )[:2]  # fmt: skip


def _pair_losses_fwd(states, positions, sigma_x, sigma_g, weights, reduction, branch, split):
    total, terms, shares, gradient = _one_pass(
        states, positions, sigma_x, sigma_g, weights,
        reduction=reduction, branch=branch, split=split, with_gradient=True,
    )  # fmt: skip
    # Separation depends on states / sigma_g alone, invariance is quadratic in the states; by
    # Euler's theorem states . gradient is -sigma_g d/d sigma_g of one plus twice the other.
    radial = jnp.sum((states - jnp.mean(states, axis=0)) * gradient)
    sigma_g_gradient = (2 * weights[1] * shares[1] - radial) / sigma_g
    zeros = jnp.zeros_like(positions), jnp.zeros_like(sigma_x)
    return (total, terms), (gradient, *zeros, sigma_g_gradient, shares)


def _pair_losses_bwd(reduction, branch, split, gradients, cotangents):
    return tuple(cotangents[0] * gradient for gradient in gradients)


pair_losses.defvjp(_pair_losses_fwd, _pair_losses_bwd)
