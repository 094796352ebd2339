"""Ambiguity of a code: neural distance against displacement, its dips and its range.

Letters: S samples, N units; K modules; P dips; y, x bins of displacement; D displacements drawn.
Lengths in metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from sicjax.analysis.lattice import cell_area, reduce_basis, shortest_pair
from sicjax.analysis.ratemaps import bin_positions, check_ratemaps

MIN_PAIRS = 20  # fewest pairs per displacement for a mean
MIN_DEPTH = 0.05  # shallower dips are ripples between samples
_PAIRS_AT_ONCE = 2_000_000
_DRAWS = 100_000  # of displacements, or of independent phases
# Side of the square of displacements, in coarsest periods. In a larger square, errors of the
# measured lattices (0.1 %) would make nested modules look independent.
_FAR = 10


@dataclass(frozen=True)
class DistanceMap:
    """Neural distance against displacement, and displacements at which two places look the same."""

    distance: np.ndarray  # [y, x] mean |g(x) - g(x + d)| over places; NaN where too few pairs
    bin_m: float  # displacements are multiples of it, 0 in the middle
    floor: float  # distance at displacement 0: same place, different paths
    plateau: float  # median distance over all displacements
    trough_m: float  # radius at which the trough around 0 has risen half-way in every direction
    dips_m: np.ndarray  # [P, 2] its local minima beyond 0, nearest first; one of each opposite pair
    depths: np.ndarray  # [P] of each: (plateau - distance) / (plateau - floor)
    range_m: float  # nearest displacement beyond the trough that is less than half-way up again

    @property
    def reach_m(self) -> float:
        """The largest displacement along an axis."""
        return len(self.distance) // 2 * self.bin_m


def map_distances(
    states: ArrayLike, positions: ArrayLike, *, reach_m: float, bin_m: float = 0.04
) -> DistanceMap:
    """Map the neural distance of all pairs of samples against their displacement.

    If the distance falls again far from 0, the code repeats itself there. A displacement counts as
    distinguished when its distance is more than half-way from the floor (one place, different
    paths) to the plateau (unrelated places). The criterion adapts to the code's noise and contrast.

    Args:
        states: [S, N].
        positions: [S, 2].
        reach_m: largest displacement along an axis.
        bin_m: bin width of displacements; bins are centred on its multiples.

    Returns:
        `DistanceMap`. `range_m` is inf if no displacement within reach is confused with 0. It is
        NaN if the trough around 0 never closes (a band), or holds all displacements.

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
        distance[middle, middle] = 0.0  # too few pairs share a place; a state equals itself
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


@dataclass(frozen=True)
class CodeRange:
    """Distances between places that all modules together confuse, as periods of a lattice.

    A code that confuses places on a hexagonal lattice of period R, and nowhere else, has range R.
    """

    range_m: float  # of all modules as they are
    independent_m: float  # of the same modules if their phases were independent
    periods_m: np.ndarray  # [K] of each module alone: the period of a hexagon of its cell's area
    confused: tuple[float, float]  # share of displacements confused: as they are, independent
    blur_m: float  # diameter of the region around a place that the code confuses with it


def code_range(
    ratemaps: ArrayLike, box_m: float, members: Sequence[ArrayLike], lattices_m: ArrayLike, *,
    fraction: float = 0.5, seed: int = 0,
) -> CodeRange:  # fmt: skip
    """Compare the range of a code with the range of independent modules.

    The squared neural distance of a displacement is a sum over modules. Each module's maps give
    its distance within a unit cell; its lattice repeats this distance without end. A decoder
    confuses two places whose distance is below a fraction of that of unrelated places. The range
    follows from how often that happens, among displacements drawn from a square of ten coarsest
    periods. For independent modules, every module's phase is drawn by itself. Their capacity grows
    as the product of the modules' cells (Fiete et al. 2008). Modules on one torus confuse all
    places that the coarsest one confuses, so their range is its period.

    Args:
        ratemaps: [N, bins, bins], NaN where unvisited; the box must hold a cell of each lattice.
        box_m: side of the box.
        members: K arrays of unit indices, as `Modules.members`.
        lattices_m: [K, 3, 2] axes, as `Modules.lattice`.
        fraction: of the distance between unrelated places, below which places are confused.
        seed: of the draws.

    Returns:
        `CodeRange`. `independent_m` is inf where no draw was confused.

    Raises:
        ValueError: shapes that don't match, no module, or a box smaller than a lattice's cell.
    """
    maps, axes = check_ratemaps(ratemaps), np.asarray(lattices_m, dtype=float)
    if not len(members) or axes.shape != (len(members), 3, 2):
        raise ValueError(f"lattices_m has shape {axes.shape}; it must be [{len(members)}, 3, 2]")
    bases, bin_m = reduce_basis(shortest_pair(axes)), box_m / maps.shape[-1]
    if np.linalg.norm(bases, axis=-1).max() > box_m:
        raise ValueError(f"box_m is {box_m:g}: a cell of the coarsest lattice is larger")
    squares = [_squared_distances(maps[np.asarray(units)]) for units in members]

    def of(module: int, phases: np.ndarray) -> np.ndarray:
        """Squared distances [...] of one module at phases [..., 2]."""
        # In a reduced cell, one of the four corners is close enough to the nearest lattice point.
        corners = phases[..., None, :] - np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        lags = corners @ bases[module]
        nearest = (lags**2).sum(axis=-1).argmin(axis=-1)
        lag = np.take_along_axis(lags, nearest[..., None, None], axis=-2)[..., 0, :] / bin_m
        middle = squares[module].shape[0] // 2
        return ndimage.map_coordinates(
            squares[module], [lag[..., 1] + middle, lag[..., 0] + middle], order=1
        )

    def together(displacements: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(bases)
        return np.sum([of(k, displacements @ inverse[k] % 1) for k in range(len(bases))], axis=0)

    rng = np.random.default_rng(seed)
    alone = np.sum([of(k, rng.random((_DRAWS, 2))) for k in range(len(bases))], axis=0)
    level = fraction**2 * alone.mean()
    periods = np.sqrt(cell_area(bases) * 2 / np.sqrt(3))
    far = periods.max() * _FAR * (rng.random((_DRAWS, 2)) - 0.5)
    shares = (float((together(far) <= level).mean()), float((alone <= level).mean()))
    # The region around a place, on a grid: confused displacements connected with 0.
    grid = bin_positions(2 * periods.min(), 101)
    region, _ = ndimage.label(together(grid) <= level)
    area = (region == region[50, 50]).sum() * (2 * periods.min() / 101) ** 2

    def period(share: float) -> float:
        """Period of a hexagonal lattice with one such region in each cell."""
        return float(np.sqrt(2 / np.sqrt(3) * area / share)) if share else np.inf

    return CodeRange(period(shares[0]), period(shares[1]), periods, shares,
                     float(2 * np.sqrt(area / np.pi)))  # fmt: skip


def _squared_distances(maps: np.ndarray) -> np.ndarray:
    """Return mean |g(x) - g(x + d)|^2 over places [2 bins - 1, 2 bins - 1], d in bins, 0 mid."""
    seen = np.isfinite(maps).all(axis=0)
    known = np.where(seen, maps, 0)
    bins, size = maps.shape[-1], 2 * maps.shape[-1]
    spectra, mask = np.fft.rfft2(known, (size, size)), np.fft.rfft2(seen, (size, size))
    norms = np.fft.rfft2((known**2).sum(axis=0), (size, size))
    products = np.fft.irfft2((np.abs(spectra) ** 2).sum(axis=0), (size, size))
    sums = 2 * np.fft.irfft2((norms * mask.conj()).real, (size, size))
    pairs = np.fft.irfft2(np.abs(mask) ** 2, (size, size)).round()
    total = np.where(pairs > 0, (sums - 2 * products) / np.maximum(pairs, 1), 0)
    return np.roll(np.maximum(total, 0), (bins, bins), axis=(0, 1))[1:, 1:]
