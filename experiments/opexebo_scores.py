"""Compute grid scores and spacings with `opexebo`, in an interpreter of its own.

    PYTHON -m experiments.opexebo_scores IN.npz OUT.npz

PYTHON has opexebo and NumPy 1 (opexebo 0.7 does not run with NumPy 2). `IN.npz` has `times`,
`positions` (metres from the centre), `box_m`, `spikes` (the spike times of all cells, cell after
cell) and `counts` (spikes of each cell). `OUT.npz` gets `grid_score` and `spacing_m`, NaN where
opexebo gives none. opexebo runs with its own defaults: bins of 2.5 cm, a Gaussian of two bins.
"""

import argparse
import warnings

import numpy as np


def score(session: dict) -> dict:
    """Score every cell of a session."""
    from opexebo import analysis, general

    box_cm, times = 100 * float(session["box_m"]), session["times"]
    positions = 100 * session["positions"].T
    occupancy, _, _ = analysis.spatial_occupancy(times, positions, box_cm, bin_width=2.5)[:3]
    scores, spacings = [], []
    for train in np.split(session["spikes"], np.cumsum(session["counts"])[:-1]):
        tracking = np.stack([train, *(np.interp(train, times, axis) for axis in positions)])
        ratemap = analysis.rate_map(occupancy, tracking, box_cm, bin_width=2.5)
        correlogram = analysis.autocorrelation(general.smooth(ratemap, 2))
        value, statistics = analysis.grid_score(correlogram)
        scores.append(value)
        spacings.append(0.025 * statistics.get("grid_spacing", np.nan))
    return {"grid_score": np.array(scores), "spacing_m": np.array(spacings)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(usage="PYTHON -m experiments.opexebo_scores IN.npz OUT.npz")
    parser.add_argument("session", metavar="IN.npz")
    parser.add_argument("scores", metavar="OUT.npz")
    options = parser.parse_args()  # Our own parser isn't available: PYTHON has no sicjax.
    with np.load(options.session) as given:
        np.savez(options.scores, **score(dict(given)))
