"""Programs to time: training updates as they run, the seconds of a call, and the device's name."""

import contextlib
import platform
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from sicjax.devices.layout import make_layout
from sicjax.devices.memory import device_bytes
from sicjax.training.population import Population
from sicjax.training.step import Dispatch, start
from sicjax.workers import available_cores


class Compiled(NamedTuple):
    """Several updates of a population, compiled."""

    run: Callable[[], None]  # makes the updates, and waits
    compile_s: float
    program_bytes: int  # memory that the program needs, by its compiler


def compile_step(config: ConfigDict, devices: int = 1, steps: int = 1) -> Compiled:
    """Compile several updates of a population, as training makes them."""
    layout = make_layout(config.num_networks, config.parallel, devices)
    population = Population(config)
    states, settings = start(config, population.seeds, layout), layout.rows(population.settings())
    began = time.perf_counter()
    dispatch = Dispatch(config, layout)
    seconds = time.perf_counter() - began
    needed = device_bytes(dispatch.program)

    def run() -> None:
        nonlocal states
        states, metrics = dispatch(states, settings, steps)
        jax.block_until_ready((states, metrics))

    return Compiled(run, seconds, needed)


def seconds_of(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def device() -> str:
    """Name the first device; a CPU by its own name and the number of usable cores."""
    found = jax.devices()[0]
    if found.platform != "cpu":
        return str(found.device_kind)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as info:
        name = next((line.split(":")[1].strip() for line in info if "model name" in line), name)
    return f"{name}, {available_cores()} core(s)"
