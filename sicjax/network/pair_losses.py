"""Separation and invariance over all pairs of states, in tiles: exact gradient, O(M) memory.

Letters: M = B*T states, N units, K tiles of S states; e_ij = exp(-|g_i - g_j|^2 / (2 sigma_g^2)).

Both losses are sums over pairs of a function of |g_i - g_j|^2. With A_ij twice its derivative,
weighted, the gradient is the graph Laplacian of A applied to the states:

    d loss / d g_i = sum_j A_ij (g_i - g_j) = (sum_j A_ij) g_i - (A G)_i
    A_ij = -w_sep e_ij / sigma_g^2 for a far pair, 2 w_inv for a near one

One pass over tiles of pairs gives loss and gradient together; no M x M array exists. A is
symmetric, so each unordered pair of tiles is visited once. The row sums of A need no extra pass: A
is also multiplied with a unit that is 1 in every state. The same product with e is the loss itself.
The states are first sorted along x. Tiles further apart in x than sigma_x have only far pairs and
need no positions. The other pairs of tiles *touch*. Their near and far pairs are counted first,
because A contains the weights of the means.

Several devices may share one network's pairs (`Split`). Each device has all states, takes every
D-th pair of tiles, and returns its share of the total and of the gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from sicjax.devices.split import WHOLE, Split
from sicjax.network.model import PRECISION


class PairTerms(NamedTuple):
    """The terms that one pass over the pairs computes."""

    separation: Array  # scalar, unweighted, reduced as asked
    invariance: Array  # scalar, unweighted, reduced as asked
    num_far: Array  # scalar float: unordered pairs with |x - x'| > sigma_x
    num_near: Array  # scalar float: unordered pairs with |x - x'| < sigma_x


class _Tiles(NamedTuple):
    """Centred states, sorted along x. Padding has position NaN, which is neither near nor far."""

    states: Array  # [K, S, N], divided by sigma_g
    halves: Array  # [K, S], minus half their squares
    positions: Array  # [K, 2, S]
    pairs: Array  # [K (K + 1) / 2, 2] int32: unordered pairs of tiles (or a share), touching first
    touching: Array | int  # scalar: number of touching pairs; in the others all states are far


def _tile_size(num_states: int, branch: bool) -> int:
    """Choose the width S of a tile.

    Wide tiles make efficient products; narrow ones touch less often and need less padding. A CPU's
    caches hold up to 256 x 256 pairs, and each pair of tiles costs as much as 50 x 50 more pairs of
    states (measured). An accelerator does not branch, and handles pairs of tiles one after another,
    so it gets at most 36 of them up to M = 8,192 (an estimate, not measured).
    """
    if num_states < 512:
        return int(np.clip(2 ** round(np.log2(max(num_states, 1) / 16)), 8, 32))
    if not branch:
        number = -(-num_states // 1024)
        return -(-num_states // (128 * number)) * 128

    def work(size: int) -> int:
        number = -(-num_states // size)
        return number * (number + 1) * (size**2 + 50**2)

    return min(range(128, 257, 32), key=work)


def most_shares(num_states: int) -> int:
    """Return the number of CPU devices worth using for these states: four tile pairs or more each.

    Every device also computes all W(v) and the optimiser's update. At M = 1,920 this takes as long
    as 40 pairs of tiles, so further devices save less than a tenth of an update (measured).
    """
    number = -(-num_states // _tile_size(num_states, True))
    return max(number * (number + 1) // 2 // 4, 2)


def _make_tiles(
    states: Array, positions: Array, sigma_x: Array, split: Split, branch: bool
) -> _Tiles:
    size = _tile_size(states.shape[0], branch)
    number = -(-states.shape[0] // size)
    pairs = np.stack(np.triu_indices(number), axis=1).astype(np.int32)
    if missing := -len(pairs) % split.count:  # pad all shares to one length with an empty tile
        pairs = np.concatenate([pairs, np.full((missing, 2), number, np.int32)])
        number += 1
    mine = jnp.asarray(split.every(pairs))
    padding = ((0, number * size - states.shape[0]), (0, 0))
    states = jnp.pad(states, padding).reshape(-1, size, states.shape[1])
    positions = jnp.pad(positions, padding, constant_values=jnp.nan).reshape(-1, size, 2)
    positions = jnp.swapaxes(positions, 1, 2)
    touching: Array | int = len(mine)
    if branch:
        left, right = mine.T
        x = positions[:, 0]
        complete = ~jnp.isnan(x[:, -1])  # NaN sorts last
        apart = (x[right, 0] - x[left, -1] > sigma_x) & complete[left] & complete[right]
        mine, touching = mine[jnp.argsort(apart)], jnp.sum(~apart)
    return _Tiles(states, -jnp.sum(states**2, axis=-1) / 2, positions, mine, touching)


def _near_and_far(
    distinct: Array | bool, a: Array, b: Array, sigma_x: Array
) -> tuple[Array, Array]:
    """Return masks [S, S] of near and of far pairs, from the positions [2, S] of two tiles.

    If a tile is paired with itself (not `distinct`), each pair of states counts once.
    """
    dx, dy = a[0][:, None] - b[0][None, :], a[1][:, None] - b[1][None, :]
    elsewhere = jnp.tril(jnp.full_like(dx, jnp.nan))  # NaN is neither near nor far
    square = dx * dx + dy * dy + jnp.where(distinct, 0, elsewhere)
    return square < sigma_x * sigma_x, square > sigma_x * sigma_x


def _visit(
    tiles: _Tiles, start: Array | int, stop: Array | int, visit: Callable, carry: Any
) -> Any:
    """Call `visit(carry, left, right)` for the pairs of tiles from `start` to `stop`."""
    return lax.fori_loop(start, stop, lambda k, carry: visit(carry, *tiles.pairs[k]), carry)


def _choose(branch: bool, distinct: Array, function: Callable, *operands: Array) -> Any:
    """Call `function(distinct, *operands)`, inside a branch where branches are on.

    Operands are sliced before the call. Otherwise a CPU's loops would slice them again for every
    pair of states.
    """
    if branch:
        return lax.cond(distinct, partial(function, True), partial(function, False), *operands)
    return function(distinct, *operands)


def _count_pairs(tiles: _Tiles, sigma_x: Array, branch: bool) -> Array:
    """Count far and near pairs, [2], in floats (M^2 exceeds int32)."""
    dtype, size = tiles.states.dtype, tiles.states.shape[1]
    one = jnp.ones((), dtype)

    def count(distinct, a, b):
        near, far = _near_and_far(distinct, a, b, sigma_x)
        return _partial_sums(jnp.where(far, one, 0)), _partial_sums(jnp.where(near, one, 0))

    def visit(counts, left, right):
        a, b = tiles.positions[left], tiles.positions[right]
        return counts + jnp.stack(_choose(branch, left < right, count, a, b))

    counts = _visit(tiles, 0, tiles.touching, visit, jnp.zeros((2, size), dtype))
    apart = jnp.asarray(len(tiles.pairs) - tiles.touching, dtype)
    return jnp.sum(counts, axis=1).at[0].add(apart * size**2)


def _partial_sums(block: Array) -> Array:
    """Sum [S, S] -> [S], along the axis for which a CPU adds whole rows."""
    return jnp.sum(block, axis=0)


def _product(a: Array, b: Array, over: tuple[int, int]) -> Array:
    return lax.dot_general(a, b, (((over[0],), (over[1],)), ((), ())), precision=PRECISION)


def _one_pass(
    states, positions, sigma_x, sigma_g, weights, *, reduction, branch, split, with_gradient
):
    """Compute the total, the terms, separation and invariance, and the gradient [M, N] or None.

    The terms are complete; everything else is this device's share.
    """
    positions = jnp.where(jnp.isnan(positions).any(axis=1, keepdims=True), jnp.nan, positions)
    order = jnp.argsort(positions[:, 0])
    # Subtracting the mean keeps all distances and reduces their rounding errors.
    centred = (states - jnp.mean(states, axis=0, keepdims=True))[order] / sigma_g
    tiles = _make_tiles(centred, positions[order], sigma_x, split, branch)

    num_far, num_near = split.total(_count_pairs(tiles, sigma_x, branch))
    one = jnp.ones((), states.dtype)
    per_far = 1 / jnp.maximum(num_far, 1) if reduction == "mean" else one
    per_near = 1 / jnp.maximum(num_near, 1) if reduction == "mean" else one
    variance = sigma_g * sigma_g
    far_slope = -weights[0] * per_far / variance
    near_slope = 2 * weights[1] * per_near

    # A is multiplied with the states, and with a unit that is 1 in all of them.
    unit = jnp.ones((*tiles.states.shape[:2], 1), states.dtype)
    columns = jnp.concatenate([tiles.states, unit], axis=2) if with_gradient else unit
    columns = jnp.swapaxes(columns, 1, 2)  # [K, N + 1, S]

    def look_up(left, right):
        inner = _product(tiles.states[left], tiles.states[right], (1, 1))
        return inner, tiles.halves[left], tiles.halves[right]

    def log_similarity(inner, left_half, right_half):
        return left_half[:, None] + right_half[None, :] + inner

    def add(products, slopes, left, right):
        products = products.at[left].add(_product(columns[right], slopes, (1, 1)))
        return products.at[right].add(_product(columns[left], slopes, (1, 0)))

    def visit_apart(products, left, right):
        return add(products, jnp.exp(log_similarity(*look_up(left, right))), left, right)

    # In touching tiles: slopes A_ij, and partial sums of e and of |g - g'|^2.
    def touch(distinct, inner, left_half, right_half, a, b):
        near, far = _near_and_far(distinct, a, b, sigma_x)
        log_e = log_similarity(inner, left_half, right_half)
        similarity = jnp.where(far, jnp.exp(log_e), 0)
        square = jnp.where(near, jnp.maximum(-2 * variance * log_e, 0), 0)
        slopes = far_slope * similarity + jnp.where(near, near_slope, 0)
        return slopes, _partial_sums(similarity), _partial_sums(square)

    def visit_touching(carry, left, right):
        products, far_sums, near_sums = carry
        slopes, far, near = _choose(
            branch, left < right, touch, *look_up(left, right),
            tiles.positions[left], tiles.positions[right],
        )  # fmt: skip
        if with_gradient:
            products = add(products, slopes, left, right)
        return products, far_sums + far, near_sums + near

    products = _visit(tiles, tiles.touching, len(tiles.pairs), visit_apart, jnp.zeros_like(columns))
    far_sums = jnp.sum(products[:, -1], axis=0) / 2  # each pair counts in two row sums
    start = far_slope * products, far_sums, jnp.zeros_like(far_sums)
    products, far_sums, near_sums = _visit(tiles, 0, tiles.touching, visit_touching, start)

    shares = jnp.stack([jnp.sum(far_sums) * per_far, jnp.sum(near_sums) * per_near])
    separation, invariance = split.total(shares)
    terms = PairTerms(separation, invariance, num_far, num_near)
    total = weights[0] * shares[0] + weights[1] * shares[1]
    if not with_gradient:
        return total, terms, shares, None
    # Laplacian: (sum_j A_ij) g_i - (A G)_i, back in the order of the input.
    gradient = sigma_g * (products[:, -1:] * columns[:, :-1] - products[:, :-1])
    gradient = jnp.swapaxes(gradient, 1, 2).reshape(-1, states.shape[1])[: len(order)]
    return total, terms, shares, jnp.zeros_like(states).at[order].set(gradient)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7, 8))
def pair_losses(
    states: Array,
    positions: Array,
    sigma_x: Array,
    sigma_g: Array,
    weights: Array,
    reduction: str = "mean",
    branch: bool = True,
    split: Split = WHOLE,
    fused: bool = False,
) -> tuple[Array, PairTerms]:
    """Return the weighted sum of separation and invariance, differentiable, and its terms.

    Args:
        states: [M, N].
        positions: [M, 2] metres; a state at NaN is in no pair.
        sigma_x: scalar, metres. The losses are step functions of it and of the positions, so
            these gradients are zero.
        sigma_g: scalar.
        weights: [2], of separation and of invariance.
        reduction: "mean" over such pairs, or "sum" over unordered pairs.
        branch: skip the position test for tiles that lie apart. Use False under `vmap`, where a
            branch costs both its sides, and for a second derivative in reverse mode (forward over
            reverse works either way).
        split: how devices share the pairs; all devices have the same arguments.
        fused: use the GPU kernel of `pair_kernel`, without `branch` and `split`.

    Returns:
        The total, or this device's share of it, and complete `PairTerms`, whose derivatives are
        taken as zero.
    """
    if fused:
        return _fused(states, positions, sigma_x, sigma_g, weights, reduction)[:2]
    return _one_pass(
        states, positions, sigma_x, sigma_g, weights,
        reduction=reduction, branch=branch, split=split, with_gradient=False,
    )[:2]  # fmt: skip


def _fused(states, positions, sigma_x, sigma_g, weights, reduction):
    """Compute what `_one_pass` does, by the fused kernel."""
    from sicjax.network.pair_kernel import fused_pass  # Pallas is loaded only where it is used

    total, shares, counts, gradient = fused_pass(
        states, positions, sigma_x, sigma_g, weights, reduction=reduction
    )
    return total, PairTerms(*shares, *counts), shares, gradient


def _pair_losses_fwd(states, positions, sigma_x, sigma_g, weights, reduction, branch, split, fused):
    if fused:
        found = _fused(states, positions, sigma_x, sigma_g, weights, reduction)
    else:
        found = _one_pass(
            states, positions, sigma_x, sigma_g, weights,
            reduction=reduction, branch=branch, split=split, with_gradient=True,
        )  # fmt: skip
    total, terms, shares, gradient = found
    # Separation depends only on states / sigma_g, and invariance is quadratic in the states. So by
    # Euler's theorem states . gradient = -sigma_g d(separation)/d(sigma_g) + 2 invariance.
    radial = jnp.sum((states - jnp.mean(states, axis=0, keepdims=True)) * gradient)
    sigma_g_gradient = (2 * weights[1] * shares[1] - radial) / sigma_g
    zeros = jnp.zeros_like(positions), jnp.zeros_like(sigma_x)
    return (total, terms), (gradient, *zeros, sigma_g_gradient, shares)


def _pair_losses_bwd(reduction, branch, split, fused, gradients, cotangents):
    return tuple(cotangents[0] * gradient for gradient in gradients)


pair_losses.defvjp(_pair_losses_fwd, _pair_losses_bwd)
