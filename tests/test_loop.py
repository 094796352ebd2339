"""Runs: what they write, how they resume, what they refuse."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sicjax
from sicjax import config as C
from sicjax.config.fields import FIELDS, FRACTION, NOT_NEGATIVE, POSITIVE, STAGED
from sicjax.config.files import from_json, load_config
from sicjax.errors import ConfigError, NonFiniteError, RunInterruptedError
from sicjax.main import guarded, main
from sicjax.report import run_reports
from sicjax.runs import train
from sicjax.training import loop
from sicjax.training.metrics import Monitor, read_metrics
from sicjax.training.step import Dispatch
from sicjax.training.workdir import locked, settled
from tests import tiny
from tests.tensorboard_events import read_events


@pytest.fixture(scope="module")
def finished(finished, tmp_path_factory):
    """A finished run of two networks: its config file, and a copy of its folder for commands."""
    workdir = tmp_path_factory.mktemp("run") / "whole"
    return tiny.PATH, shutil.copytree(finished, workdir)


def parameters_of(workdir, network=0):
    return sicjax.load_run(workdir, network=network).parameters


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def rows_without_timing(workdir):
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{key: row[key] for key in row if key != "timing"} for row in rows]


def test_what_a_run_writes(finished):
    path, workdir = finished
    assert C.flatten(from_json((workdir / "config.json").read_text())) == C.flatten(
        settled(load_config(path))
    )
    rows = read_metrics(workdir / "metrics.jsonl")
    assert [(row["step"], row["network"]) for row in rows] == [
        (step, network) for step in (2, 4, 6) for network in (0, 1)
    ]
    terms = {"separation", "invariance", "capacity", "conformal_isometry"}
    for row in rows:
        assert terms | {f"weighted_{term}" for term in terms} <= set(row)
        assert {"num_near", "num_far", "dead_states", "dead_units", "learning_rate"} <= set(row)
        assert {"gradient_norm", "neural_speed", "loss", "timing"} <= set(row)
    assert list(workdir.glob("events.out.tfevents.*"))
    assert len(list((workdir / "checkpoints").iterdir())) == 2  # keep_checkpoints


def test_networks_differ_and_can_be_loaded(finished):
    _, workdir = finished
    first, second = sicjax.load_run(workdir), sicjax.load_run(workdir, network=1)
    assert (first.seed, second.seed, first.step) == (0, 1, 6)
    assert not np.array_equal(
        first.parameters.initial_direction, second.parameters.initial_direction
    )
    states = first.rollout(np.zeros((3, 5, 2)))
    assert states.shape == (3, 5, 8)
    with pytest.raises(IndexError, match="networks 0 to 1"):
        sicjax.load_run(workdir, network=2)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        sicjax.load_run(workdir / "checkpoints")


def test_a_run_killed_after_any_checkpoint_continues_as_if_nothing_had_happened(
    finished, tmp_path, capsys
):
    path, whole = finished
    for step in (2, 4):
        workdir = tmp_path / str(step)
        config = load_config(path)
        config.num_steps = step
        train(config, workdir)
        with (workdir / "metrics.jsonl").open("a") as file:  # logged after the checkpoint, and torn
            file.write(json.dumps({"step": step + 2, "network": 0, "loss": 1.0}) + '\n{"step": 8,')
        assert main([f"--config={path}", f"--workdir={workdir}"]) == 0
        said = capsys.readouterr().out
        assert f"resumed at step {step}" in said
        assert said.endswith(f"\ntrained, without a report: {workdir}\n")
        assert_trees_equal(parameters_of(workdir, 1), parameters_of(whole, 1))
        assert rows_without_timing(workdir) == rows_without_timing(whole)


def test_killed_before_the_first_checkpoint_starts_anew(finished, tmp_path):
    path, whole = finished
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert main([f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 0
    assert_trees_equal(parameters_of(tmp_path / "run"), parameters_of(whole))
    assert rows_without_timing(tmp_path / "run") == rows_without_timing(whole)


def test_a_finished_run_says_so(finished, capsys):
    path, workdir = finished
    before = (workdir / "metrics.jsonl").read_text()
    assert main([f"--config={path}", f"--workdir={workdir}"]) == 0
    assert "finished: all 6 updates are done" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.loss.capacity=2"], "loss.capacity"),
        (["--config.num_steps=4"], "num_steps=4"),
        (["--config.loss.capasity=2"], "loss.capacity"),
        (["--config.model.num_units=0"], "model.num_units=0"),
        (["--config.optimizer.learning_rate=nan"], "optimizer.learning_rate=nan"),
        (["--workdir=/dev/null/run"], "/dev/null/run"),
        (["--steps=4"], "--steps"),
        (["more"], "more"),
        (["--config=none.py"], "--config=none.py"),
        (
            ["--config.report=true", "--config.evaluation.recorded_path=none.npy"],
            "evaluation.recorded_path=none.npy",
        ),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(finished, capsys, arguments, message):
    path, workdir = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
    assert main([f"--config={path}", f"--workdir={workdir}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data.num_trajectories", 10**9),
        ("data.trajectory_length", 10**9),
        ("model.hidden_width", 10**9),
        ("model.num_units", 10**6),
        ("num_networks", 2 * 10**9),
    ],
)
def test_sizes_beyond_any_device_are_named_before_anything_is_made(
    tiny_config, monkeypatch, tmp_path, field, value
):
    monkeypatch.setattr("sicjax.devices.memory.device_limit", lambda layout: 4e9)
    monkeypatch.setattr("sicjax.runs.check_method", None)  # the first that would trace
    began = time.monotonic()
    config = C.changed(tiny_config, {field: value})
    with pytest.raises(ConfigError, match=f"^{field}={value}: ") as error:
        train(config, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 5
    assert not (tmp_path / "run").exists()
    staged = {"long": {"num_steps": 6, field: value}}
    if field in STAGED:
        with pytest.raises(ConfigError, match=rf"^stages\['long'\]: {field}={value}"):
            train(C.changed(tiny_config, {"stages": staged}))


def test_a_folder_with_checkpoints_of_something_else_is_refused(tiny_config, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="not a run"):
        train(tiny_config, tmp_path)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (np.full((9, 2), np.nan), "must be finite"),
        (np.zeros((9, 3)), "samples, 2"),
    ],
)
def test_a_recorded_path_that_cannot_be_used(tiny_config, tmp_path, path, message):
    np.save(tmp_path / "path.npy", path)
    tiny_config.report = True
    tiny_config.evaluation.recorded_path = str(tmp_path / "path.npy")
    with pytest.raises(ConfigError, match=message):
        train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def header_of_too_many_rows(path):
    """A .npy file whose header claims 10^12 positions, of which none is there."""
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 2)}
        np.lib.format.write_array_header_1_0(file, header)


def flipped_in_a_zip(path):
    """A .npz file with a wrong byte among the positions."""
    np.savez(path, positions=np.zeros((99, 2)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated_zip(path):
    np.savez(path, positions=np.zeros((99, 2)))
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("empty.npy", lambda path: path.write_bytes(b""), "can't be read"),
        ("cut.npz", truncated_zip, "can't be read"),
        ("flipped.npz", flipped_in_a_zip, "can't be read"),
        ("claims.npy", header_of_too_many_rows, "can't be read"),
        ("far.npy", lambda path: np.save(path, [[0, 0], [1e300, 0]] * 20), "must be metres"),
        ("complex.npy", lambda path: np.save(path, np.zeros((99, 2), complex)), "must be numbers"),
        ("pickled.npy", lambda path: np.save(path, np.array([[{}, {}]] * 40)), "can't be read"),
        ("/dev/null", None, "can't be read"),
    ],
)
def test_a_file_of_a_recorded_path_that_is_damaged(finished, tmp_path, capsys, name, make, message):
    path, _ = finished
    if make:
        make(tmp_path / name)
    command = [f"--config={path}", f"--workdir={tmp_path / 'run'}", "--config.report=true"]
    assert main([*command, f"--config.evaluation.recorded_path={tmp_path / name}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sicjax: evaluation.recorded_path={tmp_path / name}: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_goes_on_later(tiny_config, tmp_path, capsys, number, code):
    tiny_config.num_steps = 200_000
    tiny_config.checkpoint_every = tiny_config.log_every = 100_000

    def send():
        while not (tmp_path / "metrics.jsonl").exists():  # opened when the updates begin
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(RunInterruptedError) as stop:
        train(tiny_config, tmp_path)
    thread.join()
    assert stop.value.exit_code == code
    reached = sicjax.load_run(tmp_path).step
    assert reached > 0
    assert f"stopped at update {reached}" in str(stop.value)


@pytest.mark.parametrize("where", ["without a workdir", "one process of several"])
def test_a_signal_while_compiling_says_what_is_awaited(
    tiny_config, tmp_path, monkeypatch, capsys, where
):
    def compiled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return Dispatch(*arguments)

    monkeypatch.setattr(loop, "Dispatch", compiled)
    if where == "one process of several":
        several = SimpleNamespace(**{**vars(loop.processes), "is_alone": lambda: False})
        monkeypatch.setattr(loop, "processes", several)
    with pytest.raises(RunInterruptedError, match="stopped at update 2"):
        train(tiny_config, tmp_path if where != "without a workdir" else None)
    said = capsys.readouterr().err
    assert said.startswith("stopping after compiling and the first dispatch; saving\n")


def test_a_finished_run_ends_the_removal_of_an_old_checkpoint(finished, tmp_path):
    path, workdir = finished
    shutil.copytree(workdir, tmp_path / "run")
    half = tmp_path / "run" / "checkpoints" / "2"
    (half / "state").mkdir(parents=True)
    assert main([f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 0
    assert not half.exists()


def test_a_config_that_is_not_as_it_was_written_is_refused(finished, tmp_path, capsys):
    """Nothing else in the run names the update at which the learning rate ends."""
    path, workdir = finished
    shutil.copytree(workdir, tmp_path / "run")
    place = tmp_path / "run" / "config.json"
    place.write_text(place.read_text().replace('"decay_steps": 6', '"decay_steps": 7'))
    assert main([f"--config={path}", f"--workdir={tmp_path / 'run'}", "--config.num_steps=8"]) == 2
    assert capsys.readouterr().err == (
        f"sicjax: {place}: was changed after the run began: optimizer.decay_steps is 7, but 6 in"
        " the checkpoint of update 6; restore it\n"
    )


def test_a_lone_network_that_goes_non_finite_stops_the_run(tiny_config, tmp_path):
    tiny_config.loss.capacity = 3e38
    with pytest.raises(NonFiniteError, match="network 0: gradient is not finite at update 0"):
        train(tiny_config, tmp_path)
    run = sicjax.load_run(tmp_path)
    assert run.failure == "network 0: gradient is not finite at update 0"
    assert np.isfinite(run.parameters.initial_direction).all()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_a_workdir_an_interruption_carries_the_network(tiny_config, number):
    tiny_config.num_steps, tiny_config.log_every = 10**6, 10**6

    def send():
        time.sleep(3)  # while compiling or updating: the signal is noted in both
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(RunInterruptedError, match="the network as it is now") as stop:
        train(tiny_config)
    thread.join()
    run = stop.value.run
    assert 0 < run.step < 10**6
    assert f"stopped at update {run.step}" in str(stop.value)
    assert np.isfinite(run.rollout(np.zeros((3, 2)))).all()


@pytest.mark.parametrize(
    ("last", "log", "checkpoint", "wanted"),
    [
        (7, 100, 100, [4, 3]),  # a prime number of steps
        (12, 6, 100, [4, 2, 4, 2]),
        (11, 5, 3, [3, 2, 1, 3, 1, 1]),
    ],
)
def test_dispatches_are_as_long_as_they_may_be(
    tiny_config, monkeypatch, last, log, checkpoint, wanted
):
    tiny_config.num_steps, tiny_config.steps_per_dispatch = last, 4
    tiny_config.log_every, tiny_config.checkpoint_every = log, checkpoint
    taken, call = [], Dispatch.__call__

    def counted(self, states, settings, num_steps):
        taken.append(num_steps)
        return call(self, states, settings, num_steps)

    monkeypatch.setattr(Dispatch, "__call__", counted)
    train(tiny_config)
    assert taken == wanted


@pytest.mark.parametrize("where", [pytest.param("thread", marks=pytest.mark.slow), "process"])
def test_a_report_under_way_is_left_at_once(where, tmp_path):
    """SIGTERM while others score maps for a minute: all end within 5 s, without half a report."""
    script = """if True:
        import os, signal, sys, threading, time
        import sicjax
        from sicjax.main import guarded, leave
        from sicjax import workers
        from sicjax.report import network

        def endless(call):
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
            print("asked at", time.time(), flush=True)
            call(time.sleep, 60)

        def slow(run, verdict, worker, **_):
            return worker.beside(endless, worker if sys.argv[2] == "process" else here).result()

        def here(function, *args):
            return function(*args)

        workers.available_cores = lambda: 2
        network.measure = slow
        config = sicjax.load_config(sys.argv[3])
        config.report, config.evaluation.recorded_path = True, ""
        leave(guarded(lambda _: sicjax.train(config, sys.argv[1]), []))
    """
    command = [sys.executable, "-c", script, str(tmp_path / "run"), where, str(tiny.PATH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    left = time.time()  # and all have closed standard error
    assert done.returncode == 75, done.stderr
    assert left - float(re.search(r"asked at ([\d.]+)", done.stdout)[1]) < 5
    assert "stopped at update 6" in done.stderr
    assert not list((tmp_path / "run" / "report").glob("network_*"))


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (["SIGINT", "SIGINT"], 130, "sicjax: stopped at once; the last checkpoint remains"),
        (["SIGTERM"], 75, "sicjax: stopped at update 0; the same command continues from there"),
    ],
)
def test_signals_while_the_main_thread_is_in_compiled_code(tmp_path, sent, code, said):
    """As in XLA's compiler, no Python handler runs before the code ends, here after a minute."""
    script = f"""if True:
        import ctypes, os, signal, sys, threading, time
        import sicjax
        from sicjax.training import loop
        from sicjax.main import guarded, leave

        signal.signal(signal.SIGINT, signal.default_int_handler)

        def compiled(*_):
            def send():
                for name in {sent}:
                    os.kill(os.getpid(), getattr(signal, name))
                    time.sleep(0.03)

            threading.Timer(0.5, send).start()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
            ctypes.CDLL(None).sleep(60)

        loop.Dispatch = compiled
        config = sicjax.load_config(sys.argv[2])
        leave(guarded(lambda _: sicjax.train(config, sys.argv[1]), []))
    """
    command = [sys.executable, "-c", script, str(tmp_path / "run"), str(tiny.PATH)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}  # commands leave out XLA's false alarm
    began = time.monotonic()
    done = subprocess.run(
        command, env=quiet, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stderr == said + "\n"
    assert time.monotonic() - began < 50


def test_an_error_ends_the_command_though_a_thread_goes_on():
    """Orbax leaves such a thread, for minutes, in a save that a full disk has ended."""
    script = """if True:
        import threading, time
        from sicjax.main import leave

        threading.Thread(target=time.sleep, args=(60,)).start()
        print("last word")
        leave(75)
    """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (75, "last word\n", "")
    assert time.monotonic() - began < 40


def test_train_without_a_workdir_writes_nothing(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(tiny_config)
    assert run.step == 6
    assert not list(tmp_path.iterdir())


def test_threads_that_train_take_turns(tiny_config, tmp_path, capsys):
    """Each has its own workdir; the networks equal those of runs one after another."""
    configs = [C.changed(tiny_config, {"seed": seed}) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        folders = [tmp_path / str(config.seed) for config in configs]
        runs = list(pool.map(train, configs, folders, timeout=300))
    assert "waiting for another thread" in capsys.readouterr().out
    for config, folder, run in zip(configs, folders, runs, strict=True):
        assert_trees_equal(parameters_of(folder), run.parameters)
        assert sicjax.load_run(folder).seed == config.seed
    assert_trees_equal(train(configs[2]).parameters, runs[2].parameters)


def test_flags_in_other_forms(tmp_path, capsys):
    """Values after a space, a whole number as 1e0."""
    flags = ["--config.num_networks", "1", "--config.num_steps=2e0"]
    assert main(["--config", str(tiny.PATH), "--workdir", str(tmp_path / "run"), *flags]) == 0
    assert sicjax.load_run(tmp_path / "run").step == 2
    assert main(["--version"]) == 0
    assert f"sicjax {sicjax.__version__}\n" in capsys.readouterr().out


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "loss.sigma_g=0.4" in capsys.readouterr().out


def wrong_values():
    """Yield fields with texts that must be wrong for them, and names that can't be fields."""
    junk = {
        bool: ["yes", "2", "", "None", "truth"],
        int: [
            "",
            "x",
            "1.5",
            "nan",
            "inf",
            "1e30",
            "1.5e0",
            "-1",
            "-" + 30 * "9",
            "0x10",
            "1 2",
            "1\n2",
        ],
        float: ["", "x", "nan", "inf", "-inf", "1e999", "1,5", "0.1 m", "--1", "[1]"],
        str: ["no such choice", "NETWORKS ", "0"],
        dict: ["", "{", "[]", "3", '{"a": 1}', '{"a": {"loss.capasity": 1}}', '{"": {}}'],
    }
    fields = [name for name in FIELDS if name != "evaluation.recorded_path"]
    known = st.sampled_from(fields).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(junk[type(FIELDS[name].default)]))
    )
    negative = [n for n in fields if FIELDS[n].rule in (POSITIVE, NOT_NEGATIVE, FRACTION)]
    below = st.tuples(st.sampled_from(negative), st.floats(-1e30, -1e-30).map(str))
    misspelt = st.tuples(st.sampled_from(fields).map(lambda name: name + "s"), st.just("1"))
    other = st.tuples(st.text("abc.xyz\n", min_size=1).map(lambda t: "q" + t), st.just("1"))
    wrong = known.filter(lambda pair: pair != ("evaluation.torus_rolls", "-1"))  # the default
    return st.one_of(wrong, below, misspelt, other)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(wrong=wrong_values())
def test_wrong_configs_are_one_line_and_change_nothing(finished, wrong):
    path, workdir = finished
    name, text = wrong
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main([f"--config={path}", f"--workdir={workdir}", f"--config.{name}={text}"])
    assert code == 2
    assert said.getvalue().count("\n") == 1
    assert " ".join(name.split()) in said.getvalue()
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    finished, tmp_path, capsys, monkeypatch
):
    """A clock that was set back by a day costs nothing."""
    path, whole = finished
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    place = workdir / "checkpoints" / "6" / "state"
    files = [file for file in place.rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-10])
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    assert main([f"--config={path}", f"--workdir={workdir}"]) == 0
    said = capsys.readouterr().out
    assert "the checkpoint of update 6 is damaged" in said
    assert "going back to update 4" in said
    assert "resumed at step 4" in said
    assert_trees_equal(parameters_of(workdir, 1), parameters_of(whole, 1))
    assert rows_without_timing(workdir) == rows_without_timing(whole)
    assert read_events(workdir) == read_events(whole)
    assert (workdir / "damaged" / "6").is_dir()


def test_tensorboard_has_every_logged_number_once(finished):
    _, workdir = finished
    rows = read_metrics(workdir / "metrics.jsonl")
    names = [name for name in rows[0] if name not in ("step", "network", "timing")]
    wanted = [
        (f"network_{row['network']:03d}/{name}", row["step"], np.float32(row[name]))
        for row in rows
        for name in names
    ]
    assert read_events(workdir) == wanted


def test_all_checkpoints_damaged_is_not_a_fresh_start(finished, tmp_path, capsys):
    path, whole = finished
    shutil.copytree(whole, tmp_path / "run")
    for digests in (tmp_path / "run" / "checkpoints").glob("*/sha256.json"):
        digests.unlink()
    assert main([f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "no checkpoint is intact" in error
    assert error.count("\n") == 1


def test_a_second_run_on_a_workdir_is_refused(finished, capsys):
    path, workdir = finished
    before = (workdir / "metrics.jsonl").stat().st_mtime_ns
    with locked(workdir):
        assert main([f"--config={path}", f"--workdir={workdir}"]) == 2
    error = capsys.readouterr().err
    assert f"another run is using it (process {os.getpid()} on " in error
    assert error.count("\n") == 1
    assert (workdir / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_workdir_that_is_removed_ends_the_run(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(Monitor, "flush", lambda self: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(ConfigError, match="workdir="):
        train(tiny_config, tmp_path / "run")


def test_an_interrupted_report_phase_goes_on_where_it_was(finished, tmp_path, monkeypatch):
    """A SIGTERM in the report of network 1 of two; then the remaining report; then all again."""
    path, whole = finished
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    reported = []

    def report(run, folder, **_):
        reported.append(run.network)
        if reported == [0, 1]:
            os.kill(os.getpid(), signal.SIGTERM)
        return folder

    monkeypatch.setattr(run_reports, "write_report", report)
    monkeypatch.setattr(run_reports, "write_index", lambda folder: folder)
    command = [f"--config={path}", f"--workdir={workdir}", "--config.report=true"]
    command += ["--config.evaluation.recorded_path="]
    assert [main(command) for _ in range(3)] == [75, 0, 0]
    assert reported == [0, 1, 1, 0, 1]
    assert not (workdir / "report" / ".pending.json").exists()


@pytest.mark.slow
def test_two_processes_train_as_one(finished, tmp_path):
    """Two processes of two devices each, on loopback, against one process of two devices.

    This uses the command; the fast version, with `sicjax.train`, is in tests/test_parallel.py.
    """
    path, whole = finished
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sicjax.main", f"--config={path}"]
    command += [f"--workdir={tmp_path / 'run'}", f"--coordinator=localhost:{port}"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    runs = [
        subprocess.Popen(
            [*command, "--num_processes=2", f"--process_id={k}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )
        for k in (0, 1)
    ]  # fmt: skip
    said = [run.communicate(timeout=500)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert "2 network(s) on 4 cpu device(s)" in said[0]
    assert "network(s)" not in said[1]
    for network in (0, 1):
        assert_trees_equal(parameters_of(tmp_path / "run", network), parameters_of(whole, network))
    assert rows_without_timing(tmp_path / "run") == rows_without_timing(whole)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("JAX_NUM_CPU_DEVICES", "two", "must be a number from -1 to 1024"),
        ("JAX_NUM_CPU_DEVICES", "100000", "must be a number from -1 to 1024"),
        ("SLURM_STEP_NUM_TASKS", "many", "must be a number from 1"),
    ],
)
def test_numbers_in_the_environment_that_are_none(monkeypatch, capsys, variable, value, message):
    monkeypatch.setenv(variable, value)
    assert main(["--config=quick", "--workdir=none"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sicjax: {variable}={value}, in the environment: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize("platform", ["cuda", "cuad"])
def test_a_backend_that_is_not_there_is_one_line(tmp_path, platform):
    command = [sys.executable, "-m", "sicjax.main", "--config=quick", f"--workdir={tmp_path / 'r'}"]
    environment = {**os.environ, "JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"sicjax: JAX_PLATFORMS={platform}: ")
    assert "unset it" in said
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coordinator=localhost:1"], "--num_processes is missing"),
        (["--coordinator=localhost:1", "--num_processes=2", "--process_id=2"], "must be below 2"),
        (["--coordinator=localhost:1", "--num_processes=two", "--process_id=0"], "be a number"),
    ],
)
def test_processes_that_cannot_meet(capsys, arguments, message):
    assert main(["--config=none.py", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_run_says_soon_how_long_it_takes(tiny_config, capsys):
    train(tiny_config)
    said = re.findall(r"compiled in \d+ s\nabout (\d+) s left", capsys.readouterr().err)
    assert len(said) == 1
    assert int(said[0]) < 10  # two updates of a tiny network remain, and no loading of the program


def test_an_interruption_is_not_swallowed_by_code_that_survives_errors(capsys):
    def command(_):
        try:
            raise RunInterruptedError(signal.SIGTERM, 3)
        except Exception:
            return  # like code that survives any error

    assert guarded(command, []) == 75
    assert capsys.readouterr().err.count("\n") == 1


def test_networks_are_counted_instead_of_reported(tiny_config, tmp_path, monkeypatch, capsys):
    """This holds after a finished training, too. Only the cost of reports is announced."""
    scored, reported = [], []
    monkeypatch.setattr(
        run_reports, "score_networks", lambda runs, folder: scored.append(len(runs))
    )
    monkeypatch.setattr(run_reports, "report_left", lambda _, runs: reported.append(len(runs)))
    tiny_config.num_networks, tiny_config.num_steps, tiny_config.report = 2, 2, "scores"
    train(tiny_config, tmp_path)
    assert "--config.report=scores" not in capsys.readouterr().out
    train(tiny_config, tmp_path)
    assert (scored, reported) == ([2, 2], [])
    tiny_config.num_steps, tiny_config.report = 4, True
    tiny_config.evaluation.recorded_path = ""
    train(tiny_config, tmp_path)
    assert (scored, reported) == ([2, 2], [2])
    out = capsys.readouterr().out
    assert "2 networks get a report" in out
    assert "--config.report=scores" in out
