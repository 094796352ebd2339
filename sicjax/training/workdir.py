"""The folder of a run: whose it is, and that only one run at a time writes into it."""

import contextlib
import errno
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar

from ml_collections import ConfigDict

from sicjax.config.check import difference as difference_between
from sicjax.config.check import flatten, stages_begun, validate
from sicjax.config.fields import FIELDS
from sicjax.config.files import from_json
from sicjax.errors import ConfigError, one_line
from sicjax.training.checkpoint_files import about, reached

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 2**30  # on Windows, where a locked byte can't be read: far behind the holder's name

_T = TypeVar("_T")


def read_config(folder: Path) -> ConfigDict:
    """The config of a run, or of saved weights.

    Args:
        folder: with a config.json in it.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it can't be read or is no config; names the file.
    """

    def parse(text: str) -> ConfigDict:
        _table(text)
        config = from_json(text)
        validate(config)
        return config

    return _read(folder / "config.json", parse)


def read_json_table(path: Path) -> dict[str, Any]:
    """The table, names to values, that a JSON file holds.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it can't be read or holds something else; names the file.
    """
    return _read(path, _table)


def check(folder: Path, config: ConfigDict) -> None:
    """See that the folder is free or holds this experiment; changes nothing.

    Raises:
        ConfigError: another experiment's folder, or num_steps below the step it has reached.
    """
    _check_name(folder)
    try:
        if not (folder / "config.json").exists():
            if (folder / "checkpoints").exists():
                raise ConfigError(
                    f"workdir={folder}: has checkpoints but no config.json; not a run"
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
            f"workdir={folder} belongs to another experiment: its stages up to step {step} were"
            f" {before}, now {now}; only those that have not begun may change"
        )
    if config.num_steps < step:
        raise ConfigError(
            f"num_steps={config.num_steps}: must be at least {step}, the step that {folder}"
            " has reached"
        )


def _check_name(folder: Path) -> None:
    """Refuse a path that TensorStore, which takes it as a URL, would write to another place.

    Raises:
        ConfigError: naming what is wrong with it.
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
    """See that config.json says what the checkpoint of a step, which is intact, says.

    Else a bit that flipped in it would train the rest in another way: `settled` believes it.

    Raises:
        ConfigError: it doesn't; names the field.
    """
    recorded = about(folder / "checkpoints", step).get("config", {})
    before, now = flatten(recorded), flatten(read_config(folder))
    for name, field in FIELDS.items():
        if field.changes_numbers and name in before and before[name] != now[name]:
            raise ConfigError(
                f"{folder / 'config.json'}: is not as it was written: {name} is {now[name]!r}, in"
                f" the checkpoint of step {step} {before[name]!r}"
            )


def settled(config: ConfigDict, folder: Path | None = None) -> ConfigDict:
    """The config with the step at which its learning rate ends: `decay_steps`, or `num_steps`.

    A run that is prolonged keeps what it began with: another number would warm it up again.

    Args:
        config: of a run that begins or goes on.
        folder: of the run; one that holds a run gives the step where the config names none.
    """
    config = config.copy_and_resolve_references()
    if config.optimizer.decay_steps == 0:
        begun = config
        if folder is not None and (folder / "config.json").exists():
            begun = read_config(folder)
        config.optimizer.decay_steps = begun.optimizer.decay_steps or begun.num_steps
    return config


def recorded_method(folder: Path) -> dict[str, Any]:
    """What a run remembers of a method of one's own; nothing where it has none.

    Raises:
        ConfigError: method.json is damaged.
    """
    path = folder / "method.json"
    return read_json_table(path) if path.exists() else {}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made if it isn't there; the lock goes with the process, however it ends.

    Raises:
        ConfigError: another run holds it, or it can't be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / ".lock").open("a+")
            stack.callback(_let_go, file)
            _lock(folder, file)
        except OSError as error:
            raise cannot_write(folder, error) from None
        yield


def _let_go(file: TextIO) -> None:
    """Close the lock's file; a disk that fails then has nothing of it to lose."""
    with contextlib.suppress(OSError):
        file.close()


def sign(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files, name to text, that say whose the folder is; each whole or not at all.

    Raises:
        ConfigError: it can't be written.
    """
    try:
        for name, text in files.items():
            write_whole(folder / name, text.encode())
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, which it then takes: it is whole, or as it was."""
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the name without the content
    unfinished.replace(path)


def cannot_write(folder: Path, error: OSError) -> ConfigError:
    """The one line about a folder that can't be written; names what is no file or no folder."""
    what = error.strerror or str(error)
    in_the_way = isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError)
    if in_the_way and error.filename:
        what = f"{error.filename}: {what}"
    return ConfigError(f"workdir={folder}: can't be written ({what})")


def _read(path: Path, parse: Callable[[str], _T]) -> _T:
    """What `parse` makes of a file's text; a text that it doesn't like is bad input."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: can't be read ({one_line(error)})") from None


def _table(text: str) -> dict[str, Any]:
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError("must hold a table of names and values")
    return table


def _lock(folder: Path, file: TextIO) -> None:
    try:
        _take(file)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise ConfigError(f"workdir={folder}: another run is using it ({holder})") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        # Some network file systems know no locks; the run goes on without.
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()


def _take(file: TextIO) -> None:
    """Lock a file until it is closed; BlockingIOError if another process has."""
    if sys.platform == "win32":
        os.lseek(file.fileno(), _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
