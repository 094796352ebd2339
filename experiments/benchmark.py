"""Time one training update beside the straightforward one and beside its matrix products.

    python -m experiments.benchmark [--json] [--config=FILE] [--config.FIELD=VALUE ...]
        [--scaling] [--units] [--tiles] [--populations] [--estimate]

Without --config the sizes are those of the paper (B 130, T 60, N 128, H 256), for one network.
--config.FIELD=VALUE changes this config; with --populations, both recipes. Four things take turns
in one process, and medians of repeats are printed:

- our whole update: sampling, forward, backward, clip, AdamW;
- the straightforward update of `experiments.naive`;
- the two dense products that the pair losses need, G G' [M, N] x [N, M] and A G [M, M] x [M, N],
  each a plain `jnp` call (`step_over_gemm`);
- the best rate of matrix products on the same device, 2048 x 2048 and shapes that caches hold.
  `step_over_limit` is the update's time over that of the two products at this rate. It is the
  stricter yardstick, because the products above also write M x M matrices to memory.

Other measurements:

--scaling       time and peak memory of our update against B, N and P, each in its own process; on
                a CPU also against the number of devices into which its cores are divided
--units         our update and its two yardsticks against N, from 32 to 512, all in turn
--tiles         the pair losses with their gradient against the width of their tiles, at several M
                and N
--populations   the update of `quick.py`, as it is and with the paper's B and N, for P 1, 16 and 64,
                in turn with two straightforward ones (jit, vmap, M x M matrices); one evaluates the
                hypernetwork at all B T steps, the other once per velocity. A GPU also times ours
                with the fused kernel. 50 updates run in one program. Ratios are to the arithmetic
                of the pair losses, at the data sheet's rate on an H100 or H200 (float32, and three
                passes of TF32), elsewhere at the best measured rate. For accelerators, where it
                takes minutes
--estimate      what an update should cost on accelerators, on paper (`experiments.accelerators`);
                written to experiments/results/accelerators.md
"""

import contextlib
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments import yardstick
from experiments.accelerators import RECIPES, write_estimate
from experiments.naive import make_naive_loss
from experiments.populations import populations
from experiments.timing import compile_step, device, seconds_of
from sicjax import command
from sicjax import config as config_module
from sicjax.config.files import from_json, to_json
from sicjax.network import pair_losses
from sicjax.training.method import draw_batch, make_settings
from sicjax.training.step import make_init, make_step
from sicjax.workers import available_cores

ROUNDS = 5
PAPER_SCALE = "paper scale"  # --config by default
WIDTHS = range(96, 417, 32)
UNITS = (32, 64, 96, 128, 160, 192, 256, 384, 512)


def paper_scale() -> ConfigDict:
    """B 130, T 60, N 128, H 256, one batch per update."""
    config = config_module.default()
    config.optimizer.accumulation = 1
    config.optimizer.schedule = "constant"
    return config


def compile_naive_step(config: ConfigDict) -> Callable[[], None]:
    """Build the straightforward update of one network."""
    state, settings = make_init(config)(jnp.uint32(config.seed)), make_settings(config)
    step = jax.jit(make_step(config, make_naive_loss(config)), donate_argnums=0)

    def run() -> None:
        nonlocal state
        state, metrics = step(state, settings)
        jax.block_until_ready((state, metrics))

    return run


def compile_products(config: ConfigDict) -> Callable[[], None]:
    """G G' and A G of that size, one after the other."""
    number = config.data.num_trajectories * config.data.trajectory_length
    states = jax.random.normal(jax.random.key(0), (number, config.model.num_units))
    square = jnp.ones((number, number))
    gram, product = jax.jit(lambda g: g @ g.T), jax.jit(lambda a, g: a @ g)

    def run() -> None:
        jax.block_until_ready(gram(states))
        jax.block_until_ready(product(square, states))

    return run


def measure(config: ConfigDict) -> dict[str, Any]:
    """Medians over rounds in which each of the four runs in turn."""
    step = compile_step(config)
    runs = {
        "step_s": step.run,
        "naive_s": compile_naive_step(config),
        "gemm_s": compile_products(config),
    }
    times, best = in_turn(runs, "round")
    result: dict[str, Any] = {name: median(values) for name, values in times.items()}
    result["naive_over_step"] = result["naive_s"] / result["step_s"]
    result["step_over_gemm"] = result["step_s"] / result["gemm_s"]
    result |= limit(config, result["step_s"], best)
    result["compile_s"] = step.compile_s
    return result | sizes(config)


def in_turn(
    runs: Mapping[Any, Callable[[], object]], what: str
) -> tuple[dict[Any, list[float]], float]:  # fmt: skip
    """Time every function and the device's matrix products in turn.

    Returns:
        Seconds of each function in each round; and the best rate of products, FLOP/s.
    """
    rates = [yardstick.compile_rate(shape) for shape in yardstick.SHAPES]
    for run in runs.values():
        run()
    times: dict[Any, list[float]] = {name: [] for name in runs}
    best = 0.0
    for turn in range(ROUNDS):
        for name, run in runs.items():
            times[name].append(seconds_of(run))
        best = max(best, *(rate() for rate in rates))
        print(f"{what} {turn + 1} of {ROUNDS}", file=sys.stderr, flush=True)
    return times, best


def limit(config: ConfigDict, seconds: float, rate: float) -> dict[str, float]:
    """Return the arithmetic of an update's pair losses, the rate of products, and the ratio."""
    flops = config.num_networks * yardstick.pair_flops(config)
    return {
        "arithmetic_gflop": flops / 1e9,
        "limit_gflops": rate / 1e9,
        "step_over_limit": seconds * rate / flops,
    }


def against_units(config: ConfigDict) -> list[dict[str, Any]]:
    """Our update and its yardsticks at other N; all sizes in turn in each round."""
    configs = {}
    for units in UNITS:
        configs[units] = config.copy_and_resolve_references()
        configs[units].model.num_units = units
    steps = {("step", units): compile_step(other).run for units, other in configs.items()}
    products = {("gemm", units): compile_products(other) for units, other in configs.items()}
    times, best = in_turn(steps | products, "round")
    rows = []
    for units, other in configs.items():
        step, gemm = (median(times[name, units]) for name in ("step", "gemm"))
        row = {"N": units, "step_s": step, "step_over_gemm": step / gemm}
        row |= limit(other, step, best)
        other_gflop = config.num_networks * yardstick.other_flops(other) / 1e9
        rows.append(row | {"other_products_gflop": other_gflop})
    return rows


def sizes(config: ConfigDict) -> dict[str, Any]:
    """Describe the measurement: versions, device and sizes."""
    return {
        "num_networks": config.num_networks,
        "num_trajectories": config.data.num_trajectories,
        "trajectory_length": config.data.trajectory_length,
        "num_units": config.model.num_units,
        "hidden_width": config.model.hidden_width,
        "backend": jax.default_backend(),
        "device": device(),
        "jax": jax.__version__,
    }


def step_alone(config: ConfigDict) -> dict[str, float]:
    """Time and peak resident size of a process that runs our update and nothing else (Linux)."""
    on_cpu = jax.default_backend() == "cpu"
    run, compile_s, _ = compile_step(config, jax.device_count() if on_cpu else 1)
    run()
    times: list[float] = []
    while len(times) < 3 or (len(times) < 15 and sum(times) < 5):
        times.append(seconds_of(run))
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    return {
        "step_s": median(times),
        "compile_s": compile_s,
        "peak_memory_mb": int(peak.split()[1]) / 1024,
    }


def in_own_process(config: ConfigDict, cpu_devices: int = 1) -> dict[str, float]:
    """`step_alone` in a new process, with a CPU split into this many devices."""
    command = [sys.executable, "-m", "experiments.benchmark", "--step-alone"]
    done = subprocess.run(
        command, input=to_json(config), capture_output=True, text=True, check=True,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(cpu_devices)},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def scaling(config: ConfigDict) -> list[dict[str, Any]]:
    """Our update at other sizes, B with M from 1,000 to 60,000, N and P; and on other devices."""
    fields = [("data.num_trajectories", value) for value in (17, 33, 65, 130, 260, 500, 1000)]
    fields += [("model.num_units", value) for value in (32, 64, 128, 256)]
    fields += [("num_networks", value) for value in (1, 2, 4)]
    cases: list[tuple[str, int, dict[str, Any], int]] = [
        (name, value, {name: value}, 1) for name, value in fields
    ]
    cores = available_cores()
    if jax.default_backend() == "cpu" and cores > 1:
        for parallel, number in (("networks", cores), ("batch", 1)):
            name = f"cpu devices, {number} network(s), {parallel}"
            changes = {"parallel": parallel, "num_networks": number}
            cases += [(name, devices, changes, devices) for devices in (1, cores)]
    rows = []
    for name, value, changes, devices in cases:
        other = config.copy_and_resolve_references()
        for field, setting in changes.items():
            config_module.set_field(other, field, str(setting))
        rows.append({"field": name, "value": value, **in_own_process(other, devices)})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def compile_pair_losses(config: ConfigDict, width: int | None = None) -> Callable[[], float]:
    """Time the pair losses with their gradient, on random states at places of the recipe.

    Args:
        config: whose sizes, weights and walks.
        width: of a tile in states; None takes the width that the losses themselves choose.

    Returns:
        A function that computes both and returns the total of the losses.
    """
    settings = make_settings(config)
    positions = draw_batch(config, jax.random.key(0), settings).positions.reshape(-1, 2)
    states = jnp.abs(jax.random.normal(jax.random.key(1), (len(positions), config.model.num_units)))
    states /= jnp.linalg.norm(states, axis=1, keepdims=True)
    loss = config.loss
    scales = (jnp.float32(loss.sigma_x), jnp.float32(loss.sigma_g))
    weights = jnp.array([loss.separation, loss.invariance], jnp.float32)

    def total(states):
        return pair_losses.pair_losses(states, positions, *scales, weights)[0]

    chosen = mock.patch.object(pair_losses, "_tile_size", return_value=width)
    with chosen if width else contextlib.nullcontext():
        compiled = jax.jit(jax.value_and_grad(total)).lower(states).compile()
    return lambda: float(jax.block_until_ready(compiled(states))[0])


def tiles(config: ConfigDict) -> list[dict[str, Any]]:
    """Time of the pair losses against the width of a tile, over that of the width they choose.

    Medians over rounds in which all widths run in turn; B from the recipe's T, so that M is about
    1,000 to 8,000.
    """
    length = config.data.trajectory_length
    rows: list[dict[str, Any]] = []
    for number in (17, 32, 48, 64, 96, 130):
        for units in (32, 64, 128):
            other = config.copy_and_resolve_references()
            other.data.num_trajectories, other.model.num_units = number, units
            runs = {width: compile_pair_losses(other, width) for width in (None, *WIDTHS)}
            times: dict[int | None, list[float]] = {width: [] for width in runs}
            for _ in range(3 * ROUNDS):
                for width, run in runs.items():
                    times[width].append(seconds_of(run))
            medians = {width: median(values[1:]) for width, values in times.items()}
            chosen = medians.pop(None)
            row: dict[str, Any] = {"M": number * length, "N": units}
            row["chosen"] = pair_losses._tile_size(number * length, branch=True)
            rows.append(row | {str(width): value / chosen for width, value in medians.items()})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = command.Parser(__doc__, config=PAPER_SCALE)
    parser.add_argument("--json", action="store_true", help="print JSON")
    what = parser.add_mutually_exclusive_group()
    for name, about in (
        ("scaling", "an update against B, N and P"), ("units", "an update against N"),
        ("tiles", "pair losses against tiles"), ("populations", "an update against P"),
        ("estimate", "an update on paper"),
        ("step-alone", "an update of the config on stdin, in this process"),
    ):  # fmt: skip
        what.add_argument(f"--{name}", action="store_true", help=about)
    options = parser.read(arguments)
    if options.step_alone:
        print(json.dumps(step_alone(from_json(sys.stdin.read()))))
        return
    if options.estimate:
        print(write_estimate())
        return
    config = command.read_config(options, {PAPER_SCALE: paper_scale})
    config_module.validate(config)
    if options.scaling:
        rows = scaling(config)
    elif options.units:
        where = {"backend": jax.default_backend(), "device": device(), "jax": jax.__version__}
        rows = [row | where for row in against_units(config)]
    elif options.tiles:
        rows = tiles(config)
    elif options.populations:
        recipes = {name: Namespace(config=name, fields=options.fields) for name in RECIPES}
        rows = populations(
            {name: command.read_config(own, RECIPES) for name, own in recipes.items()}
        )
    else:
        rows = [measure(config)]
        rows[0]["peak_memory_mb"] = in_own_process(config)["peak_memory_mb"]
        if options.json:  # one update is one object
            print(json.dumps(rows[0]))
            return
    print(json.dumps(rows) if options.json else as_table(rows))


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table; a dash for None."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names)]
    for row in rows:
        values = ("–" if value is None else value for value in row.values())
        lines.append([f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    command.run(main)
