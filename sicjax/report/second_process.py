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

from sicjax.parallel import available_cores

Call = Callable[..., Any]
_CODE = "import sys; sys.path[:] = {!r}; from sicjax.report.served import serve; serve()"


@contextlib.contextmanager
def second_process() -> Iterator[Call]:
    """Give a function that calls functions, by turns, in another process.

    Called with a function of a module and its arguments, it returns what that returns. Where there
    is one core, or no other process can be had or it dies, they are called in this one. The other
    ends with the context, and with this process, however that ends.
    """
    child = _start() if available_cores() > 1 else None
    if child is None:
        yield lambda function, *args: function(*args)
        return
    assert child.stdin is not None
    assert child.stdout is not None
    asked, answers, ended = child.stdin, child.stdout, threading.Event()

    def call(function: Call, *args: Any) -> Any:
        try:
            asked.write(pickle.dumps((function, args)))  # whole or, where it can't be, not at all
            asked.flush()
            found, answer = pickle.load(answers)
        except Exception:
            if ended.is_set():  # by a signal: nobody waits for the answer
                raise
            found = False
        return answer if found else function(*args)

    try:
        yield call
    finally:
        ended.set()
        child.kill()
        child.wait()
        for pipe in (asked, answers):
            with contextlib.suppress(OSError):  # what it was not told any more
                pipe.close()


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
