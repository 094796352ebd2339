"""Logs of a run: they survive damage, are cut where the run resumes, and are on disk in time."""

import io
import json
import os
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX import SummaryWriter

from sicjax.training.metrics import Monitor, read_metrics
from tests.tensorboard_events import read_events

STEPS = (2, 4, 6, 8)


def log(workdir, steps=STEPS, first_step=0):
    """Log rows of two networks; return what the monitor says at its start."""
    stream = io.StringIO()
    with Monitor(
        workdir, first_step=first_step, num_steps=9, shown=[], log_every=2, stream=stream
    ) as monitor:
        said = stream.getvalue()
        for step in steps:
            monitor.log(step, {"loss": np.array([step, -step]), "near": np.array([1, 2]) / step})
    return said


def resume(workdir, step):
    return log(workdir, steps=(), first_step=step)


def places(workdir):
    rows = read_metrics(workdir / "metrics.jsonl")
    return [(row["step"], row["network"]) for row in rows]


ALL = [(step, network) for step in STEPS for network in (0, 1)]


@pytest.fixture
def logged(tmp_path):
    assert log(tmp_path) == ""
    return tmp_path


def test_what_is_sound_stays_as_it_is(logged):
    before = (logged / "metrics.jsonl").stat().st_mtime_ns
    events = read_events(logged)
    assert resume(logged, 8) == ""
    assert (logged / "metrics.jsonl").stat().st_mtime_ns == before
    assert read_events(logged) == events
    assert len(events) == 2 * len(ALL)
    assert places(logged) == ALL
    assert [row["step"] for row in read_metrics(logged / "metrics.jsonl", network=1)] == [*STEPS]


def test_rows_after_the_step_resumed_from_are_dropped(logged):
    """A truncated last row is dropped, too."""
    with (logged / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "netw')
    assert places(logged) == ALL
    assert resume(logged, 4) == ""
    assert places(logged) == ALL[:4]
    assert {step for _, step, _ in read_events(logged)} == {2, 4}


BAD = {
    "garbage": b"#!$",
    "no text": b'\xff\xfe{"step": 2}',
    "zeros": bytes(30),
    "null": b"null",
    "a number": b"3",
    "an empty table": b"{}",
    "no network": b'{"step": 2, "loss": 1.0}',
    "a step that is no number": b'{"step": "2", "network": 0}',
    "a step that is half": b'{"step": 2.5, "network": 0}',
    "a value that is no number": b'{"step": 2, "network": 0, "loss": "high"}',
    "a thousand lists": b"[" * 100_000,
    "a long number": b'{"step": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_left_out_and_named(logged, name):
    path = logged / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:3], BAD[name], *lines[3:5], BAD[name], *lines[5:], b""]))
    damaged = path.read_bytes()
    assert places(logged) == ALL
    said = resume(logged, 8)
    assert "2 row(s)" in said
    assert "line 4" in said
    assert path.read_bytes() == damaged
    assert places(logged) == ALL


def test_a_line_without_an_end_is_read_in_pieces(logged):
    path = logged / "metrics.jsonl"
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + bytes(3 * 2**20) + b"\n" + b"".join(others))
    assert places(logged) == ALL
    assert "row(s) can't be read" in resume(logged, 8)
    assert places(logged) == ALL


def test_reading_one_network_takes_little_memory(tmp_path):
    """Rows of other networks are not parsed, and the whole file is never in memory."""
    path = tmp_path / "metrics.jsonl"
    text = "".join(
        json.dumps({"step": step, "network": network, "loss": 0.5, "note": 0}) + "\n"
        for step in range(500) for network in range(100)
    )  # fmt: skip
    path.write_text(text)
    tracemalloc.start()
    rows = read_metrics(path, network=7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["step"] for row in rows] == [*range(500)]
    assert peak < len(text) / 4
    assert len(read_metrics(path)) == 50_000


def test_a_digit_that_has_flipped_is_a_bad_row(logged):
    """A flipped digit is still a number; old rows without checksums are accepted."""
    path = logged / "metrics.jsonl"
    rows = read_metrics(path)
    first, *others = path.read_text().splitlines(keepends=True)
    flipped = first.replace('"loss": 2.0', '"loss": 3.0')
    assert flipped != first
    path.write_text("".join([flipped, *others]))
    assert read_metrics(path) == rows[1:]
    old = json.loads(first)
    del old["timing"]["crc32"]
    path.write_text("".join([json.dumps(old) + "\n", *others]))
    assert read_metrics(path) == [old, *rows[1:]]


def test_empty_lines_cost_nothing(logged):
    path = logged / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\n \n"))
    assert places(logged) == ALL
    assert resume(logged, 8) == ""
    assert places(logged) == ALL


def test_steps_that_were_lost_are_named(logged):
    """The tail of the file, down to one network's row; then all of it."""
    path = logged / "metrics.jsonl"
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:5]))
    assert resume(logged, 8) == (
        "metrics.jsonl: lacks rows of 2 update(s) up to 8, the first 6: they were lost,"
        " or log_every was different then\n"
    )
    assert places(logged) == ALL[:5]
    path.unlink()
    assert "lacks rows of 4 update(s) up to 8, the first 2" in resume(logged, 8)
    with Monitor(logged, first_step=8, num_steps=9, shown=[], stream=(said := io.StringIO())):
        assert said.getvalue() == ""  # it is unknown how often there should be rows


def test_what_is_flushed_is_on_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    with Monitor(tmp_path, first_step=0, num_steps=9, shown=[], stream=io.StringIO()) as monitor:
        monitor.log(2, {"loss": np.ones(1)})
        synced.clear()
        monitor.flush()
        files = [tmp_path / "metrics.jsonl", *tmp_path.glob("events*")]
        assert {path.stat().st_ino for path in files} == set(synced)
        assert len(read_metrics(files[0])) == len(read_events(tmp_path)) == 1


def test_events_of_other_tools_stay_as_they_are(tmp_path):
    with SummaryWriter(str(tmp_path)) as other:
        for step in range(1, 20):
            other.add_scalar("theirs", step, step)
    (theirs,) = tmp_path.iterdir()
    before = theirs.read_bytes()
    log(tmp_path)
    log(tmp_path, steps=(6, 8), first_step=4)
    assert theirs.read_bytes() == before
    assert sorted({step for tag, step, _ in read_events(tmp_path) if tag != "theirs"}) == [*STEPS]


def test_a_restart_makes_tensorboard_forget_later_steps(logged, monkeypatch):
    """This works in the same second, and with a clock that was set back by a day."""
    whole = read_events(logged)
    log(logged, steps=(6, 8), first_step=4)
    assert read_events(logged) == whole
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    log(logged, steps=STEPS, first_step=0)
    assert read_events(logged) == whole
    assert len(list(logged.glob("events*"))) == 3


def damage(content, data):
    """Flip a bit, cut, zero, swap two parts, or put something strange into a file."""
    content = bytearray(content)
    place = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(1, 80))
    kind = data.draw(st.sampled_from(["flip", "cut", "zero", "swap", "fill"]))
    end = min(place + length, len(content))
    if kind == "flip":
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        end = place + 1
    elif kind == "cut":
        end = len(content)
        del content[place:]
    elif kind == "zero":
        content[place:end] = bytes(end - place)
    elif kind == "swap":
        end = min(place + 2 * length, len(content))
        content[place:end] = content[place + length : end] + content[place : place + length]
    else:
        content[place:place] = data.draw(st.binary(min_size=1, max_size=length))
        end = place
    return bytes(content), place, end


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sound")
    log(workdir)
    return workdir, (workdir / "metrics.jsonl").read_bytes()


@pytest.mark.slow  # the fast versions: the tests above, of one kind of damage each
@settings(derandomize=True, max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_costs_the_rows_that_it_hits(data, sound):
    workdir, rows = sound
    broken, first, last = damage(rows, data)
    (workdir / "metrics.jsonl").write_bytes(broken)
    hit = range(rows[:first].count(b"\n"), rows[:last].count(b"\n") + 1)
    unhurt = [json.loads(row) for k, row in enumerate(rows.splitlines()) if k not in hit]
    before = read_metrics(workdir / "metrics.jsonl")
    assert [row for row in before if row in unhurt] == unhurt
    assert resume(workdir, 8).count("\n") <= 2
    assert read_metrics(workdir / "metrics.jsonl") == before
