"""The fast update against the straightforward one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.naive import make_naive_loss, naive_pair_losses
from sicjax.training.method import make_settings
from sicjax.training.step import make_init, make_loss, make_step
from tests import reference


@pytest.mark.parametrize("chunk", [None, 600, 5])
def test_the_naive_losses_equal_the_reference(x64, chunk):
    keys = jax.random.split(jax.random.key(0))
    states = jax.random.normal(keys[0], (3, 9, 5), jnp.float64)
    positions = 0.1 * jax.random.normal(keys[1], (3, 9, 2), jnp.float64)
    separation, invariance = naive_pair_losses(states, positions, 0.05, 0.4, chunk)
    assert separation == pytest.approx(reference.separation(states, positions, 0.05, 0.4))
    assert invariance == pytest.approx(reference.invariance(states, positions, 0.05))


def in_double(tree):
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, tree
    )


# 25 x 40 = 1,000 states: several chunks of rows there, several tiles here, neither divides it.
@pytest.mark.parametrize(
    ("B", "T", "N", "options"),
    [
        (25, 40, 7, {}),
        (7, 9, 4, {"chunk": None, "share": True}),
        pytest.param(9, 1, 5, {}, marks=pytest.mark.slow),
        pytest.param(7, 9, 4, {"chunk": None}, marks=pytest.mark.slow),
    ],
)
def test_loss_and_gradient_equal_the_naive_ones(x64, tiny_config, B, T, N, options):
    tiny_config.data.num_trajectories, tiny_config.data.trajectory_length = B, T
    tiny_config.model.num_units = N
    parameters = in_double(make_init(tiny_config)(jnp.uint32(1)).parameters)
    settings = in_double(make_settings(tiny_config))
    results = [
        jax.jit(jax.value_and_grad(loss, has_aux=True))(parameters, jax.random.key(2), settings)
        for loss in (make_loss(tiny_config), make_naive_loss(tiny_config, **options))
    ]
    ((ours, our_terms), our_gradient), ((slow, slow_terms), slow_gradient) = results
    np.testing.assert_allclose(ours, slow, rtol=1e-10)
    for name in slow_terms:
        np.testing.assert_allclose(our_terms[name], slow_terms[name], rtol=1e-10, atol=1e-12)
    for a, b in zip(*map(jax.tree.leaves, (our_gradient, slow_gradient)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * max(float(jnp.abs(b).max()), 1e-3))


@pytest.mark.slow
def test_both_train_the_same_network(x64, tiny_config):
    """200 updates each way, from one seed, in double precision, give the same network.

    The fast version: test_both_paths_train_one_network in test_ablations.py.
    """
    tiny_config.data.num_trajectories = 8
    state = in_double(make_init(tiny_config)(jnp.uint32(0)))
    settings = in_double(make_settings(tiny_config))
    ends = []
    for loss in (make_loss(tiny_config), make_naive_loss(tiny_config)):
        step = make_step(tiny_config, loss)
        many = jax.jit(
            lambda state, step=step: jax.lax.fori_loop(
                0, 200, lambda _, s: step(s, settings)[0], state
            )
        )
        ends.append(many(state).parameters)
    # Rounding of 1e-16 grows along the training; after 200 updates it is 1e-6 of the weights.
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
