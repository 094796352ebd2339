"""The table of claims, from reports whose numbers are known."""

import csv
import json
import shutil

import numpy as np
import pytest
from matplotlib import pyplot as plt

from experiments import claims, sweep
from sicjax import load_pretrained
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
from sicjax.config import changed
from sicjax.config.files import load_config, to_json
from sicjax.errors import ConfigError


def module(units, period_m, is_torus=None, betti=(None, None, None)):
    return {
        "units": units, "period_m": period_m, "orientation_deg": 5.0, "is_torus": is_torus,
        **{f"betti_{k}": number for k, number in enumerate(betti)},
    }  # fmt: skip


@pytest.fixture
def report(tmp_path):
    """Write the report of three grid cells, one of them inactive, and a place cell."""
    summary = {
        "seed": 7, "failure": None, "active_units": 3, "recorded_path_correlation": 0.8,
        "num_units": 4, "verdict_box_m": 3.0,
        "attractor": {
            "steps_to_return_walking": 9, "steps_to_return_at_rest": None,
            "shift_amplitudes": [0.1, 0.2, 0.5], "shift_m": [0.02, 0.04, 0.11],
            "shift_left": [0.8, 0.97, 1.01],
        },
        "attractor_untrained": {
            "steps_to_return_walking": 80, "shift_amplitudes": [0.1, 0.2, 0.5],
            "shift_left": [0.0, 0.02, 0.1],
        },
        "modules": [module(12, 0.75), module(20, 1.3, True, (1, 2, 1))],
        "path_integration": {"neural_distance_after_10000": 0.6, "chance_neural_distance": 0.8},
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    phases = np.random.default_rng(0).random((12, 2))
    maps = [lattice_map(hexagonal_basis(0.8, 10), phase=p, box_m=4.0, bins=100) for p in phases]
    np.savez(tmp_path / "ratemaps_4m.npz", ratemaps=np.stack(maps))
    units = [
        {"active": 1, "is_grid": 1, "module": 0, "2m": 0.70, "3m": 0.75, "4m": 0.75, "score": 0.8},
        {"active": 1, "is_grid": 1, "module": 1, "2m": 1.30, "3m": 1.30, "4m": 1.56, "score": 1.0},
        {"active": 1, "is_grid": 0, "module": -1, "2m": "", "3m": "", "4m": "", "score": 0.1},
        {"active": 0, "is_grid": 1, "module": 1, "2m": 9, "3m": 1, "4m": 9, "score": 9},
    ]
    rows = [
        {
            **{key: unit[key] for key in ("active", "is_grid", "module")},
            **{f"spacing_m_{box}": unit[box] for box in ("2m", "3m", "4m")},
            "grid_score_3m": unit["score"], "grid_score_corrected_3m": unit["score"] + 0.2,
            "variance_explained_3m": unit["score"] / 2, "variance_explained_4m": 0.3,
            "variance_explained_3m_short": 0.9,
        }
        for unit in units
    ]  # fmt: skip
    with (tmp_path / "units.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_measure_takes_active_grid_units(report):
    row = claims.measure(report)
    assert (row["grid_units"], row["active_units"], row["num_modules"]) == (2, 3, 2)
    assert row["grid_score"] == pytest.approx(0.9)
    assert row["grid_score_corrected"] == pytest.approx(1.1)
    assert row["explained"] == pytest.approx(0.45)
    assert row["period_change"] == pytest.approx(0.1)  # 0 and 20 % in 4 m; 2 m has 6.7 % and 0
    assert row["drift_10000_of_chance"] == pytest.approx(0.75)
    assert row["largest_is_torus"] is True
    assert row["spacings_m"] == [[0.75, 0], [1.3, 1]]
    assert [m["grid_score_corrected"] for m in row["modules"]] == pytest.approx([1.0, 1.2])
    assert [m["hexagonal_units"] for m in row["modules"]] == [1, 1]
    assert row["num_modules_other"] == 1  # of other maps
    assert (row["steps_to_return"], row["steps_to_return_at_rest"]) == (9, None)
    assert (row["shift_m"], row["shift_left"]) == ([0.04, 0.11], [0.97, 1.01])
    assert row["shift_left_untrained"] == [0.02, 0.1]


def test_where_the_4_m_box_gives_the_verdict_it_is_not_scored_again(report):
    summary, units = report / "summary.json", report / "units.csv"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"verdict_box_m": 4.0}))
    scores = units.read_text().replace("grid_score_corrected_3m", "grid_score_corrected_4m")
    units.write_text(scores.replace("grid_score_3m", "grid_score_4m"))
    (report / "ratemaps_4m.npz").unlink()
    row = claims.measure(report)
    assert row["num_modules_other"] == row["num_modules"] == 2


def test_with_a_large_verdict_box_modules_are_counted_again_in_a_larger_one(report):
    """There unit 0 has a period of 0.825 m, in the report 0.75 m; unit 1 has 1.3 m in both."""
    for file, changes in {
        "summary.json": {'"verdict_box_m": 3.0': '"verdict_box_m": 6.0'},
        "units.csv": {"_3m": "_6m", "_6m_short": "_3m_short"},
    }.items():
        text = (report / file).read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        (report / file).write_text(text)
    rows = list(csv.DictReader((report / "units.csv").read_text().splitlines()))
    with (report / "units.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["unit", "spacing_m_3m", *rows[0]])
        writer.writeheader()
        writer.writerows(
            row | {"unit": n, "spacing_m_3m": row["spacing_m_6m"]} for n, row in enumerate(rows)
        )
    phases = np.random.default_rng(0).random((12, 2))
    maps = [
        lattice_map(hexagonal_basis(1.3 if n == 1 else 0.825, 10), phase=p, box_m=8.0, bins=64)
        for n, p in enumerate(phases)
    ]
    explained = np.linspace(0.4, 0.95, 12)
    other = RateMaps(np.stack(maps), np.full((64, 64), 20), 8.0, explained, np.zeros((12, 1, 1)))
    row = claims.measure(report, other)
    assert (row["other_box_m"], row["num_modules"], row["num_modules_other"]) == (8.0, 2, 1)
    assert row["period_change"] == pytest.approx(0.1, abs=0.005)  # 0, 20 % in 4 m; 10, 0 in 8 m
    assert row["explained_other"] == pytest.approx(0.425)  # units 0 and 1


def test_maps_of_the_other_box_are_made_where_the_report_has_none(report, monkeypatch):
    run = load_pretrained("quick")
    monkeypatch.setattr(type(run), "ratemaps", lambda _, box_m: f"maps of {box_m} m")
    assert claims.maps_of_other_box(run, report) is None  # the verdict is from 3 m
    run.config.evaluation.verdict_box = 6.0
    assert claims.maps_of_other_box(run, report) == "maps of 8.0 m"


def test_boxes_too_small_for_the_coarsest_period_are_not_compared(report):
    summary = json.loads((report / "summary.json").read_text())
    summary["modules"][1]["period_m"] = 1.3 * 2  # 1.6 of them are longer than 4 m
    (report / "summary.json").write_text(json.dumps(summary))
    assert claims.measure(report)["period_change"] is None


@pytest.mark.parametrize(
    ("modules", "number"),
    [
        ([], 0),
        ([(9, 0.7)], 0),
        ([(10, 0.7), (10, 1.21)], 2),
        ([(10, 0.7), (9, 1.21)], 1),
        ([(10, 0.7), (30, 0.8)], 1),
        ([(10, 0.7), (30, 1.5)], 1),
        ([(10, 0.7), (30, 1.5), (10, 2.1), (12, 3.0)], 3),
        ([(12, 3.0), (10, 0.7), (10, 2.1), (30, 1.2)], 4),
    ],
)
def test_modules_count_when_large_and_in_ratio(modules, number):
    assert claims.num_modules([module(*values) for values in modules]) == number


@pytest.mark.parametrize(
    ("modules", "has"),
    [
        ([], False),
        ([(10, 0.5), (10, 0.85), (10, 1.45)], True),
        ([(10, 0.5), (10, 0.85), (9, 1.45)], False),
        ([(10, 0.5), (10, 0.85), (10, 1.35)], False),
        ([(10, 0.5), (12, 0.58), (10, 0.85), (30, 0.98), (10, 1.45)], True),
    ],
)
def test_the_paper_s_ratios(modules, has):
    assert claims.has_paper_ratios([module(*values) for values in modules]) is has


@pytest.mark.parametrize(
    ("modules", "met"),
    [
        ([], (0, 0, 0)),
        ([(10, 10, 1.3), (12, 11, 1.2), (9, 9, 1.3)], (0, 0, 0)),
        ([(10, 10, 1.3), (12, 11, 1.2), (30, 9, 0.99)], (1, 0, 0)),
        ([(10, 10, 1.3), (12, 11, 1.2), (30, 10, 0.99)], (1, 1, 0)),
        ([(10, 9, 1.3), (12, 11, 1.2), (30, 20, 1.0)], (1, 0, 1)),
        ([(10, 10, 1.3), (12, 11, 1.2), (30, 20, 1.0), (12, 1, 0.5)], (1, 1, 1)),
    ],
)
def test_three_modules_count_at_any_ratio_and_by_two_scores(modules, met):
    keys = ("units", "hexagonal_units", "grid_score_corrected")
    row = network(
        modules=[
            module(values[0], 0.7) | dict(zip(keys, values, strict=True)) for values in modules
        ]
    )
    found = claims.claims([row])
    names = (
        "three modules at any ratio",
        "three, each with ten cells of corrected grid score 1.0",
        "three, each with a median corrected grid score of 1.0",
    )
    assert tuple(int(found[name][1]) for name in names) == met


def network(**changes):
    row = {
        "seed": 3, "failure": None, "active_units": 40, "grid_units": 30, "modules": [],
        "num_units": 44, "other_box_m": 4.0, "num_modules_other": 2, "explained_far": 0.5,
        "steps_to_return": 8,
        "steps_to_return_untrained": None, "shift_m": [0.04, 0.11], "shift_left": [0.97, 1.0],
        "shift_left_untrained": [0.02, 0.1], "num_modules": 2, "grid_score": 0.7,
        "grid_score_corrected": 1.1, "period_change": 0.01,
        "explained": 0.6, "explained_short": 0.9, "explained_other": 0.5, "largest_is_torus": True,
        "drift_10000_of_chance": 0.9, "recorded_path_correlation": 0.8, "spacings_m": [[0.7, 0]],
    }  # fmt: skip
    return row | changes


NOTHING = dict.fromkeys(
    ("grid_score", "grid_score_corrected", "period_change", "explained", "explained_short",
     "explained_other", "explained_far", "largest_is_torus", "steps_to_return",
     "shift_m", "shift_left", "shift_left_untrained"),
) | {
    "num_modules": 0, "active_units": 20, "grid_units": 0, "spacings_m": [],
    "failure": "separation",
}  # fmt: skip


@pytest.mark.parametrize(
    ("left", "untrained", "kept"),
    [
        ([0.97, 0.89], [0.02, 0.0], (1, 0)),
        ([0.5, 0.9], [0.3, 0.2], (0, 1)),
        ([0.97, 1.1], [0.3, 0.21], (0, 0)),
        ([0.97, 1.1], None, (1, 1)),
        (None, [0.0, 0.0], (0, 0)),
    ],
)
def test_a_shift_counts_as_kept_if_the_untrained_network_forgets_it(left, untrained, kept):
    found = claims.claims([network(shift_left=left, shift_left_untrained=untrained)])
    names = (
        "a shift of 20 % along the torus: 0.9 left at rest, untrained at most 0.2",
        "a shift of 50 % along the torus: the same",
    )
    for name, number in zip(names, kept, strict=True):
        assert found[name] == (f"{number} of 1", bool(number))


def test_claims_are_judged_over_all_seeds():
    found = claims.claims([network()] * 4 + [network(**NOTHING)])
    assert found["two modules or more"] == ("4 of 5", True)
    assert found["three modules or more"] == ("0 of 5", False)
    assert found["three modules at any ratio"] == ("0 of 5", False)
    assert found["largest module is a torus"] == ("4 of 5", True)
    assert found["grid score, median over grid cells"] == ("0.70 (n = 4)", True)
    assert found["periods agree between boxes"] == ("4 of 4 networks", True)
    worse = claims.claims([network()] * 3 + [network(**NOTHING, seed=2), network(explained=0.2)])
    assert worse["two modules or more"] == ("4 of 5", True)
    worse = claims.claims([network(period_change=0.06, explained=0.4, grid_score=0.5)])
    reached = [name for name, (_, met) in worse.items() if met]
    assert reached == [
        "two modules or more", "the same number of modules in the other box",
        "active units, median over networks",
        "corrected grid score, median over grid cells",
        "variance explained by position after 10,000 steps, median over grid cells",
        "largest module is a torus", "a push of 20 % off the torus decays to 2 %",
        "a shift of 20 % along the torus: 0.9 left at rest, untrained at most 0.2",
        "a shift of 50 % along the torus: the same",
    ]  # fmt: skip
    assert not any(met for _, met in claims.claims([network(**NOTHING)]).values())
    assert worse["active units, median over networks"] == ("91%", True)


def test_tori_are_counted_over_the_modules_of_15_cells_of_all_seeds():
    name = "modules of 15 grid cells or more are tori"
    rows = [
        network(modules=[claims_module(15, 0.8, True), claims_module(14, 1.4, False)]),
        network(modules=[claims_module(40, 0.8, False), claims_module(15, 1.4, True)]),
    ]
    assert claims.claims(rows)[name] == ("2 of 3", False)
    assert claims.claims(rows[:1])[name] == ("1 of 1", True)


def test_the_table_and_the_figure_name_every_network():
    rows = [
        network(modules=[claims_module(12, 0.75), claims_module(20, 1.3, True, [1, 2, 1])]),
        network(seed=4, **NOTHING),
    ]
    lines = claims.as_markdown(rows, "made so").splitlines()
    assert lines[-1] == "made so"
    networks = [line for line in lines if line.startswith(("| 3 |", "| 4 |"))]
    assert "| two modules or more | 80 % of seeds | 1 of 2 | no |" in lines
    assert networks[0].startswith(
        "| 3 | 30 of 40 | 12 at 0.75 [1.20]; 20 at 1.30 [1.20] (1, 2, 1) torus | 2 | 0.70 |"
    )
    assert networks[1].startswith("| 4 | 0 of 20 | separation | 2 | – |")
    figure = claims.draw(rows)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["seed 3", "seed 4"]
    assert len(figure.axes[0].lines) == 1
    plt.close(figure)


def test_a_coarse_module_alone_has_the_colour_of_the_coarse_ones():
    rows = [
        {"modules": [claims_module(10, period_m) for period_m in periods]}
        for periods in [(0.7, 1.2), (1.25,), (0.6, 1.1), (), (0.9,)]
    ]
    assert claims.scales_of_modules(rows) == [[0, 1], [1], [0, 1], [], [1]]
    assert claims.scales_of_modules([{"modules": []}]) == [[]]


def test_modules_have_the_scales_of_their_proportions():
    """The finer two of three scales, half of all, and a middle and coarse one 0.8 times as long."""
    rows = [
        {"modules": [claims_module(10, period_m) for period_m in periods]}
        for periods in [(0.86, 1.0, 1.73), (0.43, 0.5), (0.8, 1.384), (0.73, 0.85, 1.47), (0.95,)]
    ]
    assert claims.scales_of_modules(rows) == [[0, 1, 2], [0, 1], [1, 2], [0, 1, 2], [1]]


def test_two_modules_of_three_in_equal_ratios_have_the_scales_of_their_periods():
    rows = [
        {"modules": [claims_module(10, period_m) for period_m in periods]}
        for periods in [(0.89, 1.541, 2.67), (0.96, 1.663), (1.6, 2.772), (0.88, 1.525, 2.63)]
    ]
    assert claims.scales_of_modules(rows) == [[0, 1, 2], [0, 1], [1, 2], [0, 1, 2]]


def test_a_module_between_the_scales_has_a_scale_of_its_own():
    rows = [
        {"modules": [claims_module(10, period_m) for period_m in periods]}
        for periods in [(0.89, 1.541, 2.67), (0.92, 1.38, 1.59), (0.88, 1.525, 2.63), (0.9, 1.8)]
    ]
    assert claims.scales_of_modules(rows) == [[0, 1, 2], [0, 3, 1], [0, 1, 2], [0, 1]]


def claims_module(units, period_m, is_torus=None, betti=(None, None, None)):
    return {
        "units": units, "period_m": period_m, "orientation_deg": 5.0, "is_torus": is_torus,
        "betti": list(betti), "grid_score_corrected": 1.2, "hexagonal_units": units,
    }  # fmt: skip


def test_provenance_says_what_made_it(tmp_path):
    config = load_config("quick")
    config.seed, config.num_networks, config.num_steps = 100, 16, 8000
    sessions = [{"hours": 0.5, "device": "a CPU"}, {"hours": 0.25, "device": "a CPU"}]
    (tmp_path / sweep.SESSIONS).write_text("".join(json.dumps(s) + "\n" for s in sessions))
    given = ["--config=configs/quick.py", f"--workdir={tmp_path}", "--config.num_networks=16"]
    text = sweep.provenance("experiments.claims", given, config, tmp_path)
    assert str(tmp_path) not in text
    assert (
        "`python -m experiments.claims --config=configs/quick.py --config.num_networks=16`" in text
    )
    assert "16 networks, seeds 100 to 115, B 32, T 60, N 64, H 64, 8,000 updates; a CPU" in text
    assert "0.8 h with the reports (2 session(s))" in text


@pytest.fixture
def finished(tmp_path):
    """Return a function that makes the folder of a finished run of some seeds."""

    def make(name, seeds, **fields):
        folder = tmp_path / name
        folder.mkdir()
        config = changed(load_config("quick"), {"seed": seeds[0], **fields})
        config.num_networks = len(seeds)
        (folder / "config.json").write_text(to_json(config))
        rows = [network(seed=seed, spacings_m=[[0.7, -1]]) for seed in seeds]
        (folder / "claims.json").write_text(json.dumps(rows))
        # A page of an older version begins with its command.
        text = f"made by {name}\n\nrest\n" if name == "one" else ""
        (folder / "claims.md").write_text(text or claims.as_markdown(rows, f"made by {name}"))
        return folder

    return make


def test_runs_of_other_seeds_become_one_table(finished, tmp_path):
    later = finished("later", [5, 6], **{"evaluation.snapshot_every": 9})  # only of the film
    folders = later, finished("one", [3])
    claims.main([f"--merge={folders[0]},{folders[1]}", "--workdir", str(tmp_path / "all")])
    rows = json.loads((tmp_path / "all/claims.json").read_text())
    assert [row["seed"] for row in rows] == [3, 5, 6]
    text = (tmp_path / "all/claims.md").read_text()
    assert "3 networks from 2 runs:\n\n- made by later\n- made by one\n" in text
    assert "| two modules or more | 80 % of seeds | 3 of 3 | yes |" in text
    assert (tmp_path / "all/claims.png").stat().st_size > 1000
    # A merged table and one more run: every run is still named.
    shutil.copy(later / "config.json", tmp_path / "all")
    text = claims.merge([tmp_path / "all", finished("last", [8])], tmp_path / "more")
    assert "4 networks from 3 runs:\n\n- made by later\n- made by one\n- made by last\n" in text


def test_only_finished_runs_of_one_recipe_and_other_seeds_are_merged(finished, tmp_path):
    first, unfinished = finished("first", [3]), finished("unfinished", [4])
    (unfinished / "claims.json").unlink()
    old = finished("old", [5])
    rows = json.loads((old / "claims.json").read_text())
    del rows[0]["other_box_m"]
    (old / "claims.json").write_text(json.dumps(rows))
    for other, says in [
        (unfinished, "no finished run there"),
        (old, "claims of an older version"),
        (finished("same", [2, 3]), "seed 3 is also in another"),
        (finished("slow", [4], **{"optimizer.learning_rate": 0.5}), "optimizer.learning_rate"),
    ]:
        with pytest.raises(ConfigError, match=says):
            claims.merge([first, other], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(("flags", "trained"), [([], 16), (["1"], 1), (["3"], 3)])
def test_as_many_networks_are_trained_as_were_asked_for(flags, trained, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(claims, "run", lambda config, *_: asked.append(config.num_networks))
    told = [f"--config.num_networks={number}" for number in flags]
    claims.main(["--config=quick", f"--workdir={tmp_path}", *told])
    assert asked == [trained]
