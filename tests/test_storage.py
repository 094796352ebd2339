"""Where runs are kept: what a command leaves alone, and paths of every kind."""

import json
import shutil

import jax
import numpy as np
import pytest

import sicjax
from sicjax.errors import ConfigError
from sicjax.training.checkpoint_files import latest_intact, steps


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
    """Orbax looks for what the processes wrote with a glob of the whole path."""
    workdir = tmp_path / name
    tiny_config.num_steps = 4
    sicjax.train(tiny_config, workdir)
    tiny_config.num_steps = 6
    run = sicjax.train(tiny_config, workdir)
    assert latest_intact(workdir / "checkpoints") == (6, {})
    assert (workdir / "checkpoints" / "6" / "state" / "manifest.ocdbt").exists()
    assert_trees_equal(sicjax.load_run(workdir).parameters, run.parameters)


def test_arrays_that_an_older_version_left_apart_are_found(tiny_config, tmp_path):
    """Below a folder with [..] in its name; their digests were written all the same."""
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
