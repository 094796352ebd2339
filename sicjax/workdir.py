"""The folder of a run: whose it is, and that only one run at a time writes into it."""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from ml_collections import ConfigDict

from sicjax.checkpoint import steps
from sicjax.config import ConfigError, stages_begun
from sicjax.config import difference as difference_between
from sicjax.recipes import from_json


def check(folder: Path, config: ConfigDict) -> None:
    """See that the folder is free or holds this experiment; changes nothing.

    Raises:
        ConfigError: another experiment's folder, or num_steps below the step it has reached.
    """
    path, checkpoints = folder / "config.json", folder / "checkpoints"
    try:
        if not path.exists():
            if checkpoints.exists():
                raise ConfigError(
                    f"workdir={folder}: has checkpoints but no config.json; not a run"
                )
            return
        found = settled(from_json(path.read_text()))
        if difference := difference_between(found, settled(config, folder)):
            raise ConfigError(
                f"workdir={folder} belongs to another experiment: {difference};"
                " give this one a --workdir of its own"
            )
        reached = max(steps(checkpoints), default=0)
        before, now = stages_begun(found, reached), stages_begun(config, reached)
        if before != now:
            raise ConfigError(
                f"workdir={folder} belongs to another experiment: its stages up to step {reached}"
                f" were {before}, now {now}; only those that have not begun may change"
            )
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"workdir={folder}: config.json can't be read ({error})") from None
    if config.num_steps < reached:
        raise ConfigError(
            f"num_steps={config.num_steps}: must be at least {reached}, the step that {folder}"
            " has reached"
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
            begun = from_json((folder / "config.json").read_text())
        config.optimizer.decay_steps = begun.optimizer.decay_steps or begun.num_steps
    return config


def recorded_method(folder: Path) -> dict[str, Any]:
    """What a run remembers of a method of one's own; nothing where it has none."""
    path = folder / "method.json"
    return json.loads(path.read_text()) if path.exists() else {}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made if it isn't there; the lock goes with the process, however it ends.

    Raises:
        ConfigError: another run holds it, or it can't be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / ".lock").open("a+"))
            _lock(folder, file)
        except OSError as error:
            raise cannot_write(folder, error) from None
        yield


def sign(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files, name to text, that say whose the folder is; each whole or not at all.

    Raises:
        ConfigError: it can't be written.
    """
    try:
        for name, text in files.items():
            temporary = folder / f"{name}.tmp"
            temporary.write_text(text)
            temporary.replace(folder / name)
    except OSError as error:
        raise cannot_write(folder, error) from None


def cannot_write(folder: Path, error: OSError) -> ConfigError:
    """The one line about a folder that can't be written."""
    return ConfigError(f"workdir={folder}: can't be written ({error.strerror or error})")


def _lock(folder: Path, file: TextIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
