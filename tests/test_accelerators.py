"""The estimate for accelerators: counts against hand counts, and programs for every platform."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments import accelerators
from experiments.accelerators import Accelerator, Piece, step_arguments, take_apart, trace_step
from sicjax.devices.layout import make_layout
from sicjax.network.pair_losses import _tile_size
from sicjax.training import step

B, T, N, H = 8, 5, 24, 4


@pytest.fixture
def config(tiny_config):
    tiny_config.data.num_trajectories, tiny_config.data.trajectory_length = B, T
    tiny_config.model.num_units, tiny_config.model.hidden_width = N, H
    return tiny_config


def products_of(pieces):
    return sum(piece.trips * piece.products for piece in pieces)


def test_the_body_of_a_loop_counts_as_often_as_it_runs():
    """Three rounds of five products of 7 x 7 matrices inside a loop in a loop, and one outside."""

    def function(matrix):
        def inner(carry, _):
            return carry @ matrix, None

        def outer(carry, _):
            return lax.scan(inner, jnp.sin(carry), None, length=5)[0], None

        return lax.scan(outer, matrix @ matrix, None, length=3)[0]

    pieces = take_apart(jax.make_jaxpr(function)(jnp.ones((7, 7))))
    assert [piece.trips for piece in pieces] == [1, 3, 15]
    assert [piece.products for piece in pieces] == [2 * 7**3, 0, 2 * 7**3]
    assert [piece.flops >= piece.products for piece in pieces] == [True] * 3
    assert pieces[2].flops < 1.5 * pieces[2].products
    assert pieces[2].bytes >= 3 * 4 * 7**2
    assert all(piece.kernels >= 1 for piece in pieces)


def test_a_loop_of_unknown_length_is_refused():
    program = jax.make_jaxpr(lambda x: lax.while_loop(lambda x: x < 9, lambda x: x + 1, x))(0.0)
    with pytest.raises(ValueError, match="without a known number of trips"):
        take_apart(program)


@pytest.mark.parametrize("networks", [1, 3])
def test_products_of_a_step_are_those_of_a_hand_count(config, networks):
    states = B * T
    size = _tile_size(states, False)
    tiles = -(-states // size)
    visits = tiles * (tiles + 1) // 2
    layers = [(2, H), *[(H, H)] * (config.model.num_layers - 2), (H, N**2)]
    # Forward, and backward to the weights and, except in the first layer, to the inputs.
    hypernetwork = sum(2 * T * a * b * (3 - (k == 0)) for k, (a, b) in enumerate(layers))
    recurrence = 3 * 2 * B * T * N**2  # forward, backward, and the gradients of the matrices
    pairs = visits * 2 * size**2 * (N + 2 * (N + 1))  # G G', and A G for both tiles
    pieces = take_apart(trace_step(config, networks))
    assert products_of(pieces) == networks * (hypernetwork + recurrence + pairs)
    assert sorted(piece.trips for piece in pieces) == sorted([1, T, T, visits, visits])


def test_time_is_that_of_the_slowest_of_arithmetic_memory_and_kernels():
    device = Accelerator("none", 100.0, 10.0, 1000.0, 0.5, "made up")
    assert Piece("", 3, 200.0, 230.0, 1.0, 2).seconds(device) == 3 * (200 / 100 + 30 / 10)
    assert Piece("", 3, 200.0, 230.0, 9000.0, 2).seconds(device) == 3 * 9
    assert Piece("", 3, 200.0, 230.0, 1.0, 20).seconds(device) == 3 * 10


def test_the_page_says_that_it_is_an_estimate(config, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerators, "RECIPES", {"quick": lambda: config})
    monkeypatch.setattr(accelerators, "NETWORKS", (1,))
    path = accelerators.write_estimate(tmp_path / "accelerators.md")
    text = path.read_text()
    assert text.index("ESTIMATE") < text.index("|")
    for device in accelerators.ACCELERATORS:
        assert device.name in text
        assert device.source in text


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_what_a_device_runs_lowers_for_every_platform(config, platform, monkeypatch):
    """Check what is visible without the platform: single precision, and products that keep it.

    On an accelerator networks are batched, so nothing branches. The only choices, one in each
    direction of the recurrence, are between platforms, at compile time. The loops are the updates,
    both directions of the recurrence, and the pairs of tiles twice.
    """
    on_cpu = platform == "cpu"
    monkeypatch.setattr(step, "_one_by_one", lambda: on_cpu)
    config.data.num_trajectories = 130  # so that tiles of a CPU lie apart
    dispatch = jax.jit(step.make_dispatch(config, make_layout(2, devices=1)))
    steps = jax.ShapeDtypeStruct((), jnp.int32)
    arguments = *step_arguments(config, 2), steps
    exported = jax.export.export(dispatch, platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    program = exported.mlir_module()
    assert set(re.findall(r"[x<]([a-z]*f\d+\w*)>", program)) == {"f32"}
    products = re.findall(r"stablehlo.dot_general .*precision = (\[\w+, \w+\])", program)
    assert set(products) == {"[HIGHEST, HIGHEST]"}
    # Eight of the hypernetwork, five of them backward; the rest in a branch and out of it, or once.
    assert len(products) == 8 + (9 if on_cpu else 6) == program.count("stablehlo.dot_general")
    choices = program.count("stablehlo.case")
    assert choices > 4 if on_cpu else choices == 4
    assert (program.count("stablehlo.while") == 5) == (not on_cpu)
