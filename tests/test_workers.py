"""The worker process of a report: its answers, and that it never outlives its parent."""

import multiprocessing
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from joblib.externals.loky import ProcessPoolExecutor

from sicjax import workers
from sicjax.report import judge
from sicjax.workers import worker_processes


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 2)


def dies_unless_in(process):
    if os.getpid() != process:
        os._exit(1)
    return "here"


def test_functions_are_called_elsewhere_and_after_its_death_here():
    with worker_processes() as worker:
        process = worker(os.getpid)
        assert process != os.getpid()
        one, other = worker.later(np.arange, 3), worker.later(np.arange, 4)  # side by side
        assert (one().size, other().size) == (3, 4)
        assert worker(os.getpid) == process
        with pytest.raises(ValueError, match="no base"):
            worker(int, "no base")
        assert worker(dies_unless_in, os.getpid()) == "here"
        assert worker(os.getpid) == os.getpid()  # from now on


def test_with_one_core_functions_are_called_here(monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 1)
    with worker_processes() as worker:
        assert worker(os.getpid) == os.getpid()


def asks_a_worker(path):
    """In a process of a pool: whether a worker is that process itself."""
    workers.available_cores = lambda: 2
    with worker_processes(2) as worker:
        return worker(os.getpid) == os.getpid()


@pytest.mark.parametrize("kind", ["multiprocessing", "loky"])
def test_in_a_process_of_a_pool_functions_are_called_there(kind):
    if kind == "loky":
        with ProcessPoolExecutor(1) as pool:
            assert pool.submit(asks_a_worker, 0).result(60)
    else:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map_async(asks_a_worker, [0]).get(60) == [True]


def test_it_ends_with_the_context_whatever_it_does():
    began = time.monotonic()
    with worker_processes() as worker:
        waiting = worker.beside(worker, time.sleep, 60)
        time.sleep(0.5)
    assert waiting.exception(10) is not None  # and hasn't begun to sleep here
    assert time.monotonic() - began < 20


def run(tmp_path, script):
    """Run a script without a guard, as users write it, that starts a worker."""
    path = tmp_path / "script.py"
    path.write_text(f"""if True:
        import os, signal, sys, threading, time
        from sicjax import workers
        workers.available_cores = lambda: 2
        signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup's child ignores it
        with workers.worker_processes() as worker:
            {script}
    """)
    return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)


def test_a_script_needs_no_guard(tmp_path):
    done = run(tmp_path, "print(worker(os.getpid) != os.getpid())")
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("number", ["SIGKILL", "SIGINT"])
def test_it_ends_with_a_process_that_is_killed(number, tmp_path):
    """Otherwise the shared standard error would stay open for a minute."""
    began = time.monotonic()
    done = run(
        tmp_path,
        f"""worker(os.getpid)
            worker.later(time.sleep, 60)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.{number})
            time.sleep(1)""",
    )
    assert done.returncode != 0
    assert time.monotonic() - began < 55


def test_by_default_modules_have_nulls_of_a_minute_at_most_the_largest_first():
    automatic = judge.AUTOMATIC
    assert judge.rolls_of([11, 42], automatic, 75**2) == [judge.ROLLS] * 2
    assert judge.rolls_of([450, 11, 42], automatic, 110**2) == [judge.ROLLS, 0, judge.ROLLS]
    assert judge.rolls_of([60, 900], automatic, 250**2) == [0, 0]  # not the second largest instead
    assert judge.rolls_of([], automatic, 75**2) == []
    assert judge.rolls_of([11, 900], 3, 250**2) == [3, 3]
    assert judge.rolls_of([11, 42], 0, 75**2) == [0, 0]
