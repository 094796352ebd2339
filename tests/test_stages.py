"""Trainings in stages, and trainings from other networks: changes between stages, exact resumes."""

import json

import jax
import numpy as np
import pytest

import sicjax
from sicjax.config import validate
from sicjax.errors import ConfigError
from sicjax.runs import train
from sicjax.training.metrics import read_metrics
from sicjax.training.population import Population, stages
from sicjax.training.workdir import settled


@pytest.fixture
def staged(tiny_config):
    """Four updates at T 6, then three at T 9 with other weights and another rate."""
    tiny_config.num_steps, tiny_config.log_every = 7, 1
    tiny_config.optimizer.schedule = "cosine"
    tiny_config.stages = {
        "near": {"num_steps": 4},
        "far": {
            "num_steps": 3, "data.trajectory_length": 9, "data.num_trajectories": 3,
            "loss.capacity": 2.0, "optimizer.learning_rate": 2e-3,
        },
    }  # fmt: skip
    return tiny_config


def column(workdir, name):
    return [row[name] for row in read_metrics(workdir / "metrics.jsonl")]


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def rows_without_timing(workdir):
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{key: row[key] for key in row if key != "timing"} for row in rows]


def test_each_stage_has_its_batches_weights_and_schedule(staged, tmp_path, capsys):
    run = train(staged, tmp_path)
    said = capsys.readouterr()
    assert "in 2 stages" in said.out
    assert "far: updates 4 to 7, 1 batch(es) of 3 x 9 states" in said.out
    assert "stage far: updates 4 to 7" in said.err
    assert column(tmp_path, "step") == [1, 2, 3, 4, 5, 6, 7]
    pairs = [24 * 23 / 2] * 4 + [27 * 26 / 2] * 3
    counted = np.add(column(tmp_path, "num_near"), column(tmp_path, "num_far"))
    np.testing.assert_array_equal(counted, pairs)
    weights = np.divide(column(tmp_path, "weighted_capacity"), column(tmp_path, "capacity"))
    np.testing.assert_allclose(weights, [0.5] * 4 + [2.0] * 3, rtol=1e-6)  # two roundings of 6e-8
    cosine = [(1 + np.cos(np.pi * k / n)) / 2 for n in (4, 3) for k in range(n)]
    rates = np.array(cosine) * ([1e-3] * 4 + [2e-3] * 3)
    np.testing.assert_allclose(column(tmp_path, "learning_rate"), rates, rtol=1e-5)
    assert run.config.data.trajectory_length == 9
    assert run.config.num_steps == 7
    assert not run.config.stages


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_run_stopped_in_any_stage_goes_on_exactly(staged, tmp_path, stop):
    whole = train(staged, tmp_path / "whole")
    staged.num_steps = stop
    train(staged, tmp_path / "parts")
    staged.num_steps = 7
    resumed = train(staged, tmp_path / "parts")
    assert_trees_equal(resumed.parameters, whole.parameters)
    assert rows_without_timing(tmp_path / "parts") == rows_without_timing(tmp_path / "whole")


def test_only_stages_that_have_not_begun_may_change(staged, tmp_path):
    staged.num_steps = 5
    train(staged, tmp_path)
    staged.num_steps = 7
    staged.stages["near"]["num_steps"] = 3
    with pytest.raises(ConfigError, match="its stages up to update 5 were"):
        train(staged, tmp_path)
    staged.stages["near"]["num_steps"] = 4
    staged.stages["further"] = {"num_steps": 2, "data.trajectory_length": 12}
    staged.num_steps = 9
    train(staged, tmp_path)
    assert column(tmp_path, "num_near")[-1] + column(tmp_path, "num_far")[-1] == 48 * 47 / 2


def test_the_values_of_a_variant_hold_in_every_stage(staged):
    staged.variants = {"whole": {}, "no capacity": {"loss.capacity": 0.0}}
    population = Population(staged)
    weights = [population.settings(stage).loss.capacity.tolist() for stage in stages(staged)]
    assert weights == [[0.5, 0.0], [2.0, 0.0]]
    assert population.config_of(1, step=7).loss.capacity == 0.0
    assert population.config_of(0, step=4).data.trajectory_length == 6
    assert population.config_of(0, step=5).data.trajectory_length == 9


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "'num_steps'"),
        ({"num_steps": 0}, "'num_steps'"),
        ({"num_steps": 2.0}, "'num_steps'"),
        ({"num_steps": 2, "model.num_units": 9}, "model.num_units"),
        ({"num_steps": 2, "data.max_velocity": 0.2}, "max_velocity"),
        ({"num_steps": 2, "loss.capasity": 1.0}, "loss.capacity"),
        ({"num_steps": 2, "loss.sigma_x": -1.0}, "loss.sigma_x"),
        (3, "far"),
    ],
)
def test_what_a_stage_cannot_change(staged, table, message):
    staged.stages["far"] = table
    with pytest.raises(ConfigError, match=message) as error:
        validate(staged)
    assert "\n" not in str(error.value)


def test_a_longer_run_keeps_its_cosine_and_says_that_the_rate_is_zero(
    tiny_config, tmp_path, capsys
):
    tiny_config.optimizer.schedule, tiny_config.log_every = "cosine", 1
    ended = train(tiny_config, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["optimizer"]["decay_steps"] == 6
    tiny_config.num_steps = 9
    capsys.readouterr()
    longer = train(tiny_config, tmp_path)
    assert "the learning rate is zero from update 6 on" in capsys.readouterr().out
    rates = column(tmp_path, "learning_rate")
    wanted = 1e-3 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2
    np.testing.assert_allclose(rates[:6], wanted, rtol=1e-5)  # 1 + cos in float32: 1e-7 of 0.13
    assert rates[6:] == [0, 0, 0]
    assert_trees_equal(longer.parameters, ended.parameters)


def test_cosine_resumes_exactly(tiny_config, tmp_path):
    """A run that is stopped half-way makes the updates that it would have made."""
    tiny_config.optimizer.schedule, tiny_config.optimizer.warmup_steps = "cosine", 2
    whole = train(tiny_config, tmp_path / "whole")
    half = settled(tiny_config)
    half.num_steps = 4
    train(half, tmp_path / "parts")
    resumed = train(tiny_config, tmp_path / "parts")
    assert_trees_equal(resumed.parameters, whole.parameters)


def test_a_run_starts_from_another(tiny_config, tmp_path):
    tiny_config.num_networks = 2
    train(tiny_config, tmp_path / "first")
    sources = sicjax.load_runs(tmp_path / "first")
    tiny_config.start_from, tiny_config.seed = str(tmp_path / "first"), 7
    tiny_config.optimizer.learning_rate = 1e-30  # so small that float32 weights stay
    train(tiny_config, tmp_path / "second")
    runs = sicjax.load_runs(tmp_path / "second")
    for source, run in zip(sources, runs, strict=True):
        assert_trees_equal(run.parameters, source.parameters)
    assert [run.seed for run in runs] == [7, 8]
    assert runs[0].step == 6


@pytest.mark.slow
def test_one_network_that_comes_with_the_package_starts_all(tmp_path):
    config = sicjax.load_config("quick")
    config.start_from, config.num_networks, config.report = "quick", 2, False
    config.num_steps, config.evaluation.snapshot_every = 1, 0
    config.data.num_trajectories = config.data.trajectory_length = 3
    config.optimizer.learning_rate = 1e-30
    train(config, tmp_path)
    wanted = sicjax.load_pretrained("quick").parameters
    for run in sicjax.load_runs(tmp_path):
        assert_trees_equal(run.parameters, wanted)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.num_units", 9, "model.num_units=9"),
        ("data.max_velocity", 0.2, "data.max_velocity=0.2"),
        ("num_networks", 3, "start_from="),
        ("start_from", "nowhere", "start_from=nowhere"),
    ],
)
def test_a_start_that_does_not_fit_is_named(tiny_config, tmp_path, field, value, message):
    tiny_config.num_networks, tiny_config.num_steps = 2, 1
    train(tiny_config, tmp_path / "first")
    tiny_config.start_from = str(tmp_path / "first")
    section, _, leaf = field.rpartition(".")
    (tiny_config[section] if section else tiny_config)[leaf] = value
    with pytest.raises(ConfigError, match=message):
        train(tiny_config, tmp_path / "second")
    assert not (tmp_path / "second" / "config.json").exists()
