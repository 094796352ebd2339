"""The fused kernel: equal to the tiles and to a slow reference, and lowered for CUDA.

Everything runs in Pallas' interpreter on the CPU. No test here says that the kernel is fast.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from sicjax.devices.split import WHOLE
from sicjax.network import pair_kernel
from sicjax.network.pair_losses import pair_losses


def drawn(number, units, seed=0):
    rng = np.random.default_rng(seed)
    states = np.abs(rng.normal(size=(number, units))).astype(np.float32)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    return states, rng.uniform(-0.2, 0.2, (number, 2)).astype(np.float32)


def slow(states, positions, sigma_x, sigma_g, weights, reduction):
    """Every pair in float64, with its gradient."""
    states, positions = states.astype(np.float64), positions.astype(np.float64)
    total, gradient = np.zeros(2), np.zeros((2, *states.shape))
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
    moved = states[:, None] - states
    square = (moved**2).sum(axis=-1)
    different = ~np.eye(len(states), dtype=bool)
    far, near = (apart > sigma_x) & different, (apart < sigma_x) & different
    similar = np.where(far, np.exp(-square / (2 * sigma_g**2)), 0)
    total[:] = similar.sum() / 2, np.where(near, square, 0).sum() / 2
    gradient[0] = (-similar[..., None] * moved / sigma_g**2).sum(axis=1)
    gradient[1] = (2 * near[..., None] * moved).sum(axis=1)
    pairs = np.array([far.sum(), near.sum()]) / 2
    if reduction == "mean":
        total, gradient = total / pairs.clip(1), gradient / pairs.clip(1)[:, None, None]
    return total @ weights, total, pairs, np.tensordot(weights, gradient, 1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("number", "units"), [(150, 12), (64, 16), (70, 40)])
def test_equals_every_pair_in_float64(number, units, reduction):
    states, positions = drawn(number, units)
    settings = 0.07, 0.4, np.array([1.0, 0.3])
    right = slow(states, positions, *settings, reduction)
    found = pair_kernel.fused_pass(
        states, positions, *(jnp.float32(s) for s in settings), reduction=reduction
    )
    np.testing.assert_allclose(found[0], right[0], rtol=2e-5)
    np.testing.assert_allclose(found[1], right[1], rtol=2e-5)
    np.testing.assert_array_equal(found[2], right[2])
    # Sums of some hundred float32 terms, relative to the largest entry.
    np.testing.assert_allclose(found[3], right[3], atol=2e-6 * np.abs(right[3]).max())


def test_equals_the_tiles_also_with_missing_positions_and_side_by_side():
    pairs = [drawn(90, 12, seed) for seed in range(2)]
    states, positions = (np.stack(leaves) for leaves in zip(*pairs, strict=True))
    positions[0, 7] = np.nan
    settings = jnp.float32(0.07), jnp.float32(0.4), jnp.array([1.0, 0.3])

    def by_kernel(states, positions):
        total, *_, gradient = pair_kernel.fused_pass(states, positions, *settings, reduction="mean")
        return total, gradient

    def by_tiles(states, positions):
        def loss(states):
            return pair_losses(states, positions, *settings, "mean", False)[0]

        return jax.value_and_grad(loss)(states)

    found, right = jax.vmap(by_kernel)(states, positions), jax.vmap(by_tiles)(states, positions)
    np.testing.assert_allclose(found[0], right[0], rtol=2e-5)
    np.testing.assert_allclose(found[1], right[1], atol=2e-6 * np.abs(right[1]).max())


def test_the_loss_takes_the_kernel_with_its_gradient_in_sigma_g():
    states, positions = drawn(90, 12)

    def loss(states, sigma_g, fused):
        settings = jnp.float32(0.07), sigma_g, jnp.array([1.0, 0.3])
        return pair_losses(states, positions, *settings, "mean", False, WHOLE, fused)[0]

    found, right = (
        jax.value_and_grad(loss, (0, 1))(states, jnp.float32(0.4), fused) for fused in (True, False)
    )
    # Both are sums of some thousand float32 terms.
    np.testing.assert_allclose(found[0], right[0], rtol=2e-5)
    np.testing.assert_allclose(found[1][1], right[1][1], rtol=1e-4)
    np.testing.assert_allclose(found[1][0], right[1][0], atol=2e-6 * np.abs(right[1][0]).max())


@pytest.mark.parametrize("tensor_cores", [False, True])
@pytest.mark.parametrize(("number", "units"), [(1920, 64), (7808, 128)])
def test_lowers_for_cuda_without_a_gpu(number, units, tensor_cores):
    def run(states, places, scalars):
        return pair_kernel._visit_all(
            states, places, scalars, interpret=False, tensor_cores=tensor_cores
        )

    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((number, units), (2, number), (4,))
    ]
    checks = [export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
    lowered = export.export(jax.jit(run), platforms=["cuda"], disabled_checks=checks)(*shapes)
    assert "triton" in lowered.mlir_module()
