"""Filter two messages of compiled code from a command's stderr; every other line stays.

A false alarm is dropped. On a processor with AVX-512 XLA asks LLVM to avoid gathers and scatters,
and records that wish among the features of a compiled program. When the program comes from the
cache, XLA finds that the processor has no such "feature", prints kilobytes on SIGILL, and runs the
program nevertheless (https://github.com/openxla/xla/issues/44565).

A stack trace becomes one line. If another process of a run is gone, JAX aborts this one from a
thread of its own, with a stack trace. JAX has a callback for that, but calling it aborts as well
(jaxlib 0.10.1 can't hand its argument to Python).

Both are written by C++ to descriptor 2, which no logger of Python's sees. JAX's own switch,
TF_CPP_MIN_LOG_LEVEL, would silence every error. XLA_FLAGS=--xla_cpu_max_isa=AVX2, which avoids the
first, costs speed and gives other numbers. So a process of its own, this file run by its path,
copies what compiled code writes. A thread would die with the command, before its last message.
Python's own stderr doesn't pass through it, so a terminal stays a terminal, and Python's messages
arrive before the command exits.
"""

import atexit
import io
import os
import re
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

# A line about a real feature, such as +avx512f in a cache shared with another machine, passes.
_FALSE_ALARM = re.compile(
    rb"[EW]\d{4} \S+ +\d+ \S*cpu_aot_loader\.cc:\d+\] Loading XLA:CPU AOT result\."
    rb" Target machine feature \+prefer-no-(?:gather|scatter) is not +supported.*SIGILL"
)
# The first line of what JAX prints when another process is gone; it always ends with an abort.
_PEER_GONE = re.compile(
    rb"[EF]\d{4} \S+ +\d+ \S+:\d+\] .*(?:Polled an error from coordination service"
    rb"|Use error polling to propagate|Terminating process because the JAX distributed service)"
)
_SAID_INSTEAD = (
    b"sicjax: another process of this run has stopped: it was killed, or its host failed; start the"
    b" same command again\n"
)
_PATIENCE_S = 0.1  # after which a line without an end is passed on as it is


def start_filter() -> None:
    """Filter this process's stderr from here on.

    For a command, which owns its process, before it imports JAX. If the filter can't be started,
    or isn't needed, nothing changes.
    """
    if sys.platform != "linux" or sys.stderr is None:
        return
    try:
        if sys.stderr.fileno() != 2:
            return
        sys.stderr.flush()
        reader, writer = os.pipe()
        terminal = os.dup(2)
        passing = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=reader, stdout=subprocess.DEVNULL, start_new_session=True,  # no Ctrl-C for it
        )  # fmt: skip
    except (OSError, ValueError):
        return
    os.close(reader)
    before = sys.stderr
    stream = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(terminal, "w", closefd=False)),
        encoding=before.encoding, errors=before.errors, line_buffering=True,
    )  # fmt: skip
    sys.stderr = stream
    os.dup2(writer, 2)
    os.close(writer)

    def give_back() -> None:
        stream.flush()
        os.dup2(terminal, 2)  # closes the last end of the pipe in this process, so the filter ends
        sys.stderr = before
        try:
            passing.wait(timeout=1)
        except subprocess.TimeoutExpired:  # a process that we started still writes to the pipe
            passing.returncode = 0  # no Python warning about it

    atexit.register(give_back)


def drop_leftovers_of_saves() -> None:
    """Filter messages that Orbax prints late after a failed save, for the rest of this process.

    Only for a command, which owns its process. The failure itself is reported in one line.
    """
    sys.unraisablehook = without_late_callbacks(sys.unraisablehook)
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)


def without_late_callbacks(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the hook, but silent about writes that end after their save has failed.

    Orbax then has closed the event loop to which they report, and TensorStore prints a traceback
    for each.
    """

    def quieter(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            hook(unraisable)

    return quieter


def _pass_on(source: int, target: int) -> None:
    """Copy lines until the source ends, without the two messages."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the command decides when to end
    held, aborting = b"", False
    while True:
        if held and not select.select([source], [], [], _PATIENCE_S)[0]:
            _write(target, held)
            held = b""
        if not (piece := os.read(source, 65536)):
            return _write(target, held)
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            if _PEER_GONE.match(line) and not aborting:
                aborting = True
                _write(target, _SAID_INSTEAD)
            if not (aborting or _FALSE_ALARM.match(line)):
                _write(target, line + b"\n")
        if aborting:  # the rest is the stack trace
            held = b""


def _write(target: int, text: bytes) -> None:
    while text:
        text = text[os.write(target, text) :]


if __name__ == "__main__":
    _pass_on(0, 2)
