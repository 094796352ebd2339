"""Snapshots of a training: what they count, and that a resumed run keeps each of them once."""

import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
from sicjax.report import snapshots
from sicjax.run import Run, load_run
from sicjax.training.step import make_init


def make_run(config, maps):
    """Return a run with the given maps."""

    class KnownRun(Run):
        def map_walks(self, walks, box_m):
            assert walks[0].steps.shape == (snapshots.WALKS, snapshots.STEPS, 2)
            return RateMaps(maps, np.ones((50, 50)), box_m, np.ones(len(maps)), 0 * maps)

    return KnownRun(config=config, parameters=make_init(config)(jnp.uint32(0)).parameters, step=7)


def test_a_module_and_its_share_are_counted(tiny_config):
    phases = np.random.default_rng(0).random((12, 2))
    basis = hexagonal_basis(0.5, 10)
    maps = [lattice_map(basis, box_m=2.0, bins=50, phase=phase) for phase in phases]
    maps += [np.full((50, 50), 0.5)] * 4 + [np.zeros((50, 50))] * 3
    snapshot, picture = snapshots.take(make_run(tiny_config, np.stack(maps)))
    assert (snapshot.step, snapshot.modules) == (7, 1)
    assert snapshot.lattice_fraction == pytest.approx(12 / 16)  # silent units don't count
    assert picture.dtype == np.uint8
    assert picture.std() > 10


def test_silence_is_no_error(tiny_config):
    snapshot, picture = snapshots.take(make_run(tiny_config, np.zeros((8, 50, 50))))
    assert np.isnan(snapshot.lattice_fraction)
    assert snapshot.modules == 0
    assert picture.ndim == 3


def test_what_is_saved_is_loaded_in_order(tmp_path):
    maps = np.random.default_rng(0).random((3, 50, 50))
    maps[0, 0, 0] = np.nan
    for step in (20, 100, 3):
        snapshots.save(tmp_path, 1, snapshots.Snapshot(step, maps, 0.5, 2))
    found = snapshots.load(tmp_path, 1)
    assert [one.step for one in found] == [3, 20, 100]
    np.testing.assert_allclose(found[0].ratemaps, maps, atol=5e-4)  # half precision
    assert (found[0].lattice_fraction, found[0].modules) == (0.5, 2)
    assert snapshots.load(tmp_path, 0) == []
    snapshots.cut_after(tmp_path, 20)
    assert [one.step for one in snapshots.load(tmp_path, 1)] == [3, 20]


def test_a_resumed_run_keeps_every_snapshot_once(tiny_config, tmp_path, capsys):
    tiny_config.evaluation.snapshot_every = 2
    sicjax.train(tiny_config, tmp_path / "whole")
    assert "lattice" in capsys.readouterr().err
    tiny_config.num_steps = 4
    sicjax.train(tiny_config, tmp_path / "cut")
    # A kill after a snapshot and before the checkpoint that follows it leaves one too many.
    late = snapshots.load(tmp_path / "cut", 0)[-1]
    snapshots.save(tmp_path / "cut", 0, snapshots.Snapshot(6, 0 * late.ratemaps, 0.0, 0))
    tiny_config.num_steps = 6
    sicjax.train(tiny_config, tmp_path / "cut")
    whole, cut = (snapshots.load(tmp_path / name, 0) for name in ("whole", "cut"))
    assert [one.step for one in whole] == [one.step for one in cut] == [2, 4, 6]
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(one.ratemaps, other.ratemaps)
    assert load_run(tmp_path / "cut").step == 6
    events = b"".join(path.read_bytes() for path in (tmp_path / "whole").glob("events*"))
    assert events.count(b"network_000/maps") == 3


def test_a_snapshot_that_fails_costs_no_training(tiny_config, tmp_path, monkeypatch, capsys):
    def fail(run):
        raise ValueError("too odd a map")

    tiny_config.evaluation.snapshot_every = 2
    monkeypatch.setattr(snapshots, "take", fail)
    assert sicjax.train(tiny_config, tmp_path).step == 6
    said = capsys.readouterr().err
    assert "network 0: no snapshot at update 4: ValueError: too odd a map" in said


def test_stray_and_damaged_files_cost_no_more_than_a_frame(tmp_path):
    maps = np.random.default_rng(0).random((3, 50, 50))
    for step in (2, 4, 6):
        snapshots.save(tmp_path, 0, snapshots.Snapshot(step, maps, 0.5, 1))
    folder = tmp_path / "snapshots" / "network_000"
    (folder / ".DS_Store").write_bytes(b"\0\1")
    (folder / ".nfs0001").touch()
    torn = folder / "000000004.npz"
    torn.write_bytes(torn.read_bytes()[:200])
    (folder / "000000005.npz").touch()
    assert [one.step for one in snapshots.load(tmp_path, 0)] == [2, 6]
    snapshots.cut_after(tmp_path, 4)
    left = {path.name for path in folder.iterdir()}
    assert left == {".DS_Store", ".nfs0001", "000000002.npz", "000000004.npz"}
