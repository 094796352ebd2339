"""A harm at one I/O call of a run: kill, torn write, full disk, I/O error; then start again.

The calls are counted, and harmed, by the shim of shim.c; runs are forked by server.py.
Two runs are harmed: a new one, and one that continues in the folder of a killed run.
"""

import dataclasses
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.storm.signals import end_of, same_end

CONFIG = """
from sicjax.config import default

def get_config():
    config = default()
    config.num_steps, config.log_every = 60, 10
    config.checkpoint_every, config.steps_per_dispatch = 20, 10
    config.report, config.evaluation.recorded_path = False, ""
    config.data.num_trajectories, config.data.trajectory_length = 4, 10
    config.model.num_units, config.model.hidden_width = 16, 8
    config.optimizer.accumulation, config.optimizer.learning_rate = 1, 1e-3
    config.optimizer.schedule = "constant"
    return config
"""
# As in shim.c.
OPEN, WRITE, RENAME, SYNC, CLOSE, MAKE, REMOVE, CUT, READ = (2**k for k in range(9))
ALL = 2**9 - 1
KINDS = {OPEN: "open", WRITE: "write", RENAME: "rename", SYNC: "sync", CLOSE: "close",
         MAKE: "mkdir", REMOVE: "unlink", CUT: "truncate", READ: "read"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Fault:
    """A harm, the calls to which it is done, and how many times."""

    number: int  # as in shim.c
    what: str
    kinds: int
    at_the_start: int  # pairs of (call, harm) tried in a run that begins
    later: int  # and in one that continues
    kills: bool = False


FAULTS = {
    "io_kills": Fault(1, "`kill -9` before an I/O call", ALL, 60, 40, kills=True),
    "io_torn": Fault(2, "half of a write, then `kill -9`", WRITE, 30, 20, kills=True),
    "io_full": Fault(3, "ENOSPC from an I/O call on", ALL, 40, 20),
    "io_full_once": Fault(4, "ENOSPC at one I/O call", ALL, 25, 15),
    "io_errors": Fault(5, "EIO at one I/O call", ALL, 50, 40),
}
NOISE = re.compile(r"Traceback|Error\b|Exception|WARNING|ERROR|absl", re.MULTILINE)


class Server:
    """Forks runs under the shim."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shim, programs = folder / "shim.so", folder / "programs"
        programs.mkdir()
        source = Path(__file__).with_name("shim.c")
        flags = ["-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"]
        subprocess.run([compiler(), *flags], check=True)
        (folder / "tiny.py").write_text(CONFIG)
        environment = {
            **os.environ, "LD_PRELOAD": str(shim), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "",
            "XDG_CACHE_HOME": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "OPENBLAS_NUM_THREADS": "1",  # on several cores NumPy starts threads at import
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.storm.server", programs], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, workdir: Path, kinds: int = 0, call: int = 0, fault: int = 0) -> "Ended":
        """Run once in a workdir, harmed at one of its calls of some kinds; 0 harms nothing."""
        journal, output = self.folder / "journal", self.folder / "output"
        journal.write_bytes(b"")
        task = {
            "arguments": [f"--config={self.folder / 'tiny.py'}", f"--workdir={workdir}"],
            "folder": str(workdir), "journal": str(journal), "output": str(output),
            "kinds": kinds, "call": call, "fault": fault,
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(task), file=self._process.stdin, flush=True)
        status = self._process.stdout.readline()
        if not status:
            raise AssertionError("the server is gone")
        code = os.waitstatus_to_exitcode(int(status))
        return Ended(code, output.read_text(errors="replace"), journal.read_text())

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int  # negative: the signal
    said: str
    journal: str

    def calls(self) -> int:
        """The number of calls that were counted."""
        return self.journal.count("call ")

    def harmed(self) -> str:
        """The call that was harmed, as "sync checkpoints/40/..."; empty if none was."""
        found = re.search(r"^fault \d+ (\d+) (.*)$", self.journal, re.MULTILINE)
        return f"{KINDS[int(found[1])]} {found[2]}" if found else ""

    def saved(self) -> int:
        """The number of updates of the last complete checkpoint."""
        found = re.findall(r"^named \d+ \d+ .*/checkpoints/(\d+)$", self.journal, re.MULTILINE)
        return max(map(int, found), default=0)

    def resumed(self) -> int:
        """The number of updates from which the run continued."""
        found = re.search(r"resumed at step (\d+)|finished: all (\d+) updates", self.said)
        return int(found[1] or found[2]) if found else 0


@dataclasses.dataclass
class Scene:
    """A run to be harmed: its folder before, and the end of an undisturbed run."""

    server: Server
    name: str
    template: Path | None  # the folder before; None: there is none
    saved: int  # updates of the last checkpoint in it
    wanted: Any = None  # the end
    files: frozenset[str] = frozenset()

    def workdir(self) -> Path:
        """Make a folder as it is before the run."""
        workdir = self.server.folder / "run"
        shutil.rmtree(workdir, ignore_errors=True)
        if self.template:
            shutil.copytree(self.template, workdir)
        return workdir

    def rehearse(self, wanted: Any) -> None:
        """Run undisturbed; the end must be the wanted one, if given."""
        ended, workdir = self.server.run(self.workdir()), self.server.folder / "run"
        if ended.code or (wanted and not same_end(workdir, wanted)):
            raise AssertionError(f"an undisturbed run: {ended.code}, {ended.said}")
        self.wanted, self.files = wanted or end_of(workdir), files_of(workdir)

    def number_of_calls(self, fault: Fault) -> int:
        """Return the number of calls in an undisturbed run to which a fault can be done."""
        # A call that never comes: counted is what the fault would be done to.
        return self.server.run(self.workdir(), fault.kinds, 2**40, fault.number).calls()

    def problem(self, fault: Fault, call: int) -> tuple[str, str]:
        """Do a harm at a call and start again; return the call, and what is wrong then, or ""."""
        workdir = self.workdir()
        harmed = self.server.run(workdir, fault.kinds, call, fault.number)
        where = harmed.harmed().replace(str(workdir), "").replace(" /", " ")
        if not where:
            return "", ""  # an undisturbed run has some calls more or less, as threads come by
        if wrong := self.wrong_end(fault, harmed, workdir):
            return where, wrong
        kept = max(harmed.saved(), self.saved)
        again = self.server.run(workdir)
        if again.code or NOISE.search(again.said) or "damaged" in again.said:
            return where, f"started again: {again.code}, {again.said[-600:]}"
        if again.resumed() < kept and "is damaged" not in harmed.said:
            return where, f"went on from update {again.resumed()}, though {kept} was saved"
        if "lacks rows" in again.said or not same_end(workdir, self.wanted):
            return where, f"another end: {again.said[-600:]}"
        stray = {name for name in files_of(workdir) ^ self.files if not name.startswith("damaged")}
        return where, f"files left or lacking: {sorted(stray)}" if stray else ""

    def wrong_end(self, fault: Fault, harmed: Ended, workdir: Path) -> str:
        """Return what is wrong with the end of a harmed run; "" if nothing is."""
        told = f"exit code {harmed.code}, {harmed.said[-900:]}"
        if fault.kills:
            return "" if harmed.code == -9 else told
        if harmed.code == 0:  # the call did not matter, or was repeated
            return "" if same_end(workdir, self.wanted) and not NOISE.search(harmed.said) else told
        last = harmed.said.splitlines()[-1:]
        right = harmed.code == 2 and last[0].startswith("sicjax: ") and str(workdir) in last[0]
        right &= harmed.said.count("sicjax: ") == 1
        right &= NOISE.search(harmed.said.removesuffix(last[0] + "\n")) is None
        return "" if right and "Traceback" not in harmed.said else told


def files_of(workdir: Path) -> frozenset[str]:
    """Return the files of a run, without the parts of names that depend on clock or chance."""
    names = (path.relative_to(workdir).as_posix() for path in workdir.rglob("*") if path.is_file())
    kept = (re.sub(r"tfevents\..*", "tfevents", name) for name in names)
    return frozenset(re.sub(r"/d/[0-9a-f]+$", "/d/", name) for name in kept)


def spread(total: int, number: int, chance: random.Random) -> Iterator[int]:
    """Yield one call from each of several equal parts of 1 to `total`; then any."""
    for part in range(number):
        yield 1 + int(total * (part + chance.random()) / number)
    while True:
        yield 1 + chance.randrange(total)


def compiler() -> str:
    """Return the name of a C compiler; "" if there is none."""
    return next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "")


def scenes(server: Server) -> Sequence[Scene]:
    """Return a new run, and one that continues where another was killed in its last save."""
    begins = Scene(server, "start", None, 0)
    begins.rehearse(None)
    total = server.run(begins.workdir(), ALL, 2**40, 0).calls()
    killed, cut = server.folder / "killed", total
    while not killed.exists():
        cut -= total // 50
        if server.run(begins.workdir(), ALL, cut, 1).saved() == 40:
            (server.folder / "run").rename(killed)
    goes_on = Scene(server, "restart", killed, 40)
    goes_on.rehearse(begins.wanted)
    return begins, goes_on


def io_calls(folder: Path, chosen: Sequence[str], scale: float) -> Iterator[tuple[str, str]]:
    """Do the chosen harms; yield each harm and what happened.

    Args:
        folder: scratch.
        chosen: names of `FAULTS`.
        scale: how many pairs of (call, harm), as a multiple of what `FAULTS` says.
    """
    if not chosen:
        return
    if not (sys.platform == "linux" and compiler()):
        yield "a harm at an I/O call", "not tried: it takes Linux and a C compiler"
        return
    server = Server(folder)
    try:
        both = scenes(server)
        for name in chosen:
            yield (
                f"{FAULTS[name].what}, in a run that begins or goes on",
                tried(FAULTS[name], both, scale),
            )
    finally:
        server.close()


def tried(fault: Fault, both: Sequence[Scene], scale: float) -> str:
    """Do one harm at a spread of calls."""
    chance, failed, told = random.Random(fault.number), [], []
    seen: Counter[str] = Counter()
    for scene, pairs in zip(both, (fault.at_the_start, fault.later), strict=True):
        number, total, done = max(round(pairs * scale), 1), scene.number_of_calls(fault), 0
        for call in spread(total, number, chance):
            where, wrong = scene.problem(fault, call)
            done += bool(where)
            seen[where.partition(" ")[0]] += bool(where)
            if wrong:
                failed.append(f"{scene.name}, call {call}, {where}: {wrong}")
                print(f"FAILED: {fault.what}: {failed[-1]}", file=sys.stderr, flush=True)
            if done == number:
                break
        told.append(f"{number} of {total} calls of a {scene.name}")
    where = ", ".join(f"{count} {kind}" for kind, count in seen.most_common() if count)
    if failed:
        return f"FAILED: {len(failed)} of {sum(seen.values())}: {' '.join(failed[0].split())}"
    ends = "exit code 137" if fault.kills else "the same end, or one line and exit code 2"
    return (
        f"{sum(seen.values())} times ({', '.join(told)}; {where}): {ends}; started again, none went"
        " back behind a checkpoint, none left a file behind, each end equal bit for bit; 0 failed"
    )
