"""A small measurement on simulated recordings: its page counts the kinds of cells."""

import re
import sys

import pytest

from experiments import recording_inputs, recording_scale, recordings
from sicjax.errors import ConfigError


@pytest.fixture
def page(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ratinabox", reason="comes with the test extra: pip install 'sicjax[test]'")
    small = {"PERIODS_M": (0.3, 0.5), "PER_PERIOD": 3, "PLACES": 4, "PATCHES": 7, "POISSON": 10}
    for name, value in (small | {"DRIFTING": 4, "SIMULATED": 2, "RESULTS": tmp_path}).items():
        monkeypatch.setattr(recordings, name, value)
    recordings.main([])
    assert (tmp_path / "recordings.png").stat().st_size > 1e4
    written = (tmp_path / "recordings.md").read_text()
    assert capsys.readouterr().out.endswith(written + "\n")
    return written


def test_page(page):
    rows = dict(re.findall(r"^\| ([^|]+) \| (\d.*) \|$", page, re.MULTILINE))
    found = re.match(r"14 \| (\d+) \(", rows["all grid cells"])
    assert found
    assert int(found[1]) >= 12  # 95 % of them
    assert rows["all of one or a drifting rate"].startswith("14 | 0 (0.0%)")
    assert "7 of 7" in rows["0.3"]
    assert "opexebo" not in page.partition("\n\n")[2]


def test_unknown_flag_is_named():
    with pytest.raises(ConfigError, match="--grids"):
        recordings.main(["--grids=4"])


def test_a_long_session_is_measured_into_its_section(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recordings, "RESULTS", tmp_path)
    (tmp_path / "recordings.md").write_text(f"# Title\n\n{recordings.INPUTS}\n\nstays\n")
    for cells in ("6", "4"):  # a second measurement replaces the first
        recording_scale.main([f"--cells={cells}", "--minutes=8", "--shuffles=100"])
        assert capsys.readouterr().out.startswith(recordings.SCALE)
    written = (tmp_path / "recordings.md").read_text()
    assert written.count(recordings.SCALE) == 1
    assert written.endswith("stays\n")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", written, re.MULTILINE))
    assert (rows["cells"], rows["shifts of each"]) == ("4", "100")
    assert rows["called grid: of the grid cells, of the others"] == "2 of 2 and 0 of 2"
    assert "4 of 4" in written.partition("maps with a score")[2]


@pytest.mark.parametrize("python", [sys.executable, "no/such/python"])
def test_a_package_that_fails_is_named_before_the_session_is_scored(python, monkeypatch):
    monkeypatch.setattr(recording_scale, "score", lambda *_: pytest.fail("began to score"))
    with pytest.raises(ConfigError, match=f"--opexebo={re.escape(python)}"):
        recording_scale.main([f"--opexebo={python}"])


INPUTS = {given.name: given for given in recording_inputs.inputs()}
FEW = [
    "spikes: MATLAB cell array [1, N] of [n, 1], one empty",
    "spikes: dict of columns, unit= and time=",
    "spikes: table with a column t, no names given",
    "spikes: TsdFrame of calcium traces",
    "positions: 1023 where lost, pixels, units=1/300",
    "positions: pixels, units not given",
    "positions: NWB, pixels with conversion and offset",
    "positions: a track, 5 cm wide",
    "times, spikes: minutes",
    "spikes: minutes, times in seconds",
]


@pytest.mark.parametrize("name", FEW)
def test_a_damaged_input_gives_the_right_number_or_a_line(name):
    outcome = recording_inputs.try_input(INPUTS[name], num_shuffles=20)
    assert outcome.is_right, outcome


@pytest.mark.slow
def test_the_table_of_damaged_inputs(tmp_path, monkeypatch):
    assert len(INPUTS) >= 40
    monkeypatch.setattr(recordings, "RESULTS", tmp_path)
    (tmp_path / "recordings.md").write_text("# What was there\n")
    recordings.main(["--inputs"])
    page = (tmp_path / "recordings.md").read_text()
    assert page.startswith("# What was there\n\n## Damaged")
    assert page.count("| yes |") == len(INPUTS)
