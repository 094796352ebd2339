"""Compile less: a cache on disk, small programs on the CPU, fewer optimisations for others."""

import contextlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jax

# Programs that take at least this many seconds to compile are cached. JAX's default is 1, but the
# fifteen programs of a report take 0.3 to 0.9 each.
KEPT_FROM_S = 0.2
# The default device outside of `small_programs`; empty outside of any.
_outside: ContextVar[tuple[Any, ...]] = ContextVar("outside", default=())
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def use_cache(folder: Path | None = None) -> Path:
    """Turn on JAX's persistent compilation cache, unless the user has set one up.

    Unreadable entries are removed first. JAX writes an entry in place and never replaces it, so a
    truncated entry would cost a warning and a compilation in every later run. Cached programs are
    code that this process runs, so a folder to which other users can write is not used.

    Args:
        folder: by default sicjax/ under $XDG_CACHE_HOME, or under ~/.cache.

    Returns:
        The folder in use.
    """
    if chosen := jax.config.values.get("jax_compilation_cache_dir"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = folder or Path(base) / "sicjax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_ours(folder):
            print(f"{folder}: compiled programs are not kept: others can write there", flush=True)
            return folder
        remove_unreadable(folder)
    except OSError:
        return folder  # without a cache, programs are compiled again, nothing worse
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", KEPT_FROM_S)
    return folder


def _is_ours(folder: Path) -> bool:
    """Return whether this user owns the folder and nobody else can write to it."""
    if not hasattr(os, "getuid"):
        return True  # on Windows a home folder belongs to its user
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def remove_unreadable(folder: Path) -> list[Path]:
    """Remove truncated or damaged entries that are newer than the last check; return them."""
    marker = folder / "last_look"
    last_look = marker.stat().st_mtime_ns if marker.exists() else 0
    marker.touch()
    young = [path for path in folder.glob("*-cache") if path.stat().st_mtime_ns >= last_look]
    removed = [path for path in young if not _readable(path.read_bytes())]
    for path in removed:
        path.unlink()
    return removed


def _readable(entry: bytes) -> bool:
    """Return whether an entry unpacks; both of jax's formats carry a checksum or a length."""
    try:
        if not entry.startswith(_ZSTANDARD):
            zlib.decompress(entry)
            return True
        import zstandard  # the module with which jax writes such an entry

        zstandard.ZstdDecompressor().decompress(entry)
    except ImportError:
        return True
    except Exception:
        return False
    return True


@contextlib.contextmanager
def small_programs() -> Iterator[None]:
    """Run small programs on the CPU, because compiling each for an accelerator takes a second.

    Code inside `large_programs` is not affected.
    """
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS excludes the CPU
        yield
        return
    outside = _outside.set((jax.config.jax_default_device,))  # type: ignore[attr-defined]
    try:
        with jax.default_device(device):
            yield
    finally:
        _outside.reset(outside)


@contextlib.contextmanager
def large_programs() -> Iterator[None]:
    """Run programs on the device that is the default outside of `small_programs`."""
    if outside := _outside.get():
        with jax.default_device(*outside):
            yield
    else:
        yield


def jit_once(function: Callable[..., Any]) -> Any:
    """Jit a function that is called once: without optimisations it compiles in half the time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
