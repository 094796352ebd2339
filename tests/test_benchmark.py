"""The benchmark: one JSON object with what it promises, on a tiny network."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import benchmark
from sicjax.network import pair_losses
from tests import tiny

ROOT = Path(__file__).parent.parent


@pytest.mark.slow  # the fast version: test_fields_set_on_the_command_line_are_measured
def test_json_is_one_object_whose_ratios_are_those_of_its_times():
    command = [sys.executable, "-m", "experiments.benchmark", "--json", f"--config={tiny.PATH}"]
    done = subprocess.run(
        [*command, "--config.num_networks=1"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert result["naive_over_step"] == pytest.approx(result["naive_s"] / result["step_s"])
    assert result["step_over_gemm"] == pytest.approx(result["step_s"] / result["gemm_s"])
    assert 10 < result["peak_memory_mb"] < 4000
    sizes = ("num_trajectories", "trajectory_length", "num_units", "hidden_width", "num_networks")
    assert [result[name] for name in sizes] == [4, 6, 8, 4, 1]
    assert result["backend"] == "cpu"
    assert result["device"]


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


def test_populations_are_timed_by_the_step_and_by_the_network(tiny_config, monkeypatch):
    asked = []

    def compile_step(config, devices=1, steps=1):
        asked.append((config.num_networks, devices, steps))
        return lambda: time.sleep(0.001), 1.0

    monkeypatch.setattr(benchmark, "compile_step", compile_step)
    monkeypatch.setattr(benchmark, "NETWORKS", (1, 3))
    rows = benchmark.populations({"tiny": tiny_config})
    assert asked == [(1, 1, benchmark.AT_ONCE), (3, 1, benchmark.AT_ONCE)]
    assert [row["P"] for row in rows] == [1, 3]
    assert all(row["recipe"] == "tiny" for row in rows)
    assert rows[1]["a_network_s"] == rows[1]["step_s"] / 3 > 0


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
