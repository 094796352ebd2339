"""Any input of the maths gives a right number, or a refusal in one line. With -m slow.

There are few shapes, because each is compiled for each type; the contents of arrays vary freely.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sicjax
from tests import reference
from tests.storm import strange_calls

pytestmark = pytest.mark.slow  # the fast version: test_wrong_calls, test_losses, test_model

SHAPES = [(2, 3, 4), (1, 1, 1), (3, 1, 2), (0, 3, 2), (2, 0, 2)]
FLOATS = [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64]
OTHERS = [jnp.int32, jnp.bool_]
# Other types in only one shape; single precision in all shapes.
KINDS = [(SHAPES[0], dtype) for dtype in FLOATS + OTHERS] + [(s, jnp.float32) for s in SHAPES[1:]]
ORDERS = ["jax", "numpy", "strided", "list"]


def laid_out(array, order):
    """Return the same numbers as a JAX, NumPy, strided or nested Python array."""
    if order == "list":
        return array.tolist()
    if order == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array if order == "numpy" else jnp.asarray(array)


def refusal(call):
    """Return the one-line message of a call that must be refused."""
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@st.composite
def states_and_places(draw):
    """States [B, T, N], a start [N], places [B, T, 2] 0.25 m apart, and how they are laid out."""
    shape, dtype = draw(st.sampled_from(KINDS))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    states, start = 0.6 * rng.standard_normal(shape), 0.6 * rng.standard_normal(shape[2])
    entry = draw(st.sampled_from([None, 0.0, math.nan, math.inf, -math.inf]))
    if entry is not None and states.size:
        states.flat[draw(st.integers(0, states.size - 1))] = entry
    with np.errstate(invalid="ignore"):  # NaN as an integer
        states, start = states.astype(dtype), start.astype(dtype)
    places = 0.25 * rng.integers(-1, 2, (*shape[:2], 2)).astype(np.float32)
    order = draw(st.sampled_from(ORDERS if shape == SHAPES[0] else ORDERS[:3]))
    return states, start, places, order


def losses(states, start, places, order):
    """Return each loss as (call, its slow reference); places also serve as steps.

    Lengths are 0, 0.25, 0.36 and more: on both sides of each limit, and never at it.
    """
    g, g0, x = (laid_out(array, order) for array in (states, start, places))
    scales = {"sigma_x": 0.3, "sigma_g": 0.4}
    steps = {"max_step": 0.3, "min_step": 0.1}
    return [
        (
            lambda: sicjax.separation_loss(g, x, **scales),
            lambda: reference.separation(states, places, **scales),
        ),
        (
            lambda: sicjax.invariance_loss(g, x, sigma_x=0.3),
            lambda: reference.invariance(states, places, 0.3),
        ),
        (lambda: sicjax.capacity_loss(g), lambda: reference.capacity(states)),
        (
            lambda: sicjax.conformal_isometry_loss(g, g0, x, **steps),
            lambda: reference.conformal_isometry(states, start, places, **steps),
        ),
    ]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(states_and_places())
def test_losses_are_right_or_refuse(drawn):
    states = drawn[0]
    with jax.enable_x64(states.dtype == np.float64), np.errstate(invalid="ignore"):
        for call, slow in losses(*drawn):
            if states.dtype in (np.int32, np.bool_):
                assert re.match(r"states is (int32|bool): must be floating point", refusal(call))
                continue
            value, expected = call(), slow()
            assert value.shape == ()
            assert value.dtype == (jnp.float64 if states.dtype == np.float64 else jnp.float32)
            if not math.isfinite(expected):
                assert not np.isfinite(value)
            elif np.isfinite(states.astype(float)).all():
                # Float32: 1e-5 of sums of squares of up to 10, see test_losses.py.
                np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)
            else:  # a state that isn't finite may spoil the mean of those that are
                assert np.isnan(value) or value == pytest.approx(expected, rel=1e-5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(states_and_places())
def test_norm_relu_is_right_or_refuses(drawn):
    x, *_, order = drawn
    with jax.enable_x64(x.dtype == np.float64), np.errstate(invalid="ignore"):
        if x.dtype == np.bool_:
            assert "x is bool" in refusal(lambda: sicjax.norm_relu(laid_out(x, order)))
            return
        unit = sicjax.norm_relu(laid_out(x, order))
        single = order == "list" or x.dtype == np.int32
        dtype = x.dtype if not single or x.dtype == np.float64 else np.dtype(np.float32)
    assert (unit.shape, unit.dtype) == (x.shape, dtype)
    positive = np.maximum(x.astype(float), 0)
    positive[~np.isfinite(positive).all(axis=-1)] = math.nan
    norm = np.linalg.norm(positive, axis=-1, keepdims=True)
    expected = positive / np.where(norm == 0, 1, norm)
    # Sums of a few squares, a root and two products: below sixteen roundings of eps / 2 each.
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(unit, float), expected, atol=8 * eps)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from([-1, 0, 1, 3, 2.5, None]),
    st.sampled_from([-2, 0, 1, 4]),
    st.sampled_from([-0.1, 0, 0.15, 1e30, math.nan, math.inf, "fast"]),
)
def test_a_batch_is_right_or_refused(B, T, fastest):
    def draw():
        return sicjax.sample_batch(
            jax.random.key(0), num_trajectories=B, trajectory_length=T, max_velocity=fastest
        )

    wrong = {
        "num_trajectories": B not in (0, 1, 3),
        "trajectory_length": T < 0,
        "max_velocity": fastest not in (0, 0.15, 1e30),
    }
    if any(wrong.values()):
        assert wrong[refusal(draw).partition("=")[0]]
        return
    batch = draw()
    assert batch.order.shape == (B, T)
    assert (np.sort(batch.order, axis=1) == np.arange(T)).all()
    assert (np.abs(batch.velocities) <= np.float32(fastest)).all()
    np.testing.assert_array_equal(batch.steps, np.asarray(batch.velocities)[batch.order])
    sums = np.cumsum(np.asarray(batch.steps, float), axis=1)
    np.testing.assert_allclose(batch.positions, sums, atol=1e-6 * fastest)  # float32, four steps


@pytest.mark.parametrize(
    "name", [name for name in strange_calls.sound() if name != "default_config"]
)
def test_a_strange_argument_gives_a_result_or_one_line(name):
    """A few of each; `python -m experiments.fault_storm --only=strange_calls` makes them all."""
    wrong = {
        call: said
        for call in strange_calls.sample(name, 8)
        if (said := strange_calls.problem(*call))
    }
    assert not wrong
