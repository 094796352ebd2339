"""The benchmark prints one JSON object with all promised numbers, on a tiny network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import benchmark, populations, yardstick
from experiments.timing import Compiled
from sicjax.config.files import load_config
from sicjax.network import pair_losses
from tests import tiny

ROOT = Path(__file__).parent.parent

SMALL = ((16, 8, 16), (8, 8, 8))  # products to measure a rate with


@pytest.fixture
def small(monkeypatch):
    """Rates from tiny products, and few rounds and steps."""
    monkeypatch.setattr(yardstick, "SHAPES", SMALL)
    monkeypatch.setattr(yardstick, "CALL_S", 1e-3)
    monkeypatch.setattr(benchmark, "ROUNDS", 2)
    monkeypatch.setattr(populations, "AT_ONCE", 2)


@pytest.mark.slow  # the fast version: test_the_limit_is_the_arithmetic_at_the_best_rate
def test_json_is_one_object_whose_ratios_are_those_of_its_times(capsys, small):
    benchmark.main(["--json", f"--config={tiny.PATH}", "--config.num_networks=1"])
    result = json.loads(capsys.readouterr().out)
    assert result["naive_over_step"] == pytest.approx(result["naive_s"] / result["step_s"])
    assert result["step_over_gemm"] == pytest.approx(result["step_s"] / result["gemm_s"])
    assert 10 < result["peak_memory_mb"] < 4000
    sizes = ("num_trajectories", "trajectory_length", "num_units", "hidden_width", "num_networks")
    assert [result[name] for name in sizes] == [4, 6, 8, 4, 1]
    assert result["backend"] == "cpu"
    assert result["device"]
    assert result["arithmetic_gflop"] == pytest.approx(4 * 24**2 * 8 / 1e9)
    limit_s = result["arithmetic_gflop"] / result["limit_gflops"]
    assert result["step_over_limit"] == pytest.approx(result["step_s"] / limit_s)


def test_scaling_measures_a_process_of_its_own_on_as_many_devices(tiny_config, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    seen = []

    def run(command, env, **options):
        seen.append(env["JAX_NUM_CPU_DEVICES"])
        return original(command, env=env, **options)

    original = subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    tiny_config.parallel = "batch"
    measured = benchmark.in_own_process(tiny_config, cpu_devices=2)
    assert seen == ["2"]
    assert 0 < measured["step_s"] < measured["compile_s"]


def test_tiles_of_any_width_have_one_total_and_programs_of_their_own(tiny_config, monkeypatch):
    widths = []
    original = pair_losses._make_tiles

    def make(*arguments):
        tiles = original(*arguments)
        widths.append(tiles.states.shape[1])
        return tiles

    monkeypatch.setattr(pair_losses, "_make_tiles", make)
    totals = [benchmark.compile_pair_losses(tiny_config, width)() for width in (None, 4, 16)]
    assert widths[1:] == [4, 16]
    assert totals[0] > 0
    np.testing.assert_allclose(totals[1:], totals[0], rtol=1e-5)


def test_the_limit_is_the_arithmetic_at_the_best_rate(tiny_config):
    """Two products, 4 M^2 N FLOPs in each batch of each network."""
    tiny_config.num_networks, tiny_config.optimizer.accumulation = 3, 2
    found = benchmark.limit(tiny_config, seconds=0.5, rate=1e9)
    flops = 3 * 2 * 4 * 24**2 * 8
    assert found["arithmetic_gflop"] == pytest.approx(flops / 1e9)
    assert found["step_over_limit"] == pytest.approx(0.5 / (flops / 1e9))


def test_the_arithmetic_is_that_of_the_published_sizes():
    """31.2 GFLOP at paper scale, 0.94 in `quick.py`: the two products of the pair losses."""
    assert yardstick.pair_flops(benchmark.paper_scale()) == pytest.approx(31.15e9, rel=1e-3)
    assert yardstick.pair_flops(load_config("quick")) == pytest.approx(0.944e9, rel=1e-3)


def test_a_rate_is_below_what_any_processor_can_do():
    """The compiler drops none of the timed products."""
    assert 1e6 < yardstick.compile_rate((256, 256, 256))() < 2e13


@pytest.mark.slow  # compiles several steps
def test_units_are_measured_in_turn(tiny_config, small, monkeypatch):
    monkeypatch.setattr(benchmark, "UNITS", (4, 8))
    rows = benchmark.against_units(tiny_config)
    assert [row["N"] for row in rows] == [4, 8]
    assert rows[1]["arithmetic_gflop"] == 2 * rows[0]["arithmetic_gflop"]
    assert rows[1]["other_products_gflop"] == 4 * rows[0]["other_products_gflop"]
    assert rows[0]["limit_gflops"] == rows[1]["limit_gflops"]  # measured in the same run
    assert all(row["step_over_limit"] > 0 and row["step_over_gemm"] > 0 for row in rows)
    assert "| N | step_s |" in benchmark.as_table(rows)


@pytest.mark.slow  # compiles several steps
def test_populations_are_timed_beside_straightforward_steps(tiny_config, small, monkeypatch):
    monkeypatch.setattr(populations, "NETWORKS", (2,))
    rows = populations.populations({"tiny": tiny_config})
    names = ["ours", "straightforward", "shared_velocities"]
    assert [(row["P"], row["step"]) for row in rows] == [(2, name) for name in names]
    for row in rows:
        assert row["note"] == ""
        assert row["a_network_s"] == row["step_s"] / 2 > 0
        assert row["over_ours"] == row["step_s"] / rows[0]["step_s"]
        assert row["over_float32"] > 0
        assert row["program_mb"] > 0
    json.dumps(rows, allow_nan=False)
    assert "| ours |" in benchmark.as_table(rows)


def test_a_straightforward_step_that_needs_too_much_memory_is_left_out(
    tiny_config, small, monkeypatch
):
    quick = Compiled(lambda: None, 1.0, 1000)
    monkeypatch.setattr(populations, "NETWORKS", (1,))
    monkeypatch.setattr(populations, "device_limit", lambda _: 5e3)
    monkeypatch.setattr(populations, "compile_step", lambda *_, **__: quick)
    monkeypatch.setattr(yardstick, "compile_vmapped", lambda *_: (quick.run, None))
    monkeypatch.setattr(populations, "device_bytes", lambda _: 1000)
    ours, naive, shared = populations.populations({"tiny": tiny_config})
    assert ours["step_s"] > 0
    assert naive["step_s"] is naive["over_ours"] is naive["over_float32"] is None
    assert "GB" in naive["note"]
    assert shared["step_s"] > 0  # M x M alone fits
    assert "–" in benchmark.as_table([ours, naive, shared])


def test_on_an_h200_both_limits_are_those_of_the_data_sheet():
    assert yardstick.limits("NVIDIA H200", 1e12) == {"float32": 67e12, "tf32_x3": 165e12}
    assert yardstick.limits("some CPU", 1e12) == {"float32": 1e12}


def test_fields_on_the_command_line_change_both_recipes(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(benchmark, "populations", lambda recipes: asked.append(recipes) or [])
    benchmark.main(["--populations", "--json", "--config.model.num_units=48"])
    assert {name: config.model.num_units for name, config in asked[0].items()} == {
        "quick": 48, "paper batch": 48,
    }  # fmt: skip
    assert json.loads(capsys.readouterr().out) == []


def test_fields_set_on_the_command_line_are_measured(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(benchmark, "measure", lambda config: asked.append(config) or {})
    monkeypatch.setattr(benchmark, "in_own_process", lambda _: {"peak_memory_mb": 1.0})
    benchmark.main(["--config=quick", "--config.model.num_units=256", "--json"])
    benchmark.main(["--config.data.num_trajectories=7", "--json"])
    assert asked[0].model.num_units == 256
    assert (asked[1].data.num_trajectories, asked[1].data.trajectory_length) == (7, 60)
    assert capsys.readouterr().out.count('{"peak_memory_mb": 1.0}') == 2


def test_an_unreadable_config_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", "--config=nowhere.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nowhere.py" in done.stderr.splitlines()[-1]
    assert not done.stdout
