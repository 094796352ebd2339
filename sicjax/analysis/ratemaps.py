"""Rate maps: building them from positions and activity, checking and smoothing them.

Letters: N units; S samples; y, x bins of a map. `ratemaps[n, iy, ix]`: axis 0 is y, axis 1 is x,
both increasing; the box is centred on 0; NaN means unvisited.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage


@dataclass(frozen=True)
class BinnedActivity:
    """Mean activity by place, with what is needed to judge it."""

    ratemaps: np.ndarray  # [N, y, x], NaN where unvisited
    occupancy: np.ndarray  # [y, x], samples per bin
    within_bin_variance: np.ndarray  # [N, y, x], variance of one bin's samples, NaN where unvisited
    variance_explained: np.ndarray  # [N], share of the variance that lies between bins; NaN if none
    box_m: float  # side of the box, metres


def bin_centres(box_m: float, bins: int) -> np.ndarray:
    """Return the centres [bins] along one side, metres: (i + 1/2) box / bins - box / 2."""
    return (np.arange(bins) + 0.5) * box_m / bins - box_m / 2


def bin_positions(box_m: float, bins: int) -> np.ndarray:
    """Return the bin centres as positions [y, x, 2] (x, y), metres."""
    centres = bin_centres(box_m, bins)
    return np.stack(np.meshgrid(centres, centres), axis=-1)


def check_box(box_m: float) -> float:
    """Return the side of a square box as a float; ValueError unless it is one positive length."""
    if np.ndim(box_m) != 0:
        raise ValueError(f"box_m is {box_m}; the box is square: give one length in metres")
    if not (np.isfinite(box_m) and box_m > 0):
        raise ValueError(f"box_m is {box_m}; it must be a positive length in metres")
    return float(box_m)


def check_ratemaps(ratemaps: ArrayLike) -> np.ndarray:
    """Return square maps [N, bins, bins] as float64; ValueError for another shape or infinities."""
    maps = np.asarray(ratemaps, dtype=np.float64)
    if maps.ndim != 3 or maps.shape[1] != maps.shape[2]:
        raise ValueError(f"ratemaps has shape {maps.shape}; it must be [N, bins, bins], square box")
    if maps.shape[1] < 10:
        raise ValueError(f"ratemaps has {maps.shape[1]} bins a side; a lattice needs at least 10")
    if np.isinf(maps).any():
        raise ValueError("ratemaps holds inf; rates must be finite, and unvisited bins NaN")
    return maps


def bin_activity(
    positions: ArrayLike, activity: ArrayLike, *, box_m: float, bins: int, min_visits: int = 1
) -> BinnedActivity:
    """Mean and variance of every unit's activity in every bin of a square box.

    Args:
        positions: [..., 2], metres (x, y); samples outside the box are dropped.
        activity: [..., N], the same leading axes.
        box_m: side of the box, centred on 0, metres.
        bins: bins per side.
        min_visits: a bin with fewer samples counts as unvisited.

    Raises:
        ValueError: leading axes that differ, a non-finite position or activity, `min_visits` below
            1.
    """
    box_m = check_box(box_m)
    places = np.asarray(positions, dtype=np.float64)
    rates = np.asarray(activity, dtype=np.float64)
    if places.shape[-1:] != (2,) or places.shape[:-1] != rates.shape[:-1]:
        raise ValueError(
            f"positions {places.shape} and activity {rates.shape}: must be [..., 2] and [..., N]"
        )
    if min_visits < 1 or bins < 1:
        raise ValueError(f"min_visits is {min_visits} and bins is {bins}; both must be at least 1")
    places, rates = places.reshape(-1, 2), rates.reshape(-1, rates.shape[-1])
    for name, values in (("positions", places), ("activity", rates)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds {np.sum(~np.isfinite(values))} non-finite values")

    index = np.floor((places / box_m + 0.5) * bins).astype(int)
    inside = ((index >= 0) & (index < bins)).all(axis=1)
    flat = (index[:, 1] * bins + index[:, 0])[inside]
    return _binned(flat, rates[inside].T, bins, min_visits, box_m)


def _binned(
    flat: np.ndarray, rates: np.ndarray, bins: int, min_visits: int, box_m: float
) -> BinnedActivity:
    """Reduce samples `rates` [N, S] in bins `flat` [S]."""
    count = np.bincount(flat, minlength=bins**2)
    visited = count >= min_visits
    kept = visited[flat]
    flat, rates = flat[kept], rates[:, kept]
    n = np.where(visited, count, 1)
    centre = rates.mean(axis=1, keepdims=True) if rates.size else np.zeros((len(rates), 1))
    centred = rates - centre  # squares of what is left lose no digits to the mean
    sums = np.array([np.bincount(flat, row, minlength=bins**2) for row in centred])
    squares = np.array([np.bincount(flat, row**2, minlength=bins**2) for row in centred])
    sums, squares = sums.reshape(-1, bins**2), squares.reshape(-1, bins**2)
    within = np.maximum(squares - sums**2 / n, 0.0)
    total = squares.sum(axis=1)
    share = 1 - within.sum(axis=1) / np.where(total > 0, total, np.nan)
    shape = (len(rates), bins, bins)
    return BinnedActivity(
        ratemaps=np.where(visited, sums / n + centre, np.nan).reshape(shape),
        occupancy=count.reshape(bins, bins),
        within_bin_variance=np.where(visited, within / n, np.nan).reshape(shape),
        variance_explained=share,
        box_m=box_m,
    )


def smooth_ratemaps(
    ratemaps: ArrayLike, sigma_bins: float, *, occupancy: ArrayLike | None = None
) -> np.ndarray:
    """Smooth maps [..., y, x] by a Gaussian that neither reads nor fills unvisited bins.

    Summed activity (rate times occupancy) and occupancy are smoothed separately, then divided.

    Args:
        ratemaps: [..., y, x], NaN where unvisited.
        sigma_bins: standard deviation of the Gaussian, bins.
        occupancy: [y, x] samples per bin; every visited bin weighs the same when not given.
    """
    maps = np.asarray(ratemaps, dtype=np.float64)
    visited = np.isfinite(maps)
    time = np.where(visited, 1.0 if occupancy is None else np.asarray(occupancy, dtype=float), 0.0)
    widths = (0.0,) * (maps.ndim - 2) + (sigma_bins,) * 2

    def smooth(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, widths, mode="constant", truncate=3)

    total, weight = smooth(np.where(visited, maps, 0.0) * time), smooth(time)
    defined = visited & (weight > 0)
    return np.where(defined, total / np.where(defined, weight, 1.0), np.nan)


def spatial_information(ratemaps: np.ndarray) -> np.ndarray:
    """Return the bits about place per unit of activity (Skaggs et al. 1993), visits being even.

    Args:
        ratemaps: [N, y, x], NaN where unvisited; negative rates count as 0.

    Returns:
        [N]; NaN for a map without activity.
    """
    flat = ratemaps.reshape(len(ratemaps), ratemaps.shape[1] * ratemaps.shape[2])
    visited = np.isfinite(flat)
    rates = np.where(visited, np.maximum(flat, 0.0), 0.0)
    count = visited.sum(axis=1)
    mean = rates.sum(axis=1) / np.maximum(count, 1)
    active = mean > 0
    relative = rates / np.where(active, mean, 1.0)[:, None]
    bits = relative * np.log2(np.where(relative > 0, relative, 1.0))
    return np.where(active, bits.sum(axis=1) / np.maximum(count, 1), np.nan)
