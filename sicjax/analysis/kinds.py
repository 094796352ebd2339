"""What a unit can be, and the thresholds that say so: the one place for both.

Letters: N units; y, x bins of a map.

The same definitions are used in two ways. *Against nulls*, the verdict: `kinds_by_shape` says what
needs no lattice, `kinds_against_null` adds the lattices that shuffled fields don't have; both give
one of KINDS, and `units.analyze_ratemaps` is what measures for them. *At a glance*, for quick looks
while a network trains and for counts beside the verdict: `lattices_at_a_glance` compares scores
with fixed numbers and gives one of GLANCES, never a kind. Smooth noise passes a glance now and
then, so nothing is claimed on it.
"""

import numpy as np

from sicjax.analysis.grid_score import Scores

KINDS = ("grid", "square", "band", "place", "constant", "other", "undetermined", "silent")
GLANCES = ("hexagonal", "square", "")  # "" for no lattice

MIN_OVERLAP = 20  # visited bins that a correlation needs (Sargolini et al. 2006)

# Whether a unit fires, and whether that can say anything about place.
SILENT_PEAK = 1e-3  # highest rate up to which a unit is silent (states have norm 1)
ACTIVE_LEVEL, ACTIVE_SHARE = 0.2, 0.03  # an active one exceeds 20 % of its peak in 3 % of the bins
CONSTANT_VARIATION = 0.05  # coefficient of variation below which a unit carries no place

# Against nulls. Shares are of the variance that place explains (`spatial_share`).
PERCENTILE = 99  # of the null, which a score or a fit must exceed
MIN_FIELDS = 5  # fewer fields decide nothing: three random ones pass for a hexagon
SQUARENESS = 0.5  # from a hexagonal lattice (0) to a square one (1), where the name changes
LATTICE_SHARE = 1 / 3  # which a lattice's waves must explain
SINGLE_SHARE = 0.6  # which a band's one wave, or a place cell's one field, must explain
NEXT_SHARE = 1 / 4  # of what the one explains, which the next of its sort explains at most
PLACE_AREA = 1 / 3  # of the box, which a place field stays under at half its height

# At a glance.
GLANCE_FIELDS, GLANCE_HEXAGONAL, GLANCE_SQUARE = 3, 0.5, 0.7  # fewest fields, lowest scores


def silent_units(ratemaps: np.ndarray) -> np.ndarray:
    """Which units [N] of maps [N, y, x] (NaN where unvisited) never exceed SILENT_PEAK."""
    return _peaks(np.abs(ratemaps)) <= SILENT_PEAK


def constant_units(ratemaps: np.ndarray) -> np.ndarray:
    """Which units [N] fire alike everywhere: standard deviation under 5 % of the mean.

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
    """Which units [N] fire: peak above 1e-3, over 3 % of the visited bins above 20 % of it.

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
    """
    peak, visited = _peaks(ratemaps), np.isfinite(ratemaps).sum(axis=(1, 2))
    high = (ratemaps > ACTIVE_LEVEL * peak[:, None, None]).sum(axis=(1, 2))
    return (peak > SILENT_PEAK) & (high > ACTIVE_SHARE * visited)


def spatial_share(ratemap: np.ndarray) -> float:
    """Return a map's correlation with itself one bin away: the share of its variance that is place.

    Noise that differs from bin to bin is not in it; it bounds what any lattice can explain. It is
    the mean of the autocorrelogram at lags of one bin; NaN where one of the two is not defined.
    """
    neighbours = ((ratemap[:, :-1], ratemap[:, 1:]), (ratemap[:-1], ratemap[1:]))
    return float(np.mean([_correlation(*pair) for pair in neighbours]))


def is_single(share: float, next_share: float, spatial: float) -> bool:
    """Say whether one wave (a band) or one field (a place cell) is what a map holds.

    Args:
        share: of the map's variance, explained by the one.
        next_share: the same, by the next of its sort in what is left.
        spatial: the map's `spatial_share`.
    """
    return next_share <= NEXT_SHARE * share and share >= SINGLE_SHARE * spatial


def kinds_by_shape(
    ratemaps: np.ndarray, place: np.ndarray, band: np.ndarray, num_fields: np.ndarray
) -> np.ndarray:
    """Return the kind [N] of every unit that isn't left to a lattice's null; those are "other".

    Args:
        ratemaps: [N, y, x], NaN where unvisited.
        place: [N] bool, one compact field is what the map holds, and noise would not have it.
        band: [N] bool, one wave is what the map holds.
        num_fields: [N], the crests of a band.
    """
    unseen = ~np.isfinite(ratemaps).any(axis=(1, 2))
    silent, constant = silent_units(ratemaps), constant_units(ratemaps)
    rules = [unseen, silent, constant, place, num_fields < MIN_FIELDS, band]
    names = ["undetermined", "silent", "constant", "place", "undetermined", "band"]
    return np.select(rules, names, "other")


def kinds_against_null(
    kind: np.ndarray, above: np.ndarray, share: np.ndarray, squareness: np.ndarray
) -> np.ndarray:
    """Return kinds [N] with the "other" units that carry a lattice told as "grid" or "square".

    Args:
        kind: [N], of `kinds_by_shape`.
        above: [N, 3] bool, whether grid, corrected and square score are above their nulls.
        share: [N], of the variance that place explains, explained by the lattice's waves.
        squareness: [N], 0 of a hexagonal lattice, 1 of a square one.
    """
    regular = (kind == "other") & above[:, 1] & (share >= LATTICE_SHARE)
    grid = regular & above[:, 0] & (squareness < SQUARENESS)
    square = regular & above[:, 2] & (squareness >= SQUARENESS)
    return np.select([grid, square], ["grid", "square"], kind)


def lattices_at_a_glance(scores: Scores, active: np.ndarray) -> np.ndarray:
    """Which lattice each unit seems to carry, [N]: one of GLANCES. No null is asked.

    An active unit with at least 3 fields is hexagonal when its 60-degree score is above 0.5, else
    square when its 90-degree score is above 0.7.
    """
    able = active & (scores.num_fields >= GLANCE_FIELDS)
    hexagonal = able & (scores.grid_score > GLANCE_HEXAGONAL)
    square = able & ~hexagonal & (scores.square_score > GLANCE_SQUARE)
    return np.select([hexagonal, square], ["hexagonal", "square"], "")


def _peaks(ratemaps: np.ndarray) -> np.ndarray:
    """Return the highest rates [N]; 0 of a map that was never visited."""
    return np.where(np.isfinite(ratemaps), ratemaps, 0.0).max(axis=(1, 2), initial=0.0)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson r over the bins that are visited in both maps; NaN of few or of constants."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < MIN_OVERLAP:
        return np.nan
    one, two = (side[both] - side[both].mean() for side in (first, second))
    spread = np.sqrt((one @ one) * (two @ two))
    return float(one @ two / spread) if spread > 0 else np.nan
