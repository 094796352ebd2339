"""Damage to the files of a run: flipped, cut, zeroed, swapped, replaced, or strange ones added.

A run that continues in the folder gets exactly the right result, or one line that names the damage
and exit code 2. Rows and events that are lost are named, never invented.
"""

import contextlib
import io
import json
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import sicjax
from sicjax import config as config_module
from sicjax import runs
from sicjax.devices.layout import Layout
from sicjax.main import guarded
from sicjax.report import run_reports, snapshots
from sicjax.training.checkpoint import restore
from sicjax.training.checkpoint_files import latest_intact
from sicjax.training.metrics import read_metrics
from sicjax.training.population import Population
from sicjax.training.workdir import read_config
from tests.tensorboard_events import read_events

HARMS = (
    "flip",
    "flip",
    "flip",
    "cut",
    "zero",
    "swap",
    "fill",
    "empty",
    "remove",
    "folder",
    "stray",
)
JUNK = (b"", b"\0" * 300, b"[1]", b"null", b"[" * 5000, b'{"step": 60, "left": "all"}', b"\xff\xfe")


def harm(place: Path, what: str, chance: random.Random) -> str:
    """Damage one file; return what was done, and to which part of the file.

    Args:
        place: the file.
        what: one of `HARMS`; "stray" puts something beside the file instead.
        chance: where, and with what.
    """
    if what in ("remove", "folder"):
        place.unlink()
        if what == "folder":
            place.mkdir()
        return what
    if what == "stray":
        name = chance.choice(
            ["99", "stray", f"{place.name}.tmp", ".nfs0001", "events.out.tfevents.0"]
        )
        stray = place.with_name(name)
        if chance.random() < 0.4:
            stray.mkdir(exist_ok=True)
        elif not stray.exists():
            stray.write_bytes(chance.choice(JUNK))
        return f"stray {name}"
    content = bytearray(place.read_bytes())
    start, length = chance.randrange(max(len(content), 1)), chance.randint(1, 80)
    end = min(start + length, len(content))
    if what == "flip" and content:
        content[start] ^= 1 << chance.randrange(8)
    elif what == "cut":
        del content[start:]
    elif what == "zero":
        content[start:end] = bytes(end - start)
    elif what == "swap":
        after = content[end : end + length]
        content[start : end + length] = after + content[start:end]
    elif what == "fill":
        content[:] = chance.choice(JUNK)
    else:
        content.clear()
    place.write_bytes(content)
    return f"{what} at {start}"


def files(workdir: Path) -> list[Path]:
    """Return the files that can be damaged; every kind is equally likely."""
    return sorted(
        path
        for path in workdir.rglob("*")
        if path.is_file() and path.name not in (".lock", ".holder")
    )


def kind(place: Path, workdir: Path) -> str:
    """Return the kind of a run's file."""
    parts = place.relative_to(workdir).parts
    if parts[0] in ("checkpoints", "report", "snapshots"):
        return f"{parts[0]}: {parts[-1]}" if parts[0] == "report" else parts[0]
    return "events" if parts[0].startswith("events") else parts[0]


def numbers(workdir: Path) -> tuple[list[bytes], list[dict[str, Any]], set[Any]]:
    """The last checkpoint's arrays, the rows without their timing, and TensorBoard's numbers."""
    step, _ = latest_intact(workdir / "checkpoints")
    assert step is not None
    shapes = Population(read_config(workdir)).shapes
    leaves = jax.tree.leaves(restore(workdir / "checkpoints", step, shapes))
    rows = [
        {name: value for name, value in row.items() if name != "timing"}
        for row in read_metrics(workdir / "metrics.jsonl")
    ]
    return [leaf.tobytes() for leaf in leaves], rows, {*read_events(workdir)}


def problem(code: int, said: str, workdir: Path, wanted: Any) -> str:
    """Return what is wrong with a run in a damaged folder; "" if nothing is.

    Args:
        code: its exit code.
        said: its whole output.
        workdir: the folder, as it left it.
        wanted: `numbers` of an undisturbed run.
    """
    if "Traceback" in said or code not in (0, 2):
        return f"exit code {code}: {said[-800:]}"
    if code == 2:
        lines = [line for line in said.splitlines() if line.startswith("sicjax: ")]
        right = len(lines) == 1 and said.rstrip().endswith(lines[0]) and str(workdir) in lines[0]
        return "" if right else f"exit code 2: {said[-800:]}"
    leaves, rows, events = numbers(workdir)
    if leaves != wanted[0]:
        return f"other parameters: {said[-800:]}"
    if any(row not in wanted[1] for row in rows) or not events <= wanted[2]:
        return f"a wrong number was logged: {said[-800:]}"
    if len(rows) < len(wanted[1]) and "lacks rows" not in said:
        return f"{len(wanted[1]) - len(rows)} rows lost without a word: {said[-800:]}"
    return ""


def quiet_states(states, initial_state, batch):
    """A user's own loss term, so that the run has a method.json."""
    return jnp.mean(states**2)


def experiment(num_steps: int) -> Any:
    """The config of a run that is damaged."""
    config = config_module.default()
    config.num_steps, config.log_every, config.checkpoint_every = num_steps, 2, 2
    config.steps_per_dispatch, config.evaluation.recorded_path = 2, ""
    config.data.num_trajectories, config.data.trajectory_length = 4, 6
    config.model.num_units, config.model.hidden_width = 8, 4
    config.optimizer.accumulation, config.optimizer.learning_rate = 1, 1e-3
    config.optimizer.schedule = "cosine"  # which hangs on the decay_steps of config.json
    return config


def page_of(run: Any, here: Any) -> Path:
    """Stand in for a report: read the same files of the folder, and score nothing."""
    workdir = here.folder
    page = workdir / "report" / f"network_{run.network:03d}" / "report.html"
    rows = read_metrics(workdir / "metrics.jsonl", network=run.network)
    frames = snapshots.load(workdir, run.network)
    page.parent.mkdir(exist_ok=True)
    page.write_text(f"{len(rows)} rows, {len(frames)} frames\n")
    return page


class Damaged:
    """A run that was stopped half-way; it is damaged and continued in this process.

    Programs are compiled once, and a report is a page that lists what it has read.
    """

    def __init__(self, folder: Path) -> None:
        self.template, self.workdir = folder / "template", folder / "run"
        self._programs: dict[str, Any] = {}
        with self._cheap():
            method = sicjax.Method(terms={"quiet": quiet_states})
            config = experiment(4)
            config.optimizer.decay_steps = 12
            runs.train(config, self.template, method=method)
            maps = np.random.default_rng(0).random((8, 50, 50))
            snapshots.save(self.template, 0, snapshots.Snapshot(4, maps, 0.5, 1))
            pending = self.template / "report" / run_reports.PENDING
            pending.write_text(json.dumps({"step": 6, "left": [0]}))
            shutil.copytree(self.template, self.workdir)
            code, said = self.go_on()
            if code:
                raise AssertionError(said)
            self.wanted = numbers(self.workdir)

    @contextlib.contextmanager
    def _cheap(self) -> Iterator[None]:
        compile_anew = Layout.compile

        def compile_once(layout, function, *rows, donate=False):
            shapes = repr([(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(rows)])
            if shapes not in self._programs:
                self._programs[shapes] = compile_anew(layout, function, *rows, donate=donate)
            return self._programs[shapes]

        with (
            mock.patch.object(Layout, "compile", compile_once),
            mock.patch.object(run_reports, "_write_report", page_of),
        ):
            yield

    def go_on(self) -> tuple[int, str]:
        """Give the same command again; return its exit code and output."""
        method = sicjax.Method(terms={"quiet": quiet_states})
        output = io.StringIO()
        hangs = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(60)
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                code = guarded(lambda _: runs.train(experiment(6), self.workdir, method=method), [])
        except Exception as error:  # which a command would print at length
            code, output = 1, io.StringIO(f"Traceback: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, hangs)
        return code, output.getvalue()

    def case(self, number: int) -> tuple[str, str, int]:
        """Damage a copy of the run in a random way, and continue it.

        Returns:
            The file and what was done to it; what is wrong afterwards, or ""; the exit code.
        """
        chance, workdir = random.Random(number), self.workdir
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(self.template, workdir)
        kinds: dict[str, list[Path]] = {}
        for path in files(workdir):
            kinds.setdefault(kind(path, workdir), []).append(path)
        order = [*sorted(kinds), "checkpoints", "checkpoints"]  # which have most files
        turn, which = divmod(number, len(order))
        place = chance.choice(kinds[order[which]])
        what = harm(place, HARMS[(turn + which) % len(HARMS)], chance)
        what = f"{order[which]}: {place.name}: {what}"
        with self._cheap():
            code, said = self.go_on()
        try:
            return what, problem(code, said, workdir, self.wanted), code
        except Exception as error:
            return what, f"can't be read afterwards ({error}): {said[-800:]}", code


def tried(cases: Sequence[tuple[str, str, int]]) -> str:
    """A line of the table."""
    failed = [f"{what}: {wrong}" for what, wrong, _ in cases if wrong]
    if failed:
        return f"FAILED: {len(failed)} of {len(cases)}: {' '.join(failed[0].split())}"
    refused = sum(code == 2 for *_, code in cases)
    kinds = sorted({what.partition(": ")[0] for what, *_ in cases})
    return (
        f"{len(cases)} times ({', '.join(kinds)}): {len(cases) - refused} went on, the parameters"
        f" equal bit for bit, every logged number right and every lost row said; {refused} ended"
        " with one line that names the file and exit code 2; 0 failed"
    )
