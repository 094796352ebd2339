"""Checkpoints of a pytree: written by Orbax in the background, checked by SHA-256 when read.

A checkpoint is a folder named by the number of updates made:

    state/        the arrays, as global arrays in TensorStore's zarr format: any number of devices
                  or processes can read them. Each row has a chunk of its own, so that one network
                  can be read alone.
    about/        JSON: the versions that wrote it, and what the caller stores with it
    sha256.json   digests of all these files, written before the folder takes its name; in a
                  bucket, before Orbax writes its commit object

Orbax writes; TensorStore reads, because Orbax's restore has no way to read single rows.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath

from sicjax.errors import CheckpointError, one_line
from sicjax.paths import BucketPath, path
from sicjax.stderr import without_late_callbacks
from sicjax.training.checkpoint_files import Kept, about, about_of, kept_for_good, write_digests
from sicjax.training.provenance import versions

Tree = Any
# Loggers of Orbax, of its event loops, and of the packages with which it reaches buckets.
_LOGS = tuple(logging.getLogger(name) for name in ("absl", "asyncio", "gcsfs"))
_MANIFEST, _PART = "manifest.ocdbt", "ocdbt.process_"  # of TensorStore's and Orbax's stores


class Checkpoints:
    """Writes checkpoints into one folder; a context manager that waits for unfinished saves.

    Args:
        folder: created if it is missing. Leftovers of killed saves are removed.
        about: JSON to store with each checkpoint; its "config" says how long it is kept.
        keep: number of latest checkpoints to keep.
        keep_every: keep a checkpoint permanently every this many updates; 0 for none. Checkpoints
            that an earlier rule keeps permanently stay.
    """

    def __init__(
        self, folder: Path, *, about: Mapping[str, Any], keep: int = 1, keep_every: int = 0
    ) -> None:
        self._folder, self._about = folder.absolute(), {**about, "versions": versions()}
        self._saving = -1
        self._policy = Kept(keep, keep_every, kept_for_good(folder))

    def save(self, step: int, tree: Tree) -> None:
        """Begin to save; an update that is already saved is skipped.

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
            CheckpointError: the save can't be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"the checkpoint of update {self._saving} failed: {one_line(error)}")

    def __enter__(self) -> "Checkpoints":
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quietly())
            in_bucket = isinstance(self._folder, BucketPath)
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self._policy, cleanup_tmp_directories=True,
                temporary_path_class=_DigestedObjects if in_bucket else _DigestedPath,
                async_options=ocp.AsyncOptions(barrier_sync_fn=_wait_unless_failed),
            )  # fmt: skip
            place = epath.Path(str(self._folder)) if in_bucket else self._folder
            self._manager = ocp.CheckpointManager(place, options=options)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._held:
            try:
                self.wait()
            except CheckpointError:
                if error is None:  # an earlier error matters more
                    raise
            finally:
                with contextlib.suppress(Exception):  # a failed save, reported above
                    self._manager.close()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence Orbax: it logs pages about an error that we report in one line."""
    levels, hook = [log.level for log in _LOGS], sys.unraisablehook
    for log in _LOGS:
        log.setLevel(logging.CRITICAL)
    sys.unraisablehook = without_late_callbacks(hook)
    try:
        yield
    finally:
        for log, level in zip(_LOGS, levels, strict=True):
            log.setLevel(level)
        sys.unraisablehook = hook


def _wait_unless_failed(*, key: str, timeout_ms: int) -> None:
    """Wait at a barrier of Orbax for the other processes, but not after a failed save.

    Where the writes of one process fail, Orbax lets it wait for the others before it raises the
    error, and they wait for its part of the save: all would stand still for twenty minutes.
    """
    if error := sys.exc_info()[1]:  # Orbax calls this in a `finally`
        raise error
    ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


class _DigestedPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """An unfinished folder of Orbax. Process 0 finishes it: digests first, then its name."""

    async def finalize(self) -> None:
        """Finish the folder, in which all files are now written."""
        if self.get_final().name.isdecimal():  # the folder of an update, not of one of its items
            await asyncio.to_thread(_finish, Path(self.get()))
        await super().finalize()


class _DigestedObjects(ocp.path.atomicity.CommitFileTemporaryPath):
    """The same in a bucket: process 0 writes the digests first, then the commit object."""

    async def finalize(self) -> None:
        """Finish the folder, in which all objects are now written."""
        if self.get_final().name.isdecimal():
            await asyncio.to_thread(_finish, path("checkpoint", str(self.get()), bucket=True))
        await super().finalize()


def _finish(folder: Path) -> None:
    """Check that the arrays of an unfinished checkpoint can be read, then write its digests."""
    item = folder / "state"
    if not (item / _MANIFEST).exists():
        # Orbax looks for the parts of the processes with a glob of the whole path. If a folder of
        # the path has [..] in its name, Orbax finds no part and silently merges nothing.
        _merge(item)
    wanted = about_of(folder)["arrays"]
    store = tensorstore.KvStore.open(_kvstore(item)).result()
    found = [key for key in store.list().result() if key.endswith(b"/.zarray")]
    if len(found) != len(wanted):
        raise OSError(f"{len(wanted)} arrays were saved, {len(found)} can be read")
    write_digests(folder)


def _merge(item: Path) -> None:
    """Merge the parts that the processes wrote into one store, as Orbax does; the parts stay."""
    context = tensorstore.Context()  # shared, so that references are copied and not values
    config = {"max_inline_value_bytes": 1024, "manifest_kind": "single"}  # Orbax's
    whole = {**_kvstore(item), "config": config, "assume_config": True}
    parent = tensorstore.KvStore.open(whole, context=context).result()
    transaction = tensorstore.Transaction(atomic=True)
    for part in sorted(item.iterdir()):
        if part.name.startswith(_PART):
            child = tensorstore.KvStore.open(_kvstore(part), context=context).result()
            child.experimental_copy_range_to(parent.with_transaction(transaction)).result()
    transaction.commit_sync()


def restore(folder: Path, step: int, like: Tree) -> Tree:
    """Return the tree of one checkpoint.

    Args:
        folder: folder of the checkpoints.
        step: number of updates of a checkpoint that exists.
        like: its structure, made of `jax.ShapeDtypeStruct`s. Those with a sharding become arrays
            placed accordingly, and every process reads its share. The others become NumPy arrays.

    Raises:
        CheckpointError: it has another structure, or can't be read; the message names the version
            that wrote it.
    """
    try:
        if problem := _difference(about(folder, step).get("arrays", {}), _describe(like)):
            raise ValueError(problem)
        arrays = _open(folder / str(step), like, any_width=False)
        leaves = [_placed(arrays[name], leaf) for name, leaf in _named(like)]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)
    except Exception as error:
        raise _cannot_load(folder, step, error) from error


def _placed(array: tensorstore.TensorStore, leaf: jax.ShapeDtypeStruct) -> Any:
    """Read an array, or this process's share of it onto its devices."""
    if leaf.sharding is None:
        return array.read().result()
    return jax.make_array_from_callback(
        leaf.shape, leaf.sharding, lambda index: array[index].read().result()
    )


def restore_rows(folder: Path, step: int, like: Tree, rows: int | slice) -> Tree:
    """Return some rows of some arrays of one checkpoint; reads nothing of the other arrays.

    Old checkpoints have no separate chunk per row; of these, all rows of the wanted arrays are
    read.

    Args:
        folder: folder of the checkpoints.
        step: number of updates of a checkpoint that exists.
        like: the wanted arrays: `jax.ShapeDtypeStruct`s of whole arrays, at their places in the
            saved tree. Places left out are not read.
        rows: indices along the first axis of every array.

    Returns:
        NumPy arrays in the structure of `like`, with the saved types: float32 stays float32, even
        if `like` was made under jax_enable_x64.

    Raises:
        CheckpointError: it lacks an array, has one of another shape or kind, or can't be read; the
            message names the version that wrote it.
    """
    try:
        arrays = _open(folder / str(step), like, any_width=True)
        # Begin all reads before waiting for the first.
        reading = [array[rows].read() for array in arrays.values()]
        return jax.tree.unflatten(jax.tree.structure(like), [one.result() for one in reading])
    except Exception as error:
        raise _cannot_load(folder, step, error) from error


def _store(place: Path) -> Path:
    """Return the folder of a checkpoint that TensorStore opens."""
    item = place / "state"
    if not item.exists():
        item = place / "default"  # written before there were digests
    part = item / f"{_PART}0"
    # Older versions left the arrays where one process wrote them if the path had [..] in it.
    return part if part.exists() and not (item / _MANIFEST).exists() else item


def _kvstore(store: Path) -> dict[str, Any]:
    """Return TensorStore's description of the key-value store in a folder."""
    if isinstance(store, BucketPath):
        return {"driver": "ocdbt", "base": store.kvstore()}
    base = {"driver": "file", "path": f"{store.absolute().as_posix()}/"}
    return {"driver": "ocdbt", "base": base}


def _open(checkpoint: Path, like: Tree, *, any_width: bool) -> dict[str, tensorstore.TensorStore]:
    """Open the arrays of `like` in a checkpoint, in its order, by their place in the tree.

    Raises:
        ValueError: an array is missing, or has another shape or type. With `any_width`, numbers may
            have been saved with another width, such as float32 instead of float64.
    """
    store, context = _kvstore(_store(checkpoint)), tensorstore.Context()
    opening = {}
    for place, _ in jax.tree_util.tree_leaves_with_path(like):
        name = jax.tree_util.keystr(place, simple=True, separator=".")  # Orbax's name for it
        spec = {"driver": "zarr", "kvstore": {**store, "path": f"{name}/"}}
        opening[jax.tree_util.keystr(place)] = tensorstore.open(
            spec, context=context, read=True, open=True
        )
    arrays = {}
    for name, array in opening.items():
        try:
            arrays[name] = array.result()
        except ValueError as error:
            if "NOT_FOUND" not in str(error):
                raise
    if not arrays:
        raise ValueError("all of its arrays are missing")
    for name, found in arrays.items():
        # Chunks are read whole, so a damaged size larger than the array could fill the memory.
        chunk = np.asarray(found.chunk_layout.read_chunk.shape)
        if (chunk > np.maximum(found.shape, 1)).any():
            raise ValueError(f"{name} has chunks of {chunk.tolist()}, larger than the array")
    there = {name: _signature(array.dtype.numpy_dtype, array.shape)
             for name, array in arrays.items()}  # fmt: skip
    here = {}
    for name, leaf in _named(like):
        saved = arrays[name].dtype.numpy_dtype if name in arrays else leaf.dtype
        alike = any_width and np.dtype(saved).kind == np.dtype(leaf.dtype).kind
        here[name] = _signature(saved if alike else leaf.dtype, leaf.shape)
    if problem := _difference(there, here):
        raise ValueError(problem)
    return arrays


def _named(tree: Tree) -> list[tuple[str, Any]]:
    """Return every array with its place in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(place), leaf) for place, leaf in leaves]


def _describe(tree: Tree) -> dict[str, str]:
    """Return the type and shape of every array, by its place in the tree."""
    return {name: _signature(leaf.dtype, leaf.shape) for name, leaf in _named(tree)}


def _signature(dtype: Any, shape: Sequence[int]) -> str:
    return f"{dtype}{list(shape)}".replace(" ", "")


def _difference(there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """Describe the first difference; return None if there is none or one side is unknown."""
    for name in {**there, **here} if there else ():
        if name not in there:
            return f"it has no {name}, {here[name]}"
        if name not in here:
            return f"it has {name}, which is unknown here"
        if there[name] != here[name]:
            wide = ", where jax_enable_x64 is on" if jax.config.values["jax_enable_x64"] else ""
            return f"{name} is {there[name]} there, {here[name]} here{wide}"
    return None


def _cannot_load(folder: Path, step: int, error: Exception) -> CheckpointError:
    found = about(folder, step).get("versions", {})
    return CheckpointError(
        f"{folder}: the checkpoint of update {step}, written by {_brief(found)},"
        f" can't be loaded by {_brief(versions())}: {one_line(error)}"
    )


def _brief(found: Mapping[str, str]) -> str:
    texts = (f"{name} {found[name]}" for name in ("sicjax", "jax") if name in found)
    return ", ".join(texts) or "an unknown version"
