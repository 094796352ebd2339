"""Ambiguity of a code: neural distance against displacement, its dips and its range.

Letters: S samples, N units; P dips; y, x bins of displacement. Lengths in metres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from sicjax.analysis.ratemaps import bin_positions

MIN_PAIRS = 20  # pairs per displacement that a mean needs
MIN_DEPTH = 0.05  # shallower dips are ripples between samples
_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class DistanceMap:
    """Neural distance against displacement, and displacements at which two places look the same."""

    distance: np.ndarray  # [y, x] mean |g(x) - g(x + d)| over places; NaN where too few pairs
    bin_m: float  # displacements are multiples of it, 0 in the middle
    floor: float  # distance at displacement 0: same place, different paths
    plateau: float  # median distance over all displacements
    trough_m: float  # radius at which the trough around 0 has risen half-way in every direction
    dips_m: np.ndarray  # [P, 2] its local minima beyond 0, nearest first, one of each opposite two
    depths: np.ndarray  # [P] of each: (plateau - distance) / (plateau - floor)
    range_m: float  # nearest displacement beyond the trough that is less than half-way up again


def map_distances(
    states: ArrayLike, positions: ArrayLike, *, reach_m: float, bin_m: float = 0.04
) -> DistanceMap:
    """Map the neural distance of all pairs of samples against their displacement.

    Where the distance falls again far from 0, the code repeats itself. A displacement counts as
    distinguished when its distance is more than half-way from the floor (one place, different
    paths) to the plateau (unrelated places). The criterion adapts to the code's noise and contrast.

    Args:
        states: [S, N].
        positions: [S, 2].
        reach_m: largest displacement along an axis.
        bin_m: bin width of displacements; bins are centred on its multiples.

    Returns:
        `DistanceMap`. `range_m` is inf where no displacement within reach is confused with 0, and
        NaN where the trough around 0 never closes (a band), or holds all displacements.

    Raises:
        ValueError: shapes that don't match.
    """
    codes, places = np.asarray(states, dtype=np.float32), np.asarray(positions, dtype=float)
    if codes.ndim != 2 or places.shape != (len(codes), 2):
        raise ValueError(
            f"states {codes.shape} and positions {places.shape}: must be [S, N] and [S, 2]"
        )
    half = round(reach_m / bin_m)
    side = 2 * half + 1
    sums, counts = np.zeros((2, side**2 + 1))  # the last one takes pairs out of reach
    squares = (codes**2).sum(axis=1)
    cells = places.T / bin_m
    # Pairs in blocks of rows, each pair once: an array of all S^2 would not fit into memory.
    rows = max(1, _PAIRS_AT_ONCE // len(codes))
    for start in range(0, len(codes), rows):
        part, rest = slice(start, start + rows), slice(start, None)
        x, y = (np.rint(c[rest] - c[part, None]).astype(np.int32) + half for c in cells)
        seen = (x >= 0) & (x < side) & (y >= 0) & (y < side)
        seen &= np.arange(start, len(codes)) > np.arange(len(codes))[part, None]  # each pair once
        index = np.where(seen, y * side + x, side**2).ravel()
        gram = squares[part, None] + squares[rest] - 2 * codes[part] @ codes[rest].T
        neural = np.sqrt(np.maximum(gram, 0)).ravel()
        sums += np.bincount(index, neural, minlength=side**2 + 1)
        counts += np.bincount(index, minlength=side**2 + 1)
    sums, counts = (part[:-1] + part[-2::-1] for part in (sums, counts))  # d and -d are one pair
    distance = np.where(counts >= MIN_PAIRS, sums / np.maximum(counts, 1), np.nan)
    return _describe(distance.reshape(side, side), bin_m)


def _describe(distance: np.ndarray, bin_m: float) -> DistanceMap:
    """Read floor, plateau, trough, dips and range from mean distances [side, side] around 0."""
    side = len(distance)
    middle = side // 2
    if np.isnan(distance[middle, middle]):
        distance[middle, middle] = 0.0  # one sample a place: it differs from itself by nothing
    floor, plateau = float(distance[middle, middle]), float(np.nanmedian(distance))
    level = floor + 0.5 * (plateau - floor)
    radius = np.linalg.norm(bin_positions(side * bin_m, side), axis=-1)
    circle = np.rint(radius / bin_m).astype(int)
    confused = np.zeros(middle + 1, bool)  # in some direction, at each radius of a whole circle
    confused[circle[(distance <= level) & (circle <= middle)]] = True
    told = np.flatnonzero(~confused)
    trough = told[0] * bin_m if told.size else np.nan
    beyond = (distance <= level) & (circle <= middle) & (radius > trough)
    dips, depths = _dips(distance, bin_m, floor, plateau)
    return DistanceMap(
        distance=distance,
        bin_m=bin_m,
        floor=floor,
        plateau=plateau,
        trough_m=float(trough),
        dips_m=dips,
        depths=depths,
        range_m=float(radius[beyond].min(initial=np.inf)) if told.size else np.nan,
    )


def _dips(
    distance: np.ndarray, bin_m: float, floor: float, plateau: float
) -> tuple[np.ndarray, np.ndarray]:
    """Local minima [P, 2] in the half plane y > 0 (or y = 0, x > 0), and their depths [P]."""
    filled = np.where(np.isnan(distance), np.inf, distance)
    lowest = filled == ndimage.minimum_filter(filled, size=3, mode="constant", cval=-np.inf)
    middle = len(distance) // 2
    y, x = np.nonzero(lowest & np.isfinite(filled))
    half = (y > middle) | ((y == middle) & (x > middle))
    y, x = y[half], x[half]
    depth = (plateau - filled[y, x]) / max(plateau - floor, 1e-12)
    y, x, depth = y[depth >= MIN_DEPTH], x[depth >= MIN_DEPTH], depth[depth >= MIN_DEPTH]
    place = [_bottom(filled, y, x, 0, 1) + x, _bottom(filled, y, x, 1, 0) + y]
    dips = (np.stack(place, axis=-1) - middle) * bin_m
    order = np.argsort(np.hypot(*dips.T))
    return dips[order], depth[order]


def _bottom(values: np.ndarray, y: np.ndarray, x: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Offsets, in bins along one axis, of the bottoms of parabolas through minima."""
    before, after = values[y - dy, x - dx], values[y + dy, x + dx]
    bend = before + after - 2 * values[y, x]
    usable = np.isfinite(bend) & (bend > 1e-12)
    slope = np.where(usable, before, 0) - np.where(usable, after, 0)
    return slope / np.where(usable, 2 * bend, 1)
