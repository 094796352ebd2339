"""SIGTERM and Ctrl-C while a run is under way, and errors of one process that shall end all.

JAX is imported where it is used: a command listens before it is there.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from sicjax.errors import PeerError, RunInterruptedError

_FAILED = 2**30  # no signal's number: another process has raised something
_PATIENCE_S = 3.0  # in which the main thread may come to a signal by itself


class Signals:
    """SIGTERM and Ctrl-C while it is entered: noted, and asked for; a second Ctrl-C stops at once.

    Signals reach Python between two instructions of the main thread; elsewhere there are none.
    While the main thread is in compiled code a command is told of them all the same: see `watched`.
    """

    def __init__(self) -> None:
        self._number = 0
        self._error: Exception | None = None
        self._step: int | None = None  # not None: stop at once, saying that this step was reached
        self._awaited = "this dispatch"  # what a run that stops does first
        self._previous: dict[int, Any] = {}

    def agreed(self) -> int:
        """The signal that any process has received, 0 for none; all must ask.

        Raises:
            Exception: what was raised inside `shared` here.
            PeerError: something was raised inside it in another process.
        """
        from sicjax.devices import processes

        number = processes.largest(_FAILED if self._error else self._number)
        if number == _FAILED:
            raise self._error or PeerError()
        return number

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """What is raised inside ends every process, when they next ask for `agreed`."""
        try:
            yield
        except Exception as error:
            from sicjax.devices import processes

            if processes.is_alone():
                raise
            self._error = error

    @contextlib.contextmanager
    def at_once(self, step: int) -> Iterator[None]:
        """Where nothing need be saved a signal stops the run at once."""
        if self._number:
            raise RunInterruptedError(self._number, step)
        self._step, before = step, sys.unraisablehook
        sys.unraisablehook = lambda args: _is_ours(args.exc_value) or before(args)
        try:
            yield
        finally:
            self._step, sys.unraisablehook = None, before
        if self._number:  # what was raised has been caught on its way, as in a garbage collection
            raise RunInterruptedError(self._number, step)

    @contextlib.contextmanager
    def noted(self, awaited: str) -> Iterator[None]:
        """Where a signal that comes inside is heeded only after something else: says after what."""
        self._awaited, before = awaited, self._awaited
        try:
            yield
        finally:
            self._awaited = before

    def due(self, number: int) -> "RunInterruptedError | None":
        """What a signal stops the run with at once; None where it is noted, or has done so."""
        return None if self._step is None else RunInterruptedError(number, self._step)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            before = self._previous[number]  # of a notebook: raises KeyboardInterrupt
            if callable(before):
                before(number, frame)
            return
        self._number = number
        if self._step is not None:
            raise RunInterruptedError(number, self._step)
        print(f"stopping after {self._awaited}; saving", file=sys.stderr, flush=True)

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _is_ours(error: BaseException | None) -> bool:
    return isinstance(error, RunInterruptedError)


class Watch:
    """What a command does about Ctrl-C by itself; `watched` gives one."""

    def __init__(self) -> None:
        self._spoken = threading.Lock()  # held for good by whoever says the last word

    def last_word(self, line: str) -> None:
        """Say how the command ends; from here on Ctrl-C changes nothing."""
        self._spoken.acquire()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(line, file=sys.stderr, flush=True)

    def listen(self, told: socket.socket) -> None:
        """End the process at a second Ctrl-C, or at a signal that the main thread doesn't come to.

        Args:
            told: gives a byte, its number, for every signal that is handled.
        """
        interrupts, number, run = 0, 0, None
        with told:
            while True:
                told.settimeout(_PATIENCE_S if run else None)
                try:
                    byte = told.recv(1)
                except TimeoutError:
                    if run and (error := run.due(number)):
                        self._leave(str(error), error.exit_code)
                    run = None
                    continue
                if not byte:
                    return
                number = byte[0]
                interrupts += number == signal.SIGINT
                listener = getattr(signal.getsignal(number), "__self__", None)
                if number == signal.SIGINT and (interrupts > 1 or listener is self):
                    self._leave("stopped at once; the last checkpoint stands", 130)
                run = listener if isinstance(listener, Signals) else None

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Nothing: `listen` has been told."""

    def _leave(self, line: str, exit_code: int) -> None:
        if self._spoken.acquire(blocking=False):
            with contextlib.suppress(OSError):
                os.write(2, f"sicjax: {line}\n".encode())
            os._exit(exit_code)


@contextlib.contextmanager
def watched(*, for_good: bool = False) -> Iterator[Watch]:
    """While a command runs: a Ctrl-C that no run notes, or a second one, ends it within a moment.

    Python's handlers wait until the main thread leaves what is compiled, which XLA's compiler does
    after minutes, and what they raise waits for the threads of a save. So another thread listens,
    which is told by the operating system's handler itself. Outside the main thread nothing is done.

    Args:
        for_good: the process ends with the command.
    """
    listener = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    if isinstance(listener, Watch):
        yield listener
        return
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    told, teller = socket.socketpair()
    teller.setblocking(False)
    threading.Thread(target=watch.listen, args=(told,), daemon=True).start()
    teller_before = signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)
    before = signal.signal(signal.SIGINT, watch.heard)
    try:
        yield watch
    finally:
        if not for_good:
            signal.signal(signal.SIGINT, before)
            signal.set_wakeup_fd(teller_before)
            teller.close()
