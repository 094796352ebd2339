"""A network is rolled out and mapped exactly as in the slow, obvious way."""

import base64
import dataclasses
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from sicjax import run as run_module
from sicjax.devices.compilation import small_programs
from sicjax.errors import ConfigError
from sicjax.network.model import Hypernetwork
from sicjax.network.rollout import factorise
from sicjax.network.trajectories import Walk, smooth_walks
from sicjax.run import Run, num_bins
from sicjax.training import rollouts
from sicjax.training.method import Method, make_hypernetwork
from sicjax.training.step import make_init

UNITS = 12


def make_run(config, *, activation="tanh", layers=3):
    config.model.num_units, config.model.hidden_width = UNITS, 32
    config.model.activation, config.model.num_layers = activation, layers
    config.model.last_layer_scale = 1.0
    return Run(config=config, parameters=make_init(config)(jnp.uint32(5)).parameters)


def velocities(*shape):
    return np.random.default_rng(0).uniform(-0.15, 0.15, (*shape, 2)).astype(np.float32)


def test_rollout_equals_the_slow_reference(tiny_config):
    run, steps = make_run(tiny_config), velocities(2, 3, 5)
    found = run.rollout(steps)
    assert found.shape == (2, 3, 5, UNITS)
    state = np.asarray(run.initial_state)
    for t in range(5):
        state = np.maximum(np.asarray(run.transition(steps[1, 2, t])) @ state, 0)
        state /= np.linalg.norm(state)
        # Five steps of some twenty roundings of 6e-8: products of 8 entries, then their length.
        np.testing.assert_allclose(found[1, 2, t], state, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "layers", "faster"),  # than any velocity of the training
    [("tanh", 3, 1), ("tanh", 3, 2), ("relu", 3, 1), ("tanh", 1, 1)],
)
def test_the_factorised_rollout_is_the_same(tiny_config, activation, layers, faster):
    run = make_run(tiny_config, activation=activation, layers=layers)
    steps = faster * velocities(20, 60)
    gap = run.rollout(steps, exact=False) - run.rollout(steps)
    assert jnp.abs(gap).max() < 60 * 1e-5  # TOLERANCE a step at most


def test_networks_of_one_shape_share_their_programs(tiny_config):
    """A second network rolls out with the program that was compiled for the first."""
    first = make_run(tiny_config)
    second = Run(config=tiny_config, parameters=make_init(tiny_config)(jnp.uint32(6)).parameters)
    assert jnp.abs(second.initial_state - first.initial_state).max() > 0.01
    for exact, program in ((True, rollouts._rollout), (False, run_module._rollout_factorised)):
        first.rollout(velocities(3, 17), exact=exact)
        before = program._cache_size()
        second.rollout(velocities(3, 17), exact=exact)
        assert program._cache_size() == before


def test_walks_of_any_number_and_length_run_in_pieces_of_common_shapes(tiny_config):
    run, steps = make_run(tiny_config), velocities(70, 83)
    states = run.rollout(steps, exact=False)
    np.testing.assert_allclose(states, run.rollout(steps), atol=1e-4)  # TOLERANCE, over 83 steps
    before = run_module._rollout_factorised._cache_size()
    few = run.rollout(steps[20:37, :50], exact=False)  # 17 walks: no fewer than a wide piece takes
    assert run_module._rollout_factorised._cache_size() == before
    # Other walks in the call don't matter. Products of other rows of a piece may round differently:
    # 50 steps of unit vectors at 6e-8.
    np.testing.assert_allclose(few, states[20:37, :50], atol=1e-5)


def test_an_accelerator_runs_more_walks_at_once(tiny_config, monkeypatch):
    """Walks run on the device that is the default outside of `small_programs`."""
    run, steps, shapes = make_run(tiny_config), velocities(70, 83), []
    usual = run.rollout(steps, exact=False)
    program = run_module._rollout_factorised

    def noted(network, parameters, factors, start, part):
        assert all(leaf.devices() == {last} for leaf in (*jax.tree.leaves(factors), start))
        shapes.append((len(start), *part.shape))
        return program(network, parameters, factors, start, part)

    monkeypatch.setattr(run_module, "_rollout_factorised", noted)
    monkeypatch.setattr(run_module, "WIDTHS", run_module.WIDE)
    light = dataclasses.replace(run, parameters=jax.tree.map(np.asarray, run.parameters))
    last = jax.local_devices()[-1]
    with jax.default_device(last), small_programs():
        wide = light.rollout(steps, exact=False)
        assert light.rollout(steps[:2]).devices() == {last}
        assert light.initial_state.devices() == {jax.local_devices()[0]}
    assert shapes == [(256, 256, 40, 2)] * 3
    np.testing.assert_allclose(wide, usual, atol=1e-5)


def test_walks_of_one_length_are_mapped_together(monkeypatch):
    rng = np.random.default_rng(0)
    sizes = [(5, 12), (3, 12), (4, 20), (2, 12)]
    walks = [Walk(rng.random((w, t, 2)), rng.random((w, t, 2))) for w, t in sizes]
    monkeypatch.setattr(run_module, "BATCH_STEPS", 36)
    monkeypatch.setattr(run_module, "WIDTHS", (1, 2))
    parts = list(run_module._together(walks))
    assert [steps.shape[:2] for steps, _ in parts] == [(6, 12), (2, 12), (2, 20), (2, 20), (2, 12)]
    for leaf in (0, 1):
        found = np.concatenate([part[leaf].reshape(-1, 2) for part in parts])
        np.testing.assert_array_equal(
            found, np.concatenate([w[leaf].reshape(-1, 2) for w in walks])
        )


def test_the_factors_of_the_trained_range_serve_all_walks_in_it(tiny_config, monkeypatch):
    """Steps are differences of float32 positions, and may be one rounding too long."""
    run, made = make_run(tiny_config), []

    def counted(*arguments, **options):
        made.append(1)
        return factorise(*arguments, **options)

    monkeypatch.setattr(run_module, "factorise", counted)
    steps = np.full((1, 8, 2), np.nextafter(np.float32(0.15), np.float32(1)))
    gap = run.rollout(steps, exact=False) - run.rollout(steps)
    for _ in range(2):
        run.rollout(steps, exact=False)
    assert len(made) == 1
    assert jnp.abs(gap).max() < 8 * 1e-5  # TOLERANCE a step at most
    run.rollout(1.01 * steps, exact=False)
    assert len(made) == 2


def test_smooth_features_need_few_matrices(tiny_config):
    run = make_run(tiny_config)
    hypernetwork, parameters = make_hypernetwork(run.config), run.parameters.hypernetwork
    assert isinstance(hypernetwork, Hypernetwork)
    grid = velocities(500)
    exact = np.asarray(run.transition(grid))
    ranks = []
    for tolerance in (1e-1, 1e-3, 1e-5):
        factors = factorise(hypernetwork, parameters, grid, tolerance=tolerance)
        hidden = hypernetwork.apply(parameters, grid, hidden_only=True)
        amounts = np.concatenate([hidden, np.ones((500, 1))], axis=1) @ factors.projection
        matrices = np.asarray(factors.matrices).reshape(UNITS, -1, UNITS).transpose(1, 2, 0)
        rebuilt = np.tensordot(amounts, matrices, 1)
        assert np.linalg.norm(rebuilt - exact) < 1.1 * tolerance * np.linalg.norm(exact)
        ranks.append(len(matrices))
    assert ranks[0] < ranks[2] < 33  # H + 1


@pytest.mark.usefixtures("as_jax_is")
def test_a_transition_of_ones_own_is_run_as_it_is(tiny_config):
    class Turn:
        def init(self, key, velocity):
            return {}

        def apply(self, parameters, velocities):
            return jnp.eye(UNITS) + velocities[..., :1, None] * jnp.ones((UNITS, UNITS))

    run = make_run(tiny_config)
    own = Run(run.config, run.parameters, method=Method(transition=Turn()))
    steps = velocities(3, 20)
    np.testing.assert_array_equal(own.rollout(steps, exact=False), own.rollout(steps))


def test_maps_are_means_over_visits_without_the_first_steps(tiny_config):
    run = make_run(tiny_config)
    walk = smooth_walks(jax.random.key(1), num_walks=6, num_steps=40, box_m=1.0)
    halves = [jax.tree.map(lambda leaf, k=k: leaf[k::2], walk) for k in (0, 1)]
    found = run.map_walks(halves, 0.8)
    states = np.asarray(run.rollout(walk.steps))[:, 10:]
    places = np.asarray(walk.positions, np.float64)[:, 10:]
    bins = num_bins(0.8)
    assert found.ratemaps.shape == (UNITS, bins, bins)
    inside = states[(np.abs(places) < 0.4).all(axis=-1)]
    between = np.zeros(UNITS)
    for iy, ix in np.ndindex(bins, bins):
        low = np.array([ix, iy]) * 0.04 - 0.4
        here = states[((places >= low) & (places < low + 0.04)).all(axis=-1)]
        assert found.occupancy[iy, ix] == len(here)
        if len(here):
            np.testing.assert_allclose(found.ratemaps[:, iy, ix], here.mean(axis=0), atol=4e-4)
            between += len(here) * (here.mean(axis=0) - inside.mean(axis=0)) ** 2
        else:
            assert np.isnan(found.ratemaps[:, iy, ix]).all()
    assert 0 < found.occupancy.sum() < 180  # steps outside the 0.8 m are left out
    share = between / np.where(inside.any(axis=0), inside.var(axis=0) * len(inside), np.nan)
    np.testing.assert_allclose(found.variance_explained, share, rtol=1e-3)  # NaN: a silent unit


def test_every_bin_is_visited_and_speeds_differ(tiny_config):
    run = make_run(tiny_config)
    usual = run.ratemaps(0.8)
    assert usual.occupancy.min() >= 20
    slow = run.ratemaps(0.8, mean_speed=0.02)
    assert slow.occupancy.min() >= 20
    assert not np.allclose(slow.ratemaps, usual.ratemaps)


def test_a_walk_too_short_for_its_box_is_refused(tiny_config):
    with pytest.raises(ValueError, match="walk_steps"):
        make_run(tiny_config).ratemaps(box_m=8.0, walk_steps=12)


def test_a_run_says_what_it_is(tiny_config):
    run = make_run(tiny_config)
    own = dataclasses.replace(run, network=0, step=7, variant="<b>", failure=None)
    assert repr(own).splitlines() == [
        f"Run: network 0, seed {own.seed}, 7 updates, variant '<b>'",
        f"  N {own.config.model.num_units}, H {own.config.model.hidden_width}",
    ]
    page = own._repr_html_()
    assert "&lt;b&gt;" in page
    png = base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])
    assert png.startswith(b"\x89PNG")
    assert 2_000 < len(png) < 100_000
    failed = dataclasses.replace(own, failure="network 0: gradient is not finite at update 3")
    assert repr(failed).splitlines()[-1] == "  network 0: gradient is not finite at update 3"
    assert "<img" not in failed._repr_html_()


@pytest.mark.parametrize("context", [lambda: jax.enable_x64(True), jax.disable_jit])
def test_networks_are_loaded_and_run_in_double_precision_and_uncompiled(finished, context):
    usual = sicjax.load_run(finished)
    walk = np.full((3, 2), 0.1)
    single = usual.rollout(walk)
    with context():
        found = sicjax.load_run(finished)
        states = found.rollout(walk)
        # Two ways to write W, to 1e-5 of it at every step.
        np.testing.assert_allclose(found.rollout(walk[None], exact=False)[0], states, atol=1e-4)
        # The second in single precision: three steps of some twelve roundings of 6e-8.
        np.testing.assert_allclose(states, single, atol=1e-5)
        if jax.config.jax_disable_jit:
            with pytest.raises(ConfigError, match=r"^jax_disable_jit"):
                sicjax.train(usual.config)


def test_rollout_under_transformations(tiny_config):
    """jit, vmap and grad work for velocities, and for parameters by the public function."""
    run, steps = make_run(tiny_config), velocities(3, 4)
    eager = run.rollout(steps)
    np.testing.assert_allclose(jax.jit(run.rollout)(steps), eager, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(run.rollout)(steps), eager, atol=1e-6)
    fast = jax.jit(lambda v: run.rollout(v, exact=False))(steps)
    np.testing.assert_allclose(fast, eager, atol=1e-6)
    with pytest.raises(ValueError, match="velocities"):
        jax.jit(run.rollout)(steps[0, 0])

    pick = np.random.default_rng(1).normal(size=eager.shape)

    def score(parameters, velocities):
        return jnp.sum(pick * sicjax.rollout(parameters, velocities, run.config))

    np.testing.assert_allclose(score(run.parameters, steps), jnp.sum(pick * eager), rtol=1e-5)
    gradients = jax.grad(score, argnums=(0, 1))(run.parameters, steps)
    by_run = jax.grad(lambda v: jnp.sum(pick * run.rollout(v)))(steps)
    np.testing.assert_allclose(gradients[1], by_run, rtol=1e-4, atol=1e-5)
    # Along the gradient the score rises by its squared length, to first order.
    square = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(gradients))
    scale = 1e-2 / jnp.sqrt(square)

    def moved(sign):
        there = jax.tree.map(lambda x, g: x + sign * scale * g, (run.parameters, steps), gradients)
        return score(*there)

    slope = (moved(1) - moved(-1)) / (2 * scale)
    np.testing.assert_allclose(slope, square, rtol=0.02)  # third order, and float32


FORK = """
import multiprocessing, warnings
import numpy as np
import sicjax

warnings.simplefilter("ignore")
run = sicjax.load_pretrained("quick")

def job(_):
    try:
        run.rollout(np.zeros((2, 2)))
    except RuntimeError as error:
        return str(error)

run.rollout(np.zeros((2, 2)))
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(job, (1,)).get(timeout=60))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_forked_worker_refuses_in_one_line():
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "spawn" in done.stdout
    assert done.stdout.count("\n") == 1
