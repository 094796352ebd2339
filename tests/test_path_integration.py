"""Path integration is measured correctly on codes with known truth."""

import numpy as np
import pytest

from sicjax.analysis.path_integration import (
    conformality,
    decode_positions,
    distance_against_separation,
    distance_at_same_place,
    drift,
    explained_by_maps,
)
from sicjax.analysis.ratemaps import bin_positions

BOX_M, BINS = 2.0, 50
EDGES = np.array([1, 51, 101, 201])


def code(positions):
    """Unit states [..., 16] that distinguish all places of the box: waves longer than the box."""
    waves = np.random.default_rng(1).uniform(-1.5, 1.5, (8, 2))
    turns = positions @ waves.T
    return np.concatenate([np.cos(turns), np.sin(turns)], axis=-1) / np.sqrt(8)


@pytest.fixture
def walks():
    """Positions [W, T, 2] of 20 walks inside the box."""
    rng = np.random.default_rng(0)
    free = np.cumsum(rng.normal(0, 0.05, (20, 200, 2)), axis=1)
    return np.abs((free + 0.99) % 3.96 - 1.98) - 0.99


@pytest.fixture
def ratemaps():
    return np.moveaxis(code(bin_positions(BOX_M, BINS)), -1, 0)


def test_distance_against_separation_equals_the_slow_reference():
    rng = np.random.default_rng(0)
    states, positions = rng.random((40, 5)), rng.random((40, 2))
    edges = np.array([0, 0.2, 0.5, 2.0, 3.0])
    found = distance_against_separation(states, positions, edges)
    expected = [[] for _ in range(4)]
    for i in range(40):
        for j in range(i):
            apart = np.linalg.norm(positions[i] - positions[j])
            k = np.searchsorted(edges, apart, side="right") - 1
            expected[k].append(np.linalg.norm(states[i] - states[j]))
    assert found.count.tolist() == [len(values) for values in expected]
    for k in range(3):  # states are compared in single precision
        assert found.mean[k] == pytest.approx(np.mean(expected[k]), rel=1e-5)
        assert found.std[k] == pytest.approx(np.std(expected[k]), rel=1e-3)
    assert np.isnan(found.mean[3])


def test_a_code_of_place_alone_is_the_same_by_every_path(walks):
    exact = distance_at_same_place(code(walks), walks, EDGES, radius_m=0.05)
    assert exact.count[1:].min() > 10
    assert (
        np.nanmax(exact.mean) < 0.06
    )  # places within 5 cm differ by at most the speed of the code


def test_a_code_that_drifts_differs_more_with_time(walks):
    rng = np.random.default_rng(2)
    error = np.cumsum(rng.normal(0, 0.03, walks.shape), axis=1)
    drifting = distance_at_same_place(code(walks + error), walks, EDGES, radius_m=0.05)
    assert (np.diff(drifting.mean) > 0).all()


def test_positions_are_decoded_to_a_bin(walks, ratemaps):
    decoded = decode_positions(code(walks), ratemaps, BOX_M)
    assert decoded.shape == walks.shape
    errors = np.linalg.norm(decoded - walks, axis=-1)
    assert np.median(errors) < 0.02  # half of a 4 cm bin
    assert errors.max() < 0.04  # the nearest state needn't be that of the nearest bin


def test_places_without_a_map_are_never_decoded(walks, ratemaps):
    ratemaps[:, :, :25] = np.nan
    assert decode_positions(code(walks), ratemaps, BOX_M)[..., 0].min() > 0


def test_drift_is_the_error_put_in(walks, ratemaps):
    still = drift(code(walks), walks, EDGES, ratemaps, BOX_M)
    assert still.error_m.max() < 0.03
    assert still.distance.max() < 0.05
    assert still.chance_error_m > 0.5
    assert still.chance_distance > 10 * still.distance.max()
    inside = np.clip(walks, -0.6, 0.6)
    shifted = drift(code(inside + np.array([0.3, 0.0])), inside, EDGES, ratemaps, BOX_M)
    np.testing.assert_allclose(shifted.error_m, 0.3, atol=0.03)  # a bin is 4 cm


def test_maps_explain_a_code_until_it_is_lost(walks, ratemaps):
    """If a third of the states is replaced by those of other places, 1 - 2/3 is explained."""
    told = explained_by_maps(code(walks), walks, EDGES, ratemaps, BOX_M)
    assert told.shape == (3, 16)
    assert told.min() > 0.97  # places within half a bin
    rng = np.random.default_rng(0)
    other = rng.permutation(walks.reshape(-1, 2)).reshape(walks.shape)
    lost = np.arange(200)[:, None] >= 100  # half of the walk
    some = lost & (rng.random((20, 200, 1)) < 1 / 3)
    partly = explained_by_maps(code(np.where(some, other, walks)), walks, EDGES, ratemaps, BOX_M)
    np.testing.assert_allclose(partly[:2], told[:2])
    np.testing.assert_allclose(np.median(partly[2]), 1 / 3, atol=0.05)  # 4,000 states
    gone = explained_by_maps(code(np.where(lost, other, walks)), walks, EDGES, ratemaps, BOX_M)
    assert gone[2].max() < 0
    assert np.isnan(explained_by_maps(0 * code(walks), walks, EDGES, ratemaps, BOX_M)).all()


def test_conformality_of_rotations():
    """W(v) turns one plane by x and another by y, the second k times as fast."""

    def turn(angle):
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def transitions(ratio):
        headings = np.arange(8) * np.pi / 4
        matrices = np.zeros((8, 4, 4))
        for matrix, heading in zip(matrices, headings, strict=True):
            matrix[:2, :2] = turn(0.01 * np.cos(heading))
            matrix[2:, 2:] = turn(0.01 * ratio * np.sin(heading))
        return matrices

    # In the first quadrant a small turn keeps every entry positive, so nothing is rectified.
    angles = np.random.default_rng(0).uniform(0.2, 1.3, (500, 2))
    states = np.stack(
        [np.cos(angles[:, 0]), np.sin(angles[:, 0]), np.cos(angles[:, 1]), np.sin(angles[:, 1])],
        axis=-1,
    ) / np.sqrt(2)
    positions = np.random.default_rng(1).uniform(-1, 1, (500, 2))
    even = conformality(states, positions, transitions(1.0), 0.01, box_m=2.0, bins=4)
    # |dg| = |g| dx / sqrt(2) in either plane; second order in the angle of 0.01.
    np.testing.assert_allclose(even.by_direction, np.sqrt(0.5), rtol=1e-3)
    np.testing.assert_allclose(even.by_place, np.sqrt(0.5), rtol=1e-3)
    assert even.variation < 1e-3
    assert even.anisotropy == pytest.approx(1, abs=1e-3)
    uneven = conformality(states, positions, transitions(2.0), 0.01, box_m=2.0, bins=4)
    assert uneven.anisotropy == pytest.approx(2, rel=1e-2)
    assert uneven.directions_deg.tolist() == [0, 45, 90, 135, 180, 225, 270, 315]


def test_bad_shapes_are_named(walks, ratemaps):
    states = code(walks)
    with pytest.raises(ValueError, match=r"\[S, N\]"):
        distance_against_separation(states, walks, [0, 1])
    with pytest.raises(ValueError, match="rise"):
        distance_against_separation(states[0], walks[0], [1, 0])
    with pytest.raises(ValueError, match=r"\[W, T, N\]"):
        distance_at_same_place(states[0], walks[0], EDGES)
    with pytest.raises(ValueError, match=r"\[W, T, N\]"):
        drift(states, walks[:, 1:], EDGES, ratemaps, BOX_M)
    with pytest.raises(ValueError, match="16"):
        decode_positions(states[..., :3], ratemaps, BOX_M)
    with pytest.raises(ValueError, match="transitions"):
        conformality(states[0], walks[0], np.eye(3)[None], 0.02, box_m=2.0, bins=4)
