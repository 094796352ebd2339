"""Indices of units: the number of points of a unit's lattice in a cell of the coarsest one.

Letters: N units, G of them grid cells; C sublattices. Lengths in metres; rows of bases are vectors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.lattice import (
    cell_area,
    reduce_basis,
    relative_strain,
    shortest_pair,
    three_axes,
)
from sicjax.analysis.modules import Lattices, check_lattices, check_min_units, mean_axes
from sicjax.analysis.ratemaps import as_numbers
from sicjax.analysis.tables import Table
from sicjax.arguments import POSITIVE, check

INDICES = (1, 3, 4, 7, 9, 12)  # of hexagonal sublattices of a hexagonal lattice, |m + n w|^2
# Largest relative displacement between a unit's lattice and the ideal one: 8 % of the period, or
# 4.6 degrees. A random lattice up to sqrt(12) finer passes in one case of eleven.
TOLERANCE = 0.08
MIN_UNITS = 3  # two units may share a false lattice by chance
REASONS = ("", "no grid cell", "no coarsest lattice", "on no sublattice")

# One pair (m, n) for each sublattice; that of index 7 exists in two mirror images.
_PAIRS = {1: ((1, 0),), 3: ((2, 1),), 4: ((2, 0),), 7: ((3, 1), (3, 2)), 9: ((3, 0),),
          12: ((4, 2),)}  # fmt: skip
_MULTIPLES = np.array(  # [C, 2, 2], multiplication by m + n w, w at 120 degrees from 1
    [[[m, n], [-n, m - n]] for pairs in _PAIRS.values() for m, n in pairs], dtype=float
)


@dataclass(frozen=True, repr=False)
class LatticeIndices(Table):
    """The index of each of N units, and the coarsest lattice."""

    index: np.ndarray  # [N] int, one of INDICES; 0 where there is none
    error: np.ndarray  # [N] relative displacement from the ideal lattice of that index; else NaN
    reason: np.ndarray  # [N] one of REASONS: why there is no index; "" where there is one
    coarsest: np.ndarray  # [3, 2] axes of the coarsest lattice, metres, by angle; NaN for none

    @property
    def coarsest_period_m(self) -> float:
        """The period of the coarsest lattice: the mean length of its axes."""
        return float(np.hypot(*self.coarsest.T).mean())

    @property
    def counts(self) -> dict[int, int]:
        """The number of units of each of INDICES."""
        return {index: int((self.index == index).sum()) for index in INDICES}

    def columns(self) -> dict[str, np.ndarray]:
        """Return the table's columns by name, one row per unit."""
        return {
            "unit": np.arange(len(self.index)),
            "index": self.index,
            "error": self.error,
            "reason": self.reason,
        }

    def _title(self) -> str:
        found = ", ".join(f"{units} of index {index}" for index, units in self.counts.items())
        return f"Units: {found}; coarsest period {self.coarsest_period_m:.2f} m"


def lattice_indices(
    analysis: Lattices, *, coarsest: ArrayLike | None = None, min_units: int = MIN_UNITS,
    tolerance: float = TOLERANCE,
) -> LatticeIndices:  # fmt: skip
    """Count the points of each grid cell's lattice in a cell of the network's coarsest lattice.

    All modules of our networks are sublattices of one torus. The index is the ratio of the areas of
    two unit cells: the coarsest lattice's and the unit's. A unit with the coarsest lattice itself
    has index 1. A unit whose lattice is finer by the square root of 3 and turned by 30 degrees has
    index 3, one of half the period has index 4, and so on. Only hexagonal sublattices count (1, 3,
    4, 7, 9, 12). A honeycomb has two fields for each point; `fold_ratemaps` counts fields. If the
    coarsest lattice is sheared, the others must be sheared in the same way.

    By default the coarsest lattice is found: of all lattices that `min_units` grid cells share, it
    is the one that gives the most grid cells an index.

    Args:
        analysis: N units, from `analyze_ratemaps` or `score_recording`; only units with `is_grid`
            get an index.
        coarsest: [3, 2] axes of the coarsest lattice, metres, as `Modules.lattice[k]`, instead of
            the one found.
        min_units: fewest grid cells that share the coarsest lattice, from 3.
        tolerance: largest displacement from the ideal lattice, relative to any distance.

    Returns:
        `LatticeIndices`, arrays of length N. A unit without an index has index 0, error NaN, and a
        reason: it is not a grid cell, no lattice is shared by `min_units` grid cells, or its
        lattice is not one of these sublattices.

    Raises:
        TypeError: the input is not an analysis of units (maps, for example).
        ValueError: arrays whose lengths differ, axes that are not [3, 2] of a lattice, a
            `min_units` below 3, or a tolerance that is not positive.

    Source: ours; sublattices of the hexagonal lattice as in Conway & Sloane 1999.

    Example:
        >>> import numpy as np, sicjax
        >>> from types import SimpleNamespace
        >>> angles = np.deg2rad([[0, 60, 120]] * 4 + [[30, 90, 150]] * 3)
        >>> periods = np.repeat([1.2, 1.2 / 3**0.5], [4, 3])  # finer and turned by 30
        >>> axes = periods[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        >>> units = SimpleNamespace(is_grid=periods > 0, lattice=axes, spacing_m=periods)
        >>> found = sicjax.lattice_indices(units)
        >>> found.index.tolist(), round(found.coarsest_period_m, 2)
        ([1, 1, 1, 1, 3, 3, 3], 1.2)
    """
    check_min_units(min_units)
    check("tolerance", tolerance, POSITIVE)
    units = check_lattices(analysis)
    cells = np.nonzero(units.is_grid & np.isfinite(units.spacing_m))[0]
    solid = cells[_is_solid(units.lattice[cells])]
    axes = units.lattice[solid]
    if coarsest is None:
        shared = _coarsest(axes, min_units, tolerance)
    else:
        shared = axes_of("coarsest", coarsest)
    index, error = np.zeros(len(units.is_grid), int), np.full(len(units.is_grid), np.nan)
    reason = np.full(len(index), REASONS[1], dtype=object)
    reason[cells] = REASONS[2]
    if np.isfinite(shared).all():
        index[solid], error[solid] = _indices(axes, shared, tolerance)
        reason[cells] = np.where(index[cells] > 0, REASONS[0], REASONS[3])
    return LatticeIndices(index, error, reason.astype(str), shared)


def _is_solid(axes: np.ndarray) -> np.ndarray:
    """Return which axes [..., 3, 2] do not lie on one line."""
    basis = shortest_pair(axes)
    return cell_area(basis) > 1e-6 * np.linalg.norm(basis, axis=-1).prod(axis=-1)


def axes_of(name: str, given: ArrayLike) -> np.ndarray:
    """Return the three shortest axes [3, 2] of a given lattice, by angle; an error names it."""
    axes = as_numbers(name, given)
    if axes.shape != (3, 2) or not np.isfinite(axes).all() or not _is_solid(axes[None])[0]:
        raise ValueError(
            f"{name} must be the three axes [3, 2] of a lattice, finite and not on one line;"
            f" its shape is {axes.shape}"
        )
    return three_axes(reduce_basis(shortest_pair(axes[None])))[0]


def _coarsest(axes: np.ndarray, min_units: int, tolerance: float) -> np.ndarray:
    """Return the axes [3, 2] of the coarsest lattice of grid cells [G, 3, 2]; NaN if none."""
    best, same = (0, 0), np.empty(0, int)
    for three in axes:  # try each cell's lattice as the coarsest
        index, _ = _indices(axes, three, tolerance)
        alike = np.nonzero(index == 1)[0]
        merit = (int(np.count_nonzero(index)), len(alike))
        if len(alike) >= min_units and merit > best:
            best, same = merit, alike
    return mean_axes(axes[same]) if len(same) else np.full((3, 2), np.nan)


def _indices(
    axes: np.ndarray, coarsest: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices [G] (0 for none) and errors [G] (NaN) of lattices against the coarsest one.

    Args:
        axes: [G, 3, 2].
        coarsest: [3, 2], by angle.
        tolerance: largest error.
    """
    names = np.array([index for index, pairs in _PAIRS.items() for _ in pairs])
    # Of three axes by angle, the outer two stand at 120 degrees in a hexagon: call them 1 and w.
    # Multiplication by m + n w turns and stretches; its inverse takes the coarsest lattice to a
    # finer one. In a sheared lattice the same whole numbers do, so no angle is needed.
    fine = np.linalg.inv(_MULTIPLES) @ coarsest[[0, 2]]
    matrices, errors = relative_strain(shortest_pair(axes), fine)
    errors = np.where(np.rint(cell_area(matrices)) == 1, errors, np.inf)  # any basis of one lattice
    best = errors.argmin(axis=1)
    error = errors[np.arange(len(errors)), best]
    fits = error < tolerance
    return np.where(fits, names[best], 0), np.where(fits, error, np.nan)
