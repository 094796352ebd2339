"""Checkpoints of a pytree by Orbax: asynchronous, atomic, the last few kept."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

Tree = Any


class Checkpoints:
    """The checkpoints in one folder; a context manager, which waits for saves under way."""

    def __init__(self, folder: Path, *, keep: int = 1, create: bool = False) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=create)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Tree) -> None:
        """Begin to save; a step that is already there is left alone."""
        if step != self.latest_step:
            host = jax.device_get(tree)
            self._manager.save(step, args=ocp.args.StandardSave(host), force=True)

    def restore(self, step: int, like: Tree) -> Tree:
        """The tree of that step, as arrays on the host.

        Args:
            step: of a checkpoint that exists.
            like: a tree of arrays or `jax.ShapeDtypeStruct` with the structure to restore.
        """
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
        )
        restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return jax.device_get(restored)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()
