"""Every error that sicjax raises by a class of its own."""

import errno
import os
import signal
from typing import Any


class PeerError(RuntimeError):
    """Another process of the run has stopped; this one ends with its `exit_code`, 1 if unknown."""

    def __init__(self, exit_code: int = 1, why: str = "its output says why") -> None:
        self.exit_code = exit_code
        super().__init__(f"another process of this run has stopped: {why}")


class ConfigError(ValueError):
    """Bad input; the message is one line with the field, its value and what would be right."""

    exit_code = 2


class CheckpointError(Exception):
    """A checkpoint can't be written or read; the message is one line that says why."""


def brief(value: Any) -> str:
    """Return a value on one line of bounded length, for a message."""
    return " ".join(repr(value).split())[:80]


def one_line(error: BaseException) -> str:
    """Return an error's message, cut to one line."""
    text = str(error) or type(error).__name__
    if "No space left on device" in text:
        return "No space left on device"
    text = " ".join(text.split())
    if len(text) <= 300:
        return text
    # TensorStore first describes at length what it was doing, then the error of the disk.
    disk = (os.strerror(number) for number in (errno.EIO, errno.EROFS, errno.EDQUOT))
    return next((reason for reason in disk if reason in text), text[:300] + "...")


class RunInterruptedError(BaseException):
    """A signal stopped the run after a save; `exit_code` is 75 (SIGTERM) or 130 (Ctrl-C).

    Without a workdir, `run` is the first network at that moment, a `Run`. Like KeyboardInterrupt
    this is not an `Exception`, so `except Exception` does not swallow it.
    """

    def __init__(self, number: int, step: int, run: Any = None) -> None:
        self.exit_code = 75 if number == signal.SIGTERM else 130
        self.run = run
        kept = "the network as it is now is this error's `run`"
        super().__init__(
            f"stopped at update {step}; {kept if run else 'the same command continues from there'}"
        )


class NonFiniteError(ArithmeticError):
    """Every network went non-finite; the message names network, update and term."""

    exit_code = 3
