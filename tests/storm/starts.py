"""Starts with impossible input: sizes beyond any machine, damaged recorded paths, missing backends.

Each ends with exit code 2 and one line that names what is wrong, before anything is written. Input
that is accepted in spite of the damage must give the recorded numbers.
"""

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sicjax.config import changed
from sicjax.config.files import load_config
from sicjax.errors import ConfigError
from sicjax.main import main
from sicjax.report.run_reports import recorded_walk
from tests.storm.damage import HARMS, harm

SIZES = (
    "data.num_trajectories", "data.trajectory_length", "model.num_units", "model.hidden_width",
    "model.num_layers", "num_networks",
)  # fmt: skip
COUNTS = (
    "num_steps", "steps_per_dispatch", "log_every", "checkpoint_every", "keep_checkpoints",
    "optimizer.warmup_steps", "optimizer.decay_steps", "optimizer.accumulation",
)  # fmt: skip
LARGEST_PATH_M = 1e4  # a path further out is no rat's
PATIENCE_S = 60
BACKENDS = {
    "JAX_PLATFORMS": ("cuda", "cuad", "gpu", "rocm", "tpu", "metal", "cuda,cpu", "CPU", "cpu "),
    "JAX_NUM_CPU_DEVICES": ("two", "-2", "1.5", "100000", "9" * 40, "1e3", "²"),
    "SLURM_STEP_NUM_TASKS": ("many", "-1", "0", "1.5", "²"),
}


def told(code: int | None, said: str, names: str) -> str:
    """Return what is wrong with a refusal, or ""; a right one is one line that names the fault."""
    line = said.rstrip("\n").rpartition("\n")[2]
    right = code == 2 and line.startswith("sicjax: ") and names in line
    right &= said.count("sicjax: ") == 1 and "Traceback" not in said
    return "" if right else f"exit code {code}: {said[-800:]}"


def size(number: int, folder: Path) -> tuple[str, str]:
    """Set one field to a number beyond any machine; return what was done, and the fault."""
    chance = random.Random(number)
    field = (SIZES + COUNTS)[number % len(SIZES + COUNTS)]
    smallest = 9 if field in SIZES else 31 * np.log10(2)
    value = int(10 ** chance.uniform(smallest, 15)) * 10 ** chance.choice([0, 0, 0, 5, 40])
    workdir, output = folder / "run", io.StringIO()
    flags = ["--config=quick", f"--workdir={workdir}", f"--config.{field}={value}"]
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(PATIENCE_S)  # then it hangs
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = main(flags)
    except BaseException as error:  # which a command would print at length
        return f"{field}={value}", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    wrong = told(code, output.getvalue(), field)
    return f"{field}={value}", wrong or ("made a folder" if workdir.exists() else "")


def path(number: int, folder: Path) -> tuple[str, str]:
    """Damage one file of a recorded path; return what was done, and what is wrong then."""
    chance = random.Random(number)
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"walk_{number}.{'npz' if number % 2 else 'npy'}"
    steps = np.random.default_rng(number).normal(0, 0.01, (300, 2))
    positions = steps.cumsum(axis=0)
    if place.suffix == ".npz":
        np.savez(place, positions=positions)
    else:
        np.save(place, positions)
    whole = place.read_bytes()
    config = changed(load_config("quick"), {"evaluation.recorded_path": str(place)})
    wanted, _ = recorded_walk(config)
    kinds = [kind for kind in HARMS if kind != "stray"]
    what = f"{place.suffix}: {harm(place, kinds[number // 2 % len(kinds)], chance)}"
    try:
        walk, _ = recorded_walk(config)
    except ConfigError as error:
        named = str(error).startswith(f"evaluation.recorded_path={place}: ")
        return what, "" if named and "\n" not in str(error) else str(error)
    except Exception as error:
        return what, f"{type(error).__name__}: {error}"
    assert walk is not None
    assert wanted is not None
    found = np.asarray(walk.positions)
    if not (np.isfinite(found).all() and np.abs(found).max() < LARGEST_PATH_M):
        return what, "positions that are no metres"
    same = found.shape == wanted.positions.shape and np.array_equal(found, wanted.positions)
    # Of the two only .npz has checksums; a number that has changed in .npy is another number.
    return what, "" if same or place.suffix == ".npy" or place.read_bytes() == whole else "believed"


def backend(variable: str, value: str, folder: Path) -> tuple[str, str]:
    """Set one variable of the environment that asks for something missing."""
    workdir = folder / "run"
    command = [sys.executable, "-m", "sicjax.main", "--config=quick", f"--workdir={workdir}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", variable: value}
    done = subprocess.run(
        [*command, "--config.num_networks=2000000000"],  # refused, where the variable isn't
        env=environment, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_S,
    )  # fmt: skip
    names = variable if variable in done.stderr else "num_networks"
    wrong = told(done.returncode, done.stderr, names)
    return f"{variable}={value}", wrong or ("made a folder" if workdir.exists() else "")


def starts(folder: Path, name: str, number: int) -> tuple[str, str]:
    """Try one class of starts; return its description and a line of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "sizes":
        about = "A field holds a size or a number of updates beyond any machine (1e9 to 1e55)"
        cases: Sequence[tuple[str, str]] = [size(k, folder) for k in range(number)]
    elif name == "paths":
        about = "The file of a recorded path is flipped, cut, zeroed, swapped, filled or removed"
        cases = [path(k, folder) for k in range(number)]
    else:
        about = "The environment asks for a backend, devices or tasks that aren't there"
        pairs = [(variable, value) for variable, values in BACKENDS.items() for value in values]
        cases = [backend(*pair, folder) for pair in pairs[:number]]
    failed = [f"{what}: {wrong}" for what, wrong in cases if wrong]
    if failed:
        return about, f"FAILED: {len(failed)} of {len(cases)}: {' '.join(failed[0].split())}"
    return about, (
        f"{len(cases)} times: one line that names it and exit code 2, nothing made, or taken as it"
        " was written; 0 failed"
    )
