"""Batches and walks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sicjax.network.trajectories import (
    load_recorded_walk,
    recorded_walk,
    sample_batch,
    smooth_walks,
)

pytestmark = pytest.mark.usefixtures("strict_types")


def test_batch_is_one_sequence_in_many_orders():
    batch = sample_batch(jax.random.key(0), num_trajectories=7, trajectory_length=11)
    assert batch.velocities.shape == (11, 2)
    assert (jnp.abs(batch.velocities) <= 0.15).all()
    np.testing.assert_array_equal(jnp.sort(batch.order, axis=1), np.tile(np.arange(11), (7, 1)))
    np.testing.assert_array_equal(batch.steps, batch.velocities[batch.order])
    # Sums of eleven float32 steps in different orders: eleven roundings of 6e-8, twice, below 1 m.
    np.testing.assert_allclose(batch.positions, jnp.cumsum(batch.steps, axis=1), atol=2e-6)
    np.testing.assert_allclose(batch.positions[:, -1] - batch.positions[:1, -1], 0, atol=2e-6)
    assert len({tuple(row) for row in batch.order.tolist()}) == 7


def test_batch_without_permutations():
    batch = sample_batch(jax.random.key(0), num_trajectories=3, permute=False)
    np.testing.assert_array_equal(batch.order, np.tile(np.arange(60), (3, 1)))


@pytest.mark.parametrize("size", [{"num_trajectories": 0}, {"trajectory_length": 0}])
def test_an_empty_batch(size):
    batch = sample_batch(jax.random.key(0), **{"num_trajectories": 3, **size})
    assert batch.steps.size == batch.positions.size == batch.order.size == 0


def test_velocities_and_orders_are_uniform():
    keys = jax.random.split(jax.random.key(0), 500)
    batch = jax.vmap(lambda key: sample_batch(key, num_trajectories=4, trajectory_length=5))(keys)
    values = np.asarray(batch.velocities).ravel()  # 5,000 draws; mean ± 4 standard errors
    assert abs(values.mean()) < 4 * 0.15 / np.sqrt(3 * values.size)
    assert np.var(values) == pytest.approx(0.15**2 / 3, rel=0.05)
    first = np.bincount(np.asarray(batch.order)[..., 0].ravel(), minlength=5)  # 2,000 draws
    assert np.abs(first - 400).max() < 4 * np.sqrt(2000 * 0.2 * 0.8)


def test_smooth_walks_stay_inside_and_are_smooth():
    walk = smooth_walks(jax.random.key(0), num_walks=20, num_steps=3000, box_m=2.0)
    assert walk.steps.shape == (20, 3000, 2)
    assert (jnp.abs(walk.positions) <= 1 + 1e-5).all()
    assert (jnp.abs(walk.steps) <= 0.15 + 1e-5).all()
    # Float32 sums of 3,000 steps.
    np.testing.assert_allclose(jnp.cumsum(walk.steps, axis=1), walk.positions, atol=1e-3)
    steps = np.asarray(walk.steps)
    correlation = np.corrcoef(steps[:, 1:, 0].ravel(), steps[:, :-1, 0].ravel())[0, 1]
    assert correlation > 0.7  # training steps are independent
    quarters = np.histogram2d(*np.asarray(walk.positions).reshape(-1, 2).T, bins=4)[0]
    assert quarters.min() > 0.7 * quarters.mean()  # reflection keeps the density uniform


@pytest.mark.parametrize(("num_walks", "num_steps"), [(3, 40), (700, 300)])
def test_smooth_walks_take_the_numbers_that_jax_draws_for_their_shape(num_walks, num_steps):
    """More numbers are drawn at once, for walks of any length; the first ones are the same."""
    first_key, noise_key = jax.random.split(jax.random.key(4))
    keep = np.exp(-0.1)
    velocity = 0.01 * np.sqrt(2 / np.pi) * np.asarray(jax.random.normal(first_key, (num_walks, 2)))
    kicks = np.asarray(jax.random.normal(noise_key, (num_steps, num_walks, 2)))
    place = np.zeros((num_walks, 2))
    for kick in kicks:
        velocity = keep * velocity + 0.01 * np.sqrt(2 / np.pi * (1 - keep**2)) * kick
        place += velocity  # of walks that meet neither wall nor limit
    walk = smooth_walks(
        jax.random.key(4), num_walks=num_walks, num_steps=num_steps, box_m=100.0, max_velocity=1.0,
        mean_speed=0.01,
    )  # fmt: skip
    # Each step rounds positions of up to 100 m (the box's half and width are added) at 4e-6 m, two
    # or three times; 300 steps random in sign give 1e-4 m, and the worst of 1,400 some times that.
    np.testing.assert_allclose(walk.positions[:, -1], place, atol=1e-3)


def test_recorded_walk_starts_at_the_origin():
    path = np.array([[0.2, 0.3], [0.3, 0.3], [0.3, 0.5], [0.1, 0.5]])
    walk = recorded_walk(path)
    # Some roundings of 3e-8, of numbers below 0.5.
    np.testing.assert_allclose(walk.positions, path[1:] - path[0], atol=1e-6)
    np.testing.assert_allclose(jnp.cumsum(walk.steps, 0), walk.positions, atol=1e-6)
    np.testing.assert_allclose(recorded_walk(path, every=3).positions, [[-0.1, 0.2]], atol=1e-6)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (np.zeros((5, 3)), r"\(5, 3\)"),
        (np.zeros(5), "samples, 2"),
        (np.zeros((1, 2)), "1 samples"),
        (np.array([[0, 0], [np.nan, 1], [1, 1]]), "sample 1"),
        (np.array([["a", "b"], ["c", "d"]]), "numbers"),
    ],
)
def test_recorded_walk_refuses(path, message):
    with pytest.raises(ValueError, match=message):
        recorded_walk(path)


def test_load_recorded_walk(tmp_path):
    path = np.random.default_rng(0).random((30, 2))
    np.save(tmp_path / "path.npy", path)
    np.savez(tmp_path / "path.npz", positions=path)
    np.savez(tmp_path / "other.npz", speed=path)
    for name in ("path.npy", "path.npz"):
        assert load_recorded_walk(str(tmp_path / name)).steps.shape == (29, 2)
    assert load_recorded_walk("") is None
    with pytest.raises(ValueError, match="speed"):
        load_recorded_walk(str(tmp_path / "other.npz"))
    with pytest.raises(FileNotFoundError):
        load_recorded_walk(str(tmp_path / "none.npz"))


def test_rat_path():
    pytest.importorskip("ratinabox", reason="the rat's path ships with ratinabox")
    walk = load_recorded_walk("sargolini", every=5)
    assert walk.steps.shape == (5959, 2)
    assert (np.ptp(np.asarray(walk.positions), axis=0) < 1).all()
    assert (jnp.abs(walk.steps) < 0.15).all()
