"""Compare the networks that 1, 2, 4 and 8 devices give: equal bit for bit, or to rounding.

    python -m experiments.device_equality [--config=FILE] [--steps=20] [--config.FIELD=VALUE ...]

Prints a table, measured on 8 fake CPU devices. `networks`: each of D devices trains one network.
The table counts the numbers in network 0's state, after --steps updates, that differ from those on
one device. `batch`: D devices train one network. The table has the largest difference from one
device of the loss, relative to the loss, and of the gradient, relative to the largest entry of each
array.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sicjax import command
from sicjax import config as config_module
from sicjax.devices.layout import Layout, make_layout
from sicjax.training.method import make_settings
from sicjax.training.population import Population
from sicjax.training.step import Dispatch, make_init, make_loss, start

TINY = "tiny"  # --config by default
DEVICES = 1, 2, 4, 8


def trained(config: ConfigDict, devices: int, num_steps: int) -> list[np.ndarray]:
    """Return network 0's state after this many updates, with one network on each device."""
    config.num_networks = devices
    layout = make_layout(devices, devices=devices)
    population = Population(config)
    settings = layout.rows(population.settings())
    rows, _ = Dispatch(config, layout)(start(config, population.seeds, layout), settings, num_steps)
    return jax.tree.leaves(layout.network(rows, 0))


def loss_and_gradient(config: ConfigDict, layout: Layout) -> list[np.ndarray]:
    """Return loss and gradient of a fresh network, with its batch split over a layout's devices."""
    state, settings = make_init(config)(jnp.uint32(config.seed)), make_settings(config)
    loss = make_loss(config, split=layout.split)

    def measure(parameters: Any, settings: Any) -> Any:
        one, two = jax.tree.map(lambda leaf: leaf[0], (parameters, settings))
        (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(one, jax.random.key(8), two)
        return metrics["loss"], layout.split.total(gradient)

    rows = jax.tree.map(lambda leaf: layout.rows(leaf[None]), (state.parameters, settings))
    found = layout.compile(measure, *rows)(*rows)
    return [leaf[0] for leaf in jax.tree.leaves(jax.device_get(found))]


def main(arguments: Sequence[str]) -> None:
    """Print the table line by line."""
    parser = command.Parser(__doc__, config=TINY)
    parser.add_argument(
        "--steps", type=command.whole_number(1), default=20, help="updates; default: 20"
    )
    options = parser.read(arguments)
    command.join_processes(options)
    config = command.read_config(options, {TINY: tiny})
    num_steps = options.steps
    one, two = (trained(config, devices, num_steps) for devices in (1, 2))
    whole = loss_and_gradient(config, make_layout(1, devices=1))
    total = sum(leaf.size for leaf in one)
    print(
        f"| devices | networks: numbers of {total:,} unlike one device's after {num_steps} updates"
        " | unlike two devices' | batch: loss | batch: gradient |\n|---|---|---|---|---|",
        flush=True,
    )
    for devices in DEVICES:
        beside = trained(config, devices, num_steps)
        split = loss_and_gradient(config, make_layout(1, "batch", devices))
        apart = [
            float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
            for a, b in zip(whole, split, strict=True)
        ]
        unlike = f"{count_unlike(beside, one)} | {count_unlike(beside, two)}"
        print(f"| {devices} | {unlike} | {apart[0]:.1e} | {max(apart[1:]):.1e} |", flush=True)


def count_unlike(these: list[np.ndarray], those: list[np.ndarray]) -> int:
    """Count the numbers that differ in any bit."""
    return sum(int((a != b).sum()) for a, b in zip(these, those, strict=True))


def tiny() -> ConfigDict:
    """Return a config that fits eight devices on a laptop; B is not a multiple of 2, 4 or 8."""
    config = config_module.default()
    config.data.num_trajectories, config.data.trajectory_length = 13, 20
    config.model.num_units, config.model.hidden_width = 32, 16
    config.optimizer.accumulation, config.optimizer.schedule = 1, "constant"
    config.optimizer.learning_rate = 1e-3
    return config


if __name__ == "__main__":
    # Only here: importing this module must leave the devices as they are.
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES[-1])
    command.run(main)
