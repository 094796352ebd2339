"""Kinds of recorded cells by the time-shift null, and the reasons why a cell is not a grid cell.

Letters: N cells; C cells with enough spikes for a null; S shifts; y, x bins of a map.
"""

import numpy as np

from sicjax.analysis import lattice
from sicjax.analysis.grid_score import Scores
from sicjax.analysis.kinds import (
    LATTICE_SHARE,
    MIN_FIELDS,
    PERCENTILE,
    SQUARENESS,
    failed_conditions,
    is_single,
    spatial_share,
)
from sicjax.analysis.ratemaps import bin_positions
from sicjax.analysis.waves import fit_band

MIN_SPIKES = 50  # a cell with fewer gets no verdict
# Three or four fields at random places sometimes look like a hexagon. So with fewer than MIN_FIELDS
# fields, the lattice's waves must explain twice the usual share.
FEW_FIELDS_SHARE = 2 / 3


def cell_kinds(
    maps: np.ndarray,
    box_m: float,
    scores: Scores,
    share: np.ndarray,
    above: np.ndarray,
    informative: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return kinds [N], by the nulls alone, and numbers of fields or crests [N]."""
    kind, num_fields = np.full(len(maps), "other", dtype="<U12"), scores.num_fields.copy()
    few = num_fields < MIN_FIELDS
    kind[informative & few] = "place"
    for n in np.flatnonzero(informative):
        if (crests := _band_crests(maps[n], box_m)) >= MIN_FIELDS:
            kind[n], num_fields[n] = "band", crests
    squareness = lattice.squareness(scores.axes_m)
    regular = above[:, 1] & (share >= _least_share(scores.num_fields))
    regular &= kind != "band"
    kind[regular & above[:, 0] & (squareness < SQUARENESS)] = "grid"
    kind[regular & above[:, 2] & (squareness >= SQUARENESS)] = "square"
    return kind, num_fields


def _least_share(num_fields: np.ndarray) -> np.ndarray:
    """Return the share [N] of the variance that the waves of a cell's lattice must explain."""
    return np.where(num_fields < MIN_FIELDS, FEW_FIELDS_SHARE, LATTICE_SHARE)


def lacking(
    kind: np.ndarray,
    scores: Scores,
    share: np.ndarray,
    above: np.ndarray,
    num_spikes: np.ndarray,
    on_track: str,
) -> np.ndarray:
    """Return `not_grid_because` [N] of cells with these kinds [N]."""
    failed = failed_conditions(
        above, share, lattice.squareness(scores.axes_m), _least_share(scores.num_fields)
    )
    few = [f"{n} spikes, {MIN_SPIKES} needed" for n in num_spikes]
    undetermined = np.where(num_spikes < MIN_SPIKES, few, on_track)
    rules = [kind == "other", kind == "undetermined"]
    return np.select(rules, [np.array(failed, dtype=str), undetermined], "")


def above_information(
    information: np.ndarray, candidates: np.ndarray, null: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compare the information [N] of cells with their own and with the pooled null [C, S].

    The null's mean and spread fall with the number of spikes, so it is pooled in units of each
    cell's own spread above its own mean.

    Returns:
        which cells are above both [N] bool; their own thresholds [N].
    """
    informative = np.zeros(len(information), dtype=bool)
    threshold = np.full(len(information), np.nan)
    if len(candidates):
        own = information[candidates]
        threshold[candidates] = np.percentile(null, PERCENTILE, axis=1)
        mean, spread = null.mean(axis=1), np.maximum(null.std(axis=1), 1e-12)
        pooled = np.percentile((null - mean[:, None]) / spread[:, None], PERCENTILE)
        informative[candidates] = (own > threshold[candidates]) & ((own - mean) / spread > pooled)
    return informative, threshold


def _band_crests(ratemap: np.ndarray, box_m: float) -> int:
    """Return the number of crests of a band, or 0 for any other map."""
    bins = len(ratemap)
    band = fit_band(ratemap, bin_positions(box_m, bins), box_m / bins)
    single = is_single(band.share, band.next_share, spatial_share(ratemap))
    return band.crests if single else 0
