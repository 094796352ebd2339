"""Forms of a recording: spikes, marks of lost samples, units, speeds, tracks."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from sicjax.analysis.sessions import read_session

TIMES = np.arange(0, 200, 0.02)
PATH = 0.5 * np.sin(TIMES[:, None] * [0.9, 1.27])
RNG = np.random.default_rng(0)
TRAINS = {name: np.sort(RNG.uniform(0, 200, size)) for name, size in (("a", 300), ("b", 40))}
CELLS = np.array(["a", "b", "a"]).repeat([150, 40, 150])
SECONDS = np.concatenate([TRAINS["a"][:150], TRAINS["b"], TRAINS["a"][150:]])
LOST = np.isin(np.arange(len(TIMES)) // 60, np.arange(5, 160, 7))  # 23 gaps of 1.2 s


class Series:
    """Stand in for a pandas Series, by the attributes that pynwb's has."""

    iloc = None

    def __init__(self, index, values):
        self.index, self._values = index, values

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return iter(self._values)


class Frame(dict):
    """Stand in for a data frame."""

    columns = property(list)
    iloc = None


def matlab(trains):
    """Return a cell array in the form that scipy.io.loadmat gives it."""
    cells = np.empty((1, len(trains)), dtype=object)
    for n, train in enumerate(trains):
        cells[0, n] = np.reshape(train, (-1, 1))
    return cells


STRUCTURED = np.array(
    list(zip(CELLS, SECONDS, strict=True)), dtype=[("cell", "U1"), ("seconds", "f8")]
)
COLUMNS = {"unit": "cell", "time": "seconds"}


@pytest.mark.parametrize(
    ("spikes", "options", "names"),
    [
        (TRAINS, {}, ("a", "b")),
        (list(TRAINS.values()), {}, (0, 1)),
        (tuple(train.tolist() for train in TRAINS.values()), {}, (0, 1)),
        ({name: SimpleNamespace(t=train) for name, train in TRAINS.items()}, {}, ("a", "b")),
        (Series(["a", "b"], list(TRAINS.values())), {}, ("a", "b")),
        (matlab(TRAINS.values()), {}, (0, 1)),
        (matlab(TRAINS.values()).T, {}, (0, 1)),
        (STRUCTURED, COLUMNS, ("a", "b")),
        ({"cell": CELLS, "seconds": SECONDS}, COLUMNS, ("a", "b")),
        (Frame(cell=CELLS[::-1], seconds=SECONDS[::-1]), COLUMNS, ("a", "b")),
        (Frame(cell=CELLS, t=SECONDS), {"unit": "cell", "time": "t"}, ("a", "b")),
    ],
    ids=[
        "dict", "list", "lists", "TsGroup", "Series", "cell array", "its transpose", "structured",
        "columns", "frame in another order", "frame with a column t",
    ],
)  # fmt: skip
def test_unambiguous_forms_of_spikes_are_the_same(spikes, options, names):
    expected = read_session(TIMES, PATH, TRAINS)
    found = read_session(TIMES, PATH, spikes, **options)
    assert found.names == names
    for one, two in zip(found.spikes, expected.spikes, strict=True):
        np.testing.assert_array_equal(one, two)


def test_pandas_itself():
    pandas = pytest.importorskip("pandas", reason="pip install 'sicjax[recordings]'")
    expected = read_session(TIMES, PATH, TRAINS).spikes
    series = pandas.Series(list(TRAINS.values()), index=[7, 9])
    table = pandas.DataFrame({"t": SECONDS, "cell": CELLS})
    for spikes, options, names in (
        (series, {}, (7, 9)),
        (table, {"unit": "cell", "time": "t"}, ("a", "b")),
    ):
        found = read_session(TIMES, PATH, spikes, **options)
        assert found.names == names
        np.testing.assert_array_equal(found.spikes[0], expected[0])
    for refused in (table, table[["t"]], pandas.DataFrame({"spike_times": series})):
        with pytest.raises(TypeError, match=r"table with the columns .*unit=, time="):
            read_session(TIMES, PATH, refused)


def test_empty_cells_are_silent():
    empty = matlab([TRAINS["a"], [], [3.5]])
    empty[0, 1] = np.empty((0, 0), dtype=np.uint8)
    for spikes in (empty, [TRAINS["a"], [], 3.5]):
        found = read_session(TIMES[:, None], PATH, spikes)
        assert [len(steps) for steps in found.spikes][1:] == [0, 1]


@pytest.mark.parametrize(
    ("spikes", "options", "error", "message"),
    [
        (SimpleNamespace(t=TIMES, values=PATH), {}, TypeError, "find the events first"),
        ({0: SimpleNamespace(t=TIMES, values=PATH[:, 0])}, {}, TypeError, "find the events first"),
        (Frame(cell=CELLS, t=SECONDS), {}, TypeError, "columns cell, t; name the two"),
        (STRUCTURED, {}, TypeError, "columns cell, seconds; name the two"),
        (STRUCTURED, {"unit": "cell"}, ValueError, "time is None"),
        (STRUCTURED, {"unit": "cell", "time": "t"}, ValueError, "time is 't'; the columns"),
        (TRAINS["a"], COLUMNS, TypeError, "need a table with named columns"),
        ({"cell": CELLS, "seconds": SECONDS[1:]}, COLUMNS, ValueError, r"both must be \[spikes\]"),
        ({"cell": [None, "a"], "seconds": [1, 2]}, COLUMNS, ValueError, "rows without a unit"),
        ({"unit": CELLS == "a", "t": SECONDS}, {}, TypeError, "cell unit is an array of bool"),
        ([SECONDS], {}, ValueError, "of cell 0 must rise"),
        ([RNG.poisson(0.1, len(TIMES))], {}, ValueError, "one for each sample of the path"),
        ([TIMES], {}, ValueError, "one for each sample of the path"),
        ([np.sort(RNG.uniform(50, 51.5, 1000))], {}, ValueError, "more than 500 spikes within"),
        ([TRAINS["a"], np.array("text")], {}, TypeError, "of cell 1 is an array of <U4"),
    ],
)
def test_spikes_that_may_mean_something_else_are_refused_in_a_line(spikes, options, error, message):
    with pytest.raises(error, match=message) as raised:
        read_session(TIMES, PATH, spikes, **options)
    assert "\n" not in str(raised.value)


def warned(function):
    """Return the warnings of a call, and its result."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = function()
    return [str(warning.message) for warning in said], result


@pytest.mark.parametrize("mark", [0.0, -1.0, 1023.0])
def test_a_mark_of_lost_samples_is_named_and_left_out(mark):
    cm = np.where(LOST[:, None], mark, 100 * PATH + 53)
    right = np.where(LOST[:, None], np.nan, 100 * PATH + 53)
    options = {"units": "cm", "centre_m": (0.53, 0.53)}
    said, found = warned(lambda: read_session(TIMES, cm, TRAINS, **options))
    expected = read_session(TIMES, right, TRAINS, **options)
    assert len(said) == 1
    assert re.search(rf"\({LOST.sum()}\) are exactly \({mark:g}, {mark:g}\)", said[0])
    np.testing.assert_array_equal(found.positions, expected.positions)


def test_two_marks_are_both_found():
    half = LOST & (TIMES < 100)
    path = np.where(LOST[:, None], 0.0, np.rint(300 * PATH) + 160)
    path[half] = -1
    said, _ = warned(lambda: read_session(TIMES, path, [], units=1 / 300, centre_m=(0.53, 0.53)))
    assert sum("exactly" in line for line in said) == 2


def test_a_resting_animal_is_no_mark():
    """It stays there for a fifth of the session, but it walks there and away, without jumps."""
    still = np.interp(TIMES, [0, 80, 120, 200], [0, 80, 80, 160])
    path = np.rint(300 * 0.5 * np.sin(still[:, None] * [0.9, 1.27])) / 300
    said, found = warned(lambda: read_session(TIMES, path, []))
    assert said == []
    assert 7500 < len(found.positions) < 8300


def test_jumps_are_lost_samples():
    path = PATH.copy()
    path[1000:1010] = -PATH[1000:1010]
    path[5000] = 0.45, -0.45
    truth = read_session(TIMES, PATH, [])
    said, found = warned(lambda: read_session(TIMES, path, []))
    assert len(said) == 1
    assert "positions: 11 of 10000 samples" in said[0]
    assert "max_speed = 2" in said[0]
    assert len(found.positions) == len(truth.positions)
    np.testing.assert_allclose(found.positions, truth.positions, atol=0.02)  # bridged by a line


@pytest.mark.parametrize(
    ("scale", "options"),
    [
        (1, {}),
        (100, {"units": "cm"}),
        (1000, {"units": "mm"}),
        (300, {"units": 1 / 300}),
        (1000, {"box_m": 1.0}),
        (2, {"box_m": 2.0}),
        (100, {}),
    ],
)
def test_units_that_are_known(scale, options):
    said, found = warned(lambda: read_session(TIMES, scale * PATH, [], **options))
    assert found.sides_m[0] == pytest.approx(2.0 if scale == 2 else 1.0, rel=1e-3)
    assumed = "units" not in options and scale > 2
    assert [("give units=" in line) for line in said] == [True] * assumed


@pytest.mark.parametrize("scale", [2, 10, 300, 1920])
def test_units_that_may_be_several_are_asked_for(scale):
    with pytest.raises(ValueError, match=r"positions span .* may be .*; give units="):
        read_session(TIMES, scale * PATH, [])


@pytest.mark.parametrize("units", ["feet", 0, -1.0, np.nan, (0.01, 0.01)])
def test_units_are_a_name_or_a_positive_number(units):
    with pytest.raises(ValueError, match="units is "):
        read_session(TIMES, PATH, [], units=units)


class Dataset(np.ndarray):
    """Stand in for a data set of an NWB file: numbers with attributes."""


def stored(scale, **attrs):
    data = (scale * PATH).view(Dataset)
    data.attrs = attrs
    return data


@pytest.mark.parametrize("kind", ["pynapple", "SpatialSeries", "with a rate"])
def test_the_conversion_of_a_file_counts(kind):
    stated = {"conversion": 0.01, "offset": -0.2, "unit": "meters"}
    series = {
        "pynapple": SimpleNamespace(t=TIMES, values=stored(100, **stated)),
        "SpatialSeries": SimpleNamespace(data=100 * PATH, timestamps=TIMES, **stated),
        "with a rate": SimpleNamespace(
            data=100 * PATH, timestamps=None, rate=50.0, starting_time=None, **stated
        ),
    }[kind]
    said, found = warned(lambda: read_session(None, series, TRAINS))
    assert "give centre_m=" in said[0]  # the offset moves it
    assert "units" not in said[0]
    assert found.centre_m == pytest.approx((-0.2, -0.2), abs=1e-3)
    assert found.sides_m == pytest.approx((1.0, 1.0), rel=1e-3)
    _, own = warned(lambda: read_session(None, series, TRAINS, units="mm"))
    assert own.sides_m == pytest.approx((0.1, 0.1), rel=1e-3)


def test_a_conversion_that_makes_no_arena_is_no_conversion():
    series = SimpleNamespace(t=TIMES, values=stored(100, conversion=1.0, unit="meters"))
    with pytest.raises(ValueError, match=r"conversion that their file states .*give units="):
        read_session(None, series, TRAINS)
    series = SimpleNamespace(t=TIMES, values=stored(300, conversion=1.0, unit="pixels"))
    with pytest.raises(ValueError, match="pixels"):
        read_session(None, series, TRAINS)


@pytest.mark.parametrize("factor", [1 / 60, 1 / 10])
def test_a_speed_that_no_animal_has_is_an_error(factor):
    with pytest.raises(ValueError, match=r"median speed .* times must be seconds"):
        read_session(TIMES * factor, PATH, [])


def test_spikes_crowded_into_a_part_of_the_session_are_said():
    minutes = {"a": TRAINS["a"] / 60}
    said, _ = warned(lambda: read_session(TIMES, PATH, minutes))
    assert any("on the clock of times" in line for line in said)


RING = 0.45 * np.stack([np.cos(TIMES / 2), np.sin(TIMES / 2)], axis=-1)


@pytest.mark.parametrize(
    ("path", "track"),
    [
        (PATH, ""),
        (PATH * [1, 0.15], "0.15 m wide"),
        (RING * (1 + 0.05 * np.sin(7 * TIMES[:, None])), "of its box"),
        (PATH[:, :1] * [1, 1] + 0.03 * PATH[:, 1:] * [1, -1], "of its box"),
    ],
    ids=["field", "track", "ring", "diagonal"],
)
def test_tracks_are_told_from_fields(path, track):
    found = read_session(TIMES, path, []).track
    assert track in found
    assert bool(track) == bool(found)
