"""Damaged or unusual recordings, and what `score_recording` returns for each.

`python -m experiments.recordings --inputs` writes the table. One animal runs for 15 minutes through
a box of 1 m; "grid" is a grid cell with a period of 0.40 m, "flat" fires at one rate. Each input
holds this session in another form. The answer must be the right kind, period and box, or an error
of one line. A warning must name everything that was left out or assumed.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from sicjax.analysis.recordings import score_recording

TIMES = np.arange(0, 900, 0.02)
PERIOD_M = 0.40
RIGHT, WARNED = "right number", "right number, with a warning"
REFUSED = "an error, or a warning that doubts the numbers"


class Input(NamedTuple):
    """One input: what is unusual about it, its arguments, and the outcome that it must have."""

    name: str
    times: Any
    positions: Any
    spikes: Any
    options: dict[str, Any]
    expected: str


class Outcome(NamedTuple):
    """The outcome for a user."""

    name: str
    expected: str
    result: str  # the numbers, or the error
    warnings: tuple[str, ...]
    is_right: bool


def simulate() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the path [S, 2] in metres and the spikes of two cells in seconds."""
    rng = np.random.default_rng(0)
    heading = np.cumsum(rng.normal(0, 0.15, len(TIMES)))  # 0.2 m/s; the walls reflect the walk
    walk = np.cumsum(0.004 * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    path = np.arcsin(np.sin(np.pi * walk)) / np.pi
    turns = np.deg2rad([10, 70, 130])
    waves = 4 * np.pi / 3**0.5 / PERIOD_M * np.stack([np.cos(turns), np.sin(turns)])
    rate = 15 * np.exp(0.9 * (np.cos(path @ waves).sum(axis=-1) - 3))
    chance = rng.random((2, len(TIMES)))
    return path, {"grid": TIMES[chance[0] < rate * 0.02], "flat": TIMES[chance[1] < 3 * 0.02]}


class Series:
    """Stand in for a pandas Series of arrays."""

    iloc = None

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.index, self._values = tuple(values), list(values.values())

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._values)


class Frame(dict):
    """Stand in for a pandas data frame."""

    iloc = None
    columns = property(list)


class Dataset(np.ndarray):
    """Stand in for a data set of an NWB file: an array with attributes."""

    attrs: dict[str, Any]


def stored(values: np.ndarray, **attrs: Any) -> Dataset:
    """Return numbers in the form in which pynapple keeps those of an NWB file."""
    data = values.view(Dataset)
    data.attrs = attrs
    return data


def inputs() -> list[Input]:
    """Build every input of the table."""
    path, cells = simulate()
    rng = np.random.default_rng(1)
    trains = list(cells.values())
    found: list[Input] = []

    def add(name: str, expected: str, **changed: Any) -> None:
        given: dict[str, Any] = {"times": TIMES, "positions": path, "spikes": cells, "options": {}}
        found.append(Input(name, **(given | changed), expected=expected))

    _add_spikes(add, cells, trains, rng)
    _add_positions(add, path, rng)
    _add_clocks(add, path, cells)
    return found


def _add_spikes(
    add: Callable[..., None],
    cells: dict[str, np.ndarray],
    trains: list[np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Add forms of spike times."""
    # Every form of spikes that users keep, built from the same trains.
    matlab = np.empty((1, 3), dtype=object)
    matlab[0, :2] = [train[:, None] for train in trains]
    matlab[0, 2] = np.empty((0, 0))
    owner = np.repeat(list(cells), [len(train) for train in trains])
    every = np.concatenate(trains)
    order = np.argsort(every)
    table = Frame(cell=owner[order], t=every[order])
    structured = np.array(list(zip(owner, every, strict=True)), [("cell", "U4"), ("t", "f8")])
    columns = {"unit": "cell", "time": "t"}
    group = {name: SimpleNamespace(t=train) for name, train in cells.items()}
    traces = SimpleNamespace(t=TIMES, values=rng.random((len(TIMES), 3)))
    counts = np.histogram(trains[0], np.append(TIMES, 900) - 0.01)[0]

    # Clear forms must give the right cells; ambiguous ones must be refused in one line.
    add("spikes: dict of arrays", RIGHT)
    add("spikes: list of arrays", RIGHT, spikes=trains)
    add("spikes: list of lists", RIGHT, spikes=[train.tolist() for train in trains])
    add("spikes: pynapple TsGroup of Ts", RIGHT, spikes=group)
    add("spikes: pandas Series of arrays", RIGHT, spikes=Series(cells))
    add("spikes: MATLAB cell array [1, N] of [n, 1], one empty", RIGHT, spikes=matlab)
    add("spikes: MATLAB cell array [N, 1]", RIGHT, spikes=matlab.T)
    add("spikes: table, unit= and time= given", RIGHT, spikes=table, options=columns)
    add("spikes: structured array, unit= and time=", RIGHT, spikes=structured, options=columns)
    add("spikes: dict of columns, unit= and time=", RIGHT, spikes=dict(table), options=columns)
    add("spikes: table with a column t, no names given", REFUSED, spikes=table)
    add("spikes: structured array, no names given", REFUSED, spikes=structured)
    add("spikes: unit= names no column", REFUSED, spikes=table, options=columns | {"unit": "id"})
    add("spikes: TsdFrame of calcium traces", REFUSED, spikes=traces)
    add("spikes: TsGroup of Tsd", REFUSED, spikes={0: SimpleNamespace(t=TIMES, values=counts)})
    add("spikes: one array of numbers", REFUSED, spikes=trains[0])
    add("spikes: counts per sample", REFUSED, spikes=[counts])
    add("spikes: array [samples, cells] of counts", REFUSED, spikes=np.stack([counts] * 2, 1))
    add("spikes: the time of every sample", REFUSED, spikes=[TIMES])
    add("spikes: two cells joined in one train", REFUSED, spikes=[every])
    add("spikes: a cell with NaN", REFUSED, spikes=[trains[0], np.array([1.0, np.nan])])
    add("spikes: thousands within a second", REFUSED, spikes=[trains[0], trains[1] / 900])
    add("spikes: milliseconds", REFUSED, spikes=[1000 * trains[0][5:], 1000 * trains[1][5:]])
    add("spikes: no spike of one cell", RIGHT, spikes=cells | {"silent": []})


def _add_positions(add: Callable[..., None], path: np.ndarray, rng: np.random.Generator) -> None:
    """Add forms and faults of positions."""
    gone = np.zeros(len(TIMES), dtype=bool)
    # Trackers lose an animal for about a second at a time, not for single samples.
    for start in rng.integers(0, len(TIMES) - 120, 110):
        gone[start : start + 60] = True
    lost = gone[:, None]
    corner = 100 * (path + 0.53)
    pixels = np.rint(300 * (path + 0.9))
    jumps = np.where((np.arange(len(TIMES)) % 500 < 3)[:, None], -path, path)
    metre = {"units": "cm", "centre_m": (0.53, 0.53)}
    pixel = {"units": 1 / 300, "centre_m": (0.9, 0.9)}
    stated = {"conversion": 1 / 300, "offset": -0.9, "unit": "meters"}

    # A guess that may be wrong must be warned of; a guess that changes all periods is refused.
    add("positions: NaN where lost", RIGHT, positions=np.where(lost, np.nan, path))
    for mark in (0, -1, 1023):
        add(
            f"positions: {mark} where lost, cm", WARNED,
            positions=np.where(lost, mark, corner), options=metre,
        )  # fmt: skip
    add(
        "positions: 1023 where lost, pixels, units=1/300", WARNED,
        positions=np.where(lost, 1023, pixels), options=pixel,
    )  # fmt: skip
    add("positions: pixels, units not given", REFUSED, positions=pixels)
    add("positions: pixels, units=1/300", RIGHT, positions=pixels, options=pixel)
    add("positions: cm, units not given", WARNED, positions=100 * path)
    add("positions: mm, units not given", REFUSED, positions=1000 * path)
    add("positions: decimetres, units not given", REFUSED, positions=10 * path)
    add("positions: mm, box_m=1", WARNED, positions=1000 * path, options={"box_m": 1.0})
    add("positions: cm as units='m'", REFUSED, positions=100 * path, options={"units": "m"})
    add("positions: jumps to and fro", WARNED, positions=jumps)
    series = SimpleNamespace(t=TIMES, values=stored(pixels, **stated))
    add("positions: NWB, pixels with conversion and offset", RIGHT, times=None, positions=series)
    wrong = SimpleNamespace(t=TIMES, values=stored(pixels, conversion=1.0, unit="meters"))
    add("positions: NWB, pixels said to be metres", REFUSED, times=None, positions=wrong)
    add("positions: [2, samples]", REFUSED, positions=path.T)
    add("positions: origin in a corner", WARNED, positions=path + 0.5)
    add("positions: a track, 5 cm wide", REFUSED, positions=path * [1, 0.05])
    ring = 0.45 * np.stack([np.cos(TIMES / 2), np.sin(TIMES / 2)], axis=-1)
    add("positions: a ring", REFUSED, positions=ring * (1 + 0.04 * np.sin(7 * TIMES[:, None])))
    add("positions: along a line", REFUSED, positions=path * [1, 0])


def _add_clocks(add: Callable[..., None], path: np.ndarray, cells: dict[str, np.ndarray]) -> None:
    """Add forms and faults of times."""
    minutes = {name: train / 60 for name, train in cells.items()}
    add("times: [S, 1]", RIGHT, times=TIMES[:, None])
    add("times: None without times of positions", REFUSED, times=None)
    add("times, spikes: minutes", REFUSED, times=TIMES / 60, spikes=minutes)
    add("spikes: minutes, times in seconds", REFUSED, spikes=minutes)
    add("times: milliseconds", REFUSED, times=1000 * TIMES)
    add("times: numbers of frames", REFUSED, times=np.arange(len(TIMES)))
    add("times: one sample twice", REFUSED, times=np.where(np.arange(len(TIMES)) == 9, 0.16, TIMES))
    add("times: one shorter than positions", REFUSED, times=TIMES[1:])
    add("times: start at 1000 s, spikes at 0", REFUSED, times=TIMES + 1000)


def try_input(given: Input, **options: Any) -> Outcome:
    """Score one input, and judge the answer: the right number, or an error of one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = score_recording(
                given.times, given.positions, given.spikes, **(given.options | options),
                progress=False,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            result = f"{type(error).__name__}: {error}"
            right = given.expected == REFUSED and "\n" not in result
        else:
            # The cells of a table are sorted by name.
            n = found.names.index("grid") if "grid" in found.names else 0
            period, box = found.spacing_m[n], found.box_m
            result = f"{found.kind[n]}, period {period:.2f} m, box {box:.2f} m"
            right = found.kind[n] == "grid" and abs(period / PERIOD_M - 1) < 0.05
            right = right and abs(box - 1) < 0.02
    said = tuple(str(warning.message) for warning in caught)
    if given.expected == REFUSED and "Error" not in result:
        # The session is scored, but a warning says why its numbers can't be trusted.
        right = not result.startswith("grid") and any(
            doubt in line for line in said for doubt in ("can't be judged", "clock of times")
        )
    if given.expected == WARNED:
        right = right and bool(said)
    return Outcome(given.name, given.expected, result, said, bool(right))


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the table's rows."""
    return [
        {
            "input": outcome.name,
            "what a user gets": outcome.result.replace("|", "/"),
            "warnings": "; ".join(outcome.warnings).replace("|", "/") or "none",
            "as it should be": "yes" if outcome.is_right else "NO",
        }
        for outcome in outcomes
    ]
