"""The torus test on a module, on place cells and on noise."""

import jax
import numpy as np
import pytest

from sicjax.analysis import synthetic
from sicjax.analysis.torus import torus_test


def module(rng, count=40):
    basis = synthetic.triangle_basis(0.8 * np.array(synthetic.SHEARED), 10)
    return np.stack(
        [
            synthetic.lattice_map(basis, box_m=2.4, bins=60, phase=rng.random(2))
            for _ in range(count)
        ]
    )


@pytest.fixture(scope="module")
def torus():
    return torus_test(
        module(np.random.default_rng(0)), num_shuffles=3, key=jax.random.key(0), num_landmarks=150
    )


def test_a_module_is_a_torus(torus):
    assert torus.betti == (1, 2, 1)
    assert torus.is_torus
    assert torus.null_lifetimes.shape == (3, 3)


def test_circular_coordinates_run_along_the_lattice(torus):
    """Each is linear in position, modulo 1, as a plane wave of the lattice."""
    wave = np.exp(2j * np.pi * torus.circular_coordinates)
    points = torus.bins[:, ::-1]
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2), axis=-1).reshape(-1, 2)
    lattice_waves = np.exp(-2j * np.pi * points @ (steps @ torus.waves[:2]).T)
    agreement = np.abs(lattice_waves.T @ wave).max(axis=0) / len(points)
    assert (agreement > 0.9).all()


def test_the_rings_are_circles_along_the_waves(torus):
    radius = np.linalg.norm(torus.rings, axis=-1)
    # Least squares makes the mean 1; the fields' higher harmonics (exp(-2) and less) ripple it.
    np.testing.assert_allclose(radius.mean(axis=1), 1, atol=0.02)
    assert (radius.std(axis=1) < np.exp(-2)).all()
    turned = np.exp(2j * np.pi * torus.ring_phases) * (
        torus.rings[..., 0] - 1j * torus.rings[..., 1]
    )
    assert (np.abs(turned.mean(axis=1)) > 0.95).all()


def test_the_embedding_names_its_points(torus):
    assert torus.embedding.shape == (len(torus.embedding_points), 3)
    assert np.isfinite(torus.embedding).all()


def test_a_seed_and_its_key_give_the_same_null():
    maps = module(np.random.default_rng(0), 10)[:, :12, :12]
    settings = {"num_shuffles": 2, "num_landmarks": 20, "null_landmarks": 20}
    by_seed = torus_test(maps, seed=3, **settings)
    by_key = torus_test(maps, key=jax.random.key(3), **settings)
    np.testing.assert_array_equal(by_seed.null_lifetimes, by_key.null_lifetimes)
    other = torus_test(maps, seed=4, **settings)
    assert not np.array_equal(by_seed.null_lifetimes, other.null_lifetimes)


def test_place_cells_are_no_torus():
    rng = np.random.default_rng(1)
    maps = np.stack(
        [
            synthetic.place_map(rng.uniform(-1.2, 1.2, 2), 0.25, box_m=2.4, bins=60)
            for _ in range(40)
        ]
    )
    result = torus_test(maps, num_shuffles=3, key=jax.random.key(0), num_landmarks=100)
    assert result.betti != (1, 2, 1)
    assert not result.is_torus


@pytest.mark.parametrize(
    ("period", "impure"),
    [
        (0.8, True),
        pytest.param(2.2, False, marks=pytest.mark.slow),
        pytest.param(0.8, False, marks=pytest.mark.slow),
        pytest.param(2.2, True, marks=pytest.mark.slow),
    ],
)
def test_sharp_fields_are_a_torus_at_any_scale(period, impure):
    """Fields are a tenth of the period wide; half of the cells have weaker ones in between."""
    rng = np.random.default_rng(3)
    basis = synthetic.hexagonal_basis(period, 10)
    thirds, halves = np.array([[1, 1], [2, 2]]) / 3, np.array([[1, 0], [0, 1], [1, 1]]) / 2

    def cell(number):
        phase = rng.random(2)
        strengths = [1.0] + ([*rng.uniform(0.1, 0.8, 3)] if impure and number % 2 else [])
        cosets = [np.zeros(2), *(halves if number % 4 == 1 else thirds)]
        fields = [
            strength * synthetic.lattice_map(
                basis, field_width=0.1, box_m=2.5 * period, bins=round(2.5 * period / 0.04),
                phase=phase + coset,
            )
            for strength, coset in zip(strengths, cosets, strict=False)
        ]  # fmt: skip
        return np.max(fields, axis=0)

    maps = np.stack([cell(number) for number in range(30)])
    result = torus_test(maps, num_shuffles=5, key=jax.random.key(0), num_landmarks=150)
    assert result.betti == (1, 2, 1)
    assert result.num_components > 6
    assert result.smoothing_bins == pytest.approx(max(1.5, 0.07 * period / 0.04), rel=0.02)


@pytest.mark.parametrize("orientations", ["two", "of each its own"])
def test_lattices_that_share_no_period_are_no_torus(orientations):
    rng = np.random.default_rng(4)
    two = [synthetic.hexagonal_basis(1.2, 10), synthetic.hexagonal_basis(1.2 / 1.4, 27)]
    bases = [
        two[number % 2]
        if orientations == "two"
        else synthetic.hexagonal_basis(rng.uniform(0.7, 1.3), rng.uniform(0, 60))
        for number in range(24)
    ]
    maps = np.stack(
        [synthetic.lattice_map(b, box_m=4.0, bins=100, phase=rng.random(2)) for b in bases]
    )
    result = torus_test(maps, num_shuffles=5, key=jax.random.key(0), num_landmarks=150)
    assert not result.is_torus


@pytest.mark.parametrize(("finer", "turned", "one"), [(np.sqrt(3), 40, True), (1.4, 27, False)])
def test_modules_together_are_one_torus_where_their_lattices_nest(finer, turned, one):
    """With all components, two loops and a cavity stand out, or nothing does."""
    rng = np.random.default_rng(1)
    bases = synthetic.hexagonal_basis(1.2, 10), synthetic.hexagonal_basis(1.2 / finer, turned)
    maps = [
        synthetic.lattice_map(basis, box_m=3.0, bins=60, phase=rng.random(2))
        for basis in bases
        for _ in range(15)
    ]
    together = torus_test(
        np.stack(maps), num_shuffles=0, key=jax.random.key(0), num_landmarks=150, variance=1
    )
    assert together.num_components == 30
    loops, hollows = (together.lifetimes[k] for k in (1, 2))
    assert (loops[1] > 1.4 * loops[2]) == one
    assert (hollows[0] > 1.4 * hollows[1]) == one


def test_without_a_null_there_is_no_verdict():
    result = torus_test(
        module(np.random.default_rng(2), 12),
        num_shuffles=0,
        key=jax.random.key(0),
        num_landmarks=60,
    )
    assert result.betti is None
    assert result.is_torus is None


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((20, 30, 30)), "has 0 units that vary"),
        (np.random.default_rng(0).random((9, 30, 30)), "has 9 units that vary"),
        (np.full((20, 30, 30), np.nan), "has 0 units that vary"),
        (np.ones((20, 30)), "must be"),
    ],
)
def test_bad_input_is_named(maps, message):
    with pytest.raises(ValueError, match=message):
        torus_test(maps, num_shuffles=1, key=jax.random.key(0))


def test_seven_landmarks_are_enough_to_run():
    maps = np.random.default_rng(0).random((12, 30, 30))
    result = torus_test(maps, num_shuffles=0, key=jax.random.key(0), num_landmarks=7)
    assert result.circular_coordinates.shape == (900, 2)
