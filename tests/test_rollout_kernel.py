"""The fused rollout: equal to the scan, with its gradients, and lowered for CUDA.

Everything runs in Pallas' interpreter on the CPU. No test here says that the kernels are fast.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.flatten_util import ravel_pytree

import sicjax
from sicjax.network import rollout_kernel
from sicjax.network.rollout import rollout_permuted
from sicjax.network.rollout_kernel import rollout_fused
from sicjax.training.method import make_settings
from sicjax.training.step import make_init, make_loss

STEPS = 6


def drawn(units, trajectories=3, seed=0):
    rng = np.random.default_rng(seed)
    matrices = np.eye(units) + 0.3 * rng.normal(size=(STEPS, units, units))
    order = np.stack([rng.permutation(STEPS) for _ in range(trajectories)])
    start = sicjax.norm_relu(jnp.arange(1.0, units + 1))
    return jnp.asarray(matrices, jnp.float32), jnp.asarray(order, jnp.int32), start


@partial(jax.jit, static_argnums=0)
def with_gradients(run, matrices, order, start):
    weights = jax.random.normal(jax.random.key(0), (*order.shape, len(start)))

    def total(matrices, start):
        states = run(matrices, order, start)
        return jnp.sum(weights * states), states

    gradients, states = jax.grad(total, (0, 1), has_aux=True)(matrices, start)
    return states, *gradients


def assert_equal(found, right):
    for one, other in zip(found, right, strict=True):
        # Six steps of some dozen roundings of 6e-8, forwards and back.
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("units", [6, 16, 40])
def test_equals_the_scan_with_its_gradients(units):
    made = drawn(units)
    assert_equal(with_gradients(rollout_fused, *made), with_gradients(rollout_permuted, *made))


def test_a_dead_state_stays_dead_and_has_no_gradient():
    matrices, order, start = drawn(6)
    matrices = matrices.at[order[0, 2]].set(-jnp.eye(6))  # silences every unit
    states, *gradients = with_gradients(rollout_fused, matrices, order, start)
    assert (states[0, 2:] == 0).all()
    right = with_gradients(rollout_permuted, matrices, order, start)
    assert_equal((states, *gradients), right)


def test_networks_side_by_side_equal_one_by_one():
    made = [drawn(6, seed=seed) for seed in range(2)]
    stacked = [jnp.stack(leaves) for leaves in zip(*made, strict=True)]
    side_by_side = jax.vmap(partial(with_gradients, rollout_fused))(*stacked)
    for network, one in enumerate(made):
        found = [leaf[network] for leaf in side_by_side]
        assert_equal(found, with_gradients(rollout_permuted, *one))


@pytest.mark.parametrize(
    ("networks", "trajectories", "steps", "units"), [(1, 32, 60, 64), (16, 130, 180, 112)]
)
def test_lowers_for_cuda_without_a_gpu(monkeypatch, networks, trajectories, steps, units):
    monkeypatch.setattr(rollout_kernel.jax, "default_backend", lambda: "gpu")

    def total(matrices, order, start):
        return jnp.sum(rollout_fused(matrices, order, start) ** 3)

    arguments = [
        jax.ShapeDtypeStruct((networks, steps, units, units), jnp.float32),
        jax.ShapeDtypeStruct((networks, trajectories, steps), jnp.int32),
        jax.ShapeDtypeStruct((networks, units), jnp.float32),
    ]
    checks = [export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
    both = jax.jit(jax.vmap(jax.grad(total, (0, 2))))
    lowered = export.export(both, platforms=["cuda"], disabled_checks=checks)(*arguments)
    assert lowered.mlir_module().count("__gpu$xla.gpu.triton") == 2  # forwards and back


def test_the_training_loss_takes_the_kernels(tiny_config):
    """Loss, metrics and gradient of a batch are those of the scan, to rounding."""
    parameters = make_init(tiny_config)(jnp.uint32(0)).parameters
    key, settings = jax.random.key(3), make_settings(tiny_config)
    found, right = (
        jax.jit(jax.value_and_grad(make_loss(tiny_config, fused_rollout=fused), has_aux=True))(
            parameters, key, settings
        )
        for fused in (True, False)
    )
    for metric in right[0][1]:
        np.testing.assert_allclose(found[0][1][metric], right[0][1][metric], rtol=1e-5)
    # The gradient in g_0 adds what nearly cancels over trajectories, so the largest entry is the
    # scale of the roundings.
    gradients, expected = (ravel_pytree(of[1])[0] for of in (found, right))
    np.testing.assert_allclose(gradients, expected, atol=1e-5 * np.abs(expected).max())
