"""Checkpoints: read on other devices, checked when read, explained when they can't be."""

import json
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from sicjax.checkpoint import (
    CheckpointError,
    Checkpoints,
    latest_intact,
    restore,
    set_aside,
    steps,
    versions,
)
from sicjax.parallel import make_layout


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


def write(folder, at=(2, 4), **options):
    layout = make_layout(3)
    with Checkpoints(folder, about={"config": {"seed": 7}}, **options) as checkpoints:
        for step in at:
            rows = layout.rows(
                jax.tree.map(lambda leaf, step=step: leaf + leaf.dtype.type(step), population())
            )
            checkpoints.save(step, layout.population(rows))


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 2 and 4."""
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
    assert about["config"] == {"seed": 7}
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


def test_every_flipped_byte_of_every_file_is_seen(folder):
    """Orbax restores flipped bits silently; a digest doesn't."""
    rng = np.random.default_rng(1)
    for path in [path for path in (folder / "4").glob("*/**/*") if path.is_file()]:
        whole = path.read_bytes()
        for place in rng.integers(len(whole), size=min(len(whole), 8)):
            broken = bytearray(whole)
            broken[place] ^= 1 << rng.integers(8)
            path.write_bytes(broken)
            assert latest_intact(folder)[0] == 2
        path.write_bytes(whole)
    assert latest_intact(folder) == (4, {})


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
    assert "step 4, written by sicjax " in str(error.value)
    assert message in str(error.value)


def test_a_checkpoint_from_before_digests_loads(tmp_path):
    """As sicjax 0.1.0 wrote them at first: one item, no digests."""
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(3, args=ocp.args.StandardSave(population()))
    assert latest_intact(tmp_path) == (3, {})
    assert_trees_equal(restore(tmp_path, 3, shapes(population())), population())


def failing_write(folder, largest_file_bytes):
    """The message of the error. A limit on the size of files stands for a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, hard))
    with pytest.raises(CheckpointError) as error:
        write(folder, at=[4])
    return str(error.value)


def test_a_disk_that_is_full(tmp_path):
    """The checkpoint before stays good. In a process of its own: Orbax's unfinished futures
    may complain after its event loop is closed, which pytest would take for a failure. A
    network's weights take 4,400 bytes; whether they share a file is a matter of timing."""
    write(tmp_path, at=[2])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        message = process.submit(failing_write, tmp_path, 2000).result()
    assert message.startswith("the checkpoint of step 4 failed")
    assert "\n" not in message
    assert latest_intact(tmp_path) == (2, {})
    write(tmp_path, at=[4])
    assert latest_intact(tmp_path) == (4, {})
    assert not list(tmp_path.glob("*tmp*"))
