"""Decode a module's phase from activity, and track its drift from the true position.

Letters: W walks, T steps, L of them (counted from 1), M units of a module, J waves, S states.
Lengths in metres, phases in cycles.
"""

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.lattice import shortest_pair
from sicjax.analysis.ratemaps import bin_positions, check_ratemaps
from sicjax.analysis.waves import fit_waves_together, wave_vectors

HARMONICS = 4  # harmonics per wave vector, enough to describe the fields
PHASES = 36  # phases tried along each axis of the unit cell
READABLE, FAR_OFF = 0.99, 0.25  # share of the places, and cycles, of `is_readable`

_AT_ONCE = 4096  # states whose phases are read together
# Half of the plane of waves: the other half are their complex conjugates.
_HARMONICS = np.array(
    [
        (first, second)
        for first in range(HARMONICS + 1)
        for second in range(-HARMONICS, HARMONICS + 1)
        if (first, second) > (0, 0)
    ]
)


def drift_of_phase(
    states: ArrayLike, positions: ArrayLike, ratemaps: ArrayLike, box_m: float,
    lattice_m: ArrayLike, steps: ArrayLike | None = None,
) -> np.ndarray:  # fmt: skip
    """Follow the displacement of one module's phase from the true place along walks.

    Each unit's map is fitted by a constant and the plane waves of the lattice. Harmonics up to the
    fourth describe fields that are small compared with the period. The phase of a state is the
    point of the unit cell where the fitted code is most like the state: the best of 36 x 36 phases,
    refined by least squares. Its error is unwrapped from step to step.

    Args:
        states: [W, T, M], the module's units.
        positions: [W, T, 2], the true places.
        ratemaps: [M, bins, bins] of those units.
        box_m: side of their box.
        lattice_m: [3, 2] axes of the module.
        steps: [L] numbers of steps, from 1 to T, at which drift is reported; by default all.

    Returns:
        [W, L, 2] metres; not confined to the unit cell.
    """
    maps, codes = check_ratemaps(ratemaps), np.asarray(states, dtype=float)
    axes = np.asarray(lattice_m, dtype=float)[None]
    waves, basis = wave_vectors(axes)[0, :2], shortest_pair(axes)[0]
    where = bin_positions(box_m, maps.shape[1])
    amplitudes, fitted = fit_waves_together(maps, _HARMONICS @ waves, where)
    amplitudes = amplitudes.T  # [J, M]
    codes = codes - np.nanmean(maps - fitted, axis=(1, 2))
    nearest = _nearest_phases(codes, amplitudes)
    error = nearest - np.asarray(positions, dtype=float) @ waves.T
    error -= np.round(error[:, :1])  # the first error is below half a cycle
    when = slice(None) if steps is None else np.asarray(steps) - 1
    rest = _nearer(codes[:, when], nearest[:, when], amplitudes)
    return (np.unwrap(error, axis=1, period=1.0)[:, when] + rest) @ basis


def is_readable(ratemaps: ArrayLike, box_m: float, lattice_m: ArrayLike) -> bool:
    """Return whether a module's phase can be read nearly everywhere in the box.

    A module of few units with small fields is silent in parts of its unit cell, where its activity
    does not determine a phase. Here the maps themselves are read, which have no drift. The module
    is readable if 99 % of the places come out right within a quarter of a period.

    Args:
        ratemaps: [M, bins, bins] of the module's units.
        box_m: side of their box.
        lattice_m: [3, 2] axes of the module.
    """
    maps = check_ratemaps(ratemaps)
    visited = np.isfinite(maps).all(axis=0)
    places = bin_positions(box_m, maps.shape[1])[visited]
    error_m = drift_of_phase(
        maps[:, visited].T[:, None], places[:, None], maps, box_m, lattice_m
    )[:, 0]  # fmt: skip
    waves = wave_vectors(np.asarray(lattice_m, dtype=float)[None])[0, :2]
    cycles = error_m @ waves.T
    off = np.abs(cycles - np.round(cycles)).max(axis=-1) > FAR_OFF
    return bool(np.mean(off) <= 1 - READABLE)


def _nearest_phases(states: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Return the grid phases [..., 2], in cycles, whose code is most like states [..., M].

    A common factor is ignored, because a module's share of a state's norm may change.
    """
    grid = np.stack(np.meshgrid(*[np.arange(PHASES) / PHASES] * 2), axis=-1).reshape(-1, 2)
    tried = (np.exp(-2j * np.pi * grid @ _HARMONICS.T) @ amplitudes).real
    tried /= np.maximum(np.linalg.norm(tried, axis=1, keepdims=True), 1e-12)
    flat, tried = states.reshape(-1, states.shape[-1]).astype(np.float32), tried.astype(np.float32)
    starts = range(0, len(flat), _AT_ONCE)
    best = [(flat[start : start + _AT_ONCE] @ tried.T).argmax(axis=1) for start in starts]
    return grid[np.concatenate(best)].reshape(*states.shape[:-1], 2)


def _nearer(states: np.ndarray, phases: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Return the offset from phases [..., 2] to the best fit of states [..., M], in cycles."""
    flat, start = states.reshape(-1, states.shape[-1]), phases.reshape(-1, 2)
    # d/d phase of exp(-2 pi i h.phase): each wave is multiplied by -2 pi i h.
    slopes = [-2j * np.pi * _HARMONICS[:, axis, None] * amplitudes for axis in (0, 1)]
    bases = np.concatenate([amplitudes, *slopes], axis=1)
    bases = np.concatenate([bases.real, bases.imag])  # [2 J, 3 M]
    offset = np.zeros_like(start)
    for _ in range(4):  # Gauss-Newton, of the phases and the factor
        turns = 2 * np.pi * (start + offset) @ _HARMONICS.T
        waves = np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
        value, first, second = np.split(waves @ bases, 3, axis=1)
        square = np.maximum((value**2).sum(axis=1, keepdims=True), 1e-12)
        factor = (flat * value).sum(axis=1, keepdims=True) / square
        along = np.stack([factor * first, factor * second, value], axis=-1)
        gram = along.swapaxes(1, 2) @ along
        gram += (1e-9 * np.trace(gram, axis1=1, axis2=2) + 1e-30)[:, None, None] * np.eye(3)
        moments = along.swapaxes(1, 2) @ (flat - factor * value)[..., None]
        step = np.linalg.solve(gram, moments)[:, :2, 0]
        offset = np.clip(offset + step, -1 / PHASES, 1 / PHASES)
    return offset.reshape(phases.shape)
