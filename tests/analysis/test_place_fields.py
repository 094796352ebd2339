"""Place cells: found where there is one field, and not in noise."""

import jax
import numpy as np
import pytest
from scipy import ndimage, signal

from sicjax.analysis import synthetic
from sicjax.analysis.place_fields import place_units
from sicjax.analysis.ratemaps import bin_index, smooth_ratemaps
from sicjax.analysis.shuffles import random_signs, spectral_noise
from sicjax.analysis.units import analyze_ratemaps
from sicjax.config.files import load_config
from sicjax.run import Run
from sicjax.training.step import make_init

HZ = 50


def seconds_per_bin(box_m, minutes, *, bins=None, speed=0.16):
    """Return the time [y, x] in each bin of an animal that turns every second."""
    bins = bins or round(25 * box_m)
    memory = np.exp(-1 / HZ)
    kicks = np.random.default_rng(0).standard_normal((minutes * 60 * HZ, 2))
    velocity = signal.lfilter([1], [1, -memory], speed * np.sqrt(1 - memory**2) * kicks, axis=0)
    unbounded = velocity.cumsum(axis=0) / HZ + box_m / 2
    path = np.abs((unbounded + box_m) % (2 * box_m) - box_m) - box_m / 2  # walls are mirrors
    visits = np.bincount(bin_index(path, box_m, bins), minlength=bins**2)
    return visits.reshape(bins, bins) / HZ


def record(rate_hz, seconds, rng):
    """Return a map [y, x] of Poisson spikes, NaN where no time was spent."""
    counts = rng.poisson(np.broadcast_to(rate_hz, seconds.shape) * seconds)
    return np.where(seconds > 0, counts / np.where(seconds > 0, seconds, 1), np.nan)


@pytest.mark.parametrize(("bins", "smoothing"), [(25, 0.0), (40, 2.0)])
def test_flat_poisson_cells_are_no_place_cells(bins, smoothing):
    """At most 1 in 100, at rates from 0.1 to 20 Hz, 20 min of a slow animal in a 1 m box."""
    rng = np.random.default_rng(1)
    seconds = seconds_per_bin(1.0, 20, bins=bins, speed=0.05)
    rates = np.repeat([0.1, 1.0, 5.0, 20.0], 50)
    maps = np.stack([record(rate, seconds, rng) for rate in rates])
    maps = smooth_ratemaps(maps, smoothing, occupancy=seconds) if smoothing else maps
    kind = analyze_ratemaps(maps, 1.0, num_shuffles=1, key=jax.random.key(0)).kind
    assert (kind == "place").sum() <= 2


@pytest.mark.parametrize("sigma_bins", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_smoothed_noise_holds_no_place_cells(sigma_bins):
    """Bumps of any width in smoothed noise do not count."""
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.standard_normal((300, 75, 75)), (0, sigma_bins, sigma_bins))
    assert place_units(noise[:, 25:50, 25:50], rng).mean() <= 0.01


def test_an_untrained_network_has_no_place_cells():
    """64 units, so 2 by chance at most (of 1 in 100, more in 1 of 40 networks)."""
    config = load_config("quick")
    untrained = jax.jit(make_init(config))(jax.numpy.uint32(0))
    maps = Run(config, untrained.parameters).ratemaps(1.2, walk_steps=120).ratemaps
    kind = analyze_ratemaps(maps, 1.2, num_shuffles=1, key=jax.random.key(0)).kind
    assert (kind == "place").sum() <= 2


@pytest.mark.parametrize(("box_m", "minutes"), [(1.0, 10), (2.0, 30), (4.0, 120)])
def test_place_fields_are_found(box_m, minutes):
    """Fields of 10 to 25 cm anywhere in the box, peak 5 Hz, background 0.1 Hz."""
    rng = np.random.default_rng(2)
    maps, seconds = [], seconds_per_bin(box_m, minutes)
    seconds[rng.random(seconds.shape) < 0.05] = 0  # holes
    for sigma_m in np.tile([0.1, 0.15, 0.2, 0.25], 8):
        centre = rng.uniform(-box_m / 2, box_m / 2, 2)
        field = synthetic.place_map(
            centre, sigma_m, box_m=box_m, bins=round(25 * box_m), floor=0.02
        )
        maps.append(record(5 * field, seconds, rng))
    found = place_units(np.stack(maps), rng)
    assert found.mean() >= 0.9


def test_a_small_field_of_a_large_box_is_found_without_noise():
    """A rectified unit is exactly 0 nearly everywhere."""
    bump = synthetic.place_map([0.4, -1.1], 0.1, box_m=4.0, bins=100)
    assert place_units(np.maximum(bump - 0.2, 0)[None], np.random.default_rng(0)).tolist() == [True]


def test_what_holds_more_or_less_than_one_compact_field_is_no_place_cell():
    box = {"box_m": 2.0, "bins": 50}
    one = synthetic.place_map([0.4, 0.3], 0.15, **box)
    y, x = np.indices((50, 50)) / 50
    maps = [
        one,
        one + 0.1 * synthetic.place_map([-0.5, -0.4], 0.15, **box),
        one + 0.9 * synthetic.place_map([-0.5, -0.4], 0.15, **box),
        1 - one,  # a hole
        synthetic.place_map([0, 0], 0.8, **box),
        synthetic.band_map(0.5, **box),
        x + y,  # rises from corner to corner
    ]
    found = place_units(np.stack(maps), np.random.default_rng(0))
    assert found.tolist() == [True, True, False, False, False, False, False]


def test_a_verdict_is_the_key_s_and_the_map_s_alone():
    """The same key gives the same verdict, and other maps in the call change nothing."""
    rng = np.random.default_rng(3)
    seconds, centres = seconds_per_bin(1.0, 3), rng.uniform(-0.5, 0.5, (20, 2))
    fields = [synthetic.place_map(centre, 0.2, box_m=1.0, bins=25) for centre in centres]
    maps = np.stack([record(field, seconds, rng) for field in fields])
    whole = place_units(maps, np.random.default_rng(4))
    assert 0 < whole.sum() < 20
    np.testing.assert_array_equal(place_units(maps, np.random.default_rng(4)), whole)
    parts = [place_units(maps[n : n + 1], np.random.default_rng(4)) for n in range(20)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_fine_maps_are_averaged_and_small_or_odd_ones_pass_through():
    rng = np.random.default_rng(5)
    for bins in (4, 51, 101):
        field = synthetic.place_map([0.2, -0.1], 0.15, box_m=1.0, bins=bins)
        noise = rng.standard_normal((bins, bins))
        found = place_units(np.stack([field, noise]), np.random.default_rng(0))
        assert found.tolist() == [bins > 4, False]


def test_surrogates_have_the_spectrum_of_the_map():
    """Energy and correlation along each axis equal the map's, but the maps differ."""
    rng = np.random.default_rng(6)
    deviations = ndimage.gaussian_filter(rng.standard_normal((40, 40)), 3).astype(np.float32)
    deviations -= deviations.mean()
    noise = spectral_noise(deviations, random_signs(50, 40, rng))
    assert noise.shape == (50, 40, 40)
    np.testing.assert_allclose((noise**2).sum(axis=(1, 2)), (deviations**2).sum(), rtol=1e-4)
    likeness = (noise * deviations).sum(axis=(1, 2)) / (deviations**2).sum()
    assert np.abs(likeness.mean()) < 0.2
    assert np.abs(likeness).max() < 0.8
    rough = np.square(np.diff(noise, axis=2)).sum(axis=(1, 2)).mean()
    assert rough == pytest.approx(np.square(np.diff(deviations, axis=1)).sum(), rel=0.1)
