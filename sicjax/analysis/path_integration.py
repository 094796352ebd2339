"""Path integration: consistency, drift, decoding, distances and conformality of a code.

Letters: W walks, T steps, N units, S samples, D directions, K bins (of distance or of the number of
steps, counted from 1: index t of a walk is step t + 1). Lengths in metres. States are
compared by Euclidean distance, and every function takes plain arrays.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.manifold import rectified
from sicjax.analysis.ratemaps import bin_index, bin_positions, check_box, check_ratemaps

_PAIRS_AT_ONCE = 4_000_000
_TIMES = 50  # steps sampled from one span of a walk


@dataclass(frozen=True)
class Binned:
    """One quantity as a function of another, in K bins; NaN where a bin is empty."""

    edges: np.ndarray  # [K + 1]
    mean: np.ndarray  # [K]
    std: np.ndarray  # [K]
    count: np.ndarray  # [K] int


@dataclass(frozen=True)
class Drift:
    """Distance of the code from its map at the true place, in K spans of a walk."""

    edges: np.ndarray  # [K + 1] bins of steps since the start
    distance: np.ndarray  # [K] mean neural distance to the map's state at the true place
    error_m: np.ndarray  # [K] median distance from the decoded to the true place
    chance_distance: float  # the same two, for a true place drawn at random
    chance_error_m: float


@dataclass(frozen=True)
class Conformality:
    """Speed of the code per metre, by place and by direction."""

    directions_deg: np.ndarray  # [D] counter-clockwise from +x
    by_direction: np.ndarray  # [D] mean speed over places, 1/m
    by_place: np.ndarray  # [bins, bins] mean speed over directions, 1/m; NaN where unvisited
    mean: float  # 1/m
    variation: float  # standard deviation over mean, over places and directions
    anisotropy: float  # largest over smallest speed at one place, median over samples


def distance_against_separation(
    states: ArrayLike, positions: ArrayLike, edges_m: ArrayLike
) -> Binned:
    """Bin the neural distance |g - g'| of all pairs of samples by their physical distance.

    Args:
        states: [S, N].
        positions: [S, 2] metres.
        edges_m: [K + 1], bins of physical distance, rising.

    Raises:
        ValueError: shapes that don't match, or edges that don't rise.
    """
    codes, places = _check_samples(states, positions)
    edges = np.asarray(edges_m, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges_m has shape {edges.shape}; it must be [K + 1] and rise")
    total = np.zeros((3, len(edges) - 1))  # count, sum, sum of squares
    rows = max(1, _PAIRS_AT_ONCE // len(codes))
    for start in range(0, len(codes), rows):
        part = slice(start, start + rows)
        later = np.arange(len(codes)) > np.arange(len(codes))[part, None]  # each pair once
        apart = _distances(places[part], places)[later]
        neural = _distances(codes[part], codes)[later]
        for row, weights in zip(total, (None, neural, neural**2), strict=True):
            row += np.histogram(apart, edges, weights=weights)[0]
    return _binned(edges, *total)


def distance_at_same_place(
    states: ArrayLike, positions: ArrayLike, edges_steps: ArrayLike, *, radius_m: float = 0.02
) -> Binned:
    """Bin the neural distance between walks at the same place by the steps since the start.

    Args:
        states: [W, T, N], of walks with the same start and the same initial state.
        positions: [W, T, 2] metres.
        edges_steps: [K + 1], bins of steps since the start, rising. States of different walks are
            compared within one bin.
        radius_m: places nearer than this count as the same.

    Raises:
        ValueError: shapes that don't match.
    """
    codes, places = _check_walks(states, positions)
    edges = np.asarray(edges_steps, dtype=int)
    at_once = max(1, int(np.sqrt(_PAIRS_AT_ONCE) / len(codes)))
    times, owner = _times(edges, codes.shape[1], at_once)
    sums = np.zeros((3, len(edges) - 1))
    for k in range(len(edges) - 1):
        chosen = times[owner == k]
        walk = np.repeat(np.arange(len(codes)), len(chosen))
        place = places[:, chosen].reshape(-1, 2)
        same = (_distances(place, place) < radius_m) & (walk[:, None] < walk)
        one, two = np.nonzero(same)
        flat = codes[:, chosen].reshape(-1, codes.shape[2])
        neural = np.linalg.norm(flat[one] - flat[two], axis=-1)
        sums[:, k] = len(neural), neural.sum(), (neural**2).sum()
    return _binned(edges, *sums)


def decode_positions(states: ArrayLike, ratemaps: ArrayLike, box_m: float) -> np.ndarray:
    """Decode each state as the place whose mean state is most like it (largest cosine).

    Args:
        states: [..., N].
        ratemaps: [N, bins, bins], NaN where unvisited; such places are never returned.
        box_m: side of the box, metres.

    Returns:
        [..., 2] metres from the box's centre. A single module repeats itself, so the code of one
        module cannot distinguish places a period apart.

    Raises:
        ValueError: shapes that don't match, or a box that is not one positive length.
    """
    codes = np.asarray(states, dtype=np.float32)
    directions, places = _code_book(ratemaps, box_m)
    if codes.shape[-1] != directions.shape[1]:
        raise ValueError(f"states {codes.shape}: must be [..., {directions.shape[1]}], as the maps")
    flat = codes.reshape(-1, codes.shape[-1])
    best = np.empty(len(flat), dtype=int)
    for start in range(0, len(flat), 4096):
        best[start : start + 4096] = np.argmax(flat[start : start + 4096] @ directions.T, axis=1)
    return places[best].reshape(*codes.shape[:-1], 2)


def drift(
    states: ArrayLike, positions: ArrayLike, edges_steps: ArrayLike, ratemaps: ArrayLike,
    box_m: float,
) -> Drift:  # fmt: skip
    """Measure how the code departs from its map during a walk.

    Args:
        states: [W, T, N].
        positions: [W, T, 2] metres, inside the box.
        edges_steps: [K + 1], bins of steps since the start, rising.
        ratemaps: [N, bins, bins], the code near the start of a walk: maps of short walks.
        box_m: side of their box, metres.

    Raises:
        ValueError: shapes that don't match.
    """
    codes, places = _check_walks(states, positions)
    edges = np.asarray(edges_steps, dtype=int)
    times, owner = _times(edges, codes.shape[1], _TIMES)
    codes, places = codes[:, times].astype(np.float32), places[:, times]
    directions, centres = _code_book(ratemaps, box_m)
    decoded = decode_positions(codes, ratemaps, box_m)
    # The expected state is the map's, in the bin nearest to the true place; all are unit vectors.
    flat, place = codes.reshape(-1, codes.shape[-1]), places.reshape(-1, 2)
    nearest = np.concatenate(
        [np.argmin(_distances(part, centres), axis=1) for part in np.array_split(place, 20)]
    )
    expected = directions[nearest].reshape(codes.shape)
    distances = np.linalg.norm(codes - expected, axis=-1)
    errors = np.linalg.norm(decoded - places, axis=-1)
    other = np.random.default_rng(0).permutation(len(nearest))  # another sample's place
    random_errors = np.linalg.norm(decoded.reshape(-1, 2) - place[other], axis=-1)
    bins = range(len(edges) - 1)
    return Drift(
        edges=edges,
        distance=np.array([distances[:, owner == k].mean() for k in bins]),
        error_m=np.array([np.median(errors[:, owner == k]) for k in bins]),
        chance_distance=float(np.linalg.norm(flat - directions[nearest[other]], axis=-1).mean()),
        chance_error_m=float(np.median(random_errors)),
    )


def explained_by_maps(
    states: ArrayLike, positions: ArrayLike, edges_steps: ArrayLike, ratemaps: ArrayLike,
    box_m: float,
) -> np.ndarray:  # fmt: skip
    """Return the share of each unit's variance that its map at the true position explains, by span.

    The share is 1 - mean (activity - map)^2 / variance. It is 1 while the code agrees with its map,
    and 0 or less if the map predicts no better than the unit's mean. A periodic code is not
    penalised.

    Args:
        states: [W, T, N].
        positions: [W, T, 2] metres, inside the box.
        edges_steps: [K + 1], bins of steps since the start, rising.
        ratemaps: [N, bins, bins], the code near the start of a walk: maps of short walks.
        box_m: side of their box, metres.

    Returns:
        [K, N]; NaN for a unit that doesn't vary.

    Raises:
        ValueError: shapes that don't match.
    """
    codes, places = _check_walks(states, positions)
    maps, edges = check_ratemaps(ratemaps), np.asarray(edges_steps, dtype=int)
    times, owner = _times(edges, codes.shape[1], _TIMES)
    table = maps.reshape(len(maps), -1).T
    shares = []
    for k in range(len(edges) - 1):
        chosen = times[owner == k]
        active = codes[:, chosen].reshape(-1, codes.shape[2])
        index = bin_index(places[:, chosen].reshape(-1, 2), box_m, maps.shape[1])
        known = np.append(np.isfinite(table).all(axis=1), False)[index]
        active, expected = active[known], table[index[known]]
        variance = active.var(axis=0)
        error = ((active - expected) ** 2).mean(axis=0)
        varies = variance > 1e-12
        shares.append(np.where(varies, 1 - error / np.where(varies, variance, 1), np.nan))
    return np.array(shares)


def conformality(
    states: ArrayLike, positions: ArrayLike, transitions: ArrayLike, step_m: float,
    *, box_m: float, bins: int,
) -> Conformality:  # fmt: skip
    """Measure the speed |W(v) g - g| / |v| of the code in D directions from every sample.

    A conformal code moves equally fast everywhere and in every direction.

    Args:
        states: [S, N].
        positions: [S, 2] metres.
        transitions: [D, N, N], W of steps of length `step_m` in directions 0, 360 / D, ... degrees.
        step_m: metres.
        box_m: side of the map of speeds, metres.
        bins: bins along that side.

    Raises:
        ValueError: shapes that don't match.
    """
    codes, places = _check_samples(states, positions)
    matrices = np.asarray(transitions, dtype=np.float32)
    if matrices.ndim != 3 or matrices.shape[1:] != (codes.shape[1],) * 2:
        raise ValueError(
            f"transitions {matrices.shape}: must be [D, {codes.shape[1]}, {codes.shape[1]}]"
        )
    # D products [S, N] x [N, N]: the transition depends on the direction, not on the place.
    pushed = [rectified(codes @ matrix.T) for matrix in matrices]
    speeds = np.stack([np.linalg.norm(new - codes, axis=-1) for new in pushed], axis=-1) / step_m
    cell = np.floor((places / check_box(box_m) + 0.5) * bins).astype(int)
    inside = ((cell >= 0) & (cell < bins)).all(axis=1)
    index = (cell[:, 1] * bins + cell[:, 0])[inside]
    count = np.bincount(index, minlength=bins**2)
    total = np.bincount(index, speeds.mean(axis=1)[inside], minlength=bins**2)
    slowest = speeds.min(axis=1)
    moving = slowest > 0
    ratio = speeds.max(axis=1)[moving] / slowest[moving]
    return Conformality(
        directions_deg=np.arange(len(matrices)) * 360 / len(matrices),
        by_direction=speeds.mean(axis=0),
        by_place=np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(bins, bins),
        mean=float(speeds.mean()),
        variation=float(speeds.std() / speeds.mean()) if speeds.any() else np.nan,
        anisotropy=float(np.median(ratio)) if ratio.size else np.nan,
    )


def _check_samples(states: ArrayLike, positions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    codes, places = np.asarray(states, dtype=np.float32), np.asarray(positions, dtype=float)
    if codes.ndim != 2 or places.shape != (len(codes), 2):
        raise ValueError(
            f"states {codes.shape} and positions {places.shape}: must be [S, N] and [S, 2]"
        )
    return codes, places


def _check_walks(states: ArrayLike, positions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    codes, places = np.asarray(states), np.asarray(positions, dtype=float)
    if codes.ndim != 3 or places.shape != (*codes.shape[:2], 2):
        raise ValueError(
            f"states {codes.shape} and positions {places.shape}: must be [W, T, N] and [W, T, 2]"
        )
    return codes, places


def _times(edges: np.ndarray, length: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of steps, at most `_TIMES` in each bin of step numbers, and their bins."""
    chosen = [
        np.unique(np.linspace(first, min(stop, length + 1) - 1, most, dtype=int)) - 1
        for first, stop in pairwise(edges)
    ]
    owner = np.repeat(np.arange(len(chosen)), [len(times) for times in chosen])
    return np.concatenate(chosen), owner


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Euclidean distances [A, B] between points [A, D] and [B, D]."""
    squares = (first**2).sum(-1)[:, None] + (second**2).sum(-1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0))


def _binned(edges: np.ndarray, count: np.ndarray, total: np.ndarray, square: np.ndarray) -> Binned:
    """Turn sums over bins [K] into means and standard deviations."""
    some = np.maximum(count, 1)
    mean = total / some
    std = np.sqrt(np.maximum(square / some - mean**2, 0))
    empty = count == 0
    return Binned(
        edges, np.where(empty, np.nan, mean), np.where(empty, np.nan, std), count.astype(int)
    )


def _code_book(ratemaps: ArrayLike, box_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean states of all visited places as unit vectors [P, N], and the places [P, 2]."""
    maps = check_ratemaps(ratemaps)
    visited = np.isfinite(maps).all(axis=0)
    codes = maps[:, visited].T
    length = np.linalg.norm(codes, axis=1, keepdims=True)
    directions = codes / np.where(length > 0, length, 1)
    return directions.astype(np.float32), bin_positions(box_m, maps.shape[1])[visited]
