"""Kills a run at its requests to a bucket, starts it again, and compares it with an unbroken run.

`python -m tests.storm.buckets PROGRAMS` is the process that forks the runs: a line of its input is
a command's arguments as JSON; its answers are the fork's process id, then its exit status.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sicjax.paths import path
from sicjax.training.checkpoint import restore
from sicjax.training.checkpoint_files import latest_intact, steps
from sicjax.training.population import Population
from sicjax.training.workdir import read_config
from tests.bucket import NAME, Bucket
from tests.tensorboard_events import read_events

CONFIG = """
from sicjax.config import default

def get_config():
    config = default()
    config.num_networks, config.num_steps, config.steps_per_dispatch = 2, 8, 2
    config.log_every, config.checkpoint_every, config.keep_checkpoints = 2, 2, 1
    config.data.num_trajectories, config.data.trajectory_length = 4, 6
    config.model.num_units, config.model.hidden_width = 8, 4
    config.report, config.compilation_cache, config.parallel = False, False, "networks"
    return config
"""


class Runs:
    """Runs the command on folders of a bucket, each time in a new process."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        self.config = folder / "tiny.py"
        self.config.write_text(CONFIG)
        (folder / "programs").mkdir()
        # A program that comes out of JAX's cache can't be handed to the next run.
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.storm.buckets", folder / "programs", folder / "said"],
            env={**environment, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, name: str, kill_at: int = 0, *, after: bool = False) -> tuple[int, str]:
        """Run to the end, or to a writing request; return the exit code and the output."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self.bucket.writes.clear()
        self.bucket.kill_at, self.bucket.after = kill_at, after
        arguments = [f"--config={self.config}", f"--workdir=gs://{NAME}/{name}"]
        print(json.dumps(arguments), file=self._server.stdin, flush=True)
        self.bucket.victim = int(self._server.stdout.readline())
        code = os.waitstatus_to_exitcode(int(self._server.stdout.readline()))
        self.bucket.kill_at = 0
        return code, (self.folder / "said").read_text(errors="replace")

    def close(self) -> None:
        """End the server."""
        self._server.communicate()  # closes both pipes


def outcome(bucket: Bucket, name: str, scratch: Path) -> dict[str, Any]:
    """Return all that must be equal: arrays, rows, numbers for TensorBoard, what is left."""
    place = path("workdir", f"gs://{NAME}/{name}", bucket=True)
    shapes = Population(read_config(place)).shapes
    begin, found = f"{name}/", bucket.objects.items()
    objects = {key.removeprefix(begin): content for key, content in found if begin in key}
    for key, content in objects.items():
        if key.startswith("events.out"):
            (scratch / name).mkdir(exist_ok=True)
            (scratch / name / key).write_bytes(content)
    rows = [json.loads(line) for line in objects["metrics.jsonl"].decode().splitlines()]
    step, damaged = latest_intact(place / "checkpoints")
    return {
        "intact": (step, damaged),
        "steps": steps(place / "checkpoints"),
        "folders": sorted({key.split("/")[1] for key in objects if "/" in key}),
        "files": sorted({key for key in objects if "/" not in key and "events" not in key}),
        "arrays": jax.tree.leaves(restore(place / "checkpoints", step or 0, shapes)),
        "rows": [{k: v for k, v in row.items() if k != "timing"} for row in rows],
        "events": read_events(scratch / name),
    }


@dataclasses.dataclass(frozen=True)
class Case:
    """One kill: where, and what was wrong afterwards; nothing if `problem` is empty."""

    request: str
    problem: str


def kills(runs: Runs, number: int) -> Iterator[Case]:
    """Kill fresh runs at `number` writing requests, every second one when it is carried out."""
    code, said = runs.run("unbroken")
    if code:
        raise AssertionError(f"the unbroken run ended with {code}: {said}")
    requests, wanted = len(runs.bucket.writes), outcome(runs.bucket, "unbroken", runs.folder)
    # Requests are sent by several threads: another run may need a few less.
    for case, at in enumerate(np.linspace(2, 0.88 * requests, number).astype(int).tolist()):
        name, after = f"killed{case}", bool(case % 2)
        code, said = runs.run(name, at, after=after)
        request = runs.bucket.writes[at - 1] if len(runs.bucket.writes) >= at else "none"
        what = f"{at} of {requests}, {'after' if after else 'before'} {request[:120]}"
        if code != -9:
            yield Case(what, f"not killed, but ended with {code}: {said[-300:]}")
            continue
        code, said = runs.run(name)
        problem = f"the next start ended with {code}: {said[-300:]}" if code else ""
        yield Case(what, problem or difference(wanted, outcome(runs.bucket, name, runs.folder)))


def difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    """Name the first part that isn't equal bit for bit; "" if all are."""
    for name, value in wanted.items():
        equal = (
            all(map(np.array_equal, value, found[name])) if name == "arrays"
            else value == found[name]
        )  # fmt: skip
        if not equal:
            return f"{name}: {found[name]!r} instead of {value!r}"[:300]
    return ""


def serve(programs: Path, output: Path) -> None:
    """Fork a run for each line of the input."""
    import gcsfs  # noqa: F401 (else imported by each run)

    from sicjax import main
    from sicjax.training import bucket
    from tests.storm.server import compile_once

    compile_once(programs)
    bucket.REFRESH_S, bucket.SILENT_S = 60.0, 1.0  # the owners to watch are dead
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            file = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            os.dup2(file, 1)
            os.dup2(file, 2)
            main.leave(main.main(json.loads(line)))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
