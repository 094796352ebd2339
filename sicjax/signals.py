"""SIGTERM and Ctrl-C while a run is under way, and errors of one process that shall end all."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax

from sicjax import parallel

_FAILED = 2**30  # no signal's number: another process has raised something


class RunInterruptedError(Exception):
    """A signal asked the run to stop; all is saved. `exit_code` is 75 (SIGTERM) or 130 (Ctrl-C).

    `run` is the first network as it was then, a `Run`, where there is no workdir that holds it.
    """

    def __init__(self, number: int, step: int, run: Any = None) -> None:
        self.exit_code = 75 if number == signal.SIGTERM else 130
        self.run = run
        kept = "the network as it is now is this error's `run`"
        super().__init__(
            f"stopped at step {step}; {kept if run else 'the same command goes on from there'}"
        )


class Signals:
    """SIGTERM and Ctrl-C while it is entered: noted, and asked for; a second Ctrl-C stops at once.

    Signals reach Python between two instructions of the main thread; elsewhere there are none.
    """

    def __init__(self) -> None:
        self._number = 0
        self._error: Exception | None = None
        self._step: int | None = None  # not None: stop at once, saying that this step was reached
        self._previous: dict[int, Any] = {}

    def agreed(self) -> int:
        """The signal that any process has received, 0 for none; all must ask.

        Raises:
            Exception: what was raised inside `shared` here.
            parallel.PeerError: something was raised inside it in another process.
        """
        number = parallel.largest(_FAILED if self._error else self._number)
        if number == _FAILED:
            raise self._error or parallel.PeerError()
        return number

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """What is raised inside ends every process, when they next ask for `agreed`."""
        try:
            yield
        except Exception as error:
            if jax.process_count() == 1:
                raise
            self._error = error

    @contextlib.contextmanager
    def at_once(self, step: int) -> Iterator[None]:
        """Where nothing need be saved a signal stops the run at once."""
        if self._number:
            raise RunInterruptedError(self._number, step)
        self._step = step
        yield
        self._step = None
        if self._number:  # what was raised has been caught on its way
            raise RunInterruptedError(self._number, step)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number
        if self._step is not None:
            raise RunInterruptedError(number, self._step)
        print("stopping after this dispatch; saving", file=sys.stderr, flush=True)

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
