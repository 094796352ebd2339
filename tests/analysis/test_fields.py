"""The size of firing fields, on maps with known truth."""

import numpy as np
import pytest

from sicjax.analysis.firing_fields import field_diameters
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map, place_map


@pytest.mark.parametrize("period", [0.7, 1.2])
def test_diameter_of_fields_is_that_at_half_their_height(period):
    """For a Gaussian, 2 sqrt(2 ln 2) standard deviations; a field cut by the wall is left out."""
    basis, width = hexagonal_basis(period, 10), 0.11
    maps = np.stack(
        [lattice_map(basis, box_m=3.0, bins=75, phase=p, field_width=width) for p in (0, 0.3)]
    )
    at_half = 2 * np.sqrt(2 * np.log(2)) * width * np.sqrt(abs(np.linalg.det(basis)))
    assert field_diameters(maps, 3.0) == pytest.approx(at_half, rel=0.05)
    place = place_map((0.0, 1.45), 0.3, box_m=3.0, bins=75)  # of a field at the wall, the half
    flat = np.full_like(place, 0.2)
    assert np.isnan(field_diameters(np.stack([place, flat]), 3.0)).all()


def test_a_field_beside_an_unvisited_bin_is_cut_off():
    place = place_map((0.0, 0.0), 0.3, box_m=3.0, bins=75)
    assert np.isfinite(field_diameters(place[None], 3.0)).all()
    place[38, 42] = np.nan
    assert np.isnan(field_diameters(place[None], 3.0)).all()
