"""The report on activity: the verdicts of a run's report, from states and positions alone."""

import csv
import json
import re
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import sicjax
from sicjax.analysis.ratemaps import bin_index
from sicjax.report import activity, judge, measure_activity
from sicjax.report.folder import LIST, replacing

PERIODS_M, UNITS = (0.3, 0.3 * np.sqrt(3)), 12  # of each module; the coarser one nests the finer
BOX_M = 1.4


def lattice_activity(positions, period_m, angle_deg, phases):
    """Bumps [..., M] of units on one torus, at positions [..., 2]."""
    turns = np.deg2rad(angle_deg + np.array([0, 60, 120]))
    waves = 4 * np.pi / np.sqrt(3) / period_m * np.stack([np.cos(turns), np.sin(turns)])
    return np.exp(0.7 * (np.cos((positions[..., None, :] - phases) @ waves).sum(axis=-1) - 3))


def attractor(num_walks=20, num_steps=300):
    """States and positions of two modules and of a unit that never fires."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(-BOX_M / 2, BOX_M / 2, (num_walks, num_steps, 2))
    phases = rng.uniform(-1, 1, (2, UNITS, 2))
    modules = [
        lattice_activity(positions, period, angle, phase)
        for period, angle, phase in zip(PERIODS_M, (5, 35), phases, strict=True)
    ]
    return np.concatenate([*modules, np.zeros((*positions.shape[:2], 1))], axis=-1), positions


@pytest.fixture(scope="module", autouse=True)
def small():
    """Fewer shuffles, landmarks and samples than a real report takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "SHUFFLES", 20)
        patch.setattr(judge, "LANDMARKS", 60)
        patch.setattr(measure_activity, "SAMPLES", 500)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    page = sicjax.report_activity(
        *attractor(), tmp_path_factory.mktemp("other") / "report", name="Two <tori>", box_m=BOX_M,
        torus_rolls=1,
    )  # fmt: skip
    return page.parent


def test_modules_their_tori_and_their_relation_are_found(written):
    summary = json.loads((written / "summary.json").read_text())
    assert summary["kinds"]["grid"] == 2 * UNITS
    assert summary["kinds"]["silent"] == 1
    found = summary["modules"]
    assert [module["units"] for module in found] == [UNITS, UNITS]
    assert [module["period_m"] for module in found] == pytest.approx(PERIODS_M, rel=0.02)
    assert all(module["is_torus"] is not None for module in found)  # one roll is a null
    assert summary["module_relation"]["verdict"] == "nested"
    assert summary["module_relation"]["index"] == [3, 1]
    assert summary["module_relation"]["drift_steps"] == 300
    assert max(summary["module_relation"]["drift_m"]) < 0.04  # states of place alone don't drift
    assert summary["variance_explained"] > 0.7
    assert summary["correlation_of_halves"] > 0.9
    assert summary["place"]["range_m"] == pytest.approx(PERIODS_M[1], abs=0.05)
    assert summary["num_samples"] == 6000
    assert summary["box_m"] == BOX_M


def test_verdicts_are_those_of_the_public_scorers(written):
    states, positions = attractor()
    maps = sicjax.bin_activity(positions, states, box_m=BOX_M, bins=35)
    units = sicjax.analyze_ratemaps(maps.ratemaps, BOX_M, num_shuffles=20, key=jax.random.key(0))
    rows = list(csv.DictReader((written / "units.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == units.kind.tolist()
    assert [int(row["module"]) for row in rows] == units.module.tolist()
    spacing = [float(row["spacing_m_1.4m"] or "nan") for row in rows]
    np.testing.assert_allclose(spacing, units.spacing_m, rtol=1e-4)  # states in single precision
    kept = np.load(written / "ratemaps_1.4m.npz")["ratemaps"]
    norm = json.loads((written / "summary.json").read_text())["mean_norm"]
    np.testing.assert_allclose(norm * kept, maps.ratemaps, rtol=1e-5, atol=1e-7)


def test_page_says_what_came_out_and_what_needs_a_network(written):
    page = " ".join((written / "report.html").read_text().split())
    assert "Two &lt;tori&gt;: what its units do" in page
    assert f"{2 * UNITS} grid cells" in re.search(r'<p class="headline">(.*?)</p>', page)[1]
    for what in json.loads((written / "summary.json").read_text())["needs_a_network"]:
        assert f'{what}</th><td class="value">–</td>' in page
    assert "http" not in page
    for name in ("ratemaps_1.4m", "torus_1", "module_relation", "module_drift", "drift"):
        assert (written / f"{name}.png").exists()


def test_one_walk_of_noise_has_no_module_and_invents_nothing(tmp_path):
    rng = np.random.default_rng(1)
    positions, states = rng.uniform(-0.5, 0.5, (4000, 2)), rng.random((4000, 3))
    page = sicjax.report_activity(states, positions, tmp_path / "noise", box_m=1.0)
    summary = json.loads((tmp_path / "noise" / "summary.json").read_text())
    assert summary["num_walks"] == 1
    assert summary["kinds"]["grid"] == 0
    assert summary["modules"] == []
    assert summary["module_relation"] is None
    assert "No grid cells" in page.read_text()
    assert not (tmp_path / "noise" / "drift.png").exists()  # needs a second walk
    assert not list((tmp_path / "noise").glob("module_*.png"))


@pytest.fixture
def measured(monkeypatch):
    """Return what `report_activity` would measure, without measuring it."""
    found = []
    monkeypatch.setattr(activity, "measure_activity", lambda *given: found.append(given))
    monkeypatch.setattr(activity, "_write", lambda *_: None)
    return found


def test_a_corner_as_origin_and_centimetres_are_recognised_and_said(measured):
    states, positions = np.ones((900, 3)), np.random.default_rng(0).uniform(-0.5, 0.5, (900, 2))
    sicjax.report_activity(states, positions, "x", box_m=1.0)
    with pytest.warns(UserWarning, match=r"centimetres.*centre_m="):
        sicjax.report_activity(states, 100 * (positions + 0.5), "x", box_m=1.0)
    with pytest.warns(UserWarning, match=r"the box was put at 1 m around \(0"):
        sicjax.report_activity(states, positions, "x")
    for _, places, _, side, *_ in measured:
        assert side == 1.0
        # The centre is the middle of the path's extent: a few millimetres from the truth.
        np.testing.assert_allclose(places[0], positions, atol=0.005)
    np.testing.assert_array_equal(measured[0][1][0], positions)  # a given box around 0 is used


def test_a_box_of_two_metres_is_two_metres_and_has_its_walls(measured):
    rng = np.random.default_rng(0)
    positions = np.clip(rng.uniform(-1.2, 1.2, (900, 2)), -1, 1)  # many samples on every wall
    with pytest.warns(UserWarning, match="2 m"):
        sicjax.report_activity(np.ones((900, 3)), positions, "x")
    _, places, _, side, bins, *_ = measured[0]
    assert side == 2.0
    assert (bin_index(places, side, bins) < bins**2).all()


@pytest.mark.parametrize("name", ["data", "run", "file.npz", ".", "report", "dangling"])
def test_a_folder_that_holds_anything_else_is_refused_before_measuring(
    name, tmp_path, monkeypatch, measured
):
    monkeypatch.chdir(tmp_path)
    for place in ("data/recording.npz", "run/checkpoints/7/x", "file.npz", "report/notes.txt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("precious")
    (tmp_path / "report" / LIST).write_text('["report.html"]')
    (tmp_path / "report" / "report.html").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    for folder in (name, (tmp_path / name).resolve() if name != "dangling" else name):
        with pytest.raises(ValueError, match="folder") as error:
            sicjax.report_activity(np.ones((900, 3)), np.zeros((900, 2)), folder, box_m=1.0)
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert not measured


def test_neighbours_of_the_folder_are_not_touched(tmp_path, monkeypatch):
    """An earlier version used folders with these names for writing."""
    for name in (".report.old", ".report.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with replacing(Path("report")) as place:
            (place / "report.html").touch()
    assert {path.name for path in tmp_path.rglob("*.txt")} == {"notes.txt"}
    assert len(list(tmp_path.rglob("notes.txt"))) == 2


def test_samples_outside_the_box_are_left_out_and_counted(measured):
    states, positions = np.ones((900, 3)), np.random.default_rng(0).uniform(-0.5, 0.5, (900, 2))
    with pytest.warns(UserWarning, match=r"\d\d% lie outside the box of 0.8 m around \(0, 0\)"):
        sicjax.report_activity(states, positions, "x", box_m=0.8)


def test_the_unit_of_activity_changes_no_verdict():
    states, positions = attractor(4)
    few = states[..., :3]
    one, other = (
        measure_activity.measure_activity(scale * few, positions, np.zeros(2), BOX_M, 35, 1, 0)
        for scale in (1, 1e-6)
    )
    assert one.units.kind.tolist() == other.units.kind.tolist() == ["grid"] * 3
    np.testing.assert_allclose(one.samples.maps.ratemaps, other.samples.maps.ratemaps, rtol=1e-5)
    assert other.mean_norm == pytest.approx(1e-6 * one.mean_norm, rel=1e-5)  # means in float32


def test_a_call_that_assumes_nothing_says_nothing(measured):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        states, positions = attractor(2)
        sicjax.report_activity(states, positions, "x", box_m=BOX_M)
    assert len(measured) == 1
