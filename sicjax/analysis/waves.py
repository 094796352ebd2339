"""Plane waves fitted to rate maps: how much a lattice or a band explains, and the phase of a unit.

Letters: N units; J waves; y, x bins of a map. Wave vectors are in cycles per unit of length.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft

from sicjax.analysis.lattice import cell_area, shortest_pair

HIGHEST = 4.0  # frequency at which a power spectrum ends, cycles per metre


def wave_vectors(axes: np.ndarray) -> np.ndarray:
    """Return the shortest wave vectors of a lattice.

    The first two, k1 and k2, are the dual basis of the two shortest axes; then come their sum and
    their difference. A square lattice consists of the first two waves. A hexagonal lattice has a
    third one, the sum or the difference. For a lattice in between, the fit decides which.

    Args:
        axes: [N, 3, 2], the three shortest lattice vectors, any unit of length.

    Returns:
        [N, 4, 2]; NaN where the axes are.
    """
    basis = shortest_pair(axes)
    known = (cell_area(basis) > 0)[:, None, None]
    dual = np.linalg.inv(np.where(known, basis, np.eye(2))).swapaxes(1, 2)
    first, second = dual[:, 0], dual[:, 1]
    waves = np.stack([first, second, first + second, first - second], axis=1)
    return np.where(known, waves, np.nan)


def fit_waves(
    ratemap: np.ndarray, waves: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a constant and plane waves to the visited bins of one map, by least squares.

    This is not a Fourier sum: the number of periods in the box need not be whole, and bins may be
    unvisited.

    Args:
        ratemap: [y, x], NaN where unvisited.
        waves: [J, 2], cycles per unit of length.
        positions: [y, x, 2], in that unit.

    Returns:
        complex amplitudes [J] of Re(c exp(-2 pi i k.x)), so that wave j is highest where
        k.x = angle(c) / 2 pi; and the fitted map without its constant [y, x], NaN where unvisited.
    """
    amplitudes, fitted = fit_waves_together(ratemap[None], waves, positions)
    return amplitudes[0], fitted[0]


def fit_waves_together(
    ratemaps: np.ndarray, waves: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit maps [N, y, x] as `fit_waves` does, with one matrix per set of visited bins.

    Returns:
        [N, J] and [N, y, x].
    """
    amplitudes = np.empty((len(ratemaps), len(waves)), complex)
    fitted = np.full(ratemaps.shape, np.nan)
    left = np.arange(len(ratemaps))
    seen = np.isfinite(ratemaps)
    while left.size:
        visited = seen[left[0]]
        alike = (seen[left] == visited).all(axis=(1, 2))
        some, left = left[alike], left[~alike]
        turns = 2 * np.pi * positions[visited] @ waves.T
        design = np.concatenate([np.ones((len(turns), 1)), np.cos(turns), np.sin(turns)], axis=1)
        # The normal equations are ten times faster. At 1e-12 they still separate waves that differ
        # by 1e-6 of a cycle over the box.
        gram, moments = design.T @ design, design.T @ ratemaps[some][:, visited].T
        solution = np.linalg.lstsq(gram, moments, rcond=1e-12)[0].T
        inside = fitted[some]
        inside[:, visited] = solution[:, 1:] @ design[:, 1:].T
        fitted[some] = inside
        cosines, sines = np.split(solution[:, 1:], 2, axis=1)
        amplitudes[some] = cosines + 1j * sines
    return amplitudes, fitted


def strongest_wave(ratemap: np.ndarray) -> np.ndarray:
    """Return the wave vector [2] (x, y), cycles per bin, of the highest peak of a map's spectrum.

    The spectrum is padded fourfold and its peak placed by parabolas, to about 1 % of a cycle per
    box.
    """
    visited = np.isfinite(ratemap)
    centred = np.where(visited, ratemap - ratemap[visited].mean(), 0.0)
    size = [4 * n for n in ratemap.shape]
    power = np.abs(fft.rfft2(centred, s=size)) ** 2
    y, x = np.unravel_index(np.argmax(power[:, :-1]), power[:, :-1].shape)
    left = power[-y % size[0], 1] if x == 0 else power[y, x - 1]  # for kx < 0 use the mirror image
    offsets = []
    for before, after in ((left, power[y, x + 1]), (power[y - 1, x], power[(y + 1) % size[0], x])):
        bend = 2 * power[y, x] - before - after
        offsets.append((after - before) / (2 * bend) if bend > 0 else 0.0)
    return np.array([(x + offsets[0]) / size[1], fft.fftfreq(size[0])[y] + offsets[1] / size[0]])


class Band(NamedTuple):
    """Fit of a band (parallel stripes) to a map."""

    share: float  # share of the map's variance that its strongest wave and its overtones explain
    next_share: float  # share that the strongest wave in the remainder explains
    crests: int  # lines of maximal rate that cross the box


def fit_band(ratemap: np.ndarray, positions: np.ndarray, bin_m: float) -> Band:
    """Fit the strongest plane wave of a map.

    Args:
        ratemap: [y, x], NaN where unvisited, not constant.
        positions: [y, x, 2], metres, centred on 0.
        bin_m: side of a bin, metres.
    """
    total = np.nanvar(ratemap)
    wave = strongest_wave(ratemap) / bin_m
    amplitudes, fitted = fit_waves(ratemap, np.arange(1, 4)[:, None] * wave, positions)
    left = ratemap - fitted
    other = fit_waves(left, strongest_wave(left)[None] / bin_m, positions)[1]
    phase = np.angle(amplitudes[0]) / (2 * np.pi)
    turns = positions[np.isfinite(ratemap)] @ wave
    corner = np.abs(wave).sum() * bin_m / 2  # from a bin's centre to its corner
    crests = int(np.floor(turns.max() + corner - phase) - np.ceil(turns.min() - corner - phase)) + 1
    return Band(float(np.nanvar(fitted) / total), float(np.nanvar(other) / total), crests)


def mean_power(ratemaps: np.ndarray, box_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies [F] up to HIGHEST, cycles per metre, and the mean power spectrum [F, F].

    Args:
        ratemaps: [N, y, x]; unvisited bins count as the unit's mean.
        box_m: side of the box, metres.
    """
    means = np.nanmean(ratemaps, axis=(1, 2), keepdims=True)
    centred = np.where(np.isfinite(ratemaps), ratemaps - means, 0)
    taper = np.hanning(ratemaps.shape[-1])
    size = 4 * ratemaps.shape[-1]
    spectra = np.fft.fft2(centred * taper * taper[:, None], s=(size, size))
    power = np.fft.fftshift((np.abs(spectra) ** 2).mean(axis=0))
    frequencies = np.fft.fftshift(np.fft.fftfreq(size, box_m / ratemaps.shape[-1]))
    kept = np.abs(frequencies) <= HIGHEST
    return frequencies[kept], power[np.ix_(kept, kept)]
