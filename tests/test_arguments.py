"""What the losses take: shapes, types and scales; the rest is refused in one line that names it."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from tests.test_losses import SCALES, make


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sicjax.separation_loss(jnp.ones((3, 4)), jnp.ones((3, 2)), **SCALES), "states"),
        (
            lambda: sicjax.invariance_loss(jnp.ones((1, 3, 4)), jnp.ones((1, 4, 2)), sigma_x=1.0),
            "positions",
        ),
        (
            lambda: sicjax.invariance_loss(
                jnp.ones((1, 3, 4)), jnp.ones((1, 3, 2)), sigma_x=1.0, reduction="median"
            ),
            "median",
        ),
        (
            lambda: sicjax.conformal_isometry_loss(
                jnp.ones((1, 3, 4)), jnp.ones(5), jnp.ones((1, 3, 2)), max_step=1.0
            ),
            "initial_state",
        ),
        (lambda: sicjax.capacity_loss(jnp.ones((3, 4))), r"states \(3, 4\): must be"),
    ],
)
def test_wrong_shapes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.complex64])
def test_states_that_are_not_floats_are_refused(dtype):
    states, places = jnp.ones((2, 3, 4), dtype), jnp.ones((2, 3, 2))
    calls = [
        lambda: sicjax.separation_loss(states, places, **SCALES),
        lambda: sicjax.invariance_loss(states, places, sigma_x=0.05),
        lambda: sicjax.capacity_loss(states),
        lambda: sicjax.conformal_isometry_loss(states, jnp.ones(4), places, max_step=0.05),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=rf"^states is {jnp.dtype(dtype)}: .*float32"):
            call()


def test_integer_positions_and_steps_are_numbers_too():
    states, start = make(num_trajectories=1, trajectory_length=13, num_units=3)[::2]
    steps = jax.random.randint(jax.random.key(1), (1, 13, 2), -1, 2)
    places = jnp.cumsum(steps, axis=1)
    near = partial(sicjax.invariance_loss, states, sigma_x=2.0)
    assert near(places) == near(places.astype(float)) != 0
    moving = partial(sicjax.conformal_isometry_loss, states, start, max_step=2.0)
    assert moving(steps) == moving(steps.astype(float)) != 0
    with pytest.raises(TypeError, match=r"^positions is bool: must be real numbers"):
        near(places > 0)


SEPARATION, INVARIANCE = sicjax.separation_loss, sicjax.invariance_loss


@pytest.mark.parametrize(
    ("loss", "lengths", "message"),
    [
        (SEPARATION, {"sigma_x": -0.05, "sigma_g": 0.4}, "sigma_x=-0.05: must be at least 0"),
        (SEPARATION, {"sigma_x": 0.05, "sigma_g": 0}, "sigma_g=0: must be positive and finite"),
        (SEPARATION, {"sigma_x": 0.05, "sigma_g": -0.4}, "sigma_g=-0.4: must be positive"),
        (SEPARATION, {"sigma_x": 0.05, "sigma_g": np.inf}, "sigma_g=inf: must be positive"),
        (SEPARATION, {"sigma_x": 0.05, "sigma_g": jnp.float32(-1)}, "sigma_g=Array(-1., dtype"),
        (SEPARATION, {"sigma_x": 0.05, "sigma_g": np.ones(3)}, "sigma_g=array([1., 1., 1.]): must"),
        (INVARIANCE, {"sigma_x": np.nan}, "sigma_x=nan: must be at least 0"),
        (INVARIANCE, {"sigma_x": "wide"}, "sigma_x='wide': must be at least 0"),
    ],
)
def test_scales_that_make_no_sense_are_refused(loss, lengths, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        loss(jnp.ones((1, 3, 4)), jnp.ones((1, 3, 2)), **lengths)


@pytest.mark.parametrize("name", ["max_step", "min_step"])
@pytest.mark.parametrize("value", [-0.05, np.nan])
def test_lengths_of_steps_that_make_no_sense_are_refused(name, value):
    lengths = {"max_step": 1.0, name: value}
    with pytest.raises(ValueError, match=f"^{name}={value}: must be at least 0$"):
        sicjax.conformal_isometry_loss(
            jnp.ones((1, 3, 4)), jnp.ones(4), jnp.ones((1, 3, 2)), **lengths
        )


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
