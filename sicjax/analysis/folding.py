"""Rate maps folded into one cell of a lattice, and the fields in that cell.

Letters: N units; y, x bins of a map; v, u bins of a cell. Lengths in metres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.firing_fields import find_fields
from sicjax.analysis.indices import axes_of
from sicjax.analysis.ratemaps import bin_positions, check_box, check_ratemaps
from sicjax.analysis.tables import Table
from sicjax.arguments import at_least, check

BINS = 24  # twelve fields in a cell, the most that we know, are then seven bins apart
LEAST_EXPLAINED = 0.5  # of a map's variance; a map that repeats less than this has no fields here


@dataclass(frozen=True, repr=False)
class FoldedMaps(Table):
    """N rate maps in one cell of a lattice, with the number of fields of each."""

    fields: np.ndarray  # [N] int, fields in a cell; 0 if the map does not repeat on this lattice
    variance_explained: np.ndarray  # [N] share of a map's variance that repeats; NaN if undefined
    ratemaps: np.ndarray  # [N, v, u] mean rates; bin (v, u) is phase (u + 1/2, v + 1/2) / bins
    basis: np.ndarray  # [2, 2] sides of the cell, metres: a phase lies at phase @ basis

    @property
    def counts(self) -> dict[int, int]:
        """The number of units with each number of fields, by rising number, from 0."""
        numbers, units = np.unique(self.fields, return_counts=True)
        return {int(number): int(count) for number, count in zip(numbers, units, strict=True)}

    def unfold(self, box_m: float, bins: int) -> np.ndarray:
        """Return the maps [N, bins, bins] of a box in which every cell is the mean cell.

        Args:
            box_m: side of the box, metres; its centre is that of the folded maps.
            bins: bins per side, from 10.
        """
        check("bins", bins, at_least(10))
        v, u = _cell_bins(self.basis, check_box(box_m), bins, self.ratemaps.shape[-1])
        return self.ratemaps[:, v, u].reshape(-1, bins, bins)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the table's columns by name, one row per unit."""
        return {
            "unit": np.arange(len(self.fields)),
            "fields": self.fields,
            "variance_explained": self.variance_explained,
        }

    def _title(self) -> str:
        found = ", ".join(f"{units} with {number}" for number, units in self.counts.items())
        return f"Units by their fields in a cell: {found}"


def fold_ratemaps(
    ratemaps: ArrayLike, box_m: float, *, axes: ArrayLike, bins: int = BINS
) -> FoldedMaps:
    """Average rate maps over all cells of a lattice, and count each unit's fields in a cell.

    Any map can be folded, also that of a unit that is not a grid cell. So a network whose modules
    are sublattices of one torus is seen whole: fold it by `lattice_indices(analysis).coarsest`. A
    grid cell has one field in that cell for each point of its lattice, or two if its fields form a
    honeycomb, whose autocorrelogram has the peaks of a hexagonal lattice.

    Fields are prominent maxima of the folded map, which has no edges: each rises by 0.3 of the
    map's range above the pass to a higher one.

    Args:
        ratemaps: [N, bins, bins], NaN where unvisited.
        box_m: side of the box, metres.
        axes: [3, 2] axes of the lattice, metres, as `Modules.lattice[k]` or
            `LatticeIndices.coarsest`. The two that come first by angle are the sides of the cell.
        bins: of the cell, per side, from 10.

    Returns:
        `FoldedMaps`. The variance explained by the phase is corrected for the number of bins, as an
        adjusted R^2. Where it is below 0.5, the number of fields is 0: the map does not repeat on
        this lattice. A map without variance, or with no more visited bins than the cell has, has
        NaN and 0.

    Raises:
        TypeError: maps or axes that aren't numbers.
        ValueError: maps that aren't square, a box that isn't one positive length, or axes that
            aren't [3, 2] of a lattice.

    Source: ours; the fields are those of `sicjax.analysis.firing_fields`.

    Example:
        >>> import numpy as np, sicjax
        >>> from sicjax.analysis.lattice import three_axes
        >>> from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
        >>> coarse, fine = hexagonal_basis(1.2), hexagonal_basis(1.2 / 3**0.5, 30)
        >>> maps = np.stack([lattice_map(b, box_m=4, bins=100) for b in (coarse, fine)])
        >>> sicjax.fold_ratemaps(maps, 4, axes=three_axes(coarse[None])[0]).fields.tolist()
        [1, 3]
    """
    maps, box_m = check_ratemaps(ratemaps), check_box(box_m)
    check("bins", bins, at_least(10))
    basis = axes_of("axes", axes)[:2]
    cells, explained = mean_cells(maps, box_m, basis, bins)
    repeats = np.flatnonzero(explained >= LEAST_EXPLAINED)
    fields = np.zeros(len(maps), int)
    fields[repeats] = [_count_on_torus(cells[n]) for n in repeats]
    return FoldedMaps(fields, explained, cells, basis)


def mean_cells(
    maps: np.ndarray, box_m: float, basis: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray]:
    """Average maps over all cells of a lattice.

    Args:
        maps: [N, y, x], NaN where unvisited.
        box_m: side of the box, metres.
        basis: [2, 2] sides of the cell, metres.
        bins: of the cell, per side.

    Returns:
        Mean cells [N, v, u], and the share [N] of each map's variance that they explain, corrected
        for the number of bins; NaN without variance or spare bins.
    """
    v, u = _cell_bins(basis, box_m, maps.shape[-1], bins)
    index = v * bins + u
    folded, explained = np.full((len(maps), bins**2), np.nan), np.full(len(maps), np.nan)
    for n, rates in enumerate(maps.reshape(len(maps), -1)):
        seen = np.isfinite(rates)
        places, rates = index[seen], rates[seen]
        visits = np.bincount(places, minlength=bins**2)
        sums = np.bincount(places, rates, minlength=bins**2)
        folded[n] = np.divide(sums, visits, out=folded[n], where=visits > 0)
        spare = len(rates) - np.count_nonzero(visits)  # degrees of freedom
        if spare > 0 and np.ptp(rates) > 0:
            rest = rates - folded[n, places]
            explained[n] = 1 - rest @ rest / spare / rates.var(ddof=1)
    return folded.reshape(-1, bins, bins), explained


def _cell_bins(
    basis: np.ndarray, box_m: float, box_bins: int, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin (v, u) of a cell in which each bin of a box lies, two arrays [y * x]."""
    phase = bin_positions(box_m, box_bins).reshape(-1, 2) @ np.linalg.inv(basis)
    u, v = np.minimum(np.mod(phase, 1.0) * bins, bins - 1).astype(int).T
    return v, u


def _count_on_torus(cell: np.ndarray) -> int:
    """Count the fields of a periodic map [v, u]: those of a larger piece that lie in one cell."""
    margin = len(cell) // 2
    peaks = find_fields(np.pad(cell, margin, mode="wrap")).peaks - margin
    return int(((peaks >= 0) & (peaks < len(cell))).all(axis=1).sum())
