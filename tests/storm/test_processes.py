"""Several processes of one run, started as users start them, and harmed.

The fast checks of the same kind share one pair of processes, in tests/test_parallel.py.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sicjax
from sicjax.training.checkpoint_files import steps as updates_saved
from tests.storm.signals import end_of, same_end

pytestmark = pytest.mark.slow

FIELDS = {
    "data.num_trajectories": 4, "data.trajectory_length": 10, "model.num_units": 16,
    "model.hidden_width": 8, "evaluation.snapshot_every": 0, "report": "false", "log_every": 10,
    "checkpoint_every": 20, "num_networks": 4, "optimizer.schedule": "constant",
}  # fmt: skip
LONG = {"num_steps": 200_000, "checkpoint_every": 100_000}
SAVING = {"num_steps": 200_000, "checkpoint_every": 10}
MAIN = ("-m", "sicjax.main")
# sicjax.main on a host that is three seconds slower to close its checkpoints (a busy disk, NFS).
SLOW_CLOSE = """
import time
from orbax.checkpoint import CheckpointManager
close = CheckpointManager.close
CheckpointManager.close = lambda self: (time.sleep(3), close(self))
from sicjax.main import command
command()
"""
ENDS_AFTER_THE_MEETING = """
import os, signal, jax
jax.distributed.initialize = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
from sicjax.main import command
command()
"""
AN_HOUR_AHEAD = """
import time
now = time.time
time.time = lambda: now() + 3600
from sicjax.main import command
command()
"""


class Group:
    """Processes of one run, with what each of them does differently."""

    def __init__(
        self, folder, number=2, *, steps=60, fields=(), own=None, flags=True, wrap=None, main=None,
        workdirs=None, coordinator=None, ranks=None, numbers=None, environments=None,
        devices=(2, 2, 2, 2),
    ):  # fmt: skip
        self.workdir = folder / "run"
        coordinator = coordinator or f"localhost:{free_port()}"
        self.logs = [folder / f"log_{k}" for k in range(number)]
        self.processes = []
        for k in range(number):
            values = {**FIELDS, "num_steps": steps, **dict(fields), **((own or {}).get(k, {}))}
            command = [*(wrap or {}).get(k, ()), sys.executable, *(main or {}).get(k, MAIN)]
            command += ["--config=quick", f"--workdir={(workdirs or {}).get(k, self.workdir)}"]
            command += [f"--config.{name}={value}" for name, value in values.items()]
            if flags is True:
                rank = (ranks or range(number))[k]
                among = (numbers or {}).get(k, max(number, 2))
                command += [f"--coordinator={coordinator}", f"--num_processes={among}"]
                command += [f"--process_id={rank}"]
            else:
                command += flags
            environment = {
                **os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices[k]),
                **(environments or {}).get(k, {}),
            }  # fmt: skip
            environment.pop("XLA_FLAGS", None)
            with self.logs[k].open("wb") as log:
                self.processes.append(
                    subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
                )

    def said(self, k):
        return self.logs[k].read_text(errors="replace")

    def wait_until(self, condition, seconds=400):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.said(0)
            assert self.processes[0].poll() is None, self.said(0)
            time.sleep(0.01)

    def wait_until_it_compiles(self):
        """Wait for the lock, which process 0 takes once all have met."""
        self.wait_until((self.workdir / ".lock").exists)
        time.sleep(0.3)

    def wait_until_it_trains(self):
        """Wait for process 0's estimate of the time left, which comes after two dispatches."""
        self.wait_until(lambda: re.search(r"about .* left", self.said(0)))

    def send(self, sent, *told):
        for k in told:
            self.processes[k].send_signal(sent)

    def end(self, seconds=300):
        """Wait for all; return their exit codes. A process that hangs is a failure."""
        try:
            return [process.wait(seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
                process.wait()

    def check_one_line_each(self):
        for k in range(len(self.logs)):
            assert self.said(k).count("sicjax: ") == 1, self.said(k)
            assert "Traceback" not in self.said(k)


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """The end of a run of two processes that nothing disturbs."""
    group = Group(tmp_path_factory.mktemp("unharmed"))
    assert group.end() == [0, 0]
    return end_of(group.workdir)


DIFFERENT = {
    "seed": {"own": {1: {"seed": 5}}},
    "learning_rate": {"own": {1: {"optimizer.learning_rate": 0.1}}},
    "log_every": {"own": {1: {"log_every": 7}}},
    "checkpoint_every": {"own": {1: {"checkpoint_every": 15}}},
    "num_steps": {"own": {1: {"num_steps": 40}}},
    "num_units": {"own": {1: {"model.num_units": 12}}},
    "num_networks": {"own": {1: {"num_networks": 3}}},
    "parallel": {"own": {1: {"parallel": "batch"}}},
    "local devices": {"devices": (1, 2)},
    "jax_enable_x64": {"environments": {1: {"JAX_ENABLE_X64": "1"}}},
    "num_processes": {"numbers": {1: 3}},
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_processes_that_differ(tmp_path, name):
    group = Group(tmp_path, **DIFFERENT[name])
    assert group.end() == [2, 2]
    group.check_one_line_each()
    assert all(name in group.said(k) for k in (0, 1))
    assert not group.workdir.exists()


def test_a_process_with_other_source_code(tmp_path):
    shutil.copytree(Path(sicjax.__file__).parent, tmp_path / "checkout" / "sicjax")
    with (tmp_path / "checkout" / "sicjax" / "network" / "losses.py").open("a") as source:
        source.write("OTHER = True\n")
    elsewhere = {"PYTHONPATH": str(tmp_path / "checkout"), "PYTHONSAFEPATH": "1"}
    group = Group(tmp_path, environments={1: elsewhere})
    assert group.end() == [2, 2]
    group.check_one_line_each()
    assert not group.workdir.exists()


def test_a_workdir_that_is_not_shared(tmp_path):
    group = Group(tmp_path, workdirs={1: tmp_path / "elsewhere"})
    assert group.end() == [2, 2]
    group.check_one_line_each()


@pytest.mark.parametrize(
    "case",
    [
        {"number": 1, "ranks": [1]},
        {"number": 1, "ranks": [0]},
        {"coordinator": "nowhere.invalid:12345"},
        {"ranks": [0, 0]},
        {"number": 3, "ranks": [0, 1, 1]},
        {"own": {1: {"seeed": 5}}},
        {"own": {1: {"seed": -5}}},
    ],
    ids=str,
)
def test_processes_that_cannot_meet(tmp_path, case):
    group = Group(tmp_path, **case)
    assert {*group.end()} == {2}
    group.check_one_line_each()


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("localhost", 0)) as other:
        group = Group(tmp_path, coordinator=f"localhost:{other.getsockname()[1]}")
        assert group.end() == [2, 2]
    group.check_one_line_each()


@pytest.mark.parametrize("told", [(0,), (1,), (0, 1)])
def test_sigterm_saves_and_ends_all(tmp_path, told):
    group = Group(tmp_path, fields=LONG)
    group.wait_until_it_trains()
    group.send(signal.SIGTERM, *told)
    assert group.end() == [75, 75]
    assert updates_saved(group.workdir / "checkpoints")


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_in_one_process_ends_all(tmp_path, times):
    group = Group(tmp_path, fields=LONG)
    group.wait_until_it_trains()
    for _ in range(times):
        group.send(signal.SIGINT, 1)
        time.sleep(0.02)
    assert group.end() == [130, 130]
    assert "Traceback" not in group.said(0) + group.said(1)


def test_sigterm_in_the_first_seconds(tmp_path):
    """It may come before the processes have met, before JAX connects them, or later."""
    group = Group(tmp_path, fields=LONG)
    time.sleep(2.5)
    group.send(signal.SIGTERM, 1)
    assert group.end() in ([2, -signal.SIGTERM], [1, -signal.SIGTERM], [75, 75])
    assert "Traceback" not in group.said(0) + group.said(1)


def test_a_process_that_ends_before_jax_connects_it(tmp_path):
    group = Group(tmp_path, main={1: ("-c", ENDS_AFTER_THE_MEETING)})
    assert group.end() == [1, -signal.SIGTERM]
    assert group.said(0).count("sicjax: another process of this run has stopped") == 1
    assert "stack trace" not in group.said(0)


def test_sigterm_while_compiling(tmp_path):
    group = Group(tmp_path, fields={**LONG, "model.hidden_width": 10})  # no cached program fits
    group.wait_until_it_compiles()
    group.send(signal.SIGTERM, 1)
    assert group.end() == [75, 75]


@pytest.mark.parametrize("seconds", [10, 60])
def test_a_process_that_is_suspended_goes_on(tmp_path, seconds):
    """A host may be migrated, or busy. JAX gives up after 100 s of silence."""
    group = Group(tmp_path, fields=LONG)
    group.wait_until_it_trains()
    group.send(signal.SIGSTOP, 1)
    time.sleep(seconds)
    group.send(signal.SIGCONT, 1)
    time.sleep(5)
    assert [process.poll() for process in group.processes] == [None, None]
    group.send(signal.SIGTERM, 0, 1)
    assert group.end() == [75, 75]


def test_a_process_that_is_suspended_in_the_last_save(tmp_path):
    group = Group(tmp_path, fields=LONG)
    group.wait_until_it_trains()
    group.send(signal.SIGTERM, 0, 1)
    group.wait_until(lambda: updates_saved(group.workdir / "checkpoints"))
    group.send(signal.SIGSTOP, 1)
    time.sleep(4)
    group.send(signal.SIGCONT, 1)
    assert group.end() == [75, 75]


def test_a_process_that_closes_late_ends_like_the_others(tmp_path):
    group = Group(tmp_path, fields=LONG, main={1: ("-c", SLOW_CLOSE)})
    group.wait_until_it_trains()
    group.send(signal.SIGTERM, 0, 1)
    assert group.end() == [75, 75]


@pytest.mark.parametrize("ahead", [0, 1])
def test_clocks_that_differ_by_an_hour(tmp_path, ahead, unharmed):
    group = Group(tmp_path, main={ahead: ("-c", AN_HOUR_AHEAD)})
    assert group.end() == [0, 0]
    assert same_end(group.workdir, unharmed)


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("moment", ["compiles", "trains", "saves"])
def test_a_killed_process_ends_the_others(tmp_path, killed, moment):
    fields = {"compiles": {**LONG, "model.hidden_width": 9}, "trains": LONG, "saves": SAVING}
    group = Group(tmp_path, fields=fields[moment])
    getattr(group, f"wait_until_it_{moment}")()
    group.send(signal.SIGKILL, killed)
    assert group.end(60)[killed] == -signal.SIGKILL
    said = group.said(1 - killed)
    assert said.count("sicjax: another process of this run has stopped") == 1
    assert "Traceback" not in said
    assert "stack trace" not in said


def test_the_number_of_processes_changes(tmp_path, unharmed):
    """Each start continues where the last one ended; the numbers are those of one start."""
    for number, steps in ((2, 20), (3, 40), (1, 50), (2, 60)):
        flags = True if number > 1 else []
        assert Group(tmp_path, number, steps=steps, flags=flags).end() == [0] * number
    assert same_end(tmp_path / "run", unharmed)


@pytest.mark.parametrize("number", [1, 3])
def test_other_processes_repeat_the_last_updates(tmp_path, number, unharmed):
    group = Group(tmp_path)
    assert group.end() == [0, 0]
    shutil.rmtree(group.workdir / "checkpoints" / "60")
    flags = True if number > 1 else []
    assert Group(tmp_path, number, flags=flags).end() == [0] * number
    assert same_end(group.workdir, unharmed)


def test_process_0_is_killed_while_it_writes_the_report(tmp_path):
    fields = {"report": "true", "num_networks": 1, "evaluation.animations": "false"}
    group = Group(tmp_path, steps=20, fields=fields)
    group.wait_until((group.workdir / "report" / ".pending.json").exists)
    time.sleep(4)
    group.send(signal.SIGKILL, 0)
    assert group.end(60)[0] == -signal.SIGKILL
    assert "Traceback" not in group.said(1)
    group = Group(tmp_path, steps=20, fields=fields)
    assert group.end() == [0, 0], group.said(0)
    assert (group.workdir / "report" / "network_000" / "report.html").exists()
    assert not (group.workdir / "report" / ".pending.json").exists()


@contextlib.contextmanager
def small_disk(place: Path, size: str):
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk(tmp_path):
    with small_disk(tmp_path / "disk", "140k"):
        workdir = tmp_path / "disk" / "run"
        group = Group(tmp_path, steps=2000, workdirs={0: workdir, 1: workdir})
        assert group.end() == [2, 2]
    assert "No space left on device" in group.said(0) + group.said(1)


def test_writes_of_one_process_alone_fail(tmp_path):
    """Its files may have 4 kB: its part of the first checkpoint is larger, and nothing else is."""
    wrap = ["bash", "-c", 'ulimit -f 4 && exec "$@"', "x"]
    group = Group(tmp_path, steps=2000, wrap={1: wrap})
    assert group.end() == [2, 2]
    group.check_one_line_each()
    assert "the checkpoint of update 20 failed" in group.said(0)  # as process 1 said it


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a folder")
def test_too_little_memory_in_one_process(tmp_path):
    (tmp_path / "memory.max").write_text("4000000000\n")
    (tmp_path / "memory.current").write_text("3999990000\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    bind = f'mount --bind {tmp_path} /sys/fs/cgroup && exec "$@"'
    group = Group(tmp_path, wrap={1: ["unshare", "-m", "bash", "-c", bind, "x"]})
    assert group.end() == [2, 2]
    group.check_one_line_each()


def tasks(number):
    """Return the variables that srun sets for its tasks, as a stand-in for SLURM."""
    job = str(os.getpid() * 7 + int(time.time()) % 4096)
    return {
        k: {
            "SLURM_JOB_ID": job, "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(number),
            "SLURM_STEP_NUM_TASKS": str(number), "SLURM_PROCID": str(k), "SLURM_LOCALID": str(k),
        }
        for k in range(number)
    }  # fmt: skip


def test_tasks_of_srun_train_one_population(tmp_path):
    group = Group(tmp_path, flags=[], environments=tasks(2), steps=20)
    assert group.end() == [0, 0], group.said(0)
    assert "4 network(s) on 4 cpu device(s)" in group.said(0)


def test_tasks_of_srun_with_configs_of_their_own(tmp_path):
    own = {k: {"seed": k} for k in range(2)}
    group = Group(tmp_path, flags=[], environments=tasks(2), own=own)
    assert group.end() == [2, 2]
    assert "--num_processes=1" in group.said(0)
    (tmp_path / "apart").mkdir()
    places = {k: tmp_path / f"run_{k}" for k in range(2)}
    group = Group(
        tmp_path / "apart", flags=["--num_processes=1"], environments=tasks(2), own=own,
        workdirs=places, steps=20,
    )  # fmt: skip
    assert group.end() == [0, 0]
    assert all("4 network(s) on 2 cpu device(s)" in group.said(k) for k in range(2))
