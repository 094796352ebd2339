"""The progress bar: on stderr, only if work takes long, and never if it is switched off."""

import time
from functools import partial

import numpy as np
import pytest
import tqdm.auto

from sicjax.analysis.torus import torus_test
from sicjax.progress import track
from sicjax.run import load_run


@pytest.fixture
def no_delay(monkeypatch):
    """Let the bar appear at once instead of after two seconds, however fast the machine is."""
    bar = tqdm.auto.tqdm

    def impatient(*arguments, delay, **options):
        assert delay == 2
        return bar(*arguments, delay=0, mininterval=0, **options)

    monkeypatch.setattr(tqdm.auto, "tqdm", impatient)


def work(**options):
    return [time.sleep(0.01) or item for item in track(range(5), "long work", **options)]


@pytest.mark.usefixtures("no_delay")
def test_long_work_shows_a_bar_on_stderr(capsys):
    assert work() == list(range(5))
    printed = capsys.readouterr()
    assert "long work" in printed.err
    assert printed.out == ""


@pytest.mark.usefixtures("no_delay")
def test_no_bar_when_not_asked_for(capsys):
    assert work(show=False) == list(range(5))
    assert "".join(capsys.readouterr()) == ""


def test_short_work_shows_no_bar(capsys):
    assert work() == list(range(5))
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.usefixtures("no_delay")
@pytest.mark.parametrize("progress", [True, False])
def test_the_torus_test_takes_progress(progress, capsys):
    maps = np.random.default_rng(0).random((10, 12, 12))
    test = partial(torus_test, num_shuffles=3, num_landmarks=20, null_landmarks=20)
    test(maps, progress=progress)
    printed = capsys.readouterr()
    assert ("rolled maps" in printed.err) == progress
    assert printed.out == ""


@pytest.mark.usefixtures("no_delay")
@pytest.mark.parametrize("progress", [True, False])
def test_the_maps_of_a_run_take_progress(finished, progress, capsys):
    run = load_run(finished)
    capsys.readouterr()
    run.ratemaps(0.4, progress=progress)
    printed = capsys.readouterr()
    assert ("walks" in printed.err) == progress
    assert printed.out == ""
