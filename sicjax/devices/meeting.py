"""The meeting of a run's processes before JAX joins them.

JAX's own `initialize` aborts with a stack trace when a process is missing, comes twice or can't be
reached. So the processes first meet on the same port through a plain socket: process 0 counts the
others and tells all of them, in one line, what is wrong. The connections stay open: the operating
system closes those of a process that is killed, which is how the others learn of it.
"""

import contextlib
import importlib.util
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jax._src.clusters import ClusterEnv  # JAX has no public name for what it detects

from sicjax.errors import ConfigError

WITHIN_S = 55.0  # seconds for all processes to come; a minute with the imports before
_LONGEST = 1000  # bytes of a message


class Place(NamedTuple):
    """The address at which a process meets the others, and its own number."""

    coordinator: str  # HOST:PORT of process 0
    number: int  # number of processes

    rank: int  # number of this process, from 0


def place_from_flags(flags: Mapping[str, str | None]) -> Place | None:
    """Return the place named by the flags; None if this process runs alone.

    Args:
        flags: coordinator, num_processes and process_id as given on the command line.
            `num_processes` of 1 needs no other flag: it makes tasks of srun, or hosts of a pod,
            run separately.

    Raises:
        ConfigError: a flag is missing or wrong.
    """
    numbers = {}
    for name in ("num_processes", "process_id"):
        if text := flags.get(name):
            if not (text.isascii() and text.isdecimal()):
                raise ConfigError(f"--{name}={text}: must be a number from 0")
            numbers[name] = int(text)
    if numbers == {"num_processes": 1} and not flags.get("coordinator"):
        return None
    for name in ("coordinator", "num_processes", "process_id"):
        if not flags.get(name):
            raise ConfigError(
                f"--{name} is missing; coordinator, num_processes and process_id go together"
                " (--num_processes=1 alone: this process has no others)"
            )
    number, index = numbers["num_processes"], numbers["process_id"]
    if index >= number:
        raise ConfigError(f"--process_id={index}: must be below {number}, the number of processes")
    place = Place(str(flags["coordinator"]), number, index)
    _host_and_port(place)
    return place if number > 1 else None


def detected_place() -> Place | None:
    """Return the place that SLURM or a TPU pod gives this process; None if it is alone.

    Raises:
        ConfigError: a pod whose hosts can't be found out.
    """
    if not has_other_processes():
        return None
    slurm = "slurm" if "SLURM_STEP_NUM_TASKS" in os.environ else None
    try:
        coordinator, number, index, _ = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, slurm, int(WITHIN_S)
        )
    except Exception as error:  # errors of a metadata server, or of inconsistent variables
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(
            f"can't find out which other processes belong to this run ({what}); name them by"
            " --coordinator, --num_processes and --process_id, or run alone by --num_processes=1"
        ) from None
    if coordinator is None or number is None or index is None or number == 1:
        return None
    return Place(coordinator, number, index)


def has_other_processes(
    environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")
) -> bool:
    """Return whether SLURM started this process with others, or this may be a host of a pod.

    Args:
        environment: variables. JAX_PLATFORMS rules a pod out if it names platforms without tpu.
        devices: folder of the device files.
    """
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # set by srun, not by sbatch
        return True
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms.split(","):
        return False
    on_tpu = any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))
    return on_tpu and importlib.util.find_spec("libtpu") is not None


def meet(place: Place, within_s: float = WITHIN_S) -> dict[int, socket.socket]:
    """Wait until all processes of the run have come, each of them once.

    Returns:
        Connections by the number of the process at the other end: in process 0 to all others, in
        these to process 0.

    Raises:
        ConfigError: the processes have not come in time, the host is unknown, the port is taken, or
            an index was given twice.
    """
    host, port = _host_and_port(place)
    deadline = time.monotonic() + within_s
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:  # UnicodeError: a part of the host name is too long
        raise _cannot_meet(place, f"unknown host ({error})") from None
    if place.rank == 0:
        connections, problem = _receive_others(place, port, deadline)
    else:
        found, problem = _report_to_first(place, host, port, deadline)
        connections = {0: found} if found else {}
    if problem:
        for connection in connections.values():
            connection.close()
        raise _cannot_meet(place, problem)
    return connections


def _receive_others(
    place: Place, port: int, deadline: float
) -> tuple[dict[int, socket.socket], str]:
    """Wait for all other processes and tell them how it went.

    Returns:
        A connection to each of them, and the problem, if any.
    """
    try:
        server = _listen(port)
    except OSError as error:
        return {}, (
            f"process 0 can't listen on port {port} ({os.strerror(error.errno or 0)}); another"
            " program, or another process with --process_id=0, may use it"
        )
    came: list[tuple[Any, socket.socket]] = []
    missing, problem = {*range(1, place.number)}, ""
    with server:
        while missing and not problem:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                shown = ", ".join(map(str, sorted(missing)[:8])) + ", ..." * (len(missing) > 8)
                problem = f"of {place.number} processes, {shown} did not come within a minute"
                break
            with connection.makefile("rb") as file:
                hello = _read(connection, file)
            if hello is None:
                connection.close()  # not one of ours
                continue
            number, index = hello.get("num_processes"), hello.get("process_id")
            came.append((index, connection))
            _write(connection, {})  # so the other side knows at once that it has reached sicjax
            if number != place.number:
                problem = (
                    f"--num_processes is {number} in process {index} but {place.number} in"
                    " process 0"
                )
            elif index not in missing:
                problem = f"two processes were started with --process_id={index}"
            missing.discard(index)
    for _, connection in came:
        _write(connection, {"problem": problem})
    if problem:
        for _, connection in came:
            with connection, contextlib.suppress(OSError):
                connection.recv(1)  # the side that closes first would keep the port for a while
        came = []
    return dict(came), problem


def _report_to_first(
    place: Place, host: str, port: int, deadline: float
) -> tuple[socket.socket | None, str]:
    """Tell process 0 that this one has come.

    Returns:
        The connection to process 0, and the problem that it answers, if any.
    """
    hello = {"num_processes": place.number, "process_id": place.rank}
    silent = "no process 0 listens there"
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(OSError):  # process 0 isn't there yet
            connection = socket.create_connection((host, port), timeout=min(left, 5))
            silent = "another program listens there, not process 0 of this run"
            _write(connection, hello)
            with connection.makefile("rb") as file:
                if _read(connection, file, left) is not None:
                    # It may have come later than this process, and waits as long for others.
                    answer = _read(connection, file, 2 * WITHIN_S) or {}
                    return connection, str(answer.get("problem", "process 0 has stopped"))
            connection.close()
        time.sleep(0.2)
    return None, f"{silent}; start all {place.number} processes within a minute"


def _listen(port: int) -> socket.socket:
    """Listen on every address of this machine, as JAX will."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _write(connection: socket.socket, message: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):  # its process has ended
        connection.sendall(json.dumps(message).encode() + b"\n")


def _read(connection: socket.socket, file: BinaryIO, seconds: float = 5.0) -> dict | None:
    """Return the next message; None if the other side closes, is silent, or is not one of ours."""
    connection.settimeout(seconds)
    try:
        message = json.loads(file.readline(_LONGEST))
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) else None


def _host_and_port(place: Place) -> tuple[str, int]:
    host, _, port = place.coordinator.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise ConfigError(
            f"--coordinator={place.coordinator}: must be HOST:PORT, such as node0:12345,"
            " where process 0 listens"
        )
    return host.strip("[]"), int(port)


def _cannot_meet(place: Place, problem: str) -> ConfigError:
    return ConfigError(f"--coordinator={place.coordinator}: {problem}")
