"""A worker process and a second thread, which work while this one runs the network and draws.

Cohomology and the scores of shuffled maps hold Python's lock for seconds, so that threads would
only take turns. The worker is loky's: a fresh interpreter, since a fork of a process in which JAX
computes may hang, and one that does not import the user's script, so that it needs no guard.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

from sicjax.devices.hardware import available_cores

# An accelerator is this process's, and a core: threads of BLAS would wait for each other.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # fmt: skip


class Worker:
    """Calls functions of modules in another process, in the order in which they are asked for."""

    def __init__(self, executor: ProcessPoolExecutor | None) -> None:
        self._executor, self._ended = executor, False
        self._thread = ThreadPoolExecutor(1)

    def beside(self, function: Callable[..., Any], *args: Any) -> Future:
        """Call functions in a thread of this process, one after another: to wait for the worker."""
        return self._thread.submit(function, *args)

    def later(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Begin a call; returns a function that waits for its result.

        Without another process, or where that has died, the result is computed when asked for.
        """
        here = partial(function, *args)
        if self._executor is None:
            return here
        try:
            found = self._executor.submit(function, *args)
        except BrokenProcessPool:
            return here

        def wait() -> Any:
            try:
                return found.result()
            except BrokenProcessPool:
                if self._ended:  # by a signal: nobody waits for the result
                    raise
                return here()

        return wait

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a function returns, called in the other process."""
        return self.later(function, *args)()

    def end(self) -> None:
        """End the process at once; who waits for a result gets an error."""
        self._ended = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._executor is not None:
            self._executor.shutdown(kill_workers=True)


@contextlib.contextmanager
def worker_process() -> Iterator[Worker]:
    """Give a worker, which ends with the context. With one core, functions are called here."""
    worker = Worker(_start() if available_cores() > 1 else None)
    try:
        yield worker
    finally:
        worker.end()


@contextlib.contextmanager
def second_thread() -> Iterator[Callable[..., Future]]:
    """Give a function that has another thread call functions, one after another."""
    thread = ThreadPoolExecutor(1)
    try:
        yield thread.submit
    finally:  # an interrupted report doesn't wait for what has not begun
        thread.shutdown(wait=False, cancel_futures=True)


def _start() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, initializer=_begin, initargs=(os.getpid(),), env=_ENVIRONMENT)


def _begin(parent: int) -> None:
    """Leave Ctrl-C, which reaches both processes, to the parent; end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
