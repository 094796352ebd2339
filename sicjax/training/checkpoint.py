"""Checkpoints of a pytree by Orbax: asynchronous, atomic, checked by SHA-256 when read.

A checkpoint is a folder named by its step:

    state/        the arrays, as global arrays: restorable on any number of devices or processes,
                  each row of an array in a chunk of its own, so that one network can be read alone
    about/        JSON: the versions that wrote it, and what the caller wants to remember
    sha256.json   digests of all these files, written before the folder takes its name
"""

import asyncio
import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from sicjax.errors import CheckpointError, one_line

Tree = Any
DIGESTS = "sha256.json"
_LOGS = (logging.getLogger("absl"), logging.getLogger("asyncio"))  # of Orbax and its loops
_PACKAGES = ("sicjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


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
        self._options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_every or None,
            cleanup_tmp_directories=True,
            temporary_path_class=_DigestedPath,
        )

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
            by_row = jax.tree.map(lambda leaf: ocp.SaveArgs(shard_axes=(0,)[: leaf.ndim]), tree)
            arguments = {"state": ocp.args.StandardSave(tree, by_row)}
            arguments["about"] = ocp.args.JsonSave({**self._about, "arrays": _describe(tree)})
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
        # Writes that Orbax has given up are told of when they are collected.
        warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
        return CheckpointError(f"the checkpoint of step {self._saving} failed: {one_line(error)}")

    def __enter__(self) -> "Checkpoints":
        self._quiet = _quietly()
        self._quiet.__enter__()
        self._manager = ocp.CheckpointManager(self._folder, options=self._options)
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
            if not failed:
                self._quiet.__exit__(None, None, None)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Where what Orbax raises is told in a line; it logs pages, and goes on if anything failed."""
    levels, hook = [log.level for log in _LOGS], sys.unraisablehook
    for log in _LOGS:
        log.setLevel(logging.CRITICAL)
    sys.unraisablehook = _without_late_callbacks(hook)
    yield  # not to be undone where something is raised
    for log, level in zip(_LOGS, levels, strict=True):
        log.setLevel(level)
    sys.unraisablehook = hook


def _without_late_callbacks(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The hook, silent about writes and reads that end after one of the same tree has failed.

    Orbax then closes the loop that they report to, and TensorStore prints a traceback for each.
    """

    def quieter(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            hook(unraisable)

    return quieter


class _DigestedPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A folder in the making, in process 0: a checkpoint gets its digests, then its name."""

    async def finalize(self) -> None:
        """Called when all files below the folder are written."""
        if self.get_final().name.isdecimal():  # a step's, not that of one of its items
            await asyncio.to_thread(_write_digests, Path(self.get()))
        await super().finalize()


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, latest first; a folder takes its name last."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir() if path.is_dir())
    found = (int(name) for name in names if name.isascii() and name.isdecimal())
    return sorted((step for step in found if (folder / str(step)).is_dir()), reverse=True)


def reached(folder: Path) -> int:
    """The latest step whose checkpoint has all its files, 0 without one; none is read."""
    whole = (step for step in steps(folder) if not _problem(folder / str(step), read=False))
    return next(whole, 0)


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
    names = (f"{step}.{number}" if number else f"{step}" for number in itertools.count())
    free = next(name for name in names if not (place / name).exists())
    return (folder / str(step)).rename(place / free)


def end_removals(folder: Path, *, keep: int, keep_every: int = 0) -> None:
    """Remove the checkpoints that a run was about to when it was killed; else only a save would.

    Args:
        folder: of the checkpoints, the latest of which is intact.
        keep: as of `Checkpoints`.
        keep_every: likewise.
    """
    for step in steps(folder)[keep:]:
        if not (keep_every and step % keep_every == 0):
            shutil.rmtree(folder / str(step), ignore_errors=True)


def about(folder: Path, step: int) -> dict[str, Any]:
    """What was written with a checkpoint; nothing if it was written before that."""
    try:
        found = json.loads((folder / str(step) / "about" / "metadata").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


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
    place = folder / str(step)

    def target(leaf):
        if leaf.sharding is not None:
            return leaf
        return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)  # takes no memory

    arrays = about(folder, step).get("arrays", {})
    problem, cause = _difference(arrays, _describe(like)), None
    if not problem:
        try:
            with _quietly(), ocp.StandardCheckpointer() as checkpointer:
                return checkpointer.restore(_arrays(place), jax.tree.map(target, like))
        except Exception as error:
            problem, cause = one_line(error), error
    raise _cannot_load(folder, step, problem) from cause


def restore_rows(folder: Path, step: int, like: Tree, rows: int | slice) -> Tree:
    """Some rows of some arrays of one checkpoint; of the others nothing is read.

    Of a checkpoint that was written before rows had chunks of their own, all rows of these arrays
    are read.

    Args:
        folder: of the checkpoints.
        step: of a checkpoint that exists.
        like: what is wanted: `jax.ShapeDtypeStruct`s of whole arrays, in the places of the tree
            that they were saved in; places left out are not read.
        rows: along the first axis of every array.

    Returns:
        NumPy arrays in the structure of `like`, of the type they were saved in: a float32 remains
        one where `like` was made under jax_enable_x64.

    Raises:
        CheckpointError: it lacks an array, has one of another shape or kind, or can't be read;
            says which version wrote it.
    """
    try:
        arrays = _open(_arrays(folder / str(step)), like)
        there = {name: _signature(array.dtype.numpy_dtype, array.shape)
                 for name, array in arrays.items()}  # fmt: skip
        here = {name: _signature(_type_there(leaf, arrays.get(name)), leaf.shape)
                for name, leaf in _named(like)}  # fmt: skip
        problem, cause = _difference(there, here), None
        if not arrays:
            problem = "none of its arrays is there"
        if not problem:
            reading = [array[rows].read() for array in arrays.values()]
            return jax.tree.unflatten(jax.tree.structure(like), [one.result() for one in reading])
    except Exception as error:
        problem, cause = one_line(error), error
    raise _cannot_load(folder, step, problem) from cause


def _write_digests(folder: Path) -> None:
    """Write the SHA-256 of every file below the folder's items."""
    files = (path for item in sorted(folder.iterdir()) if item.is_dir() for path in _files(item))
    digests = {path.relative_to(folder).as_posix(): _sha256(path) for path in files}
    with (folder / DIGESTS).open("w") as file:
        file.write(json.dumps(digests, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())  # as Orbax does with its own


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _problem(place: Path, *, read: bool = True) -> str | None:
    """What is wrong with a checkpoint, None if nothing is; `read`: also in what its files hold."""
    if (place / "default" / "_METADATA").is_file():
        return None  # written before there were digests: all that can be said is that it is whole
    try:
        digests = json.loads((place / DIGESTS).read_text())
        if not (isinstance(digests, dict) and digests):
            return f"{DIGESTS} names no files"
        for name, digest in digests.items():
            (place / name).stat()
            if read and _sha256(place / name) != digest:
                return f"{name} is not as it was written (SHA-256 differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, RecursionError) as error:
        return one_line(error)
    return None


def _arrays(place: Path) -> Path:
    """Where a checkpoint's arrays are."""
    item = place / "state"
    return (item if item.exists() else place / "default").absolute()  # before digests


def _open(item: Path, like: Tree) -> dict[str, tensorstore.TensorStore]:
    """The arrays, by their place in the tree, in the order of `like`; absent ones are left out."""
    context = tensorstore.Context()
    opening = {
        jax.tree_util.keystr(path): tensorstore.open(
            {
                "driver": "zarr",
                "kvstore": {
                    "driver": "ocdbt",
                    "base": {"driver": "file", "path": f"{item.as_posix()}/"},
                    # What Orbax calls it.
                    "path": jax.tree_util.keystr(path, simple=True, separator=".") + "/",
                },
            },
            context=context, read=True, open=True,
        )
        for path, _ in jax.tree_util.tree_leaves_with_path(like)
    }  # fmt: skip
    found = {}
    for name, array in opening.items():
        try:
            found[name] = array.result()
        except ValueError as error:
            if "NOT_FOUND" not in str(error):
                raise
    return found


def _type_there(leaf: Any, array: tensorstore.TensorStore | None) -> np.dtype:
    """A leaf's type, in the width in which its array was saved."""
    here = np.dtype(leaf.dtype)
    there = here if array is None else array.dtype.numpy_dtype
    return there if there.kind == here.kind else here


def _named(tree: Tree) -> list[tuple[str, Any]]:
    """Every array with its place in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _describe(tree: Tree) -> dict[str, str]:
    """Every array's place in the tree, type and shape."""
    return {name: _signature(leaf.dtype, leaf.shape) for name, leaf in _named(tree)}


def _signature(dtype: Any, shape: Sequence[int]) -> str:
    return f"{dtype}{list(shape)}".replace(" ", "")


def _difference(there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """The first difference between two structures; none is seen if one isn't known."""
    for name in {**there, **here} if there else ():
        if name not in there:
            return f"it has no {name}, {here[name]}"
        if name not in here:
            return f"it has {name}, which is unknown here"
        if there[name] != here[name]:
            wide = ", where jax_enable_x64 is on" if jax.config.values["jax_enable_x64"] else ""
            return f"{name} is {there[name]} there, {here[name]} here{wide}"
    return None


def _cannot_load(folder: Path, step: int, problem: str) -> CheckpointError:
    found = about(folder, step).get("versions", {})
    return CheckpointError(
        f"{folder}: the checkpoint of step {step}, written by {_brief(found)},"
        f" can't be loaded by {_brief(versions())}: {problem}"
    )


def _brief(found: Mapping[str, str]) -> str:
    texts = (f"{name} {found[name]}" for name in ("sicjax", "jax") if name in found)
    return ", ".join(texts) or "an unknown version"
