"""Results as tables: data frame, CSV, text and HTML hold the same numbers."""

import csv
import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import sicjax
from sicjax.analysis.tables import Table
from tests.walks import smooth_walk


@pytest.fixture(scope="module")
def modules():
    angles = np.deg2rad([0, 60, 120])
    periods = np.repeat([0.5, 0.85], 12)
    axes = periods[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    units = SimpleNamespace(is_grid=periods > 0, lattice=axes, spacing_m=periods)
    return sicjax.find_modules(units)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    times = np.arange(0, 300, 0.02)
    positions = smooth_walk(times)
    trains = {"a<b": times[rng.random(len(times)) < 0.05], "silent": np.array([])}
    return sicjax.score_recording(times, positions, trains, num_shuffles=2)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_modules_are_a_table(modules, tmp_path):
    rows = read(modules.save_csv(tmp_path / "modules.csv"))
    assert [row["module"] for row in rows] == ["0", "1"]
    assert [float(row["period_m"]) for row in rows] == [0.5, 0.85]
    assert [row["ratio"] for row in rows] == ["", "1.7"]
    assert [row["units"] for row in rows] == ["12", "12"]
    assert len(repr(modules)) < 300
    assert "2 modules" in repr(modules)


def test_cells_are_a_table(cells, tmp_path):
    rows = read(cells.save_csv(tmp_path / "cells.csv"))
    assert [row["name"] for row in rows] == ["a<b", "silent"]
    assert [row["kind"] for row in rows] == cells.kind.tolist()
    assert [int(row["num_spikes"]) for row in rows] == cells.num_spikes.tolist()
    assert float(rows[0]["peak_rate_hz"]) == pytest.approx(cells.peak_rate_hz[0], rel=1e-5)
    assert rows[1]["grid_score"] == ""
    assert {row["is_grid"] for row in rows} <= {"0", "1"}
    assert {"phase_1", "phase_2", "module", "mean_rate_hz", "stability"} <= rows[0].keys()
    assert not {"ratemaps", "lattice", "occupancy_s", "null_1"} & {*rows[0]}


def test_a_file_is_not_overwritten_unless_asked(cells, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.csv"):
        cells.save_csv(tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"
    cells.save_csv(str(tmp_path / "mine.csv"), overwrite=True)
    assert len(read(tmp_path / "mine.csv")) == 2
    with pytest.raises(TypeError, match="path"):
        cells.save_csv(3)


def test_a_data_frame_has_the_same_columns(cells, modules):
    pytest.importorskip("pandas")
    frame = cells.to_dataframe()
    assert list(frame.columns) == list(cells.columns())
    assert frame["num_spikes"].tolist() == cells.num_spikes.tolist()
    assert frame["grid_score"].isna().tolist() == np.isnan(cells.grid_score).tolist()
    assert modules.to_dataframe()["period_m"].tolist() == [0.5, 0.85]


def test_without_pandas_one_line_says_what_to_do(cells, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas") as error:
        cells.to_dataframe()
    assert "\n" not in str(error.value)


def test_text_and_html_are_short(cells):
    assert repr(cells).count("\n") == 1
    assert "2 units" in repr(cells)
    text = cells._repr_html_()
    assert "a&lt;b" in text
    assert "a<b" not in text
    assert text.count("<tr>") == 3


def test_a_long_table_is_cut_in_a_notebook():
    @dataclasses.dataclass(frozen=True, repr=False)
    class Long(Table):
        score: np.ndarray

    text = Long(np.arange(100.0))._repr_html_()
    assert text.count("<tr>") == 31
    assert "70 more rows" in text
