"""Codes that repeat in all directions, in one direction or never are distinguished."""

import numpy as np
import pytest

from sicjax.analysis.ambiguity import code_range, map_distances
from sicjax.analysis.lattice import reduce_basis, three_axes
from sicjax.analysis.ratemaps import bin_positions
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
from sicjax.analysis.waves import wave_vectors

PERIOD_M = 0.8
BASIS = hexagonal_basis(PERIOD_M, 12)


def code(positions, waves):
    turns = 2 * np.pi * positions @ waves.T
    return np.concatenate([np.cos(turns), np.sin(turns)], axis=-1) / np.sqrt(len(waves))


@pytest.fixture(scope="module")
def hexagonal():
    """Waves [3, 2] of the lattice; the third is the second minus the first."""
    first, second = wave_vectors(three_axes(reduce_basis(BASIS[None])))[0, :2]
    return np.stack([first, second, second - np.sign(first @ second) * first])


def ratemaps(waves, bins=50):
    return np.moveaxis(code(bin_positions(2.0, bins), waves), -1, 0)


def test_distances_equal_the_slow_reference():
    rng = np.random.default_rng(0)
    states, positions = rng.random((150, 4)), rng.uniform(-0.1, 0.1, (150, 2))
    found = map_distances(states, positions, reach_m=0.08, bin_m=0.04)
    assert found.distance.shape == (5, 5)
    assert found.reach_m == 0.08
    for y in range(-2, 3):
        for x in range(-2, 3):
            apart = np.rint((positions[None] - positions[:, None]) / 0.04)
            pairs = (apart == (x, y)).all(axis=-1) & ~np.eye(150, dtype=bool)
            i, j = np.nonzero(pairs)
            expected = np.linalg.norm(states[i] - states[j], axis=1).mean()
            assert len(i) >= 40
            # States are compared in single precision.
            assert found.distance[y + 2, x + 2] == pytest.approx(expected, rel=1e-5)


def of_ratemaps(maps, box_m, reach_m=4 / 3):
    """The distances between the states of all visited bins."""
    visited, bins = np.isfinite(maps).all(axis=0), maps.shape[1]
    places = bin_positions(box_m, bins)[visited]
    return map_distances(maps[:, visited].T, places, reach_m=reach_m, bin_m=box_m / bins)


def test_one_module_repeats_itself_at_its_lattice(hexagonal):
    found = of_ratemaps(ratemaps(hexagonal), 2.0)
    near = found.dips_m[:3]  # one of each opposite pair of the six neighbours
    fractions = near @ np.linalg.inv(BASIS)
    np.testing.assert_allclose(fractions, np.round(fractions), atol=0.03)  # a bin is 0.05
    np.testing.assert_allclose(np.linalg.norm(near, axis=1), PERIOD_M, atol=0.01)
    assert found.depths[:3].min() > 0.9  # bins don't fall on the lattice: within 2 cm of it
    assert found.floor == 0
    assert found.plateau == pytest.approx(np.sqrt(2), rel=0.1)
    # |g - g'|^2 = 2 - 2 mean cos(2 pi k.d): half of the plateau, squared 1/2, at mean cos = 3/4.
    radius = np.linspace(0, 0.4, 400)
    heading = BASIS[0] / PERIOD_M
    alike = np.cos(2 * np.pi * radius[:, None] * (hexagonal @ heading)).mean(axis=-1)
    trough = radius[np.argmax(2 - 2 * alike > (found.plateau / 2) ** 2)]
    assert found.trough_m == pytest.approx(
        trough, abs=0.045
    )  # the next whole bin, in all directions
    assert found.range_m == pytest.approx(PERIOD_M - trough, abs=0.03)


def test_a_code_without_repetition_has_no_limit():
    waves = np.random.default_rng(1).normal(0, 1.0, (40, 2))
    found = of_ratemaps(ratemaps(waves), 2.0)
    assert found.range_m == np.inf
    assert (found.depths < 0.5).all()


def test_a_band_never_tells_places_along_it_apart():
    found = of_ratemaps(ratemaps(np.array([[1.3, 0.0]])), 2.0)
    assert np.isnan(found.range_m)
    assert np.isnan(found.trough_m)


def test_noise_is_the_floor_and_hides_a_shallow_dip(hexagonal):
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1, 1, (2500, 2))
    clean = code(positions, hexagonal)
    noisy = clean + rng.normal(0, 0.2, clean.shape)
    found = map_distances(noisy, positions, reach_m=1.2)
    # |noise - noise'| of 6 units, 0.2 sqrt(2) sqrt(6); within a bin places differ by 1.5 cm.
    assert found.floor == pytest.approx(0.2 * np.sqrt(12), rel=0.1)
    assert found.range_m == pytest.approx(PERIOD_M, abs=0.25)
    assert found.depths[:3].min() > 0.8  # of the way down to the floor, not to 0


def test_holes_and_rare_displacements_are_left_out(hexagonal):
    maps = ratemaps(hexagonal)
    maps[:, :, :25] = np.nan
    found = of_ratemaps(maps, 2.0, reach_m=1.2)
    assert np.isnan(found.distance[:, [0, -1]]).all()  # no two visited places 1.2 m apart along x
    assert np.isfinite(found.distance[30, 20:41]).all()


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[S, N\]"):
        map_distances(np.zeros((3, 2)), np.zeros((4, 2)), reach_m=1)


def modules_of(bases, box_m=4.0, bins=100, cells=12):
    """Maps of modules, their members and axes: phases on a lattice of their own."""
    rng = np.random.default_rng(0)
    maps = [
        lattice_map(basis, box_m=box_m, bins=bins, phase=rng.random(2))
        for basis in bases for _ in range(cells)
    ]  # fmt: skip
    members = np.split(np.arange(len(maps)), len(bases))
    return np.stack(maps), members, three_axes(reduce_basis(np.stack(bases)))


def test_nested_modules_reach_as_far_as_the_coarsest():
    """Sublattices of index 1 and 3 reach the coarsest period; independent ones reach farther."""
    maps, members, axes = modules_of([hexagonal_basis(1.2, 5), hexagonal_basis(1.2 / 3**0.5, 35)])
    found = code_range(maps, 4.0, members, axes)
    assert found.range_m == pytest.approx(1.2, rel=0.05)
    assert found.independent_m > 1.5 * found.range_m
    np.testing.assert_allclose(found.periods_m, [1.2, 1.2 / 3**0.5])
    assert 0.1 < found.blur_m < 0.7


def test_modules_that_are_independent_reach_as_far_as_independent_ones():
    maps, members, axes = modules_of([hexagonal_basis(1.2, 5), hexagonal_basis(0.77, 17.3)])
    found = code_range(maps, 4.0, members, axes)
    assert found.range_m == pytest.approx(found.independent_m, rel=0.1)
    assert found.range_m > 1.8


def test_one_module_reaches_its_period():
    maps, members, axes = modules_of([hexagonal_basis(0.9, 5)])
    found = code_range(maps, 4.0, members, axes)
    assert found.range_m == pytest.approx(0.9, rel=0.05)
    assert found.independent_m == pytest.approx(0.9, rel=0.05)


def test_unvisited_bins_are_left_out_of_the_range():
    maps, members, axes = modules_of([hexagonal_basis(0.9, 5)])
    whole = code_range(maps, 4.0, members, axes)
    maps[:, :30, :40] = np.nan
    assert code_range(maps, 4.0, members, axes).range_m == pytest.approx(whole.range_m, rel=0.03)


def test_a_range_needs_modules_and_a_box_that_holds_a_cell():
    maps, members, axes = modules_of([hexagonal_basis(0.9, 5)])
    with pytest.raises(ValueError, match="lattices_m"):
        code_range(maps, 4.0, members, axes[:0])
    with pytest.raises(ValueError, match="box_m"):
        code_range(maps, 0.8, members, axes)
