"""Rotational scores of autocorrelograms, on rings that scale with the measured period.

Letters: N units; y, x bins of a map; R radii and A angles of a ring. An autocorrelogram is its own
mirror image through lag 0, so half a turn holds all of it, r60 = r120 and r30 = r150.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.firing_fields import count_fields
from sicjax.analysis.lattice import ellipse_form, first_basis, refine_axes, sample
from sicjax.analysis.ratemaps import check_box, check_ratemaps

# The ring runs from 0.5 to 1.5 periods: it holds the six nearest fields, and no central peak.
RADII = np.linspace(0.5, 1.5, 16)
ANGLES = np.deg2rad(np.arange(0, 180, 3))
# Maps handled at once: few correlograms, which must stay in cache, but many vectors.
CHUNK, MANY = 8, 96


@dataclass(frozen=True)
class Scores:
    """Scores of N maps; NaN where a map has nothing to score."""

    grid_score: np.ndarray  # [N] min(r60, r120) - max(r30, r90, r150)
    grid_score_corrected: np.ndarray  # [N] the same after the lattice's ellipse was made a circle
    square_score: np.ndarray  # [N] r90 - max(r45, r135)
    num_fields: np.ndarray  # [N] int
    spacing_m: np.ndarray  # [N] mean length of the three axes, metres
    axes_m: np.ndarray  # [N, 3, 2] the three axes (x, y), metres


def score_ratemaps(ratemaps: ArrayLike, box_m: float) -> Scores:
    """Compute grid score, square score, field count and spacing of each map.

    Args:
        ratemaps: [N, bins, bins], NaN where unvisited.
        box_m: side of the square box, metres.

    Raises:
        ValueError: maps that are not [N, bins, bins], or a box that is not one positive length.
    """
    maps = check_ratemaps(ratemaps)
    bin_m = check_box(box_m) / maps.shape[1]
    axes, scores = score_chunks(maps)
    return Scores(
        grid_score=scores[:, 0],
        grid_score_corrected=scores[:, 1],
        square_score=scores[:, 2],
        num_fields=count_fields(maps),
        spacing_m=np.linalg.norm(axes, axis=-1).mean(axis=-1) * bin_m,
        axes_m=axes * bin_m,
    )


def score_chunks(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return axes [N, 3, 2] in bins and scores [N, 3] (grid, corrected grid, square) of maps.

    Correlograms are in single precision, which takes half the time. They are exact to 1e-3, well
    below the noise of any map.
    """
    axes, scores = np.empty((len(maps), 3, 2)), np.empty((len(maps), 3))
    for start in range(0, len(maps), MANY):
        part = slice(start, start + MANY)
        axes[part], scores[part] = _score(maps[part])
    return axes, scores


def _score(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the axes and scores of `score_chunks` for at least one and at most MANY maps."""
    chunks = [
        autocorrelogram(maps[start : start + CHUNK].astype(np.float32))
        for start in range(0, len(maps), CHUNK)
    ]
    found = zip(*(first_basis(correlograms) for correlograms in chunks), strict=True)
    axes = refine_axes(*(np.concatenate(parts) for parts in found))
    circles, ellipses = circle_of(axes), ellipse_of(axes)
    scores = np.empty((len(maps), 3))
    for k, correlograms in enumerate(chunks):
        part = slice(k * CHUNK, (k + 1) * CHUNK)
        scores[part, 0], scores[part, 2] = rotational_scores(correlograms, circles[part])
        scores[part, 1], _ = rotational_scores(correlograms, ellipses[part])
    return axes, scores


def circle_of(axes: np.ndarray) -> np.ndarray:
    """Return matrices [N, 2, 2] from the unit circle to the circle of the axes' mean length."""
    return np.linalg.norm(axes, axis=-1).mean(axis=-1)[:, None, None] * np.eye(2)


def ellipse_of(axes: np.ndarray) -> np.ndarray:
    """Return matrices [N, 2, 2] from the unit circle to the ellipse through the three axes."""
    form = ellipse_form(axes)
    known = np.isfinite(form).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(known[:, None, None], form, np.eye(2)))
    root = (vectors / np.sqrt(values)[:, None]) @ np.swapaxes(vectors, 1, 2)
    return np.where(known[:, None, None], root, np.nan)


def rotational_scores(
    correlograms: np.ndarray, stretch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute grid and square scores of a ring around lag 0.

    The ring is in polar coordinates, so turning it is a cyclic shift and needs no interpolation of
    rotated pictures. Source: Sargolini et al. 2006 (score); Brandon et al. 2011
    (ellipse correction); Stensola et al. 2012 (square lattices and shear).

    Args:
        correlograms: [N, 2y - 1, 2x - 1], lag 0 in the middle.
        stretch: [N, 2, 2], maps the unit circle to the ring's middle line, in bins.

    Returns:
        min(r60, r120) - max(r30, r90, r150) and r90 - max(r45, r135), each [N]; NaN where the ring
        is not known or holds no variation.
    """
    ring = RADII[:, None, None] * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)  # [R, A, 2]
    points = ring.reshape(-1, 2) @ stretch.swapaxes(1, 2)
    polar = sample(correlograms, np.nan_to_num(points, nan=np.inf))
    polar = polar.reshape(-1, *ring.shape[:2])
    r30, r45, r60, r90 = _turned_correlations(polar, (30, 45, 60, 90))
    return r60 - np.maximum(r30, r90), r90 - r45


def _turned_correlations(polar: np.ndarray, degrees: Sequence[int]) -> np.ndarray:
    """Return Pearson r [angles, N] of rings [N, R, A] with themselves turned, weighted by area."""
    r = np.empty((len(degrees), len(polar)))
    whole = np.isfinite(polar).all(axis=(1, 2))
    r[:, ~whole] = [_turned_correlation(polar[~whole], angle) for angle in degrees]
    rings = polar[whole]  # turned whole rings keep their mean and spread
    rings = rings - (RADII[:, None] * rings).mean(axis=(1, 2), keepdims=True) / RADII.mean()
    weighted = RADII[:, None] * rings
    spread = (weighted * rings).sum(axis=(1, 2))
    defined = spread > 1e-9
    for k, angle in enumerate(degrees):
        covariance = (weighted * np.roll(rings, angle // 3, axis=-1)).sum(axis=(1, 2))
        r[k, whole] = np.where(defined, covariance / np.where(defined, spread, 1.0), np.nan)
    return r


def _turned_correlation(polar: np.ndarray, degrees: int) -> np.ndarray:
    """Return Pearson r [N] of rings [N, R, A] with themselves turned, weighted by area."""
    turned = np.roll(polar, degrees // 3, axis=-1)
    seen = np.isfinite(polar) & np.isfinite(turned)
    weight = np.where(seen, RADII[:, None], 0.0)
    total = np.maximum(weight.sum((1, 2)), 1e-12)[:, None, None]
    first, second = np.where(seen, polar, 0.0), np.where(seen, turned, 0.0)
    first = first - (weight * first).sum((1, 2), keepdims=True) / total
    second = second - (weight * second).sum((1, 2), keepdims=True) / total
    covariance = (weight * first * second).sum((1, 2))
    spread = (weight * first**2).sum((1, 2)) * (weight * second**2).sum((1, 2))
    defined = spread > 1e-18
    return np.where(defined, covariance / np.sqrt(np.where(defined, spread, 1.0)), np.nan)
