"""Devices: networks spread over them without communication, or one network's batch split."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sicjax.devices import hardware, memory
from sicjax.devices.layout import make_layout
from sicjax.errors import ConfigError
from sicjax.network.pair_losses import most_shares
from sicjax.runs import train
from sicjax.training.method import make_settings
from sicjax.training.population import Population
from sicjax.training.step import Dispatch, make_init, make_loss, start
from sicjax.training.workdir import read_config

COLLECTIVE = re.compile("all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute")


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def begin(config, layout):
    """Return states and settings of a config's networks on a layout, before the first update."""
    population = Population(config)
    return start(config, population.seeds, layout), layout.rows(population.settings())


def loss_and_gradient(config, layout):
    """Loss, metrics and gradient of one network on a layout, one row a device."""
    state, settings = make_init(config)(jnp.uint32(3)), make_settings(config)
    loss = make_loss(config, split=layout.split)

    def measure(parameters, settings):
        one = jax.tree.map(lambda leaf: leaf[0], (parameters, settings))
        (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(
            one[0], jax.random.key(8), one[1]
        )
        return metrics, layout.split.total(gradient)

    rows = jax.tree.map(lambda leaf: layout.rows(leaf[None]), (state.parameters, settings))
    return jax.device_get(layout.compile(measure, *rows)(*rows))


@pytest.mark.parametrize(("number", "reduction"), [(5, "mean"), (4, "sum")])
def test_a_split_batch_has_the_loss_and_gradient_of_one_device(tiny_config, number, reduction):
    """5 trajectories on two devices need a masked sixth; 30 states make 4 tiles, so 10 pairs.

    It runs in float64, because the gradient of the initial direction is a sum that nearly cancels.
    """
    tiny_config.data.num_trajectories, tiny_config.loss.reduction = number, reduction
    with jax.enable_x64(True):
        whole = loss_and_gradient(tiny_config, make_layout(1, devices=1))
        split = loss_and_gradient(tiny_config, make_layout(1, "batch"))
    assert whole[0]["num_near"] > 0
    assert whole[0]["loss"].dtype == whole[1].initial_direction.dtype == np.float64
    for row in range(2):
        for wanted, found in zip(*map(jax.tree.leaves, (whole, split)), strict=True):
            # Sums of 60 to 2,000 numbers in another order; the MLP's stay float32, which rounds
            # at 6e-8 of the largest.
            scale, atol = np.abs(wanted).max() + 1e-30, 1e-11 if wanted.itemsize == 8 else 1e-5
            np.testing.assert_allclose(found[row] / scale, wanted[0] / scale, rtol=0, atol=atol)
    pairs = number * 6 * (number * 6 - 1) / 2
    assert split[0]["num_near"][0] + split[0]["num_far"][0] == pairs


def test_one_network_on_all_devices_trains_as_on_one(tiny_config):
    tiny_config.num_networks = 2
    tiny_config.parallel = "batch"
    layout = make_layout(2, "batch")
    dispatch = Dispatch(tiny_config, layout)
    assert COLLECTIVE.search(dispatch.program.as_text())
    rows, _ = dispatch(*begin(tiny_config, layout), 5)
    assert_trees_equal(*(jax.tree.map(lambda leaf, d=d: leaf[d], rows) for d in (0, 1)))
    alone = make_layout(2, devices=1)
    other, _ = Dispatch(tiny_config, alone)(*begin(tiny_config, alone), 5)
    # Gradients are equal to rounding; Adam divides even by the smallest of them.
    first = alone.to_host(begin(tiny_config, alone)[0].parameters)
    found, wanted = (layout.to_host(rows).parameters, alone.to_host(other).parameters)
    apart = optax.tree.norm(jax.tree.map(np.subtract, found, wanted))
    assert apart < 1e-2 * optax.tree.norm(jax.tree.map(np.subtract, wanted, first))


def test_networks_do_not_talk_and_masked_ones_change_nothing(tiny_config):
    """On two devices, one row of one network and one of three networks are masked copies."""
    found = {}
    for number in (1, 3, 4):
        tiny_config.num_networks = number
        layout = make_layout(number)
        assert (len(layout.devices), layout.per_device) == (2, 1 if number == 1 else 2)
        dispatch = Dispatch(tiny_config, layout)
        assert not COLLECTIVE.search(dispatch.program.as_text())
        rows, metrics = dispatch(*begin(tiny_config, layout), 2)
        found[number] = layout.to_host((rows, metrics))
        assert found[number][0].seed.tolist() == list(range(number))
    for number in (1, 3):
        first = jax.tree.map(lambda leaf, number=number: leaf[:number], found[4])
        assert_trees_equal(found[number], first)


@pytest.mark.parametrize(("number", "batch"), [(1, True), (2, False), (3, False)])
def test_auto_leaves_no_device_idle(number, batch):
    layout = make_layout(number, "auto")
    assert (layout.batch, len(layout.devices)) == (batch, 2)


def test_a_restart_keeps_the_mode_that_auto_became(tiny_config, tmp_path, monkeypatch):
    """On other devices "auto" would choose the other mode, which rounds differently."""
    modes = []

    def layout(number, mode, devices=None, most=None):
        modes.append(mode)
        return make_layout(number, mode, devices, most)

    monkeypatch.setattr("sicjax.runs.make_layout", layout)
    tiny_config.parallel, tiny_config.num_steps = "auto", 2
    train(tiny_config, tmp_path / "one")
    tiny_config.num_networks = 2
    train(tiny_config, tmp_path / "two")
    recorded = [read_config(tmp_path / name).parallel for name in ("one", "two")]
    assert recorded == ["batch", "networks"]
    for name, number in (("one", 1), ("two", 2)):
        tiny_config.num_networks, tiny_config.num_steps = number, 4
        train(tiny_config, tmp_path / name)
    tiny_config.parallel, tiny_config.num_steps = "batch", 6  # a requested mode wins
    train(tiny_config, tmp_path / "two")
    assert modes == ["auto", "auto", "batch", "networks", "batch"]


@pytest.mark.parametrize(
    ("platform", "number", "mode", "wanted"),
    [
        ("cpu", 1, "batch", 13),
        ("cpu", 1, "auto", 13),
        ("cpu", 60, "networks", 60),
        ("cpu", 100, "auto", 64),
        ("gpu", 1, "batch", 64),
    ],
)
def test_a_batch_takes_no_more_cores_than_help(monkeypatch, platform, number, mode, wanted):
    """M = 1,920 makes 55 pairs of tiles; a device is worth it for four of them."""
    found = [SimpleNamespace(platform=platform, id=k) for k in range(64)]
    monkeypatch.setattr("sicjax.devices.layout.all_devices", lambda: found)
    layout = make_layout(number, mode, most=most_shares(1920))
    assert layout.devices == tuple(found[:wanted])
    assert most_shares(24) == 2
    assert most_shares(7800) > 100


def test_a_run_asks_for_as_many_devices_as_its_largest_stage_can_use(tiny_config, monkeypatch):
    asked = []

    class BeforeItCompilesError(Exception):
        pass

    def layout(*given, most):
        asked.append(most)
        if len(asked) == 2:
            raise BeforeItCompilesError
        return make_layout(*given, most=most)

    for user in ("sicjax.runs", "sicjax.training.costs"):
        monkeypatch.setattr(f"{user}.make_layout", layout)
    tiny_config.num_steps = 2
    tiny_config.stages = {
        "small": {"num_steps": 1, "data": {"num_trajectories": 2}},
        "large": {"num_steps": 1, "data": {"num_trajectories": 50}},
    }
    with pytest.raises(BeforeItCompilesError):
        train(tiny_config)
    assert asked == [most_shares(50 * 6)] * 2
    assert asked[0] > most_shares(2 * 6)


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({}, hardware.available_cores()),
        ({"JAX_NUM_CPU_DEVICES": "3"}, 3),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=5"}, 5),
    ],
)
def test_the_commands_make_each_core_a_device_unless_told_otherwise(chosen, wanted):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | chosen
    code = (
        "import jax; from sicjax.command import Parser, join_processes;"
        " join_processes(Parser('').read([])); print(jax.device_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{wanted}\n"


@pytest.mark.parametrize(("number", "devices"), [(1, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("mode", ["networks", "batch"])
def test_rows_and_population_are_inverse(number, devices, mode):
    layout = make_layout(number, mode, devices)
    tree = {"a": np.arange(number), "b": np.arange(number * 6.0).reshape(number, 3, 2)}
    rows = layout.rows(tree)
    assert rows["b"].shape == (devices, layout.per_device, 3, 2)
    population = layout.population(rows)
    assert_trees_equal(population, tree)
    assert_trees_equal(layout.to_host(rows), tree)
    for leaf, like in zip(*map(jax.tree.leaves, (population, layout.shapes(tree))), strict=True):
        assert leaf.sharding.is_equivalent_to(like.sharding, leaf.ndim)
    for k in range(number):
        assert_trees_equal(layout.network(rows, k), jax.tree.map(lambda leaf, k=k: leaf[k], tree))


@pytest.mark.slow
def test_a_thousand_networks_in_one_population(tiny_config, tmp_path, capsys):
    tiny_config.num_networks, tiny_config.num_steps = 1000, 2
    run = train(tiny_config, tmp_path)
    assert run.step == 2
    stated = capsys.readouterr().out
    assert "1000 network(s) on 2 cpu device(s)" in stated
    assert "kB a network" in stated
    # Memory per network doesn't grow with their number.
    per_network = []
    for number in (20, 1000):
        layout = make_layout(number)
        need = memory.device_bytes(Dispatch(tiny_config, layout).program)
        per_network.append(need / layout.per_device)
    assert per_network[1] <= per_network[0]
    assert f"memory {per_network[1] / 1e3:.3g} kB a network" in stated


def test_out_of_memory_names_the_number_that_would_fit(tiny_config, tmp_path, monkeypatch):
    def need(number):
        return memory.device_bytes(Dispatch(tiny_config, make_layout(number)).program)

    tiny_config.num_networks = 20
    assert need(20) / 10 <= need(8) / 4  # of a network, on two devices
    limit = need(8) + 100
    monkeypatch.setattr(memory, "device_limit", lambda layout: limit)
    with pytest.raises(ConfigError, match=r"num_networks=20: too much for .* 2 dev") as error:
        train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    (named,) = re.findall(r"; (\d+) would fit", str(error.value))
    assert 6 <= int(named) <= 8
    tiny_config.num_networks = 1
    monkeypatch.setattr(memory, "device_limit", lambda layout: 7000)  # more than its arrays
    with pytest.raises(ConfigError, match=r"a network takes .* kB, so 0 would fit"):
        train(tiny_config, tmp_path / "run")


def test_the_limit_of_a_cpu_is_what_the_machine_has():
    limit = memory.device_limit(make_layout(1, devices=1))
    (free,) = re.findall(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    assert 0 < limit < 1.2 * 1024 * int(free)  # a container has less; others allocate meanwhile
    assert memory.device_limit(make_layout(2)) == pytest.approx(limit / 2, rel=0.2)


def test_page_cache_of_a_container_counts_as_free(tmp_path):
    assert memory.container_free(tmp_path) is None
    for name, text in (
        ("memory.max", "1000\n"), ("memory.current", "900\n"),
        ("memory.stat", "anon 200\ninactive_file 600\nactive_file 100\n"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
    assert memory.container_free(tmp_path) == 700
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.container_free(tmp_path) is None
