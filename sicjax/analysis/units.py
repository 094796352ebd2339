"""Scores, lattice and kind of each unit, against nulls made from its own map.

Letters: N units; y, x bins of a map. Lengths in metres, angles in degrees counter-clockwise from
+x.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis import lattice
from sicjax.analysis.grid_score import Scores, score_ratemaps
from sicjax.analysis.inputs import check_shuffles
from sicjax.analysis.kinds import (
    LATTICE_SHARE,
    MIN_FIELDS,
    PERCENTILE,
    constant_units,
    failed_conditions,
    is_single,
    kinds_against_null,
    kinds_by_shape,
    silent_units,
    spatial_share,
)
from sicjax.analysis.modules import MIN_UNITS, check_min_units, find_modules
from sicjax.analysis.place_fields import place_units
from sicjax.analysis.ratemaps import bin_positions, check_ratemaps, spatial_information
from sicjax.analysis.shuffles import generator, shuffled_scores
from sicjax.analysis.tables import Table
from sicjax.analysis.waves import fit_band, fit_waves, wave_vectors


@dataclass(frozen=True, repr=False)
class UnitAnalysis(Table):
    """One entry per unit; NaN where a number is not defined (`kind` says why)."""

    grid_score: np.ndarray  # [N] on a ring of the measured period
    grid_score_corrected: np.ndarray  # [N] grid score after correcting for the lattice's ellipse
    square_score: np.ndarray  # [N] as the grid score, for square lattices
    num_fields: np.ndarray  # [N] int, fields with their peaks in the box; the crests of a band
    spacing_m: np.ndarray  # [N] mean length of the three axes (neighbouring fields)
    orientation_deg: np.ndarray  # [N] circular mean of the axes mod 60, in [0, 60)
    ellipse_aspect: np.ndarray  # [N] long over short axis of the ellipse through the six fields
    ellipse_tilt_deg: np.ndarray  # [N] direction of the long one, in [0, 180)
    phase: np.ndarray  # [N, 2] in [0, 1): fields lie at phase @ lattice[:2] (box centre is 0)
    lattice: np.ndarray  # [N, 3, 2] the three axes (x, y), metres, by angle in [0, 180)
    spatial_information: np.ndarray  # [N] bits per unit of activity
    null_threshold: np.ndarray  # [N] 99th percentile of the field-shuffle null of `grid_score`
    is_grid: np.ndarray  # [N] bool
    module: np.ndarray  # [N] int, -1 for none
    kind: np.ndarray  # [N] one of KINDS
    not_grid_because: np.ndarray  # [N] what an "other" or "undetermined" unit lacks; else ""

    def _title(self) -> str:
        title = f"{super()._title()}, {self.is_grid.sum()} grid"
        if undetermined := np.sum(self.kind == "undetermined"):
            title += f", {undetermined} undetermined (not_grid_because says why)"
        return title


def analyze_ratemaps(
    ratemaps: ArrayLike,
    box_m: float,
    *,
    num_shuffles: int = 100,
    min_units: int = MIN_UNITS,
    seed: int = 0,
    key: Any = None,
    progress: bool = True,
) -> UnitAnalysis:
    """Score every unit, fit its lattice, and decide its kind.

    A unit is a grid cell if four conditions hold. It has at least 5 fields. Its grid score and its
    ellipse-corrected grid score are both above the 99th percentile of two field-shuffle nulls
    (Barry & Burgess 2017): the unit's own, and the one pooled over all maps. The waves of its
    lattice explain at least a third of the variance that position explains. The lattice is nearer
    to a hexagon than to a square. Square units are found in the same way, by the square score. A
    place cell has one field, which fits better than any field in noise with the map's spectrum.

    Args:
        ratemaps: [N, bins, bins], mean activity, axis 0 is y, axis 1 is x; NaN where unvisited.
        box_m: side of the square box, metres.
        num_shuffles: shuffles per unit; a 99th percentile needs at least 100. To search through
            many networks, 10 are enough and take a quarter of the time: the pooled null then
            decides. (In five networks of quick.py, 11 of 320 units got another verdict than with
            100 shuffles, which found 130 grid cells.)
        min_units: fewest grid cells of a module, from 3.
        seed: of the shuffles, a whole number; the same as `key=jax.random.key(seed)`.
        key: a JAX key, instead of a seed.
        progress: whether to show a bar if the shuffles take more than two seconds.

    Returns:
        A `UnitAnalysis` with arrays of length N. A unit without a verdict has NaN scores, and its
        kind says why: silent, constant, undetermined (all NaN, or fewer than 5 fields).

    Raises:
        ValueError: maps that are not [N, bins, bins], a box that is not one positive length, fewer
            than one shuffle, or an invalid seed or key.

    Source: Sargolini et al. 2006 (grid score), Barry & Burgess 2017 (null), Skaggs et al. 1993
        (spatial information); the rest is ours.

    Example:
        >>> import numpy as np, sicjax
        >>> x = (np.arange(75) + 0.5) * 0.04 - 1.5  # 4 cm bins of a 3 m box
        >>> angles = np.deg2rad([0, 60, 120])  # three waves 60 degrees apart: a hexagonal lattice
        >>> waves = np.cos(2 * np.pi / 0.6 * (np.cos(angles) * x[:, None]
        ...     + np.sin(angles) * x[:, None, None]))  # [y, x, 3]
        >>> units = sicjax.analyze_ratemaps(waves.sum(-1)[None], 3.0)
        >>> units.kind.tolist(), units.spacing_m.round(2).tolist()  # 0.6 m * 2 / sqrt(3)
        (['grid'], [0.69])
    """
    maps = check_ratemaps(ratemaps)
    check_shuffles(num_shuffles)
    check_min_units(min_units)
    # Kinds without a lattice are decided by shape. Their noise has its own generator, so their
    # number does not change the shuffles of the other units.
    rng = generator(key, seed)
    scores = score_ratemaps(maps, box_m)
    kind, num_fields = _by_shape(maps, scores.num_fields, box_m, rng.spawn(1)[0], progress)
    phase, share = lattice_fits(maps, scores.axes_m, box_m)

    # Shuffling takes most of the time, so only the remaining units are shuffled.
    candidates = np.nonzero(kind == "other")[0]
    null = shuffled_scores(maps[candidates], num_shuffles, rng, progress=progress)
    above, threshold = above_null(scores, candidates, null)
    squareness = lattice.squareness(scores.axes_m)
    kind = kinds_against_null(kind, above, share, squareness)
    failed = failed_conditions(above, share, squareness, np.full(len(maps), LATTICE_SHARE))
    few = [
        f"{n} of {MIN_FIELDS} fields needed: use a larger box, or score_recording"
        for n in num_fields
    ]
    unseen = ~np.isfinite(maps).any(axis=(1, 2))
    undetermined = np.where(unseen, "never visited", few)

    aspect, tilt = lattice.ellipse(scores.axes_m)
    analysis = UnitAnalysis(
        grid_score=scores.grid_score,
        grid_score_corrected=scores.grid_score_corrected,
        square_score=scores.square_score,
        num_fields=num_fields,
        spacing_m=scores.spacing_m,
        orientation_deg=lattice.orientation_deg(scores.axes_m),
        ellipse_aspect=aspect,
        ellipse_tilt_deg=tilt,
        phase=phase,
        lattice=scores.axes_m,
        spatial_information=spatial_information(maps),
        null_threshold=threshold,
        is_grid=kind == "grid",
        module=np.full(len(maps), -1),
        kind=kind,
        not_grid_because=np.select(
            [kind == "other", kind == "undetermined"], [np.array(failed, str), undetermined], ""
        ),
    )
    return dataclasses.replace(analysis, module=find_modules(analysis, min_units=min_units).labels)


def _by_shape(
    maps: np.ndarray,
    num_fields: np.ndarray,
    box_m: float,
    rng: np.random.Generator,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return kinds [N] ("other" where a null must decide) and numbers of fields or crests."""
    varies = np.isfinite(maps).any(axis=(1, 2)) & ~silent_units(maps) & ~constant_units(maps)
    place, band, counts = np.zeros_like(varies), np.zeros_like(varies), num_fields.copy()
    place[varies] = place_units(maps[varies], rng, progress=progress)
    positions, bin_m = bin_positions(box_m, maps.shape[1]), box_m / maps.shape[1]
    for n in np.flatnonzero(varies & ~place):
        fit = fit_band(maps[n], positions, bin_m)
        if is_single(fit.share, fit.next_share, spatial_share(maps[n])):
            band[n], counts[n] = True, fit.crests
    return kinds_by_shape(maps, place, band, counts), counts


def lattice_fits(maps: np.ndarray, axes: np.ndarray, box_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the phases [N, 2] in the unit cell and the share [N] of spatial variance explained."""
    positions = bin_positions(box_m, maps.shape[1])
    phase, share = np.full((len(maps), 2), np.nan), np.full(len(maps), np.nan)
    waves, basis = wave_vectors(axes), lattice.shortest_pair(axes)
    for n in np.nonzero(np.isfinite(axes).all(axis=(1, 2)))[0]:
        amplitudes, fitted = fit_waves(maps[n], waves[n], positions)
        field = np.angle(amplitudes[:2]) / (2 * np.pi) @ basis[n]  # where both waves peak
        phase[n] = np.mod(field @ np.linalg.inv(axes[n, :2]), 1.0)
        share[n] = np.nanvar(fitted) / np.nanvar(maps[n]) / max(spatial_share(maps[n]), 0.01)
    return np.where(phase == 1.0, 0.0, phase), share  # a tiny negative number mod 1 rounds to 1


def above_null(
    scores: Scores, candidates: np.ndarray, null: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compare grid, corrected and square scores with their own and the pooled null.

    Returns:
        above [N, 3] bool; each unit's own threshold of the grid score [N], NaN without a null.
    """
    table = np.stack([scores.grid_score, scores.grid_score_corrected, scores.square_score], axis=-1)
    threshold = np.full(table.shape, np.nan)
    above = np.zeros(table.shape, dtype=bool)
    if len(candidates):
        threshold[candidates] = np.percentile(null, PERCENTILE, axis=1)
        pooled = np.percentile(null, PERCENTILE, axis=(0, 1))
        above[candidates] = table[candidates] > np.maximum(threshold[candidates], pooled)
    return above, threshold[:, 0]
