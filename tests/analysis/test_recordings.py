"""Recorded cells, from spike times to verdicts, along a rat's path of 600 s in a 1 m box."""

import importlib.util
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import sicjax
from sicjax import workers
from sicjax.analysis import recordings, synthetic
from sicjax.analysis.ratemaps import bin_index
from sicjax.analysis.recorded_kinds import MIN_SPIKES
from sicjax.analysis.recordings import score_recording
from sicjax.analysis.sessions import read_session
from tests.storm import strange_calls

PERIODS = (0.3, 0.45, 0.6)
FEW = {"num_shuffles": 10, "centre_m": (0, 0)}


def fire(positions, times, ratemap, rng):
    """Poisson spikes of a rate map [250, 250] in Hz over the 1 m box, at 50 Hz."""
    rate = ratemap.ravel()[bin_index(positions, 1.0, len(ratemap))]
    count = rng.poisson(rate / 50)
    return np.sort(np.repeat(times, count) + rng.uniform(-0.01, 0.01, count.sum()))


@pytest.fixture(scope="module")
def rat():
    """Times [29800] and positions from the box's centre."""
    found = importlib.util.find_spec("ratinabox")
    if found is None:
        pytest.skip("comes with the test extra: pip install 'sicjax[test]'")
    with np.load(Path(found.origin).parent / "data" / "sargolini.npz") as recorded:
        return recorded["t"], recorded["pos"] - 0.5


@pytest.fixture(scope="module")
def cells(rat):
    """Twelve grid cells of each period, four place cells, eight without a place, one silent."""
    times, positions = rat
    rng, box = np.random.default_rng(0), {"box_m": 1.0, "bins": 250}
    maps = {}
    for period in PERIODS:
        basis = synthetic.hexagonal_basis(period, 12)
        for n in range(12):
            fields = synthetic.lattice_map(basis, phase=rng.random(2), **box)
            maps[f"grid {period} {n}"] = 0.3 + rng.uniform(10, 20) * fields
    for n in range(4):
        field = synthetic.place_map(rng.uniform(-0.3, 0.3, 2), 0.09, **box)
        maps[f"place {n}"] = 0.1 + 12 * field
    for n, rate in enumerate(np.geomspace(0.2, 20, 8)):
        maps[f"flat {n}"] = np.full((250, 250), rate)
    trains = {name: fire(positions, times, m, rng) for name, m in maps.items()}
    inside = {name: s[(s > times[0]) & (s < times[-1])] for name, s in trains.items()}
    return inside | {"silent": np.empty(0), "few": np.linspace(1, 500, MIN_SPIKES - 1)}


@pytest.fixture(scope="module")
def scored(rat, cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return score_recording(*rat, cells)


def kinds(scored, start):
    return [k for name, k in zip(scored.names, scored.kind, strict=True) if name.startswith(start)]


def test_kinds(scored):
    assert kinds(scored, "grid") == ["grid"] * 36
    assert kinds(scored, "place") == ["place"] * 4
    assert kinds(scored, "flat") == ["other"] * 8
    assert kinds(scored, "silent") == ["silent"]
    assert kinds(scored, "few") == ["undetermined"]
    np.testing.assert_array_equal(scored.is_grid, scored.kind == "grid")


def test_what_a_cell_lacks_is_said(scored):
    said = dict(zip(scored.names, scored.not_grid_because, strict=True))
    assert said["few"] == f"{scored.num_spikes[-1]} spikes, 50 needed"  # slow moments do not count
    assert said["flat 7"]
    lacks = [kind in ("other", "undetermined") for kind in scored.kind]
    assert [bool(words) for words in scored.not_grid_because] == lacks


def test_few_fields_are_decided_by_time_shifts_that_no_map_could_decide(scored):
    few = scored.is_grid & (scored.num_fields < 5)
    assert few.sum() > 12
    alone = sicjax.analyze_ratemaps(
        scored.ratemaps[few], scored.box_m, num_shuffles=5, key=jax.random.key(0)
    )
    assert set(alone.kind) <= {"undetermined", "place"}


def test_periods_orientations_and_modules(scored):
    grids = scored.is_grid
    truth = np.array([float(name.split()[1]) for name in scored.names if name.startswith("grid")])
    # Poisson noise of ten minutes and 1 % by smoothing: at most 7 %, and 2 % in the median.
    np.testing.assert_allclose(scored.spacing_m[grids], truth, rtol=0.07)
    assert np.median(np.abs(scored.spacing_m[grids] / truth - 1)) < 0.02
    np.testing.assert_allclose(scored.orientation_deg[grids], 12, atol=4)
    np.testing.assert_allclose(scored.modules.period_m, PERIODS, rtol=0.03)
    np.testing.assert_array_equal(scored.module[grids], np.repeat([0, 1, 2], 12))


def test_maps_rates_and_information(scored, cells, rat):
    assert scored.box_m == pytest.approx(0.98, abs=0.005)  # as far as the rat's head went
    assert scored.arena == "square"
    assert scored.occupancy_s.sum() == pytest.approx(scored.duration_s)
    assert 500 < scored.duration_s < 600 - 40  # a tenth of the time the rat hardly moves
    assert np.isnan(scored.ratemaps[0][scored.occupancy_s == 0]).all()
    flat = np.array([name.startswith("flat") for name in scored.names])
    counts = np.array([len(cells[name]) for name in scored.names])
    # The share of spikes that count equals the share of time, up to 4 standard deviations.
    share, expected = scored.num_spikes / np.maximum(counts, 1), scored.duration_s / 599.64
    assert (np.abs(share - expected)[flat] < 4 * np.sqrt(0.1 / counts[flat])).all()
    np.testing.assert_allclose(scored.mean_rate_hz, scored.num_spikes / scored.duration_s)
    mean = np.nansum(scored.ratemaps * scored.occupancy_s, axis=(1, 2)) / scored.duration_s
    # Smoothing moves spikes and time between bins; both stay within a few percent.
    np.testing.assert_allclose(mean, scored.mean_rate_hz, rtol=0.05, atol=0.02)
    place = scored.kind == "place"
    assert (scored.peak_rate_hz[place] > 8).all()
    assert (scored.spatial_information[place] > 2 * scored.information_threshold[place]).all()
    assert (scored.stability[place] > 0.7).all()
    assert (np.abs(scored.stability[flat]) < 0.2).all()
    assert np.isnan(scored.stability[scored.kind == "silent"]).all()


def test_axis_0_is_y_and_axis_1_is_x(rat):
    times, positions = rat
    corner = times[(positions[:, 0] > 0.3) & (positions[:, 1] < -0.3)]
    scored = score_recording(times, positions, [corner], **FEW)
    iy, ix = np.unravel_index(np.nanargmax(scored.ratemaps[0]), scored.ratemaps[0].shape)
    assert iy < 8
    assert ix > 30


def test_origin_and_units_are_recognised_and_said(rat, cells):
    times, positions = rat
    some = {name: cells[name] for name in ("grid 0.45 0", "place 0", "flat 5")}
    plain = score_recording(times, positions, some, **FEW)
    with pytest.warns(UserWarning, match=r"centimetres .*to \(0\.5, 0\.5\) m") as said:
        moved = score_recording(times, 100 * (positions + 0.5), some, num_shuffles=10)
    assert len(said) == 1
    told = score_recording(
        times, 100 * (positions + 0.5), some, units="cm", centre_m=(0.5, 0.5), num_shuffles=10
    )
    for other in (moved, told):
        assert other.centre_m == pytest.approx((0.5, 0.5), abs=1e-9)
        assert other.kind.tolist() == plain.kind.tolist()
        # Samples on the edge of a bin fall either way by rounding.
        np.testing.assert_allclose(other.spacing_m, plain.spacing_m, rtol=0.01)


def test_many_shifts_are_scored_by_processes_to_the_same_numbers(rat, cells, monkeypatch):
    some = {name: cells[name] for name in ("grid 0.45 0", "place 0", "flat 5")}
    here = score_recording(*rat, some, **FEW)
    started = []
    start = workers._start
    monkeypatch.setattr(recordings, "MANY_SHIFTS", 30)
    for room in (recordings, workers):
        monkeypatch.setattr(room, "available_cores", lambda: 2)
    monkeypatch.setattr(workers, "_start", lambda number: started.append(number) or start(number))
    elsewhere = score_recording(*rat, some, **FEW)
    assert started == [2]
    for name in ("grid_score", "null_threshold", "information_threshold", "spacing_m"):
        np.testing.assert_array_equal(getattr(here, name), getattr(elsewhere, name))
    assert here.kind.tolist() == elsewhere.kind.tolist()
    score_recording(*rat, {"place 0": cells["place 0"]}, **FEW)
    assert started == [2]  # few shifts start no process


def test_gaps_and_lost_samples(rat):
    """Long gaps of the tracker hold no time and no spikes; short gaps are bridged."""
    times, positions = rat
    lost = positions.copy()
    lost[5000:10_000] = np.nan  # 100 s
    lost[::7] = np.nan
    dropped = np.ones(len(times), dtype=bool)
    dropped[15_000:20_000] = False
    clock = times[1] + 0.02 * np.arange(29_970)  # the tracker itself dropped 3.7 s here and there
    whole = read_session(times, positions, [clock])
    holed = read_session(times[dropped], lost[dropped], [clock])
    np.testing.assert_allclose(len(whole.positions) - len(holed.positions), 10_000, rtol=0.15)
    # One spike every 20 ms: spikes count as the time does, and none in a gap.
    assert abs(len(holed.spikes[0]) - len(holed.positions)) < 30
    assert (np.diff(holed.spikes[0]) <= 2).all()


def test_slow_moments_are_left_out(rat):
    times, positions = rat
    still = positions.copy()
    still[10_000:20_000] = positions[10_000]
    held = {"max_speed": 100.0}  # after the hold the path jumps to where it continues
    session = read_session(times, still, [times[12_000:18_000]], **held)
    assert len(session.spikes[0]) == 0
    everything = read_session(times, still, [times[12_000:18_000]], min_speed=0.0, **held)
    assert len(everything.positions) > len(times)  # the tracker dropped a few samples
    assert len(everything.spikes[0]) == 6000


def test_a_slow_tracker_gives_the_same_cells(rat, cells):
    times, positions = rat
    some = {name: cells[name] for name in ("grid 0.3 0", "grid 0.6 1", "place 1", "flat 5")}
    fast = score_recording(times, positions, some, **FEW)
    slow = score_recording(times[::5], positions[::5], some, **FEW)  # 10 Hz
    assert fast.kind.tolist() == slow.kind.tolist()
    np.testing.assert_allclose(slow.spacing_m[:2], fast.spacing_m[:2], rtol=0.02)


@pytest.mark.parametrize("arena", ["rectangle", "circle"])
def test_other_arenas(rat, cells, arena):
    times, positions = rat
    sides = (0.98, 0.65) if arena == "rectangle" else 0.98
    keep = np.hypot(*positions.T) < 0.49 if arena == "circle" else np.abs(positions[:, 1]) < 0.325
    path = np.where(keep[:, None], positions, np.nan)
    some = [cells["grid 0.3 2"], cells["place 0"], cells["flat 5"]]
    found = score_recording(times, path, some, arena=arena, num_shuffles=20)
    assert found.arena == arena
    assert found.sides_m == pytest.approx(np.broadcast_to(sides, 2), abs=0.01)
    assert found.ratemaps.shape[1] == found.ratemaps.shape[2]
    offset = (np.arange(39) - 19) * 0.98 / 39
    beyond = np.hypot(offset, offset[:, None]) > 0.5
    if arena == "rectangle":
        beyond = np.abs(offset[:, None]) + 0 * offset > 0.35
    assert np.isnan(found.ratemaps[0][beyond]).all()
    assert found.kind[0] == "grid"
    assert found.kind[2] == "other"
    assert found.spacing_m[0] == pytest.approx(0.3, rel=0.04)


def test_the_path_says_whether_the_arena_is_a_rectangle(rat):
    times, positions = rat
    assert read_session(times, positions * [1, 1.05], []).sides_m[0] == pytest.approx(
        1.03, abs=0.01
    )
    session = read_session(times, positions * [1, 2], [], units="m")
    assert session.arena == "rectangle"
    assert session.sides_m == pytest.approx((0.98, 1.96), abs=0.01)


def test_pynapple_objects_are_taken_for_what_they_hold(rat, cells):
    """Attributes decide: a TsdFrame has `t` and `values`, a Ts has `t`, a TsGroup is a mapping."""
    times, positions = rat
    trains = {7: cells["grid 0.45 0"], 9: cells["flat 5"]}
    frame = SimpleNamespace(t=times, values=positions)
    group = {name: SimpleNamespace(t=train) for name, train in trains.items()}
    plain = score_recording(times, positions, trains, **FEW)
    for found in (
        score_recording(None, frame, group, **FEW),
        score_recording(times, frame, group, **FEW),
    ):
        assert found.names == (7, 9)
        np.testing.assert_array_equal(found.grid_score, plain.grid_score)
        np.testing.assert_array_equal(found.null_threshold, plain.null_threshold)
    one = score_recording(None, frame, group[7], **FEW)
    np.testing.assert_array_equal(one.grid_score, plain.grid_score[:1])


def test_pynapple_itself_and_the_nwb_files_that_it_reads(rat, cells, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nap = pytest.importorskip("pynapple", reason="pip install 'sicjax[recordings]'")
        path = write_nwb(tmp_path / "session.nwb", *rat, [cells["grid 0.45 0"], cells["flat 5"]])
        session = nap.load_file(str(path))
        position, spikes = session["position"], session["units"]
    plain = score_recording(*rat, [cells["grid 0.45 0"], cells["flat 5"]], **FEW)
    found = score_recording(None, position, spikes, **FEW)
    np.testing.assert_allclose(found.grid_score, plain.grid_score)
    ours = score_recording(None, nap.TsdFrame(t=rat[0], d=rat[1]), spikes[0], **FEW)
    np.testing.assert_allclose(ours.grid_score, plain.grid_score[:1])


def write_nwb(path, times, positions, trains):
    """Write a session as NWB, by its own library."""
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.behavior import Position, SpatialSeries

    file = NWBFile("a session", "session", datetime(2020, 1, 1, tzinfo=UTC))
    for train in trains:
        file.add_unit(spike_times=train)
    series = SpatialSeries(
        name="position", data=positions, timestamps=times, reference_frame="centre", unit="meters"
    )
    module = file.create_processing_module("behavior", "where the animal was")
    module.add(Position(spatial_series=series))
    with NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def test_one_key_gives_the_same_numbers(rat, cells):
    some = [cells["flat 3"]]
    first, again = (score_recording(*rat, some, **FEW).null_threshold for _ in range(2))
    other = score_recording(*rat, some, key=jax.random.key(1), **FEW).null_threshold
    np.testing.assert_array_equal(first, again)
    assert first != other


def test_no_cells_is_no_error(rat):
    empty = score_recording(*rat, [], **FEW)
    assert empty.kind.shape == (0,)
    assert empty.ratemaps.shape == (0, 39, 39)
    assert empty.modules.period_m.shape == (0,)


TIMES = np.arange(0, 200, 0.02)
PATH = 0.5 * np.sin(TIMES[:, None] * [0.9, 1.27])
GIVEN = {
    "times": TIMES, "positions": PATH, "spike_times": [TIMES[::20]], "num_shuffles": 2,
    "bin_m": 0.05,
}  # fmt: skip


def replaced(array, where, value):
    changed = array.copy()
    changed[where] = value
    return changed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"times": TIMES[:-1]}, ValueError, r"times has shape \(9999,\) for 10000 positions"),
        ({"times": TIMES[::-1]}, ValueError, "times must rise: sample 1"),
        ({"times": replaced(TIMES, 7, TIMES[6])}, ValueError, "times must rise: sample 7"),
        ({"times": replaced(TIMES, 7, np.nan)}, ValueError, "times holds 1 non-finite"),
        ({"times": 1000 * TIMES}, ValueError, "times are 20 s apart .*must be seconds"),
        ({"times": None}, TypeError, "times is None"),
        ({"times": "now"}, TypeError, "times is str"),
        ({"positions": PATH.T}, ValueError, r"positions has shape \(2, 10000\)"),
        ({"positions": np.full(PATH.shape, np.nan)}, ValueError, "positions: fewer than two"),
        ({"positions": PATH.astype(str)}, TypeError, "positions is an array of <U"),
        ({"positions": PATH.astype(complex)}, TypeError, "positions is an array of complex"),
        ({"positions": PATH * [1, 0]}, ValueError, "positions span 1 x 0 m"),
        ({"positions": PATH * 1920}, ValueError, r"span 1920 x 1920, .* pixels.* give units="),
        ({"positions": PATH / 100, "min_speed": 0}, ValueError, "bin_m is 0.05: 0 bins"),
        (
            {"positions": replaced(PATH, slice(2000, None), np.nan)},
            ValueError,
            "40.0 .*at least 60",
        ),
        ({"positions": PATH / 100}, ValueError, "0% .* fast.; at least 60 s"),
        ({"units": "inch"}, ValueError, "units is 'inch'; it must be one of m, cm, mm"),
        ({"arena": "hexagon"}, ValueError, "arena is 'hexagon'"),
        ({"box_m": (1, 2, 3)}, ValueError, r"box_m is \(1, 2, 3\)"),
        ({"box_m": 100}, ValueError, "box_m is 100; it must be metres"),
        ({"box_m": (1, 2), "arena": "circle"}, ValueError, "a circle has one length"),
        ({"centre_m": 0.5}, ValueError, "centre_m is 0.5"),
        ({"bin_m": 0.2}, ValueError, "bin_m is 0.2: 5 bins"),
        ({"bin_m": -1}, ValueError, "bin_m is -1"),
        ({"smoothing_m": np.nan}, ValueError, "smoothing_m is nan"),
        ({"min_occupancy_s": -1}, ValueError, "min_occupancy_s is -1"),
        ({"min_speed": "fast"}, ValueError, "min_speed is 'fast'"),
        ({"max_gap_s": 0}, ValueError, "max_gap_s is 0"),
        ({"min_shift_s": 150}, ValueError, "min_shift_s is 150; it must be less than half"),
        ({"num_shuffles": 0}, ValueError, "num_shuffles is 0"),
        ({"num_shuffles": 2.5}, ValueError, "num_shuffles is 2.5"),
        ({"key": 5}, ValueError, "key is 5"),
        ({"spike_times": TIMES}, TypeError, "list of numbers; it must be a list of arrays"),
        ({"spike_times": np.ones((10_000, 3))}, TypeError, "counts per sample go to bin_activity"),
        ({"spike_times": None}, TypeError, "spike_times is NoneType"),
        ({"spike_times": 3.0}, TypeError, "spike_times is float"),
        ({"spike_times": "a"}, TypeError, "spike_times is str"),
        ({"spike_times": {"a": "b"}}, TypeError, "spike_times of cell a is str"),
        ({"spike_times": {"a": [1, np.nan]}}, ValueError, "of cell a holds 1 non-finite"),
        ({"spike_times": [np.ones((3, 2))]}, ValueError, r"of cell 0 has shape \(3, 2\)"),
        ({"spike_times": [1000 * TIMES[600:]]}, ValueError, "none of 9400 spikes of 1 cells"),
    ],
)
def test_bad_input_is_named_in_one_line(arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        score_recording(**(GIVEN | arguments))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spike_times": [TIMES[10::20] + 50]}, "125 of 500 spikes fall outside the session"),
        ({"positions": replaced(PATH, [3, 99], 40.0)}, "2 of 10000 samples lie far beyond"),
        ({"box_m": 0.9}, r"positions: \d+% lie outside the square of 0.9 x 0.9 m"),
        ({"box_m": 3.0, "bin_m": 0.2}, "they cover 1 m of an arena of 3 m"),
        ({"bin_m": 0.01}, r"\d+% of the arena's bins were visited"),
    ],
)
def test_what_was_left_out_or_looks_wrong_is_said(arguments, message):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        score_recording(**(GIVEN | arguments))
    assert any(re.search(message, str(warning.message)) for warning in said)
    assert not any("\n" in str(warning.message) for warning in said)
    assert all(warning.filename == __file__ for warning in said)


def test_a_path_on_the_edge_of_its_arena_is_in_it():
    """float32 holds ±0.5 m exactly, which once fell into a bin beyond the last one."""
    score, arguments = strange_calls.sound()["score_recording"]
    rounded = np.clip(1.01 * arguments["positions"], -0.5, 0.5).astype(np.float32)
    assert np.abs(rounded).max() == 0.5
    assert score(**{**arguments, "positions": rounded}).ratemaps.shape == (1, 10, 10)
