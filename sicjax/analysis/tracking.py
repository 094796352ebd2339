"""A tracker's path: read it, convert it to metres and remove lost samples.

Letters: S samples of the tracker. Times in seconds; positions in the tracker's unit until
`in_metres`, then in metres.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.inputs import brief, check_number, flat, numbers, warn

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
NWB_UNITS = METRES | {  # without the s of the plural
    "meter": 1.0, "metre": 1.0, "centimeter": 0.01, "centimetre": 0.01, "millimeter": 0.001,
    "millimetre": 0.001,
}  # fmt: skip
LARGEST_M = 10.0  # no arena is larger
# No unit is guessed if it would make the arena larger than this: the positions may as well be
# decimetres or pixels.
CERTAIN_M = 1.5
STRAYS = 1e-3  # largest share of samples far from all others that count as tracker errors
MARK_SHARE = 0.01  # least share of the samples at a tracker's mark for "lost"
JUMP = 4  # a jump is longer than this many times the 90th percentile of steps
JUMP_S = 0.05  # a jump as far as max_speed goes in this time is always allowed: LEDs flicker
SPEED_S = 0.1  # a speed over this time is hardly raised by the tracker's jitter


class Recorded(NamedTuple):
    """Positions as stored, and the conversion to metres that their file states."""

    places: np.ndarray  # [S, 2] in the stored unit
    conversion: float | None  # metres per stored unit; None if the file states none
    offset_m: float


def check_units(units: Any) -> None:
    """Raise a ValueError unless units are the name of one, metres per unit, or None."""
    if units is None or (isinstance(units, str) and units in METRES):
        return
    if isinstance(units, str) or np.ndim(units) != 0:
        raise ValueError(
            f"units is {brief(units)}; it must be one of {', '.join(METRES)}, a number of metres"
            " per unit, or None"
        )
    check_number("units", units, "metres per unit", above=0.0)


def read_path(
    times: Any,
    positions: Any,
    *,
    units: str | float | None,
    box_m: ArrayLike | None,
    max_speed: float,
    one_axis: bool = False,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return times [S], positions [S, 2] in metres (NaN where lost), and what was assumed.

    Args:
        times, positions, units, box_m, max_speed: as in `score_recording`.
        one_axis: whether positions may also be [S] along a track; their y is 0.

    Raises:
        TypeError, ValueError: as in `score_recording`.
    """
    clock, recorded = _clock(times, positions), _recorded(positions, one_axis)
    places = recorded.places
    if clock.shape != places.shape[:1]:
        raise ValueError(
            f"times has shape {clock.shape} for {len(places)} positions; it must be"
            f" ({len(places)},)"
        )
    _check_clock(clock)
    places = np.where(np.isfinite(places).all(axis=1, keepdims=True), places, np.nan)
    if np.isfinite(places).all(axis=1).sum() < 2:
        raise ValueError(f"positions: fewer than two of {len(places)} samples are finite")
    # Marks and strays are removed first: they would change the span, and so the guessed unit.
    places = _without_strays(_without_marks(places))
    if units is None and recorded.conversion is not None:
        places = places * recorded.conversion + recorded.offset_m
        assumed: list[str] = []
        _check_stated(places, recorded)
    else:
        places, assumed = in_metres(places, units, box_m=box_m)
    _check_speed(clock, places, max_speed)
    return clock, _without_jumps(clock, places, max_speed), assumed


def _clock(times: Any, positions: Any) -> np.ndarray:
    """Return the times [S] of the samples, from `times` or else from `positions`."""
    if times is not None:
        return flat(numbers("times", getattr(times, "t", times)))
    if hasattr(positions, "t"):  # pynapple
        return numbers("times", positions.t)
    if getattr(positions, "timestamps", None) is not None:  # a SpatialSeries of NWB
        return numbers("times", positions.timestamps)
    if getattr(positions, "rate", None):
        return (positions.starting_time or 0.0) + np.arange(len(positions.data)) / positions.rate
    raise TypeError(
        "times is None; only a pynapple TsdFrame or an NWB SpatialSeries of positions brings its"
        " own times"
    )


def _recorded(positions: Any, one_axis: bool) -> Recorded:
    """Return positions as stored, with the conversion if a file states one."""
    stored = getattr(positions, "values", positions)  # of a TsdFrame or a DataFrame
    # pynapple keeps the data set of an NWB file, whose attributes are those of the SpatialSeries.
    stated = getattr(stored, "attrs", {})
    if hasattr(positions, "conversion"):  # a SpatialSeries
        stored = positions.data
        stated = {name: getattr(positions, name, None) for name in ("conversion", "offset", "unit")}
    places = numbers("positions", stored)
    if one_axis and flat(places).ndim == 1:
        places = np.stack([flat(places), np.zeros(places.size)], axis=-1)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(
            f"positions has shape {places.shape}; it must be [samples, 2]: x and y in two columns"
            + (" (or one column along a track)" if one_axis else "")
        )
    if "conversion" not in stated:
        return Recorded(places, None, 0.0)
    metres = NWB_UNITS.get(str(stated.get("unit") or "m").lower().rstrip("s"))
    if metres is None:  # pixels, or an unknown unit
        return Recorded(places, None, 0.0)
    offset = stated.get("offset") or 0.0
    return Recorded(places, float(stated["conversion"]) * metres, float(offset) * metres)


def _check_clock(clock: np.ndarray) -> None:
    """Raise a ValueError unless times rise and are finite."""
    if not np.isfinite(clock).all():
        raise ValueError(f"times holds {np.sum(~np.isfinite(clock))} non-finite values")
    if (back := np.flatnonzero(np.diff(clock) <= 0)).size:
        first = back[0] + 1
        raise ValueError(
            f"times must rise: sample {first} ({clock[first]:g} s) does not come after the one"
            f" before ({clock[first - 1]:g} s)"
        )


def _without_marks(places: np.ndarray) -> np.ndarray:
    """Set to NaN the samples at a position that is a tracker's mark for "lost".

    Such a position recurs exactly in more than 1 % of the samples, and the path reaches and leaves
    it by a jump. A place where the animal rests recurs too, but the path leads there without a
    jump.
    """
    tracked = np.flatnonzero(np.isfinite(places).all(axis=1))
    path = places[tracked, 0] + 1j * places[tracked, 1]  # one number per sample: fast to compare
    found, which, counts = np.unique(path, return_inverse=True, return_counts=True)
    frequent = counts > MARK_SHARE * len(places)
    steps = np.abs(np.diff(path[~frequent[which]]))
    if not frequent.any() or not (steps > 0).any():
        return places
    jump = JUMP * np.percentile(steps[steps > 0], 90)
    places, steps = places.copy(), np.abs(np.diff(path))
    for value in np.flatnonzero(frequent):
        there = which == value
        ends = steps[there[1:] & ~there[:-1]], steps[there[:-1] & ~there[1:]]
        # At the beginning of a session a mark can only be left, at the end only be reached.
        if all(np.median(lengths) > jump for lengths in ends if lengths.size):
            places[tracked[there]] = np.nan
            at = found[value]
            warn(
                f"positions: {there.sum() / len(places):.0%} of the samples ({there.sum()}) are"
                f" exactly ({at.real:g}, {at.imag:g}), reached and left by jumps: they"
                ' count as the tracker\'s mark for "lost" and are left out'
            )
    return places


def _without_strays(places: np.ndarray) -> np.ndarray:
    """Set to NaN the few samples far beyond all others: tracker errors."""
    low, high = np.nanpercentile(places, [100 * STRAYS, 100 - 100 * STRAYS], axis=0)
    reach = 0.2 * (high - low).max()
    stray = ((places < low - reach) | (places > high + reach)).any(axis=1)
    if stray.any():
        warn(
            f"positions: {stray.sum()} of {len(places)} samples lie far beyond all others and are"
            " left out as tracker errors"
        )
    return np.where(stray[:, None], np.nan, places)


def in_metres(
    places: np.ndarray,
    units: str | float | None,
    *,
    box_m: ArrayLike | None = None,
    certain_m: float = CERTAIN_M,
) -> tuple[np.ndarray, list[str]]:
    """Return positions in metres, and sentences that say what was assumed about their unit.

    Args:
        places: [S, 2] in their unit.
        units: "m", "cm", "mm", or metres per unit. If None, the arena's size decides; without
            it, positions are metres or centimetres in an arena of at most `certain_m`.
        box_m: size of the arena, if known.
        certain_m: largest arena that is assumed, metres.

    Raises:
        ValueError: units are None, and more than one unit is plausible.
    """
    if units is not None:
        return places * (METRES[units] if isinstance(units, str) else float(units)), []
    span = np.nanmax(places, axis=0) - np.nanmin(places, axis=0)
    size = f"they span {span[0]:.4g} x {span[1]:.4g}"
    if box_m is not None and np.size(box_m) <= 2:
        side = np.max(numbers("box_m", box_m))
        for name, metres in METRES.items():
            if 0.5 * side <= span.max() * metres <= 1.1 * side:
                fits = f'which fits box_m (to confirm, give units="{name}")'
                words = f"{size} and were read as {name}, {fits}"
                return places * metres, [] if name == "m" else [words]
    if span.max() <= certain_m:
        return places, []
    if LARGEST_M < span.max() <= max(certain_m / METRES["cm"], LARGEST_M):
        return places * METRES["cm"], [
            f'{size} and were read as centimetres (to confirm, give units="cm")'
        ]
    may_be = "metres or decimetres" if span.max() <= LARGEST_M else "pixels, cm or mm"
    raise ValueError(
        f"positions span {span[0]:.4g} x {span[1]:.4g}, which may be {may_be}; give"
        ' units="m", "cm" or "mm", or a number: the metres per unit (for a camera: the arena\'s'
        " side in metres divided by its side in pixels)"
    )


def _check_stated(places: np.ndarray, recorded: Recorded) -> None:
    """Raise a ValueError if a file's conversion makes the path larger than any arena."""
    span = np.nanmax(places, axis=0) - np.nanmin(places, axis=0)
    if span.max() > LARGEST_M:
        raise ValueError(
            f"positions span {span[0]:.4g} x {span[1]:.4g} m by the conversion that their file"
            f" states ({recorded.conversion:g} m per unit); give units= (a number: metres per unit)"
        )


def _check_speed(clock: np.ndarray, places: np.ndarray, max_speed: float) -> None:
    """Raise a ValueError if the median speed is above `max_speed`."""
    seen = np.isfinite(places).all(axis=1)
    clock, places = clock[seen], places[seen]
    if len(clock) < 2:
        return
    apart = max(1, min(round(SPEED_S / np.median(np.diff(clock))), len(clock) - 1))
    step = np.hypot(*(places[apart:] - places[:-apart]).T)
    speed = np.median(step / (clock[apart:] - clock[:-apart]))
    if speed > max_speed:
        raise ValueError(
            f"times, positions: the median speed is {speed:.3g} m/s, above max_speed ="
            f" {max_speed:g}; times must be seconds and positions metres (see units=)"
        )


def _without_jumps(clock: np.ndarray, places: np.ndarray, max_speed: float) -> np.ndarray:
    """Set to NaN the samples that the animal cannot have reached from the last good sample."""
    tracked = np.flatnonzero(np.isfinite(places).all(axis=1))
    path, when = places[tracked, 0] + 1j * places[tracked, 1], clock[tracked]
    far = np.abs(np.diff(path)) > max_speed * np.maximum(np.diff(when), JUMP_S)
    lost = np.zeros(len(path), dtype=bool)
    after = 0
    for last in np.flatnonzero(far).tolist():
        if last < after:
            continue  # the return from a jump that was handled before
        after = last + 1
        # The longer the time since the last good sample, the farther the animal may be.
        while after < len(path) and abs(path[after] - path[last]) > max_speed * max(
            when[after] - when[last], JUMP_S
        ):
            lost[after] = True
            after += 1
    if not lost.any():
        return places
    warn(
        f"positions: {lost.sum()} of {len(places)} samples are left out as lost: the animal could"
        f" reach them only faster than max_speed = {max_speed:g} m/s"
    )
    places = places.copy()
    places[tracked[lost]] = np.nan
    return places
