"""Walks with a drift, noise on the matrices, and how independence is told."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import independence
from experiments.independence import NoisyTransition, drifting
from sicjax import load_pretrained
from sicjax.command import guarded
from sicjax.config import changed
from sicjax.config.files import load_config
from sicjax.training.method import make_hypernetwork


def test_a_drift_is_common_to_a_walk_and_no_step_is_too_long():
    draws = jax.vmap(drifting(500, 0.1, 0.5))(jax.random.split(jax.random.key(0), 40))
    assert draws.shape == (40, 500, 2)
    assert 0.09 < np.abs(draws).max() <= 0.1
    drifts = np.linalg.norm(np.asarray(draws).mean(axis=1), axis=-1)
    np.testing.assert_allclose(drifts, 0.05, atol=0.006)  # 0.05 / sqrt(3 * 500) is 0.0013
    directions = np.asarray(draws).mean(axis=1) / drifts[:, None]
    assert np.linalg.norm(directions.mean(axis=0)) < 0.4  # random from walk to walk


def test_without_a_drift_velocities_are_those_of_the_paper():
    draws = np.asarray(drifting(20_000, 0.15, 0.0)(jax.random.key(0)))
    assert abs(draws.mean()) < 0.002
    assert draws.std() == pytest.approx(0.15 / np.sqrt(3), rel=0.02)


def test_noise_belongs_to_a_velocity_and_has_the_size_that_was_asked_for():
    config = load_config("quick")
    inner = make_hypernetwork(config)
    velocities = jnp.array([[0.01, 0.02], [0.03, -0.02], [0.01, 0.02]])
    parameters = inner.init(jax.random.key(0), velocities[0])
    clean = inner.apply(parameters, velocities)
    assert (NoisyTransition(inner, 0.0).apply(parameters, velocities) == clean).all()
    added = NoisyTransition(inner, 0.1).apply(parameters, velocities) - clean
    assert (added[0] == added[2]).all()
    assert (added[0] != added[1]).mean() > 0.99
    state = np.full(64, 1 / 8)  # of norm 1
    lost = [float(np.linalg.norm(np.asarray(one) @ state)) for one in added[:2]]
    np.testing.assert_allclose(lost, 0.1, rtol=0.3)  # 64 draws each


def test_the_reach_of_a_batch_grows_with_the_drift():
    config = load_config("quick")
    short, far = (
        independence.reach(independence.make_method(config, share, 0.0), 8) for share in (0, 0.5)
    )
    assert 0.6 < short < 1.0  # steps of 0.058 m, 60 of them
    assert far == pytest.approx(60 * 0.05 * (1 - np.sqrt(0.05)), rel=0.1)  # along the drift


def test_modules_of_one_torus_reach_the_coarsest_period(monkeypatch):
    monkeypatch.setattr(independence, "SHUFFLES", 5)
    run = load_pretrained("quick")
    run = replace(run, config=changed(run.config, {"evaluation.verdict_box": 2.4}))
    row = independence.measure(run, reach_m=1.5)
    assert len(row["modules"]) == 2
    assert row["verdict"] == "nested"
    assert row["index"] == [3, 1]
    assert row["range_periods"] == pytest.approx(1, abs=0.1)
    assert row["independent_periods"] > 2
    row |= {"drift": 0.25, "noise": 0.0}
    lone = row | {"modules": row["modules"][:1]} | dict.fromkeys(("verdict", "range_periods"))
    text = independence.as_markdown([row, lone], ["- made"])
    assert "Of 2 networks 1 have two modules or more; in 1 of them" in text
    line = next(line for line in text.splitlines() if line.startswith("| 0.25"))
    assert "| 1.50; 1.7 | nested, 3 : 1 (0." in line


@pytest.mark.parametrize("flags", [["--drifts=1"], ["--noises=-1"], ["--drifts=few"]])
def test_shares_that_are_none_are_refused(flags, capsys, tmp_path):
    assert guarded(independence.main, [f"--workdir={tmp_path / 'new'}", *flags]) == 2
    assert "must be numbers from 0 to below 1" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
