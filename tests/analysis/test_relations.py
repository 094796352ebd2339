"""Nested, common and unrelated lattices are distinguished, and so are common drifts."""

import numpy as np
import pytest

from sicjax.analysis import relations
from sicjax.analysis.lattice import reduce_basis, three_axes
from sicjax.analysis.module_phases import drift_of_phase
from sicjax.analysis.ratemaps import bin_positions
from sicjax.analysis.relations import (
    measure_coupling,
    measure_drifts,
    relate_lattices,
    relate_modules,
)
from sicjax.analysis.synthetic import hexagonal_basis, square_basis, triangle_basis
from sicjax.analysis.waves import wave_vectors

COARSE_M = 1.2
ROOT7 = np.rad2deg(np.arctan(np.sqrt(3) / 5))  # turn of the sublattice of index 7
REGULAR = np.eye(2)
SHEAR = np.array([[1.0, 0.15], [0.0, 0.9]])


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """A null of 1,000 draws: p is at least 1e-3."""
    monkeypatch.setattr(relations, "_DRAWS", 1000)


def fine(ratio, turn_deg, shape=REGULAR):
    """A hexagonal lattice a ratio finer than the coarse one, both deformed alike."""
    return hexagonal_basis(COARSE_M / ratio, 10 + turn_deg) @ shape


@pytest.mark.parametrize("shape", [REGULAR, SHEAR], ids=["regular", "sheared"])
@pytest.mark.parametrize(
    ("ratio", "turn_deg", "index"),
    [(1, 0, 1), (np.sqrt(3), 30, 3), (2, 0, 4), (np.sqrt(7), ROOT7, 7), (3, 0, 9)],
)
def test_a_sublattice_is_found_with_its_index(ratio, turn_deg, index, shape):
    found = relate_lattices([fine(ratio, turn_deg, shape), fine(1, 0, shape)])
    assert found.index.tolist() == [index, 1]
    assert found.verdict == ("same" if index == 1 else "nested")
    assert found.error < 1e-9
    assert found.p < 0.005
    for matrix, basis in zip(found.matrices, found.bases_m, strict=True):
        np.testing.assert_allclose(matrix @ basis, found.basis_m, atol=1e-9)


def test_the_turn_is_that_of_the_hexagon():
    assert relate_lattices([fine(np.sqrt(3), -25), fine(1, 0)]).turn_deg.tolist() == [
        pytest.approx(-25),
        0,
    ]


def test_lattices_that_contain_each_other_not_have_one_in_common():
    found = relate_modules([fine(2, 0), fine(np.sqrt(3), 30), fine(1, 0)])
    assert found.pairs[0, 1].verdict == "common"
    assert found.pairs[0, 1].index.tolist() == [4, 3]
    assert found.pairs[1, 2].index.tolist() == [3, 1]
    assert found.whole.verdict == "nested"
    assert found.whole.index.tolist() == [4, 3, 1]


def test_the_error_is_the_deformation_put_in():
    stretched = relate_lattices([1.01 * fine(np.sqrt(3), 30), fine(1, 0)])
    assert stretched.error == pytest.approx(1 - 1 / 1.01)
    turned = relate_lattices([fine(2, 1.0), fine(1, 0)])
    assert turned.error == pytest.approx(2 * np.sin(np.deg2rad(0.5)))
    assert stretched.verdict == turned.verdict == "nested"


def test_no_choice_of_bases_and_axes_matters():
    pair = np.stack([1.005 * fine(np.sqrt(3), 30, SHEAR), fine(1, 0, SHEAR)])
    plain = relate_lattices(pair)
    axes = relate_lattices(three_axes(reduce_basis(pair)))
    other = relate_lattices(np.array([[[2, 1], [1, 1]], [[1, 0], [-3, 1]]]) @ pair)
    for found in (axes, other):
        assert found.error == pytest.approx(plain.error)
        assert found.index.tolist() == plain.index.tolist() == [3, 1]
        assert found.p == plain.p


def test_the_right_ratio_at_the_wrong_angle_is_unrelated():
    found = relate_lattices([fine(np.sqrt(3), 18), fine(1, 0)])
    assert found.verdict == "unrelated"
    assert found.p > 0.1


def test_a_square_lattice_in_a_square_one():
    found = relate_lattices([square_basis(1 / np.sqrt(2), 45), square_basis(1)])
    assert found.index.tolist() == [2, 1]
    assert found.verdict == "nested"


def test_random_lattices_are_unrelated_and_p_is_a_chance():
    rng = np.random.default_rng(0)
    draws = [
        [fine(3 ** rng.random(), rng.uniform(0, 60)), triangle_basis([1.2, 1.25, 1.15], 10)]
        for _ in range(60)
    ]
    found = [relate_lattices(pair) for pair in draws]
    assert np.mean([relation.verdict == "unrelated" for relation in found]) > 0.95
    # p is below 0.3 in 30 draws of 100; 60 draws scatter by 6 of 100.
    assert np.mean([relation.p < 0.3 for relation in found]) == pytest.approx(0.3, abs=0.15)


def test_a_turn_alone_is_likelier_to_fit_when_the_period_does():
    found = relate_lattices([fine(np.sqrt(3), 30.5), fine(1, 0)])
    assert found.p < found.p_turn
    # Within half a degree of one angle in 60, of either sign.
    assert found.p_turn == pytest.approx(1 / 60, rel=0.5)


def test_too_few_modules_have_no_relation():
    assert relate_modules(np.empty((0, 3, 2))).whole is None
    assert relate_modules([fine(1, 0)]).pairs == {}


def test_bad_lattices_are_named():
    with pytest.raises(ValueError, match="shape"):
        relate_lattices([fine(1, 0)])
    with pytest.raises(ValueError, match="in one line"):
        relate_lattices([fine(1, 0), [[1.0, 0.0], [2.0, 0.0]]])
    with pytest.raises(ValueError, match="finite"):
        relate_lattices([fine(1, 0), np.full((2, 2), np.nan)])


BOX_M, UNITS, WALKS, LENGTH = 2.0, 12, 12, 400
AXES = three_axes(reduce_basis(np.stack([fine(np.sqrt(3), 30), fine(1, 0)])))
PHASES_M = np.random.default_rng(1).uniform(-1, 1, (2, UNITS, 2))
MEMBERS = (np.arange(UNITS), UNITS + np.arange(UNITS))
STEPS = np.array([1, 100, 400])


def code(places):
    """States [..., 24] of two modules, each at its own places [2, ..., 2]."""
    waves = wave_vectors(AXES)
    turns = (
        np.einsum("mkd,m...ud->m...uk", waves, places[..., None, :] - _beside(PHASES_M, places))
        * 2
        * np.pi
    )
    used = np.cos(turns[..., [0, 1, 3]]) if _acute() else np.cos(turns[..., :3])
    return np.concatenate(list(3 + used.sum(axis=-1)), axis=-1)


def _beside(phases, places):
    return phases.reshape(2, *(1,) * (places.ndim - 2), UNITS, 2)


def _acute():
    """Whether the third wave of the hexagon is the difference of the first two."""
    first, second = wave_vectors(AXES)[0, :2]
    return first @ second > 0


@pytest.fixture(scope="module")
def walks():
    """Positions [W, T, 2] inside the box, and random drifts [2, W, T, 2] of up to a metre."""
    rng = np.random.default_rng(0)
    free = np.cumsum(rng.normal(0, 0.05, (WALKS, LENGTH, 2)), axis=1)
    positions = np.abs((free + 1) % 4 - 2) - 1
    return positions, np.cumsum(rng.normal(0, 0.02, (2, WALKS, LENGTH, 2)), axis=2)


@pytest.fixture(scope="module")
def ratemaps():
    where = bin_positions(BOX_M, 50)
    return np.moveaxis(code(np.stack([where, where])), -1, 0)


def drifts_of(positions, drift, ratemaps):
    states = code(positions + drift)
    return measure_drifts(states, positions, ratemaps, BOX_M, MEMBERS, AXES, STEPS)


def test_modules_on_one_torus_drift_together(walks, ratemaps):
    positions, (drift, _) = walks
    found = drifts_of(positions, np.stack([drift, drift]), ratemaps)
    np.testing.assert_allclose(found.drift_m[0], drift[:, STEPS - 1], atol=1e-6)
    np.testing.assert_allclose(found.drift_m[1], drift[:, STEPS - 1], atol=1e-6)
    assert found.rms_m[0, -1] > 0.5  # farther than half of the fine period
    assert found.difference_m.max() < 1e-6
    np.testing.assert_allclose(found.correlation, 1, atol=1e-6)
    assert (found.null[0, 1:] < 0.8).all()
    assert (found.p[0] < 0.1).all()  # 1 / 12 is the least


def test_modules_on_two_tori_drift_apart(walks, ratemaps):
    positions, drift = walks
    found = drifts_of(positions, drift, ratemaps)
    np.testing.assert_allclose(found.drift_m, drift[:, :, STEPS - 1], atol=1e-6)
    # Independent: the squares of the two add up. 24 values scatter by a seventh.
    expected = np.hypot(*found.rms_m)
    np.testing.assert_allclose(found.difference_m[0], expected, rtol=0.4)
    assert (np.abs(found.correlation[0]) < 0.6).all()
    assert found.p[0].max() > 0.1


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 1.5])
def test_fields_small_against_their_period_are_read_right(walks, sharpness):
    """Such maps consist mostly of higher harmonics, and units differ in strength."""
    rng = np.random.default_rng(2)
    axes = three_axes(reduce_basis(triangle_basis([2.0, 2.0, 2.0], 10)[None]))[0]
    phases, strengths = rng.uniform(-1, 1, (40, 2)), rng.uniform(0.3, 1, 40)
    waves = wave_vectors(axes[None])[0]
    third = 3 if waves[0] @ waves[1] > 0 else 2

    def sharp(places):
        turns = 2 * np.pi * (places[..., None, :] - phases) @ waves[[0, 1, third]].T
        return strengths * np.exp(sharpness * (np.cos(turns).sum(axis=-1) - 3))

    positions, (drift, _) = walks
    maps = np.moveaxis(sharp(bin_positions(3.0, 75)), -1, 0)
    found = drift_of_phase(sharp(positions + drift), positions, maps, 3.0, axes)
    error = np.linalg.norm(found - drift, axis=-1)
    assert error.max() < 0.06
    assert np.sqrt((error**2).mean()) < 0.02
    some = drift_of_phase(sharp(positions + drift), positions, maps, 3.0, axes, [7, 400])
    np.testing.assert_allclose(some, found[:, [6, 399]])


def test_what_never_drifts_has_no_correlation(walks, ratemaps):
    positions, drift = walks
    found = drifts_of(np.broadcast_to(positions[:1], positions.shape), 0 * drift, ratemaps)
    assert found.rms_m.max() < 1e-6
    assert np.isnan(found.p[np.isnan(found.correlation)]).all()


@pytest.mark.parametrize(("units", "readable"), [(6, False), (40, True)])
def test_a_module_that_is_silent_in_parts_of_its_cell_is_not_read(walks, units, readable):
    """The second module has narrow fields: a few of its units leave most of the cell empty."""
    axes = three_axes(reduce_basis(hexagonal_basis(COARSE_M, 10)[None]))[0]
    waves = wave_vectors(axes[None])[0]
    third = 3 if waves[0] @ waves[1] > 0 else 2
    phases = np.random.default_rng(3).uniform(-1, 1, (units, 2))

    def narrow(places):
        turns = 2 * np.pi * (places[..., None, :] - phases) @ waves[[0, 1, third]].T
        return np.maximum(np.exp(1.5 * (np.cos(turns).sum(axis=-1) - 3)) - 0.1, 0)

    def both(places):
        return np.concatenate([code(np.stack([places, places]))[..., :UNITS], narrow(places)], -1)

    positions, (drift, _) = walks
    maps = np.moveaxis(both(bin_positions(BOX_M, 50)), -1, 0)
    found = measure_drifts(
        both(positions + drift), positions, maps, BOX_M,
        (np.arange(UNITS), UNITS + np.arange(units)), np.stack([AXES[0], axes]), STEPS,
    )  # fmt: skip
    assert np.isfinite(found.rms_m[0]).all()
    for numbers in (found.rms_m[1], found.difference_m, found.correlation, found.null, found.p):
        assert np.isfinite(numbers).all() == readable
        assert np.isnan(numbers).all() != readable


def test_drifts_need_shapes_that_match(walks, ratemaps):
    positions, drift = walks
    states = code(positions + drift)
    with pytest.raises(ValueError, match="at least 2"):
        measure_drifts(states[:1], positions[:1], ratemaps, BOX_M, MEMBERS, AXES, STEPS)
    with pytest.raises(ValueError, match="24 units"):
        measure_drifts(states, positions, ratemaps[:9], BOX_M, MEMBERS, AXES, STEPS)


def read(states):
    """Return places [2, S, 2] of both modules within a cell around 0, for states of any scale."""
    found = []
    for waves, phases, units in zip(wave_vectors(AXES), PHASES_M, MEMBERS, strict=True):
        used = waves[[0, 1, 3]] if _acute() else waves[:3]
        turns = 2 * np.pi * phases @ used.T
        design = np.concatenate([np.ones((UNITS, 1)), np.cos(turns), np.sin(turns)], axis=1)
        waved = states[:, units] @ np.linalg.pinv(design).T
        cycles = np.arctan2(waved[:, 4:6], waved[:, 1:3]) / (2 * np.pi)
        found.append(cycles @ np.linalg.inv(used[:2]).T)
    return np.stack(found)


def unit_code(places):
    states = code(places)
    return states / np.linalg.norm(states, axis=-1, keepdims=True)


@pytest.mark.parametrize("pull", [0.0, 0.5])
def test_a_displaced_module_is_pulled_back_on_one_torus_only(pull):
    def step(states, velocities):
        places = read(states)
        return unit_code(places + pull * (places.mean(axis=0) - places) + velocities)

    rng = np.random.default_rng(0)
    starts, cloud = rng.uniform(-0.05, 0.05, (10, 2)), rng.uniform(-0.3, 0.3, (4000, 2))
    where = bin_positions(BOX_M, 50)
    found = measure_coupling(
        step, unit_code(np.stack([starts, starts])), starts, np.zeros((10, 8, 2)),
        unit_code(np.stack([cloud, cloud])), cloud,
        np.moveaxis(unit_code(np.stack([where, where])), -1, 0), BOX_M, MEMBERS, AXES,
    )  # fmt: skip
    for moved in (0, 1):
        own, other = found.shift_m[moved, moved], found.shift_m[moved, 1 - moved]
        # Unit length makes phases read from the maps' waves wrong by up to a centimetre.
        assert own[0] == pytest.approx(0.1, abs=0.015)
        assert other[0] == pytest.approx(0, abs=0.015)
        assert own[-1] == pytest.approx(0.05 if pull else 0.1, abs=0.015)
        assert other[-1] == pytest.approx(0.05 if pull else 0, abs=0.015)
    assert found.steps.tolist() == list(range(9))
