"""Spike times in every form that is unambiguous; all other forms are refused in one line.

Letters: N cells; S samples of the tracker. Times in seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sicjax.analysis.inputs import flat, kind_of, numbers

FASTEST_HZ = 500  # most spikes in any second; no neuron fires faster
FORMS = (
    "a list of arrays (one per cell), a dict of them, a pynapple TsGroup, a pandas Series"
    " of arrays, or a table with unit= and time= naming two of its columns"
)


def read_trains(
    spike_times: Any, *, unit: str | None, time: str | None
) -> tuple[tuple[Any, ...], list[np.ndarray]]:
    """Return the names and the spike times of N cells, in seconds.

    Args:
        spike_times: one of FORMS, or one pynapple `Ts`.
        unit, time: columns of a table with one spike per row.

    Raises:
        TypeError: another form.
        ValueError: columns or shapes that don't fit.
    """
    if unit is not None or time is not None:
        names, given = _from_table(spike_times, unit, time)
    else:
        names, given = _from_cells(spike_times)
    return names, [_train(name, values) for name, values in zip(names, given, strict=True)]


def check_trains(names: Sequence[Any], trains: Sequence[np.ndarray], num_samples: int) -> None:
    """Raise a ValueError for values that can't be the times of one neuron's spikes.

    Args:
        names: of N cells.
        trains: N arrays [spikes].
        num_samples: S; a train with as many values holds one value per sample.
    """
    for name, train in zip(names, trains, strict=True):
        _check_times(f"spike_times of cell {name}", train, num_samples)


def _from_table(
    table: Any, unit: str | None, time: str | None
) -> tuple[tuple[Any, ...], Sequence[Any]]:
    """Return the names and the spike times of the cells of a table with one spike per row."""
    if unit is None or time is None:
        raise ValueError(
            f"unit is {unit!r} and time is {time!r}; they name two columns of a table of spikes"
            " together"
        )
    columns = list(table) if isinstance(table, Mapping) else _columns(table)
    if columns is None:
        raise TypeError(
            f"spike_times is {kind_of(table)}; unit= and time= need a table with named columns"
        )
    for argument, column in (("unit", unit), ("time", time)):
        if column not in columns:
            raise ValueError(
                f"{argument} is {column!r}; the columns of spike_times are {_listed(columns)}"
            )
    owners = flat(np.asarray(table[unit]))
    seconds = flat(numbers(f"spike_times, column {time}", table[time]))
    if owners.shape != seconds.shape or owners.ndim != 1:
        raise ValueError(
            f"spike_times: column {unit} has shape {owners.shape}, column {time} {seconds.shape};"
            " both must be [spikes]"
        )
    if any(owner is None or owner != owner for owner in owners.tolist()):
        raise ValueError(f"spike_times: column {unit} has rows without a unit")
    try:
        found, owner = np.unique(owners, return_inverse=True)
    except TypeError:
        raise TypeError(f"spike_times: column {unit} mixes texts and numbers") from None
    # The rows of a table may be in any order, so they are sorted here.
    return tuple(found.tolist()), [np.sort(seconds[owner == n]) for n in range(len(found))]


def _from_cells(spike_times: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
    """Return the names of N cells and the part of the input that belongs to each."""
    if (columns := _columns(spike_times)) is not None:
        raise TypeError(
            f"spike_times is a table with the columns {_listed(columns)}; name the two that hold a"
            " spike's cell and time (unit=, time=), or give a column of arrays, such as"
            ' table["spike_times"]'
        )
    if hasattr(spike_times, "t"):  # one pynapple Ts
        return (0,), [spike_times]
    if isinstance(spike_times, Mapping):  # a dict, or a pynapple TsGroup
        return tuple(spike_times), [spike_times[name] for name in spike_times]
    if hasattr(spike_times, "iloc"):  # a pandas Series
        names, given = tuple(spike_times.index), list(spike_times)
    elif isinstance(spike_times, np.ndarray):
        spike_times = flat(spike_times)
        if spike_times.ndim > 1:
            raise TypeError(
                f"spike_times is an array of shape {spike_times.shape}; it must be a list of"
                " arrays of times, one per cell (counts per sample go to bin_activity)"
            )
        names, given = tuple(range(spike_times.size)), list(spike_times.ravel())
    elif isinstance(spike_times, Sequence) and not isinstance(spike_times, str | bytes):
        names, given = tuple(range(len(spike_times))), list(spike_times)
    else:
        raise TypeError(f"spike_times is {kind_of(spike_times)}; it must be {FORMS}")
    if given and all(isinstance(train, int | float | np.number) for train in given):
        raise TypeError(
            "spike_times is a list of numbers; it must be a list of arrays, one per cell ([spikes]"
            " for one cell)"
        )
    return names, given


def _columns(table: Any) -> list[Any] | None:
    """Return the names of a table's columns, or None if it is not a table."""
    if hasattr(table, "time_support"):  # pynapple: its columns don't describe spikes
        return None
    for columns in (
        getattr(getattr(table, "dtype", None), "names", None),  # a structured array
        getattr(table, "colnames", None),  # a table of NWB
        getattr(table, "columns", None),  # a data frame
    ):
        if columns is not None:
            return list(columns)
    return None


def _train(name: Any, values: Any) -> np.ndarray:
    """Return one cell's spike times [spikes] as float64."""
    said = f"spike_times of cell {name}"
    while isinstance(values, np.ndarray) and values.dtype == object and values.size == 1:
        values = values.item()  # a MATLAB cell within a cell
    if hasattr(values, "t"):
        if hasattr(values, "values"):
            raise TypeError(
                f"{said} is {kind_of(values)}, values at times (a calcium trace, a rate?); it must"
                " be the times of spikes alone: find the events first, or give the trace to"
                " bin_activity"
            )
        values = values.t
    if np.size(values) == 0 and not isinstance(values, str | bytes):
        return np.empty(0)
    seconds = flat(numbers(said, values))
    if seconds.ndim != 1:
        raise ValueError(f"{said} has shape {seconds.shape}; it must be [spikes]")
    return seconds


def _check_times(said: str, train: np.ndarray, num_samples: int) -> None:
    """Raise a ValueError for values that can't be the times of one neuron's spikes."""
    if not np.isfinite(train).all():
        raise ValueError(f"{said} holds {np.sum(~np.isfinite(train))} non-finite values")
    if len(train) == num_samples:
        raise ValueError(
            f"{said} has {num_samples} values, one for each sample of the path; it must hold times"
            " of spikes (counts or rates per sample go to bin_activity)"
        )
    if (falls := np.flatnonzero(np.diff(train) < 0)).size:
        first = falls[0] + 1
        raise ValueError(
            f"{said} must rise: value {first} ({train[first]:g}) comes after {train[first - 1]:g};"
            " if these are times of one cell, sort them (numpy.sort)"
        )
    within = train[FASTEST_HZ:] - train[:-FASTEST_HZ]
    if within.size and within.min() < 1:
        raise ValueError(
            f"{said} has more than {FASTEST_HZ} spikes within a second, at"
            f" {train[within.argmin()]:g} s, more than a neuron can fire; are they from several"
            " cells, or not in seconds?"
        )


def _listed(names: Iterable[Any]) -> str:
    """Return the first names as one line of text."""
    names = [str(name) for name in names]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
