"""Handle SIGTERM and Ctrl-C, and let an error in one process of a run end all of them.

JAX is imported where it is used, because a command must listen to Ctrl-C before JAX is imported.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from sicjax.errors import PeerError, RunInterruptedError

_FAILED = 2**30  # added to an error's exit code, in the place of a signal's number
_PATIENCE_S = 3.0  # seconds in which the main thread may act on a signal before another thread does
_LEAVING_S = 90.0  # seconds from the main thread's last message to the end of the process


class Signals:
    """Notes SIGTERM and Ctrl-C while it is entered; a second Ctrl-C raises KeyboardInterrupt.

    Python runs a handler between two instructions of the main thread, so enter it there; in another
    thread it notes nothing. While the main thread runs compiled code, no handler runs: `watched`
    then ends the command from another thread.
    """

    def __init__(self) -> None:
        """Start with no signal noted."""
        self._number = 0
        self._error: Exception | None = None
        self._step: int | None = None  # not None: stop at once, and report this many updates
        self._awaited = "this dispatch"  # what must finish before the run stops; shown to the user
        self._previous: dict[int, Any] = {}

    def agreed(self) -> int:
        """Return the signal that any process has received, or 0; all processes must call this.

        Raises:
            Exception: the error that was raised inside `shared` in this process.
            PeerError: an error was raised inside `shared` in another process.
        """
        from sicjax.devices import processes

        number = self._number
        if self._error:  # disk errors are bad input; any other error without an exit code is a bug
            is_disk = isinstance(self._error, OSError)
            number = _FAILED + getattr(self._error, "exit_code", 2 if is_disk else 1)
        number = processes.largest(number)
        if number >= _FAILED:
            raise self._error or PeerError(number - _FAILED)
        return number

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Keep an error until `agreed` is called, so all processes end after the same update."""
        try:
            yield
        except Exception as error:
            from sicjax.devices import processes

            if processes.is_alone():
                raise
            self._error = error

    @contextlib.contextmanager
    def at_once(self, step: int) -> Iterator[None]:
        """Let a signal stop the run at once, because nothing inside has to be saved."""
        if self._number:
            raise RunInterruptedError(self._number, step)
        self._step, before = step, sys.unraisablehook
        # An error raised inside a garbage collection would only be printed.
        sys.unraisablehook = lambda args: _is_ours(args.exc_value) or before(args)
        try:
            yield
        finally:
            self._step, sys.unraisablehook = None, before
        if self._number:  # other code has caught the error
            raise RunInterruptedError(self._number, step)

    @contextlib.contextmanager
    def noted(self, awaited: str) -> Iterator[None]:
        """Tell the user what the run finishes first if a signal comes inside."""
        self._awaited, before = awaited, self._awaited
        try:
            yield
        finally:
            self._awaited = before

    def due(self, number: int) -> "RunInterruptedError | None":
        """Return the error with which a signal stops the run at once; None outside `at_once`."""
        return None if self._step is None else RunInterruptedError(number, self._step)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            before = self._previous[number]  # in a notebook, it raises KeyboardInterrupt
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
    """Ends a command if its main thread doesn't; made by `watched`."""

    def __init__(self) -> None:
        """Start without a last message."""
        self._spoken = threading.Lock()  # kept by the thread that prints the last message

    def last_word(self, line: str) -> None:
        """Print how the command ends; after this, Ctrl-C has no effect."""
        self._spoken.acquire()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(line, file=sys.stderr, flush=True)

    def listen(self, told: socket.socket) -> None:
        """End the process at a second Ctrl-C, or if the main thread doesn't act on a signal.

        Args:
            told: gives one byte, the signal's number, for every signal that is handled.
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
                    self._leave("stopped at once; the last checkpoint remains", 130)
                run = listener if isinstance(listener, Signals) else None

    def heed_others(self) -> None:
        """End the process if another one of the run has ended and the main thread doesn't react.

        The main thread may wait for the other process in a collective, the compiler or a barrier of
        Orbax, sometimes for many minutes. It gets a few seconds to end by itself, because its own
        message says more.
        """
        from sicjax.devices import processes

        if (end := processes.wait_for_an_end()) is None:
            return
        time.sleep(end.patience)
        self._leave(end.line if end.own else str(PeerError(1, end.line)), end.exit_code)
        # The main thread has said its last word; `wait_for_others` takes it less than this.
        time.sleep(_LEAVING_S)
        os._exit(end.exit_code)

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Do nothing: `listen` handles the signal."""

    def _leave(self, line: str, exit_code: int) -> None:
        if self._spoken.acquire(blocking=False):
            with contextlib.suppress(OSError):
                os.write(2, f"sicjax: {line}\n".encode())
            tell_others(exit_code, line, at_once=True)
            if processes := _processes():
                processes.wait_for_others(exit_code, at_once=True)
            os._exit(exit_code)


@contextlib.contextmanager
def watched(*, for_good: bool = False) -> Iterator[Watch]:
    """Let Ctrl-C end a command at once if no run handles it, or if it is the second one.

    Python's handlers wait until the main thread leaves compiled code, and XLA's compiler can take
    minutes. Then their error waits for the threads of a save. So another thread listens on a socket
    to which the operating system's signal handler writes. Outside the main thread this does
    nothing.

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


def heed_others() -> None:
    """End this command if another process of the run ends; see `Watch.heed_others`."""
    with watched() as watch:
        threading.Thread(target=watch.heed_others, daemon=True).start()


def caused_by_another(error: BaseException) -> BaseException:
    """Return a `PeerError` instead of JAX's error if another process of the run has ended.

    A collective fails as soon as a process is gone, with an error that says nothing of it.
    """
    processes = _processes()
    cause: BaseException | None = error
    if processes is None or isinstance(error, PeerError):
        return error
    # A save reports it as its own error, so look at what it was raised from.
    while cause and not isinstance(cause, processes.jax.errors.JaxRuntimeError):
        cause = cause.__cause__ or cause.__context__
    if cause and (end := processes.wait_for_an_end(_PATIENCE_S)) and not end.own:
        return PeerError(end.exit_code, end.line)
    return error


def tell_others(exit_code: int, line: str, *, at_once: bool = False) -> None:
    """Tell the other processes of the run, if there are any, that this one is about to end."""
    if processes := _processes():
        processes.announce(exit_code, line, at_once=at_once)


def _processes() -> Any:
    """Return the module of processes if it is imported; otherwise there are no other processes."""
    module = sys.modules.get("sicjax.devices.processes")
    return module if hasattr(module, "wait_for_others") else None
