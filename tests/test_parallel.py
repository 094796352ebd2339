"""Devices, cores and processes: their numbers, how processes meet, and how they end together."""

import socket
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

import sicjax
from sicjax.devices import processes
from sicjax.devices.hardware import unseen_accelerator
from sicjax.devices.meeting import (
    Place,
    detected_place,
    has_other_processes,
    meet,
    place_from_flags,
)
from sicjax.errors import ConfigError
from sicjax.training import signals
from sicjax.workers import available_cores
from tests import tiny
from tests.bucket import NAME


@pytest.mark.parametrize(
    ("quota", "wanted"),
    [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1), ("1 2 3", None), ("", None)],
)
def test_cores_are_those_of_the_containers_quota(tmp_path, quota, wanted):
    (tmp_path / "cpu.max").write_text(quota)
    unlimited = available_cores(tmp_path / "none")
    assert available_cores(tmp_path) == (wanted or unlimited)
    assert unlimited >= 1


@pytest.mark.parametrize(
    ("environment", "on_tpu", "wanted"),
    [
        ({}, True, True),
        ({"JAX_PLATFORMS": ""}, True, True),
        ({"JAX_PLATFORMS": "tpu"}, True, True),
        ({"JAX_PLATFORMS": "tpu,cpu"}, True, True),
        ({"JAX_PLATFORMS": "cpu"}, True, False),
        ({"JAX_PLATFORMS": "cuda,cpu"}, True, False),
        ({}, False, False),
        ({"JAX_PLATFORMS": "tpu,cpu"}, False, False),
        ({"SLURM_STEP_NUM_TASKS": "4", "JAX_PLATFORMS": "cpu"}, False, True),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False, False),
    ],
)
def test_hosts_of_a_pod_and_tasks_of_srun_have_others(
    tmp_path, monkeypatch, environment, on_tpu, wanted
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "libtpu")
    if on_tpu:
        (tmp_path / "accel0").touch()
    assert has_other_processes(environment, tmp_path) is wanted


def test_srun_tells_each_task_its_place(monkeypatch):
    for name, value in {
        "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0",
        "SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "node[001-004]",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert detected_place() == Place("node001:61517", 4, 2)
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(ConfigError, match="SLURM_JOB_ID"):
        detected_place()


def test_one_flag_keeps_the_tasks_of_srun_apart():
    alone = {"coordinator": None, "num_processes": "1", "process_id": None}
    assert place_from_flags(alone) is None
    both = {"coordinator": "[::1]:1", "num_processes": "2", "process_id": "1"}
    assert place_from_flags(both) == Place("[::1]:1", 2, 1)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"coordinator": None}, "coordinator"),
        ({"num_processes": None}, "num_processes"),
        ({"process_id": ""}, "process_id"),
        ({"process_id": "2"}, "process_id=2"),
        ({"process_id": "-1"}, "process_id=-1"),
        ({"num_processes": "two"}, "num_processes=two"),
        ({"num_processes": "0"}, "process_id=0"),
        ({"coordinator": "localhost"}, "coordinator=localhost"),
        ({"coordinator": "localhost:99999"}, "coordinator=localhost:99999"),
        ({"coordinator": ":1234"}, "coordinator=:1234"),
    ],
)
def test_wrong_flags_of_processes_are_named(changed, named):
    flags = {"coordinator": "localhost:1", "num_processes": "2", "process_id": "0"} | changed
    with pytest.raises(ConfigError, match=f"--{named}"):
        place_from_flags(flags)


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def met(*places, within_s=20.0):
    """Let processes meet, each in a thread; return the error of each, or its connections."""
    outcomes = [None] * len(places)

    def one(k):
        try:
            connections = meet(places[k], within_s)
            outcomes[k] = sorted(connections)
            for connection in connections.values():
                connection.close()
        except ConfigError as error:
            outcomes[k] = str(error)

    threads = [threading.Thread(target=one, args=(k,)) for k in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_processes_meet():
    address = f"localhost:{free_port()}"
    assert met(*(Place(address, 3, k) for k in (2, 0, 1))) == [[0], [1, 2], [0]]


def test_processes_that_cannot_meet_are_told_why():
    address = f"localhost:{free_port()}"
    assert all("process_id=1" in said for said in met(*(Place(address, 3, k) for k in (0, 1, 1))))
    said = met(Place(address, 2, 0), Place(address, 3, 1))
    assert all("num_processes is 3 in process 1 but 2 in process 0" in line for line in said)
    assert met(Place("nowhere.invalid:1", 2, 1))[0].count("unknown host") == 1
    # Alone, without process 0, and beside a program that is not ours and never answers.
    assert "of 3 processes, 1, 2 did not come" in met(Place(address, 3, 0), within_s=0.2)[0]
    assert "no process 0 listens there" in met(Place(address, 3, 1), within_s=0.5)[0]
    with socket.create_server(("localhost", 0)) as other:
        taken = f"localhost:{other.getsockname()[1]}"
        assert "can't listen" in met(Place(taken, 2, 0))[0]
        assert "not process 0 of this run" in met(Place(taken, 2, 1), within_s=0.3)[0]


class Store:
    """Stands for JAX's key-value store."""

    def __init__(self, **announced):
        self.announced = announced

    def key_value_dir_get(self, folder):
        return [(folder + who, text) for who, text in self.announced.items()]


@pytest.mark.parametrize(
    ("announced", "line", "code"),
    [({}, "process 1 was killed", 1), ({"1": '["no space", 2, 3.0]'}, "no space", 2)],
)
def test_the_closed_connection_of_a_process_is_its_end(monkeypatch, announced, line, code):
    """It may have said why before."""
    monkeypatch.setattr(processes.distributed.global_state, "client", Store(**announced))
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.1)
    here, there = socket.socketpair()
    monkeypatch.setattr(processes, "_connections", {1: here})
    with here:
        if not announced:
            assert processes.wait_for_an_end(0.1) is None
        there.close()
        end = processes.wait_for_an_end(5)
        assert end.line.startswith(line)
        assert end.exit_code == code
        # Processes that leave together don't close at the same moment.
        if not announced:
            threading.Timer(0.05, processes.distributed.global_state.__setattr__,
                            ("client", None)).start()  # fmt: skip
            assert processes.wait_for_an_end(5) is None


def test_a_process_that_ends_before_jax_connects_it_is_missed(monkeypatch):
    """JAX itself would wait five minutes for it, and then abort."""
    here, there = socket.socketpair()
    ends = []
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(processes, "_connections", {})
    monkeypatch.setattr(processes, "meet", lambda place: {1: here})

    def wait(*_):
        there.close()
        watching.join(5)

    def met():
        watching.start()

    watching = threading.Thread(target=lambda: ends.append(processes.wait_for_an_end()))
    monkeypatch.setattr(jax.distributed, "initialize", wait)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    with here:
        processes.start_processes(Place("localhost:1", 2, 0), met)
    assert ends[0].line.startswith("process 1 was killed")
    assert processes.wait_for_an_end(0.1) is None


def test_an_error_of_jax_is_blamed_on_a_process_that_is_gone(monkeypatch):
    end = processes.End("process 1 was killed", 1, 0.0, own=False)
    monkeypatch.setattr(processes, "wait_for_an_end", lambda within_s: end)
    error = jax.errors.JaxRuntimeError("Gloo AllGather failed")
    assert "process 1 was killed" in str(signals.caused_by_another(error))
    assert isinstance(signals.caused_by_another(ValueError("a bug")), ValueError)
    failed = ConfigError("the checkpoint of step 10 failed")
    failed.__context__ = error
    assert "process 1 was killed" in str(signals.caused_by_another(failed))
    monkeypatch.setattr(processes, "wait_for_an_end", lambda within_s: None)
    assert signals.caused_by_another(error) is error


IN_BUCKET = f"gs://{NAME}/run"
PAIR = """if True:
    import sys, time
    from pathlib import Path
    import jax
    from sicjax import train
    from sicjax.config import set_field
    from sicjax.config.files import load_config
    from sicjax.devices import processes
    from sicjax.devices.meeting import Place
    from sicjax.errors import ConfigError, PeerError
    from sicjax.training import signals

    address, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    processes.start_processes(Place(address, 2, rank), signals.heed_others)
    # A file of its own: Gloo writes to standard output too, and in the middle of a line.
    lines = open(folder / f"said{rank}", "w", buffering=1)
    say = lambda *what: print(*what, file=lines)

    # An error of process 0 ends the others at the same place.
    for where in ("shared", "first"):
        noted = signals.Signals()
        try:
            with noted.shared():
                if processes.is_first() and where == "shared":
                    raise OSError("no space")
            noted.agreed()
            with processes.on_first() as first:
                if first:
                    raise OSError("no space")
        except (OSError, PeerError) as error:
            say(where, type(error).__name__, getattr(error, "exit_code", None))

    # Processes that differ don't train.
    def attempt(workdir, **fields):
        config = load_config(sys.argv[4])
        if rank == 1:
            for name, text in fields.items():
                set_field(config, name.replace("__", "."), text)
        try:
            say("trained", train(config, workdir).step)
        except ConfigError as error:
            say("refused", error)

    attempt(folder / "run", optimizer__learning_rate="0.1")
    attempt(folder / "run", log_every="7")
    attempt(folder / ("elsewhere" if rank else "run"))
    attempt(folder / "run" if rank else None)
    say("exists", (folder / "run").exists())
    processes.largest(0)  # neither process trains before both have looked
    attempt(folder / "run")

    # In a bucket, which these steps resume.
    if len(sys.argv) > 5:
        for steps in (4, 6):
            config = load_config(sys.argv[4])
            config.num_steps = steps
            say("in a bucket", train(config, sys.argv[5]).step)

    # The end of a process ends the other, though both are stuck.
    if rank == 1:
        signals.tell_others(2, "no space here")
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory, bucket_or_none):
    """What a pair of processes of two devices each said, and their exit codes."""
    folder, address = tmp_path_factory.mktemp("pair"), f"localhost:{free_port()}"
    for k in (0, 1):  # one that fails before its first line has said nothing
        (folder / f"said{k}").touch()
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PAIR, address, str(k), str(folder), str(tiny.PATH),
             *([IN_BUCKET] if bucket_or_none else ())],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for k in (0, 1)
    ]  # fmt: skip
    outputs = [run.communicate(timeout=500) for run in runs]
    said = [(folder / f"said{k}").read_text().splitlines() for k in (0, 1)]
    return said, [run.returncode for run in runs], outputs, folder / "run"


def test_what_process_0_raises_ends_its_peers_at_once(pair):
    """Errors inside `shared` or `on_first` are exchanged at once, without a missed heartbeat."""
    said, _, outputs, _ = pair
    assert said[0][:2] == ["shared OSError None", "first OSError None"], outputs
    assert said[1][:2] == ["shared PeerError 2", "first PeerError 1"], outputs


@pytest.mark.parametrize(
    ("attempt", "named"),
    [
        (2, "process 1 differs from process 0: optimizer.learning_rate is 0.1 there"),
        (3, "process 1 differs from process 0: log_every is 7 there"),
        (4, "process 1 doesn't see what process 0 writes"),
        (5, "process 1 differs from process 0: one of them has no workdir"),
    ],
)
def test_processes_that_differ_are_refused(pair, attempt, named):
    said, _, outputs, _ = pair
    assert said[0][attempt] == said[1][attempt], outputs
    assert said[0][attempt].startswith("refused")
    assert named in said[0][attempt]


def test_processes_that_agree_train_as_one_and_leave_nothing_behind_before(pair, finished):
    """Two processes of two devices each, against one process of two devices."""
    said, _, outputs, workdir = pair
    assert [lines[6:8] for lines in said] == [["exists False", "trained 6"]] * 2, outputs
    for network in (0, 1):
        runs = [sicjax.load_run(place, network) for place in (workdir, finished)]
        jax.tree.map(np.testing.assert_array_equal, *(run.parameters for run in runs))


def test_processes_train_and_resume_in_one_bucket(pair, bucket, finished):
    said, _, outputs, _ = pair
    assert [lines[8:] for lines in said] == [["in a bucket 4", "in a bucket 6"]] * 2, outputs
    assert "resumed at step 4" in outputs[0][0]
    for network in (0, 1):
        runs = [sicjax.load_run(place, network) for place in (IN_BUCKET, finished)]
        jax.tree.map(np.testing.assert_array_equal, *(run.parameters for run in runs))
    assert bucket.objects["run/metrics.jsonl"].count(b"\n") == 6
    assert "run/.holder" not in bucket.objects


def test_the_end_of_a_process_ends_one_that_is_stuck(pair):
    _, codes, outputs, _ = pair
    assert codes == [2, 2], outputs
    assert "another process of this run has stopped: no space here" in outputs[0][1]
    assert "sicjax: no space here" in outputs[1][1]


@pytest.fixture
def no_choice_of_platform(monkeypatch):
    """The environment of a user who has chosen no platform; JAX itself stays on the CPU."""
    chosen = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", None)
    yield
    jax.config.update("jax_platforms", chosen)


@pytest.mark.parametrize(
    ("files", "environment", "extra"),
    [
        (["nvidia0", "nvidiactl"], {}, "cuda13"),
        (["nvidia0"], {"CUDA_VISIBLE_DEVICES": "0"}, "cuda13"),
        (["nvidia0"], {"CUDA_VISIBLE_DEVICES": ""}, None),
        (["nvidia0"], {"JAX_PLATFORMS": "cpu"}, None),
        (["accel0"], {}, "tpu"),
        ([], {"TPU_ACCELERATOR_TYPE": "v5litepod-4"}, "tpu"),
        (["null", "tty0"], {}, None),
    ],
)
def test_unseen_accelerator(no_choice_of_platform, tmp_path, files, environment, extra):
    for name in files:
        (tmp_path / name).touch()
    hint = unseen_accelerator(tmp_path, environment)
    if extra is None:
        assert hint is None
    else:
        assert hint.endswith(f'python -m pip install "jax[{extra}]=={jax.__version__}"')
