"""Devices, cores and processes: how many there are, how processes meet, and who ends whom."""

import os
import socket
import subprocess
import sys
import threading

import jax
import pytest

from sicjax.devices.hardware import available_cores, unseen_accelerator
from sicjax.devices.meeting import (
    Place,
    detected_place,
    has_other_processes,
    meet,
    place_from_flags,
)
from sicjax.errors import ConfigError


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
    """Let processes meet, each in a thread; returns what each raised, None if it met the others."""
    outcomes = [None] * len(places)

    def one(k):
        try:
            meet(places[k], within_s)
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
    assert met(*(Place(address, 3, k) for k in (2, 0, 1))) == [None] * 3


def test_processes_that_cannot_meet_are_told_why():
    address = f"localhost:{free_port()}"
    assert all("process_id=1" in said for said in met(*(Place(address, 3, k) for k in (0, 1, 1))))
    said = met(Place(address, 2, 0), Place(address, 3, 1))
    assert all("num_processes is 3 in process 1, 2 in 0" in line for line in said)
    assert met(Place("nowhere.invalid:1", 2, 1))[0].count("unknown host") == 1
    # Alone, without process 0, and beside a program that is not ours and never answers.
    assert "of 3 processes, 1, 2 did not come" in met(Place(address, 3, 0), within_s=0.2)[0]
    assert "no process 0 listens there" in met(Place(address, 3, 1), within_s=0.5)[0]
    with socket.create_server(("localhost", 0)) as other:
        taken = f"localhost:{other.getsockname()[1]}"
        assert "can't listen" in met(Place(taken, 2, 0))[0]
        assert "not process 0 of this run" in met(Place(taken, 2, 1), within_s=0.3)[0]


def test_what_process_0_raises_ends_its_peers_at_once():
    """An error inside `shared` or `on_first`, by an exchange and not by waiting for a heartbeat."""
    script = f"""if True:
        import sys, time
        from sicjax.devices import processes
        from sicjax.devices.meeting import Place
        from sicjax.errors import PeerError
        from sicjax.training.signals import Signals

        processes.start_processes(Place("localhost:{free_port()}", 2, int(sys.argv[1])))
        for where in ("shared", "first"):
            began = time.monotonic()
            signals = Signals()
            try:
                with signals.shared():
                    if processes.is_first() and where == "shared":
                        raise OSError("no space")
                signals.agreed()
                with processes.on_first() as first:
                    if first:
                        raise OSError("no space")
            except (OSError, PeerError) as error:
                print(where, type(error).__name__, time.monotonic() - began < 15)
        processes.leave_processes()
    """
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(k)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for k in (0, 1)
    ]  # fmt: skip
    said = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    own, peers = ([line for line in out.splitlines() if "Gloo" not in line] for out, _ in said)
    assert own == ["shared OSError True", "first OSError True"]
    assert peers == ["shared PeerError True", "first PeerError True"]


@pytest.fixture
def no_choice_of_platform(monkeypatch):
    """As for a user who has chosen no platform; JAX itself stays on the CPU."""
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
