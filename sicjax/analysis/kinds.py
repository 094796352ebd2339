"""The kinds of units, and the thresholds that tell them apart: the one place for both.

Letters: N units; y, x bins of a map. Lengths in metres.

A kind is decided against nulls, in `units.analyze_ratemaps`. Where there is no time for a null, a
look at the maps is enough to say what is active and what carries a lattice, by fixed scores.
"""

import numpy as np

from sicjax.analysis.grid_score import Scores

KINDS = ("grid", "square", "band", "place", "constant", "other", "undetermined", "silent")

ACTIVE_PEAK, ACTIVE_LEVEL, ACTIVE_SHARE = 1e-3, 0.2, 0.03
HEXAGONAL_SCORE, SQUARE_SCORE, LATTICE_FIELDS = 0.5, 0.7, 3
CONSTANT_VARIATION = 0.05  # coefficient of variation below which a unit carries no place


def active_units(ratemaps: np.ndarray) -> np.ndarray:
    """Which units [N] fire: peak above 1e-3, over 3 % of the visited bins above 20 % of it.

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
    """
    rates = ratemaps[:, np.isfinite(ratemaps).all(axis=0)]
    peak = rates.max(axis=1, initial=0)
    wide = (rates > ACTIVE_LEVEL * peak[:, None]).mean(axis=1) > ACTIVE_SHARE
    return (peak > ACTIVE_PEAK) & wide


def constant_units(ratemaps: np.ndarray) -> np.ndarray:
    """Which units [N] fire alike everywhere: standard deviation under 5 % of the mean.

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
    """
    rates = ratemaps[:, np.isfinite(ratemaps).all(axis=0)]
    return rates.std(axis=1) < CONSTANT_VARIATION * rates.mean(axis=1)


def lattice_kinds(scores: Scores, active: np.ndarray) -> np.ndarray:
    """Which lattice each unit carries, [N]: "hexagonal", "square" or "" for none.

    An active unit with at least 3 fields is hexagonal when its 60-degree score is above 0.5, else
    square when its 90-degree score is above 0.7.
    """
    able = active & (scores.num_fields >= LATTICE_FIELDS)
    hexagonal = able & (scores.grid_score > HEXAGONAL_SCORE)
    square = able & ~hexagonal & (scores.square_score > SQUARE_SCORE)
    return np.select([hexagonal, square], ["hexagonal", "square"], "")
