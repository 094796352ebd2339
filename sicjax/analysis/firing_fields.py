"""Firing fields of a rate map: prominent maxima, and the basins around them.

Letters: y, x bins of a map; K fields.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.ratemaps import smooth_ratemaps

PROMINENCE = 0.3  # least rise above the pass to a higher field, relative to the map's range
_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Fields:
    """The K fields of one map, by falling peak."""

    basins: np.ndarray  # [y, x] 1..K, 0 where unvisited
    peaks: np.ndarray  # [K, 2] (iy, ix)
    smoothing: float  # standard deviation of the smoothing, bins


def count_fields(ratemaps: np.ndarray) -> np.ndarray:
    """Count the fields [N] of maps [N, y, x] whose peaks lie in the box.

    A field that still rises at the wall has its peak outside the box and is not counted. If all
    fields do, the count is 1. A constant or empty map has 0 fields. One place field gives 1
    wherever it lies.
    """
    counts = []
    for ratemap in ratemaps:
        fields = find_fields(ratemap)
        beyond = sum(_rises_at_the_wall(ratemap, peak, fields.smoothing) for peak in fields.peaks)
        counts.append(max(len(fields.peaks) - beyond, min(len(fields.peaks), 1)))
    return np.array(counts, dtype=int)


def find_fields(ratemap: np.ndarray) -> Fields:
    """Find the fields of one map [y, x] (NaN where unvisited): prominent maxima and their basins.

    The map is smoothed at a fraction of its own field size and flooded from its maxima down. Where
    two basins meet, the lower maximum is a field of its own if it rises above the pass by
    PROMINENCE of the map's range. Otherwise it joins the higher one. This is the persistence of
    its component (Edelsbrunner et al. 2002). So a saddle splits overlapping bumps, and a ripple of
    noise does not.
    """
    visited = np.isfinite(ratemap)
    if not visited.any() or np.ptp(ratemap[visited]) <= 1e-9 * np.abs(ratemap[visited]).max():
        return Fields(np.zeros(ratemap.shape, dtype=int), np.empty((0, 2), dtype=int), 1.0)
    width = _smoothing_width(ratemap)
    smooth = smooth_ratemaps(ratemap, width)
    nearest = ndimage.distance_transform_edt(~visited, return_distances=False, return_indices=True)
    filled = smooth[tuple(nearest)]  # a hole belongs to its nearest visited bin; masked out below
    basins, tops = _basins(filled)
    rise = PROMINENCE * (filled.max() - filled.min())
    owner = _join_over_passes(basins, filled.ravel()[tops], filled, rise)
    fields = np.unique(owner)
    fields = fields[np.argsort(-filled.ravel()[tops[fields]], kind="stable")]
    label = np.zeros(len(tops), dtype=int)
    label[fields] = np.arange(1, len(fields) + 1)
    at = np.unravel_index(tops[fields], ratemap.shape)
    peaks = nearest[:, at[0], at[1]].T  # filled copies of a bin at the wall are as high
    return Fields(np.where(visited, label[owner][basins], 0), peaks, width)


def field_diameters(ratemaps: np.ndarray, box_m: float) -> np.ndarray:
    """Measure the size of the fields of each map: the diameter of a circle of the same area.

    A field is the part of its basin above half of its peak. Fields that reach the edge of the map
    or an unvisited bin are incomplete and left out.

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
        box_m: side of the box, metres.

    Returns:
        [N], metres, the median of each map's whole fields; NaN where there is none.
    """
    bin_m = box_m / ratemaps.shape[-1]
    diameters = np.full(len(ratemaps), np.nan)
    for n, ratemap in enumerate(ratemaps):
        fields = find_fields(ratemap)
        beyond = np.pad(~np.isfinite(ratemap), 1, constant_values=True)
        cut = ndimage.binary_dilation(beyond, np.ones((3, 3)))[1:-1, 1:-1]
        areas = []
        for label, peak in enumerate(fields.peaks, start=1):
            above = (fields.basins == label) & (ratemap > ratemap[tuple(peak)] / 2)
            if not (above & cut).any():
                areas.append(above.sum() * bin_m**2)
        if areas:
            diameters[n] = 2 * np.sqrt(np.median(areas) / np.pi)
    return diameters


def _rises_at_the_wall(ratemap: np.ndarray, peak: np.ndarray, smoothing: float) -> bool:
    """Return whether a field that is highest in the outermost bins still rises at the wall itself.

    Smoothing pushes a peak near the wall onto it, so the unsmoothed rates decide. A parabola is
    fitted to their mean at each depth of a strip along the wall. Its slope is read one bin beyond
    the wall, because a parabola fitted to a bell curve leans outwards by about that much.
    """
    depth, half = max(4, round(2.5 * smoothing)), max(1, round(1.5 * smoothing))
    for axis in (0, 1):
        inward = np.moveaxis(ratemap, axis, 0)
        line = np.isfinite(inward[:, peak[1 - axis]])
        # The wall is where visited bins end. In a circle, or a rectangle amid NaN, this is inside
        # the map's edge.
        if not line[peak[axis] + 1 :].any():
            inward = inward[peak[axis] :: -1]
        elif not line[: peak[axis]].any():
            inward = inward[peak[axis] :]
        else:
            continue
        along = peak[1 - axis]
        strip = inward[:depth, max(0, along - half) : along + half + 1]
        seen = np.isfinite(strip)
        rows = np.nonzero(seen.any(axis=1))[0]
        if len(rows) < 4:
            continue
        profile = np.where(seen, strip, 0.0).sum(axis=1)[rows] / seen.sum(axis=1)[rows]
        bend, slope, _ = np.polyfit(rows + 0.5, profile, 2)
        if slope - 2 * bend < 0:  # the slope one bin beyond the wall
            return True
    return False


def _smoothing_width(ratemap: np.ndarray) -> float:
    """Return 0.4 of the radius at which the central peak has fallen by half, within 1 to 4 bins.

    The value at lag 0 is left out: noise that differs from bin to bin appears only there.
    """
    correlogram = autocorrelogram(ratemap)
    rows, columns = correlogram.shape[0] // 2, correlogram.shape[1] // 2
    reach = min(rows, columns, 20)
    window = correlogram[rows - reach : rows + reach + 1, columns - reach : columns + reach + 1]
    radius = np.rint(np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])).astype(int)
    seen = np.isfinite(window)
    count = np.bincount(radius[seen], minlength=2)
    profile = np.bincount(radius[seen], window[seen], minlength=2) / np.maximum(count, 1)
    fallen = np.nonzero(profile[1:] < profile[1] / 2)[0]
    half = fallen[0] + 1 if len(fallen) else reach
    return float(np.clip(0.4 * half, 1.0, 4.0))


def _basins(surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each bin's basin [y, x] by steepest ascent, and flat indices [K] of the maxima."""
    rows, columns = surface.shape
    padded = np.pad(surface, 1, constant_values=-np.inf)
    index = np.arange(rows * columns).reshape(rows, columns)
    best, uphill = surface.copy(), index.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            value = padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
            higher = value > best
            best = np.where(higher, value, best)
            uphill = np.where(higher, index + dy * columns + dx, uphill)
    target = uphill.reshape(-1)
    while not np.array_equal(target[target], target):
        target = target[target]
    tops, basins = np.unique(target, return_inverse=True)
    return basins.reshape(surface.shape), tops


def _join_over_passes(
    basins: np.ndarray, heights: np.ndarray, surface: np.ndarray, rise: float
) -> np.ndarray:
    """Join basins over their passes, highest pass first, until every maximum stands out by `rise`.

    Returns:
        owner [K]: the basin that each of the K basins has become part of.
    """
    owner = np.arange(len(heights))

    def top(basin: int) -> int:
        while owner[basin] != basin:
            basin = owner[basin]
        return basin

    for height, first, second in _passes(basins, surface):
        high, low = top(int(first)), top(int(second))
        if heights[high] < heights[low]:
            high, low = low, high
        if high != low and heights[low] - height < rise:
            owner[low] = high
    return np.array([top(k) for k in range(len(heights))])


def _passes(basins: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """Return the highest pass between touching basins: rows of height, basin, basin."""
    rows, columns = surface.shape
    found = []
    for dy, dx in _NEIGHBOURS:
        here = (slice(0, rows - dy), slice(max(0, -dx), columns - max(0, dx)))
        there = (slice(dy, rows), slice(max(0, dx), columns - max(0, -dx)))
        border = basins[here] != basins[there]
        height = np.minimum(surface[here], surface[there])[border]
        found.append(np.stack([height, basins[here][border], basins[there][border]], axis=-1))
    passes = np.concatenate(found)
    passes = passes[np.argsort(-passes[:, 0], kind="stable")]
    pair = np.sort(passes[:, 1:], axis=1) @ [surface.size, 1]
    return passes[np.sort(np.unique(pair, return_index=True)[1])]
