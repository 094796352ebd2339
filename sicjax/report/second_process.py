"""Another process that analyses maps while this one runs the network and draws.

Cohomology and the scores of shuffled maps hold Python's lock for seconds, so that threads would
only take turns. The process is a fresh interpreter: a fork of one in which JAX computes may hang.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sicjax.devices.hardware import available_cores

_CODE = "import sys; sys.path[:] = {!r}; from sicjax.report.served import serve; serve()"


class Apart:
    """Calls functions of modules in another process, one after another, whoever asks."""

    def __init__(self, child: "subprocess.Popen[bytes] | None") -> None:
        self._child, self._turn, self._ended = child, threading.Lock(), threading.Event()

    def ask(self, function: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        """Whether the function returned there, and what: not without a process, nor if it died."""
        if self._child is None:
            return False, None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with self._turn:
            try:
                # Whole or, where it can't be, not at all.
                self._child.stdin.write(pickle.dumps((function, args)))
                self._child.stdin.flush()
                return pickle.load(self._child.stdout)
            except Exception:
                if self._ended.is_set():  # by a signal: nobody waits for the answer
                    raise
                return False, None

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what the function does, called there or, where that fails, here."""
        found, answer = self.ask(function, *args)
        return answer if found else function(*args)

    def end(self) -> None:
        """End the process; who waits for an answer gets an error."""
        self._ended.set()
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):  # what it was not told any more
                if pipe is not None:
                    pipe.close()


@contextlib.contextmanager
def second_process() -> Iterator[Apart]:
    """Give what calls functions in another process.

    Where there is one core, or no other process can be had or it dies, they are called in this one.
    The other ends with the context, and with this process, however that ends.
    """
    apart = Apart(_start() if available_cores() > 1 else None)
    try:
        yield apart
    finally:
        apart.end()


def _start() -> "subprocess.Popen[bytes] | None":
    """Start the process; None where there can't be one."""
    if not sys.executable or getattr(sys, "frozen", False):  # it would be the whole program again
        return None
    # An accelerator is this process's, and a core: threads of BLAS would wait for each other.
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(threads, "1"), "JAX_PLATFORMS": "cpu"}
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _CODE.format(sys.path)], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
    except OSError:
        return None
