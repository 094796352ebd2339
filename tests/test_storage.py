"""Folders of runs: files that a command does not touch, and paths of every kind."""

import importlib
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import sicjax
from sicjax import paths
from sicjax.config.files import load_config
from sicjax.errors import ConfigError
from sicjax.main import guarded, main
from sicjax.training import provenance
from sicjax.training.checkpoint_files import latest_intact, steps
from sicjax.training.step import Dispatch


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_checkpoints_kept_for_good_survive_a_command_with_another_rule(tiny_config, tmp_path):
    tiny_config.keep_checkpoints, tiny_config.keep_checkpoints_every = 1, 2
    sicjax.train(tiny_config, tmp_path)
    tiny_config.keep_checkpoints_every = 0
    sicjax.train(tiny_config, tmp_path)  # finished: only looks
    assert steps(tmp_path / "checkpoints") == [6, 4, 2]
    tiny_config.num_steps, tiny_config.checkpoint_every = 10, 1
    sicjax.train(tiny_config, tmp_path)
    assert steps(tmp_path / "checkpoints") == [10, 6, 4, 2]


@pytest.mark.parametrize("name", ["project [2026]/lr*0.1?"])
def test_any_folder_name_trains_resumes_and_loads(tiny_config, tmp_path, name):
    """Orbax finds the parts of the processes with a glob of the whole path."""
    workdir = tmp_path / name
    tiny_config.num_steps = 4
    sicjax.train(tiny_config, workdir)
    tiny_config.num_steps = 6
    run = sicjax.train(tiny_config, workdir)
    assert latest_intact(workdir / "checkpoints") == (6, {})
    assert (workdir / "checkpoints" / "6" / "state" / "manifest.ocdbt").exists()
    assert_trees_equal(sicjax.load_run(workdir).parameters, run.parameters)


def test_arrays_that_an_older_version_left_apart_are_found(tiny_config, tmp_path):
    """This happened below a folder with [..] in its name; digests were written nevertheless."""
    run = sicjax.train(tiny_config, tmp_path)
    state = tmp_path / "checkpoints" / "6" / "state"
    digests = state.parent / "sha256.json"
    for path in [path for path in state.iterdir() if path.name in ("d", "manifest.ocdbt")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    kept = {name: digest for name, digest in json.loads(digests.read_text()).items()
            if (state.parent / name).exists()}  # fmt: skip
    digests.write_text(json.dumps(kept))
    assert_trees_equal(sicjax.load_run(tmp_path).parameters, run.parameters)
    tiny_config.num_steps = 8
    assert sicjax.train(tiny_config, tmp_path).step == 8


@pytest.mark.parametrize("name", ["back\\slash", "gs:/run", "r\udcfcn"])
def test_a_name_that_arrays_cannot_be_saved_below_is_refused_at_the_start(
    tiny_config, tmp_path, name
):
    """The last one is a name in Latin-1, as Python reads it."""
    with pytest.raises(ConfigError, match="workdir="):
        sicjax.train(tiny_config, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_run_stays_in_its_folder_when_the_working_folder_changes(
    tiny_config, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    original = Dispatch.__call__

    def call(self, *arguments):
        os.chdir(tmp_path / "elsewhere")
        return original(self, *arguments)

    monkeypatch.setattr(Dispatch, "__call__", call)
    sicjax.train(tiny_config, "run")
    assert latest_intact(tmp_path / "run" / "checkpoints") == (6, {})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_resume_with_other_code_is_named(tiny_config, tmp_path, monkeypatch, capsys):
    sicjax.train(tiny_config, tmp_path)
    sicjax.train(tiny_config, tmp_path)
    assert "other code" not in capsys.readouterr().out
    monkeypatch.setattr(provenance, "package_digest", lambda: "0" * 16)
    sicjax.train(tiny_config, tmp_path)
    (line,) = [text for text in capsys.readouterr().out.splitlines() if "other code" in text]
    assert "sicjax source was " in line


@pytest.mark.parametrize("text", ["", " ", "a\0b", "s3://bucket/x", "hdfs://node/x", "gs://b/x",
                                  "file:///x", "~no-such-user/x", Path("gs://b/x")])  # fmt: skip
def test_what_is_no_path_is_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    """A bucket is one for a run only."""
    with pytest.raises(ConfigError, match=r"^workdir=") as error:
        paths.path("workdir", text)
    assert "\n" not in str(error.value)
    for load in () if str(text).startswith("gs:") else (sicjax.load_run, sicjax.load_runs):
        with pytest.raises(ConfigError):
            load(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        *((name, ["--workdir=gs://bucket/x"]) for name in
          ("ablations", "claims", "independence", "no_permutations", "phase_diagram", "scaling",
           "sigma_g")),
        ("sweep", ["--config=quick", "--workdir=gs://bucket/x"]),
        ("claims", ["--merge=gs://bucket/x", "--workdir=here"]),
        ("claims", ["--merge=here", "--workdir=gs://bucket/x"]),
        ("clearest", ["--folder=gs://bucket/x"]),
        ("export_weights", ["--workdir=gs://bucket/x", "--network=0", "--name=new"]),
        ("fault_storm", ["--folder=gs://bucket/x", "--only=second_run"]),
        ("indices", ["--runs=gs://bucket/x", "--workdir=here"]),
        ("indices", ["--runs=here", "--workdir=gs://bucket/x"]),
        ("isometry", ["--folder=gs://bucket/x"]),
    ],
)  # fmt: skip
def test_experiments_refuse_a_bucket_before_they_make_anything(
    name, flags, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    experiment = importlib.import_module(f"experiments.{name}")
    assert guarded(experiment.main, flags) == 2
    said = capsys.readouterr().err
    assert "=gs://bucket/x: " in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_home_folder_and_what_is_relative(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for text in ("~/x", "x", Path("x")):
        assert paths.path("workdir", text) == tmp_path / "x"
    (tmp_path / "mine.py").write_text("from sicjax.config import default as get_config\n")
    assert load_config("~/mine.py").num_steps > 0
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "x")):
        sicjax.load_run("~/x")
    with pytest.raises(TypeError):
        paths.path("workdir", 3)


@pytest.mark.parametrize("workdir", ["", "s3://bucket/x", "gs://bucket", "file:///never/x"])
def test_a_command_refuses_what_is_no_path_before_it_makes_anything(
    workdir, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["--config=quick", f"--workdir={workdir}"]) == 2
    assert capsys.readouterr().err.startswith(f"sicjax: workdir={workdir or repr(workdir)}: ")
    assert not list(tmp_path.iterdir())
