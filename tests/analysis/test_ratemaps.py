"""Binning, smoothing and information of rate maps."""

import numpy as np
import pytest

from sicjax.analysis import ratemaps
from sicjax.analysis.ratemaps import bin_activity, bin_centres, smooth_ratemaps, spatial_information


def test_axis_0_is_y_and_axis_1_is_x():
    binned = bin_activity([[0.9, -0.9], [0.9, -0.7]], [[2.0], [4.0]], box_m=2.0, bins=4)
    assert binned.occupancy[0, 3] == 2
    assert binned.occupancy.sum() == 2
    assert binned.ratemaps[0, 0, 3] == 3.0
    assert binned.within_bin_variance[0, 0, 3] == 1.0
    assert np.isnan(binned.ratemaps[0]).sum() == 15
    np.testing.assert_allclose(bin_centres(2.0, 4), [-0.75, -0.25, 0.25, 0.75])


def test_equals_the_slow_reference():
    rng = np.random.default_rng(0)
    positions, activity = rng.uniform(-1.2, 1.2, (5, 60, 2)), rng.random((5, 60, 3)) + 100
    binned = bin_activity(positions, activity, box_m=2.0, bins=5, min_visits=4)
    for iy in range(5):
        for ix in range(5):
            low = np.array([ix, iy]) * 0.4 - 1
            here = ((positions >= low) & (positions < low + 0.4)).all(axis=-1)
            assert binned.occupancy[iy, ix] == here.sum()
            if here.sum() < 4:
                assert np.isnan(binned.ratemaps[:, iy, ix]).all()
                continue
            np.testing.assert_allclose(binned.ratemaps[:, iy, ix], activity[here].mean(0))
            # Variance 0.08 on a mean of 100: centring first keeps 12 digits, this asks for 9.
            variance = binned.within_bin_variance[:, iy, ix]
            np.testing.assert_allclose(variance, activity[here].var(0), rtol=1e-9)


def test_variance_explained_by_position():
    rng = np.random.default_rng(1)
    positions = rng.uniform(-1, 1, (20_000, 2))
    place = np.floor((positions[:, 0] + 1) * 5)
    mixed = np.stack([place, place + place.std() * rng.standard_normal(20_000), 0 * place], axis=-1)
    share = bin_activity(positions, mixed, box_m=2.0, bins=10).variance_explained
    np.testing.assert_allclose(share[:2], [1.0, 0.5], atol=0.02)  # 3 / sqrt(20,000)
    assert np.isnan(share[2])


def test_samples_may_come_in_parts():
    rng = np.random.default_rng(2)
    positions, activity = rng.uniform(-1, 1, (300, 2)), 5 + rng.random((300, 2))
    sums = ratemaps.ActivitySums(2, box_m=2.0, bins=4)
    for part in np.split(np.arange(300), [7, 150]):
        sums.add(positions[part], activity[part])
    whole = bin_activity(positions, activity, box_m=2.0, bins=4)
    for found, expected in zip(sums.ratemaps(), whole, strict=True):
        np.testing.assert_allclose(found, expected)


def test_no_sample_leaves_every_bin_unvisited():
    empty = ratemaps.ActivitySums(2, box_m=2.0, bins=4).ratemaps()
    assert np.isnan(empty.ratemaps).all()
    assert np.isnan(empty.variance_explained).all()
    assert empty.occupancy.sum() == 0


def test_smoothing_keeps_constants_and_holes():
    ratemap = np.full((20, 20), 3.0)
    ratemap[5:9, 5:9] = np.nan
    smooth = smooth_ratemaps(ratemap, 2.0)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(ratemap))
    np.testing.assert_allclose(smooth[np.isfinite(smooth)], 3.0)


def test_smoothing_weighs_by_occupancy():
    ratemap, occupancy = np.zeros((9, 9)), np.ones((9, 9))
    ratemap[:, 5:] = 1.0
    occupancy[:, 5:] = 1e6
    assert smooth_ratemaps(ratemap, 1.0, occupancy=occupancy)[4, 4] > 0.999


def test_spatial_information_of_known_maps():
    quarter = np.zeros((10, 10))
    quarter[:5, :5] = 7.0
    maps = np.stack([np.ones((10, 10)), quarter, np.zeros((10, 10))])
    np.testing.assert_allclose(spatial_information(maps), [0.0, 2.0, np.nan], atol=1e-12)


def test_spatial_information_weighs_bins_by_their_time():
    """Half of the time in a bin of rate 4, half in one of rate 0: one bit, however many bins."""
    ratemap, time = np.zeros((1, 2, 2)), np.array([[3.0, 1.0], [1.0, 1.0]])
    ratemap[0, 0, 0] = 4.0
    np.testing.assert_allclose(spatial_information(ratemap, occupancy=time), [1.0])
    np.testing.assert_allclose(spatial_information(ratemap), [2.0])


@pytest.mark.parametrize(("scale", "shift"), [(100, 0.0), (1, 0.5)])
def test_positions_that_cannot_be_metres_from_the_centre_are_said(scale, shift):
    positions = scale * (np.random.default_rng(0).uniform(-0.5, 0.5, (400, 2)) + shift)
    with pytest.warns(UserWarning, match=r"positions: \d+% .*must be metres from the box's centre"):
        bin_activity(positions, np.ones((400, 1)), box_m=1.0, bins=10)


def test_bin_positions_are_x_then_y():
    positions = ratemaps.bin_positions(1.0, 2)
    np.testing.assert_allclose(positions[0, 1], [0.25, -0.25])
