"""Kinds of units and the thresholds that define them; both are defined only here.

Letters: N units; y, x bins of a map.

The definitions are used in two ways. *Against nulls* gives the verdict, one of KINDS.
`kinds_by_shape` decides all kinds except lattices. `kinds_against_null` then decides which lattices
score higher than shuffled fields. `units.analyze_ratemaps` measures the scores for both. *At a
glance* is for snapshots during training and for counts beside the verdict. `lattices_at_a_glance`
compares scores with fixed numbers and gives one of GLANCES, never a kind. Smooth noise sometimes
looks like a lattice at a glance, so no claim rests on a glance.
"""

import numpy as np

from sicjax.analysis.grid_score import Scores

KINDS = ("grid", "square", "band", "place", "constant", "other", "undetermined", "silent")
GLANCES = ("hexagonal", "square", "")  # "" for no lattice

MIN_OVERLAP = 20  # visited bins that a correlation needs (Sargolini et al. 2006)

# Whether a unit is active, and whether its activity can depend on position.
SILENT_PEAK = 1e-3  # highest rate up to which a unit is silent (states have norm 1)
ACTIVE_LEVEL, ACTIVE_SHARE = 0.2, 0.03  # an active one exceeds 20 % of its peak in 3 % of the bins
CONSTANT_VARIATION = 0.05  # coefficient of variation below which a unit is constant

# Against nulls. Shares are of the variance that position explains (`spatial_share`).
PERCENTILE = 99  # a score or a fit must exceed this percentile of its null model
MIN_FIELDS = 5  # with fewer there is no decision, because any three fields fit a hexagon
SQUARENESS = 0.5  # limit between hexagonal lattices (0) and square ones (1)
LATTICE_SHARE = 1 / 3  # least share that a lattice's waves must explain
SINGLE_SHARE = 0.6  # least share for a band's one wave or a place cell's field
NEXT_SHARE = 1 / 4  # the next wave or field explains at most this part of it
PLACE_AREA = 1 / 3  # largest share of the box that a place field covers at half height

# At a glance.
GLANCE_FIELDS, GLANCE_HEXAGONAL, GLANCE_SQUARE = 3, 0.5, 0.7  # least fields and scores


def silent_units(ratemaps: np.ndarray) -> np.ndarray:
    """Return which units [N] of maps [N, y, x] (NaN where unvisited) stay below SILENT_PEAK."""
    return _peaks(np.abs(ratemaps)) <= SILENT_PEAK


def constant_units(ratemaps: np.ndarray) -> np.ndarray:
    """Return which units [N] are constant: standard deviation under 5 % of the mean.

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
    """
    visited = np.isfinite(ratemaps)
    count = np.maximum(visited.sum(axis=(1, 2)), 1)
    mean = np.where(visited, ratemaps, 0).sum(axis=(1, 2)) / count
    apart = np.where(visited, ratemaps - mean[:, None, None], 0)
    variance = (apart**2).sum(axis=(1, 2)) / count
    return np.sqrt(variance) < CONSTANT_VARIATION * np.abs(mean)


def active_units(ratemaps: np.ndarray) -> np.ndarray:
    """Return which units [N] are active: peak above 1e-3, over 3 % of the bins above 20 % of it.

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
    """
    peak, visited = _peaks(ratemaps), np.isfinite(ratemaps).sum(axis=(1, 2))
    high = (ratemaps > ACTIVE_LEVEL * peak[:, None, None]).sum(axis=(1, 2))
    return (peak > SILENT_PEAK) & (high > ACTIVE_SHARE * visited)


def spatial_share(ratemap: np.ndarray) -> float:
    """Return a map's correlation with itself one bin away: the share that position explains.

    Noise that differs from bin to bin is not part of it, so it bounds what any lattice can explain.
    It is the mean of the autocorrelogram at lags of one bin along x and along y; NaN where either
    is not defined.
    """
    neighbours = ((ratemap[:, :-1], ratemap[:, 1:]), (ratemap[:-1], ratemap[1:]))
    return float(np.mean([_correlation(*pair) for pair in neighbours]))


def is_single(share: float, next_share: float, spatial: float) -> bool:
    """Return whether a map holds just one wave (a band) or one field (a place cell).

    Args:
        share: of the map's variance, explained by that wave or field.
        next_share: the share of the next wave or field, fitted to the remainder.
        spatial: the map's `spatial_share`.
    """
    return next_share <= NEXT_SHARE * share and share >= SINGLE_SHARE * spatial


def kinds_by_shape(
    ratemaps: np.ndarray, place: np.ndarray, band: np.ndarray, num_fields: np.ndarray
) -> np.ndarray:
    """Return the kinds [N] that need no null; units whose lattice must pass one are "other".

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
        place: [N] bool, the map holds one compact field, which fits better than any in noise.
        band: [N] bool, the map holds one wave.
        num_fields: [N], for a band its number of crests.
    """
    unseen = ~np.isfinite(ratemaps).any(axis=(1, 2))
    silent, constant = silent_units(ratemaps), constant_units(ratemaps)
    rules = [unseen, silent, constant, place, num_fields < MIN_FIELDS, band]
    names = ["undetermined", "silent", "constant", "place", "undetermined", "band"]
    return np.select(rules, names, "other")


def kinds_against_null(
    kind: np.ndarray, above: np.ndarray, share: np.ndarray, squareness: np.ndarray
) -> np.ndarray:
    """Return kinds [N]; "other" units whose lattice passes its null become "grid" or "square".

    Args:
        kind: [N], from `kinds_by_shape`.
        above: [N, 3] bool, whether grid, corrected and square score are above their nulls.
        share: [N], of the variance that position explains, explained by the lattice's waves.
        squareness: [N], 0 for a hexagonal lattice, 1 for a square one.
    """
    regular = (kind == "other") & above[:, 1] & (share >= LATTICE_SHARE)
    grid = regular & above[:, 0] & (squareness < SQUARENESS)
    square = regular & above[:, 2] & (squareness >= SQUARENESS)
    return np.select([grid, square], ["grid", "square"], kind)


def failed_conditions(
    above: np.ndarray, share: np.ndarray, squareness: np.ndarray, least_share: np.ndarray
) -> list[str]:
    """Return for each of N units the conditions of a grid cell that fail; "" if none does.

    Args:
        above, share, squareness: as in `kinds_against_null`.
        least_share: [N], what the lattice's waves must explain.
    """
    found = []
    for passed, part, square, least in zip(above, share, squareness, least_share, strict=True):
        conditions = [
            (passed[0], "grid score not above its null"),
            (passed[1], "corrected grid score not above its null"),
            (part >= least, f"lattice explains {part:.0%} of the variance, {least:.0%} needed"),
            (square < SQUARENESS, "lattice nearer to a square"),
        ]
        failed = "; ".join(words for holds, words in conditions if not holds)
        found.append(failed if np.isfinite(part) else "no lattice found")
    return found


def lattices_at_a_glance(scores: Scores, active: np.ndarray) -> np.ndarray:
    """Return one of GLANCES for each unit [N], by fixed thresholds and without a null.

    An active unit with at least 3 fields is hexagonal when its grid score is above 0.5, else
    square when its square score is above 0.7.
    """
    able = active & (scores.num_fields >= GLANCE_FIELDS)
    hexagonal = able & (scores.grid_score > GLANCE_HEXAGONAL)
    square = able & ~hexagonal & (scores.square_score > GLANCE_SQUARE)
    return np.select([hexagonal, square], ["hexagonal", "square"], "")


def _peaks(ratemaps: np.ndarray) -> np.ndarray:
    """Return the highest rates [N]; 0 for a map without visited bins."""
    return np.where(np.isfinite(ratemaps), ratemaps, 0.0).max(axis=(1, 2), initial=0.0)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson r over bins visited in both maps; NaN for few bins or constant maps."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < MIN_OVERLAP:
        return np.nan
    one, two = (side[both] - side[both].mean() for side in (first, second))
    spread = np.sqrt((one @ one) * (two @ two))
    return float(one @ two / spread) if spread > 0 else np.nan
