"""Sweeps: settings crossed with seeds, a row for each network, a table and a figure."""

import csv
import json

import jax
import numpy as np
import pytest

import sicjax
from experiments import ablations, claims, indices, phase_diagram, sweep
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
from sicjax.command import guarded
from sicjax.config.files import from_json
from sicjax.errors import ConfigError
from sicjax.training.metrics import read_metrics
from sicjax.training.population import of_variant

TINY = (
    "from tests import tiny\n"
    "def get_config():\n"
    "    c = tiny.get_config()\n"
    "    c.num_steps, c.seed = 4, 5\n"
    "    return c\n"
)
GRID = ["--x=loss.capacity:0.5,3", "--y=loss.sigma_g:0.3,0.4"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep of 2 x 2 settings and two seeds: its config file and workdir."""
    folder = tmp_path_factory.mktemp("sweep")
    path, workdir = folder / "tiny.py", folder / "run"
    path.write_text(TINY)
    arguments = [f"--config={path}", f"--workdir={workdir}", *GRID, "--show=separation"]
    assert guarded(sweep.main, arguments) == 0
    return path, workdir


def test_table_and_figure(swept):
    _, workdir = swept
    with (workdir / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["network"]) for row in rows] == list(range(8))
    assert [int(row["seed"]) for row in rows] == [5, 6] * 4
    assert [float(row["loss.sigma_g"]) for row in rows] == [0.3] * 4 + [0.4] * 4
    assert [float(row["loss.capacity"]) for row in rows] == [0.5, 0.5, 3, 3] * 2
    assert rows[2]["variant"] == "sigma_g=0.3 capacity=3.0"
    assert {row["step"] for row in rows} == {"4"}
    logged = [row for row in read_metrics(workdir / "metrics.jsonl") if row["step"] == 4]
    assert [float(row["separation"]) for row in rows] == [row["separation"] for row in logged]
    assert (workdir / "sweep.png").stat().st_size > 5000


def test_a_network_of_a_sweep_is_the_one_trained_alone(swept):
    """On a CPU they are equal bit for bit: variant 2, seed 6, beside any other networks."""
    _, workdir = swept
    swept_run = sicjax.load_run(workdir, network=5)
    assert (swept_run.variant, swept_run.seed) == ("sigma_g=0.4 capacity=0.5", 6)
    assert swept_run.config.loss.sigma_g == 0.4
    config = of_variant(swept_run.config, "default")
    config.seed, config.num_networks = 6, 1
    alone = sicjax.train(config)
    jax.tree.map(np.testing.assert_array_equal, alone.parameters, swept_run.parameters)


def test_a_finished_sweep_is_not_trained_again(swept, monkeypatch):
    path, workdir = swept
    monkeypatch.setattr(sweep, "train", None)
    before = (workdir / "sweep.csv").read_text()
    assert guarded(sweep.main, [f"--config={path}", f"--workdir={workdir}", *GRID]) == 0
    assert (workdir / "sweep.csv").read_text() == before
    config = from_json((workdir / "config.json").read_text())
    text = sweep.provenance("experiments.sweep", GRID, config, workdir)
    assert "8 networks, seeds 5 to 6, B 4, T 6, N 8, H 4, 4 updates;" in text
    assert text.endswith("with the reports (1 session(s)).")


def test_rows_carry_what_the_report_found(swept, tmp_path):
    """Modules at 0.7, 1.2 and 1.8 m, one module, and a network without a report."""
    _, workdir = swept
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((workdir / name).read_bytes())
    several = [(0.7, None), (1.2, 1.714), (1.8, 1.5)]
    for network, modules in enumerate([several, several[:1]]):
        folder = tmp_path / "report" / f"network_{network:03d}"
        folder.mkdir(parents=True)
        found = [{"period_m": period, "ratio": ratio} for period, ratio in modules]
        summary = {"step": 4, "failure": None, "modules": found, "kinds": {"grid": 9}}
        (folder / "summary.json").write_text(json.dumps(summary))
    three, one, none = sweep.collect(tmp_path)[:3]
    assert (three["num_modules"], three["periods_m"], three["kinds.grid"]) == (
        3, "0.700 1.200 1.800", 9,
    )  # fmt: skip
    assert three["period_ratio"] == pytest.approx(1.607)
    assert (one["num_modules"], one["period_ratio"]) == (1, None)
    assert "report_step" not in none


def test_a_sweep_counts_modules_without_reports(swept, tmp_path, monkeypatch):
    path, workdir = swept
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((workdir / name).read_bytes())
    (tmp_path / "report").mkdir()
    lines = [f"{network},a,5,4,8,7,{network % 3},0.5,,{network}," for network in range(8)]
    head = "network,variant,seed,step,active_units,grid_cells,modules,periods_m,failure"
    head += ",units_per_index.3,coarsest_period_m"
    (tmp_path / "report" / "scores.csv").write_text("\n".join([head, *lines]))
    shown = []
    drawn = sweep.draw
    monkeypatch.setattr(sweep, "draw", lambda *given: shown.append(given[1]) or drawn(*given))
    monkeypatch.setattr(sweep, "train", None)  # all is done
    arguments = [f"--config={path}", f"--workdir={tmp_path}", *GRID, "--config.report=scores"]
    assert guarded(sweep.main, arguments) == 0
    assert shown == ["num_modules"]
    rows = sweep.collect(tmp_path)
    assert [row["num_modules"] for row in rows] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [row["units_per_index.3"] for row in rows] == list(range(8))
    assert "coarsest_period_m" not in rows[0]


def with_indices(workdir, swept, counts):
    """Return a finished run whose networks have these numbers of units of index 1 and 3."""
    workdir.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (workdir / name).write_bytes((swept / name).read_bytes())
    for network, (ones, threes) in enumerate(counts):
        folder = workdir / "report" / f"network_{network:03d}"
        folder.mkdir(parents=True)
        per_index = {"1": ones, "3": threes, "4": 0, "7": 0, "9": 0, "12": 0}
        summary = {
            "step": 4, "failure": None, "modules": [], "units_per_index": per_index,
            "grid_cells_without_index": network, "coarsest_period_m": None,
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(summary))


def test_units_per_index_against_a_setting_over_several_runs(swept, tmp_path, capsys):
    """Two copies of one sweep over capacity, each with four networks per value."""
    for name, extra in (("one", 0), ("two", 10)):
        with_indices(tmp_path / name, swept[1], [(network + extra, 2) for network in range(8)])
    out = tmp_path / "law"
    arguments = [f"--runs={tmp_path / 'one'},{tmp_path / 'two'}", f"--workdir={out}"]
    assert guarded(indices.main, [*arguments, "--x=loss.capacity"]) == 0
    rows = json.loads((out / "indices.json").read_text())
    assert len(rows) == 16
    assert {row["run"] for row in rows} == {"one", "two"}
    low = [row for row in rows if row["loss.capacity"] == 0.5]
    assert [row["units_per_index.1"] for row in low] == [0, 1, 4, 5, 10, 11, 14, 15]
    assert {row["model.num_units"] for row in rows} == {8}
    text = (out / "indices.md").read_text()
    assert "| 0.5 | 8 | 7.5 | 2 | 0 | 0 | 0 | 0 | 2.5 |" in text
    assert text.strip() in capsys.readouterr().out
    assert (out / "indices.png").stat().st_size > 5000


def test_an_older_report_has_its_indices_measured_again(swept, tmp_path):
    """Its summary lacks them, its maps show lattices of index 1 and 3."""
    with_indices(tmp_path / "old", swept[1], [(0, 0)] * 8)
    maps = [
        lattice_map(hexagonal_basis(1.0 / np.sqrt(k), 30 * (k == 3)), box_m=3.0, bins=50)
        for k in (1, 1, 1, 3)
    ]
    report = tmp_path / "old" / "report" / "network_000"
    summary = {"step": 4, "failure": None, "modules": [], "verdict_box_m": 3.0}
    (report / "summary.json").write_text(json.dumps(summary))
    np.savez(report / "ratemaps_3m.npz", ratemaps=np.stack(maps))
    row = indices.collect(tmp_path / "old", "loss.sigma_g")[0]
    assert (row["units_per_index.1"], row["units_per_index.3"]) == (3, 1)
    assert row["coarsest_period_m"] == pytest.approx(1.0, rel=0.03)


def test_runs_without_indices_are_refused_in_one_line(swept, tmp_path, capsys):
    def said(*arguments):
        assert guarded(indices.main, [f"--workdir={tmp_path / 'law'}", *arguments]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "experiments.evaluate" in said(f"--runs={swept[1]}")  # trained without reports
    assert "nowhere" in said(f"--runs={tmp_path / 'nowhere'}")
    assert "--x=loss.capacty" in said(f"--runs={swept[1]}", "--x=loss.capacty")
    assert not (tmp_path / "law").exists()


def test_a_sweep_that_is_refused_says_why(tmp_path, capsys):
    path = tmp_path / "bad.py"
    path.write_text(TINY.replace("c.num_steps", "c.keep_checkpoints = -1; c.num_steps"))
    assert guarded(sweep.main, [f"--config={path}", f"--workdir={tmp_path / 'none'}"]) == 2
    assert "keep_checkpoints=-1" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_median_over_seeds():
    rows = [
        {"loss.capacity": 1.0, "modules": value} for value in (1, 2, 4, None)
    ] + [{"loss.capacity": 2.0, "modules": None}]  # fmt: skip
    found = sweep.median_over_seeds(rows, "modules", {"loss.capacity": [1.0, 2.0]})
    np.testing.assert_array_equal(found, [2, np.nan])


def test_a_sweep_varies_the_weight_of_a_term_of_ones_own(tmp_path, capsys):
    """One program for all weights; a weight of zero is the method without the term."""
    config, workdir = tmp_path / "tiny.py", tmp_path / "run"
    config.write_text(TINY)
    (tmp_path / "own.py").write_text(
        "import jax.numpy as jnp, sicjax\n"
        "def crowding(states, initial_state, batch):\n"
        "    return 0.5 * jnp.mean(jnp.sum(states, axis=-1))\n"
        "method = sicjax.Method(terms={'crowding': crowding})\n"
    )
    arguments = [f"--config={config}", f"--workdir={workdir}", "--config.num_networks=1"]
    own = [*arguments, "--x=loss.own_terms:0,2", f"--method={tmp_path / 'own.py'}"]
    assert guarded(sweep.main, own) == 0
    none, twice = csv.DictReader((workdir / "sweep.csv").read_text().splitlines())
    assert [float(row["loss.own_terms"]) for row in (none, twice)] == [0, 2]
    assert float(none["weighted_crowding"]) == 0
    assert float(twice["weighted_crowding"]) == pytest.approx(2 * float(twice["crowding"]))
    without = sicjax.train(of_variant(sicjax.load_run(workdir).config, "default"))
    assert float(none["crowding"]) != float(twice["crowding"])  # their updates differ
    for part in jax.tree.leaves(
        jax.tree.map(np.subtract, without.parameters, sicjax.load_run(workdir).parameters)
    ):
        np.testing.assert_allclose(part, 0, atol=1e-6)  # rounding: another program
    capsys.readouterr()
    assert guarded(sweep.main, [*arguments, "--x=loss.own_terms:0,2"]) == 2  # without the file
    assert "method.terms.crowding" in capsys.readouterr().err
    for text, message in [("method = 3", "sicjax.Method"), ("1 / 0", "zero"), ("", "method")]:
        (tmp_path / "own.py").write_text(text)
        assert guarded(sweep.main, own) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--x=loss.capasity:1,2"], "loss.capacity"),
        (["--x=loss.capacity:"], "--x"),
        (["--x=loss.capacity"], "--x"),
        (["--x=loss.capacity:1,much"], "much"),
        (["--x=loss.capacity:1,1.0"], "loss.capacity"),
        (["--x=model.num_units:8,16"], "model.num_units"),
        (["--x=loss.sigma_g:0.4", '--config.variants={"a": {}}'], "variants"),
        ([*GRID, "--show=beauty"], "--show=beauty"),
    ],
)
def test_bad_sweeps_are_refused_in_one_line(swept, capsys, arguments, message):
    path, workdir = swept
    given = [f"--config={path}", f"--workdir={workdir}", *arguments]
    assert guarded(sweep.main, given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [sweep, ablations, claims, phase_diagram])
def test_each_command_gives_its_own_usage(command, capsys):
    assert guarded(command.main, ["--config=configs/quick.py", "--nonsense=1"]) == 2
    error = capsys.readouterr().err
    assert f"--nonsense: no such flag; usage: python -m {command.__name__} " in error
    assert error.count("\n") == 1


def test_grid_needs_no_second_axis():
    assert sweep.grid({"data.permute": [True, False]}) == {
        "permute=True": {"data.permute": True},
        "permute=False": {"data.permute": False},
    }


def test_indices_of_recipes_come_from_periods():
    """Three cells of no module share the coarsest period; two of a longer one do not count."""
    periods = [1.2, 1.22, 1.19, 0.69, 0.7, 0.61, 0.4, 0.8, 2.0, 2.02]
    row = {"spacings_m": [[period, -1] for period in periods]}
    # 1, 3, 4, 7, 9, 12 and none: 0.8 and both of 2 m
    assert indices.of_periods(row).tolist() == [3, 2, 1, 0, 1, 0, 3]
    assert indices.of_periods({"spacings_m": []}).tolist() == [0] * 7
    assert indices.of_periods({"spacings_m": [[1.0, -1]]})[-1] == 1


def test_indices_of_recipes_are_drawn(tmp_path, monkeypatch, capsys):
    rows = [{"spacings_m": [[1.2, 0]] * n} for n in (10, 14)]
    (tmp_path / "claims_quick.json").write_text(json.dumps(rows))
    monkeypatch.setattr(indices, "RESULTS", tmp_path)
    figure = indices.draw_recipes(["quick"])
    assert [bar.get_height() for bar in figure.axes[0].patches] == [12, 0, 0, 0, 0, 0, 0]
    (legend,) = figure.axes[0].get_legend().get_texts()
    assert legend.get_text() == "quick.py: N 64, $\\lambda_{inv}$ 0.1, 2 networks"
    indices.main(["--claims=quick", f"--workdir={tmp_path / 'made'}"])
    assert (tmp_path / "made/indices_of_recipes.png").stat().st_size > 1000
    assert "indices_of_recipes.png" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"claims_pod\.json"):
        indices.main(["--claims=pod", f"--workdir={tmp_path}"])
    with pytest.raises(ConfigError, match="--x belongs to --runs"):
        indices.main(["--claims=quick", "--x=num_steps", f"--workdir={tmp_path}"])
