"""The report says what is in the maps, is complete or absent, and opens anywhere."""

import base64
import contextlib
import csv
import io
import json
import pickle
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sicjax import workers
from sicjax.analysis.ambiguity import CodeRange
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.relations import ModuleDrifts
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map, place_map, square_basis
from sicjax.config import changed, default
from sicjax.network.trajectories import smooth_walks
from sicjax.paths import path as as_path
from sicjax.report import dynamics, measure, network, run_reports
from sicjax.report.chapters import motion as motion_room
from sicjax.report.chapters.modules import betti_texts, torus_sentence
from sicjax.report.chapters.motion import animate, looked_at, shown_walk
from sicjax.report.chapters.place import reach_text, steps_position_holds
from sicjax.report.chapters.relations import relations_of
from sicjax.report.chapters.training import training
from sicjax.report.contents import make_chapters
from sicjax.report.folder import LIST, refuse_others, replacing
from sicjax.report.index import write_index
from sicjax.report.network import write_report
from sicjax.report.run_reports import score_networks
from sicjax.report.sheets import display_order, examples, in_turn, module_groups
from sicjax.report.snapshots import Snapshot
from sicjax.report.tables import as_json, listed
from sicjax.report.walks import walk
from sicjax.run import Run, num_bins
from sicjax.training.bucket import REPORTS, Desk, desk
from sicjax.training.step import make_init
from tests.bucket import NAME

MODULE = 12  # hexagonal units of one module come first
OTHERS = ("square", "constant", "place", "silent", "speck")
UNITS = MODULE + len(OTHERS)
METRICS = [{"step": step, "loss": 1 / step, "separation": 0.1} for step in (100, 200, 300)]
NOTE = "a walk <of> mine"


def known_maps(box_m):
    """Return maps [UNITS, y, x] of a module and of `OTHERS`, with fixed noise."""
    bins = num_bins(box_m)
    rng = np.random.default_rng(0)
    box = {"box_m": box_m, "bins": bins}
    phases = rng.random((MODULE, 2))
    maps = [lattice_map(hexagonal_basis(0.5, 10), phase=phase, **box) for phase in phases]
    maps += [
        lattice_map(square_basis(0.6, 20), **box),
        np.full((bins, bins), 2.0),
        place_map([0.3, 0.2], 0.15, **box),
        np.zeros((bins, bins)),
        np.where(np.arange(bins**2).reshape(bins, bins) == bins**2 // 2, 1.0, 0.0),
    ]
    return np.stack(maps) * (1 + 0.01 * rng.standard_normal((UNITS, bins, bins)))


@dataclass(frozen=True)
class KnownRun(Run):
    """A run with known smooth-walk maps; given walks still drive the network."""

    def ratemaps(self, box_m=2.0, *, walk_steps=2000, mean_speed=0.06, progress=True):
        maps = known_maps(box_m)
        occupancy = np.full(maps.shape[1:], 20)
        explained = np.linspace(0.1, 0.9, len(maps))
        return RateMaps(maps, occupancy, box_m, explained, 0 * maps)


@pytest.fixture(scope="module", autouse=True)
def small(small_reports):
    """Make all reports of this module small."""


@pytest.fixture(scope="module")
def run():
    config = default()
    config.num_networks = 3
    config.model.num_units, config.model.hidden_width = UNITS, 4
    parameters = make_init(config)(jnp.uint32(3)).parameters
    return KnownRun(config=config, parameters=parameters, network=2, step=300)


@pytest.fixture(scope="module")
def found():
    """The measurement behind the report of `written`, in a list of length one."""
    return []


@pytest.fixture(scope="module")
def written(run, tmp_path_factory, found):
    walks = smooth_walks(jax.random.key(0), num_walks=1, num_steps=200, box_m=1.0)
    path = jax.tree.map(lambda leaf: leaf[0], walks)
    folder = tmp_path_factory.mktemp("run") / "report" / "network_002"
    frames = [Snapshot(step, known_maps(2.0), 0.5, 1) for step in (100, 200)]

    def noted(*given, **options):
        found.append(measure.measure(*given, **options))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "measure", noted)
        page = write_report(
            run, folder, metrics=METRICS, frames=frames, recorded_path=path, recorded_note=NOTE,
            animations=True,
        )  # fmt: skip
    assert page == folder / "report.html"
    return folder


def test_the_files_of_a_report_go_into_a_bucket(written, bucket):
    """Every figure, table, animation and page, byte by byte; the page comes last."""
    workdir = as_path("workdir", f"gs://{NAME}/with_report", bucket=True)
    with desk(workdir, REPORTS) as here:
        place = here.folder / "report" / written.name
        shutil.copytree(written, place)
        here.upload()
        assert here.shown(place / "report.html") == workdir / "report/network_002/report.html"
    assert "report.html" in bucket.writes[-1]
    begin = "with_report/report/network_002/"
    found = {name: content for name, content in bucket.objects.items() if begin in name}
    assert found == {begin + path.name: path.read_bytes() for path in written.iterdir()}


def test_counts_are_those_of_the_known_maps(written):
    summary = json.loads((written / "summary.json").read_text())
    assert summary["seed"] == 2
    assert summary["variant"] == "default"
    assert summary["step"] == 300
    assert summary["failure"] is None
    assert summary["num_units"] == UNITS
    assert summary["active_units"] == UNITS - 2  # all but the silent one and the speck
    assert summary["hexagonal_units"] == MODULE
    assert summary["square_units"] == 1
    assert summary["lattice_fraction"] == pytest.approx((MODULE + 1) / (UNITS - 2))
    assert summary["constant_units"] == [MODULE + 1]
    assert summary["constant_share"] > 0.5
    assert summary["median_period_hexagonal_m"] == pytest.approx(0.5, rel=0.03)
    assert summary["median_period_square_m"] is not None
    assert summary["kinds"]["grid"] == MODULE
    assert [module["units"] for module in summary["modules"]] == [MODULE]
    assert summary["modules"][0]["period_m"] == pytest.approx(0.5, rel=0.03)
    assert summary["units_per_index"] == {"1": MODULE, "3": 0, "4": 0, "7": 0, "9": 0, "12": 0}
    assert summary["grid_cells_without_index"] == 0
    assert summary["coarsest_period_m"] == pytest.approx(0.5, rel=0.03)
    assert summary["units_per_fields"] == {"1": MODULE}
    firing = UNITS - summary["kinds"]["silent"]
    assert summary["units_that_do_not_repeat"] == firing - MODULE > 0
    assert summary["modules"][0]["is_torus"] is None  # no null was asked for
    # The path drives an untrained network, whose maps have nothing to do with the known lattices.
    assert abs(summary["recorded_path_correlation"]) < 0.3
    found = summary["path_integration"]
    assert (
        0 < found["neural_distance_after_100"] < 2**0.5
    )  # of unit vectors without negative entries


def test_boxes_and_speeds_are_compared(written):
    by_map = json.loads((written / "summary.json").read_text())["by_map"]
    assert by_map["2m_slow"]["mean_speed_m"] < by_map["2m"]["mean_speed_m"]
    assert by_map["2m"]["mean_speed_m"] < by_map["2m_fast"]["mean_speed_m"]
    assert by_map["4m"]["median_period_change"] < 0.03
    for name in ("compared_periods", "compared_scores", "film_strip"):
        assert (written / f"{name}.png").exists()


def test_units_and_modules_are_listed_with_every_score(written):
    rows = list(csv.DictReader((written / "units.csv").read_text().splitlines()))
    assert [row["unit"] for row in rows] == [str(n) for n in range(UNITS)]
    assert [row["lattice"] for row in rows] == ["hexagonal"] * MODULE + ["square"] + [""] * 4
    assert [row["kind"] for row in rows[:MODULE]] == ["grid"] * MODULE
    assert [row["lattice_index"] for row in rows] == ["1"] * MODULE + ["0"] * len(OTHERS)
    assert [row["fields_per_cell"] for row in rows] == ["1"] * MODULE + ["0"] * len(OTHERS)
    for name in ("2m", "3m", "4m", "2m_short", "3m_short", "2m_slow", "2m_fast"):
        assert float(rows[0][f"grid_score_{name}"]) > 0.9
        assert 0 <= float(rows[0][f"variance_explained_{name}"]) <= 1
    assert rows[MODULE + 3]["grid_score_2m"] == ""  # a silent unit has no score
    assert "nan" not in (written / "units.csv").read_text().lower()
    modules = list(csv.DictReader((written / "modules.csv").read_text().splitlines()))
    assert [module["units"] for module in modules] == [str(MODULE)]


@pytest.mark.parametrize("name", ["2m", "2m_short", "3m", "4m"])
def test_maps_are_kept(written, name):
    found = np.load(written / f"ratemaps_{name}.npz")
    assert set(found) == {
        "ratemaps", "occupancy", "box_m", "variance_explained", "within_bin_variance"
    }  # fmt: skip
    expected = known_maps(float(found["box_m"]))
    np.testing.assert_allclose(
        found["ratemaps"], expected, rtol=1e-6, atol=1e-30
    )  # single precision


def test_page_holds_its_pictures_and_nothing_from_outside(written):
    page = (written / "report.html").read_text()
    links = re.findall(r"(?:src|href)=[\"'](?!data:|#)([^\"']+)", page)
    assert {*links} == {"summary.json", "units.csv", "modules.csv"}
    assert all((written / link).is_file() for link in links)
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert len(anchors) == len({*anchors}) == len(re.findall(r"<h2>", page)) - 1  # not itself
    assert all(page.count(f'id="{anchor}"') == 1 for anchor in anchors)
    alts = re.findall(r'<img [^>]*alt="([^"]+)"', page)
    assert len(alts) == page.count("<img ")
    assert min(map(len, alts)) > 15  # they describe the figure and not the file
    assert "http" not in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    files = {path.read_bytes() for path in written.glob("*.png")}
    assert len(pictures) == len(files) > 5
    assert {base64.b64decode(picture) for picture in pictures} == files
    for picture in files:
        Image.open(io.BytesIO(picture)).verify()
    assert "a walk &lt;of&gt; mine" in page
    assert f"{UNITS - 1} of {UNITS}" in page  # all but the silent one
    assert f"{MODULE} units at 0.50 m" in page
    assert len(page) < 4e6


def in_wide_box(run):
    return replace(run, config=changed(run.config, {"evaluation.verdict_box": 3.6}))


def test_verdicts_come_from_the_maps_of_the_box_of_the_config(run):
    """The fast version of the report with another box."""
    assert measure.map_verdict(in_wide_box(run)).maps.box_m == 3.6


@pytest.mark.slow
def test_another_box_may_decide(run, tmp_path):
    """Coarse lattices need a larger box: verdicts come from its maps, which are listed, too."""
    wide = in_wide_box(run)
    folder = tmp_path / "network_000"
    page = write_report(wide, folder, metrics=[]).read_text()
    assert "3.6 m box" in page
    sheet = base64.b64encode((folder / "ratemaps_3.6m.png").read_bytes()).decode()
    assert page.index(sheet) < page.index("<table")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["verdict_box_m"] == 3.6
    assert summary["grid_cells_of_same_period"].keys() == {"2m", "3m", "4m"}
    with np.load(folder / "ratemaps_3.6m.npz") as maps:
        assert maps["ratemaps"].shape == (UNITS, 90, 90)
    with (folder / "units.csv").open() as file:
        assert {"grid_score_3m", "grid_score_3.6m", "spacing_m_3.6m"} < {*next(csv.reader(file))}


def test_what_moves_is_small_has_a_still_and_moves_only_where_that_is_wanted(written):
    page = (written / "report.html").read_text()
    sources = re.findall(r'<source media="([^"]+)"\s+srcset="data:image/gif;base64,([^"]+)"', page)
    assert {media for media, _ in sources} == {"(prefers-reduced-motion: no-preference)"}
    moving = {base64.b64decode(picture) for _, picture in sources}
    files = {path.stem: path for path in written.glob("*.gif")}
    assert files.keys() == {"formation", "walk", "torus"}
    assert moving == {path.read_bytes() for path in files.values()}
    for name, path in files.items():
        assert path.stat().st_size < 2e6
        with Image.open(path) as gif, Image.open(path.with_suffix(".png")) as still:
            assert gif.n_frames == (2 if name == "formation" else 3)
            assert gif.size == still.size
            shown = []
            for frame in range(gif.n_frames):
                gif.seek(frame)
                shown.append(np.asarray(gif.convert("RGB")).astype(int))
            assert gif.info["duration"] == motion_room.HELD_MS  # of the last
            assert (shown[0][0, 0] == 255).all()
            assert np.abs(shown[0] - shown[-1]).max() > 50
            # Its last frame is the still picture, in another palette.
            assert np.abs(shown[-1] - np.asarray(still.convert("RGB"))).mean() < 2


@pytest.mark.usefixtures("written")
def test_another_process_draws_the_same_from_what_is_looked_at(run, found, monkeypatch):
    monkeypatch.setattr(motion_room, "EVERY", 10)  # what it is there
    monkeypatch.setattr(workers, "available_cores", lambda: 2)
    (found,) = found
    with workers.worker_processes() as worker:
        part, walked = looked_at(found), shown_walk(run)
        assert found.tori[0].betti is None  # no null was asked for
        motions = worker(animate, part, (), walked)
    assert motions.keys() == {"walk", "torus"}
    assert motions == animate(found, (), walked)
    whole = replace(found, torus_tests=tuple)  # a running test can't be sent
    assert len(pickle.dumps(part)) < 0.3 * len(pickle.dumps(whole))


@pytest.mark.usefixtures("written")
def test_a_module_whose_phase_cannot_be_read_is_on_no_torus(run, found, monkeypatch):
    for part in ("_walk", "_torus", "film"):  # drawing them takes long
        monkeypatch.setattr(motion_room, part, lambda *_, **__: None)
    (found,) = found
    walked = shown_walk(run)
    assert animate(found, (), walked).keys() == {"walk", "torus"}
    one_cell = (found.modules.members[0][:1],)  # silent between its fields
    sparse = replace(found, modules=replace(found.modules, members=one_cell))
    assert animate(sparse, (), walked).keys() == {"walk"}


@pytest.mark.usefixtures("written")
def test_a_report_that_is_interrupted_while_it_learns_to_move_is_whole(
    run, found, tmp_path, monkeypatch
):
    """Animations come last: with one core, `animate` is called after all else is written."""

    def interrupted(*_):
        raise KeyboardInterrupt

    folder = tmp_path / "network_000"
    monkeypatch.setattr(workers, "available_cores", lambda: 1)
    monkeypatch.setattr(network, "animate", interrupted)
    monkeypatch.setattr(network, "measure", lambda *_, **__: found[0])
    with pytest.raises(KeyboardInterrupt):
        write_report(run, folder, metrics=[], animations=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["network_000"]
    still = (folder / "report.html").read_text()
    assert "data:image/gif" not in still
    files = {entry.name for entry in folder.iterdir()}
    assert not files & {"walk.gif", "walk.png", ".unfinished"}
    refuse_others(folder)


def test_dead_network_without_path_or_metrics_still_gets_a_page(run, tmp_path):
    class DeadRun(KnownRun):
        def ratemaps(self, box_m=2.0, *, walk_steps=2000, mean_speed=0.06, progress=True):
            return super().ratemaps(box_m)._replace(ratemaps=0 * known_maps(box_m))

    silent = run.parameters._replace(initial_direction=-jnp.ones(UNITS))
    dead = DeadRun(run.config, silent, failure="invariance went non-finite at update 7")
    folder = tmp_path / "network_000"
    note = "no ratinabox here"
    page = write_report(dead, folder, metrics=[], recorded_note=note).read_text()
    assert "invariance went non-finite at update 7" in page
    assert f"0 of {UNITS}" in page
    assert note in page
    assert not (folder / "recorded_path.png").exists()
    assert not (folder / "losses.png").exists()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["recorded_path_correlation"] is None
    assert summary["lattice_fraction"] is None
    assert summary["constant_share"] is None
    assert summary["modules"] == []
    assert "–, –" not in page
    assert page.index("went non-finite") < page.index("No grid cells") < page.index("<table")
    for key in ("attractor", "module_relation", "steps_position_holds"):
        assert summary[key] is None
    assert not list(folder.glob("attractor_*.png")) + list(folder.glob("module_*.png"))
    assert (folder / "modules.csv").read_text().startswith("module,units")


def test_page_says_first_what_came_out(written):
    page = " ".join((written / "report.html").read_text().split())
    headline = re.search(r'<p class="headline">(.*?)</p>', page)[1]
    for said in (f"{MODULE} grid cells", "0.50 m", "3 m box", "2 m and 4 m", "not been tested"):
        assert said in headline
    sheet = base64.b64encode((written / "ratemaps_3m.png").read_bytes()).decode()
    assert page.index(headline) < page.index(sheet) < page.index("<nav") < page.index("<table")
    assert page.index("it sideways") < page.index(sheet)  # said before it is met
    assert page.index("triangular lattice of places") < page.index(sheet)
    assert "arXiv 2311.02316" in page
    assert "num_units: 17" in page  # the config
    assert f"jax {jax.__version__}" in page


def test_counts_on_the_page_come_from_one_box_and_add_up(written):
    page = " ".join((written / "report.html").read_text().split())
    active, all_units = re.search(
        r'Active units</th><td class="value">(\d+) of (\d+)', page
    ).groups()
    kinds = re.search(r'Kinds of units</th><td class="value">([^<]+)<', page)[1]
    counts = dict(reversed(kind.split()) for kind in kinds.split(", "))
    assert sum(map(int, counts.values())) == int(all_units) == UNITS
    assert int(active) == UNITS - int(counts["silent"])


def test_untrained_network_follows_no_place_and_keeps_none(written):
    """The maps are known, but the walking network is untrained."""
    summary = json.loads((written / "summary.json").read_text())
    assert summary["steps_position_holds"] == 0
    assert summary["grid_cells_of_same_period"] == {"2m": 1.0, "4m": 1.0}
    assert summary["module_relation"] is None  # there is one module
    assert summary["attractor"].keys() == summary["attractor_untrained"].keys()
    assert 0 < summary["attractor"]["gain_across"][-1] < 1
    assert summary["place"]["distance_plateau"] >= summary["place"]["distance_same_place"] > 0
    for name in (
        "distance_map", "explained", "attractor_return", "attractor_shift", "attractor_gains",
        "noise_drift",
    ):  # fmt: skip
        assert (written / f"{name}.png").exists()


def test_decoding_errors_are_numbers_without_a_figure(written):
    """Beyond a code's period they are at chance, for good and for bad networks."""
    moved = json.loads((written / "summary.json").read_text())["path_integration"]
    assert moved["chance_decoding_error_m"] > 0
    assert {f"decoding_error_m_after_{n}" for n in (100, 1000, 10_000)} <= moved.keys()
    assert not (written / "decoding.png").exists()


def test_two_modules_are_related_and_drawn(run):
    """A lattice, and one finer by the root of 3 and turned by 30 degrees: indices 1 and 3."""
    coarse = hexagonal_basis(0.9, 10)
    fine = coarse / np.sqrt(3) @ np.array([[3**0.5, 1], [-1, 3**0.5]]) / 2
    lattices = np.stack([[a, b, b - a] for a, b in (fine, coarse)])
    members = (np.arange(4), np.arange(4, 8))
    bases = [fine] * 4 + [coarse] * 4
    run = replace(run, config=changed(run.config, {"evaluation.verdict_box": 6.0}))
    phases = np.random.default_rng(0).random((UNITS, 2))
    box = {"box_m": 2.0, "bins": num_bins(2.0)}
    maps = [lattice_map(bases[n % 8], phase=phases[n], **box) for n in range(UNITS)]
    walked = walk(run, 4.0, 50, 120)
    found = dynamics.measure_dynamics(
        run, walked, lambda: SimpleNamespace(members=members, lattice=lattices),
        RateMaps(np.stack(maps), None, 2.0, None, None),
    )  # fmt: skip
    chapter = relations_of(
        found.relations, found.drifts, found.coupling, np.array([0.52, 0.9]), "2 m box", "walks",
        CodeRange(0.9, 2.06, np.array([0.52, 0.9]), (0.03, 0.006), 0.16),
    )  # fmt: skip
    assert found.places.reach_m == 3.0
    summary = chapter.numbers["module_relation"]
    assert (summary["range_m"], summary["independent_range_m"]) == (0.9, 2.06)
    assert "0.90 m; 2.06 m" in [row.value for row in chapter.rows]
    assert summary["verdict"] == "nested"
    assert summary["index"].tolist() == [3, 1]
    assert summary["error"] < 1e-6
    assert summary["p"] < 1e-3
    assert summary["displacement_m"] == pytest.approx(0.09 / np.sqrt(3))
    assert summary["drift_correlation"].shape == (1,)
    assert summary["shift_after_displacement_m"].shape == (2, 2)
    figures = {shown.name: shown.figure for shown in chapter.figures}
    assert list(figures) == ["module_relation", "module_drift", "module_coupling"]
    assert "3 : 1" in figures["module_relation"].axes[0].get_title(loc="left")


def test_drifts_that_could_not_be_read_are_dashes():
    steps, unread = np.array([10, 1000]), [np.nan, np.nan]
    drifts = ModuleDrifts(
        steps, np.zeros((3, 2, 2, 2)), np.array([[0.1, 0.2], [0.1, 0.2], unread]),
        ((0, 1), (0, 2), (1, 2)), *(np.array([[0.1, value], unread, unread])
                                    for value in (0.2, 0.85, 0.3, 0.02)),
    )  # fmt: skip
    chapter = relations_of(None, drifts, None, np.array([0.5, 0.9, 1.5]), "3 m box", "walks")
    assert [row.value for row in chapter.rows] == ["0.85, –, – (p = 0.02, –, –)"]
    summary = json.loads(as_json(chapter.numbers["module_relation"]))
    assert summary["drift_m"] == [0.2, 0.2, None]
    assert summary["drift_p"] == [0.02, None, None]


@pytest.mark.parametrize(
    ("shares", "steps"),
    [
        ([1, 0.9, 0.3], 200 * 10**0.5 * 10 ** (2 / 3)),  # two thirds of the way from 0.9 to 0.3
        ([0.4, 0.9, 0.9], 0),
        ([1, 1, 0.5], 20_000),
        ([np.nan] * 3, np.nan),
    ],
)
def test_steps_that_position_holds_are_read_between_spans(shares, steps):
    """Spans of 20 to 20,000 steps, a decade each: their middles are 63, 632 and 6,325."""
    explained = np.array(shares)[:, None]
    found = SimpleNamespace(
        units=SimpleNamespace(is_grid=np.array([True])), active=np.array([True]),
        path_integration=SimpleNamespace(
            explained=explained, drift=SimpleNamespace(edges=np.array([20, 200, 2000, 20_000]))
        ),
    )  # fmt: skip
    assert steps_position_holds(found) == pytest.approx(steps, nan_ok=True)


def test_a_run_of_a_few_steps_is_told_as_one(run):
    found = SimpleNamespace(units=SimpleNamespace(is_grid=np.zeros(3, bool)))
    assert "300 updates" in training(run, found, (), ()).headline
    failed = replace(run, failure="network 0: weights is not finite at update 0")
    assert not training(failed, found, (), ()).headline  # more updates would not help
    assert not training(replace(run, step=9000), found, (), ()).headline


@pytest.mark.parametrize(
    ("range_m", "floor", "text"),
    [(0.5, 0.2, "0.50 m"), (np.inf, 0.2, "beyond 2 m"), (0.5, 0.6, "none found"),
     (np.nan, 0.2, "none found")],
)  # fmt: skip
def test_a_code_that_confuses_nothing_in_reach_is_not_told_as_one_that_knows_no_place(
    range_m, floor, text
):
    assert reach_text(range_m, floor, 2.0) == text


@pytest.mark.parametrize(("box_m", "reach_m"), [(3.0, 2.0), (5.0, 2.5), (6.0, 3.0), (12.0, 3.0)])
def test_the_map_of_distances_reaches_farther_for_coarser_lattices(box_m, reach_m):
    assert dynamics.reach_of_map(box_m) == reach_m


def test_a_list_reads_as_one_writes_it():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_a_sheet_without_grid_cells_has_no_other_units():
    found = SimpleNamespace(
        units=SimpleNamespace(module=np.full(4, -1), is_grid=np.zeros(4, bool)),
        modules=SimpleNamespace(members=(), period_m=np.zeros(0)),
    )
    assert module_groups(found, np.arange(3)) == [("Active units, none a grid cell", 3)]
    found.units.is_grid[0] = True
    assert [name for name, _ in module_groups(found, np.arange(4))] == [
        "Grid cells of no module", "Other active units",
    ]  # fmt: skip


def test_first_picture_stands_before_anything_else_is_measured(run, tmp_path, monkeypatch):
    """It is complete, while of the report itself nothing can be seen yet."""

    class StoppedError(Exception):
        pass

    def judge(*_, **__):
        assert [entry.name for entry in tmp_path.iterdir()] == ["first.png"]
        raise StoppedError

    monkeypatch.setattr(network, "measure", judge)
    with pytest.raises(StoppedError):
        write_report(
            run, tmp_path / "network_002", metrics=[], first=(tmp_path / "first.png").write_bytes
        )
    Image.open(tmp_path / "first.png").verify()
    assert [entry.name for entry in tmp_path.iterdir()] == ["first.png"]


def test_page_tells_modules_that_were_tested_from_others():
    def module(units, is_torus):
        betti = (None,) * 3 if is_torus is None else (1, 1 + is_torus, 1)
        return {"units": units, "is_torus": is_torus, **{f"betti_{k}": betti[k] for k in range(3)}}

    fine, coarse = module(11, None), module(42, True)
    assert betti_texts([fine, coarse]) == "–; (1, 2, 1)"
    assert betti_texts([fine, fine]) == "–"
    said = torus_sentence([fine, coarse])
    assert "42 cells is a torus" in said
    assert "not been tested" in said
    assert "not been tested" not in torus_sentence([coarse])
    assert "2 of 2" in torus_sentence([coarse, coarse])


def test_a_kill_leaves_the_old_first_picture(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "report").mkdir()
    path = tmp_path / "report" / "first_picture_002.png"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_reports._write_first_picture(Desk(tmp_path, tmp_path), 2, b"new")
    assert path.read_text() == "old"


def test_index_links_every_network(written):
    page = write_index(written.parent).read_text()
    assert 'href="network_002/report.html"' in page
    assert "http" not in page
    with pytest.raises(FileNotFoundError, match="network_"):
        write_index(written)


def fill(folder, **files):
    with replacing(folder) as place:
        for name, text in files.items():
            (place / f"{name}.html").write_text(text)
            if text == "kill":
                raise KeyboardInterrupt


def texts(folder):
    """Return a folder's files by name, without the list of a report's files."""
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != LIST}


def test_a_kill_leaves_the_old_report_and_a_rebuild_a_whole_one(tmp_path):
    folder = tmp_path / "network_002"
    fill(folder, report="old", figure="old")
    with pytest.raises(KeyboardInterrupt):
        fill(folder, report="half", other="kill")
    assert texts(folder) == {"report.html": "old", "figure.html": "old"}
    fill(folder, report="new")
    assert texts(folder) == {"report.html": "new"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["network_002"]
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "another", report="kill")
    assert [entry.name for entry in tmp_path.iterdir()] == ["network_002"]


def test_a_rebuild_keeps_what_a_user_put_into_the_folder(tmp_path):
    folder = tmp_path / "network_002"
    fill(folder, report="old", figure="old")
    (folder / "notes.txt").write_text("mine")
    (folder / "slides").mkdir()
    fill(folder, report="new")
    assert (folder / "notes.txt").read_text() == "mine"
    assert {path.name for path in folder.iterdir()} == {"report.html", "notes.txt", "slides", LIST}
    (folder / "figure.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"figure\.html"):
        fill(folder, report="newer", figure="newer")
    assert (folder / "figure.html").read_text() == "mine"
    assert (folder / "report.html").read_text() == "new"


@pytest.mark.parametrize("moved", range(4))
def test_a_kill_while_files_are_moved_leaves_no_report_and_the_next_a_whole_one(
    moved, tmp_path, monkeypatch
):
    folder, left, replace_ = tmp_path / "network_002", [moved], Path.replace
    fill(folder, report="old", figure="old", gone="old")

    def killed(path, target):
        if path.parent.name == ".unfinished":
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        return replace_(path, target)

    files = {"report": "new", "figure": "new", "another": "new"}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with contextlib.suppress(KeyboardInterrupt):
            fill(folder, **files)
    assert (folder / "report.html").exists() == (moved == 3)
    refuse_others(folder)  # every file that a kill leaves is known as the report's
    fill(folder, **files)
    assert texts(folder) == {f"{name}.html": "new" for name in files}


def test_a_report_of_an_earlier_version_is_replaced(tmp_path):
    """It has no list of its files; the user's files stay nevertheless."""
    folder = tmp_path / "network_002"
    folder.mkdir()
    for name in ("report.html", "mine.txt"):
        (folder / name).write_text("old")
    fill(folder, report="new")
    assert texts(folder) == {"report.html": "new", "mine.txt": "old"}


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [400, 1280])
def test_pages_open_in_a_browser(written, tmp_path, width):
    pictures = len(list(written.glob("*.png")))
    shown = browse(written / "report.html", tmp_path, width)
    assert f"<title>{pictures} pictures, 0 missing, 0 shrunk, 0 too wide</title>" in shown
    assert f"{UNITS - 1} of {UNITS}" in shown
    index = browse(write_index(written.parent), tmp_path, width, click="button")
    assert "<title>0 pictures, 0 missing, 0 shrunk, 0 too wide</title>" in index
    assert "network_002" in index


def browse(page, tmp_path, width, click=None):
    """Return the page as a browser shows it, with a title that counts the faults.

    Text in a figure has 9 points at the figure's own size, so none may shrink. On a wide screen no
    figure may be cut, and beside one of half the width there is another, or its caption.
    """
    probe = f"""<script>window.addEventListener('load', () => {{
        document.querySelectorAll('{click}').forEach(button => button.click());
        const all = [...document.images];
        const half = [...document.querySelectorAll('.figures figure:not([class])')];
        const cut = [...document.querySelectorAll('figure .scroll')];
        const wide = Math.max(0, document.documentElement.scrollWidth - innerWidth) +
            (innerWidth < 1280 ? 0 : cut.filter(box => box.scrollWidth > box.clientWidth).length +
             half.filter(one => half.filter(two => one.offsetTop == two.offsetTop).length < 2
                        ).length);
        document.title = `${{all.length}} pictures, ` +
            `${{all.filter(image => !image.naturalWidth).length}} missing, ` +
            `${{all.filter(image => image.clientWidth < image.getAttribute('width')).length}}` +
            ` shrunk, ${{wide}} too wide`;
    }});</script></head>"""
    probed = tmp_path / f"probed_{page.name}"
    probed.write_text(page.read_text().replace("</head>", probe))
    result = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-sync",
            "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900", "--enable-logging=stderr", "--dump-dom", str(probed),
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in result.stderr
    return result.stdout


def test_modules_count_from_0_everywhere(written):
    """This holds in the tables, on the page, and in the names of the figures."""
    (module,) = csv.DictReader((written / "modules.csv").read_text().splitlines())
    assert module["module"] == "0"
    units = csv.DictReader((written / "units.csv").read_text().splitlines())
    assert {row["module"] for row in units} == {"0", "-1"}
    page = (written / "report.html").read_text()
    assert "<h3>Module 0" in page
    assert "Module 1" not in page
    assert {path.stem for path in written.glob("torus_*.png")} == {"torus_0"}


def test_examples_take_modules_in_turn():
    """Six active units by falling score: 0 to 3 of the first module, 4 of the second, 5 of none.

    In the 3 m box, where modules are found, unit 3 has a higher score than 0 to 2.
    """
    found = SimpleNamespace(
        active=np.arange(7) < 6,
        lattice=np.array(["hexagonal"] * 6 + [""]),
        first=SimpleNamespace(
            scores=SimpleNamespace(
                grid_score=1 - np.arange(7) / 10, square_score=np.zeros(7), num_fields=np.ones(7)
            )
        ),
        verdict=SimpleNamespace(
            scores=SimpleNamespace(grid_score=np.array([0.5, 0.4, 0.3, 1.2, 0.1, 2.0, np.nan]))
        ),
        units=SimpleNamespace(module=np.array([0, 0, 0, 0, 1, -1, -1])),
    )
    assert examples(found).tolist() == [3, 0, 1, 2, 4, 5]
    order = np.array([3, 0, 1, 2, 4, 5])
    assert in_turn(order, found.units.module, 1).tolist() == [3]
    assert in_turn(order, found.units.module, 3).tolist() == [3, 0, 4]
    found.units.module[:] = -1
    assert examples(found).tolist() == display_order(found)[:6].tolist()


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_figures_may_be_drawn_as_vectors_too(run, kind):
    found = SimpleNamespace(units=SimpleNamespace(is_grid=np.zeros(3, bool)))
    _, files = make_chapters({"training": lambda: training(run, found, (), ())}, figures=kind)
    assert files.keys() == {"batch.png", f"batch.{kind}"}
    assert files[f"batch.{kind}"].startswith({"pdf": b"%PDF", "svg": b"<?xml"}[kind])
    _, again = make_chapters({"training": lambda: training(run, found, (), ())}, figures=kind)
    if kind == "pdf":  # an SVG has random names in it
        assert again == files


def test_networks_are_scored_without_a_report(run, tmp_path):
    table = score_networks([replace(run, network=1, failure="lost")], tmp_path, progress=False)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["network"], row["modules"], row["failure"]) for row in rows] == [
        ("1", "1", "lost")
    ]
    assert rows[0]["grid_cells"] == rows[0]["units_per_index.1"] == str(MODULE)
    assert rows[0]["units_per_index.3"] == rows[0]["grid_cells_without_index"] == "0"
    assert float(rows[0]["periods_m"]) == pytest.approx(0.5, rel=0.03)
    assert [entry.name for entry in (tmp_path / "report").iterdir()] == ["scores.csv"]
