"""Other people's code on the same maps: `spatial_maps` (CINPLA) and `ratinabox`."""

import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from sicjax.analysis import synthetic
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.ratemaps import bin_activity, bin_positions
from sicjax.analysis.units import analyze_ratemaps

REASONS = {
    "spatial_maps": "220 MB with what it needs, so not in the test extra: pip install spatial-maps",
    "ratinabox": "comes with the test extra: pip install 'sicjax[test]'",
}


def import_oracle(name):
    """Import a package that may warn about its own dependencies; skip where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=REASONS[name])


def clean_map(basis):
    return synthetic.lattice_map(basis, box_m=3.0, bins=75)


def test_spacing_and_gridness_of_spatial_maps():
    oracle = import_oracle("spatial_maps")
    for period in (0.4, 0.6, 0.85):
        clean = clean_map(synthetic.hexagonal_basis(period, 12))
        ours = score_ratemaps(clean[None], 3.0)
        correlogram = oracle.autocorrelation(clean)
        peaks = oracle.find_peaks(correlogram) * 0.04
        theirs = oracle.spacing_and_orientation(peaks, 0.04 * np.array(correlogram.shape))[0]
        # Its peaks are whole bins of 4 cm, and lean inwards where the overlap shrinks; the mean of
        # six of them is good to about half a bin.
        np.testing.assert_allclose(ours.spacing_m[0], theirs, atol=0.03)
        # Its correlogram is not normalised by the overlap, so its gridness is lower.
        assert oracle.gridness(clean) > 0.9
        assert oracle.gridness(clean_map(synthetic.square_basis(period, 12))) < 0


def test_rotational_score_equals_the_rotated_pictures_of_spatial_maps():
    """On the same correlogram and the same ring, turning the picture gives our score."""
    import_oracle("spatial_maps")
    from spatial_maps.gridcells import rotate_corr

    for basis in (
        synthetic.hexagonal_basis(0.6, 12),
        synthetic.triangle_basis((0.6, 0.55, 0.7), 3),
    ):
        clean = clean_map(basis)
        ours = score_ratemaps(clean[None], 3.0)
        correlogram = np.nan_to_num(autocorrelogram(clean))
        middle, period = correlogram.shape[0] // 2, ours.spacing_m[0] / 0.04
        reach = int(1.5 * period) + 1
        window = slice(middle - reach, middle + reach + 1)
        distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
        outside = (distance < 0.5 * period) | (distance > 1.5 * period)
        r30, r60 = rotate_corr(correlogram[window, window], mask=outside)
        # It turns pictures of 4 cm pixels by splines, we read polar coordinates bilinearly.
        np.testing.assert_allclose(ours.grid_score[0], np.min(r60) - np.max(r30), atol=0.03)


@pytest.fixture
def simulated():
    """Grid cells of ratinabox; its `gridscale` is the wavelength, sqrt(3)/2 of the spacing."""
    ratinabox = import_oracle("ratinabox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ratinabox.Agent import Agent
        from ratinabox.Environment import Environment
        from ratinabox.Neurons import GridCells

        ratinabox.verbose = False
        np.random.seed(0)  # noqa: NPY002 - the only source of chance that ratinabox knows
        agent = Agent(Environment({"scale": 2.0}))
        scales = np.repeat([0.45, 0.7], 12)
        angles = np.deg2rad(np.repeat([10.0, 25.0], 12))
        cells = GridCells(agent, {"gridscale": scales, "orientation": angles})
    return cells, scales, angles


def test_grid_cells_simulated_by_ratinabox(simulated):
    cells, scales, angles = simulated
    corner_to_corner = bin_positions(2.0, 50) + 1.0  # its box starts at the origin
    maps = cells.get_state(evaluate_at=None, pos=corner_to_corner.reshape(-1, 2))
    analysis = analyze_ratemaps(
        maps.reshape(-1, 50, 50), 2.0, num_shuffles=20, key=jax.random.key(0)
    )
    np.testing.assert_allclose(analysis.spacing_m, scales * 2 / np.sqrt(3), rtol=0.03)
    turn = analysis.orientation_deg - (np.rad2deg(angles) + 30)  # axes stand between the waves
    np.testing.assert_array_less(np.abs((turn + 30) % 60 - 30), 2)
    enough = analysis.num_fields >= 5
    assert enough.sum() >= 12
    assert (analysis.kind[enough] == "grid").all()
    assert (analysis.kind[~enough] == "undetermined").all()
    assert (analysis.module[:12] == 0).all()


def test_grid_cells_along_the_recorded_path_of_a_rat(simulated):
    """Sargolini et al. 2006: 600 s in a 1 m box, unevenly visited; noise on every sample."""
    cells, _, _ = simulated
    scales = np.array([0.25, 0.3, 0.35])
    cells.gridscales[:3] = scales
    recorded = np.load(Path(sys.modules["ratinabox"].__file__).parent / "data" / "sargolini.npz")
    positions = recorded["pos"] - 0.5
    rates = cells.get_state(evaluate_at=None, pos=positions)[:3].T
    noisy = rates + 0.3 * np.random.default_rng(0).standard_normal(rates.shape)
    binned = bin_activity(positions, noisy, box_m=1.0, bins=25)
    spacing = score_ratemaps(binned.ratemaps, 1.0).spacing_m
    np.testing.assert_allclose(spacing, scales * 2 / np.sqrt(3), rtol=0.03)
