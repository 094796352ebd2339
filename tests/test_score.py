"""`sicjax score`: from a session's file to its page and CSV; a bad file is one line."""

import csv
import inspect
import sys

import numpy as np
import pytest
from scipy import io, ndimage

from sicjax.__main__ import sicjax
from sicjax.analysis import recordings
from sicjax.analysis.files import read_recording
from sicjax.analysis.spikes import read_trains
from sicjax.command import guarded
from tests.test_imports import loaded_by

FEW = ["--num-shuffles=3", "--units=m"]


@pytest.fixture(scope="module")
def session():
    """Five minutes in a box of 1 m: two grid cells of 0.4 m, and one that fires anywhere."""
    rng = np.random.default_rng(0)
    times = np.arange(0, 300, 0.04)
    steps = ndimage.gaussian_filter1d(rng.normal(size=(len(times), 2)), 12, axis=0)
    walk = np.cumsum(0.04 * 0.2 * steps / steps.std(), axis=0)  # m, at some 0.25 m/s
    positions = np.arcsin(np.sin(np.pi * walk)) / np.pi  # walls reflect it
    angles = np.deg2rad([30, 90, 150])
    waves = 4 * np.pi / np.sqrt(3) / 0.4 * np.stack([np.cos(angles), np.sin(angles)])
    spikes = {}
    for name in ("T1C1", "T1C2"):
        cosines = np.cos((positions - rng.uniform(0, 0.4, 2)) @ waves).sum(axis=1)
        spikes[name] = times[rng.random(len(times)) < 0.04 * 24 * np.exp(cosines - 3)]
    spikes["T2C1"] = times[rng.random(len(times)) < 0.04]
    return times, positions, spikes


def cells_of(spikes):
    """Return the trains as MATLAB's cell array {1 x N} of columns becomes a NumPy array."""
    cells = np.empty(len(spikes), dtype=object)
    cells[:] = [train[:, None] for train in spikes.values()]
    return cells


def long_form(spikes):
    unit = np.concatenate([np.full(len(train), k) for k, train in enumerate(spikes.values())])
    return {"unit": unit, "time": np.concatenate(list(spikes.values()))}


def save_matlab73(file, times, positions, spikes):
    """Write the HDF5 file that MATLAB writes with -v7.3."""
    h5py = pytest.importorskip("h5py", reason="comes with pynapple")
    with h5py.File(file, "w", userblock_size=512) as made:
        made["times"], made["positions"] = times[None], positions.T
        cells = [made.create_dataset(f"#refs#/{k}", data=v[None]) for k, v in enumerate(spikes)]
        made["spikes"] = np.array([[cell.ref] for cell in cells], dtype=h5py.ref_dtype)
    with file.open("r+b") as made:
        made.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def kinds_in(folder):
    with (folder / "cells.csv").open(newline="") as file:
        return {row["name"]: row["kind"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("ending", ["npz", "mat"])
def test_a_file_gives_a_page_and_a_csv(ending, session, tmp_path, capsys):
    times, positions, spikes = session
    file, folder = tmp_path / f"rat7.{ending}", tmp_path / "rat7_sicjax"
    if ending == "npz":
        arrays = {f"spikes_{name}": train for name, train in spikes.items()}
        np.savez(file, times=times, positions=positions, **arrays)
    else:
        io.savemat(file, {"times": times, "positions": positions, "spikes": spikes})
    assert guarded(sicjax, ["score", str(file), *FEW]) == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"\n{folder / 'report.html'}\n")
    assert "2 grid" in said.out
    assert "rat7" in (folder / "report.html").read_text()
    assert kinds_in(folder) == {"T1C1": "grid", "T1C2": "grid", "T2C1": "other"}


def as_trains(spike_times, unit, time):
    """Return names and trains from any form that `read_recording` returns."""
    return read_trains(spike_times, unit=unit, time=time)


@pytest.mark.parametrize("ending", ["npz", "mat"])
@pytest.mark.parametrize("form", ["cells", "dict", "long", "x and y", "other names", "one cell"])
def test_every_form_is_read(form, ending, session, tmp_path):
    times, positions, spikes = session
    file, names = tmp_path / f"session.{ending}", {}
    arrays = {"times": times, "positions": positions, "spikes": cells_of(spikes)}
    trains = dict(enumerate(spikes.values()))
    if form == "dict":
        arrays["spikes"], trains = spikes, spikes
    elif form == "long":
        del arrays["spikes"]
        arrays |= long_form(spikes)
    elif form == "x and y":
        del arrays["positions"]
        arrays |= {"x": positions[:, :1], "y": positions[:, 1:]}
    elif form == "other names":
        arrays = {"pos": {"t": times, "xs": positions[:, 0], "ys": positions[:, 1]}}
        arrays |= {f"the_{name}": values for name, values in long_form(spikes).items()}
        names = {"times_name": "pos.t", "position_name": "pos.xs,pos.ys"}
        names["spikes_name"] = "the_unit,the_time"
    elif form == "one cell":
        arrays["spikes"] = cells_of({"T1C1": spikes["T1C1"]})
        trains = {0: spikes["T1C1"]}
        if ending == "mat":  # SciPy can't tell it from an array
            trains = {"spikes": spikes["T1C1"]}
    if ending == "npz":
        np.savez(file, **arrays)
    else:
        io.savemat(file, arrays)
    found = read_recording(file, **names)
    np.testing.assert_array_equal(np.ravel(found.pop("times")), times)
    np.testing.assert_array_equal(found.pop("positions"), positions)
    labels, values = as_trains(**found)
    assert labels == tuple(trains)
    for value, train in zip(values, trains.values(), strict=True):
        np.testing.assert_array_equal(value, train)


def test_a_matlab_73_file_is_read_or_h5py_is_asked_for(session, tmp_path, monkeypatch, capsys):
    times, positions, spikes = session
    file = tmp_path / "session.mat"
    save_matlab73(file, times, positions, spikes.values())
    found = read_recording(file)
    np.testing.assert_array_equal(found.pop("positions"), positions)
    np.testing.assert_array_equal(found.pop("times").ravel(), times)
    for value, train in zip(as_trains(**found)[1], spikes.values(), strict=True):
        np.testing.assert_array_equal(value, train)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert guarded(sicjax, ["score", str(file)]) == 2
    assert "pip install h5py" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # pynwb's own
def test_an_nwb_file_is_read_or_pynapple_is_asked_for(session, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pynapple", reason="comes with pip install 'sicjax[recordings]'")
    import datetime

    import pynwb

    times, positions, spikes = session
    started = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    made = pynwb.NWBFile("a session", "1", started)
    series = pynwb.behavior.SpatialSeries(
        name="SpatialSeries", data=100 * positions, timestamps=times, reference_frame="centre",
        unit="meters", conversion=0.01,
    )  # fmt: skip
    behavior = made.create_processing_module("behavior", "the path")
    behavior.add(pynwb.behavior.Position(spatial_series=series))
    for train in spikes.values():
        made.add_unit(spike_times=train)
    file = tmp_path / "session.nwb"
    with pynwb.NWBHDF5IO(file, "w") as opened:
        opened.write(made)
    assert guarded(sicjax, ["score", str(file), "--num-shuffles=3"]) == 0
    assert "1.00 m" in capsys.readouterr().out
    assert kinds_in(tmp_path / "session_sicjax") == {"0": "grid", "1": "grid", "2": "other"}
    assert guarded(sicjax, ["score", str(file), "--position-name=LED"]) == 2
    assert "no LED" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pynapple", None)
    assert guarded(sicjax, ["score", str(file)]) == 2
    assert ".[recordings]" in capsys.readouterr().err


PATH = {"times": np.arange(9.0), "positions": np.zeros((9, 2))}
BAD = {
    "no times.npz": ({"positions": np.zeros((9, 2)), "spikes_1": np.arange(3.0)}, "times"),
    "no path.mat": ({"times": np.arange(9.0), "spikes": np.arange(3.0)}, "positions"),
    "no y.npz": ({"times": np.arange(9.0), "x": np.zeros(9)}, "no y"),
    "x longer.npz": ({"times": np.arange(9.0), "x": np.zeros(9), "y": np.zeros(8)}, "(8,)"),
    "no spikes.mat": (PATH, "spikes"),
    "two forms.npz": (PATH | {"spikes": np.arange(3.0), "spikes_1": np.arange(3.0)}, "spikes_"),
    "code.npz": (PATH | {"spikes": np.array([print], dtype=object)}, "print"),
    "short.npz": (PATH | {"spikes": np.arange(3.0)}, "positions"),
    "empty.npz": (None, "can't be read"),
    "empty.mat": (None, "can't be read"),
    "table.csv": (None, ".nwb"),
}


@pytest.mark.parametrize("name", [*BAD, "nowhere.npz"])
def test_a_bad_file_is_one_line_and_exit_code_2(name, tmp_path, capsys):
    arrays, named = BAD.get(name, (None, "no such file"))
    file = tmp_path / name
    if arrays is None and name in BAD:
        file.touch()
    elif name.endswith(".npz") and arrays:
        np.savez(file, **arrays)
    elif arrays:
        io.savemat(file, arrays)
    assert guarded(sicjax, ["score", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error
    assert named in error
    assert {path.name for path in tmp_path.iterdir()} <= {name}  # no page


@pytest.mark.parametrize(
    "flag", ["--num-shuffles=0", "--units=feet", "--arena=star", "--out=", "--box-m=a", "--bin=1"]
)
def test_a_bad_flag_is_one_line(flag, session, tmp_path, capsys):
    times, positions, spikes = session
    file = tmp_path / "session.npz"
    np.savez(file, times=times, positions=positions, spikes=cells_of(spikes))
    assert guarded(sicjax, ["score", str(file), flag]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert flag.strip("-").partition("=")[0] in error


def test_every_option_of_the_scoring_is_a_flag(session, tmp_path, capsys, monkeypatch):
    def score_recording(times, positions, spike_times, **options):
        found.update(options)
        raise ValueError("enough")

    times, positions, spikes = session
    file, found = tmp_path / "session.npz", {}
    np.savez(file, times=times, positions=positions, spikes=cells_of(spikes))
    not_flags = {"times", "positions", "spike_times", "unit", "time", "key", "progress"}
    names = set(inspect.signature(recordings.score_recording).parameters) - not_flags
    values = {"units": "cm", "arena": "circle", "box_m": (1.5, 1.0), "centre_m": (-0.5, 0.5)}
    values |= dict.fromkeys(names - values.keys(), 7)
    monkeypatch.setattr(recordings, "score_recording", score_recording)
    for spelling in (str, lambda name: name.replace("_", "-")):
        flags = [
            f"--{spelling(name)}={str(value).strip('()').replace(' ', '')}"
            for name, value in values.items()
        ]
        found.clear()
        assert guarded(sicjax, ["score", str(file), *flags]) == 2
        assert found == {"unit": None, "time": None} | values
    assert guarded(sicjax, ["score", str(file)]) == 2  # defaults are those of the function
    assert "box_m" not in capsys.readouterr().err


def test_box_and_centre_change_the_maps(session, tmp_path):
    times, positions, spikes = session
    file = tmp_path / "session.npz"
    np.savez(file, times=times, positions=positions + np.array([5, 0]), spikes=cells_of(spikes))
    flags = ["--box_m=1.2", "--centre_m=5,0", "--max_speed=3", "--min_units=5", *FEW]
    assert guarded(sicjax, ["score", str(file), *flags]) == 0
    page = (tmp_path / "session_sicjax" / "report.html").read_text()
    for said in ("square, 1.20 m", "faster than 3 m/s", "at least 5 cells"):
        assert said in page


def test_a_folder_with_a_file_of_the_users_is_refused(session, tmp_path, capsys):
    times, positions, spikes = session
    file, folder = tmp_path / "session.npz", tmp_path / "mine"
    np.savez(file, times=times, positions=positions, spikes=cells_of(spikes))
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert guarded(sicjax, ["score", str(file), f"--out={folder}", *FEW]) == 2
    assert "notes.txt" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("notes.txt", "mine")]


def test_help_needs_no_jax():
    code = (
        "from sicjax.__main__ import sicjax; from sicjax.command import guarded;"
        " guarded(sicjax, ['score', '--help'])"
    )
    assert not loaded_by(code) & {"jax", "matplotlib"}


def test_all_missing_names_are_in_one_line(session, tmp_path, capsys):
    times, positions, spikes = session
    file = tmp_path / "session.mat"
    io.savemat(file, {"post": times, "pos": positions, "spk": cells_of(spikes)})
    assert guarded(sicjax, ["score", str(file)]) == 2
    error = capsys.readouterr().err
    for named in ("--times-name", "--position-name", "--spikes-name", "post, pos, spk"):
        assert named in error
    assert error.count("\n") == 1


def test_a_message_names_flags(session, tmp_path, capsys):
    times, positions, spikes = session
    file = tmp_path / "session.npz"
    for scale, flag in ((100, "--units=cm"), (300, "--units=")):
        np.savez(file, times=times, positions=scale * (positions + 1), spikes=cells_of(spikes))
        guarded(sicjax, ["score", str(file), "--num-shuffles=3"])
        error = capsys.readouterr().err
        assert flag in error
        assert " units=" not in error
