"""Rate maps along a track, by direction."""

import numpy as np
import pytest

import sicjax
from sicjax.analysis.linear import linear_ratemaps

TIMES = np.arange(0, 600, 0.02)
# Laps of different lengths: with equal laps, a shift by whole laps would change nothing.
LAPS = np.cumsum(0.01 * np.random.default_rng(9).uniform(0.4, 1.6, 600).repeat(50))
ALONG = 0.7 * np.sin(LAPS)
RISING = np.cos(LAPS) > 0
FEW = {"num_shuffles": 100}


def fire(rate, seed=0):
    return TIMES[np.random.default_rng(seed).random(len(TIMES)) < rate * 0.02]


CELLS = {
    "one way": fire(20 * RISING * np.exp(-((ALONG - 0.2) ** 2) / (2 * 0.1**2)), 1),
    "both ways": fire(20 * np.exp(-((ALONG + 0.3) ** 2) / (2 * 0.1**2)), 2),
    "anywhere": fire(2 + 0 * ALONG, 3),
    "few": TIMES[5000:5020],
    "silent": [],
}


@pytest.fixture(scope="module")
def found():
    return sicjax.linear_ratemaps(TIMES, ALONG, CELLS, units="m", **FEW)


def test_fields_are_found_where_and_in_which_direction_they_are(found):
    assert found.names == tuple(CELLS)
    assert found.is_informative.tolist() == [[True, False], [True, True], *[[False] * 2] * 3]
    assert found.positions_m[found.ratemaps[0, 0].argmax()] == pytest.approx(0.2, abs=0.03)
    for direction in (0, 1):
        peak = found.positions_m[np.nanargmax(found.ratemaps[1, direction])]
        assert peak == pytest.approx(-0.3, abs=0.03)
    assert found.ratemaps[0, 0].max() == pytest.approx(20 * 0.9, rel=0.2)  # smoothed by 5 cm
    assert found.length_m == pytest.approx(1.4, abs=0.01)


def test_counts_and_times_are_whole(found):
    np.testing.assert_allclose(found.occupancy_s.sum(axis=1), found.duration_s)
    assert found.duration_s.sum() > 560  # it turns slowly at the ends
    assert 0.95 < found.num_spikes.sum() / sum(map(len, CELLS.values())) <= 1
    flat = found.ratemaps[2]
    assert np.nanmean(flat) == pytest.approx(2, rel=0.15)


def test_a_straight_track_in_two_dimensions_is_the_same(found):
    across = 0.02 * np.sin(3 * TIMES)
    turned = np.stack([0.8 * ALONG - 0.6 * across, 0.6 * ALONG + 0.8 * across], axis=-1)
    again = linear_ratemaps(TIMES, turned, CELLS, units="m", **FEW)
    assert again.is_informative.tolist() == found.is_informative.tolist()
    assert again.length_m == pytest.approx(found.length_m, rel=0.02)
    cm = linear_ratemaps(TIMES, 100 * ALONG[:, None], CELLS, units="cm", **FEW)
    np.testing.assert_allclose(cm.spatial_information, found.spatial_information, rtol=0.02)


def test_flat_cells_pass_one_time_in_a_hundred():
    cells = [fire(1 + 0 * ALONG, seed) for seed in range(100)]
    passed = linear_ratemaps(TIMES, ALONG, cells, units="m", **FEW).is_informative
    assert passed.mean() < 0.04  # 200 tests at 0.01: 2 expected


@pytest.mark.parametrize(
    ("positions", "options", "message"),
    [
        (
            np.stack([ALONG, 0.5 * np.cos(LAPS)], axis=-1),
            {"units": "m"},
            "not a straight track",
        ),
        (3 * ALONG, {}, "give units="),
        (ALONG[:, None] * [1, 1, 1], {}, "one column along a track"),
        (ALONG, {"units": "m", "bin_m": 1}, "bin_m is 1"),
        (ALONG, {"units": "m", "num_shuffles": 0}, "num_shuffles is 0"),
        (0 * ALONG, {"units": "m"}, "at least 60 s"),
    ],
)
def test_bad_input_is_named(positions, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        linear_ratemaps(TIMES, positions, CELLS, **options)
    assert "\n" not in str(raised.value)
