"""The cache of compiled programs."""

import contextlib
import os
import subprocess
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from sicjax.devices.compilation import jit_once, remove_unreadable, small_programs, use_cache

SCRIPT = """
import sys, time, warnings
warnings.simplefilter("error")
import jax, jax.numpy as jnp
from pathlib import Path
from sicjax.devices.compilation import use_cache
use_cache(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(float(jax.jit(lambda x: jnp.sin(x).sum() * 2)(jnp.zeros(7))))
"""


@contextlib.contextmanager
def jax_cache_unset():
    """JAX as in a process that has set up no cache."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        yield
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def without_cache():
    """Return the environment without the session's cache."""
    return {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}


def test_a_truncated_entry_is_replaced(tmp_path):
    """A kill has truncated an entry: the next process prints no warning and writes it again."""
    run = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    subprocess.run(run, check=True, env=without_cache())
    entries = {path: path.read_bytes() for path in tmp_path.glob("*-cache")}
    assert entries
    for path, entry in entries.items():
        path.write_bytes(entry[: len(entry) // 2])
    done = subprocess.run(run, check=True, capture_output=True, text=True, env=without_cache())
    assert done.stdout == "0.0\n"
    for path, entry in entries.items():
        assert len(path.read_bytes()) == len(entry)


def test_programs_of_a_report_are_kept_and_an_own_cache_is_left_alone(tmp_path):
    code = (
        "import sys, jax; from pathlib import Path;"
        " from sicjax.devices.compilation import use_cache;"
        " print(use_cache(Path(sys.argv[1])), end=' ');"
        " print(jax.config.jax_persistent_cache_min_compile_time_secs)"
    )
    for own, said in (
        ({}, f"{tmp_path} 0.2\n"),
        ({"JAX_COMPILATION_CACHE_DIR": "/own"}, "/own 1.0\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], env={**without_cache(), **own},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == said


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_programs_that_others_could_have_put_there_are_not_run(tmp_path, capsys, mode):
    tmp_path.chmod(mode)
    with jax_cache_unset():
        use_cache(tmp_path)
        assert not jax.config.jax_compilation_cache_dir
    assert capsys.readouterr().out.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_only_unreadable_entries_are_removed(tmp_path):
    good, torn, other = tmp_path / "a-cache", tmp_path / "b-cache", tmp_path / "notes"
    good.write_bytes(zlib.compress(b"x" * 1000))
    torn.write_bytes(good.read_bytes()[:-4])
    other.write_text("not an entry")
    assert remove_unreadable(tmp_path) == [torn]
    assert good.exists()
    assert other.exists()
    assert not torn.exists()


def test_small_programs_run_on_the_cpu(monkeypatch):
    with jax.default_device(jax.local_devices(backend="cpu")[-1]), small_programs():
        assert jnp.zeros(3).devices() == {jax.local_devices(backend="cpu")[0]}

    def none(*, backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", none)
    with small_programs():
        assert jnp.ones(3).sum() == 3
    with pytest.raises(ValueError, match="what happens in it"), small_programs():
        raise ValueError("what happens in it")


def test_what_is_compiled_for_one_call_says_the_same():
    x = jnp.linspace(0, 1, 1000).reshape(10, 100)
    np.testing.assert_allclose(jit_once(lambda x: jnp.tanh(x @ x.T))(x), jnp.tanh(x @ x.T), 1e-5)


def test_a_library_call_leaves_the_compilation_cache_of_its_process_alone(
    tiny_config, tmp_path, monkeypatch
):
    sicjax.train(tiny_config)  # compiles, with the session's cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with jax_cache_unset():
        sicjax.train(tiny_config)
        assert jax.config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())
