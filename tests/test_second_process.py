"""Another process that works beside a report: what it answers, and that it never outlives it."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from sicjax.report import cells
from sicjax.report import second_process as room
from sicjax.report.second_process import second_process


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(room, "available_cores", lambda: 2)


def whose(array):
    return os.getpid(), array.sum()


def dies_unless_in(process):
    if os.getpid() != process:
        os._exit(1)
    return "here"


def fails_unless_in(process):
    if os.getpid() != process:
        print("this is no answer")
        raise MemoryError
    raise ValueError("as it would here")


def test_functions_are_called_elsewhere_and_where_that_fails_here():
    with second_process() as apart:
        process, total = apart(whose, np.arange(4))
        assert process != os.getpid()
        assert total == 6
        with pytest.raises(ValueError, match="as it would here"):
            apart(fails_unless_in, os.getpid())
        assert apart(whose, np.arange(4)) == (process, 6)
        assert apart(lambda: "of no module") == "of no module"
        assert apart(dies_unless_in, os.getpid()) == "here"
        assert apart(whose, np.arange(4)) == (os.getpid(), 6)  # from now on


def test_who_asks_is_told_whether_there_is_an_answer():
    with second_process() as apart:
        found, (process, total) = apart.ask(whose, np.arange(4))
        assert found
        assert (process != os.getpid(), total) == (True, 6)
        assert apart.ask(lambda: "of no module") == (False, None)
        assert apart.ask(fails_unless_in, os.getpid()) == (False, None)


def test_threads_that_ask_at_once_each_get_their_own_answer():
    answers = {}

    def ask(apart, number):
        answers[number] = [apart(whose, np.arange(number))[1] for _ in range(20)]

    with second_process() as apart:
        threads = [threading.Thread(target=ask, args=(apart, number)) for number in range(2, 8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert answers == {number: [number * (number - 1) // 2] * 20 for number in range(2, 8)}


@pytest.mark.parametrize("why", ["one core", "no interpreter", "a frozen program", "not started"])
def test_without_another_process_functions_are_called_here(why, monkeypatch):
    if why == "one core":
        monkeypatch.setattr(room, "available_cores", lambda: 1)
    elif why == "a frozen program":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", "" if why == "no interpreter" else "/none/python")
    with second_process() as apart:
        assert apart(whose, np.arange(3)) == (os.getpid(), 3)


def test_it_ends_with_the_context_whatever_it_does():
    failed = []

    def ask(apart):
        try:
            apart(time.sleep, 60)
        except Exception as error:
            failed.append(error)

    began = time.monotonic()
    with second_process() as apart:
        thread = threading.Thread(target=ask, args=(apart,))
        thread.start()
        time.sleep(0.2)
    thread.join(10)
    assert failed  # and hasn't begun to sleep here
    assert time.monotonic() - began < 20


def test_it_ends_with_a_process_that_is_killed():
    """Else standard error, which both have, would stay open for a minute."""
    script = """if True:
        import os, signal, threading, time
        from sicjax.report import second_process
        second_process.available_cores = lambda: 2
        with second_process.second_process() as apart:
            apart(os.getpid)
            threading.Thread(target=apart, args=(time.sleep, 60), daemon=True).start()
            time.sleep(0.2)
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30)
    assert done.returncode != 0
    assert not done.stderr


def test_by_default_modules_have_nulls_of_a_minute_at_most_the_largest_first():
    automatic = cells.AUTOMATIC
    assert cells.rolls_of([11, 42], automatic, 75**2) == [cells.ROLLS] * 2
    assert cells.rolls_of([450, 11, 42], automatic, 110**2) == [cells.ROLLS, 0, cells.ROLLS]
    assert cells.rolls_of([60, 900], automatic, 250**2) == [0, 0]  # not the second largest instead
    assert cells.rolls_of([], automatic, 75**2) == []
    assert cells.rolls_of([11, 900], 3, 250**2) == [3, 3]
    assert cells.rolls_of([11, 42], 0, 75**2) == [0, 0]
