"""The processes of a run: they join, agree, notice each other's end, and leave.

Numbers that are needed once per dispatch go through the devices' collectives. Everything else goes
through the key-value store of JAX's coordination service, which lives in process 0: it works before
there are devices, has timeouts, and works in any thread.
"""

import contextlib
import itertools
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax._src import distributed  # the key-value store has no public name
from jax.experimental import multihost_utils

from sicjax.devices.meeting import Place, detected_place, meet, place_from_flags
from sicjax.errors import PeerError

_ANSWER_S = 120.0  # for all processes to answer a question: they may start so far apart
_TASK_S = 3600.0  # for work of process 0 on which the others wait, such as reading checkpoints
_STORE_S = 5.0  # for the store to take a value
_PATIENCE_S = 3.0  # in which a process may end by itself after another one has failed
_SAVING_S = 300.0  # the same if all end together: the last save takes time
_CLOSING_S = 60.0  # for the others to end after everything is saved
_TOGETHER = (3, 75, 130)  # exit codes with which all processes end by themselves, after a save
_ENDED = "sicjax/ended/"

_questions = itertools.count()
_connections: dict[int, socket.socket] = {}  # from the meeting, by the other process's number
_joining = threading.Event()  # set while JAX connects processes that have met


class End(NamedTuple):
    """The early end of a process of the run."""

    line: str  # its last message
    exit_code: int
    patience: float  # seconds that this process has to end by itself
    own: bool  # whether this process itself has announced its end, but still runs


def is_first() -> bool:
    """Return whether this is process 0, which writes logs and reports."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Return whether this is the only process of its run."""
    return jax.process_count() == 1


def join(flags: Mapping[str, str | None], met: Callable[[], object] = lambda: None) -> bool:
    """Join the other processes that the flags, SLURM or a TPU pod name.

    Args:
        flags: coordinator, num_processes and process_id; a missing one is absent or None.
        met: called when all processes have met, before JAX connects them.

    Returns:
        Whether there are other processes.

    Raises:
        ConfigError: a wrong flag, or the processes can't meet.
    """
    given = any(text is not None for text in flags.values())
    place = place_from_flags(flags) if given else detected_place()
    if place:
        start_processes(place, met)
    return place is not None


def start_processes(place: Place, met: Callable[[], object] = lambda: None) -> None:
    """Meet the other processes and join them (`jax.distributed.initialize`).

    Args:
        place: of this process.
        met: called in between. If another process ends in between, JAX waits for it for minutes and
            then aborts; so `met` may start a thread that calls `wait_for_an_end`.

    Raises:
        ConfigError: not all processes come.
    """
    _connections.update(meet(place))
    _joining.set()
    met()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # sicjax handles SIGTERM itself
    jax.distributed.initialize(place.coordinator, place.number, place.rank)
    _joining.clear()


def leave_processes() -> None:
    """Wait for the other processes and leave them; each is then alone with its devices."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def largest(number: int) -> int:
    """Return the largest of the processes' numbers; a collective call."""
    if is_alone():
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def line_up() -> None:
    """Wait for all processes before their first collective; a collective call.

    Gloo gives up if a process comes 30 s after another one. On a busy host compiling can take
    longer.
    """
    if not is_alone():
        _store().wait_at_barrier(f"sicjax/line_up/{next(_questions)}", int(1000 * _TASK_S))
        largest(0)


def from_first(number: int) -> int:
    """Return the number of process 0; a collective call."""
    return number if is_alone() else int(_from_first(str(number)))


@contextlib.contextmanager
def on_first() -> Iterator[bool]:
    """Yield whether this is process 0; an error in its block ends the others, too. All must enter.

    Raises:
        PeerError: in the others.
    """
    error: Exception | None = None
    try:
        yield is_first()
    except Exception as raised:
        error = raised
    if is_alone():
        said = ""
    else:
        said = _from_first(
            json.dumps([getattr(error, "exit_code", 1), str(error)] if error else "")
        )
    if error:
        raise error
    if said and (problem := json.loads(said)):
        raise PeerError(*problem)


def agree(offer: str, judge: Callable[[str], str]) -> str:
    """Return the first complaint of any process, the same in all; "" if there is none.

    A collective call.

    Args:
        offer: what process 0 shows the others.
        judge: called in every other process; returns its complaint about what process 0 shows, or
            "".

    Raises:
        PeerError: a process doesn't answer.
    """
    store, number, question = _store(), jax.process_count(), f"sicjax/agree/{next(_questions)}"
    if not is_first():
        complaint = judge(_get(f"{question}/offer", _ANSWER_S))
        store.key_value_set(f"{question}/{jax.process_index()}", complaint)
        return _get(f"{question}/verdict", _ANSWER_S)
    store.key_value_set(f"{question}/offer", offer)
    complaints = [_get(f"{question}/{other}", _ANSWER_S) for other in range(1, number)]
    verdict = next(filter(None, complaints), "")
    store.key_value_set(f"{question}/verdict", verdict)
    return verdict


def announce(exit_code: int, line: str, *, at_once: bool = False) -> None:
    """Tell the other processes that this one is about to end; only its first message counts.

    Args:
        exit_code: of this process.
        line: the reason, which the others repeat.
        at_once: the others must end at once, without finishing anything.
    """
    if _joining.is_set() or not jax.distributed.is_initialized():
        return
    patience = _SAVING_S if exit_code in _TOGETHER else _PATIENCE_S
    said = json.dumps([line, exit_code, 0.0 if at_once else patience])
    key = f"{_ENDED}{distributed.global_state.process_id}"
    # If the process of the store has stopped, the store doesn't answer; this process must end
    # anyway.
    telling = threading.Thread(target=_set_first, args=(key, said), daemon=True)
    telling.start()
    telling.join(_STORE_S)


def wait_for_an_end(within_s: float = math.inf) -> End | None:
    """Wait until a process of the run, this one included, announces its end or is gone.

    Returns:
        How the first one that was seen ended; None when the processes have parted, or the time is
        over.
    """
    state, deadline = distributed.global_state, time.monotonic() + within_s
    while (_joining.is_set() or state.client is not None) and time.monotonic() < deadline:
        gone = _gone()  # before the announcements are read: one that is made is found there
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if not _joining.is_set() and (ended := _store().key_value_dir_get(_ENDED)):
                key, said = min(ended)
                line, exit_code, patience = json.loads(said)
                return End(line, exit_code, patience, key == f"{_ENDED}{state.process_id}")
        if gone is not None:
            time.sleep(_PATIENCE_S)
            if state.client is None and not _joining.is_set():
                return None  # all have left together, and the other was faster
            line = f"process {gone} was killed, or its host failed; start the same command again"
            return End(line, 1, 0.0, own=False)
        time.sleep(0.5)
    return None


def _gone() -> int | None:
    """Return the number of a process whose connection to this one is closed, None without one."""
    for number, connection in _connections.items():
        connection.setblocking(False)
        try:
            if not connection.recv(1):
                return number
        except BlockingIOError:
            pass  # it is open, and nothing is ever said
        except OSError:
            return number
    return None


def wait_for_others(exit_code: int, *, at_once: bool = False) -> None:
    """In process 0, wait until the others have announced their end, for a limited time.

    The coordination service ends with process 0, and JAX aborts a process that outlives it.
    """
    state = distributed.global_state
    if _joining.is_set() or state.client is None or state.process_id:
        return
    saved = exit_code in _TOGETHER and not at_once  # they only have to close their files
    limit = _CLOSING_S if saved else 4 * _PATIENCE_S
    deadline = time.monotonic() + limit
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        while time.monotonic() < deadline:
            if len(state.client.key_value_dir_get(_ENDED)) >= state.num_processes:
                time.sleep(_PATIENCE_S / 6)  # time between its announcement and its exit
                return
            time.sleep(0.1)


def _set_first(key: str, value: str) -> None:
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # announced before, or the service ended
        _store().key_value_set(key, value)


def _from_first(text: str) -> str:
    """Return the text of process 0."""
    key = f"sicjax/first/{next(_questions)}"
    if not is_first():
        return _get(key, _TASK_S)
    _store().key_value_set(key, text)
    return text


def _get(key: str, seconds: float) -> str:
    """Wait for a value in the store."""
    try:
        return _store().blocking_key_value_get(key, int(1000 * seconds))
    except jax.errors.JaxRuntimeError:
        raise PeerError(1, f"no answer within {seconds:.0f} s") from None


def _store() -> Any:
    if (store := distributed.global_state.client) is None:
        raise RuntimeError("several processes must call jax.distributed.initialize() first")
    return store
