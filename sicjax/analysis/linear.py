"""Rate maps along a track, for each direction of running.

Letters: N cells; K steps of 20 ms; S shuffles; bins along the track. In direction 0 the position
rises, in direction 1 it falls. Lengths in metres, times in seconds.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from sicjax.analysis.inputs import check_number, check_shuffles, warn
from sicjax.analysis.kinds import PERCENTILE
from sicjax.analysis.recorded_kinds import MIN_SPIKES
from sicjax.analysis.recordings import count_bins
from sicjax.analysis.sessions import (
    STEP_S,
    check_speeds,
    check_usable,
    on_the_clock,
    speed_of,
    spike_steps,
)
from sicjax.analysis.shuffles import generator
from sicjax.analysis.spikes import check_trains, read_trains
from sicjax.analysis.time_shifts import draw_shifts, warn_of_repeats
from sicjax.analysis.tracking import check_units, read_path
from sicjax.progress import track

STRAIGHT = 0.25  # largest width over length of a straight track


@dataclass(frozen=True)
class LinearRatemaps:
    """Rate maps of N cells along a track; axis 1 is the direction, rising positions first."""

    ratemaps: np.ndarray  # [N, 2, bins] Hz; NaN where unvisited
    occupancy_s: np.ndarray  # [2, bins] seconds per bin
    positions_m: np.ndarray  # [bins] centres of the bins along the track
    spatial_information: np.ndarray  # [N, 2] bits per spike
    information_threshold: np.ndarray  # [N, 2] its 99th percentile under time shifts
    is_informative: np.ndarray  # [N, 2] bool, information above the threshold, 50 spikes or more
    num_spikes: np.ndarray  # [N, 2] int, while the animal ran in this direction
    names: tuple[Any, ...]  # N, from the input; numbers from 0 if it has none
    length_m: float  # of the track
    duration_s: np.ndarray  # [2] of running in each direction


class _Runs(NamedTuple):
    """The track in bins."""

    places: np.ndarray  # [K] direction * bins + bin of each step
    occupancy_s: np.ndarray  # [2, bins]
    visited: np.ndarray  # [2, bins] bool
    sigma_bins: float


def linear_ratemaps(
    times: Any,
    positions: Any,
    spike_times: Any,
    *,
    unit: str | None = None,
    time: str | None = None,
    units: str | float | None = None,
    bin_m: float = 0.025,
    smoothing_m: float = 0.05,
    min_occupancy_s: float = 0.04,
    min_speed: float = 0.025,
    max_speed: float = 2.0,
    max_gap_s: float = 0.5,
    num_shuffles: int = 100,
    min_shift_s: float = 20.0,
    seed: int = 0,
    key: Any = None,
    progress: bool = True,
) -> LinearRatemaps:
    """Make rate maps along a track, one for each direction, and test their spatial information.

    The null shifts the spikes in time against the path, by at least `min_shift_s`; spikes shifted
    past the end continue at the beginning, as in `score_recording`. If all laps take the same time,
    a shift by whole laps changes nothing, and the null is too strict. A warning then says so.

    Args:
        times: [S] seconds, rising; None uses the times that come with the positions.
        positions: [S] along the track, or [S, 2] on a straight one; NaN where lost. [S, 2] is
            projected onto the long axis, in the direction in which x rises. For a bent track or a
            ring, give positions along it; a jump from end to end is then left out as lost.
        spike_times, unit, time: as in `score_recording`.
        units: of the positions, as in `score_recording`; required for a track longer than 1.5 m.
        bin_m: length of a bin, metres.
        smoothing_m: standard deviation of the Gaussian over spikes and over occupancy, metres.
        min_occupancy_s: a bin with fewer seconds in a direction counts as unvisited: NaN.
        min_speed, max_speed: metres per second, as in `score_recording`.
        max_gap_s: longer gaps of the tracker are left out, shorter ones bridged by a line.
        num_shuffles: time shifts per cell; a 99th percentile needs at least 100.
        min_shift_s: least shift, seconds of usable time.
        seed: a whole number, for the shifts; the same as `key=jax.random.key(seed)`.
        key: a JAX key, instead of a seed.
        progress: whether to show a bar if the shifts take more than two seconds.

    Returns:
        A `LinearRatemaps` with arrays of N cells and two directions.

    Raises:
        TypeError, ValueError: as in `score_recording`; a path [S, 2] that is not a straight track.

    Source: Skaggs et al. 1993 (spatial information); time shifts as in `score_recording`.

    Example:
        >>> import numpy as np, sicjax
        >>> rng = np.random.default_rng(0)
        >>> times = np.arange(0, 600, 0.02)
        >>> laps = np.cumsum(0.01 * rng.uniform(0.4, 1.6, 600).repeat(50))  # of uneven speed
        >>> along = 0.6 * np.sin(laps)  # metres, to and fro on a track of 1.2 m
        >>> rising = np.cos(laps) > 0
        >>> rate = 20 * rising * np.exp(-((along - 0.2) ** 2) / (2 * 0.1**2))  # Hz
        >>> spikes = times[rng.random(30_000) < rate * 0.02]
        >>> cells = sicjax.linear_ratemaps(times, along, {"place": spikes})
        >>> cells.is_informative.tolist(), cells.ratemaps.shape
        ([[True, False]], (1, 2, 48))
    """
    check_number("bin_m", bin_m, "metres", above=0.0)
    check_number("smoothing_m", smoothing_m, "metres", least=0.0)
    check_number("min_occupancy_s", min_occupancy_s, "seconds", least=0.0)
    check_number("min_shift_s", min_shift_s, "seconds", above=0.0)
    check_shuffles(num_shuffles)
    check_units(units)
    check_speeds(min_speed, max_speed, max_gap_s)
    rng = generator(key, seed)
    # All arguments are checked before any work. Spikes come first: they need no path.
    names, trains = read_trains(spike_times, unit=unit, time=time)
    clock, places, assumed = read_path(
        times, positions, units=units, box_m=None, max_speed=max_speed, one_axis=True
    )
    check_trains(names, trains, len(clock))
    if assumed:
        warn(f"positions: {'; '.join(assumed)}")
    # One clock for path and spikes; slow moments are left out, because resting animals replay.
    grid, path, seen = on_the_clock(clock, _along(places), max_gap_s)
    kept = seen & (speed_of(path) >= min_speed)
    check_usable(grid, seen, kept, min_speed)
    # Tracker jitter would flip the direction of running, so the position is smoothed by 0.2 s.
    rising = np.gradient(ndimage.gaussian_filter1d(path[:, 0], 0.2 / STEP_S)) > 0
    low, high = path[kept, 0].min(), path[kept, 0].max()
    bins = count_bins(high - low, bin_m)
    # Laps of equal length make the null too strict. The warning comes before the long computation.
    warn_of_repeats(path[kept, :1], min_shift_s, "a cell with a place field may be missed")
    runs = _bin_runs(path[kept, 0], rising[kept], bins, smoothing_m, min_occupancy_s)
    steps = spike_steps(trains, names, grid, kept)
    return LinearRatemaps(
        positions_m=low + (np.arange(bins) + 0.5) * (high - low) / bins,
        occupancy_s=runs.occupancy_s,
        names=names,
        length_m=float(high - low),
        duration_s=runs.occupancy_s.sum(axis=1),
        **_against_shifts(runs, steps, num_shuffles, min_shift_s, rng, progress),
    )


def _along(places: np.ndarray) -> np.ndarray:
    """Return positions [S, 2] turned so that x runs along a straight track; y becomes 0."""
    seen = np.isfinite(places).all(axis=1)
    centred = places - places[seen].mean(axis=0)
    if not places[seen, 1].any():  # positions along the track
        return places
    _, _, axes = np.linalg.svd(centred[seen], full_matrices=False)
    turned = centred @ axes.T
    length, width = np.ptp(turned[seen], axis=0)
    if width > STRAIGHT * length:
        raise ValueError(
            f"positions lie on a path of {length:.2g} x {width:.2g} m, not a straight track;"
            " give positions [samples] along it"
        )
    forward = axes[0] * np.sign(axes[0, np.abs(axes[0]).argmax()])
    return np.stack([places @ forward, np.where(seen, 0.0, np.nan)], axis=-1)


def _bin_runs(
    along: np.ndarray, rising: np.ndarray, bins: int, smoothing_m: float, min_occupancy_s: float
) -> _Runs:
    """Put the steps [K] of a path along a track into bins of both directions."""
    length = np.ptp(along)
    cell = np.minimum((along - along.min()) * bins / length, bins - 1).astype(np.int64)
    places = np.where(rising, 0, bins) + cell
    occupancy = STEP_S * np.bincount(places, minlength=2 * bins).reshape(2, bins)
    visited = (occupancy > 0) & (occupancy > min_occupancy_s - STEP_S / 2)
    return _Runs(places, occupancy, visited, smoothing_m * bins / length)


def _against_shifts(
    runs: _Runs,
    steps: tuple[np.ndarray, ...],
    num_shuffles: int,
    min_shift_s: float,
    rng: np.random.Generator,
    progress: bool,
) -> dict[str, np.ndarray]:
    """Return maps, spike counts and information of N cells, and the thresholds of their nulls."""
    size = runs.visited.size
    maps = np.empty((len(steps), *runs.visited.shape))
    counts = np.zeros((len(steps), 2), dtype=int)
    information, threshold = np.full((2, len(steps), 2), np.nan)
    for n, train in enumerate(track(steps, "time shifts", show=progress)):
        places = runs.places[train]
        counts[n] = np.bincount(places // runs.visited.shape[1], minlength=2)
        maps[n] = _rates(runs, np.bincount(places, minlength=size))
        information[n] = _information(maps[n], runs.occupancy_s)
        if len(train) < MIN_SPIKES:
            continue
        # A shift moves the spikes of both directions together: one null for the whole path.
        shifts = draw_shifts(len(runs.places), num_shuffles, min_shift_s, rng)
        shifted = runs.places[(train + shifts) % len(runs.places)]
        shifted += size * np.arange(num_shuffles)[:, None]
        null = np.bincount(shifted.ravel(), minlength=size * num_shuffles)
        bits = _information(_rates(runs, null.reshape(num_shuffles, size)), runs.occupancy_s)
        threshold[n] = np.nanpercentile(bits, PERCENTILE, axis=0)
    return {
        "ratemaps": maps,
        "num_spikes": counts,
        "spatial_information": information,
        "information_threshold": threshold,
        "is_informative": (information > threshold) & (counts >= MIN_SPIKES),
    }


def _rates(runs: _Runs, counts: np.ndarray) -> np.ndarray:
    """Return smoothed maps [..., 2, bins] in Hz of spike counts [..., 2 * bins]."""
    spikes = np.where(runs.visited, counts.reshape(*counts.shape[:-1], *runs.visited.shape), 0.0)
    time = np.where(runs.visited, runs.occupancy_s, 0.0)
    if runs.sigma_bins:
        options: dict[str, Any] = {"axis": -1, "mode": "constant", "truncate": 3}
        spikes = ndimage.gaussian_filter1d(spikes, runs.sigma_bins, **options)
        time = ndimage.gaussian_filter1d(time, runs.sigma_bins, **options)
    return np.where(runs.visited, spikes / np.where(runs.visited, time, 1.0), np.nan)


def _information(maps: np.ndarray, occupancy_s: np.ndarray) -> np.ndarray:
    """Return the bits per spike [...] of maps [..., bins]; NaN for a map without spikes."""
    visited = np.isfinite(maps)
    time = np.where(visited, occupancy_s, 0.0)
    time = time / np.maximum(time.sum(axis=-1, keepdims=True), STEP_S)
    rates = np.where(visited, maps, 0.0)
    mean = (time * rates).sum(axis=-1, keepdims=True)
    relative = rates / np.where(mean > 0, mean, 1.0)
    bits = (time * relative * np.log2(np.where(relative > 0, relative, 1.0))).sum(axis=-1)
    return np.where(mean[..., 0] > 0, bits, np.nan)
