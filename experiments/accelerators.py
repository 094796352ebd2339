"""Estimate the cost of a training update on accelerators from their specifications.

    python -m experiments.benchmark --estimate

Letters: P networks side by side, B trajectories, T steps, N units, H hidden width, M = B*T states.

The update that accelerators run (networks batched, no branches) is traced and split into its loops
and the code outside them. XLA's cost analysis counts a loop's body once, regardless of how often it
runs. So each body is compiled by itself, and its cost is multiplied by the number of trips, which
the trace contains. A piece takes as long as the slowest of three: its arithmetic, its memory
traffic, and its kernels one after another. An update is the sum of its pieces. Products are counted
from their shapes.

XLA's numbers are for programs optimised for a CPU, because a compiler for an accelerator needs the
accelerator. Where that compiler fuses operations differently, bytes and kernels differ. Nothing
here was measured on an accelerator.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun, jaxprs_in_params
from ml_collections import ConfigDict

from sicjax.config.files import load_config
from sicjax.network import rollout
from sicjax.training.method import make_settings
from sicjax.training.step import make_init, make_loss, make_step

RESULT = Path("experiments/results/accelerators.md")
NETWORKS = (1, 16, 64)


def paper_batch() -> ConfigDict:
    """`quick.py` with the paper's B 130 and N 128; T is 60 in both, H stays 64."""
    config = load_config("quick")
    config.data.num_trajectories, config.model.num_units = 130, 128
    return config


RECIPES: Mapping[str, Callable[[], ConfigDict]] = {
    "quick": partial(load_config, "quick"), "paper batch": paper_batch,
}  # fmt: skip


@dataclass(frozen=True)
class Accelerator:
    """The specification of a device, and what is assumed about it."""

    name: str
    products: float  # FLOP/s of float32 products at the precision that the update asks for
    others: float  # FLOP/s of all other arithmetic
    bandwidth: float  # bytes/s of its memory
    launch_s: float  # least seconds of a kernel, in a row of kernels
    source: str


ACCELERATORS = (
    Accelerator(
        "H100 SXM", 67e12, 67e12, 3.35e12, 3e-6,
        "67 TFLOP/s float32 outside the tensor cores, 3.35 TB/s (NVIDIA, H100 datasheet)",
    ),
    Accelerator(
        "H200 SXM", 67e12, 67e12, 4.8e12, 3e-6,
        "67 TFLOP/s float32 outside the tensor cores, 4.8 TB/s (NVIDIA, H200 datasheet)",
    ),
    Accelerator(
        "TPU v5e", 197e12 / 6, 197e12 / 48, 819e9, 1e-6,
        "197 TFLOP/s bfloat16; a float32 product at HIGHEST takes six bfloat16 passes; 819 GB/s"
        " (Google, docs.cloud.google.com/tpu/docs/v5e)",
    ),
)  # fmt: skip

ASSUMED = (
    "A kernel takes at least 3 µs on a GPU: small kernels take some microseconds each, one after"
    " another (developer.nvidia.com/blog/cuda-graphs). On a TPU it takes 1 µs, because the compiler"
    " makes one program of the whole update (our assumption, without a source).",
    "On a TPU, all other arithmetic runs at an eighth of the rate of float32 products (our"
    " assumption; the rate of the vector unit is not published).",
    "All products are at HIGHEST precision.",
    "Peak rates and bandwidths are reached. Small products are far from them, so a time that"
    " arithmetic or memory determine is a lower bound.",
)


@dataclass(frozen=True)
class Piece:
    """A loop's body, or the code outside all loops: the cost of a trip, and the number of trips."""

    name: str
    trips: int
    products: float  # FLOPs of matrix products
    flops: float  # all of them
    bytes: float  # read and written
    kernels: int  # one after another

    def seconds(self, device: Accelerator) -> float:
        """Time of all trips on a device."""
        arithmetic = self.products / device.products + (
            max(self.flops - self.products, 0) / device.others
        )
        return self.trips * max(
            arithmetic, self.bytes / device.bandwidth, self.kernels * device.launch_s
        )


def trace_step(config: ConfigDict, networks: int) -> ClosedJaxpr:
    """Build the update of P networks as accelerators run it: batched, without branches."""
    step = jax.vmap(make_step(config, make_loss(config, branch=False)))
    states, settings = step_arguments(config, networks)
    # On a CPU, where this is traced, larger matrices would be multiplied one after another.
    with mock.patch.object(rollout, "IN_TURN", math.inf):
        return jax.make_jaxpr(step)(states, settings)


def step_arguments(config: ConfigDict, networks: int) -> tuple[Any, Any]:
    """Shapes of the states and of the settings of P networks."""

    def arguments(seed):
        return make_init(config)(seed), make_settings(config)

    seeds = jax.ShapeDtypeStruct((networks,), "uint32")
    return jax.eval_shape(jax.vmap(arguments), seeds)


def take_apart(program: ClosedJaxpr) -> list[Piece]:
    """Return a program's loops, at any depth, and everything outside of them.

    Raises:
        ValueError: a loop whose number of trips isn't known before it runs.
    """
    return _take_apart(program, _compile(program), "outside the loops", 1)


def _take_apart(program: ClosedJaxpr, found: "_Compiled", name: str, trips: int) -> list[Piece]:
    pieces, flops, traffic = [], found.flops, found.bytes
    for position, loop in enumerate(_loops(program.jaxpr)):
        body, length = loop.params["jaxpr"], loop.params["length"]
        once = _compile(body, loop.params["num_consts"], loop.params["num_carry"])
        flops, traffic = flops - once.flops, traffic - once.bytes
        inside = f"loop {position}" if trips == 1 else f"{name}.{position}"
        pieces += _take_apart(body, once, inside, trips * length)
    own = Piece(
        name, trips, count_products(program.jaxpr), max(flops, 0.0), max(traffic, 0.0),
        found.kernels,
    )  # fmt: skip
    return [own, *pieces]


def count_products(program: Any) -> float:
    """FLOPs of the matrix products of a program outside its loops, from their shapes."""
    total = 0.0
    for equation in _flat(program):
        if equation.primitive.name == "dot_general":
            left, right = (operand.aval.shape for operand in equation.invars)
            (over, _), (batch, _) = equation.params["dimension_numbers"]
            shared = math.prod(left[axis] for axis in (*over, *batch))
            rows = math.prod(left) // max(shared, 1)
            total += 2 * rows * math.prod(right)
    return total


def _loops(program: Any) -> Iterator[Any]:
    """Return the loops that run and are not inside another loop.

    Raises:
        ValueError: one whose number of trips isn't known.
    """
    for equation in _flat(program):
        if equation.primitive.name == "while":
            raise ValueError("a loop without a known number of trips can't be counted")
        if equation.primitive.name == "scan" and equation.params["length"]:
            yield equation


def _flat(program: Any) -> Iterator[Any]:
    """Equations of a program and of the functions that it calls, but not of its loops.

    Of a choice between platforms the last one, the default, is an accelerator's.
    """
    for equation in program.eqns:
        yield equation
        name = equation.primitive.name
        inner = [] if name in ("scan", "while") else list(jaxprs_in_params(equation.params))
        for called in inner[-1:] if name == "cond" else inner:
            yield from _flat(called)


@dataclass(frozen=True)
class _Compiled:
    """XLA's cost analysis of a program, with each loop's body counted once."""

    flops: float
    bytes: float
    kernels: int


_NO_KERNEL = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while")


def _compile(program: ClosedJaxpr, num_consts: int = 0, num_carry: int = 0) -> _Compiled:
    """Compile a program; a loop's body writes over what it carries, as it does in the loop."""
    carried = tuple(range(num_consts, num_consts + num_carry))
    function = jax.jit(jaxpr_as_fun(program), donate_argnums=carried)
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in program.in_avals]
    compiled = function.lower(*shapes).compile()
    cost = compiled.cost_analysis() or {}
    entry = (compiled.as_text() or "").partition("\nENTRY ")[2]
    operations = re.findall(r"^ +(?:ROOT )?%?\S+ = .*? ([a-z][a-z0-9-]*)\(", entry, re.MULTILINE)
    kernels = sum(operation not in _NO_KERNEL for operation in operations)
    return _Compiled(cost.get("flops", 0.0), cost.get("bytes accessed", 0.0), kernels)


def write_estimate(path: Path = RESULT) -> Path:
    """Estimate an update of each recipe, and write the page."""
    rows, parts = [], []
    for recipe, make in RECIPES.items():
        config = make()
        for networks in NETWORKS:
            pieces = take_apart(trace_step(config, networks))
            rows.append(_row(recipe, config, networks, pieces))
            parts.append((f"{recipe}, P {networks}", pieces))
            print(f"{recipe}, P {networks}: {rows[-1]}", flush=True)
    path.write_text(_page(rows, parts), encoding="utf-8")
    return path


def _row(recipe: str, config: ConfigDict, networks: int, pieces: Sequence[Piece]) -> dict[str, str]:
    data, units = config.data, config.model.num_units
    row = {
        "recipe": f"{recipe} (B {data.num_trajectories}, T {data.trajectory_length}, N {units})",
        "P": str(networks),
        "products (GFLOP)": f"{sum(p.trips * p.products for p in pieces) / 1e9:.3g}",
        "all (GFLOP)": f"{sum(p.trips * p.flops for p in pieces) / 1e9:.3g}",
        "memory (GB)": f"{sum(p.trips * p.bytes for p in pieces) / 1e9:.3g}",
        "trips of loops": str(sum(p.trips for p in pieces[1:])),
        "kernels in a row": f"{sum(p.trips * p.kernels for p in pieces):,}",
    }
    for device in ACCELERATORS:
        seconds = sum(piece.seconds(device) for piece in pieces)
        row[f"{device.name}: update (ms)"] = f"{1e3 * seconds:.3g}"
        row[f"{device.name}: a network (ms)"] = f"{1e3 * seconds / networks:.3g}"
    return row


def _page(rows: Sequence[Mapping[str, str]], parts: Sequence[tuple[str, Sequence[Piece]]]) -> str:
    table = _table([list(rows[0]), *(list(row.values()) for row in rows)])
    header = [
        "update",
        "piece",
        "trips",
        "products (MFLOP)",
        "all (MFLOP)",
        "memory (MB)",
        "kernels",
    ]
    loops = [
        [
            name, piece.name, str(piece.trips), f"{piece.products / 1e6:.3g}",
            f"{piece.flops / 1e6:.3g}", f"{piece.bytes / 1e6:.3g}", str(piece.kernels),
        ]
        for name, pieces in parts
        for piece in pieces
    ]  # fmt: skip
    promised = "\n".join(f"- {device.name}: {device.source}." for device in ACCELERATORS)
    assumed = "\n".join(f"- {line}" for line in ASSUMED)
    return f"""# The update on accelerators: an ESTIMATE

**Nothing on this page was measured on an accelerator.** Times measured on GPUs are in
[benchmark.md](benchmark.md). If you have another device, please measure: docs/accelerators.md says
how.

`python -m experiments.benchmark --estimate` writes this page from three sources: the traced update;
XLA's cost analysis of each loop's body, times its number of trips (for a CPU, jax
{jax.__version__}); and the makers' specifications. The head of `experiments/accelerators.py`
describes the method.

{table}

Specifications, taken as true:

{promised}

What is assumed:

{assumed}

The critical path has two parts. The rollout takes T steps forward and T backward. The pairs of
tiles are visited twice: once to be counted, once for loss and gradient. A population has no more
kernels in a row than one network.

## By loop, one trip

{_table([header, *loops])}
"""


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rest))
