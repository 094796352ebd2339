"""The losses against slow references, special cases, invariances, gradients and transforms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sicjax
from sicjax.config import default
from sicjax.network import pair_losses as tiles
from sicjax.network.losses import sic_loss
from sicjax.network.trajectories import sample_batch
from sicjax.training.step import make_init, make_loss, make_settings
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")

SCALES = {"sigma_x": 0.05, "sigma_g": 0.4}
# One program; operation by operation, each would be compiled for itself.
pair_losses = jax.jit(tiles.pair_losses, static_argnames=("reduction", "branch"))


def make(key=0, *, num_trajectories=5, trajectory_length=20, num_units=7, unit=False, dtype=None):
    """Random states [B, T, N], their batch and an initial state."""
    keys = jax.random.split(jax.random.key(key), 3)
    batch = sample_batch(
        keys[0], num_trajectories=num_trajectories, trajectory_length=trajectory_length
    )
    shape = (num_trajectories, trajectory_length, num_units)
    states = jax.random.normal(keys[1], shape, dtype) * 0.4
    start = jax.random.normal(keys[2], (num_units,), dtype) * 0.4
    if unit:
        states, start = sicjax.norm_relu(states), sicjax.norm_relu(start)
    return states, batch, start


# Off the tile; one state; one unit; enough states for several tiles.
SHAPES = [(5, 20, 7), (1, 1, 2), (3, 33, 1), (16, 25, 8)]


@pytest.mark.parametrize(
    ("shape", "reduction", "unit"),
    [(SHAPES[0], "sum", False), *((shape, "mean", True) for shape in SHAPES[1:])],
)
def test_equals_reference_in_double_precision(x64, shape, reduction, unit):
    B, T, N = shape
    states, batch, start = make(
        num_trajectories=B, trajectory_length=T, num_units=N, unit=unit, dtype=jnp.float64
    )
    positions = batch.positions.astype(jnp.float64)
    ours = [
        sicjax.separation_loss(states, positions, **SCALES, reduction=reduction),
        sicjax.invariance_loss(states, positions, sigma_x=0.05, reduction=reduction),
        sicjax.capacity_loss(states),
        sicjax.conformal_isometry_loss(states, start, batch.steps, max_step=0.05),
        sicjax.conformal_isometry_loss(states, start, batch.steps, max_step=0.12, min_step=0.03),
    ]
    slow = [
        reference.separation(states, positions, **SCALES, reduction=reduction),
        reference.invariance(states, positions, 0.05, reduction=reduction),
        reference.capacity(states),
        reference.conformal_isometry(states, start, batch.steps, 0.05),
        reference.conformal_isometry(states, start, batch.steps, 0.12, 0.03),
    ]
    # Sums of up to 8e4 terms in double precision.
    np.testing.assert_allclose(ours, slow, rtol=1e-10, atol=1e-12)
    # As training on a CPU takes them, with tiles that lie apart in a loop of their own.
    flat, scales = (states.reshape(-1, N), positions.reshape(-1, 2)), (0.05, 0.4, jnp.ones(2))
    terms = pair_losses(*flat, *scales, reduction, True)[1]
    np.testing.assert_allclose(terms[:2], slow[:2], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
def test_equals_reference_in_single_precision(shape):
    B, T, N = shape
    unit = N % 2 == 0
    states, batch, start = make(num_trajectories=B, trajectory_length=T, num_units=N, unit=unit)
    # |g - g'|^2 = |g|^2 + |g'|^2 - 2 g.g' has up to 8 roundings of 6e-8 of numbers below 4; divided
    # by 2 sigma_g^2 = 0.32 that is 6e-6 of each exponential, and of their mean.
    np.testing.assert_allclose(
        sicjax.separation_loss(states, batch.positions, **SCALES),
        reference.separation(states, batch.positions, **SCALES),
        rtol=1e-5,
    )
    scale = float(jnp.mean(jnp.sum(states**2, axis=-1)))
    np.testing.assert_allclose(
        sicjax.invariance_loss(states, batch.positions, sigma_x=0.05),
        reference.invariance(states, batch.positions, 0.05),
        rtol=0,
        atol=1e-5 * scale,
    )
    np.testing.assert_allclose(sicjax.capacity_loss(states), reference.capacity(states), rtol=1e-5)
    np.testing.assert_allclose(
        sicjax.conformal_isometry_loss(states, start, batch.steps, max_step=0.05),
        reference.conformal_isometry(states, start, batch.steps, 0.05),
        rtol=1e-5,  # means of 400 speeds, of some ten roundings of 6e-8 each
        atol=1e-9,
    )


HALF = [jnp.bfloat16, jnp.float16]


@pytest.mark.parametrize("dtype", HALF, ids=["bfloat16", "float16"])
def test_half_precision_is_summed_in_single(x64, dtype):
    """Of the same rounded states and positions, float64 gives the right numbers and slopes."""
    states, batch, start = make(num_trajectories=32, trajectory_length=60, num_units=8, unit=True)
    rounded = [a.astype(dtype) for a in (states, batch.positions, batch.steps, start)]

    def terms(states, positions, steps, start):
        values = jnp.stack([
            sicjax.separation_loss(states, positions, **SCALES),
            sicjax.invariance_loss(states, positions, sigma_x=0.05),
            sicjax.capacity_loss(states),
            sicjax.conformal_isometry_loss(states, start, steps, max_step=0.05, min_step=0.005),
        ])  # fmt: skip
        return values, values

    measure = jax.jit(jax.jacrev(terms, has_aux=True))
    gradients, values = measure(*rounded)
    exact_gradients, exact = measure(*(a.astype(jnp.float64) for a in rounded))
    assert (values.dtype, exact.dtype) == (jnp.float32, jnp.float64)
    assert (gradients.dtype, exact_gradients.dtype) == (dtype, jnp.float64)
    # As float32 states: 1e-5 of sums of up to 2e6 pairs, and of the mean |g|^2 = 1.
    np.testing.assert_allclose(values, exact, rtol=1e-5, atol=1e-5)
    # A slope is rounded once, to its own type, and is as near to zero as float16 goes.
    largest = jnp.abs(exact_gradients).max(axis=(1, 2, 3), keepdims=True)
    error = jnp.abs(gradients.astype(jnp.float64) - exact_gradients)
    assert (error <= float(jnp.finfo(dtype).eps) * largest + 6e-8).all()


@pytest.mark.parametrize("dtype", HALF, ids=["bfloat16", "float16"])
def test_sums_over_pairs_outgrow_half_precision(dtype):
    """780 far pairs of equal states sum to 780, whose neighbours are 776 and 784 in bfloat16."""
    states, positions = jnp.ones((1, 40, 3), dtype), jnp.arange(80.0).reshape(1, 40, 2)
    loss = sicjax.separation_loss(states, positions, sigma_x=0.05, sigma_g=1.0, reduction="sum")
    assert (loss, loss.dtype) == (780, jnp.float32)


def test_gradients_equal_finite_differences(x64):
    states, batch, start = make(num_trajectories=3, trajectory_length=12, dtype=jnp.float64)
    positions, steps = batch.positions.astype(jnp.float64), batch.steps.astype(jnp.float64)

    def separation(g, sigma_g):
        return sicjax.separation_loss(g, positions, sigma_x=0.05, sigma_g=sigma_g)

    def check(loss, arguments):
        check_grads(jax.jit(loss), arguments, order=1, modes=["rev"], atol=1e-7, rtol=1e-6)

    check(separation, (states, 0.4))
    # Many near pairs: half of this walk stands still.
    still = positions.at[:, 6:].set(positions[:, 6:7])
    check(lambda g: sicjax.invariance_loss(g, still, sigma_x=0.05), (states,))
    check(sicjax.capacity_loss, (states,))
    check(lambda g, s: sicjax.conformal_isometry_loss(g, s, steps, max_step=0.2), (states, start))


def test_second_derivatives(x64):
    """Reverse over reverse, as in a penalty on gradients, equals finite differences."""
    states, batch, _ = make(num_trajectories=3, trajectory_length=12, dtype=jnp.float64)
    positions = batch.positions.astype(jnp.float64)

    def loss(g):
        separation = sicjax.separation_loss(g, positions, **SCALES)
        return separation + sicjax.invariance_loss(g, positions, sigma_x=0.2)

    check_grads(jax.jit(jax.grad(loss)), (states,), order=1, modes=["rev"], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("branch", [True, False])
def test_gradient_equals_naive_autodiff(x64, reduction, branch):
    states, batch, _ = make(num_trajectories=16, trajectory_length=25, dtype=jnp.float64)
    flat, positions = states.reshape(-1, 7), batch.positions.reshape(-1, 2).astype(jnp.float64)
    weights = jnp.array([0.7, 1.3])

    def naive(g, sigma_g):
        square = jnp.sum((g[:, None] - g[None]) ** 2, axis=-1)
        distance = jnp.sqrt(jnp.sum((positions[:, None] - positions[None]) ** 2, axis=-1))
        upper = jnp.triu(jnp.ones_like(distance, dtype=bool), 1)
        far, near = upper & (distance > 0.05), upper & (distance < 0.05)
        separation = jnp.sum(jnp.exp(-square / (2 * sigma_g**2)), where=far)
        invariance = jnp.sum(square, where=near)
        if reduction == "mean":
            separation = separation / far.sum(dtype=float)
            invariance = invariance / near.sum(dtype=float)
        return weights[0] * separation + weights[1] * invariance

    def tiled(g, sigma_g):
        return pair_losses(g, positions, 0.05, sigma_g, weights, reduction, branch)[0]

    # A relative 1e-10 of the largest entry: sums of 400 terms in double precision.
    for ours, slow in zip(
        jax.tree.leaves(jax.jit(jax.value_and_grad(tiled, (0, 1)))(flat, 0.4)),
        jax.tree.leaves(jax.jit(jax.value_and_grad(naive, (0, 1)))(flat, 0.4)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, slow, rtol=1e-10, atol=1e-10 * float(jnp.abs(slow).max()))


def test_counts_and_ties():
    """On a lattice whose spacing is sigma_x, neighbours are ties: neither near nor far."""
    x = jnp.stack(jnp.meshgrid(jnp.arange(4.0), jnp.arange(4.0)), -1).reshape(1, 16, 2) / 4
    states = jax.random.normal(jax.random.key(0), (1, 16, 3))
    _, terms = pair_losses(states[0], x[0], 0.25, 0.4, jnp.ones(2), "mean", True)
    assert (int(terms.num_near), int(terms.num_far)) == (0, 16 * 15 // 2 - 24)
    assert sicjax.invariance_loss(states, x, sigma_x=0.25) == 0


def test_no_far_or_no_near_pair_gives_zero_and_zero_gradient():
    states, batch, _ = make()
    together = jnp.zeros_like(batch.positions)
    apart = batch.positions * 0 + 10 * jnp.arange(100.0).reshape(5, 20, 1)
    cases = [
        lambda g: sicjax.separation_loss(g, together, **SCALES),
        lambda g: sicjax.invariance_loss(g, apart, sigma_x=0.05),
    ]
    for loss in cases:
        value, gradient = jax.jit(jax.value_and_grad(loss))(states)
        assert value == 0
        assert not gradient.any()


def all_four(states, positions, start):
    """The four terms, the positions standing for the steps as well."""
    return jnp.stack([
        sicjax.separation_loss(states, positions, **SCALES),
        sicjax.invariance_loss(states, positions, sigma_x=0.05),
        sicjax.capacity_loss(states),
        sicjax.conformal_isometry_loss(states, start, positions, max_step=0.5),
    ])  # fmt: skip


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (0, 0, 3)])
def test_an_empty_batch_gives_zero_and_an_empty_gradient(shape):
    B, T, N = shape
    states, positions = jnp.zeros(shape), jnp.zeros((B, T, 2))
    values, back = jax.vjp(all_four, states, positions, jnp.ones(N))
    np.testing.assert_array_equal(values, np.zeros(4))
    gradients = back(jnp.ones(4))
    assert gradients[0].shape == shape
    np.testing.assert_array_equal(gradients[2], np.zeros(N))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_state_that_is_not_finite_shows_in_every_term(bad):
    """Of five trajectories of states, one holds one such entry; each term counts it."""
    states, batch, start = make()
    assert jnp.isfinite(all_four(states, batch.steps, start)).all()
    broken = all_four(states.at[2, 10, 3].set(bad), batch.steps, start)
    assert not jnp.isfinite(broken).any()


def test_a_state_that_does_not_count_may_be_anything():
    """Missing in its position, or at the end of a step too long to count."""
    states, batch, start = make()
    steps, places = batch.steps.at[:, -1].set(9.0), batch.positions.at[:, -1].set(jnp.nan)
    for bad in (jnp.nan, jnp.inf):
        broken = states.at[:, -1].set(bad)
        loss = partial(sicjax.conformal_isometry_loss, initial_state=start, max_step=0.05)
        assert loss(broken, steps=steps) == loss(states, steps=steps)
    kept = sicjax.separation_loss(states[:, :-1], batch.positions[:, :-1], **SCALES)
    # A mean over the same pairs; the rounding of float32 hangs on how they are tiled.
    np.testing.assert_allclose(sicjax.separation_loss(states, places, **SCALES), kept, rtol=1e-5)


def test_weights_that_are_not_finite_show_in_every_term_of_training(tiny_config):
    parameters = make_init(tiny_config)(jnp.uint32(0)).parameters
    nan = jax.tree.map(lambda leaf: leaf * jnp.nan, parameters.hypernetwork)
    loss = jax.jit(make_loss(tiny_config))
    settings = make_settings(tiny_config)
    settings = settings._replace(loss=settings.loss._replace(sigma_x=0.2))  # near pairs, all steps
    for start in (parameters.initial_direction, parameters.initial_direction * jnp.nan):
        broken = parameters._replace(hypernetwork=nan, initial_direction=start)
        _, metrics = loss(broken, jax.random.key(0), settings)
        for name in ("separation", "invariance", "capacity", "conformal_isometry"):
            assert jnp.isnan(metrics[name]), name


def test_coincident_states():
    states, batch, start = make()
    same = jnp.broadcast_to(start, states.shape)
    # |g - g|^2 is 7 roundings of 6e-8 of |g|^2 (near 1) away from 0; separation divides by 0.32.
    assert sicjax.separation_loss(same, batch.positions, **SCALES) == pytest.approx(1, abs=1e-5)
    assert sicjax.invariance_loss(same, batch.positions, sigma_x=0.05) == pytest.approx(0, abs=1e-5)
    gradient = jax.grad(sicjax.conformal_isometry_loss)(same, start, batch.steps, max_step=0.05)
    assert jnp.isfinite(gradient).all()


def test_missing_states_enter_no_pair(x64):
    states, batch, _ = make(dtype=jnp.float64)
    flat, positions = states.reshape(-1, 7), batch.positions.reshape(-1, 2).astype(jnp.float64)
    missing = jnp.arange(100) % 3 == 0
    masked = jnp.where(missing[:, None], jnp.nan, positions)
    loss = partial(pair_losses, sigma_x=0.05, sigma_g=0.4, weights=jnp.ones(2))
    value, terms = loss(flat, masked)
    kept_value, kept_terms = loss(flat[~missing], positions[~missing])
    np.testing.assert_allclose(value, kept_value, rtol=1e-12)
    np.testing.assert_allclose(terms, kept_terms, rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda g: loss(g, masked)[0]))(flat)
    assert not gradient[missing].any()
    assert jnp.isfinite(gradient).all()


def test_zero_gradient_in_positions_and_sigma_x():
    states, batch, _ = make()
    gradients = jax.grad(
        lambda x, s: sicjax.separation_loss(states, x, sigma_x=s, sigma_g=0.4), (0, 1)
    )(batch.positions, 0.05)
    assert not gradients[0].any()
    assert gradients[1] == 0


def test_unchanged_by_reordering_trajectories_and_units(x64):
    states, batch, start = make(num_trajectories=9, unit=True, dtype=jnp.float64)
    double = (leaf.astype(jnp.float64) for leaf in (batch.steps, batch.positions))
    batch = batch._replace(**dict(zip(("steps", "positions"), double, strict=True)))
    swap, turn = jnp.arange(9)[::-1], jnp.roll(jnp.arange(7), 3)

    settings = jax.tree.map(jnp.float64, make_settings(default()).loss)

    def total(g, b, g0):
        return sic_loss(g, g0, b, settings)[0]

    reordered = batch._replace(
        order=batch.order[swap], steps=batch.steps[swap], positions=batch.positions[swap]
    )
    expected = total(states, batch, start)
    np.testing.assert_allclose(total(states[swap], reordered, start), expected, rtol=1e-12)
    np.testing.assert_allclose(total(states[..., turn], batch, start[turn]), expected, rtol=1e-12)


def test_eager_jit_vmap_agree():
    # Few states, because eager mode runs each operation of each loop by itself.
    made = [make(key, num_trajectories=2, trajectory_length=3) for key in range(2)]
    states = jnp.stack([states for states, _, _ in made])
    positions = jnp.stack([batch.positions for _, batch, _ in made])
    steps = jnp.stack([batch.steps for _, batch, _ in made])
    start = made[0][2]
    losses = [
        lambda g, x, v: sicjax.separation_loss(g, x, **SCALES),
        lambda g, x, v: sicjax.invariance_loss(g, x, sigma_x=0.05),
        lambda g, x, v: sicjax.capacity_loss(g),
        lambda g, x, v: sicjax.conformal_isometry_loss(g, start, v, max_step=0.05),
    ]
    for loss in losses:
        mapped = jax.jit(jax.vmap(jax.value_and_grad(loss)))(states, positions, steps)
        jitted = jax.jit(jax.value_and_grad(loss))(states[1], positions[1], steps[1])
        with jax.disable_jit():
            eager = jax.value_and_grad(loss)(states[1], positions[1], steps[1])
        # Batched products may round differently: either way 6e-6 of each pair, as above.
        for other in (jax.tree.map(lambda leaf: leaf[1], mapped), eager):
            for a, b in zip(other, jitted, strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_no_square_array_of_states():
    """Memory is O(M): no array of the compiled loss and gradient holds M x M entries."""
    M = 4096
    states, positions = jnp.ones((M, 4)), jnp.zeros((M, 2))
    loss = jax.jit(
        jax.grad(lambda g: pair_losses(g, positions, 0.05, 0.4, jnp.ones(2), "mean", True)[0])
    )
    memory = loss.lower(states).compile().memory_analysis()
    assert memory.temp_size_in_bytes < M * M * 4 / 10


def test_integer_positions_and_steps_are_numbers_too():
    states, start = make(num_trajectories=1, trajectory_length=13, num_units=3)[::2]
    steps = jax.random.randint(jax.random.key(1), (1, 13, 2), -1, 2)
    places = jnp.cumsum(steps, axis=1)
    near = partial(sicjax.invariance_loss, states, sigma_x=2.0)
    assert near(places) == near(places.astype(float)) != 0
    moving = partial(sicjax.conformal_isometry_loss, states, start, max_step=2.0)
    assert moving(steps) == moving(steps.astype(float)) != 0


def test_checks_leave_the_losses_jitted_functions():
    """Traced scales have no value to check; what `jax.jit` adds to a function is still there."""
    states, batch, _ = make(num_trajectories=1, trajectory_length=13, num_units=3)
    scales = jnp.array([0.05, 0.4])

    def separation(scales):
        return sicjax.separation_loss(states, batch.positions, sigma_x=scales[0], sigma_g=scales[1])

    # Float32: three roundings of 6e-8 of |g - g'|^2, divided by 2 sigma_g^2 = 0.32.
    np.testing.assert_allclose(jax.vmap(separation)(scales[None])[0], separation(scales), rtol=1e-5)
    compiled = sicjax.separation_loss.lower(
        states, batch.positions, **SCALES, reduction="mean"
    ).compile()
    assert compiled(states, batch.positions, **SCALES) == separation(scales)
    again = jax.jit(sicjax.separation_loss, static_argnames="reduction")
    assert again(states, batch.positions, **SCALES) == separation(scales)
