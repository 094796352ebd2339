"""Kinds, nulls and lattices of units whose truth is known."""

import jax
import numpy as np
import pytest

from sicjax.analysis import synthetic
from sicjax.analysis.kinds import KINDS
from sicjax.analysis.shuffles import field_shuffles, generator
from sicjax.analysis.units import analyze_ratemaps

BOX = {"box_m": 3.0, "bins": 75}
PHASE = (0.25, 0.6)


@pytest.fixture(scope="module")
def analysis():
    rng = np.random.default_rng(0)
    sheared = 0.7 * np.array(synthetic.SHEARED)
    clean = [
        synthetic.lattice_map(synthetic.hexagonal_basis(0.6, 20), phase=PHASE, **BOX),
        synthetic.lattice_map(synthetic.square_basis(0.6, 20), phase=PHASE, **BOX),
        synthetic.lattice_map(synthetic.triangle_basis(sheared, 50), phase=PHASE, **BOX),
        synthetic.band_map(0.5, orientation_deg=30, **BOX),
        synthetic.place_map([0.4, -0.3], 0.25, **BOX),
        synthetic.lattice_map(synthetic.hexagonal_basis(1.9, 0), phase=(0.1, 0.1), **BOX),
        synthetic.noise_map(0.1, rng=rng, **BOX),
    ]
    maps = [synthetic.degrade(m, noise=0.2, unvisited=0.1, rng=rng) for m in clean]
    maps += [np.full((75, 75), value) for value in (0.4, 0.0, np.nan)]
    return analyze_ratemaps(np.stack(maps), 3.0, num_shuffles=30, key=jax.random.key(0))


def test_kinds(analysis):
    expected = ["grid", "square", "grid", "band", "place", "undetermined", "other"]
    assert analysis.kind.tolist() == [*expected, "constant", "silent", "undetermined"]
    assert set(analysis.kind) <= set(KINDS)
    np.testing.assert_array_equal(analysis.is_grid, analysis.kind == "grid")


def test_what_a_unit_lacks_is_said(analysis):
    said = dict(zip(analysis.kind, analysis.not_grid_because, strict=True))
    assert {kind for kind, words in said.items() if words} == {"other", "undetermined"}
    assert "not above its null" in said["other"]
    assert analysis.not_grid_because[-1] == "never visited"
    few = analysis.not_grid_because[5]
    assert few.startswith(f"{analysis.num_fields[5]} of 5 fields")
    assert "2 undetermined" in repr(analysis)


def test_no_verdict_without_fields_or_null(analysis):
    assert (analysis.num_fields[analysis.is_grid] >= 5).all()
    assert (analysis.grid_score[analysis.is_grid] > analysis.null_threshold[analysis.is_grid]).all()
    assert np.isnan(analysis.grid_score[-3:]).all()
    assert np.isnan(analysis.spatial_information[-2:]).all()
    assert (analysis.module == -1).all()  # two grid cells are not a module


def test_lattice_of_the_hexagon(analysis):
    assert analysis.spacing_m[0] == pytest.approx(0.6, rel=0.03)
    assert analysis.orientation_deg[0] == pytest.approx(20, abs=2)
    assert analysis.ellipse_aspect[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("unit", [0, 1, 2])
def test_fields_stand_at_the_phase(analysis, unit):
    """A field found from the phase is a field of the drawn lattice."""
    sheared = 0.7 * np.array(synthetic.SHEARED)
    basis = [
        synthetic.hexagonal_basis(0.6, 20),
        synthetic.square_basis(0.6, 20),
        synthetic.triangle_basis(sheared, 50),
    ][unit]
    field = analysis.phase[unit] @ analysis.lattice[unit, :2]
    drawn = field @ np.linalg.inv(basis) - PHASE
    np.testing.assert_allclose(drawn - np.round(drawn), 0, atol=0.05)
    assert ((analysis.phase[unit] >= 0) & (analysis.phase[unit] < 1)).all()


def test_old_and_new_keys_give_the_same_numbers():
    maps = synthetic.lattice_map(synthetic.hexagonal_basis(0.5), box_m=2.0, bins=50)[None]
    results = [
        analyze_ratemaps(maps, 2.0, num_shuffles=5, key=key)
        for key in (jax.random.key(3), jax.random.PRNGKey(3))
    ]
    np.testing.assert_array_equal(results[0].null_threshold, results[1].null_threshold)


def test_a_seed_and_its_key_give_the_same_verdicts():
    lattice = synthetic.hexagonal_basis(0.5, 20)
    maps = synthetic.lattice_map(lattice, phase=PHASE, box_m=1.5, bins=30)[None]
    by_seed = analyze_ratemaps(maps, 1.5, num_shuffles=5, seed=3)
    by_key = analyze_ratemaps(maps, 1.5, num_shuffles=5, key=jax.random.key(3))
    np.testing.assert_array_equal(by_seed.null_threshold, by_key.null_threshold)
    assert np.isfinite(by_seed.null_threshold).all()
    other = analyze_ratemaps(maps, 1.5, num_shuffles=5, seed=4)
    assert not np.array_equal(by_seed.null_threshold, other.null_threshold)


def test_shuffles_keep_fields_and_lose_their_order():
    rng = np.random.default_rng(0)
    ratemap = synthetic.lattice_map(synthetic.hexagonal_basis(0.6, 10), **BOX)
    ratemap[:10, :10] = np.nan
    shuffled = field_shuffles(ratemap, 20, rng)
    assert shuffled.shape == (20, 75, 75)
    np.testing.assert_array_equal(
        np.isnan(shuffled), np.broadcast_to(np.isnan(ratemap), (20, 75, 75))
    )
    np.testing.assert_allclose(np.nanmax(shuffled, axis=(1, 2)), np.nanmax(ratemap), rtol=1e-5)
    # Fields leave the box or overlap now and then, so a share of the high bins is lost.
    high = (shuffled > 0.5).mean(axis=(1, 2)) / (ratemap > 0.5).mean()
    assert (high > 0.5).all()
    assert (high < 1.3).all()


def test_shuffled_fields_stay_where_the_animal_was():
    """Otherwise the null of a rectangle amid unvisited bins has fewer fields than the map."""
    ratemap = synthetic.lattice_map(synthetic.hexagonal_basis(0.6, 10), **BOX)
    ratemap[:25], ratemap[50:] = np.nan, np.nan
    shuffled = field_shuffles(ratemap, 40, np.random.default_rng(0))
    high = np.mean(shuffled > 0.5, axis=(1, 2)).mean() / np.mean(ratemap > 0.5)
    assert 0.75 < high < 1.1  # 0.9 in the whole box: some of a field falls over a wall or another


def test_a_key_is_one_key():
    with pytest.raises(ValueError, match="must be one JAX key"):
        generator(jax.random.split(jax.random.key(0)))


def test_no_units_is_no_error():
    empty = analyze_ratemaps(np.empty((0, 50, 50)), 2.0, num_shuffles=5, key=jax.random.key(0))
    assert empty.kind.shape == (0,)
    assert empty.lattice.shape == (0, 3, 2)
