"""One update and its maps over networks, updates and devices; schedules; frozen networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sicjax.devices.layout import make_layout
from sicjax.training.method import FAILURES, make_settings
from sicjax.training.optimizer import make_optimizer, make_schedule
from sicjax.training.step import Dispatch, make_init, make_loss, make_step


def population(config, count):
    states = jax.vmap(make_init(config))(jnp.arange(count, dtype=jnp.uint32))
    settings = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count,)), make_settings(config))
    return states, settings


def run(config, states, settings, steps, devices):
    layout = make_layout(len(settings.permute), devices=devices)
    rows, settings = layout.rows(states), layout.rows(settings)
    states, metrics = Dispatch(config, layout)(rows, settings, steps)
    return layout.to_host(states), layout.to_host(metrics)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_network_does_not_depend_on_its_neighbours_or_its_device(tiny_config):
    states, settings = population(tiny_config, 4)
    together = run(tiny_config, states, settings, 5, 2)
    pair = jax.tree.map(lambda leaf: leaf[2:], (states, settings))
    apart = run(tiny_config, *pair, 5, 1)
    alone = run(tiny_config, *jax.tree.map(lambda leaf: leaf[:1], pair), 5, 1)
    # The three programs may round differently: five float32 steps at a rate of 1e-3.
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(lambda a, b: close(a[2:], b), together, apart)
    jax.tree.map(lambda a, b: close(a[2:3], b), together, alone)


def test_dispatches_of_any_length_take_the_same_steps(tiny_config):
    states, settings = population(tiny_config, 1)
    six = run(tiny_config, states, settings, 6, 1)
    for _ in range(3):
        states, metrics = run(tiny_config, states, settings, 2, 1)
    assert_trees_equal(six, (states, metrics))


def test_vmap_equals_one_by_one(tiny_config):
    """The map of accelerators equals the one of CPUs."""
    states, settings = population(tiny_config, 3)
    batched = make_step(tiny_config, make_loss(tiny_config, branch=False))
    mapped = jax.jit(jax.vmap(batched))(states, settings)
    step = jax.jit(make_step(tiny_config))
    for k in range(3):
        alone = step(*jax.tree.map(lambda leaf, k=k: leaf[k], (states, settings)))
        # Batched float32 products round differently; Adam's first step divides by |gradient|.
        jax.tree.map(
            lambda a, b, k=k: np.testing.assert_allclose(a[k], b, rtol=1e-3, atol=1e-5),
            mapped,
            alone,
        )


def test_settings_are_traced(tiny_config):
    """Networks with different weights train in one program."""
    states, settings = population(tiny_config, 2)
    states = jax.tree.map(lambda leaf: leaf[:1].repeat(2, axis=0), states)
    settings = settings._replace(
        loss=settings.loss._replace(capacity=jnp.array([0.5, 3.0])),
        permute=jnp.array([True, False]),
    )
    _, metrics = run(tiny_config, states, settings, 1, 1)
    np.testing.assert_allclose(
        metrics["weighted_capacity"], [0.5, 3.0] * metrics["capacity"], rtol=1e-6
    )  # one product, rounded at 6e-8
    assert metrics["invariance"][0] != metrics["invariance"][1]


def test_step_is_traced_once(tiny_config):
    traces = []
    step = make_step(tiny_config)

    @jax.jit
    def counted(state, settings):
        traces.append(1)
        return step(state, settings)

    state, settings = make_init(tiny_config)(jnp.uint32(0)), make_settings(tiny_config)
    for _ in range(3):
        state, _ = counted(state, settings)
    assert len(traces) == 1
    assert state.step == 3


def test_accumulation_averages_batches(tiny_config):
    """The metrics are means over both batches; the norm is that of the mean gradient."""
    tiny_config.optimizer.accumulation = 2
    state, settings = make_init(tiny_config)(jnp.uint32(0)), make_settings(tiny_config)
    _, metrics = jax.jit(make_step(tiny_config))(state, settings)
    data_key = jax.random.split(jax.random.key(0))[1]  # a network's second key is for its data
    keys = jax.random.split(jax.random.fold_in(data_key, 0), 2)
    gradient = jax.jit(jax.value_and_grad(make_loss(tiny_config), has_aux=True))
    both = [gradient(state.parameters, key, settings) for key in keys]
    (first, _), (second, _) = (found for found, _ in both)
    assert abs(first - second) > 1e-4  # so that one of them alone would be seen
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *(slope for _, slope in both))
    # Sums of float32 in another order.
    assert metrics["loss"] == pytest.approx(float(first + second) / 2, rel=1e-5)
    assert metrics["gradient_norm"] == pytest.approx(float(optax.tree.norm(mean)), rel=1e-4)
    for name in ("separation", "num_near", "neural_speed"):
        wanted = float(np.mean([found[1][name] for found, _ in both]))
        assert metrics[name] == pytest.approx(wanted, rel=1e-5)


def test_the_update_is_that_of_adamw_after_clipping(tiny_config):
    """Against optax's own AdamW with the learning rate inside, over a whole cosine."""
    options = tiny_config.optimizer
    options.schedule, options.warmup_steps, options.clip = "cosine", 2, 1e-3
    tiny_config.num_steps = 5
    schedule, peak = make_schedule(tiny_config), options.learning_rate
    whole = optax.chain(
        optax.clip_by_global_norm(options.clip),
        optax.adamw(lambda step: peak * schedule(step), weight_decay=options.weight_decay),
    )
    state, settings = make_init(tiny_config)(jnp.uint32(0)), make_settings(tiny_config)
    parameters, its_state = state.parameters, whole.init(state.parameters)
    step = jax.jit(make_step(tiny_config))
    slope = jax.jit(jax.grad(make_loss(tiny_config), has_aux=True))
    data_key = jax.random.split(jax.random.key(0))[1]
    for number in range(5):
        (key,) = jax.random.split(jax.random.fold_in(data_key, number), 1)
        gradient = slope(state.parameters, key, settings)[0]
        assert optax.tree.norm(gradient) > 2 * options.clip  # so that the clip is seen
        updates, its_state = whole.update(gradient, its_state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        state, _ = step(state, settings)
    # Parameters near 1 have moved by up to 3e-3; Adam divides by gradients that differ by rounding.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
        state.parameters, parameters,
    )  # fmt: skip


def test_an_initial_state_that_is_not_trained_stays(tiny_config):
    tiny_config.model.train_initial_state = False
    tiny_config.optimizer.weight_decay = 0.0
    states, settings = population(tiny_config, 1)
    after, _ = run(tiny_config, states, settings, 3, 1)
    assert_trees_equal(after.parameters.initial_direction, states.parameters.initial_direction)
    kernel = after.parameters.hypernetwork["params"]["Dense_0"]["kernel"]
    assert (kernel != states.parameters.hypernetwork["params"]["Dense_0"]["kernel"]).any()


def test_training_lowers_the_loss(tiny_config):
    tiny_config.num_steps = 300
    tiny_config.optimizer.learning_rate = 3e-3
    states, settings = population(tiny_config, 1)
    states, first = run(tiny_config, states, settings, 1, 1)
    _, last = run(tiny_config, states, settings, 299, 1)
    assert last["separation"] < 0.6 * first["separation"]


@pytest.mark.parametrize(
    ("field", "value", "term"),
    [
        ("capacity", jnp.finfo(jnp.float32).max, "gradient"),
        ("learning_rate", jnp.inf, "weights"),
        ("learning_rate", jnp.nan, "weights"),
    ],
)
def test_a_non_finite_network_is_frozen_and_named(tiny_config, field, value, term):
    states, settings = population(tiny_config, 2)
    if field == "learning_rate":
        settings = settings._replace(learning_rate=jnp.array([1e-3, value]))
    else:
        settings = settings._replace(loss=settings.loss._replace(capacity=jnp.array([0.5, value])))
    after, _ = run(tiny_config, states, settings, 4, 1)
    assert after.failed_step.tolist() == [-1, 0]
    assert FAILURES[after.failed_term[1]] == term
    assert after.step.tolist() == [4, 4]
    frozen = jax.tree.map(lambda leaf: leaf[1], after.parameters)
    assert_trees_equal(frozen, jax.tree.map(lambda leaf: leaf[1], states.parameters))
    for new, old in zip(*map(jax.tree.leaves, (after.parameters, states.parameters)), strict=True):
        assert (new[0] != old[0]).any()


def test_schedules(tiny_config):
    options = tiny_config.optimizer
    options.warmup_steps, tiny_config.num_steps = 10, 110
    options.schedule = "cosine"
    schedule = make_schedule(tiny_config)
    rates = [float(schedule(step)) for step in (0, 4, 9, 10, 60, 110)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.0], abs=1e-6)
    options.schedule, options.warmup_steps = "constant", 0
    assert [float(make_schedule(tiny_config)(step)) for step in (0, 1000)] == [1.0, 1.0]


def test_plateau_cuts_the_rate(tiny_config):
    options = tiny_config.optimizer
    options.schedule, options.plateau_window, options.plateau_patience = "plateau", 2, 3
    optimizer = make_optimizer(tiny_config)
    parameters = {"w": jnp.ones(2)}
    state = optimizer.init(parameters)
    scales = []
    for _ in range(20):
        _, state = optimizer.update(parameters, state, parameters, value=1.0)
        scales.append(float(state[-1].scale))
    assert scales[0] == 1
    assert scales[-1] == pytest.approx(1e-3)  # ten averages, the first the best; cuts at 4, 7, 10


def test_population_lowers_for_tpu(tiny_config):
    """The update of accelerators lowers for a TPU, as far as this can be checked without one."""
    states, settings = population(tiny_config, 2)
    step = jax.jit(jax.vmap(make_step(tiny_config, make_loss(tiny_config, branch=False))))
    exported = jax.export.export(step, platforms=["tpu"])(states, settings)
    assert exported.platforms == ("tpu",)
