"""The harms that `python -m experiments.fault_storm` does to a run, and the checks of its end.

A tiny population is trained again and again by `python -m sicjax.main`, as a user would. Each harm
is done to it, the same command is started again, and the end is compared with an uninterrupted run:
every array of the last checkpoint bit for bit, every row of metrics.jsonl without its `timing`, and
every number in TensorBoard's files.
"""

import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sicjax.training.checkpoint import restore
from sicjax.training.checkpoint_files import latest_intact, steps
from sicjax.training.metrics import read_metrics
from sicjax.training.population import Population
from sicjax.training.workdir import read_config
from tests.tensorboard_events import read_events

CONFIG = """
from sicjax.config import default

def get_config():
    config = default()
    config.num_networks, config.num_steps = 3, 3000
    config.log_every, config.checkpoint_every, config.steps_per_dispatch = 50, 150, 25
    config.report, config.evaluation.recorded_path = {report}, ""
    config.data.num_trajectories, config.data.trajectory_length = 4, 6
    config.model.num_units, config.model.hidden_width = 8, 4
    config.optimizer.accumulation, config.optimizer.learning_rate = 1, 1e-3
    config.optimizer.schedule = "constant"
    return config
"""
# One day back, as if the clock were corrected, but only for this process.
CLOCK_SET_BACK = (
    "import sys, time; now = time.time; time.time = lambda: now() - 86400;"
    " from sicjax.main import main; sys.exit(main(sys.argv[1:]))"
)
PATIENCE_S = 1200.0


@dataclasses.dataclass
class Stage:
    """The folder of the storm, and the end of an uninterrupted run."""

    folder: Path
    random: random.Random
    seconds: float = 0.0  # of an uninterrupted run
    cold_seconds: float = 0.0  # the same with all to compile
    wanted: Any = None  # its end

    def config(self, *, report: bool = False) -> Path:
        """The config file."""
        path = self.folder / f"tiny{'_report' * report}.py"
        path.write_text(CONFIG.format(report=report))
        return path

    def start(
        self, workdir: Path, *extra: str, report: bool = False, cache: str = "cache",
        program: Sequence[str] = ("-m", "sicjax.main"), **options: Any,
    ) -> subprocess.Popen:  # fmt: skip
        """Start a run; its output goes to a file beside the workdir."""
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "XDG_CACHE_HOME": str(self.folder / cache),
        }
        flags = [f"--config={self.config(report=report)}", f"--workdir={workdir}", *extra]
        with self.log(workdir).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *program, *flags], env=environment, stdout=log,
                stderr=subprocess.STDOUT, **options,
            )  # fmt: skip

    def log(self, workdir: Path) -> Path:
        """Return the file with the output of a workdir's runs."""
        return self.folder / f"{workdir.name}.log"

    def finish(self, workdir: Path, **options: Any) -> tuple[int, str]:
        """Run to the end; return the exit code and the output of this run."""
        log = self.log(workdir)
        before = log.stat().st_size if log.exists() else 0
        code = self.start(workdir, **options).wait(PATIENCE_S)
        return code, log.read_bytes()[before:].decode(errors="replace")


def end_of(workdir: Path) -> tuple[list[np.ndarray], tuple[Any, Any]]:
    """Return the last checkpoint's arrays, the logged rows without timing, and the events."""
    config = read_config(workdir)
    step, damaged = latest_intact(workdir / "checkpoints")
    if step is None or damaged:
        raise AssertionError(f"{workdir}: {damaged or 'no checkpoint'}")
    states = jax.tree.leaves(restore(workdir / "checkpoints", step, Population(config).shapes))
    rows = [
        {name: value for name, value in row.items() if name != "timing"}
        for row in read_metrics(workdir / "metrics.jsonl")
    ]
    return states, (rows, sorted(read_events(workdir)))


def same_end(workdir: Path, wanted: Any) -> bool:
    """Return whether a run ended as the uninterrupted one, bit for bit."""
    states, logged = end_of(workdir)
    pairs = zip(states, wanted[0], strict=True)
    return logged == wanted[1] and all(a.tobytes() == b.tobytes() for a, b in pairs)


def phase(stage: Stage, workdir: Path, said: int) -> str:
    """Return what a run was doing when it was killed, judged by the files that it left."""
    text = stage.log(workdir).read_bytes()[said:].decode(errors="replace")
    if "report" in text:
        return "report"
    if any((workdir / "checkpoints").glob("*tmp*")):
        return "save"
    if "compiled in" in text:
        return "step"
    return "start and compile"


def storm(stage: Stage, number: int, sent: signal.Signals) -> str:
    """Interrupt at random moments and start again, over and over."""
    name = sent.name.lower()
    workdir, ends, lost = stage.folder / name, 0, 0
    seen: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    while sum(seen.values()) < number:
        cold = stage.random.random() < 0.2
        cache = f"cold_{name}" if cold else "cache"
        shutil.rmtree(stage.folder / f"cold_{name}", ignore_errors=True)
        said = stage.log(workdir).stat().st_size if stage.log(workdir).exists() else 0
        run = stage.start(workdir, cache=cache)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(stage.random.uniform(0, stage.cold_seconds if cold else stage.seconds))
        if run.poll() is None:
            seen[phase(stage, workdir, said)] += 1
            run.send_signal(sent)
        code = run.wait(PATIENCE_S)
        codes[code] += 1
        _, damaged = latest_intact(workdir / "checkpoints")
        if damaged:
            return f"FAILED: {damaged}"
        if sent is signal.SIGTERM and code == 75:
            stopped = (
                stage.log(workdir).read_text().rpartition("stopped at update ")[2].split(";")[0]
            )
            lost += int(stopped) - max(steps(workdir / "checkpoints"), default=0)
        if code == 0:
            ends += 1
            if not same_end(workdir, stage.wanted):
                return f"FAILED: end {ends} differs from the uninterrupted run"
            shutil.rmtree(workdir)
    stage.finish(workdir)
    if not same_end(workdir, stage.wanted):
        return "FAILED: the end differs from the uninterrupted run"
    where = ", ".join(f"{count} in {what}" for what, count in sorted(seen.items()))
    told = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items()))
    steps_lost = f"; {lost} updates lost" if sent is signal.SIGTERM else ""
    return (
        f"{sum(seen.values())} times ({where}); exit codes {told}; every checkpoint intact;"
        f" {ends + 1} runs came to their end, each equal bit for bit{steps_lost}"
    )


def kills(stage: Stage, number: int) -> str:
    """`kill -9` at random moments."""
    return storm(stage, number, signal.SIGKILL)


def terminations(stage: Stage, number: int) -> str:
    """SIGTERM at random moments."""
    return storm(stage, number, signal.SIGTERM)


def doubles(stage: Stage, number: int) -> str:
    """Ctrl-C twice within 50 ms at random moments."""
    workdir, seen, slowest = stage.folder / "doubles", 0, 0.0

    def listen() -> None:  # independent of how this process was started
        signal.signal(signal.SIGINT, signal.default_int_handler)

    while seen < number:
        said = stage.log(workdir).stat().st_size if stage.log(workdir).exists() else 0
        run = stage.start(workdir, preexec_fn=listen)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(stage.random.uniform(0.2, stage.seconds))
        run.send_signal(signal.SIGINT)
        time.sleep(stage.random.uniform(0.02, 0.05))
        run.send_signal(signal.SIGINT)
        began = time.monotonic()
        code = run.wait(PATIENCE_S)
        if code == 0:  # it was through
            shutil.rmtree(workdir)
            continue
        seen, slowest = seen + 1, max(slowest, time.monotonic() - began)
        text = stage.log(workdir).read_bytes()[said:].decode(errors="replace")
        if code != 130 or text.count("sicjax: stopped at") != 1 or "Traceback" in text:
            return f"FAILED: exit code {code}, {text[-300:]}"
        if slowest > 2:
            return f"FAILED: ended only after {slowest:.1f} s"
    stage.finish(workdir)
    if not same_end(workdir, stage.wanted):
        return "FAILED: the end differs from the uninterrupted run"
    return (
        f"{seen} times; each ended with one line and 130 within {slowest:.1f} s; started again, it"
        " came to the same end, bit for bit"
    )


def report_kills(stage: Stage, number: int) -> str:
    """`kill -9` while the reports are written."""
    workdir, seen = stage.folder / "report", 0
    began = time.monotonic()
    code, text = stage.finish(workdir, report=True)
    if code:
        return f"FAILED: {text[-300:]}"
    seconds = time.monotonic() - began
    report = workdir / "report"
    while seen < number:
        run = stage.start(workdir, report=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(stage.random.uniform(0.1, 0.9) * seconds)
        seen += run.poll() is None
        run.kill()
        run.wait()
        for page in report.glob("network_*/report.html"):
            json.loads((page.parent / "summary.json").read_text())
            if not page.read_text().rstrip().endswith("</html>"):
                return f"FAILED: half a page at {page}"
    code, text = stage.finish(workdir, report=True)
    if code or len(list(report.glob("network_*/report.html"))) != 3 or list(report.glob(".*")):
        return f"FAILED: exit code {code}, {sorted(report.iterdir())}"
    return f"{seen} times; never half a report; the next start completed all three"


def harmed(stage: Stage, name: str, harm: Callable[[Path], None]) -> str:
    """Harm the newest checkpoint of a run that was stopped half-way, and continue it."""
    workdir = stage.folder / name
    code = stopped_half_way(stage, workdir)
    newest = steps(workdir / "checkpoints")[0]
    harm(workdir / "checkpoints" / str(newest))
    code, text = stage.finish(workdir)
    told = [line for line in text.splitlines() if "is damaged" in line]
    if code or not told or not same_end(workdir, stage.wanted):
        return f"FAILED: exit code {code}, {text[-300:]}"
    told_where = told[0].partition("; ")[2].replace(str(stage.folder), "...")
    return f"said so, and went back ({told_where}); the end is equal bit for bit"


def stopped_half_way(stage: Stage, workdir: Path) -> int:
    """Run until two checkpoints are there, then SIGTERM."""
    run = stage.start(workdir)
    wait_for(lambda: len(steps(workdir / "checkpoints")) >= 2, run)
    run.terminate()
    return run.wait(PATIENCE_S)


def wait_for(holds: Callable[[], bool], run: subprocess.Popen) -> None:
    """Wait until a condition holds, while a run continues."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if run.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the run ended with {run.poll()} before its time")
        time.sleep(0.01)


def largest_file(place: Path) -> Path:
    """The file that holds the arrays."""
    files = (path for path in (place / "state").rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def truncation(stage: Stage) -> str:
    """The largest file of the newest checkpoint loses its second half."""

    def harm(place: Path) -> None:
        path = largest_file(place)
        os.truncate(path, path.stat().st_size // 2)

    return harmed(stage, "truncation", harm)


def bit_flip(stage: Stage) -> str:
    """One bit of the largest file of the newest checkpoint flips."""

    def harm(place: Path) -> None:
        path = largest_file(place)
        content = bytearray(path.read_bytes())
        content[stage.random.randrange(len(content))] ^= 1 << stage.random.randrange(8)
        path.write_bytes(content)

    return harmed(stage, "bit_flip", harm)


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Iterator[bool]:
    """Mount a file system at `place`; return False if this is not allowed."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


def full_disk(stage: Stage) -> str:
    """The disk fills up in the middle of a run; later there is room again."""
    disk = stage.folder / "disk"
    with small_disk(disk, "size=2m") as mounted:
        workdir = disk / "full_disk" if mounted else stage.folder / "full_disk"
        if mounted:
            run = stage.start(workdir)
            wait_for(lambda: len(steps(workdir / "checkpoints")) >= 2, run)
            with contextlib.suppress(OSError), (disk / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(4096))
                    filler.flush()
        else:  # a limit on the size of files replaces it
            limit = (4000, resource.RLIM_INFINITY)
            run = stage.start(
                workdir, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            )
        code = run.wait(PATIENCE_S)
        lines = stage.log(workdir).read_text().splitlines()
        said = lines[-1].replace(str(stage.folder), "...") if lines else ""
        if code != 2 or "sicjax: workdir=" not in said:
            return f"FAILED: exit code {code}, {said}"
        with contextlib.suppress(FileNotFoundError):
            (disk / "filler").unlink()
        code, text = stage.finish(workdir)
        if code or not same_end(workdir, stage.wanted):
            return f"FAILED afterwards: exit code {code}, {text[-300:]}"
    kind = "a full tmpfs" if mounted else "a limit on file sizes"
    return f"({kind}) exit code 2, `{said}`; with room again it went on, equal bit for bit"


def read_only(stage: Stage) -> str:
    """The workdir is on a disk that is mounted read-only."""
    disk = stage.folder / "read_only_disk"
    with small_disk(disk, "ro,size=1m") as mounted:
        if not mounted:
            disk.chmod(0o555)
            if os.geteuid() == 0:
                return "not tried: root may write anywhere, and can't mount here"
        code, text = stage.finish(disk / "run")
    lines = text.strip().splitlines()
    if code != 2 or "can't be written" not in lines[-1]:
        return f"FAILED: exit code {code}, {text[-300:]}"
    return f"exit code 2, `{lines[-1].replace(str(stage.folder), '...')}`"


def workdir_removed(stage: Stage) -> str:
    """The workdir is removed under a run."""
    workdir = stage.folder / "removed"
    run = stage.start(workdir)
    wait_for(lambda: len(steps(workdir / "checkpoints")) >= 2, run)
    workdir.rename(stage.folder / "removed_to_here")
    code = run.wait(PATIENCE_S)
    said = stage.log(workdir).read_text().splitlines()[-1].replace(str(stage.folder), "...")
    if code != 2 or "was removed" not in said:
        return f"FAILED: exit code {code}, {said}"
    return f"exit code 2, `{said}`"


def clock_set_back(stage: Stage) -> str:
    """A run goes on after its clock was set back by a day."""
    workdir = stage.folder / "clock"
    stopped_half_way(stage, workdir)
    code, text = stage.finish(workdir, program=("-c", CLOCK_SET_BACK))
    if code or "resumed at step" not in text or not same_end(workdir, stage.wanted):
        return f"FAILED: exit code {code}, {text[-300:]}"
    return "went on from its last update; equal bit for bit"


def second_run(stage: Stage) -> str:
    """Two runs on one workdir."""
    workdir = stage.folder / "second"
    first = stage.start(workdir)
    wait_for(lambda: bool(steps(workdir / "checkpoints")), first)
    first.send_signal(signal.SIGSTOP)  # so that it isn't done before the second has started
    code, text = stage.finish(workdir)
    first.send_signal(signal.SIGCONT)
    refused = code == 2 and "another run is using it" in text
    if first.wait(PATIENCE_S) or not refused or not same_end(workdir, stage.wanted):
        return f"FAILED: exit codes {code}, {first.returncode}, {text[-300:]}"
    return "the second ended with exit code 2; the first went on, equal bit for bit"


def killed_peer(stage: Stage) -> str:
    """One of two processes is killed, each in turn; then both are started again."""
    told = []
    for victim in (1, 0):
        workdir = stage.folder / f"peer_{victim}"
        runs = start_two(stage, workdir)
        wait_for(lambda: len(steps(workdir / "checkpoints")) >= 2, runs[0])  # noqa: B023
        began = time.monotonic()
        runs[victim].kill()
        code = runs[1 - victim].wait(PATIENCE_S)
        seconds = time.monotonic() - began
        if code == 0 or seconds > 60:
            return f"FAILED: process {1 - victim} ended with {code} after {seconds:.0f} s"
        told.append(f"process {1 - victim} ended after {seconds:.0f} s with {code}")
        codes = [run.wait(PATIENCE_S) for run in start_two(stage, workdir)]
        if codes != [0, 0] or not same_end(workdir, stage.wanted):
            return f"FAILED: exit codes {codes} after the restart, or another end"
    return "; ".join(told) + "; both started again came to the same end, bit for bit"


def start_two(stage: Stage, workdir: Path) -> list[subprocess.Popen]:
    """Two processes with two devices each, of one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    where = (f"--coordinator=localhost:{port}", "--num_processes=2")
    return [stage.start(workdir, *where, f"--process_id={k}") for k in (0, 1)]


def prepare(folder: Path, seed: int) -> Stage:
    """Run without interruption, with all to compile and with nothing."""
    stage = Stage(folder, random.Random(seed))
    for name in ("cold", "warm"):
        began = time.monotonic()
        code, text = stage.finish(folder / name)
        if code:
            raise AssertionError(text)
        stage.cold_seconds = stage.cold_seconds or time.monotonic() - began
        stage.seconds = time.monotonic() - began
    stage.wanted = end_of(folder / "cold")
    if not same_end(folder / "warm", stage.wanted):
        raise AssertionError("two uninterrupted runs differ")
    return stage
