"""Workdirs in a bucket: who owns one, and how its logs get there.

A bucket has no locks, and its objects can't be appended to. So an object names the owner; it is
written only if it has not changed since the writer last read it. Logs and reports are written in a
local folder, the desk, and go up as whole files at each save. Checkpoints go straight to the
bucket.
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

REFRESH_S = 10.0  # seconds between two signs of life of an owner
SILENT_S = 40.0  # seconds of silence after which the owner counts as dead
LOGS = ("metrics.jsonl", "events.out.tfevents.", "snapshots/")  # how a desk's file names begin
REPORTS = ("metrics.jsonl", "snapshots/", "report/")
_HOLDER = ".holder"
_PAGE, _LIST = "report.html", ".files.json"  # a report is complete once its page exists
_US = f"process {os.getpid()} on {socket.gethostname()} ({secrets.token_hex(4)})"


def check_installed(folder: Path | None) -> None:
    """Check that the packages with which Orbax writes into a bucket are installed.

    Raises:
        ConfigError: a package is missing, and the folder is in a bucket.
    """
    if isinstance(folder, BucketPath) and not importlib.util.find_spec("gcsfs"):
        raise ConfigError(f"workdir={folder}: a bucket needs gcsfs: pip install -e '.[gcs]'")


@contextlib.contextmanager
def owned(folder: BucketPath) -> Iterator[None]:
    """Hold a workdir in a bucket; an owner that has shown no sign of life for a while is replaced.

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
            with contextlib.suppress(OSError):  # try again: the network may come back
                if not (new := place.write(_sign(), if_equal=holding[0])):
                    return  # another run owns it now: `check_owned` raises at the next save
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
    """Check that this process still holds a workdir; it loses it if it was suspended for too long.

    Raises:
        ConfigError: this process no longer holds it.
    """
    if (who := _holder(folder / _HOLDER)[0]) != _US:
        raise ConfigError(
            f"workdir={folder}: {who or 'somebody'} has taken it over, because this process gave"
            f" no sign of life for {SILENT_S:g} s"
        )


def _sign() -> bytes:
    return f"{_US}\n{time.time():.3f}\n".encode()


def _holder(place: BucketPath) -> tuple[str, bytes]:
    """Return the holder of a workdir, and the generation of the object that names it."""
    try:
        content, generation = place.read()
    except FileNotFoundError:
        return "", ABSENT
    return content.decode(errors="replace").partition("\n")[0][:200], generation


def _silent(place: BucketPath, folder: BucketPath) -> bytes:
    """Watch the holder of a workdir until it counts as dead; return its object's generation.

    Only this machine's clock is used, and only to measure how long the object has not changed.

    Raises:
        ConfigError: the holder is alive.
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
    """The folder where one process writes files of a workdir: the workdir or a local copy."""

    def __init__(self, workdir: Path, folder: Path) -> None:
        self.folder, self._workdir = folder, workdir
        self._there = self._files()

    def shown(self, path: Path) -> Path:
        """Return the final place of a file of the desk, for messages."""
        return self._workdir / path.relative_to(self.folder)

    def upload(self) -> None:
        """Upload whole files until the workdir equals the desk.

        A report's page is removed first and written last, as on a disk. The list of a report's
        files is written before them, so files that a kill leaves are known as a report's.

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
    """Yield a desk with the files of a workdir whose names begin with one of `wanted`.

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
