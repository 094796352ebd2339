"""What a run does differently in a bucket: who owns the workdir, and how its logs get there.

A bucket has no locks, and its objects can't be appended to. So the owner is an object that is
written only if it is still what its writer last saw, and logs and reports are written in a local
folder, the desk, from which whole files go up at each save. Checkpoints go straight to the bucket.
"""

import contextlib
import importlib.util
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sicjax.errors import ConfigError
from sicjax.paths import ABSENT, BucketPath

REFRESH_S = 10.0  # between two signs of life of an owner
SILENT_S = 40.0  # after which it is taken for dead
LOGS = ("metrics.jsonl", "events.out.tfevents.", "snapshots/")  # how the names of its files begin
REPORTS = ("metrics.jsonl", "snapshots/", "report/")
_HOLDER = ".holder"
_PAGE, _LIST = "report.html", ".files.json"  # of a report: it is complete when its page is there
_US = f"process {os.getpid()} on {socket.gethostname()} ({secrets.token_hex(4)})"


def check_installed(folder: Path | None) -> None:
    """Check that what Orbax needs to write into a bucket is installed.

    Raises:
        ConfigError: it isn't, and the folder is in a bucket.
    """
    if isinstance(folder, BucketPath) and not importlib.util.find_spec("gcsfs"):
        raise ConfigError(f"workdir={folder}: a bucket needs gcsfs: pip install -e '.[gcs]'")


@contextlib.contextmanager
def owned(folder: BucketPath) -> Iterator[None]:
    """Hold a workdir in a bucket; an owner that gives no sign of life for a while is replaced.

    Raises:
        ConfigError: another run holds it.
        OSError: the bucket can't be written.
    """
    place = folder / _HOLDER
    generation = place.write(_sign(), if_equal=ABSENT)
    while not generation:
        generation = place.write(_sign(), if_equal=_silent(place, folder))
    ended, holding = threading.Event(), [generation]

    def refresh() -> None:
        while not ended.wait(REFRESH_S):
            with contextlib.suppress(OSError):  # the network may come back
                if not (new := place.write(_sign(), if_equal=holding[0])):
                    return  # another run has it: `check_owned` says so at the next save
                holding[0] = new

    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            place.write(None, if_equal=holding[0])


def check_owned(folder: BucketPath) -> None:
    """Check that this process still holds a workdir; it may have been suspended for too long.

    Raises:
        ConfigError: it doesn't.
    """
    if (who := _holder(folder / _HOLDER)[0]) != _US:
        raise ConfigError(
            f"workdir={folder}: {who or 'somebody'} has taken it over, because this process gave"
            f" no sign of life for {SILENT_S:g} s"
        )


def _sign() -> bytes:
    return f"{_US}\n{time.time():.3f}\n".encode()


def _holder(place: BucketPath) -> tuple[str, bytes]:
    """Return who holds a workdir and the generation of the object that says so."""
    try:
        content, generation = place.read()
    except FileNotFoundError:
        return "", ABSENT
    return content.decode(errors="replace").partition("\n")[0][:200], generation


def _silent(place: BucketPath, folder: BucketPath) -> bytes:
    """Watch the holder of a workdir until it counts as dead; returns its object's generation.

    Only this machine's clock is asked, and only for how long the object has stayed as it is.

    Raises:
        ConfigError: it is alive.
    """
    who, before = _holder(place)
    print(
        f"workdir={folder}: held by {who or 'nobody'}; taking it over after {SILENT_S:g} s without"
        " a sign of life",
        flush=True,
    )
    end = time.monotonic() + SILENT_S
    while before != ABSENT and time.monotonic() < end:
        time.sleep(min(1.0, SILENT_S / 10))
        now = _holder(place)[1]
        if now != before and now != ABSENT:
            raise ConfigError(f"workdir={folder}: another run is using it ({who})")
        before = now
    return before


class Desk:
    """Where one process writes files of a workdir: the workdir itself, or a local copy of them."""

    def __init__(self, workdir: Path, folder: Path) -> None:
        self.folder, self._workdir = folder, workdir
        self._there = self._files()

    def shown(self, path: Path) -> Path:
        """Return where a file of the desk will be, for messages."""
        return self._workdir / path.relative_to(self.folder)

    def upload(self) -> None:
        """Make the workdir hold what the desk does, in whole files.

        A report's page goes first and comes last, as on a disk; the list of its files comes before
        them, so that what a kill leaves is known as a report's.

        Raises:
            OSError: the bucket can't be written.
        """
        if self._workdir is self.folder:
            return
        now = self._files()
        changed = [name for name, state in now.items() if self._there.get(name) != state]
        gone = sorted(self._there.keys() - now.keys())
        for name in [*(name for name in changed if Path(name).name == _PAGE), *gone]:
            (self._workdir / name).unlink(missing_ok=True)
        order = {_LIST: 0, _PAGE: 2}
        for name in sorted(changed, key=lambda name: (order.get(Path(name).name, 1), name)):
            (self._workdir / name).write_bytes((self.folder / name).read_bytes())
        self._there = now

    def _files(self) -> dict[str, tuple[int, int]]:
        """Return size and time of every finished file, by its name relative to the desk."""
        if self._workdir is self.folder:
            return {}
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        stats = {path.relative_to(self.folder).as_posix(): path.stat() for path in paths}
        return {
            name: (stat.st_size, stat.st_mtime_ns)
            for name, stat in stats.items()
            if not name.endswith(".tmp")
        }


@contextlib.contextmanager
def desk(workdir: Path, wanted: Sequence[str]) -> Iterator[Desk]:
    """Give a desk with the files of a workdir whose names begin with one of `wanted`.

    Raises:
        OSError: a file can't be read.
    """
    if not isinstance(workdir, BucketPath):
        yield Desk(workdir, workdir)
        return
    with tempfile.TemporaryDirectory(prefix="sicjax-") as scratch:
        folder = Path(scratch)
        for file in workdir.files():
            name = file.relative_to(workdir).as_posix()
            if name.startswith(tuple(wanted)):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(file.read_bytes())
        yield Desk(workdir, folder)
