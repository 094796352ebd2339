"""Grid scores, spacings and field counts of maps whose truth is known."""

import numpy as np
import pytest

from sicjax.analysis import synthetic
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.ratemaps import bin_activity


def stack(basis_of, *, box_m, count=6, noise=0.0, unvisited=0.0, seed=0):
    """Return `count` maps of `basis_of(orientation)` at random phases and orientations."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(count):
        clean = synthetic.lattice_map(
            basis_of(rng.uniform(0, 60)), box_m=box_m, bins=round(25 * box_m), phase=rng.random(2)
        )
        maps.append(synthetic.degrade(clean, noise=noise, unvisited=unvisited, rng=rng))
    return np.stack(maps)


@pytest.mark.parametrize(("period", "box_m"), [(0.3, 2.0), (0.5, 3.0), (0.85, 3.0), (1.44, 4.0)])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_an_ideal_hexagon(period, box_m, noise):
    maps = stack(
        lambda angle: synthetic.hexagonal_basis(period, angle),
        box_m=box_m,
        noise=noise,
        unvisited=noise / 2,
    )
    scores = score_ratemaps(maps, box_m)
    np.testing.assert_allclose(scores.spacing_m, period, rtol=0.03)  # the bound
    assert (scores.grid_score > (1.25 if noise == 0 else 1.05)).all()
    assert (scores.grid_score_corrected > 1.05).all()
    assert (scores.square_score < 0).all()


def test_a_square_is_square():
    scores = score_ratemaps(stack(lambda a: synthetic.square_basis(0.6, a), box_m=3.0), 3.0)
    assert (scores.square_score > 0.9).all()
    assert (scores.grid_score < 0).all()
    np.testing.assert_allclose(scores.spacing_m, 0.6 * (2 + np.sqrt(2)) / 3, rtol=0.03)


def test_the_papers_sheared_lattice():
    """Period 0.5 m in a 3 m box: with rings that ignore the period it would score 0.00."""
    lengths = 0.5 * np.array(synthetic.SHEARED)
    maps = stack(lambda angle: synthetic.triangle_basis(lengths, angle), box_m=3.0)
    scores = score_ratemaps(maps, 3.0)
    assert (scores.grid_score > 0.5).all()
    assert (scores.grid_score_corrected > 1.15).all()
    np.testing.assert_allclose(scores.spacing_m, lengths.mean(), rtol=0.03)


def test_field_counts():
    box = {"box_m": 2.0, "bins": 50}
    place = synthetic.place_map([0.3, -0.2], 0.2, **box)
    lattice = synthetic.lattice_map(synthetic.square_basis(0.5), phase=(0.5, 0.5), **box)
    holed = np.where(np.random.default_rng(0).random((50, 50)) < 0.2, np.nan, lattice)
    maps = np.stack([place, lattice, holed, np.zeros((50, 50)), np.full((50, 50), np.nan)])
    np.testing.assert_array_equal(score_ratemaps(maps, 2.0).num_fields, [1, 16, 16, 0, 0])


def test_turning_a_map_by_a_right_angle_changes_nothing():
    maps = stack(lambda angle: synthetic.hexagonal_basis(0.7, angle), box_m=2.0, noise=0.2)
    first, second = (score_ratemaps(m, 2.0) for m in (maps, np.rot90(maps, axes=(1, 2))))
    for name in ("grid_score", "square_score", "spacing_m", "num_fields"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-6)


def test_noise_has_no_score_to_speak_of():
    rng = np.random.default_rng(5)
    maps = np.stack([synthetic.noise_map(0.1, box_m=2.0, bins=50, rng=rng) for _ in range(60)])
    assert abs(np.nanmedian(score_ratemaps(maps, 2.0).grid_score)) < 0.3


def test_nothing_to_score_is_nan():
    maps = np.stack([np.full((30, 30), np.nan), np.full((30, 30), 2.0)])
    scores = score_ratemaps(maps, 1.2)
    assert np.isnan(scores.grid_score).all()
    assert np.isnan(scores.square_score).all()
    assert np.isnan(scores.spacing_m).all()


@pytest.mark.parametrize(
    ("maps", "box_m", "message"),
    [
        (np.ones((30, 30)), 2.0, r"ratemaps has shape \(30, 30\)"),
        (np.ones((2, 30, 40)), 2.0, "square box"),
        (np.ones((2, 30, 30)), (2.0, 3.0), "box_m="),
        (np.ones((2, 30, 30)), -1.0, "box_m=-1"),
        (np.full((2, 30, 30), np.inf), 2.0, "holds inf"),
    ],
)
def test_bad_input_is_named(maps, box_m, message):
    with pytest.raises(ValueError, match=message):
        score_ratemaps(maps, box_m)


def test_scores_do_not_depend_on_the_order_in_memory():
    """A worker process or a file may store the same maps in another order."""
    rng = np.random.default_rng(0)
    positions, activity = rng.uniform(-0.5, 0.5, (20_000, 2)), rng.random((20_000, 6)) ** 4
    maps = bin_activity(positions, activity, box_m=1.0, bins=25).ratemaps
    units_last = np.ascontiguousarray(maps.transpose(1, 2, 0)).transpose(2, 0, 1)
    first, second, third = (
        score_ratemaps(one, 1.0) for one in (maps, units_last, np.asfortranarray(maps))
    )
    for name, values in vars(first).items():
        np.testing.assert_array_equal(getattr(second, name), values, err_msg=name)
        np.testing.assert_array_equal(getattr(third, name), values, err_msg=name)
