"""The folder of a run: damage to what it is signed with, and its lock, also as on Windows."""

import errno
import importlib.util
import json
import os
import subprocess
import sys
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sicjax import config as C
from sicjax.config.files import to_json
from sicjax.errors import ConfigError
from sicjax.training import workdir

DAMAGED = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[1, 2]",
    "a number": b"3",
    "text": b'"seed"',
    "a thousand lists": b"[" * 1000 + b"]" * 1000,
    "many lists": b"[" * 100_000,
    "a thousand tables": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "no text": b"\xff\xfe\x00\x80",
    "zeros": bytes(500),
    "half": b'{"seed": 1, "num_',
    "a long number": b'{"seed": ' + b"9" * 5000 + b"}",
    "another type": b'{"seed": "three"}',
    "a list for a table": b'{"loss": [1]}',
    "a table for a number": b'{"loss": {"sigma_x": {"x": 1}}}',
    "a list of variants": b'{"variants": [1]}',
    "a field of no config": b'{"loss": {"capasity": 1}}',
    "out of range": b'{"num_networks": -3}',
    "beyond all floats": b'{"loss": {"sigma_x": ' + b"9" * 400 + b"}}",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_config_is_one_line_that_names_the_file(tmp_path, name):
    (tmp_path / "config.json").write_bytes(DAMAGED[name])
    for read in (workdir.read_config, lambda folder: workdir.check(folder, C.default())):
        with pytest.raises(ConfigError) as error:
            read(tmp_path)
        assert str(error.value).startswith(f"{tmp_path / 'config.json'}: can't be read (")
        assert "\n" not in str(error.value)


def test_a_config_is_read_as_it_was_signed(tmp_path, tiny_config):
    workdir.sign(tmp_path, {"config.json": to_json(tiny_config)})
    assert C.flatten(workdir.read_config(tmp_path)) == C.flatten(tiny_config)
    assert workdir.read_json_table(tmp_path / "config.json") == tiny_config.to_dict()
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    workdir.check(tmp_path, tiny_config)
    with pytest.raises(FileNotFoundError):
        workdir.read_config(tmp_path / "elsewhere")


@settings(derandomize=True, max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_config_leaves_it_readable_or_is_one_line(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(to_json(C.default()).encode())
    place = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(1, 40))
    kind = data.draw(st.sampled_from(["flip", "cut", "zero", "swap", "fill"]))
    if kind == "flip":
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[place:]
    elif kind == "zero":
        content[place : place + length] = bytes(length)
    elif kind == "swap":
        end = place + length
        content[place : end + length] = content[end : end + length] + content[place:end]
    else:
        content[place : place + length] = data.draw(st.binary(max_size=length))
    (folder / "config.json").write_bytes(content)
    said = ""
    try:
        C.validate(workdir.read_config(folder))
    except ConfigError as error:
        said = str(error)
    assert not said or said.startswith(f"{folder / 'config.json'}: can't be read (")
    assert "\n" not in said


@pytest.mark.parametrize("text", [b"[]", b"null", b"[" * 100_000, b"\xff", b""])
def test_a_table_is_a_table(tmp_path, text):
    (tmp_path / "method.json").write_bytes(text)
    with pytest.raises(ConfigError, match=r"method\.json: can't be read \("):
        workdir.read_json_table(tmp_path / "method.json")


def test_a_step_reached_is_that_of_a_whole_checkpoint(tmp_path, tiny_config):
    """An empty folder with a number for a name is none."""
    workdir.sign(tmp_path, {"config.json": to_json(tiny_config)})
    place = tmp_path / "checkpoints"
    (place / "99999").mkdir(parents=True)
    workdir.check(tmp_path, tiny_config)
    (place / "8" / "state").mkdir(parents=True)
    (place / "8" / "state" / "array").write_bytes(b"")
    (place / "8" / "sha256.json").write_text(json.dumps({"state/array": ""}))
    with pytest.raises(ConfigError, match="num_steps=6: must be at least 8"):
        workdir.check(tmp_path, tiny_config)


# Another process that takes the lock as the second argument says, and says so.
HOLDER = """
import fcntl, os, sys
file = open(sys.argv[1], "a+")
if sys.argv[2] == "posix":
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
else:
    os.lseek(file.fileno(), 2**30, os.SEEK_SET)
    os.lockf(file.fileno(), os.F_TLOCK, 1)
file.truncate(0)
file.write("process 7 on a machine")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def hold(folder, system):
    """A process that holds the folder's lock, or has failed to."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder / ".lock", system],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() in (b"held\n", b"")
    return process


@pytest.fixture
def on_windows(monkeypatch):
    """The module as it is where there is no fcntl, on a lock that behaves as msvcrt's does."""

    def locking(descriptor, mode, number):
        assert mode == 2
        try:
            os.lockf(descriptor, os.F_TLOCK, number)  # from the place in the file, as there
        except OSError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    msvcrt = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    spec = importlib.util.spec_from_file_location("workdir_on_windows", workdir.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("system", ["posix", "win32"])
def test_the_lock_goes_with_the_process(tmp_path, request, system):
    module = request.getfixturevalue("on_windows") if system == "win32" else workdir
    holder = hold(tmp_path, system)
    with (
        pytest.raises(ConfigError, match=r"another run is using it \(process 7 on a machine\)"),
        module.locked(tmp_path),
    ):
        pass
    holder.kill()
    holder.communicate()
    with module.locked(tmp_path):
        other = hold(tmp_path, system)
        other.communicate()
        assert other.returncode == 1
    # Read only now: lockf's locks end where the process closes the file, however it is open.
    assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    holder = hold(tmp_path, system)
    holder.communicate()
    assert holder.returncode == 0


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(workdir.fcntl, "flock", refuse)
    with workdir.locked(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_that_cannot_be_closed_costs_nothing(tmp_path, monkeypatch):
    """As on a disk that fails once all is written."""
    files = []
    monkeypatch.setattr(workdir, "_take", files.append)
    with workdir.locked(tmp_path):
        os.close(files[0].fileno())
    assert files[0].closed
