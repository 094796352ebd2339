"""The surface of the states of all places: tangent planes, distances to it, shifts along it.

Letters: R reference states, N units, S states. Lengths in metres, neural distances relative to the
norm of a state.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

NEIGHBOURS = 24  # states to which a tangent plane is fitted
REACH_M = 0.4  # places farther apart are not neighbours; well below any period


def rectified(states: ArrayLike) -> np.ndarray:
    """Rectify and normalise states [..., N] as `norm_relu` does, float32, without compiling."""
    positive = np.maximum(np.asarray(states, dtype=np.float32), 0)
    length = np.linalg.norm(positive, axis=-1, keepdims=True)
    return positive / np.where(length == 0, 1, length)


@dataclass(frozen=True)
class Manifold:
    """A surface through reference states: the nearest of them, and its tangent plane."""

    states: np.ndarray  # [R, N] of norm 1
    positions_m: np.ndarray  # [R, 2], smoothed over neighbours
    tangents: np.ndarray  # [R, 2, N] orthonormal
    metres: np.ndarray  # [R, 2, 2] displacement in x and y for each unit along each tangent
    tangent_share: float  # median share of the neighbours' variance in the plane
    reach_m: float


def fit_manifold(
    reference: ArrayLike, positions: ArrayLike, *, reach_m: float = REACH_M
) -> Manifold:
    """Fit a tangent plane to the neighbours of every reference state.

    The first two principal components of the most similar states span the plane. These states may
    come from any place, because a periodic code returns to the same surface. Least squares over the
    most similar states within reach then gives the displacement in metres along the plane.

    Args:
        reference: [R, N].
        positions: [R, 2] metres.
        reach_m: places farther apart than this are not neighbours.

    Raises:
        ValueError: shapes that don't match, or too few states, everywhere or within reach.
    """
    codes, places = (np.asarray(a, dtype=np.float32) for a in (reference, positions))
    if codes.ndim != 2 or places.shape != (len(codes), 2) or len(codes) <= NEIGHBOURS:
        raise ValueError(
            f"reference {codes.shape} and positions {places.shape}: must be [R, N] and [R, 2],"
            f" R above {NEIGHBOURS}"
        )
    alike, near = np.empty((2, len(codes), NEIGHBOURS), int)
    for start in range(0, len(codes), 512):
        part = slice(start, start + 512)
        gap = square_distances(codes[part], codes)
        alike[part] = np.argpartition(gap, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        gap[square_distances(places[part], places) > reach_m**2] = np.inf
        near[part] = np.argpartition(gap, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        if np.isinf(np.take_along_axis(gap, near[part], axis=1)).any():
            raise ValueError(f"reach_m={reach_m}: holds fewer than {NEIGHBOURS} reference states")
    around = codes[alike] - codes[alike].mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(around @ around.swapaxes(1, 2))  # [R, NEIGHBOURS, ...]
    scales = np.sqrt(np.maximum(values[:, None, -2:], 1e-12))
    tangents = (vectors[..., -2:] / scales).swapaxes(1, 2) @ around
    middle, place = codes[near].mean(axis=1), places[near].mean(axis=1)
    inside = (codes[near] - middle[:, None]) @ tangents.swapaxes(1, 2)  # [R, NEIGHBOURS, 2]
    metres = np.linalg.pinv(inside) @ (places[near] - place[:, None])
    own = tangents @ (codes - middle)[..., None]
    share = values[:, -2:].sum(axis=1) / np.maximum(values.sum(axis=1), 1e-12)
    return Manifold(
        states=codes,
        positions_m=place + (own.swapaxes(1, 2) @ metres)[:, 0],
        tangents=tangents,
        metres=metres,
        tangent_share=float(np.median(share)),
        reach_m=reach_m,
    )


def locate(
    manifold: Manifold, states: np.ndarray, near_m: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the distance of states to the manifold, and their place along it.

    The distance is measured to the tangent plane at the most similar reference state. The place is
    read in the same plane. For periodic codes, `near_m` reads it in the plane of the most similar
    state near a known place instead.

    Args:
        manifold: of R states.
        states: [..., N].
        near_m: [..., 2] search for places within reach of these.

    Returns:
        distances [...]; places [..., 2], metres.
    """
    shape = states.shape[:-1]
    flat = states.reshape(-1, states.shape[-1])
    asked = None if near_m is None else np.broadcast_to(near_m, (*shape, 2)).reshape(-1, 2)
    nearest, there = np.empty((2, len(flat)), int)
    for start in range(0, len(flat), 1024):
        part = slice(start, start + 1024)
        gap = square_distances(flat[part], manifold.states)
        nearest[part] = there[part] = gap.argmin(axis=1)
        if asked is not None:
            apart = square_distances(asked[part], manifold.positions_m)
            there[part] = np.where(apart <= manifold.reach_m**2, gap, np.inf).argmin(axis=1)
    offset = flat - manifold.states[nearest]
    tangents = manifold.tangents[nearest]
    inside = np.einsum("rkn,rn->rk", tangents, offset)
    outside = offset - np.einsum("rk,rkn->rn", inside, tangents)
    inside = np.einsum("rkn,rn->rk", manifold.tangents[there], flat - manifold.states[there])
    place = manifold.positions_m[there] + np.einsum("rk,rkd->rd", inside, manifold.metres[there])
    return np.linalg.norm(outside, axis=-1).reshape(shape), place.reshape(*shape, 2)


def shift_between(manifold: Manifold, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the shift [..., 2] in metres along the manifold from states [..., N] to others."""
    place = locate(manifold, before)[1]
    return locate(manifold, after, place)[1] - place


def tangents_at(manifold: Manifold, states: np.ndarray) -> np.ndarray:
    """Return the tangents [S, 2, N] at the reference states nearest to states [S, N]."""
    return manifold.tangents[square_distances(states, manifold.states).argmin(axis=1)]


def square_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return squared Euclidean distances [A, B] between points [A, D] and [B, D]."""
    squares = (first**2).sum(-1)[:, None] + (second**2).sum(-1) - 2 * first @ second.T
    return np.maximum(squares, 0)
