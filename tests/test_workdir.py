"""The folder of a run: damage to the files that sign it, and its lock."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sicjax
from sicjax import config as C
from sicjax.config.files import to_json
from sicjax.errors import ConfigError
from sicjax.training import workdir
from sicjax.training.files import replacing, write_whole

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


@pytest.mark.slow  # the fast version: a_damaged_config_is_one_line
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
    """An empty folder whose name is a number is not a checkpoint."""
    workdir.sign(tmp_path, {"config.json": to_json(tiny_config)})
    place = tmp_path / "checkpoints"
    (place / "99999").mkdir(parents=True)
    workdir.check(tmp_path, tiny_config)
    (place / "8" / "state").mkdir(parents=True)
    (place / "8" / "state" / "array").write_bytes(b"")
    (place / "8" / "sha256.json").write_text(json.dumps({"state/array": ""}))
    with pytest.raises(ConfigError, match="num_steps=6: must be at least 8"):
        workdir.check(tmp_path, tiny_config)


def test_metrics_of_another_program_are_refused_not_cut(tmp_path, tiny_config):
    """Even if its rows look like ours."""
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 9000, "network": 0, "loss": 1.5}\n')
    with pytest.raises(ConfigError, match=r"metrics\.jsonl"):
        sicjax.train(tiny_config, tmp_path)
    assert metrics.read_text().startswith('{"step": 9000')
    assert list(tmp_path.iterdir()) == [metrics]


# Another process that takes the lock as the package does, and says so.
HOLDER = """
import sys
from pathlib import Path
from pathlib import Path
from sicjax.training.workdir import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_goes_with_the_process(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with (
        pytest.raises(ConfigError, match=rf"\(process {holder.pid} on .*\)"),
        workdir.locked(tmp_path),
    ):
        pass
    holder.kill()
    holder.communicate()
    with workdir.locked(tmp_path):
        assert (tmp_path / ".holder").read_text().startswith(f"process {os.getpid()} on ")
        with (
            pytest.raises(ConfigError, match=f"process {os.getpid()} on"),
            workdir.locked(tmp_path),
        ):
            pass
    with workdir.locked(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_used_without_and_named(
    tmp_path, monkeypatch, capsys, number
):
    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with workdir.locked(tmp_path):
        assert (tmp_path / ".holder").exists()
    said = capsys.readouterr().out
    assert said.startswith(f"workdir={tmp_path}: this file system has no locks")
    assert said.count("\n") == 1


def test_a_file_system_without_renames_of_folders_is_refused(tmp_path, monkeypatch):
    rename = Path.rename

    def refuse(self, target):
        if self.is_dir():
            raise OSError(errno.EPERM, "Operation not permitted")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ConfigError, match="folders can't be renamed"), workdir.locked(tmp_path):
        pass
    assert not list(tmp_path.glob(".*.sicjax.tmp"))


def test_links_to_files_of_others_are_not_followed(tmp_path):
    """They may have the name of any of our files; .lock is refused, the others are replaced."""
    precious, folder = tmp_path / "precious", tmp_path / "shared"
    precious.write_text("years of work")
    folder.mkdir()
    for name in ("config.tmp", ".config.json.tmp", ".holder", "config.json"):
        (folder / name).symlink_to(precious)
    with workdir.locked(folder):
        workdir.sign(folder, {"config.json": "{}"})
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(precious)
    with pytest.raises(ConfigError, match="workdir="), workdir.locked(folder):
        pass
    assert precious.read_text() == "years of work"
    assert (folder / "config.json").read_text() == "{}"


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"before")
    with pytest.raises(TypeError), replacing(path) as file:
        file.write("no bytes")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


# Another process that is killed while a file has no name yet, and while a folder is renamed.
KILLED = """
import os, signal, sys
from pathlib import Path
from unittest import mock
from sicjax.training import files, workdir
folder = Path(sys.argv[1])
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "probe":
    with mock.patch.object(Path, "rename", die):
        workdir._try_to_rename(folder)
with files.replacing(folder / sys.argv[2]):
    die()
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize(
    "name", ["config.json", "probe", "report/index.html", "snapshots/network_000/000000040.npz"]
)
def test_what_a_kill_left_unfinished_goes_at_the_next_start(tmp_path, name):
    own = [tmp_path / ".config.json.0a1b2c3d.tmp", tmp_path / ".notes.tmp", tmp_path / "b.tmp"]
    for path in own:
        path.write_text("precious")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), name], check=False)
    assert killed.returncode == -9
    assert list(tmp_path.rglob(".*.sicjax.tmp"))
    with workdir.locked(tmp_path):
        left = {path for path in tmp_path.rglob("*") if path.is_file()}
        assert left - {tmp_path / ".lock", tmp_path / ".holder"} == {*own}


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="not a regular file"):
        workdir.read_config(tmp_path)
    (tmp_path / "method.json").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="not a regular file"):
        workdir.recorded_method(tmp_path)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ConfigError, match="larger than"):
        workdir.read_json_table(tmp_path / "large")


@pytest.mark.parametrize(
    "text",
    [
        '{"terms.quiet": "quiet", "source": [1]}',
        '{"terms.quiet": "quiet", "source": 5}',
        '{"terms.quiet": "quiet", "source": {"terms.quiet": 5}}',
        '{"terms.quiet": ["quiet"]}',
        "[]",
    ],
)
def test_a_method_of_a_wrong_type_is_one_line(tmp_path, text):
    (tmp_path / "method.json").write_text(text)
    with pytest.raises(ConfigError, match=r"method\.json: can't be read") as error:
        workdir.recorded_method(tmp_path)
    assert "\n" not in str(error.value)
