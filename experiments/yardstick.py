"""Yardsticks of an update: its arithmetic, the device's rate, and straightforward updates.

`experiments.benchmark` times our update beside them.

Letters: P networks, B trajectories, T steps, N units, H hidden width, M = B*T states.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from ml_collections import ConfigDict

from experiments.accelerators import ACCELERATORS
from experiments.naive import make_naive_loss
from sicjax.network.model import PRECISION
from sicjax.training.population import Population
from sicjax.training.step import Loss, make_init, make_step

# [rows, inner] x [inner, columns] of the products that measure a device's best rate: a large square
# one, and the two of the pair losses at the size of `quick.py`, which caches hold.
SHAPES = ((2048, 2048, 2048), (1920, 64, 1920), (1920, 1920, 64))
CALL_S = 0.05  # of a call that times products, about
TF32_X3 = 495e12 / 3  # FLOP/s of H100 and H200: dense TF32 by NVIDIA's data sheet, in three passes


def pair_flops(config: ConfigDict) -> float:
    """Return the FLOPs of the two dense products of a batch: G G' and A G, for one network.

    This is the arithmetic that the pair losses cannot avoid without symmetry: 2 M^2 N each.
    """
    states = config.data.num_trajectories * config.data.trajectory_length
    return 4.0 * states**2 * config.model.num_units * config.optimizer.accumulation


def other_flops(config: ConfigDict) -> float:
    """Return the FLOPs of an update's other products: hypernetwork and recurrence, with gradients.

    The last layer is [T, H] x [H, N^2], the recurrence M products of N x N matrices and states;
    gradients take twice as much as the forward pass.
    """
    steps, units = config.data.trajectory_length, config.model.num_units
    states = config.data.num_trajectories * steps
    once = 2.0 * units**2 * (steps * config.model.hidden_width + states)
    return 3 * once * config.optimizer.accumulation


def compile_rate(shape: tuple[int, int, int]) -> Callable[[], float]:
    """Return a function that times products of a shape (rows, inner, columns), in FLOP/s."""
    rows, inner, columns = shape
    first = jax.random.normal(jax.random.key(0), (rows, inner))
    second = jax.random.normal(jax.random.key(1), (inner, columns))

    def products(number: Array, first: Array, second: Array) -> Array:
        def body(_: int, factor: Array) -> Array:
            # The barrier makes the compiler compute all of the product, of which one entry is read;
            # that makes the next product wait for this one.
            product = lax.optimization_barrier(jnp.matmul(factor, second, precision=PRECISION))
            return factor.at[0, 0].add(1e-30 * product[0, 0])

        return lax.fori_loop(0, number, body, first)

    compiled = jax.jit(products).lower(jnp.int32(1), first, second).compile()

    def seconds(number: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(compiled(jnp.int32(number), first, second))
        return time.perf_counter() - began

    seconds(1)  # as many at once as take CALL_S, so that the call itself takes no time
    at_once = max(1, round(CALL_S / seconds(1)))
    return lambda: 2.0 * rows * inner * columns * at_once / seconds(at_once)


def limits(device: str, measured: float) -> dict[str, float]:
    """Return FLOP/s by the name of each limit.

    Args:
        device: name of the device. For an H100 or H200 the data sheet counts.
        measured: best rate of matrix products on it, the limit of any other device.
    """
    for known in ACCELERATORS:
        if known.name.split()[0] in device:
            return {"float32": known.products, "tf32_x3": TF32_X3}
    return {"float32": measured}


def straightforward_losses(config: ConfigDict) -> dict[str, Loss]:
    """Return straightforward losses by name.

    "straightforward": the hypernetwork at all B*T steps, M x M matrices. "shared_velocities": our
    recurrence, which evaluates the hypernetwork T times, with M x M matrices. Neither has tiles.
    """
    return {
        "straightforward": make_naive_loss(config, chunk=None),
        "shared_velocities": make_naive_loss(config, chunk=None, share=True),
    }


def largest_array(config: ConfigDict, name: str) -> float:
    """Return the bytes of the largest array in a straightforward update of P networks."""
    states = config.data.num_trajectories * config.data.trajectory_length
    each = {"straightforward": max(states**2, states * config.model.num_units**2),
            "shared_velocities": states**2}  # fmt: skip
    return 4.0 * config.num_networks * each[name]


def compile_vmapped(config: ConfigDict, loss: Loss, steps: int) -> tuple[Callable[[], None], Any]:
    """Compile several updates of P networks in the obvious way: jit of a loop over vmap(update).

    Returns:
        A function that makes the updates and waits; and the compiled program.
    """
    population = Population(config)
    states = jax.jit(jax.vmap(make_init(config)))(jnp.asarray(population.seeds))
    settings = jax.tree.map(jnp.asarray, population.settings())
    step = jax.vmap(make_step(config, loss))

    def many(states: Any, settings: Any) -> Any:
        return lax.fori_loop(0, steps, lambda _, now: step(now, settings)[0], states)

    program = jax.jit(many, donate_argnums=0).lower(states, settings).compile()

    def run() -> None:
        nonlocal states
        states = program(states, settings)
        jax.block_until_ready(states)

    return run, program
