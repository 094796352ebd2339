"""The folder of checkpoints: which exist, which are intact, and which stay.

On a disk a checkpoint is complete once its folder has its final name. In a bucket, where folders
can't be renamed, it is complete once Orbax's commit object is in it.

This file knows files, not arrays.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sicjax.errors import one_line
from sicjax.paths import BucketPath
from sicjax.training.files import opened, read_small, write_whole

DIGESTS = "sha256.json"
COMMIT = "commit_success.txt"  # the last object that Orbax writes into a checkpoint in a bucket


def steps(folder: Path) -> list[int]:
    """Return the updates of the checkpoints in a folder, latest first."""
    if isinstance(folder, BucketPath):
        commits = (path.relative_to(folder).parts for path in folder.files())
        names: Iterable[str] = (parts[0] for parts in commits if parts[1:] == (COMMIT,))
        found = [int(name) for name in names if name.isascii() and name.isdecimal()]
        return sorted(found, reverse=True)
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir() if path.is_dir())
    found = [int(name) for name in names if name.isascii() and name.isdecimal()]
    # A save never writes a name such as 007.
    return sorted((step for step in found if (folder / str(step)).is_dir()), reverse=True)


def reached(folder: Path) -> int:
    """Return the latest update whose checkpoint has all its files, else 0; reads no file."""
    whole = (step for step in steps(folder) if not _problem(folder / str(step), read=False))
    return next(whole, 0)


def latest_intact(folder: Path) -> tuple[int | None, dict[int, str]]:
    """Find the latest checkpoint whose files have not changed since they were written.

    Returns:
        Its update, or None; and what is wrong with later checkpoints, by update.
    """
    damaged: dict[int, str] = {}
    for step in steps(folder):
        if not (problem := _problem(folder / str(step))):
            return step, damaged
        damaged[step] = problem
    return None, damaged


def set_aside(folder: Path, step: int) -> Path:
    """Move a damaged checkpoint to damaged/ beside the folder; return its new place."""
    place = folder.parent / "damaged"
    place.mkdir(exist_ok=True)
    names = (f"{step}.{number}" if number else f"{step}" for number in itertools.count())
    free = next(name for name in names if not (place / name).exists())
    return (folder / str(step)).rename(place / free)


def end_removals(folder: Path) -> None:
    """Delete old checkpoints whose removal was interrupted by a kill.

    The rule is the one under which they were written, which the checkpoints record. A command with
    other settings must not delete what that run wanted to keep.

    Args:
        folder: folder of checkpoints; the latest one is intact.
    """
    found = steps(folder)[::-1]
    if not found:
        return
    if isinstance(folder, BucketPath):  # a removal there deletes the commit object early
        names = [place.name for place in folder.iterdir() if place.name.isdecimal()]
        for name in names:
            # Only older ones are removed. A later one may be a save or a copy that is under way.
            if int(name) < found[-1] and int(name) not in found:
                (folder / name).rmtree()
    policy = Kept(*_rule(folder, found[-1]), kept_for_good(folder))
    for step, stays in zip(found, policy.stays(found), strict=True):
        if not stays:
            _remove(folder / str(step))


def _remove(place: Path) -> None:
    if isinstance(place, BucketPath):
        place.rmtree()
    else:
        shutil.rmtree(place, ignore_errors=True)


def kept_for_good(folder: Path) -> set[int]:
    """Return the updates of checkpoints kept for good, by the rule under which each was written."""
    return {step for step in steps(folder) if _is_multiple(step, _rule(folder, step)[1])}


def _rule(folder: Path, step: int) -> tuple[int, int]:
    """Return `keep` and `keep_every` of the run that wrote a checkpoint."""
    config = about(folder, step).get("config")
    config = config if isinstance(config, dict) else {}
    keep, every = config.get("keep_checkpoints"), config.get("keep_checkpoints_every")
    return (
        keep if type(keep) is int and keep > 0 else 1,
        every if type(every) is int and every > 0 else 0,
    )


def _is_multiple(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def about(folder: Path, step: int) -> dict[str, Any]:
    """Return what was stored with a checkpoint; {} if nothing was, or it can't be read."""
    return about_of(folder / str(step))


def about_of(place: Path) -> dict[str, Any]:
    """Return what was stored in one checkpoint's folder."""
    try:
        found = json.loads(read_small(place / "about" / "metadata"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Kept:
    """Orbax's `PreservationPolicy`: decides which checkpoints stay."""

    def __init__(self, keep: int, keep_every: int, for_good: Iterable[int] = ()) -> None:
        self._keep, self._keep_every, self._for_good = keep, keep_every, frozenset(for_good)

    def stays(self, steps: Sequence[int]) -> list[bool]:
        """Return for each of these updates, in ascending order, whether its checkpoint stays."""
        latest = set(steps[-self._keep :])
        return [
            step in latest or step in self._for_good or _is_multiple(step, self._keep_every)
            for step in steps
        ]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Answer Orbax after each save; the checkpoints come in ascending order."""
        return self.stays([checkpoint.step for checkpoint in checkpoints])


def write_digests(folder: Path) -> None:
    """Write the SHA-256 of every file below the subfolders of a checkpoint."""
    files = (path for item in sorted(folder.iterdir()) if item.is_dir() for path in _files(item))
    digests = {path.relative_to(folder).as_posix(): _sha256(path) for path in files}
    write_whole(folder / DIGESTS, f"{json.dumps(digests, indent=1)}\n".encode())


def _files(folder: Path) -> Sequence[Path]:
    if isinstance(folder, BucketPath):
        return sorted(folder.files())
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _problem(place: Path, *, read: bool = True) -> str | None:
    """Return what is wrong with a checkpoint, or None; `read`: check inside its files, too."""
    if (place / "default" / "_METADATA").is_file():
        return None  # written before there were digests: its name says that it is complete
    try:
        digests = json.loads(read_small(place / DIGESTS))
        if not (isinstance(digests, dict) and digests):
            return f"{DIGESTS} names no files"
        present = {path.relative_to(place).as_posix() for path in _files(place)}
        # Reading a pipe would never end. Files without a digest count, too: TensorStore reads them.
        for path in () if isinstance(place, BucketPath) else place.rglob("*"):
            if not (path.is_file() or path.is_dir()):
                return f"{path.relative_to(place)} is not a regular file"
        for name, digest in digests.items():
            if ".." in Path(name).parts or Path(name).is_absolute():
                return f"{DIGESTS} names a file outside the checkpoint"
            if name not in present:
                return f"{Path(name).name} is missing"
            if read and _sha256(place / name) != digest:
                return f"{name} has changed since it was written (SHA-256 differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, RecursionError) as error:
        return one_line(error)
    return None
