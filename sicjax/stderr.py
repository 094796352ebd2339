"""One false alarm less on a command's stderr; every other line arrives as it is.

Where a processor has AVX-512, XLA asks LLVM to avoid gathers and scatters, notes that wish among
the features of a compiled program, and finds, when the program comes from the cache, that the
processor has no such "feature". It prints kilobytes on SIGILL, and runs the program all the same
(https://github.com/openxla/xla/issues/44565). This is C++ and goes to descriptor 2: no logger of
Python's sees it. JAX's own switch, TF_CPP_MIN_LOG_LEVEL, would silence every error with it; and
XLA_FLAGS=--xla_cpu_max_isa=AVX2, which avoids it, costs speed and gives other numbers.

So what compiled code writes passes a process of its own, this file run by its path. A process, for
it outlives the command: last words before an abort arrive too, where a thread would die with them.
Python's own stderr doesn't pass it: a terminal stays one, and what is said before an exit is there.
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
from pathlib import Path
from typing import Any

# A feature that is a true one, such as +avx512f in a cache shared with another machine, is let by.
_FALSE_ALARM = re.compile(
    rb"[EW]\d{4} \S+ +\d+ \S*cpu_aot_loader\.cc:\d+\] Loading XLA:CPU AOT result\."
    rb" Target machine feature \+prefer-no-(?:gather|scatter) is not +supported.*SIGILL"
)
_PATIENCE_S = 0.1  # after which a line without an end is passed on as it is


def drop_false_alarm() -> None:
    """From here on, let no such line through to this process's stderr.

    For a command, which owns its process, before it imports JAX. Where no filter can be had, or
    none is needed, all stays as it is.
    """
    if not _has_avx512() or sys.stderr is None:
        return
    try:
        if sys.stderr.fileno() != 2:
            return
        sys.stderr.flush()
        reader, writer = os.pipe()
        terminal = os.dup(2)
        passing = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=reader, stdout=subprocess.DEVNULL, start_new_session=True,  # away from Ctrl-C
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
        os.dup2(terminal, 2)  # closes the pipe's last end here, so that the filter ends
        sys.stderr = before
        try:
            passing.wait(timeout=1)
        except subprocess.TimeoutExpired:  # a process that we have started still writes to it
            passing.returncode = 0  # no warning of Python's about that

    atexit.register(give_back)


def drop_leftovers_of_saves() -> None:
    """Filter what Orbax leaves behind when a save fails, for the rest of this process.

    For a command, which owns its process: the failure itself is reported in one line.
    """
    sys.unraisablehook = without_late_callbacks(sys.unraisablehook)
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)


def without_late_callbacks(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the hook, silent about writes that end after another one of the same save failed.

    Orbax then closes the event loop they report to, and TensorStore prints a traceback for each.
    """

    def quieter(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            hook(unraisable)

    return quieter


def _has_avx512(described: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the alarm can come at all: on Linux it needs AVX-512."""
    try:
        return b"avx512" in described.read_bytes()
    except OSError:
        return False


def _pass_on(source: int, target: int) -> None:
    """Copy lines until the source ends, without the false alarms."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the command decides when to end
    held = b""
    while True:
        if held and not select.select([source], [], [], _PATIENCE_S)[0]:
            _write(target, held)
            held = b""
        if not (piece := os.read(source, 65536)):
            return _write(target, held)
        *lines, held = (held + piece).split(b"\n")
        _write(target, b"".join(line + b"\n" for line in lines if not _FALSE_ALARM.match(line)))


def _write(target: int, text: bytes) -> None:
    while text:
        text = text[os.write(target, text) :]


if __name__ == "__main__":
    _pass_on(0, 2)
