"""The cost of a run, printed before its first update, and checks that it fits the devices."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from sicjax.config.check import changed, flatten
from sicjax.config.fields import FIELDS
from sicjax.devices import memory
from sicjax.devices.layout import Layout, make_layout
from sicjax.errors import ConfigError
from sicjax.network.pair_losses import most_shares
from sicjax.training.method import PAPER, Method
from sicjax.training.metrics import duration
from sicjax.training.population import Population, Stage
from sicjax.training.step import Dispatch, make_init

REPORT_S = 30  # 20 to 31 s were measured on two CPU cores and on an H100, see docs/speed.md


def describe_cost(population: Population, layout: Layout, step: int, need: int) -> list[str]:
    """Describe the work left: networks, devices, updates, batches, memory, disk; a line per stage.

    Args:
        population: the networks.
        layout: their devices.
        step: updates already made.
        need: bytes of memory that each device needs.
    """
    config, devices = population.config, layout.devices
    state = _bytes(population.shapes)
    where = f"{len(population)} network(s) on {len(devices)} {devices[0].device_kind} device(s)"
    cost = (
        f"memory {_size(need / layout.per_device)} a network; checkpoints take up to"
        f" {_size(state * config.keep_checkpoints)} of disk, {_size(state / len(population))} a"
        " network each"
    )
    left = [stage for stage in population.stages if stage.end > step]
    if len(left) == 1:
        lines = [f"{where}: {_steps(left[0], step)}; {cost}"]
    else:
        lines = [f"{where}, in {len(left)} stages; {cost}"]
        lines += [f"  {stage.name}: {_steps(stage, step)}" for stage in left]
    return lines + [line for stage in left if (line := _idle(stage))]


def _steps(stage: Stage, step: int) -> str:
    data, accumulation = stage.config.data, stage.config.optimizer.accumulation
    return (
        f"updates {max(step, stage.first)} to {stage.end}, {accumulation} batch(es) of"
        f" {data.num_trajectories} x {data.trajectory_length} states each"
    )


def _idle(stage: Stage) -> str:
    """Return a line on updates with a learning rate of zero; "" if there are none."""
    options = stage.config.optimizer
    silent = stage.first + (options.decay_steps or stage.end - stage.first)
    if options.schedule != "cosine" or silent >= stage.end:
        return ""
    return (
        f"the learning rate is zero from update {silent} on (optimizer.decay_steps, fixed when the"
        " run began), so later updates change nothing; to train on, start a run with"
        " --config.start_from=DIR"
    )


def describe_reports(population: Population) -> str:
    """Return a line on the cost of the reports after a training; "" for one network or none."""
    number = len(population)
    if population.config.report is not True or number == 1:
        return ""
    return (
        f"{number} networks get a report after the training, about half a minute each,"
        f" {duration(number * REPORT_S)} in all; --config.report=scores only counts their modules,"
        " --config.report=false does neither"
    )


SIZES = (
    "model.num_units", "model.hidden_width", "model.num_layers", "data.num_trajectories",
    "data.trajectory_length",
)  # fmt: skip
ADDRESSABLE = 2**44  # bytes, if a device doesn't report its memory: more than any device has


def check_sizes(config: ConfigDict, method: Method = PAPER) -> None:
    """Check that a run's parameters and states would fit, before anything is allocated.

    This is a lower bound; `check_memory` knows what the compiled program needs.

    Raises:
        ConfigError: a field is too large; the message names it.
    """
    values = flatten(config)
    number = config.num_networks * max(len(config.variants), 1)
    stages = {
        name: {**values, **flatten(fields)} for name, fields in (config.stages or {"": {}}).items()
    }
    # The largest batch decides how many devices share it, and so how much each must hold.
    states = max(
        own["data.num_trajectories"] * own["data.trajectory_length"] for own in stages.values()
    )
    layout = make_layout(number, config.parallel, most=most_shares(states))
    limit = memory.device_limit(layout) or ADDRESSABLE
    has = f"each of {len(layout.devices)} device(s) has {_size(limit)}"
    for stage, own in stages.items():
        own = {name: own[name] for name in SIZES}
        need = sum(_least_bytes(config, method, own))
        if need > limit:
            # Name the field whose default would save most.
            smaller = {name: {**own, name: min(own[name], FIELDS[name].default)} for name in SIZES}
            name = min(SIZES, key=lambda name: sum(_least_bytes(config, method, smaller[name])))
            where = f"stages[{stage!r}]: " if stage else ""
            raise ConfigError(
                f"{where}{name}={own[name]}: too large: a network takes at least {_size(need)}, and"
                f" {has}"
            )
        # One network fits; now all networks of a device must fit together.
        state, _ = _least_bytes(config, method, own)
        if state * layout.per_device > limit:
            raise ConfigError(
                f"num_networks={config.num_networks}: too many: each takes at least"
                f" {_size(state)}, and {has}"
            )


def _least_bytes(config: ConfigDict, method: Method, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Return the bytes of one network's training state, and those of its W and states."""
    made = jax.eval_shape(make_init(changed(config, sizes), method), jnp.uint32(0))
    units, batch, length = (
        sizes[name]
        for name in ("model.num_units", "data.num_trajectories", "data.trajectory_length")
    )
    return _bytes(made), 4 * (length * units**2 + batch * length * units)


def _bytes(shapes: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def check_memory(population: Population, layout: Layout, need: int) -> None:
    """Check that each device has the memory that it needs.

    Raises:
        ConfigError: a device has less; the message says how many networks would fit.
    """
    limit = memory.device_limit(layout)
    if limit is None or need <= limit:
        return
    at_once = 1 if layout.batch else len(layout.devices)
    alone = dataclasses.replace(layout, num_networks=at_once)
    one = max(
        memory.device_bytes(Dispatch(stage.config, alone, population.method).program)
        for stage in population.stages
    )
    each = (need - one) / max(layout.per_device - 1, 1)
    fit = at_once * (1 + int((limit - one) / max(each, 1))) if one <= limit else 0
    variants = len(population.config.variants)
    seeds = fit // max(variants, 1)
    asked = f"num_networks={population.config.num_networks}"
    if variants:
        asked += f" of each of {variants} variants"
    raise ConfigError(
        f"{asked}: too much for {_size(limit)} on each of {len(layout.devices)} device(s); "
        + (f"{seeds} would fit" if seeds else f"a network takes {_size(one)}, so {fit} would fit")
    )


def _size(number: float) -> str:
    """Write bytes as "4.3 kB", "12.8 MB", "1.2 GB"."""
    unit = "kB"
    number /= 1e3
    for larger in ("MB", "GB", "TB"):
        if number >= 1e3:
            number, unit = number / 1e3, larger
    return f"{number:.3g} {unit}"
