"""What a run will cost, said before its first step; and how many networks would fit."""

import dataclasses

import jax

from sicjax import parallel
from sicjax.config import ConfigError
from sicjax.parallel import Layout
from sicjax.population import Population
from sicjax.training import Dispatch


def describe_cost(population: Population, layout: Layout, step: int, need: int) -> str:
    """One line: networks, devices, steps, batches, memory and disk.

    Args:
        population: what is trained.
        layout: where.
        step: the first.
        need: bytes that a device needs.
    """
    config, devices = population.config, layout.devices
    leaves = jax.tree.leaves(population.shapes)
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return (
        f"{len(population)} network(s) on {len(devices)} {devices[0].device_kind} device(s):"
        f" steps {step} to {config.num_steps}, {config.optimizer.accumulation} batch(es) of"
        f" {config.data.num_trajectories} x {config.data.trajectory_length} states each; memory"
        f" {_size(need / layout.per_device)} a network; checkpoints take up to"
        f" {_size(state * config.keep_checkpoints)} of disk, {_size(state / len(population))} a"
        " network each"
    )


def check_memory(population: Population, layout: Layout, need: int) -> None:
    """See that the devices have the bytes that each needs.

    Raises:
        ConfigError: they have less; says how many networks would fit.
    """
    limit = parallel.device_limit(layout)
    if limit is None or need <= limit:
        return
    at_once = 1 if layout.batch else len(layout.devices)
    alone = dataclasses.replace(layout, num_networks=at_once)
    program = Dispatch(population.config, alone, population.method).program
    one = parallel.device_bytes(program)
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
    """Bytes as "4.3 kB", "12.8 MB", "1.2 GB"."""
    unit = "kB"
    number /= 1e3
    for larger in ("MB", "GB", "TB"):
        if number >= 1e3:
            number, unit = number / 1e3, larger
    return f"{number:.3g} {unit}"
