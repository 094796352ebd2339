"""Maps folded into one cell: known fields and phases, and maps that do not repeat."""

import numpy as np
import pytest

from sicjax.analysis.folding import fold_ratemaps
from sicjax.analysis.indices import INDICES
from sicjax.analysis.lattice import three_axes
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map

BOX_M, BINS, COARSE_M = 6.0, 150, 1.9
COARSE = hexagonal_basis(COARSE_M, 7.0)
AXES = three_axes(COARSE[None])[0]
# Turn of the sublattice of each index against the coarsest lattice, in degrees.
TURNS = {1: 0, 3: 30, 4: 0, 7: np.rad2deg(np.arctan(np.sqrt(3) / 5)), 9: 0, 12: 30}


def unit(index, phase=(0.0, 0.0), shape=None):
    """A map with fields on the sublattice of an index, deformed; the phase is in its own cell."""
    basis = hexagonal_basis(COARSE_M / np.sqrt(index), 7.0 + TURNS[index])
    basis = basis if shape is None else basis @ shape
    return lattice_map(basis, box_m=BOX_M, bins=BINS, phase=phase)


def fold(*maps, axes=AXES, **options):
    return fold_ratemaps(np.stack(maps), BOX_M, axes=axes, **options)


@pytest.mark.parametrize("shape", [np.eye(2), np.array([[1.0, 0.15], [0.0, 0.9]])])
def test_a_lattice_has_as_many_fields_as_its_index(shape):
    axes = three_axes((COARSE @ shape)[None])[0]
    phases = np.random.default_rng(0).random((3, 2))
    for phase in phases:
        found = fold(*(unit(index, phase, shape) for index in INDICES), axes=axes)
        assert found.fields.tolist() == list(INDICES)
        # What varies inside a bin of the cell is not explained: the more, the finer the lattice.
        assert (np.diff(found.variance_explained) < 0).all()
        assert found.variance_explained[0] > 0.98
        assert found.variance_explained[-1] > 0.85


def test_a_honeycomb_has_two_fields_for_each_point_of_its_lattice():
    """Index 3 without one of its three sublattices is a honeycomb on the coarsest lattice."""
    third = [(1 / 3, 1 / 3), (2 / 3, 2 / 3)]  # of the cell; with 0 they are the lattice of index 3
    two = sum(unit(1, phase) for phase in third)
    fine = hexagonal_basis(COARSE_M / np.sqrt(3), 37.0)
    six = sum(lattice_map(fine, box_m=BOX_M, bins=BINS, phase=p) for p in third)
    found = fold(two, six)
    assert found.fields.tolist() == [2, 6]
    assert found.counts == {2: 1, 6: 1}


def test_a_field_lies_at_its_phase():
    for phase in ((0.0, 0.0), (0.25, 0.7)):
        found = fold(unit(1, phase))
        v, u = np.unravel_index(found.ratemaps[0].argmax(), found.ratemaps[0].shape)
        bins = found.ratemaps.shape[-1]
        apart = (np.array([u, v]) + 0.5) / bins - phase
        # The nearest bin's centre is half a bin away, and a bin of the box is as wide as one.
        assert np.abs(apart - np.round(apart)).max() <= 1.5 / bins
        np.testing.assert_allclose(found.basis, AXES[:2])


def test_rates_and_holes_change_neither_fields_nor_shares():
    """Rates may have any unit and offset, and visited bins may be few."""
    rng = np.random.default_rng(1)
    whole = np.stack([unit(3, (0.2, 0.4)), unit(9, (0.6, 0.1))])
    holes = np.where(rng.random(whole.shape[1:]) < 0.4, np.nan, whole)
    first = fold(*whole)
    for maps in (5 + 30 * whole, holes):
        found = fold(*maps)
        assert found.fields.tolist() == [3, 9]
        # With 0.4 of the bins missing, means over a cell's bins differ a little.
        np.testing.assert_allclose(
            found.variance_explained, first.variance_explained, rtol=0, atol=0.01
        )


def test_maps_that_do_not_repeat_have_no_fields():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((20, BINS, BINS))
    other = lattice_map(hexagonal_basis(0.83, 19.0), box_m=BOX_M, bins=BINS)
    found = fold(*noise, other)
    assert not found.fields.any()
    # Of noise the phase explains nothing: the mean over maps of 22,500 bins is near 0.
    assert abs(found.variance_explained[:20].mean()) < 0.005
    assert found.variance_explained[20] < 0.1


def test_without_variance_or_spare_bins_nothing_is_known():
    constant = np.ones((BINS, BINS))
    found = fold(constant, np.full((BINS, BINS), np.nan))
    assert found.fields.tolist() == [0, 0]
    assert np.isnan(found.variance_explained).all()
    one_cell = lattice_map(COARSE, box_m=1.0, bins=12)[None]  # every bin is a bin of the cell
    found = fold_ratemaps(one_cell, 1.0, axes=AXES)
    assert np.isnan(found.variance_explained).all()
    assert found.fields.tolist() == [0]


def test_unfolded_maps_are_the_maps_that_were_folded():
    whole = np.stack([unit(3, (0.2, 0.4)), unit(1)])
    found = fold(*whole)
    again = found.unfold(BOX_M, BINS)
    assert again.shape == whole.shape
    for before, after, share in zip(whole, again, found.variance_explained, strict=True):
        left = np.var(before - after) / np.var(before)
        # The share is corrected for the number of bins; this is the same number without it.
        assert left == pytest.approx(1 - share, rel=0.05)
    wide = found.unfold(2 * BOX_M, 2 * BINS)
    np.testing.assert_array_equal(wide[:, 75:225, 75:225], again)


def test_the_table_has_one_row_per_unit():
    found = fold(unit(1), unit(3), unit(3))
    assert list(found.columns()) == ["unit", "fields", "variance_explained"]
    assert "1 with 1, 2 with 3" in repr(found)
