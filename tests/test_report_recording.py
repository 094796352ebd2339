"""The page on a recorded session holds its numbers, and leaves the user's files alone."""

import numpy as np
import pytest

import sicjax
from sicjax.report.recording import methods
from tests.walks import smooth_walk


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    times = np.arange(0, 300, 0.02)
    positions = smooth_walk(times)
    trains = {"T1<C2": times[rng.random(len(times)) < 0.05], "silent": np.array([])}
    return sicjax.score_recording(times, positions, trains, num_shuffles=3)


def test_the_page_holds_cells_figures_tables_and_methods(cells, tmp_path):
    page = sicjax.report_recording(cells, tmp_path / "session", name="Rat 7")
    text = page.read_text()
    files = {path.name for path in page.parent.iterdir() if not path.name.startswith(".")}
    assert files == {
        "report.html", "cells.csv", "modules.csv", "ratemaps.png",
        "autocorrelograms.png", "null.png",
    }  # fmt: skip
    assert "Rat 7" in text
    assert "T1&lt;C2" in text
    assert methods(cells).replace("'", "&#39;") in text
    assert text.count("data:image/png") == 3
    assert sicjax.report_recording(cells, tmp_path / "session") == page  # once more: replaced


def test_the_methods_paragraph_states_every_parameter(cells):
    text = methods(cells)
    for said in ("2.5 cm", "3 circular shifts", "20 s", "0.5 s", "2 m/s", "seed 0"):
        assert said in text
    assert f"sicjax {sicjax.__version__}" in text


def test_a_folder_of_the_users_is_refused(cells, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        sicjax.report_recording(cells, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(TypeError, match="cells"):
        sicjax.report_recording(cells.ratemaps, tmp_path / "new")
    assert not (tmp_path / "new").exists()
