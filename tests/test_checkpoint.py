"""Checkpoints: read on other devices, checked when read, explained when they can't be."""

import collections
import json
import logging
import os
import resource
import shutil
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore

from sicjax.devices.layout import make_layout
from sicjax.errors import CheckpointError
from sicjax.training.checkpoint import (
    Checkpoints,
    _wait_unless_failed,
    restore,
    restore_rows,
)
from sicjax.training.checkpoint_files import (
    end_removals,
    latest_intact,
    reached,
    set_aside,
    steps,
)
from sicjax.training.provenance import versions


def population(number=3):
    """A state of three networks, the first axis odd and the last even."""
    weights = np.random.default_rng(0).random((number, 5, 256), dtype=np.float32)
    return {"step": np.arange(number, dtype=np.int32), "weights": weights}


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def plus(number):
    return jax.tree.map(lambda leaf: leaf + leaf.dtype.type(number), population())


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def write(folder, at=(2, 4), keep=1, keep_every=0, rule=None):
    """Save updates; the stored config says `rule`, or the true rule."""
    layout = make_layout(3)
    rule = dict(
        zip(("keep_checkpoints", "keep_checkpoints_every"), rule or (keep, keep_every), strict=True)
    )
    about = {"config": {"seed": 7, **rule}}
    with Checkpoints(folder, about=about, keep=keep, keep_every=keep_every) as checkpoints:
        for step in at:
            rows = layout.rows(
                jax.tree.map(lambda leaf, step=step: leaf + leaf.dtype.type(step), population())
            )
            checkpoints.save(step, layout.population(rows))


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of updates 2 and 4."""
    write(tmp_path / "checkpoints", keep=2)
    return tmp_path / "checkpoints"


def largest_file(place):
    return max((p for p in place.rglob("*") if p.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("devices", [1, 2])
def test_restores_onto_any_number_of_devices(folder, devices):
    wanted = plus(4)
    layout = make_layout(3, devices=devices)
    like = layout.shapes(population())
    found = restore(folder, 4, like)
    assert_trees_equal(found, wanted)
    assert found["weights"].sharding.is_equivalent_to(like["weights"].sharding, 3)
    assert len(found["weights"].addressable_shards) == devices
    assert_trees_equal(layout.to_host(layout.rows(found)), wanted)
    assert_trees_equal(restore(folder, 4, shapes(population())), wanted)


def test_a_checkpoint_says_where_it_comes_from(folder):
    about = json.loads((folder / "4" / "about" / "metadata").read_text())
    assert about["config"]["seed"] == 7
    assert about["versions"] == versions()
    assert {"sicjax", "jax", "jaxlib", "orbax-checkpoint", "python"} <= set(about["versions"])
    digests = json.loads((folder / "4" / "sha256.json").read_text())
    files = {str(p.relative_to(folder / "4")) for p in (folder / "4").glob("*/**/*") if p.is_file()}
    assert set(digests) == files


def test_the_last_ones_and_every_nth_are_kept(tmp_path):
    write(tmp_path, at=range(1, 10), keep=2, keep_every=3)
    assert steps(tmp_path) == [9, 8, 6, 3]
    assert latest_intact(tmp_path) == (9, {})


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, lambda path: path.unlink()])
@pytest.mark.parametrize("which", ["arrays", "digests"])
def test_damage_is_seen_and_the_one_before_is_taken(folder, damage, which):
    place = folder / "4"
    damage(largest_file(place / "state") if which == "arrays" else place / "sha256.json")
    step, damaged = latest_intact(folder)
    assert step == 2
    assert list(damaged) == [4]
    assert "\n" not in damaged[4]
    assert_trees_equal(
        restore(folder, 2, shapes(population())),
        jax.tree.map(lambda leaf: leaf + leaf.dtype.type(2), population()),
    )
    assert set_aside(folder, 4) == folder.parent / "damaged" / "4"
    assert steps(folder) == [2]
    write(folder, at=[4], keep=2)
    assert latest_intact(folder) == (4, {})
    assert set_aside(folder, 4) == folder.parent / "damaged" / "4.1"


def test_what_was_set_aside_before_stays(folder):
    """This holds even if somebody has removed one of several."""
    (folder.parent / "damaged" / "4.1").mkdir(parents=True)
    (folder.parent / "damaged" / "40").mkdir()
    assert set_aside(folder, 4).name == "4"
    write(folder, at=[4], keep=2)
    assert set_aside(folder, 4).name == "4.2"


def test_every_flipped_byte_of_every_file_is_seen(folder):
    """Orbax restores flipped bits silently; a digest shows them."""
    rng = np.random.default_rng(1)
    for path in [path for path in (folder / "4").glob("*/**/*") if path.is_file()]:
        whole = path.read_bytes()
        for place in rng.integers(len(whole), size=min(len(whole), 2)):
            broken = bytearray(whole)
            broken[place] ^= 1 << rng.integers(8)
            path.write_bytes(broken)
            assert latest_intact(folder)[0] == 2
        path.write_bytes(whole)
    assert latest_intact(folder) == (4, {})


@pytest.mark.parametrize("text", ["{}", "[]", "null", "3", "[" * 10_000, '{"\\u0000": ""}'])
def test_digests_that_say_nothing_are_damage(folder, text):
    (folder / "4" / "sha256.json").write_text(text)
    step, damaged = latest_intact(folder)
    assert (step, list(damaged)) == (2, [4])
    assert "\n" not in damaged[4]


@pytest.mark.parametrize("name", ["../../precious", "/dev/zero", "state/pipe", "state/zero"])
def test_digests_of_files_elsewhere_or_of_devices_are_damage(folder, name):
    place = folder / "4"
    (folder.parent / "precious").write_text("")
    os.mkfifo(place / "state" / "pipe")
    (place / "state" / "zero").symlink_to("/dev/zero")
    if name.startswith("state"):
        (place / "state" / {"pipe": "zero", "zero": "pipe"}[Path(name).name]).unlink()
    else:
        (place / "state" / "zero").unlink()
        (place / "state" / "pipe").unlink()
        digests = json.loads((place / "sha256.json").read_text())
        (place / "sha256.json").write_text(json.dumps({name: "0", **digests}))
    step, damaged = latest_intact(folder)
    assert (step, list(damaged)) == (2, [4])


def test_a_chunk_larger_than_its_array_is_not_read(tmp_path):
    """TensorStore would unpack it completely."""
    store = {"driver": "ocdbt", "base": f"file://{tmp_path}/1/state/"}
    metadata = {"shape": [3], "chunks": [2**40], "dtype": "<f4"}
    tensorstore.open(
        {"driver": "zarr", "kvstore": {**store, "path": "w/"}, "metadata": metadata}, create=True
    ).result()
    like = {"w": jax.ShapeDtypeStruct((3,), np.float32)}
    for read in (restore, partial(restore_rows, rows=0)):
        with pytest.raises(CheckpointError, match="larger than the array"):
            read(tmp_path, 1, like)


def test_what_is_no_checkpoint_is_not_believed(folder):
    """An empty folder and an incomplete one are damaged; folders with other names are ignored."""
    (folder / "99999").mkdir()
    (folder / "500" / "state").mkdir(parents=True)
    for name in ("007", "٣", "notes"):
        (folder / name).mkdir()
    for name in ("12", ".DS_Store", ".nfs0001"):
        (folder / name).write_text("")
    assert steps(folder) == [99999, 500, 4, 2]
    assert reached(folder) == 4
    step, damaged = latest_intact(folder)
    assert (step, list(damaged)) == (4, [99999, 500])
    for bad in damaged:
        set_aside(folder, bad)
    write(folder, at=[6], keep=2)
    assert latest_intact(folder) == (6, {})
    assert steps(folder) == [6, 4]


def test_half_a_checkpoint_is_not_a_step_reached(folder):
    largest_file(folder / "4" / "state").unlink()
    assert reached(folder) == 2
    assert reached(folder / "2") == 0


def test_a_process_whose_save_failed_does_not_wait_for_the_others(monkeypatch):
    """They wait for its part. Orbax asks for a barrier while the error is on its way."""
    waited = []
    monkeypatch.setattr(
        ocp.multihost, "get_barrier_sync_fn", lambda: lambda **given: waited.append(given)
    )
    given = {"key": "saved", "timeout_ms": 10}

    def save():
        try:
            raise OSError("quota")
        finally:
            _wait_unless_failed(**given)

    with pytest.raises(OSError, match="quota"):
        save()
    assert waited == []
    _wait_unless_failed(**given)
    assert waited == [given]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum": np.zeros(3, np.float32)}, "it has no ['momentum'], float32[3]"),
        ({"step": np.zeros(4, np.int32)}, "['step'] is int32[3] there, int32[4] here"),
    ],
)
def test_another_structure_is_explained(folder, change, message):
    with pytest.raises(CheckpointError) as error:
        restore(folder, 4, shapes({**population(), **change}))
    assert "update 4, written by sicjax " in str(error.value)
    assert message in str(error.value)


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


def test_one_network_is_read_alone(tmp_path):
    """41 kB of 5 MB are the network; Orbax's index and its read-ahead are the rest."""
    layout = make_layout(64)
    weights = [population(64)["weights"] + np.float32(k) for k in range(8)]
    tree = {"weights": weights, "momenta": weights}
    with Checkpoints(tmp_path, about={}) as checkpoints:
        checkpoints.save(2, layout.population(layout.rows(tree)))
    before = bytes_read()
    found = restore_rows(tmp_path, 2, {"weights": shapes(weights)}, 37)
    assert bytes_read() - before < sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 10
    assert_trees_equal(found, {"weights": [leaf[37] for leaf in weights]})


def test_rows_of_a_part_are_those_of_the_whole(folder):
    wanted = plus(4)
    some = {"weights": shapes(wanted)["weights"]}
    for rows in (0, 2, slice(1, 3), slice(None)):
        found = restore_rows(folder, 4, shapes(wanted), rows)
        assert_trees_equal(found, jax.tree.map(lambda leaf, rows=rows: leaf[rows], wanted))
        found = restore_rows(folder, 4, some, rows)
        assert_trees_equal(found, {"weights": wanted["weights"][rows]})


def test_every_kind_of_tree_is_read_by_rows(tmp_path):
    """Orbax names arrays by their places; we ask for them by the same names."""
    pair = collections.namedtuple("pair", ["first", "second"])
    leaf = np.arange(3, dtype=np.float32)
    tree = {"a.b/c": [leaf, (leaf + 1,)], "d": pair(leaf + 2, {"e": leaf + 3}), "f": (), "g": None}
    with Checkpoints(tmp_path, about={}) as checkpoints:
        checkpoints.save(1, jax.tree.map(jax.device_put, tree))
    assert_trees_equal(
        restore_rows(tmp_path, 1, shapes(tree), 1), jax.tree.map(lambda leaf: leaf[1], tree)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum": np.zeros(3, np.float32)}, "it has no ['momentum'], float32[3]"),
        ({"step": np.zeros(4, np.int32)}, "['step'] is int32[3] there, int32[4] here"),
        ({"step": np.zeros(3, np.float32)}, "['step'] is int32[3] there, float32[3] here"),
    ],
)
def test_rows_of_another_structure_are_explained(folder, change, message):
    with pytest.raises(CheckpointError) as error:
        restore_rows(folder, 4, shapes({**population(), **change}), 0)
    assert "update 4, written by sicjax " in str(error.value)
    assert message in str(error.value)


def test_rows_that_cannot_be_read_are_one_line(folder):
    shutil.rmtree(folder / "2" / "state")
    with pytest.raises(CheckpointError, match="all of its arrays are missing"):
        restore_rows(folder, 2, shapes(population()), 0)
    for path in (folder / "4" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as error:
        restore_rows(folder, 4, shapes(population()), 0)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("x64")
def test_single_precision_under_double(folder):
    """Rows have the saved precision; a training is refused, because it would continue in double."""
    like = {
        "step": jax.ShapeDtypeStruct((3,), np.int64),
        "weights": jax.ShapeDtypeStruct((3, 5, 256), np.float64),
    }
    found = restore_rows(folder, 4, like, 1)
    assert_trees_equal(found, jax.tree.map(lambda leaf: leaf[1], plus(4)))
    assert found["weights"].dtype == np.float32
    with pytest.raises(CheckpointError, match="jax_enable_x64"):
        restore(folder, 4, like)


@pytest.mark.parametrize("item", ["state", None])
def test_checkpoints_written_before_are_read(tmp_path, item):
    """Old ones have one chunk for all networks; the oldest, an unnamed item and no digests."""
    with ocp.CheckpointManager(tmp_path) as manager:
        save = ocp.args.StandardSave(population())
        manager.save(3, args=ocp.args.Composite(state=save) if item else save)
    if not item:
        assert latest_intact(tmp_path) == (3, {})
    assert_trees_equal(restore(tmp_path, 3, shapes(population())), population())
    found = restore_rows(tmp_path, 3, {"weights": shapes(population())["weights"]}, 2)
    assert_trees_equal(found, {"weights": population()["weights"][2]})


def failing_write(folder, largest_file_bytes):
    """Return the message of the error. A limit on the size of files replaces a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, hard))
    with pytest.raises(CheckpointError) as error:
        write(folder, at=[4])
    return str(error.value)


def process_state():
    """Return the state of the process that a library call must not change."""
    levels = [logging.getLogger(name).level for name in ("absl", "asyncio")]
    return [*levels, sys.unraisablehook, list(warnings.filters)]


def test_late_writes_of_a_failed_save_print_nothing(tmp_path, monkeypatch):
    """Orbax closes TensorStore's event loop, so each late write would print a traceback."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    late, other = RuntimeError("Event loop is closed"), RuntimeError("something else")
    with Checkpoints(tmp_path, about={}):
        for error in (late, other):
            sys.unraisablehook(SimpleNamespace(exc_value=error))
    assert [one.exc_value for one in told] == [other]


def test_the_process_is_as_before_also_after_an_error(folder):
    before = process_state()
    with pytest.raises(KeyError), Checkpoints(folder, about={}):
        raise KeyError
    assert process_state() == before
    place = folder / "4" / "state"
    for path in [path for path in place.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:-1])
    for read in (restore, partial(restore_rows, rows=0)):
        with pytest.raises(CheckpointError):
            read(folder, 4, shapes(population()))
        assert process_state() == before


def test_removals_that_were_cut_short_are_ended(tmp_path):
    """Removals may be half done or not begun; the latest stay, and those kept for good."""
    write(tmp_path, at=[2, 3, 4, 6, 8], keep=5, rule=(2, 4))
    for step in (2, 4, 6):
        (tmp_path / f"{step}" / "sha256.json").unlink()
    end_removals(tmp_path)
    assert steps(tmp_path) == [8, 6, 4]
    shutil.rmtree(tmp_path / "4" / "about")  # half removed: now the latest one's rule decides
    end_removals(tmp_path)
    assert steps(tmp_path) == [8, 6, 4]


def test_what_one_rule_keeps_for_good_a_later_one_leaves(tmp_path):
    write(tmp_path, at=[2, 3, 4, 6], keep=1, keep_every=2)
    assert steps(tmp_path) == [6, 4, 2]
    write(tmp_path, at=[7, 9], keep=1, keep_every=0)
    end_removals(tmp_path)
    assert steps(tmp_path) == [9, 6, 4, 2]


def test_a_disk_that_is_full(tmp_path):
    """The checkpoint before stays intact.

    This runs in another process, because Orbax's unfinished futures may complain after its event
    loop is closed, and pytest would count that as a failure. A network's weights take 4,400 bytes;
    whether
    they share a file depends on timing."""
    write(tmp_path, at=[2])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        message = process.submit(failing_write, tmp_path, 2000).result()
    assert message.startswith("the checkpoint of update 4 failed")
    assert "\n" not in message
    assert latest_intact(tmp_path) == (2, {})
    write(tmp_path, at=[4])
    assert latest_intact(tmp_path) == (4, {})
    assert not list(tmp_path.glob("*tmp*"))
