"""Runs of earlier releases: a tiny one of each is kept as data, and its training continues."""

import tarfile
from pathlib import Path

import pytest

import sicjax
from sicjax.training.workdir import read_config

RUNS = sorted((Path(__file__).parent / "data").glob("run_of_*.tar.xz"))


def test_there_is_one_of_each_release():
    assert [path.name for path in RUNS] == [f"run_of_0.{k}.0.tar.xz" for k in (1, 2, 3)]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_a_run_of_an_earlier_release_is_loaded_and_resumed(path, tmp_path, capsys):
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    before = sicjax.load_runs(tmp_path)
    assert [(run.step, run.network) for run in before] == [(4, 0), (4, 1)]
    config = read_config(tmp_path)
    config.num_steps = 6
    assert sicjax.train(config, tmp_path).step == 6
    assert "resumed at step 4" in capsys.readouterr().out
