"""The folder of a run: its owner, and a lock that lets only one run at a time write into it."""

import contextlib
import errno
import itertools
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from sicjax.config.check import difference as difference_between
from sicjax.config.check import flatten, stages_begun, validate
from sicjax.config.fields import FIELDS
from sicjax.config.files import from_json
from sicjax.errors import ConfigError, one_line
from sicjax.paths import BucketPath
from sicjax.training import bucket
from sicjax.training.checkpoint_files import about, reached
from sicjax.training.files import UNFINISHED, read_small, remove_unfinished, write_whole
from sicjax.training.method import TABLES

_T = TypeVar("_T")


def read_config(folder: Path) -> ConfigDict:
    """Return the config of a run, or of saved weights.

    Args:
        folder: a folder with a config.json.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ConfigError: the file can't be read or is not a config; the message names the file.
    """

    def parse(text: str) -> ConfigDict:
        _table(text)
        config = from_json(text)
        validate(config)
        return config

    return _read(folder / "config.json", parse)


def read_json_table(path: Path) -> dict[str, Any]:
    """Return the table of a JSON file, names to values.

    Raises:
        FileNotFoundError: the file does not exist.
        ConfigError: the file can't be read or holds something else; the message names the file.
    """
    return _read(path, _table)


def check(folder: Path, config: ConfigDict) -> None:
    """Check that the folder is free or holds this experiment; changes nothing.

    Raises:
        ConfigError: another experiment's folder, or num_steps below the updates already made.
    """
    _check_name(folder)
    try:
        if not (folder / "config.json").exists():
            if (folder / "checkpoints").exists():
                raise ConfigError(
                    f"workdir={folder}: has checkpoints but no config.json; not a run"
                )
            if (folder / "metrics.jsonl").exists():  # a run signs its folder before it writes logs
                raise ConfigError(
                    f"workdir={folder}: has a metrics.jsonl but no config.json, so sicjax did"
                    " not write it; give this run another --workdir"
                )
            return
        found = settled(read_config(folder))
        step = reached(folder / "checkpoints")
    except OSError as error:
        raise ConfigError(f"workdir={folder}: can't be read ({error})") from None
    if difference := difference_between(found, settled(config, folder)):
        raise ConfigError(
            f"workdir={folder} belongs to another experiment: {difference};"
            " give this one a --workdir of its own"
        )
    before, now = stages_begun(found, step), stages_begun(config, step)
    if before != now:
        raise ConfigError(
            f"workdir={folder} belongs to another experiment: its stages up to update {step} were"
            f" {before}, now {now}; only those that have not begun may change"
        )
    if config.num_steps < step:
        raise ConfigError(
            f"num_steps={config.num_steps}: must be at least {step}: {folder} has made"
            f" {step} updates already"
        )


def _check_name(folder: Path) -> None:
    """Refuse a path that TensorStore would misread: it reads paths as URLs.

    Raises:
        ConfigError: the message names the part that is wrong.
    """
    whole = folder.absolute()
    shown = str(whole).encode(errors="backslashreplace").decode()
    if shown != str(whole):
        problem = "its name is not valid Unicode"
    elif any(part.endswith(":") for part in whole.parts[1:]):
        problem = "a folder's name must not end in ':'"
    elif os.sep == "/" and "\\" in shown:
        problem = "no folder's name may contain a backslash"
    else:
        return
    raise ConfigError(f"workdir={shown}: checkpoints can't be saved there: {problem}")


def check_as_written(folder: Path, step: int) -> None:
    """Check that config.json agrees with the intact checkpoint of an update.

    Otherwise a flipped bit in config.json would change the rest of the training, because `settled`
    relies on it.

    Raises:
        ConfigError: the two differ; the message names the field.
    """
    recorded = about(folder / "checkpoints", step).get("config", {})
    before, now = flatten(recorded), flatten(read_config(folder))
    for name, field in FIELDS.items():
        if field.changes_numbers and name in before and before[name] != now[name]:
            raise ConfigError(
                f"{folder / 'config.json'}: was changed after the run began: {name} is"
                f" {now[name]!r}, but {before[name]!r} in the checkpoint of"
                f" update {step}; restore it"
            )


def settled(config: ConfigDict, folder: Path | None = None) -> ConfigDict:
    """Return the config with the choices that a run makes at its start and then keeps.

    One is the number of updates at which the learning rate ends: `decay_steps` or else `num_steps`.
    With another value, a prolonged run would warm up again. The other is the mode that `parallel`
    "auto" has chosen. Another mode would change the numbers, because a batch split over devices
    rounds differently.

    Args:
        config: config of a run that begins or continues.
        folder: folder of the run; if it holds a run, the choices of that run are kept.
    """
    config = config.copy_and_resolve_references()
    begun = config
    if folder is not None and (folder / "config.json").exists():
        begun = read_config(folder)
    if config.optimizer.decay_steps == 0:
        config.optimizer.decay_steps = begun.optimizer.decay_steps or begun.num_steps
    if config.parallel == "auto":
        config.parallel = begun.parallel
    return config


def recorded_method(folder: Path) -> dict[str, Any]:
    """Return what a run recorded about the user's own method; {} if it has none.

    Raises:
        ConfigError: method.json is damaged.
    """
    path = folder / "method.json"
    return _read(path, _method) if path.exists() else {}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, created if it is missing; the lock of a dead process does not count.

    Raises:
        ConfigError: another run holds it, or the file system is not suitable.
    """
    if isinstance(folder, BucketPath):
        try:
            with bucket.owned(folder):
                yield
        except OSError as error:
            raise cannot_write(folder, error) from None
        return
    lock = FileLock(folder / ".lock", timeout=0, fallback_to_soft=False)
    # Not in .lock itself: on Windows other processes can't read a locked file.
    holder = folder / ".holder"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(lock)
            except Timeout:
                raise ConfigError(
                    f"workdir={folder}: another run is using it ({_holder(holder)})"
                ) from None
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise
                print(
                    f"workdir={folder}: this file system has no locks; take care that no other"
                    " run uses this folder",
                    flush=True,
                )
            for place in (folder, folder / "report", *folder.glob("snapshots/network_*")):
                remove_unfinished(place)
            _try_to_rename(folder)
            who = f"process {os.getpid()} on {socket.gethostname()}"
            write_whole(holder, f"{who}\n".encode())
        except OSError as error:
            raise cannot_write(folder, error) from None
        yield


def _holder(path: Path) -> str:
    try:
        return " ".join(read_small(path).split())[:200] or "unknown"
    except (OSError, ValueError):
        return "unknown"


def _try_to_rename(folder: Path) -> None:
    """Try to rename a folder that holds a file: every checkpoint gets its name that way.

    Raises:
        ConfigError: folders can't be renamed on this file system.
    """
    probe = Path(tempfile.mkdtemp(prefix=".probe.", suffix=UNFINISHED, dir=folder))
    renamed = probe.with_name(f".renamed{probe.name}")
    try:
        (probe / "file").touch()
        probe.rename(renamed)
    except OSError as error:
        raise ConfigError(
            f"workdir={folder}: folders can't be renamed on this file system"
            f" ({error.strerror}), so no checkpoint could be completed; use another one, or mount"
            " it with such renames switched on"
        ) from None
    finally:
        for path in (probe, renamed):
            shutil.rmtree(path, ignore_errors=True)


def sign(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files (name to text) that name the folder's owner, each completely or not at all.

    Raises:
        ConfigError: the folder can't be written.
    """
    try:
        for name, text in files.items():
            write_whole(folder / name, text.encode())
    except OSError as error:
        raise cannot_write(folder, error) from None


def cannot_write(folder: Path, error: OSError) -> ConfigError:
    """Return the one-line error for a folder that can't be written; it names the obstacle."""
    what = error.strerror or str(error)
    in_the_way = isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError)
    if in_the_way and error.filename:
        what = f"{error.filename}: {what}"
    return ConfigError(f"workdir={folder}: can't be written ({what})")


def _read(path: Path, parse: Callable[[str], _T]) -> _T:
    """Parse a file's text; a parse error counts as bad input."""
    try:
        return parse(read_small(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: can't be read ({one_line(error)})") from None


def _table(text: str) -> dict[str, Any]:
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError("must hold a table of names and values")
    return table


def _method(text: str) -> dict[str, Any]:
    table = _table(text)
    digests = [table.get(name, {}) for name in TABLES]
    texts = [value for name, value in table.items() if name not in TABLES]
    if not all(isinstance(one, dict) for one in digests) or not all(
        isinstance(value, str)
        for value in itertools.chain(texts, *(one.values() for one in digests))
    ):
        raise ValueError("must name each part in text")
    return table
