"""Time the grid scores that another package computes, in an interpreter of its own.

    PYTHON -m experiments.map_scorers NAME MAPS.npy OUT.npz

PYTHON has the package NAME, opexebo or ephysiopy. MAPS.npy has rate maps [N, y, x], which are not
smoothed again. OUT.npz gets `grid_score` [N], NaN where the package gives none or fails, and
`seconds`, the processor time of all maps. Each package runs with its own defaults.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np


def opexebo() -> Callable[[np.ndarray], float]:
    """Return opexebo's grid score of one map."""
    from opexebo import analysis

    return lambda ratemap: analysis.grid_score(analysis.autocorrelation(ratemap))[0]


def ephysiopy() -> Callable[[np.ndarray], float]:
    """Return ephysiopy's grid score of one map, which comes with its scale and orientation."""
    from ephysiopy.common import binning, fieldcalcs, utils

    correlator = object.__new__(binning.RateMap)  # its autocorrelogram needs no path

    def score(ratemap: np.ndarray) -> float:
        edges = [np.arange(side + 1.0) for side in ratemap.shape]
        rate = utils.MapType.RATE
        binned = utils.BinnedData(utils.VariableToBin.XY, rate, [ratemap.copy()], edges)
        return fieldcalcs.grid_field_props(correlator.autoCorr2D(binned))["gridscore"]

    return score


SCORERS = {"opexebo": opexebo, "ephysiopy": ephysiopy}


def main() -> None:
    """Score all maps; those on which the package fails get NaN."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(
        usage="PYTHON -m experiments.map_scorers NAME MAPS.npy OUT.npz"
    )
    parser.add_argument("name", choices=SCORERS)
    parser.add_argument("maps")
    parser.add_argument("scores")
    options = parser.parse_args()  # Our own parser isn't available: PYTHON has no sicjax.
    score, maps = SCORERS[options.name](), np.load(options.maps)
    score(maps[0])  # what is compiled or loaded at the first call doesn't count
    found = np.full(len(maps), np.nan)
    began = time.process_time()
    for n, ratemap in enumerate(maps):
        try:
            found[n] = score(ratemap)
        except Exception:  # a package may raise anything on a map without peaks
            continue
    np.savez(options.scores, grid_score=found, seconds=time.process_time() - began)


if __name__ == "__main__":
    main()
