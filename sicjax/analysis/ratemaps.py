"""Rate maps: build, check and smooth them.

Letters: N units; S samples; y, x bins of a map. `ratemaps[n, iy, ix]`: axis 0 is y, axis 1 is x,
both increasing; the box is centred on 0; NaN means unvisited.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage, sparse

from sicjax.arguments import POSITIVE, at_least, check

SIDE = POSITIVE._replace(says="the side of the square box: one positive length in metres")


class RateMaps(NamedTuple):
    """Mean activity per position bin, with occupancy and variance.

    Axis 0 of a map is y, axis 1 is x, both increasing; bin i is centred on
    (i + 1/2) * box_m / bins - box_m / 2. NaN marks unvisited bins.
    """

    ratemaps: np.ndarray  # [N, bins, bins]
    occupancy: np.ndarray  # [bins, bins] samples per bin
    box_m: float  # side of the box, metres
    variance_explained: (
        np.ndarray
    )  # [N] share of a unit's variance between bins; NaN without variance
    within_bin_variance: np.ndarray  # [N, bins, bins] variance of one bin's samples


def bin_centres(box_m: float, bins: int) -> np.ndarray:
    """Return the centres [bins] along one side, metres: (i + 1/2) box / bins - box / 2."""
    return (np.arange(bins) + 0.5) * box_m / bins - box_m / 2


def bin_positions(box_m: float, bins: int) -> np.ndarray:
    """Return the bin centres as positions [y, x, 2] (x, y), metres."""
    centres = bin_centres(box_m, bins)
    return np.stack(np.meshgrid(centres, centres), axis=-1)


def check_box(box_m: float) -> float:
    """Return the side of a square box as a float; ValueError unless it is one positive length."""
    check("box_m", box_m, SIDE)
    return float(box_m)


def as_numbers(name: str, values: ArrayLike) -> np.ndarray:
    """Return an array as float64; a TypeError names it unless it holds numbers."""
    try:
        if np.iscomplexobj(values):
            raise TypeError
        # One memory order for all maps. A file or another process may store them in another order;
        # sums, and so scores, would then differ in the last digits.
        return np.asarray(values, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: a {type(values).__name__}; must be an array of numbers") from None


def check_ratemaps(ratemaps: ArrayLike) -> np.ndarray:
    """Return square maps [N, bins, bins] as float64; ValueError for another shape or infinities."""
    maps = as_numbers("ratemaps", ratemaps)
    if maps.ndim != 3 or maps.shape[1] != maps.shape[2]:
        raise ValueError(f"ratemaps has shape {maps.shape}; it must be [N, bins, bins], square box")
    if maps.shape[1] < 10:
        raise ValueError(f"ratemaps has {maps.shape[1]} bins a side; a lattice needs at least 10")
    if np.isinf(maps).any():
        raise ValueError("ratemaps holds inf; rates must be finite, and unvisited bins NaN")
    return maps


def bin_index(positions: ArrayLike, box_m: float, bins: int) -> np.ndarray:
    """Return the bin y * bins + x [...] of positions [..., 2] in metres; bins^2 outside the box."""
    places = np.asarray(positions, dtype=np.float64)
    cell = np.floor((places + box_m / 2) * (bins / box_m)).astype(np.int64)
    inside = ((cell >= 0) & (cell < bins)).all(axis=-1)
    return np.where(inside, cell[..., 1] * bins + cell[..., 0], bins**2)


def bin_activity(
    positions: ArrayLike, activity: ArrayLike, *, box_m: float, bins: int, min_visits: int = 1
) -> RateMaps:
    """Return mean and variance of every unit's activity in every bin of a square box.

    Args:
        positions: [..., 2], metres (x, y); samples outside the box are dropped, with a
            warning if most are. The usual reasons are centimetres, or an origin in a corner.
        activity: [..., N], the same leading axes.
        box_m: side of the box, centred on 0, metres.
        bins: bins per side.
        min_visits: a bin with fewer samples counts as unvisited.

    Raises:
        TypeError: positions or activity that are not numbers.
        ValueError: leading axes that differ, a non-finite position or activity, or a `min_visits`
            or `bins` that is not an integer from 1.

    Returns:
        `RateMaps`: maps [N, bins, bins], axis 0 is y, axis 1 is x; NaN where unvisited.

    Source: the usual rate map, unsmoothed.

    Example:
        >>> import numpy as np, sicjax
        >>> positions = np.array([[-0.4, -0.4], [-0.4, -0.4], [0.4, -0.4]])  # x, y in metres
        >>> spikes = np.array([[1], [3], [0]])
        >>> sicjax.bin_activity(positions, spikes, box_m=1.0, bins=2).ratemaps.tolist()
        [[[2.0, 0.0], [nan, nan]]]
    """
    places, rates = as_numbers("positions", positions), np.asarray(activity)
    as_numbers("activity", rates)
    if rates.ndim == 0:
        raise ValueError(f"activity {rates.shape}: must be [..., N]")
    sums = ActivitySums(rates.shape[-1], box_m=box_m, bins=bins)
    check("min_visits", min_visits, at_least(1))
    sums.add(places, rates)
    _warn_of_most_outside(places.reshape(-1, 2), box_m)
    return sums.ratemaps(min_visits=min_visits)


def _warn_of_most_outside(places: np.ndarray, box_m: float) -> None:
    """Warn if most positions [S, 2] lie outside the box: they can't be metres from its centre."""
    outside = np.mean((np.abs(places) > box_m / 2).any(axis=1)) if len(places) else 0.0
    if outside > 0.5:
        low, high = places.min(axis=0), places.max(axis=0)
        warnings.warn(
            f"positions: {outside:.0%} of the samples lie outside the {box_m:g} m box around 0; x"
            f" runs from {low[0]:.3g} to {high[0]:.3g}, y from {low[1]:.3g} to {high[1]:.3g}, and"
            " both must be metres from the box's centre",
            stacklevel=3,
        )


class ActivitySums:
    """Running sums per bin: visits, and the activity of N units and its square."""

    def __init__(self, num_units: int, *, box_m: float, bins: int) -> None:
        check("bins", bins, at_least(1))
        self._box_m, self._bins = check_box(box_m), bins
        self._visits = np.zeros(bins**2)
        self._sums, self._squares = np.zeros((2, bins**2, num_units))
        self._centre: np.ndarray | None = None

    def add(self, positions: ArrayLike, activity: ArrayLike) -> None:
        """Add samples: positions [..., 2] and activity [..., N], as in `bin_activity`."""
        places, rates = np.asarray(positions, dtype=np.float64), np.asarray(activity)
        rates = rates.astype(np.result_type(rates, np.float32), copy=False)
        if places.shape[-1:] != (2,) or places.shape[:-1] != rates.shape[:-1]:
            raise ValueError(
                f"positions {places.shape} and activity {rates.shape}: must be [..., 2] and"
                " [..., N]"
            )
        places, rates = places.reshape(-1, 2), rates.reshape(-1, rates.shape[-1])
        for name, values in (("positions", places), ("activity", rates)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds {np.sum(~np.isfinite(values))} non-finite values")
        if self._centre is None and len(rates):
            # The mean is subtracted first: squares of large numbers would lose their digits.
            self._centre = rates.mean(axis=0, dtype=np.float64).astype(rates.dtype)
        index = bin_index(places, self._box_m, self._bins)
        inside = np.flatnonzero(index < self._bins**2)
        members = sparse.csr_array(
            (np.ones(len(inside), rates.dtype), (index[inside], inside)),
            shape=(self._bins**2, len(index)),
        )
        centred = rates if self._centre is None else rates - self._centre
        self._visits += np.bincount(index[inside], minlength=self._bins**2)
        self._sums += members @ centred
        self._squares += members @ np.square(centred)

    def ratemaps(self, *, min_visits: int = 1) -> RateMaps:
        """Return the maps; a bin with fewer samples than `min_visits` counts as unvisited."""
        if min_visits < 1:
            raise ValueError(f"min_visits is {min_visits}; it must be at least 1")
        visited = self._visits >= min_visits
        n = np.where(visited, self._visits, 1)[:, None]
        sums, squares = (np.where(visited[:, None], a, 0) for a in (self._sums, self._squares))
        within = np.maximum(squares - sums**2 / n, 0)
        number = max(self._visits[visited].sum(), 1)
        total = np.maximum(squares.sum(axis=0) - sums.sum(axis=0) ** 2 / number, 0)
        centre = 0 if self._centre is None else self._centre.astype(np.float64)
        # Rounding gives a constant unit a small variance: below 1e-12 of the squared mean it counts
        # as 0.
        varies = total / number > 1e-12 * (centre + sums.sum(axis=0) / number) ** 2
        shape = (-1, self._bins, self._bins)
        means = np.where(visited[:, None], sums / n + centre, np.nan)
        return RateMaps(
            ratemaps=np.ascontiguousarray(means.T).reshape(shape),
            occupancy=self._visits.astype(int).reshape(shape[1:]),
            box_m=self._box_m,
            variance_explained=np.where(
                varies, 1 - within.sum(axis=0) / np.where(varies, total, 1), np.nan
            ),
            within_bin_variance=np.where(visited[:, None], within / n, np.nan).T.reshape(shape),
        )


def smooth_ratemaps(
    ratemaps: ArrayLike, sigma_bins: float, *, occupancy: ArrayLike | None = None
) -> np.ndarray:
    """Smooth maps [..., y, x] by a Gaussian that neither reads nor fills unvisited bins.

    Summed activity (rate times occupancy) and occupancy are smoothed separately, then divided.

    Args:
        ratemaps: [..., y, x], NaN where unvisited.
        sigma_bins: standard deviation of the Gaussian, bins.
        occupancy: [y, x] samples per bin; None weighs all visited bins equally.
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


def spatial_information(ratemaps: np.ndarray, *, occupancy: ArrayLike | None = None) -> np.ndarray:
    """Return the bits about position per unit of activity (Skaggs et al. 1993).

    Args:
        ratemaps: [N, y, x], NaN where unvisited; negative rates count as 0.
        occupancy: [y, x] time or samples per bin; None weighs all visited bins equally.

    Returns:
        [N]; NaN for a map without activity.
    """
    flat = ratemaps.reshape(len(ratemaps), ratemaps.shape[1] * ratemaps.shape[2])
    visited = np.isfinite(flat)
    rates = np.where(visited, np.maximum(flat, 0.0), 0.0)
    time = np.where(visited, 1.0 if occupancy is None else np.ravel(occupancy), 0.0)
    total = time.sum(axis=1)
    total = np.where(total > 0, total, 1.0)
    mean = (time * rates).sum(axis=1) / total
    active = mean > 0
    relative = rates / np.where(active, mean, 1.0)[:, None]
    bits = relative * np.log2(np.where(relative > 0, relative, 1.0))
    return np.where(active, (time * bits).sum(axis=1) / total, np.nan)
