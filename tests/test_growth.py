"""A process that trains again and again does not grow: same shapes, same programs."""

import gc
import sys
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from sicjax.config.fields import FIELDS
from sicjax.devices.layout import KEPT_FUNCTIONS, make_layout, on_devices
from sicjax.training import step
from sicjax.training.method import make_settings

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def compiled():
    """Return a list that grows with every program that XLA compiles."""
    names = []

    def note(name, _, **about):
        if name.endswith("backend_compile_duration"):
            names.append(about)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def memory_maps():
    gc.collect()
    return len(Path("/proc/self/maps").read_text().splitlines())


def trained(config):
    """Return the parameters of a trained network as one array."""
    run = sicjax.train(config)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(run.parameters)])


@on_linux
def test_a_scan_of_settings_compiles_once(tiny_config, compiled):
    """Each call would map some 900 regions of memory, and Linux allows a process 65,530."""
    found, compiles, maps = [], [], []
    for capacity, rate in ((0.5, 1e-3), (0.2, 3e-3), (0.5, 1e-3)):
        tiny_config.loss.capacity, tiny_config.optimizer.learning_rate = capacity, rate
        found.append(trained(tiny_config))
        compiles.append(len(compiled))
        maps.append(memory_maps())
    assert compiles[0] == compiles[1] == compiles[2]
    assert maps[2] - maps[1] < 10
    assert (found[0] == found[2]).all()
    assert (found[0] != found[1]).any()


def test_a_program_does_not_depend_on_the_fields_left_out(tiny_config):
    """If all of them change at once, the traced computation is still identical."""
    layout = make_layout(1, devices=1)

    def traced():
        state = jax.eval_shape(step.make_init(tiny_config), jnp.uint32(0))
        settings = jax.eval_shape(lambda: make_settings(tiny_config))
        rows = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), (state, settings)
        )
        return str(jax.make_jaxpr(step.make_dispatch(tiny_config, layout))(*rows, 1))

    before = traced()
    for name in step._OUTSIDE:
        section, _, leaf = name.rpartition(".")
        part = tiny_config[section] if section else tiny_config
        other = {bool: lambda value: not value, int: lambda value: value + 1}
        other |= {float: lambda value: value + 0.1, str: lambda value: value + "x"}
        kind = type(FIELDS[name].default)
        if kind in other:
            part[leaf] = other[kind](part[leaf])
    assert traced() == before


def test_a_program_is_kept_for_one_optimizer_and_one_stage(tiny_config):
    def made(first_step=0):
        layout = make_layout(1, devices=1)
        options = {"layout": layout, "first_step": first_step}
        return step._same(step.make_dispatch, tiny_config, sicjax.Method(), **options)

    tiny_config.optimizer.schedule = "cosine"
    functions = [made(), made(first_step=2)]
    for name, value in (("clip", 1e-4), ("warmup_steps", 3), ("decay_steps", 3), ("b1", 0.5)):
        tiny_config.optimizer[name] = value
        functions.append(made())
        assert made() is functions[-1]
    assert len({*functions}) == 6


def test_a_term_of_ones_own_is_traced_again(tiny_config):
    """Values that it reads may have changed since the last call, as in a notebook."""
    method = sicjax.Method(terms={"mean": lambda states, initial_state, batch: states.mean()})
    options = {"layout": make_layout(1, devices=1)}
    first, second = (
        step._same(step.make_dispatch, tiny_config, method, **options) for _ in range(2)
    )
    assert first is not second


def test_programs_that_are_not_kept_are_freed():
    layout, functions = make_layout(1), []
    for number in range(KEPT_FUNCTIONS + 2):

        def add(leaf, number=number):
            return leaf + number

        on_devices(add, layout.devices).lower(jax.ShapeDtypeStruct((2, 1), jnp.float32))
        functions.append(weakref.ref(add))
    del add
    gc.collect()
    alive = [function() is not None for function in functions]
    assert alive == [False, False] + [True] * KEPT_FUNCTIONS


@on_linux
@pytest.mark.slow
def test_a_scan_of_shapes_maps_bounded_memory(tiny_config):
    maps = []
    for width in range(4, 44):
        tiny_config.model.hidden_width = width
        sicjax.train(tiny_config)
        maps.append(memory_maps())
    kept = KEPT_FUNCTIONS // 2  # two functions for each shape
    assert maps[-1] - maps[kept] < maps[kept] / 4, maps
