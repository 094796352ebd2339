"""Time shifts: drawn in range, and a path on which they change nothing is reported."""

import warnings

import numpy as np
import pytest

import sicjax
from sicjax.analysis.time_shifts import draw_shifts, repeated_share
from tests.walks import smooth_walk

TIMES = np.arange(0, 600, 0.02)
FIGURES = {
    "Lissajous": 0.5 * np.sin(0.9 * TIMES[:, None] * [1, 2**0.5]),
    "billiard": 1.5 / np.pi * np.arcsin(np.sin(TIMES[:, None] * [0.7, 0.628])),
    "mirrored": 0.5 * np.sin(TIMES[:, None] * [0.5, 1.5]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_periodic_path_repeats_itself(name):
    assert repeated_share(FIGURES[name], 20.0) > 0.01


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("seconds", [200, 600])
def test_a_random_walk_does_not(seed, seconds):
    walk = smooth_walk(np.arange(0, seconds, 0.02), seed=seed)
    assert repeated_share(walk, 20.0) == 0


def test_the_share_is_that_of_the_shifts_themselves():
    """The Fourier transform equals rolling the path, also for a turned or scaled path."""
    path = FIGURES["Lissajous"][::20] @ [[2, 1], [-1, 0.5]] + [3, 4]  # 1,500 steps
    shares = []
    for lag in range(50, 751, 5):
        both = np.concatenate([path, np.roll(path, -lag, axis=0)], axis=1)
        c = np.cov(both.T)
        white = np.linalg.inv(np.linalg.cholesky(c[:2, :2]))
        shares.append(np.linalg.svd(white @ c[:2, 2:] @ white.T, compute_uv=False)[-1] > 0.8)
    assert repeated_share(path, 1.0) == pytest.approx(np.mean(shares))


def said(function, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments, num_shuffles=2, units="m", **options)
    return [str(warning.message) for warning in caught if "repeats" in str(warning.message)]


def test_scorers_say_that_a_path_repeats_itself():
    spikes = [TIMES[::50]]
    (line,) = said(sicjax.score_recording, TIMES, FIGURES["Lissajous"], spikes)
    assert "analyze_ratemaps" in line
    assert "\n" not in line
    assert not said(sicjax.score_recording, TIMES, smooth_walk(TIMES), spikes)
    laps = 0.6 * np.sin(0.7 * TIMES)
    assert len(said(sicjax.linear_ratemaps, TIMES, laps, spikes)) == 1
    uneven = np.cumsum(0.01 * np.random.default_rng(9).uniform(0.4, 1.6, 600).repeat(50))
    assert not said(sicjax.linear_ratemaps, TIMES, 0.6 * np.sin(uneven), spikes)


def test_shifts_keep_their_distance_from_none():
    shifts = draw_shifts(3000, 500, 20.0, np.random.default_rng(0))
    assert shifts.min() >= 1000
    assert shifts.max() <= 2000
    with pytest.raises(ValueError, match="min_shift_s is 30"):
        draw_shifts(3000, 1, 30.0, np.random.default_rng(0))
