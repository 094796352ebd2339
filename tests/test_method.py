"""A user's own parts: loss terms, transitions and velocities, without changing the package."""

import dataclasses
import json
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from sicjax import plots
from sicjax.errors import ConfigError, NonFiniteError
from sicjax.network.losses import TERMS
from sicjax.training.fingerprint import fingerprint
from sicjax.training.method import LOGGED, draw_batch, make_settings
from sicjax.training.metrics import read_metrics
from sicjax.training.step import make_loss
from tests.tensorboard_events import read_events

pytestmark = pytest.mark.usefixtures("as_jax_is")  # parts are written by users


class Turning(nn.Module):
    """W(v) = I + v_x A + v_y B."""

    num_units: int

    @nn.compact
    def __call__(self, velocities):
        """[..., 2] -> [..., N, N]."""
        shape = (2, self.num_units, self.num_units)
        generators = self.param("generators", nn.initializers.normal(0.5), shape)
        turn = jnp.einsum("...k,kij->...ij", velocities, generators)
        return jnp.eye(self.num_units) + turn


def gaussian(key):
    return jnp.clip(0.06 * jax.random.normal(key, (6, 2)), -0.15, 0.15)


def crowding(states, initial_state, batch):
    return 0.5 * jnp.mean(jnp.sum(states, axis=-1)) + 0 * initial_state.sum() * batch.steps.sum()


# One method for several tests, because compiling another one takes seconds.
ALL = sicjax.Method(transition=Turning(8), velocities=gaussian, terms={"crowding": crowding})


@pytest.mark.slow  # the fast version: what the next test logs
def test_a_term_adds_to_the_loss_and_its_gradient(tiny_config, finished):
    settings, key = make_settings(tiny_config), jax.random.key(1)
    parameters = sicjax.load_run(finished).parameters
    method = sicjax.Method(terms={"crowding": crowding})
    found = [
        jax.jit(jax.value_and_grad(make_loss(tiny_config, *more), has_aux=True))(
            parameters, key, settings
        )
        for more in ((), (method,))
    ]
    ((plain, _), before), ((total, metrics), after) = found
    assert metrics["crowding"] > 0.5  # a unit vector's entries sum to at least its length
    # One sum in float32, at 6e-8 of the larger part.
    np.testing.assert_allclose(total, plain + metrics["crowding"], rtol=1e-5)
    assert metrics["loss"] == total
    assert not np.allclose(before.initial_direction, after.initial_direction)


def test_training_with_all_three_parts_resumes_and_is_evaluated(tiny_config, tmp_path):
    tiny_config.num_steps = 2
    sicjax.train(tiny_config, tmp_path, method=ALL)
    tiny_config.num_steps = 6
    resumed = sicjax.train(tiny_config, tmp_path, method=ALL)
    whole = sicjax.train(tiny_config, method=ALL)
    jax.tree.map(np.testing.assert_array_equal, resumed.parameters, whole.parameters)
    for row in read_metrics(tmp_path / "metrics.jsonl"):
        terms = [row[name] for name in row if name.startswith("weighted_")]
        assert "weighted_crowding" in row
        # Five numbers below 1, summed in float32.
        assert row["loss"] == pytest.approx(sum(terms), rel=1e-5, abs=1e-6)

    run = sicjax.load_run(tmp_path, method=ALL)
    velocities = 0.1 * np.ones((3, 2))
    generators = run.parameters.hypernetwork["params"]["generators"]
    state = run.initial_state
    for velocity in velocities:
        state = sicjax.norm_relu(state + jnp.einsum("k,kij,j->i", velocity, generators, state))
    # Three steps of some twenty roundings of 6e-8.
    np.testing.assert_allclose(run.rollout(velocities)[-1], state, atol=1e-5)
    maps = run.ratemaps(0.4)
    assert maps.ratemaps.shape == (8, 10, 10)
    assert np.isfinite(maps.ratemaps).all()


def test_velocities_are_permuted(tiny_config):
    method = sicjax.Method(velocities=gaussian)
    batch = draw_batch(tiny_config, jax.random.key(3), make_settings(tiny_config), method)
    assert batch.steps.shape == (4, 6, 2)
    np.testing.assert_array_equal(batch.steps, batch.velocities[batch.order])
    np.testing.assert_allclose(
        batch.positions[:, -1], batch.positions[:1, -1].repeat(4, 0), atol=2e-6
    )  # six roundings of 6e-8, twice, of positions below 1 m
    assert not np.array_equal(batch.order[0], batch.order[1])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (sicjax.Method(transition=Turning(7)), r"method.transition: gives shape \(6, 7, 7\)"),
        (sicjax.Method(velocities=lambda key: jnp.zeros((5, 2))), r"must be \(6, 2\)"),
        (sicjax.Method(terms={"wide": lambda s, g, b: s}), r"method.terms.wide: gives shape"),
        (sicjax.Method(terms={"capacity": crowding}), "capacity: this name is taken"),
    ],
)
def test_a_part_that_does_not_fit_is_named(tiny_config, tmp_path, method, message):
    with pytest.raises(ConfigError, match=message):
        sicjax.train(tiny_config, tmp_path / "run", method=method)
    assert not (tmp_path / "run").exists()


def test_a_workdir_belongs_to_one_method(tiny_config, tmp_path):
    sicjax.train(tiny_config, tmp_path, method=ALL)
    assert json.loads((tmp_path / "method.json").read_text())["terms.crowding"] == "crowding"
    with pytest.raises(ConfigError, match=r"method\.transition was Turning"):
        sicjax.train(tiny_config, tmp_path)
    with pytest.raises(ConfigError, match=r"method\.transition was Turning"):
        sicjax.load_run(tmp_path)
    assert sicjax.load_run(tmp_path, method=sicjax.Method(transition=Turning(8))).step == 6


def make_term(amount, *, edited=False):
    def term(states, initial_state, batch):
        return amount * jnp.mean(states)

    def other(states, initial_state, batch):
        mean = jnp.mean(states)  # the same in another source
        return amount * mean

    return other if edited else term


def test_a_fingerprint_is_of_source_and_constants():
    def plain(x, power=2):
        return x**power

    def constants(part):
        return fingerprint(part).constants

    assert fingerprint(make_term(1.0)) == fingerprint(make_term(1.0))
    assert constants(make_term(1.0)) != constants(make_term(2.0))
    assert constants(make_term(1.0)) == constants(make_term(1.0, edited=True))
    assert fingerprint(make_term(1.0)).source != fingerprint(make_term(1.0, edited=True)).source
    assert constants(make_term(np.ones(3))) != constants(make_term(np.ones(4)))
    assert constants(partial(plain, power=2)) != constants(partial(plain, power=3))
    assert constants(Turning(8)) == constants(Turning(8)) != constants(Turning(9))


def test_other_constants_are_another_experiment_other_source_is_named(
    tiny_config, tmp_path, capsys
):
    tiny_config.num_steps = 2
    sicjax.train(tiny_config, tmp_path, method=sicjax.Method(terms={"own": make_term(0.1)}))
    stronger = sicjax.Method(terms={"own": make_term(0.2)})
    with pytest.raises(ConfigError, match=r"constant of method\.terms\.own") as error:
        sicjax.train(tiny_config, tmp_path, method=stronger)
    assert "\n" not in str(error.value)

    commented = make_term(0.1, edited=True)  # the same constants, another source
    commented.__qualname__ = make_term(0.1).__qualname__
    capsys.readouterr()
    tiny_config.num_steps = 4
    again = sicjax.Method(terms={"own": commented})
    assert sicjax.train(tiny_config, tmp_path, method=again).step == 4
    assert capsys.readouterr().err.count("method.terms.own") == 1

    assert sicjax.load_run(tmp_path, method=stronger).step == 4
    assert "method.terms.own, which has been edited" in capsys.readouterr().err
    sicjax.load_run(tmp_path)
    assert "was trained with method.terms.own, which isn't given" in capsys.readouterr().err


def test_a_method_json_of_an_earlier_version_is_believed_by_its_names(
    tiny_config, tmp_path, capsys
):
    tiny_config.num_steps = 2
    method = sicjax.Method(terms={"own": make_term(0.1)})
    sicjax.train(tiny_config, tmp_path, method=method)
    path = tmp_path / "method.json"
    name = json.loads(path.read_text())["terms.own"]
    path.write_text(json.dumps({"terms.own": name, "source": {"terms.own": "0123456789abcdef"}}))
    capsys.readouterr()
    assert sicjax.load_run(tmp_path, method=method).step == 2
    tiny_config.num_steps = 4
    assert sicjax.train(tiny_config, tmp_path, method=method).step == 4
    assert "method.terms" not in capsys.readouterr().err


def test_a_term_of_ones_own_is_shown_like_the_built_in_ones(tiny_config, tmp_path, capsys):
    tiny_config.num_steps = 2
    sicjax.train(tiny_config, tmp_path, method=ALL)
    (line,) = (
        line for line in capsys.readouterr().err.splitlines() if line.startswith("update 2/2")
    )
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert f"crowding {rows[-1]['crowding']:.3g}" in line
    assert rows[-1]["weighted_crowding"] == rows[-1]["crowding"]
    tags = {tag for tag, _, _ in read_events(tmp_path)}
    assert {"network_000/crowding", "network_000/separation"} <= tags
    figure = plots.losses(rows, fig=plots.blank_figure())
    assert "crowding" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_transition_must_be_hashable(tiny_config):
    @dataclasses.dataclass
    class Listed:
        sizes: list

        def init(self, key, velocity):
            return {}

        def apply(self, parameters, velocities):
            return jnp.broadcast_to(jnp.eye(8), (*velocities.shape[:-1], 8, 8))

    with pytest.raises(ConfigError, match=r"method\.transition: must be hashable"):
        sicjax.train(tiny_config, method=sicjax.Method(transition=Listed([1])))


def test_a_term_that_goes_non_finite_stops_the_run_and_is_named(tiny_config):
    tiny_config.optimizer.accumulation = 2

    def broken(states, initial_state, batch):
        return jnp.sum(states) / 0.0

    with pytest.raises(NonFiniteError, match="broken is not finite at update 0"):
        sicjax.train(
            tiny_config, method=sicjax.Method(terms={"crowding": crowding, "broken": broken})
        )


def test_every_logged_name_is_known(finished):
    """A term can't have a name that the log already uses."""
    (row, *_) = read_metrics(finished / "metrics.jsonl")
    assert {name.removeprefix("weighted_") for name in row} == {*LOGGED, *TERMS}
