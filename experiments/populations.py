"""Time our update and straightforward ones for populations, in turn on one device.

python -m experiments.benchmark --populations [--json] [--config.FIELD=VALUE ...]
"""

import math
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import yardstick
from experiments.accelerators import NETWORKS
from experiments.timing import Compiled, compile_step, device, seconds_of
from sicjax.config.check import changed
from sicjax.devices.layout import make_layout
from sicjax.devices.memory import device_bytes, device_limit
from sicjax.errors import one_line
from sicjax.training.step import Loss

FUSED = {  # name of a way to make an update on a GPU -> its config fields
    "ours, fused pairs": ["fused_pairs"],
    "ours, fused rollout": ["fused_rollout"],
    "ours, both fused": ["fused_pairs", "fused_rollout"],
}
AT_ONCE = 50  # updates of one call, as in a training


def populations(recipes: Mapping[str, ConfigDict]) -> list[dict[str, Any]]:
    """Time an update of populations on the first device, ours and straightforward ones in turn.

    Several updates run in one call; the fastest of three calls counts. An update that needs more
    memory than there is, or that the device cannot take, has no time, and `note` says why.
    """
    measured = max(yardstick.compile_rate(shape)() for shape in yardstick.SHAPES)
    rates = yardstick.limits(device(), measured)
    about = {"device": device(), "jax": jax.__version__}
    rows = []
    for recipe, config in recipes.items():
        for networks in NETWORKS:
            other = config.copy_and_resolve_references()
            other.num_networks = networks
            flops = networks * yardstick.pair_flops(other)
            found = side_by_side(other)
            for row in found:
                seconds, ours = row["step_s"], found[0]["step_s"]
                row["a_network_s"] = seconds / networks
                row["over_ours"] = seconds / ours
                row |= {f"over_{name}": seconds * rate / flops for name, rate in rates.items()}
                rows.append({"recipe": recipe, "P": networks, **row, **about})
                print(rows[-1], file=sys.stderr, flush=True)
    return [{name: None if value != value else value for name, value in row.items()}
            for row in rows]  # fmt: skip


def side_by_side(config: ConfigDict) -> list[dict[str, Any]]:
    """Return a row for each way to make an update, ours first: name, seconds or NaN, memory."""
    ways = {"ours": partial(compile_step, config, steps=AT_ONCE)}
    if jax.default_backend() == "gpu":
        for name, fields in FUSED.items():
            fused = changed(config, dict.fromkeys(fields, True))
            ways[name] = partial(compile_step, fused, steps=AT_ONCE)
    for name, loss in yardstick.straightforward_losses(config).items():
        ways[name] = partial(compile_straightforward, config, name, loss)
    programs: dict[str, Compiled] = {}
    notes = dict.fromkeys(ways, "")
    for name, compile_way in ways.items():
        try:
            program = compile_way()
            program.run()
            programs[name] = program
        except Exception as error:  # the other ways are measured still
            notes[name] = one_line(error)[:200]
    times = dict.fromkeys(ways, math.nan)
    for _ in range(3):
        for name, program in programs.items():
            times[name] = np.fmin(times[name], seconds_of(program.run) / AT_ONCE)
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", math.nan)
    rows = []
    for name in ways:
        compile_s, needed = programs[name][1:] if name in programs else (math.nan, math.nan)
        rows.append(
            {"step": name, "step_s": float(times[name]), "compile_s": compile_s,
             "program_mb": needed / 1e6, "device_peak_mb": peak / 1e6, "note": notes[name]}
        )  # fmt: skip
    return rows


def compile_straightforward(config: ConfigDict, name: str, loss: Loss) -> Compiled:
    """Compile several straightforward updates of a population.

    Raises:
        MemoryError: its largest array alone is beyond the device's memory.
    """
    room = device_limit(make_layout(config.num_networks, "networks", 1))
    needed = yardstick.largest_array(config, name)
    if room is not None and needed > room:
        raise MemoryError(f"one array needs {needed / 1e9:.0f} GB, the device has {room / 1e9:.0f}")
    began = time.perf_counter()
    run, program = yardstick.compile_vmapped(config, loss, AT_ONCE)
    return Compiled(run, time.perf_counter() - began, device_bytes(program))
