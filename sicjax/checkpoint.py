"""Checkpoints of a pytree by Orbax: asynchronous, atomic, checked by SHA-256 when read.

A checkpoint is a folder named by its step:

    state/        the arrays, as global arrays: restorable on any number of devices or processes
    about/        JSON: the versions that wrote it, and what the caller wants to remember
    sha256.json   digests of all these files, written before the folder takes its name
"""

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

Tree = Any
DIGESTS = "sha256.json"
_ORBAX_LOG = logging.getLogger("absl")
_PACKAGES = ("sicjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class CheckpointError(Exception):
    """A checkpoint that can't be written or read, and why, in one line."""


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "(not installed)"  # run from a checkout
    return found


class Checkpoints:
    """Writes checkpoints into one folder; a context manager, which waits for saves under way.

    Args:
        folder: made if it isn't there; leftovers of saves that were killed are removed.
        about: what to keep with each checkpoint, as JSON.
        keep: how many of the latest ones to keep.
        keep_every: those of every so many steps are kept for good; 0 for none.
    """

    def __init__(
        self, folder: Path, *, about: Mapping[str, Any], keep: int = 1, keep_every: int = 0
    ) -> None:
        self._folder, self._about = folder.absolute(), {**about, "versions": versions()}
        self._saving = -1
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_every or None,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_digests),
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, step: int, tree: Tree) -> None:
        """Begin to save; a step that is already there is left alone.

        Raises:
            CheckpointError: this save, or the one before, can't be written.
        """
        if step == self._manager.latest_step():
            return
        try:
            self._manager.wait_until_finished()
            self._saving = step
            arguments = {"state": ocp.args.StandardSave(tree)}
            about = {**self._about, "arrays": _describe(tree)}
            arguments["about"] = ocp.args.JsonSave(about)
            self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)
        except Exception as error:
            raise self._failure(error) from error

    def wait(self) -> None:
        """Wait until the last save is on disk.

        Raises:
            CheckpointError: it can't be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"the checkpoint of step {self._saving} failed: {one_line(error)}")

    def _write_digests(self) -> None:
        """Called when all files of a save are written, before its folder takes its name."""
        if jax.process_index() == 0:
            (folder,) = self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
            (folder / DIGESTS).write_text(json.dumps(_digests(folder), indent=1) + "\n")

    def __enter__(self) -> "Checkpoints":
        # Orbax logs pages about what it raises; what it raises is told in a line.
        self._log_level = _ORBAX_LOG.level
        _ORBAX_LOG.setLevel(logging.CRITICAL)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failed = error is not None
        try:
            self.wait()
        except CheckpointError:
            if not failed:
                failed = True
                raise
        finally:
            with contextlib.suppress(Exception):  # of a save that failed: told above
                self._manager.close()
            if not failed:  # else Orbax's threads go on logging what is told already
                _ORBAX_LOG.setLevel(self._log_level)


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, latest first; a folder takes its name last."""
    if not folder.is_dir():
        return []
    found = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return sorted(found, reverse=True)


def latest_intact(folder: Path) -> tuple[int | None, dict[int, str]]:
    """The latest checkpoint whose files are as they were written.

    Returns:
        Its step, None if there is none; and what is wrong with those after it, by step.
    """
    damaged: dict[int, str] = {}
    for step in steps(folder):
        if not (problem := _problem(folder / str(step))):
            return step, damaged
        damaged[step] = problem
    return None, damaged


def set_aside(folder: Path, step: int) -> Path:
    """Move a damaged checkpoint out of the way, to damaged/ beside the folder."""
    place = folder.parent / "damaged"
    place.mkdir(exist_ok=True)
    number = len(list(place.glob(f"{step}*")))
    return (folder / str(step)).rename(place / (f"{step}.{number}" if number else f"{step}"))


def restore(folder: Path, step: int, like: Tree) -> Tree:
    """The tree of one checkpoint.

    Args:
        folder: of the checkpoints.
        step: of a checkpoint that exists.
        like: its structure: `jax.ShapeDtypeStruct`s, which with a sharding become arrays placed
            so (every process reads its share), without one NumPy arrays.

    Raises:
        CheckpointError: it has another structure, or can't be read; says which version wrote it.
    """
    place = (folder / str(step)).absolute()
    item = place / ("state" if (place / "state").exists() else "default")  # before digests

    def target(leaf):
        if leaf.sharding is not None:
            return leaf
        return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)  # takes no memory

    about = _about(place)
    problem, cause = _difference(about.get("arrays", {}), _describe(like)), None
    if not problem:
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                return checkpointer.restore(item, jax.tree.map(target, like))
        except Exception as error:
            problem, cause = one_line(error), error
    raise CheckpointError(
        f"{folder}: the checkpoint of step {step}, written by {_brief(about.get('versions', {}))},"
        f" can't be loaded by {_brief(versions())}: {problem}"
    ) from cause


def one_line(error: BaseException) -> str:
    """What an error says, cut to a line."""
    text = str(error) or type(error).__name__
    if "No space left on device" in text:
        return "No space left on device"
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:300] + "..."


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder's items."""
    files = (path for item in sorted(folder.iterdir()) if item.is_dir() for path in _files(item))
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _problem(place: Path) -> str | None:
    """What is wrong with a checkpoint, None if nothing is."""
    if (place / "default").is_dir():
        return None  # written before there were digests: all that can be said is that it is whole
    try:
        wanted = json.loads((place / DIGESTS).read_text())
        for name, digest in wanted.items():
            if _sha256(place / name) != digest:
                return f"{name} is not as it was written (SHA-256 differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return one_line(error)
    return None


def _about(place: Path) -> dict[str, Any]:
    """What was written with a checkpoint; nothing if it was written before that."""
    try:
        return json.loads((place / "about" / "metadata").read_text())
    except (OSError, ValueError):
        return {}


def _describe(tree: Tree) -> dict[str, str]:
    """Every array's place in the tree, type and shape."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _difference(there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """The first difference between two structures; none is seen if one isn't known."""
    for name in {**there, **here} if there else ():
        if name not in there:
            return f"it has no {name}, {here[name]}"
        if name not in here:
            return f"it has {name}, which is unknown here"
        if there[name] != here[name]:
            return f"{name} is {there[name]} there, {here[name]} here"
    return None


def _brief(found: Mapping[str, str]) -> str:
    texts = (f"{name} {found[name]}" for name in ("sicjax", "jax") if name in found)
    return ", ".join(texts) or "an unknown version"
