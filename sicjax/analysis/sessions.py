"""A recording session: where the animal was and when each cell fired, checked and on one clock.

Letters: S samples of the tracker; K steps of 20 ms that count; N cells. Lengths in metres, times in
seconds.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

STEP_S = 0.02  # the path is read every 20 ms, by straight lines between the tracker's samples
SPEED_WINDOW_S = 0.2  # deviation of the Gaussian that keeps the tracker's jitter out of the speed
SHORTEST_S = 60.0  # of usable time, below which nothing is scored
LONGEST_S = 3e6  # a month: beyond it, times must be milliseconds or less
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
ARENAS = ("square", "rectangle", "circle")
LARGEST_M = 10.0  # no arena is larger: beyond it, positions must be in centimetres
SQUARE = 1.1  # sides that differ by less are of a square
STRAYS = 1e-3  # share of samples that may lie far from all others: the tracker's errors, no arena


@dataclass(frozen=True)
class Session:
    """What counts of a recording: K steps of 20 ms, tracked, in the arena and moving."""

    positions: np.ndarray  # [K, 2] (x, y) from the arena's centre
    spikes: tuple[np.ndarray, ...]  # N arrays of ints: the step in which each spike fell
    names: tuple[Any, ...]  # N, as they were given; their numbers otherwise
    sides_m: tuple[float, float]  # of the arena, along x and y; the diameter of a circle twice
    centre_m: tuple[float, float]  # of the arena, in the coordinates of the recording
    arena: str  # one of ARENAS


def read_session(
    times: Any,
    positions: Any,
    spike_times: Any,
    *,
    units: str | None = None,
    arena: str | None = None,
    box_m: ArrayLike | None = None,
    centre_m: ArrayLike | None = None,
    min_speed: float = 0.025,
    max_gap_s: float = 0.5,
) -> Session:
    """Check a recording and bring path and spikes onto one clock.

    What had to be assumed or left out is said in warnings of one line each.

    Args: as in `score_recording`.

    Raises:
        TypeError, ValueError: as in `score_recording`.
    """
    check_choice("units", units, tuple(METRES))
    check_choice("arena", arena, ARENAS)
    check_number("min_speed", min_speed, "metres per second", least=0.0)
    check_number("max_gap_s", max_gap_s, "seconds", above=0.0)
    clock, places = _path(times, positions)
    names, trains = _trains(spike_times)
    places, assumed = in_metres(_without_strays(places), units)
    tracked = np.isfinite(places).all(axis=1)
    middle_m, sides, shape, located = find_arena(places[tracked], arena, box_m, centre_m)
    if assumed := [*assumed, *located]:
        warnings.warn(f"positions: {'; '.join(assumed)}", stacklevel=3)
    if clock[-1] - clock[0] > LONGEST_S:
        raise ValueError(
            f"times span {clock[-1] - clock[0]:.3g}; they must be seconds, at most {LONGEST_S:g}"
        )
    grid = clock[0] + STEP_S * np.arange(int((clock[-1] - clock[0]) / STEP_S + 1e-6) + 1)
    path, seen = _on_the_clock(grid, clock[tracked], places[tracked] - middle_m, max_gap_s)
    inside = (np.abs(path) <= np.divide(sides, 2)).all(axis=1)
    if shape == "circle":
        inside = np.hypot(*path.T) <= sides[0] / 2
    if (outside := np.mean(~inside[seen])) > 0.01:
        warnings.warn(
            f"positions: {outside:.0%} lie outside the {shape} of {sides[0]:g} x {sides[1]:g} m"
            f" around ({middle_m[0]:g}, {middle_m[1]:g}) m and are left out",
            stacklevel=3,
        )
    kept = seen & inside & (_speed(path) >= min_speed)
    if kept.sum() * STEP_S < SHORTEST_S:
        raise ValueError(
            f"times, positions: {kept.sum() * STEP_S:.1f} of {clock[-1] - clock[0]:.1f} s can be"
            f" used ({seen.mean():.0%} tracked, {kept.sum() / max(seen.sum(), 1):.0%} of that in"
            f" the arena and at least {min_speed:g} m/s fast); at least {SHORTEST_S:g} s must be"
        )
    return Session(
        positions=path[kept],
        spikes=_spike_steps(trains, names, grid, kept),
        names=names,
        sides_m=(float(sides[0]), float(sides[1])),
        centre_m=(float(middle_m[0]), float(middle_m[1])),
        arena=shape,
    )


def check_number(
    name: str, value: Any, unit: str, *, least: float = -np.inf, above: float = -np.inf
) -> None:
    """Raise a ValueError unless a value is one finite number in its range."""
    try:
        right = np.ndim(value) == 0 and np.isfinite(value) and value >= least and value > above
    except TypeError:
        right = False
    if not right:
        bound = f"above {above:g}" if np.isfinite(above) else f"at least {least:g}"
        raise ValueError(f"{name} is {_said(value)}; it must be a number of {unit}, {bound}")


def _said(value: Any) -> str:
    """A value on one line."""
    return " ".join(repr(value).split())[:80]


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise a ValueError unless a value is one of several, or None."""
    if value is not None and value not in choices:
        raise ValueError(
            f"{name} is {_said(value)}; it must be one of {', '.join(choices)}, or None"
        )


def _numbers(name: str, values: Any) -> np.ndarray:
    """Return real numbers as float64, with NaN where an array is masked; else a TypeError."""
    try:
        array = np.ma.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError
        return np.ma.filled(array.astype(np.float64), np.nan)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {_kind_of(values)}; it must be an array of numbers") from None


def _kind_of(values: Any) -> str:
    dtype = getattr(values, "dtype", None)
    return type(values).__name__ if dtype is None else f"an array of {dtype}"


def _path(times: Any, positions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return times [S], rising, and positions [S, 2], NaN where the animal was not seen."""
    if times is None:
        if not hasattr(positions, "t"):
            raise TypeError(
                "times is None; only a pynapple TsdFrame of positions brings its own times"
            )
        times = positions.t
    clock = _numbers("times", getattr(times, "t", times))
    # A TsdFrame (or a DataFrame) keeps its numbers under this name.
    places = _numbers("positions", getattr(positions, "values", positions))
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(
            f"positions has shape {places.shape}; it must be [samples, 2]: x and y in two columns"
        )
    if clock.shape != places.shape[:1]:
        raise ValueError(
            f"times has shape {clock.shape} for {len(places)} positions; it must be"
            f" ({len(places)},)"
        )
    if not np.isfinite(clock).all():
        raise ValueError(f"times holds {np.sum(~np.isfinite(clock))} non-finite values")
    if (back := np.flatnonzero(np.diff(clock) <= 0)).size:
        first = back[0] + 1
        raise ValueError(
            f"times must rise: sample {first} ({clock[first]:g} s) does not come after the one"
            f" before ({clock[first - 1]:g} s)"
        )
    if np.isfinite(places).all(axis=1).sum() < 2:
        raise ValueError(f"positions: fewer than two of {len(places)} samples are finite")
    return clock, np.where(np.isfinite(places).all(axis=1, keepdims=True), places, np.nan)


def _trains(spike_times: Any) -> tuple[tuple[Any, ...], list[np.ndarray]]:
    """Return the names and the spike times of N cells, in seconds."""
    if hasattr(spike_times, "t"):  # one pynapple Ts
        spike_times = [spike_times]
    if isinstance(spike_times, Mapping):  # a dict, or a pynapple TsGroup
        names = tuple(spike_times)
        given = [spike_times[name] for name in names]
    elif isinstance(spike_times, Sequence | np.ndarray) and not isinstance(spike_times, str):
        names, given = tuple(range(len(spike_times))), list(spike_times)
    else:
        raise TypeError(
            f"spike_times is {_kind_of(spike_times)}; it must be a list of arrays (one a cell), a"
            " dict of them, or a pynapple TsGroup"
        )
    if isinstance(spike_times, np.ndarray) and spike_times.ndim > 1:
        raise TypeError(
            f"spike_times is an array of shape {spike_times.shape}; it must be a list of arrays of"
            " times, one a cell (counts per sample go to bin_activity)"
        )
    if given and isinstance(given[0], int | float | np.number):
        raise TypeError(
            "spike_times is a list of numbers; it must be a list of arrays, one a cell ([spikes]"
            " for one cell)"
        )
    trains = []
    for name, train in zip(names, given, strict=True):
        seconds = _numbers(f"spike_times of cell {name}", getattr(train, "t", train))
        if seconds.ndim != 1:
            raise ValueError(
                f"spike_times of cell {name} has shape {seconds.shape}; it must be [spikes]"
            )
        if not np.isfinite(seconds).all():
            raise ValueError(
                f"spike_times of cell {name} holds {np.sum(~np.isfinite(seconds))} non-finite"
                " values"
            )
        trains.append(seconds)
    return names, trains


def _without_strays(places: np.ndarray) -> np.ndarray:
    """Make NaN of the few samples that lie far beyond all others: the tracker's errors."""
    low, high = np.nanpercentile(places, [100 * STRAYS, 100 - 100 * STRAYS], axis=0)
    reach = 0.2 * (high - low).max()
    stray = ((places < low - reach) | (places > high + reach)).any(axis=1)
    if stray.any():
        warnings.warn(
            f"positions: {stray.sum()} of {len(places)} samples lie far beyond all others and are"
            " left out as errors of the tracker",
            stacklevel=4,
        )
    return np.where(stray[:, None], np.nan, places)


def in_metres(places: np.ndarray, units: str | None) -> tuple[np.ndarray, list[str]]:
    """Return positions in metres, and in words what was assumed about their unit."""
    span = np.nanmax(places, axis=0) - np.nanmin(places, axis=0)
    if units is not None:
        return places * METRES[units], []
    if span.max() <= LARGEST_M:
        return places, []
    if span.max() * METRES["cm"] > LARGEST_M:
        raise ValueError(
            f"positions span {span[0]:g} x {span[1]:g}, neither metres nor centimetres of an arena;"
            " convert them, or say units="
        )
    words = f'they span {span[0]:.4g} x {span[1]:.4g} and were read as centimetres (say units="cm")'
    return places * METRES["cm"], [words]


def find_arena(
    places: np.ndarray, arena: str | None, box_m: ArrayLike | None, centre_m: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, str, list[str]]:
    """Return the arena's centre [2], sides [2] and shape, and in words what was assumed."""
    low, high = places.min(axis=0), places.max(axis=0)
    middle, assumed = (low + high) / 2, []
    if arena == "circle":
        middle = _centre_of_circle(places)
    if box_m is None:
        sides = high - low
        if not (sides > 0).all():
            raise ValueError(
                f"positions span {sides[0]:g} x {sides[1]:g} m; a map needs an arena of two"
                " dimensions"
            )
        shape = arena or ("square" if sides.max() <= SQUARE * sides.min() else "rectangle")
        if shape == "circle":  # its path need not have touched all four of its sides
            sides = np.full(2, 2 * np.hypot(*(places - middle).T).max())
        elif shape == "square":
            sides = np.full(2, sides.max())
        sides = sides * (1 + 1e-6)  # so that the outermost sample lies in the outermost bin
    else:
        sides = _pair("box_m", box_m, "the side or the two sides (x, y)")
        shape = arena or ("square" if sides[0] == sides[1] else "rectangle")
        if shape != "rectangle" and sides[0] != sides[1]:
            raise ValueError(f"box_m is {_said(box_m)}; a {shape} has one length")
        if not (sides.min() > 0 and sides.max() <= LARGEST_M):
            raise ValueError(f"box_m is {_said(box_m)}; it must be metres, above 0 and at most 10")
    if centre_m is not None:
        middle = _pair("centre_m", centre_m, "the arena's centre (x, y)", both=True)
    elif np.abs(middle).max() > 0.05 * sides.max():
        assumed.append(
            f"their origin is not the arena's centre, which was put at ({middle[0]:.4g},"
            f" {middle[1]:.4g}) m, the middle of the path (say centre_m=)"
        )
    if box_m is not None and (high - low).max() < 0.5 * sides.max():
        assumed.append(f"they span {(high - low).max():.3g} m of an arena of {sides.max():g} m")
    return middle, sides, shape, assumed


def _centre_of_circle(places: np.ndarray) -> np.ndarray:
    """Return the centre [2] of the circle that a path [S, 2] reaches in 36 directions, fitted."""
    angles = np.deg2rad(np.arange(0, 360, 10))
    outwards = np.stack([np.cos(angles), np.sin(angles), np.ones(len(angles))])
    reach = np.array([(places @ direction).max() for direction in outwards[:2].T])
    return np.linalg.lstsq(outwards.T, reach, rcond=None)[0][:2]


def _pair(name: str, value: ArrayLike, what: str, *, both: bool = False) -> np.ndarray:
    numbers = _numbers(name, value)
    right = numbers.shape == (2,) or (numbers.shape == () and not both)
    if not right or not np.isfinite(numbers).all():
        raise ValueError(f"{name} is {_said(value)}; it must be {what}, metres")
    return np.broadcast_to(numbers, 2)


def _on_the_clock(
    grid: np.ndarray, clock: np.ndarray, places: np.ndarray, max_gap_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Read the path at the times [k]: positions [k, 2] and whether the animal was seen [k].

    Straight lines bridge what is shorter than `max_gap_s`; in longer gaps it was not seen.
    """
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
    return path, seen


def _speed(path: np.ndarray) -> np.ndarray:
    """Return speeds [k] in metres per second of a path [k, 2] read every 20 ms."""
    if len(path) < 2:
        return np.zeros(len(path))
    smooth = ndimage.gaussian_filter1d(path, SPEED_WINDOW_S / STEP_S, axis=0, mode="nearest")
    return np.hypot(*np.gradient(smooth, STEP_S, axis=0).T)


def _spike_steps(
    trains: Sequence[np.ndarray], names: tuple[Any, ...], grid: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the step, counted among the kept ones, in which each spike of each cell fell."""
    rank = np.cumsum(kept) - 1
    steps, outside, total = [], 0, 0
    for train in trains:
        step = np.rint((train - grid[0]) / STEP_S)
        during = (step >= -1) & (step <= len(grid))  # the outermost samples reach a step further
        outside, total = outside + np.sum(~during), total + len(train)
        step = np.clip(step[during], 0, len(grid) - 1).astype(np.int64)
        steps.append(np.sort(rank[step[kept[step]]]))
    session = f"the session ({grid[0]:g} to {grid[-1]:g} s)"
    if total and outside == total:
        raise ValueError(
            f"spike_times: none of {total} spikes of {len(names)} cells falls into {session}; they"
            " must be seconds, on the clock of times"
        )
    if outside:
        warnings.warn(
            f"spike_times: {outside} of {total} spikes fall outside {session} and are left out",
            stacklevel=4,
        )
    return tuple(steps)
