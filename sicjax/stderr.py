"""Filter one false alarm of XLA from a command's stderr; every other line stays.

On processors with AVX-512, XLA asks LLVM to avoid gathers and scatters, and stores this request
among the features of a compiled program. When the program comes from the cache, XLA finds that the
processor has no such "feature". It prints kilobytes about SIGILL, and runs the program nevertheless
(https://github.com/openxla/xla/issues/44565). The text comes from C++ and goes to descriptor 2, so
no Python logger sees it. JAX's own switch, TF_CPP_MIN_LOG_LEVEL, would also silence every error.
XLA_FLAGS=--xla_cpu_max_isa=AVX2 avoids the alarm, but costs speed and changes numbers.

So the output of compiled code passes through another process, which runs this file by its path. A
process outlives the command, so the last lines before an abort arrive, too; a thread would die with
the command. Python's own stderr does not pass through the filter: a terminal remains a terminal,
and lines printed before an exit are not lost.
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

# Real features, such as +avx512f in a cache shared with another machine, are not filtered.
_FALSE_ALARM = re.compile(
    rb"[EW]\d{4} \S+ +\d+ \S*cpu_aot_loader\.cc:\d+\] Loading XLA:CPU AOT result\."
    rb" Target machine feature \+prefer-no-(?:gather|scatter) is not +supported.*SIGILL"
)
_PATIENCE_S = 0.1  # bytes after which a line without an end is passed on unchanged


def drop_false_alarm() -> None:
    """Filter the false alarm from this process's stderr from now on.

    Only for a command, which owns its process; call it before JAX is imported. If the filter cannot
    run, or is not needed, nothing changes.
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


def _has_avx512(described: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the alarm is possible: on Linux it needs AVX-512."""
    try:
        return b"avx512" in described.read_bytes()
    except OSError:
        return False


def _pass_on(source: int, target: int) -> None:
    """Copy lines until the source ends, without the false alarms."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the command decides when this ends
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
