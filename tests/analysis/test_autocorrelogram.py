"""The autocorrelogram equals a slow reference and leaves unvisited bins out."""

import numpy as np
import pytest

from sicjax.analysis.autocorrelogram import autocorrelogram


def slow_autocorrelogram(ratemap, min_overlap):
    """Loops over lags; numpy's own corrcoef over the bins that both copies have."""
    rows, columns = ratemap.shape
    result = np.full((2 * rows - 1, 2 * columns - 1), np.nan)
    for dy in range(1 - rows, rows):
        for dx in range(1 - columns, columns):
            first = ratemap[max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)]
            second = ratemap[max(0, dy) : rows + min(0, dy), max(0, dx) : columns + min(0, dx)]
            both = np.isfinite(first) & np.isfinite(second)
            if both.sum() >= min_overlap and np.ptp(first[both]) > 0 and np.ptp(second[both]) > 0:
                result[dy + rows - 1, dx + columns - 1] = np.corrcoef(first[both], second[both])[
                    0, 1
                ]
    return result


@pytest.mark.parametrize(("shape", "unvisited"), [((12, 12), 0.0), ((13, 12), 0.2), ((9, 16), 0.4)])
def test_equals_the_slow_reference(shape, unvisited):
    rng = np.random.default_rng(0)
    ratemap = 3 + rng.standard_normal(shape)
    ratemap[rng.random(shape) < unvisited] = np.nan
    fast = autocorrelogram(ratemap, min_overlap=8)
    # Sums over at most 192 bins of order 1 in float64, through an FFT: 1e-10 leaves a factor 1e3.
    np.testing.assert_allclose(fast, slow_autocorrelogram(ratemap, 8), atol=1e-10)


def test_maps_are_independent_of_their_stack():
    maps = np.random.default_rng(1).random((3, 2, 11, 11))
    maps[0, 1, 3:5] = np.nan
    stacked = autocorrelogram(maps)
    np.testing.assert_allclose(stacked[0, 1], autocorrelogram(maps[0, 1]), atol=1e-12)
    assert stacked.shape == (3, 2, 21, 21)


def test_a_hole_is_not_a_rate_of_zero():
    """This fails if holes are filled with 0 before the mask is made, a common mistake."""
    rng = np.random.default_rng(2)
    ratemap = 5 + np.sin(np.arange(30) / 2)[None] * np.ones((30, 1))
    ratemap[rng.random((30, 30)) < 0.3] = np.nan
    middle = autocorrelogram(ratemap)[29]  # lags along x: a sine stays a sine
    lags = np.arange(-10, 11)
    np.testing.assert_allclose(
        middle[29 + lags], np.cos(lags / 2), atol=0.25
    )  # few periods overlap


def test_symmetry_scale_and_offset():
    ratemap = np.random.default_rng(3).random((20, 20))
    result = autocorrelogram(ratemap)
    assert result[19, 19] == pytest.approx(1.0)
    np.testing.assert_allclose(result, result[::-1, ::-1], atol=1e-12)
    np.testing.assert_allclose(
        autocorrelogram(1e-4 * ratemap + 7), result, atol=1e-6
    )  # 7 / 1e-4 eps


def test_constant_and_empty_maps_have_no_correlation():
    assert np.isnan(autocorrelogram(np.full((15, 15), 0.3))).all()
    assert np.isnan(autocorrelogram(np.full((15, 15), np.nan))).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="ratemaps has shape"):
        autocorrelogram(np.ones(5))
    with pytest.raises(ValueError, match="min_overlap is 1"):
        autocorrelogram(np.ones((5, 5)), min_overlap=1)
