"""The cores of this machine, worker processes, and a second thread.

Cohomology and the scores of shuffled maps hold Python's lock for seconds, so threads would only
take turns. A worker is a fresh interpreter from loky, because a fork of a process that runs JAX
may hang. Unlike `multiprocessing`, loky does not import the user's script again, so scripts need no
`__main__` guard.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joblib.externals.loky import ProcessPoolExecutor

# The parent owns the accelerator and one core; more threads of BLAS would wait for each other.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # fmt: skip


def available_cores(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores that this process may use, at least 1.

    Its affinity and the quota of its container limit them.

    Args:
        group: folder of the control group; its cpu.max holds quota and period.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # "max" is not a number and means no quota
        quota, period = (group / "cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(cores, 1)


class Worker:
    """Calls functions in other processes, which take the requests in their order."""

    def __init__(self, executor: "ProcessPoolExecutor | None") -> None:
        self._executor, self._ended = executor, False
        self._thread = ThreadPoolExecutor(1)

    def beside(self, function: Callable[..., Any], *args: Any) -> Future:
        """Call a function in a thread of this process, in order; it may wait for the worker."""
        return self._thread.submit(function, *args)

    def later(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Begin a call; return a function that waits for its result.

        If there is no other process, or it has died, that function computes the result here.
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
                if self._ended:  # ended by a signal: nobody waits for the result
                    raise
                return here()

        return wait

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the other process and return its result."""
        return self.later(function, *args)()

    def end(self) -> None:
        """End the processes at once; a caller that waits for a result gets an error."""
        self._ended = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._executor is not None:
            self._executor.shutdown(kill_workers=True)


@contextlib.contextmanager
def worker_processes(number: int = 1) -> Iterator[Worker]:
    """Yield a worker that ends with the context.

    On a single core it runs in this process, and also where this is itself a worker, of
    `multiprocessing` or joblib: it may not have children, and others of its kind use the cores.

    Args:
        number: of processes; 0 for none.
    """
    elsewhere = number and available_cores() > 1 and multiprocessing.parent_process() is None
    worker = Worker(_start(number) if elsewhere else None)
    try:
        yield worker
    finally:
        worker.end()


@contextlib.contextmanager
def second_thread() -> Iterator[Callable[..., Future]]:
    """Yield a function that submits calls to a second thread, which runs them in order."""
    thread = ThreadPoolExecutor(1)
    try:
        yield thread.submit
    finally:  # an interrupted report doesn't wait for calls that have not begun
        thread.shutdown(wait=False, cancel_futures=True)


def _start(number: int) -> "ProcessPoolExecutor":
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(
        number, initializer=_begin, initargs=(os.getpid(),), env=_ENVIRONMENT
    )


def _begin(parent: int) -> None:
    """Ignore Ctrl-C, which the parent handles, and end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
