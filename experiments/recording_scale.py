"""Measure time and memory of `score_recording` on a long session of many cells.

    python -m experiments.recording_scale [--cells=1000] [--minutes=60] [--shuffles=1000]
        [--opexebo=PYTHON] [--ephysiopy=PYTHON]

An animal walks at 0.2 m/s through a box of 1.2 m, tracked at 50 Hz. Half of the cells are grid
cells of 0.3 to 0.6 m, the others fire at one rate. Every cell is scored against its time shifts.
Then the grid scores of 200 of the rate maps alone are timed on one core, beside those of opexebo
and ephysiopy, each in an interpreter that has it (`experiments.map_scorers`), in turn, three
rounds. The command prints the tables, and writes them into `experiments/results/recordings.md`.
"""

import contextlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.benchmark import as_table
from experiments.recordings import INPUTS, SCALE, page, write_page
from sicjax import command
from sicjax.analysis import synthetic
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.ratemaps import bin_index
from sicjax.analysis.recordings import RecordingAnalysis, score_recording
from sicjax.errors import ConfigError
from sicjax.workers import available_cores

BOX_M, STEP_S, SPEED = 1.2, 0.02, 0.2
PERIODS_M = (0.3, 0.6)
MAPS, ROUNDS = 200, 3
ROOT = Path(__file__).parent.parent


def simulate(
    cells: int, minutes: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return times [S] in s, positions [S, 2] in m, and spike times of each cell."""
    times = np.arange(0, 60 * minutes, STEP_S)
    heading = np.cumsum(rng.normal(0, 0.15, len(times)))
    steps = SPEED * STEP_S * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    # The walls reflect the walk.
    positions = BOX_M / np.pi * np.arcsin(np.sin(np.cumsum(steps, axis=0) * np.pi / BOX_M))
    bins = bin_index(positions * (1 - 1e-9), BOX_M, 240)
    spikes = []
    for n in range(cells):
        rate = np.full(len(times), rng.uniform(0.5, 5))  # Hz
        if n % 2:
            basis = synthetic.hexagonal_basis(rng.uniform(*PERIODS_M), rng.uniform(0, 60))
            ratemap = synthetic.lattice_map(basis, box_m=BOX_M, bins=240, phase=rng.random(2))
            rate = 0.3 + rng.uniform(5, 15) * ratemap.ravel()[bins]
        count = rng.poisson(rate * STEP_S)
        spikes.append(np.sort(np.repeat(times, count) + rng.uniform(0, STEP_S, count.sum())))
    return times, positions, [train[train < times[-1]] for train in spikes]


def score(cells: int, minutes: float, shuffles: int) -> tuple[dict[str, str], RecordingAnalysis]:
    """Simulate and score a session; return a row of the table, and the analysis."""
    session = simulate(cells, minutes, np.random.default_rng(0))
    began, processor_s = time.monotonic(), _processor_s()
    with _memory_of_children() as children_mb:
        found = score_recording(*session, units="m", num_shuffles=shuffles)
    wall_s, processor_s = time.monotonic() - began, _processor_s() - processor_s
    called = [int(np.sum(found.kind[k::2] == "grid")) for k in (1, 0)]
    return {
        "cells": f"{cells:,}",
        "session (min)": f"{minutes:g}",
        "shifts of each": f"{shuffles:,}",
        "spikes of a cell (median)": f"{np.median([len(s) for s in session[2]]):,.0f}",
        "cores": str(available_cores()),
        "time (s)": f"{wall_s:.0f}",
        "processor time (s)": f"{processor_s:.0f}",
        "processor time of a cell and shift (ms)": f"{1e3 * processor_s / cells / shuffles:.2f}",
        "largest memory (MB): this process, its largest worker": (
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / 1e6:.0f}, "
            + (f"{max(children_mb.values()):.0f}" if children_mb else "–")
        ),
        "called grid: of the grid cells, of the others": (
            f"{called[0]} of {cells // 2} and {called[1]} of {cells - cells // 2}"
        ),
    }, found


_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; of ru_maxrss


@contextlib.contextmanager
def _memory_of_children() -> Iterator[dict[int, float]]:
    """Yield a table that gets the largest memory in MB of each child process; Linux only."""
    found: dict[int, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            for place in Path("/proc").glob("[0-9]*/status"):
                with contextlib.suppress(OSError):  # the process has ended
                    about = dict(re.findall(r"^(\w+):\s+(\d+)", place.read_text(), re.MULTILINE))
                    if about["PPid"] == str(os.getpid()) and "VmHWM" in about:
                        found[int(about["Pid"])] = int(about["VmHWM"]) * 1024 / 1e6

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def _processor_s() -> float:
    """Return the processor time of this process and of its ended children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def check_package(name: str, python: str) -> None:
    """Load another package's scorer in its interpreter, before anything long begins.

    Raises:
        ConfigError: it can't be loaded.
    """
    program = f"from experiments.map_scorers import SCORERS; SCORERS[{name!r}]()"
    try:
        subprocess.run(
            [python, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True
        )
    except OSError as error:
        raise ConfigError(f"--{name}={python}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip().splitlines() or ["it ends without a message"])[-1]
        raise ConfigError(f"--{name}={python}: can't load {name}: {why}") from None


def compare(ratemaps: np.ndarray, others: Mapping[str, str]) -> list[dict[str, str]]:
    """Time one grid score per map, of sicjax and of other packages in turn; return the rows."""
    # Idle threads of BLAS count as processor time, too: they would double opexebo's.
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    seconds: dict[str, list[float]] = {"sicjax": [], **{name: [] for name in others}}
    with tempfile.TemporaryDirectory() as folder:
        maps, out = Path(folder) / "maps.npy", Path(folder) / "scores.npz"
        np.save(maps, ratemaps)
        scores = {"sicjax": score_ratemaps(ratemaps, BOX_M).grid_score}
        for _ in range(ROUNDS):
            began = time.process_time()
            score_ratemaps(ratemaps, BOX_M)
            seconds["sicjax"].append(time.process_time() - began)
            for name, python in others.items():
                program = [python, "-m", "experiments.map_scorers", name, str(maps), str(out)]
                subprocess.run(program, check=True, cwd=ROOT, env=one_thread)
                with np.load(out) as given:
                    scores[name] = given["grid_score"]
                    seconds[name].append(float(given["seconds"]))
    return [
        {
            "package": name,
            "processor time of a map (ms)": f"{1e3 * np.median(spent) / len(ratemaps):.1f}",
            "over that of sicjax": f"{np.median(np.divide(spent, seconds['sicjax'])):.0f}",
            "maps with a score": f"{np.isfinite(scores[name]).sum()} of {len(ratemaps)}",
        }
        for name, spent in seconds.items()
    ]


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write the section of the page."""
    parser = command.Parser(__doc__)
    parser.add_argument("--cells", type=command.whole_number(2), default=1000)
    parser.add_argument("--minutes", type=command.whole_number(5), default=60)
    parser.add_argument("--shuffles", type=command.whole_number(1), default=1000)
    for name in ("opexebo", "ephysiopy"):
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"time {name}, too")
    options = parser.read(arguments)
    given = {name: getattr(options, name) for name in ("opexebo", "ephysiopy")}
    others = {name: python for name, python in given.items() if python}
    for name, python in others.items():
        check_package(name, python)
    row, found = score(options.cells, options.minutes, options.shuffles)
    rows = compare(found.ratemaps[:MAPS], others)
    section = "\n".join([
        SCALE,
        "",
        "`python -m experiments.recording_scale`: one simulated session, and then the grid scores"
        " of its rate maps alone, on one core.",
        "",
        as_table([{"quantity": name, "value": value} for name, value in row.items()]),
        "",
        as_table(rows),
        "",
    ])  # fmt: skip
    print(section)
    before, heading, inputs = page().partition(INPUTS)
    write_page(f"{before.partition(SCALE)[0].rstrip()}\n\n{section}\n{heading}{inputs}")


if __name__ == "__main__":
    command.run(main)
