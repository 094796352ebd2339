"""The kinds of units: each rule on maps that just meet or just miss it."""

import numpy as np
import pytest

from sicjax.analysis import kinds, synthetic
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.grid_score import Scores


def checkerboard(mean: float, spread: float, bins: int = 10) -> np.ndarray:
    """Return a map [y, x] of this mean and standard deviation."""
    return mean + spread * (-1.0) ** np.indices((bins, bins)).sum(axis=0)


def test_silent_active_and_constant_at_their_bounds():
    spot = np.zeros((10, 10))
    spot[0, :3] = 1.0  # 3 % of the bins; a unit needs more than that
    wide = spot.copy()
    wide[0, 3] = 0.21
    maps = np.stack(
        [0.99e-3 * wide, 1.01e-3 * wide, spot, wide, checkerboard(1, 0.04), checkerboard(1, 0.06)]
    )
    assert kinds.silent_units(maps).tolist() == [True, False, False, False, False, False]
    assert kinds.active_units(maps).tolist() == [False, True, False, True, True, True]
    assert kinds.constant_units(maps).tolist() == [False, False, False, False, True, False]


def test_a_map_is_judged_in_the_bins_where_it_was_visited():
    """The bins visited in other maps make no difference."""
    maps = np.stack([checkerboard(1, 0.04), checkerboard(1, 0.06), np.full((10, 10), np.nan)])
    maps[0, :5], maps[1, 5:] = np.nan, np.nan
    assert kinds.active_units(maps).tolist() == [True, True, False]
    assert kinds.constant_units(maps).tolist() == [True, False, False]


def test_spatial_share_is_the_autocorrelogram_one_bin_away():
    rng = np.random.default_rng(0)
    for noise, unvisited in ((0.0, 0.0), (0.3, 0.0), (0.3, 0.4)):
        ratemap = synthetic.degrade(
            synthetic.place_map([0.1, -0.2], 0.2, box_m=1.0, bins=20),
            noise=noise, unvisited=unvisited, rng=rng,
        )  # fmt: skip
        correlogram = autocorrelogram(ratemap)
        expected = (correlogram[19, 20] + correlogram[20, 19]) / 2
        assert kinds.spatial_share(ratemap) == pytest.approx(expected, abs=1e-9)
    assert np.isnan(kinds.spatial_share(np.ones((20, 20))))


def test_kinds_by_shape_in_their_order():
    """A silent unit is neither constant nor place; too few fields hide a band but not a place."""
    varied = checkerboard(1, 0.5)
    maps = np.stack([np.full((10, 10), np.nan), 0 * varied, np.ones((10, 10)), *[varied] * 4])
    place = np.array([True, True, True, True, False, False, False])
    band = np.array([True, True, True, True, True, True, False])
    found = kinds.kinds_by_shape(maps, place, band, np.array([9, 9, 9, 1, 4, 5, 5]))
    expected = ["undetermined", "silent", "constant", "place", "undetermined", "band", "other"]
    assert found.tolist() == expected


def test_a_lattice_needs_its_null_its_waves_and_its_shape():
    """Only "other" is reconsidered; raw score for a hexagon, 90-degree score for a square."""
    kind = np.array(["other"] * 6 + ["place"])
    above = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0], [1, 1, 1]])
    share = np.array([0.34, 0.34, 0.9, 0.32, 0.9, 0.9, 0.9])
    squareness = np.array([0.49, 0.5, 0.1, 0.1, 0.5, 0.1, 0.1])
    found = kinds.kinds_against_null(kind, above.astype(bool), share, squareness)
    assert found.tolist() == ["grid", "square", "other", "other", "other", "other", "place"]


def test_a_glance_takes_fixed_scores():
    scores = Scores(
        grid_score=np.array([0.51, 0.51, 0.51, 0.49, 0.49, np.nan]),
        grid_score_corrected=np.full(6, np.nan),
        square_score=np.array([0.9, 0.9, 0.9, 0.71, 0.69, np.nan]),
        num_fields=np.array([3, 2, 3, 3, 3, 0]),
        spacing_m=np.full(6, np.nan),
        axes_m=np.full((6, 3, 2), np.nan),
    )
    active = np.array([True, True, False, True, True, True])
    found = kinds.lattices_at_a_glance(scores, active)
    assert found.tolist() == ["hexagonal", "", "", "square", "", ""]
    assert set(found) <= set(kinds.GLANCES)
