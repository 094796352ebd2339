"""The network: norm_relu, the recurrence and its gradient."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sicjax
from sicjax.network.model import Hypernetwork, initial_direction
from sicjax.network.rollout import IN_TURN, rollout, rollout_permuted
from sicjax.network.trajectories import sample_batch
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")


@pytest.mark.parametrize("scale", [1e-17, 1e-6, 1.0, 1e6, 1e30])
def test_norm_relu_has_unit_norm_at_any_scale(scale):
    x = scale * jax.random.normal(jax.random.key(0), (50, 16))
    unit = sicjax.norm_relu(x)
    assert (unit >= 0).all()
    # The contract's 1e-6, above some ten roundings of 6e-8; the length is summed in float64, so
    # that the test adds none.
    length = np.linalg.norm(np.asarray(unit, np.float64), axis=-1)
    np.testing.assert_allclose(length, 1, atol=1e-6)


def test_norm_relu_of_no_positive_entry_is_zero_with_zero_gradient():
    for x in (jnp.zeros(4), -jnp.arange(4.0), jnp.full(4, 1e-30)):
        assert not sicjax.norm_relu(x).any()
        assert not jax.jacobian(sicjax.norm_relu)(x).any()


NO_FLOAT16 = pytest.mark.skipif(
    "xla_cpu_max_isa=SSE4_2" in os.environ["XLA_FLAGS"],
    reason="there XLA can't link its conversion to float16",
)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=NO_FLOAT16)])
def test_norm_relu_in_half_precision(dtype):
    """It equals the rounded result in single precision, down to the smallest numbers."""
    limits = jnp.finfo(dtype)
    x = jax.random.normal(jax.random.key(0), (50, 16))
    for scale in (1.0, 1e4, 1e-6):
        rounded = (scale * x).astype(dtype)
        unit = sicjax.norm_relu(rounded)
        assert unit.dtype == dtype
        # Rounded once; where float32's own rounding crosses the middle, to the other neighbour.
        np.testing.assert_allclose(
            unit.astype(jnp.float32),
            sicjax.norm_relu(rounded.astype(jnp.float32)),
            rtol=float(limits.eps),
            atol=float(limits.smallest_subnormal),
        )
        weighted, gradient = jax.value_and_grad(lambda x: jnp.vdot(sicjax.norm_relu(x), x[::-1]))(
            rounded
        )
        assert weighted.dtype == gradient.dtype == dtype
        assert jnp.isfinite(gradient).all()


def test_norm_relu_takes_integers_and_no_other_kinds():
    # Four roundings of 6e-8.
    np.testing.assert_allclose(sicjax.norm_relu(jnp.array([3, 4, -5])), [0.6, 0.8, 0], rtol=1e-6)
    for x in (jnp.ones(3, bool), jnp.ones(3, complex)):
        with pytest.raises(TypeError, match=f"^x is {x.dtype}: must be real numbers"):
            sicjax.norm_relu(x)


def test_norm_relu_of_what_is_not_finite_is_nan():
    """So it is visible; -infinity counts as negative."""
    x = jnp.array([[1, jnp.nan], [jnp.nan, jnp.nan], [1, jnp.inf], [3, -jnp.inf]])
    expected = [[jnp.nan] * 2, [jnp.nan] * 2, [jnp.nan] * 2, [1, 0]]
    np.testing.assert_allclose(sicjax.norm_relu(x), expected, rtol=1e-6)  # 1 / sqrt(9) is rounded


def test_norm_relu_of_nothing_is_nothing():
    for shape in ((0, 4), (3, 0)):
        assert sicjax.norm_relu(jnp.zeros(shape)).shape == shape


def test_norm_relu_gradient(x64):
    x = jax.random.normal(jax.random.key(1), (9,), jnp.float64)
    check_grads(sicjax.norm_relu, (x,), order=1, modes=["rev"], rtol=1e-6)


def make(num_units=6, trajectory_length=8, num_trajectories=5, dtype=jnp.float64):
    batch = sample_batch(
        jax.random.key(0), num_trajectories=num_trajectories, trajectory_length=trajectory_length
    )
    shape = (trajectory_length, num_units, num_units)
    transitions = jnp.eye(num_units)[None] + 0.5 * jax.random.normal(
        jax.random.key(1), shape, dtype
    )
    return transitions, batch.order, sicjax.norm_relu(jnp.arange(1.0, num_units + 1, dtype=dtype))


@pytest.mark.parametrize("num_units", [6, IN_TURN])
def test_rollout_permuted_equals_reference(x64, num_units):
    transitions, order, start = make(num_units)
    states = rollout_permuted(transitions, order, start)
    np.testing.assert_allclose(states, reference.rollout(transitions, order, start), rtol=1e-10)


def naive(transitions, order, start):
    """Run the recurrence with plain autodiff, one matrix per state."""

    def advance(state, index):
        state = sicjax.norm_relu(jnp.einsum("bij,bj->bi", transitions[index], state))
        return state, state

    first = jnp.broadcast_to(start, (order.shape[0], *start.shape))
    return jnp.moveaxis(jax.lax.scan(advance, first, order.T)[1], 0, 1)


@pytest.mark.parametrize(("num_units", "dead"), [(6, False), (6, True), (IN_TURN, False)])
def test_rollout_permuted_gradient_equals_autodiff(x64, num_units, dead):
    transitions, order, start = make(num_units)
    if dead:  # one velocity silences every unit; the others wake none of them up again
        transitions = transitions.at[3].set(-jnp.eye(num_units))
    weights = jax.random.normal(jax.random.key(2), (5, 8, num_units))

    def loss(run):
        return lambda W, g: jnp.sum(weights * run(W, order, g))

    ours = jax.grad(loss(rollout_permuted), (0, 1))(transitions, start)
    slow = jax.grad(loss(naive), (0, 1))(transitions, start)
    for a, b in zip(ours, slow, strict=True):
        assert jnp.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_rollout_equals_rollout_permuted():
    """The rollouts along any velocities and over shared velocities are the same recurrence."""
    network = Hypernetwork(6, 8, 3, "relu", 0.15, 0.5, True)
    parameters = network.init(jax.random.key(0), jnp.zeros(2))
    batch = sample_batch(jax.random.key(1), num_trajectories=4, trajectory_length=10)
    start = sicjax.norm_relu(jnp.arange(1.0, 7))

    def transition(velocities):
        return network.apply(parameters, velocities)

    along = rollout(transition, start, batch.steps)
    shared = rollout_permuted(transition(batch.velocities), batch.order, start)
    # Ten steps of some fifteen roundings of 6e-8: products of 6 entries, then their length.
    np.testing.assert_allclose(along, shared, atol=1e-5)
    norms = np.linalg.norm(np.asarray(along, np.float64), axis=-1)
    assert ((np.abs(norms - 1) < 1e-6) | (norms == 0)).all()  # the contract's 1e-6
    assert (along >= 0).all()


def test_start_is_near_the_identity():
    network = Hypernetwork(5, 16, 3, "relu", 0.15, 0.1, True)
    parameters = network.init(jax.random.key(0), jnp.zeros(2))
    velocities = jax.random.uniform(jax.random.key(1), (20, 2), minval=-0.15, maxval=0.15)
    transitions = network.apply(parameters, velocities)
    assert jnp.abs(transitions - jnp.eye(5)[None]).max() < 0.2
    assert (jnp.abs(transitions - jnp.eye(5)[None]) > 0).any()


def test_positive_start_has_no_silent_unit():
    assert (initial_direction(jax.random.key(0), 64, positive=True) > 0).all()
    assert (initial_direction(jax.random.key(0), 64, positive=False) < 0).any()


def test_vmap_over_networks_equals_one_by_one():
    made = [make(dtype=jnp.float32) for _ in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
    mapped = jax.vmap(rollout_permuted)(*stacked)
    # Eight steps of some fifteen roundings of 6e-8.
    np.testing.assert_allclose(mapped[1], rollout_permuted(*made[1]), atol=1e-5)
