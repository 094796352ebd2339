"""A recording session: where the animal was and when each cell fired, checked and on one clock.

Letters: S samples of the tracker; K steps of 20 ms that count; N cells. Lengths in metres, times in
seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from sicjax.analysis.arenas import ARENAS, find_arena, track_reason
from sicjax.analysis.inputs import check_choice, check_number, warn
from sicjax.analysis.spikes import check_trains, read_trains
from sicjax.analysis.tracking import check_units, read_path

STEP_S = 0.02  # the path is read every 20 ms, by straight lines between the tracker's samples
SPEED_WINDOW_S = 0.2  # standard deviation of the Gaussian that smooths tracker jitter out of speeds
SHORTEST_S = 60.0  # least usable time of a session
LONGEST_S = 3e6  # a month: beyond it, times must be milliseconds or less
# Spikes that all fall into a smaller share of the session are probably on another clock.
CROWDED, CROWDED_SPIKES = 0.1, 50


@dataclass(frozen=True)
class Session:
    """The usable part of a recording: K steps of 20 ms, tracked, in the arena and moving."""

    positions: np.ndarray  # [K, 2] (x, y) from the arena's centre
    spikes: tuple[np.ndarray, ...]  # N arrays of ints: the step in which each spike fell
    names: tuple[Any, ...]  # N, from the input; numbers from 0 if it has none
    sides_m: tuple[float, float]  # of the arena, along x and y; the diameter of a circle twice
    centre_m: tuple[float, float]  # of the arena, in the coordinates of the recording
    arena: str  # one of ARENAS
    track: str  # why no lattice can be judged on this path; "" if it can


def read_session(
    times: Any,
    positions: Any,
    spike_times: Any,
    *,
    unit: str | None = None,
    time: str | None = None,
    units: str | float | None = None,
    arena: str | None = None,
    box_m: ArrayLike | None = None,
    centre_m: ArrayLike | None = None,
    min_speed: float = 0.025,
    max_speed: float = 2.0,
    max_gap_s: float = 0.5,
) -> Session:
    """Check a recording and bring path and spikes onto one clock.

    Warnings of one line say what was assumed or left out.

    Args: as in `score_recording`.

    Raises:
        TypeError, ValueError: as in `score_recording`.
    """
    check_units(units)
    check_choice("arena", arena, ARENAS)
    check_speeds(min_speed, max_speed, max_gap_s)
    # Names and forms first: errors in them are cheap to find and need no path.
    names, trains = read_trains(spike_times, unit=unit, time=time)
    clock, places, assumed = read_path(
        times, positions, units=units, box_m=box_m, max_speed=max_speed
    )
    check_trains(names, trains, len(clock))
    # Lost samples are NaN from here on and must not enlarge the arena.
    tracked = np.isfinite(places).all(axis=1)
    middle_m, sides, shape, located = find_arena(places[tracked], arena, box_m, centre_m)
    if assumed := [*assumed, *located]:
        warn(f"positions: {'; '.join(assumed)}")
    # Path and spikes get one clock of 20 ms steps, counted from the arena's centre.
    grid, path, seen = on_the_clock(clock, places - middle_m, max_gap_s)
    inside = (np.abs(path) <= np.divide(sides, 2)).all(axis=1)
    if shape == "circle":
        inside = np.hypot(*path.T) <= sides[0] / 2
    # A few samples outside are jitter at the walls; more mean a wrong arena, so there is a warning.
    if (outside := np.mean(~inside[seen])) > 0.01:
        warn(
            f"positions: {outside:.0%} lie outside the {shape} of {sides[0]:g} x {sides[1]:g} m"
            f" around ({middle_m[0]:g}, {middle_m[1]:g}) m and are left out"
        )
    # Only moving samples count: resting animals replay, which blurs the fields.
    kept = seen & inside & (speed_of(path) >= min_speed)
    check_usable(grid, seen, kept, min_speed)
    return Session(
        positions=path[kept],
        spikes=spike_steps(trains, names, grid, kept),
        names=names,
        sides_m=(float(sides[0]), float(sides[1])),
        centre_m=(float(middle_m[0]), float(middle_m[1])),
        arena=shape,
        track=track_reason(path[seen & inside], sides),
    )


def check_speeds(min_speed: float, max_speed: float, max_gap_s: float) -> None:
    """Raise a ValueError unless the limits of speed and of gaps are numbers in their range."""
    check_number("min_speed", min_speed, "metres per second", least=0.0)
    check_number("max_speed", max_speed, "metres per second", above=min_speed)
    check_number("max_gap_s", max_gap_s, "seconds", above=0.0)


def check_usable(grid: np.ndarray, seen: np.ndarray, kept: np.ndarray, min_speed: float) -> None:
    """Raise a ValueError if less than a minute of the steps [k] is kept."""
    if kept.sum() * STEP_S < SHORTEST_S:
        raise ValueError(
            f"times, positions: {kept.sum() * STEP_S:.1f} of {grid[-1] - grid[0]:.1f} s can be"
            f" used ({seen.mean():.0%} tracked, {kept.sum() / max(seen.sum(), 1):.0%} of that in"
            f" the arena and at least {min_speed:g} m/s fast); at least {SHORTEST_S:g} s are needed"
        )


def on_the_clock(
    times: np.ndarray, positions: np.ndarray, max_gap_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a path every 20 ms.

    Args:
        times: [S], rising.
        positions: [S, 2], NaN where the animal was lost.
        max_gap_s: straight lines bridge shorter gaps; in longer ones the animal counts as not seen.

    Returns:
        times [k], positions [k, 2] and whether the animal was seen [k].
    """
    if (span := times[-1] - times[0]) > LONGEST_S:
        raise ValueError(f"times span {span:.3g}; they must be seconds, at most {LONGEST_S:g}")
    grid = times[0] + STEP_S * np.arange(int(span / STEP_S + 1e-6) + 1)
    tracked = np.isfinite(positions).all(axis=1)
    clock, places = times[tracked], positions[tracked]
    usual = np.median(np.diff(clock))
    if usual > max_gap_s:
        raise ValueError(
            f"times are {usual:g} s apart (median), more than max_gap_s = {max_gap_s:g}; they must"
            " be seconds"
        )
    after = np.clip(np.searchsorted(clock, grid, side="right"), 1, len(clock) - 1)
    seen = clock[after] - clock[after - 1] <= max_gap_s
    seen &= (grid >= clock[0]) & (grid <= clock[-1] + STEP_S / 2)
    path = np.stack([np.interp(grid, clock, places[:, axis]) for axis in (0, 1)], axis=-1)
    return grid, path, seen


def speed_of(path: np.ndarray) -> np.ndarray:
    """Return speeds [k] in metres per second of a path [k, 2] read every 20 ms."""
    if len(path) < 2:
        return np.zeros(len(path))
    smooth = ndimage.gaussian_filter1d(path, SPEED_WINDOW_S / STEP_S, axis=0, mode="nearest")
    return np.hypot(*np.gradient(smooth, STEP_S, axis=0).T)


def spike_steps(
    trains: Sequence[np.ndarray], names: tuple[Any, ...], grid: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the step, counted among the kept ones, in which each spike of each cell fell."""
    rank = np.cumsum(kept) - 1
    steps, outside, total = [], 0, 0
    first, last = len(grid), 0
    for train in trains:
        step = np.rint((train - grid[0]) / STEP_S)
        during = (step >= -1) & (step <= len(grid))  # up to a step outside counts, too
        outside, total = outside + np.sum(~during), total + len(train)
        step = np.clip(step[during], 0, len(grid) - 1).astype(np.int64)
        if step.size:
            first, last = min(first, step.min()), max(last, step.max())
        steps.append(np.sort(rank[step[kept[step]]]))
    session = f"the session ({grid[0]:g} to {grid[-1]:g} s)"
    if total and outside == total:
        raise ValueError(
            f"spike_times: none of {total} spikes of {len(names)} cells falls into {session}; they"
            " must be seconds, on the clock of times"
        )
    if outside:
        warn(f"spike_times: {outside} of {total} spikes fall outside {session} and are left out")
    if total >= CROWDED_SPIKES and last - first < CROWDED * len(grid):
        warn(
            f"spike_times: all spikes of {len(names)} cells lie between {grid[first]:g} and"
            f" {grid[last]:g} s of {session}; are they in seconds, on the clock of times?"
        )
    return tuple(steps)
