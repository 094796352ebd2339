"""Synthetic rate maps with known truth, for tests of scorers: lattices, bands, fields, noise.

Letters: y, x bins of a map. Conventions of every map here: axis 0 is y, axis 1 is x, both
increasing, box centred on 0, lengths in metres, angles in degrees counter-clockwise from +x.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from sicjax.analysis.ratemaps import bin_positions

SHEARED = (0.90, 0.85, 1.00)  # axis lengths of the paper's lattices, relative to the longest


def triangle_basis(lengths_m: ArrayLike, orientation_deg: float) -> np.ndarray:
    """Return two basis vectors of the lattice whose three axes have these lengths.

    Args:
        lengths_m: [3], metres; they must satisfy the triangle inequality. Axis 2 is the difference
            of axes 0 and 1.
        orientation_deg: direction of axis 0.

    Returns:
        [2, 2], rows are axis 0 and axis 1, metres; axis 1 is counter-clockwise from axis 0.
    """
    first, second, third = np.asarray(lengths_m, dtype=float)
    cosine = (first**2 + second**2 - third**2) / (2 * first * second)
    if not -1 < cosine < 1:
        raise ValueError(f"lengths_m is {lengths_m!r}; the three lengths must form a triangle")
    start = np.deg2rad(orientation_deg)
    angles = np.array([start, start + np.arccos(cosine)])
    return np.array([[first], [second]]) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def hexagonal_basis(period_m: float, orientation_deg: float = 0.0) -> np.ndarray:
    """Return the basis [2, 2] (rows, metres) of the regular hexagonal lattice."""
    return triangle_basis([period_m] * 3, orientation_deg)


def square_basis(period_m: float, orientation_deg: float = 0.0) -> np.ndarray:
    """Return the basis [2, 2] (rows, metres) of the square lattice."""
    return triangle_basis([period_m, period_m, np.sqrt(2) * period_m], orientation_deg)


def lattice_map(
    basis_m: ArrayLike,
    *,
    box_m: float,
    bins: int,
    phase: ArrayLike = (0.0, 0.0),
    field_width: float = 0.17,
) -> np.ndarray:
    """Draw Gaussian fields on every point of a lattice.

    Args:
        basis_m: [2, 2], rows are basis vectors, metres.
        box_m: side of the box, metres.
        bins: bins per side.
        phase: [2], position of the fields, as fractions of the two basis vectors.
        field_width: standard deviation of a field in units of the root of the unit cell's area.

    Returns:
        [y, x], peak about 1.
    """
    basis = np.asarray(basis_m, dtype=float)
    sigma = field_width * np.sqrt(abs(np.linalg.det(basis)))
    points = bin_positions(box_m, bins).reshape(-1, 2)
    fractions = points @ np.linalg.inv(basis) - np.asarray(phase)
    wrapped = fractions - np.round(fractions)
    total = np.zeros(len(points))
    for step in np.ndindex(5, 5):  # fields of neighbouring cells also reach into this one
        offset = (wrapped + np.array(step) - 2) @ basis
        total += np.exp(-(offset**2).sum(-1) / (2 * sigma**2))
    return total.reshape(bins, bins)


def band_map(
    period_m: float, *, box_m: float, bins: int, orientation_deg: float = 0.0, phase: float = 0.0
) -> np.ndarray:
    """Draw parallel stripes [y, x] in [0, 1]; the wave vector points to `orientation_deg`."""
    angle = np.deg2rad(orientation_deg)
    along = bin_positions(box_m, bins) @ np.array([np.cos(angle), np.sin(angle)])
    return 0.5 + 0.5 * np.cos(2 * np.pi * (along / period_m - phase))


def place_map(
    centre_m: ArrayLike, sigma_m: float, *, box_m: float, bins: int, floor: float = 0.0
) -> np.ndarray:
    """Draw one Gaussian field [y, x] of standard deviation `sigma_m` at `centre_m` [2] (x, y)."""
    offset = bin_positions(box_m, bins) - np.asarray(centre_m)
    return floor + np.exp(-(offset**2).sum(-1) / (2 * sigma_m**2))


def noise_map(sigma_m: float, *, box_m: float, bins: int, rng: np.random.Generator) -> np.ndarray:
    """Draw white noise [y, x]: smoothed by `sigma_m`, rectified at its mean, scaled to peak 1."""
    sigma = sigma_m * bins / box_m
    margin = int(np.ceil(4 * sigma))
    noise = rng.standard_normal((bins + 2 * margin,) * 2)
    smooth = ndimage.gaussian_filter(noise, sigma)[margin : margin + bins, margin : margin + bins]
    rectified = np.maximum(smooth, 0.0)
    return rectified / rectified.max()


def degrade(
    ratemap: ArrayLike, *, noise: float, unvisited: float, rng: np.random.Generator
) -> np.ndarray:
    """Add Gaussian noise (`noise` times the peak, per bin); make a share `unvisited` NaN."""
    ratemap = np.asarray(ratemap, dtype=float)
    noisy = ratemap + noise * np.max(ratemap) * rng.standard_normal(ratemap.shape)
    return np.where(rng.random(ratemap.shape) < unvisited, np.nan, np.maximum(noisy, 0.0))
