"""Modules: groups of grid cells of one period and orientation, and whether each is a torus.

Letters: N units, K modules. Lengths in metres.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sicjax import plots
from sicjax.analysis.folding import FoldedMaps
from sicjax.analysis.indices import LatticeIndices
from sicjax.analysis.waves import mean_power
from sicjax.report.chapter import Chapter, Row, Shown, panel
from sicjax.report.results import Judged
from sicjax.report.tables import (
    fields_per_cell,
    index_numbers,
    listed,
    module_rows,
    without_index,
)

_SHOWN = 12  # units of each number of fields
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def modules(judged: Judged, untested: str) -> Chapter:
    """Return the chapter on modules. Waits for their torus tests.

    Args:
        judged: results of the maps.
        untested: the command that tests modules without a null, for the table.
    """
    found, indices, fields = module_rows(judged), judged.indices, fields_per_cell(judged)
    repeating = {number: units for number, units in fields.items() if number}
    numbers = {
        "modules": found,
        "evidence_against_one_module_bic": judged.modules.bic_gain,
    } | index_numbers(indices)
    numbers["units_per_fields"] = {str(number): units for number, units in repeating.items()}
    numbers["units_that_do_not_repeat"] = fields.get(0, 0) if fields else None
    rows = [
        *_rows(found, judged, untested),
        _index_row(indices, judged.verdict.title),
        _fields_row(repeating, fields.get(0, 0), judged.verdict.title),
    ]
    figures = [*_period_figures(judged), _index_figure(indices, judged.verdict.box)]
    if judged.folded is not None:
        figures.append(_fields_figure(judged.folded, judged))
    figures += _figures_of_each(judged)
    return Chapter("Modules", numbers, rows, figures, _headline(found, judged))


def _headline(found: Sequence[Mapping[str, Any]], judged: Judged) -> str:
    """Return the sentence that counts grid cells and modules, and names the tori."""
    grids, box = int(judged.units.is_grid.sum()), judged.verdict.box
    if not grids:
        return ""
    cells = f"{grids} grid cell{'' if grids == 1 else 's'} among {judged.fires.sum()} active units"
    if not found:
        return f"{cells}, too few with the same period for a module ({box})."
    count = _NUMBERS[len(found)] if len(found) < len(_NUMBERS) else str(len(found))
    each = [f"{module['units']} cells of period {module['period_m']:.2f} m" for module in found]
    return (
        f"{cells}, in {count} module{'' if len(found) == 1 else 's'}: {listed(each)} ({box})."
        f" {torus_sentence(found)}"
    )


def torus_sentence(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence on how many modules are tori, and whether some have no null.

    Args:
        found: the modules, from `module_rows`.
    """
    tested = [module for module in found if module["is_torus"] is not None]
    if not tested:
        return "Whether modules are tori has not been tested (see Modules)."
    yes = sum(module["is_torus"] for module in tested)
    if len(tested) == 1:
        which = "" if len(found) == 1 else f" of {tested[0]['units']} cells"
        others = "" if len(found) == 1 else " The others have not been tested (see Modules)."
        return f"The module{which} {'is' if yes else 'was not found to be'} a torus.{others}"
    return f"{yes} of {len(tested)} modules {'is a torus' if yes == 1 else 'are tori'}."


def betti_texts(found: Sequence[Mapping[str, Any]]) -> str:
    """Return "(1, 2, 1)" and the like for each module; a dash for one without a null."""
    numbers = [[module[f"betti_{k}"] for k in range(3)] for module in found]
    if all(None in three for three in numbers):
        return "–"
    return "; ".join(
        "–" if None in three else f"({', '.join(map(str, three))})" for three in numbers
    )


def _rows(found: Sequence[Mapping[str, Any]], judged: Judged, untested: str) -> list[Row]:
    texts = []
    for module in found:
        ratio = f", ratio {module['ratio']:.2f}" if np.isfinite(module["ratio"]) else ""
        texts.append(f"{module['units']} units at {module['period_m']:.2f} m{ratio}")
    torus = (
        "Numbers of pieces, loops and cavities of the set of states: (1, 2, 1) is a torus. Usual"
        " for modules of more than ten cells."
    )
    if any(module["is_torus"] is None for module in found):
        torus += f" A dash: not tested. To test every module: {untested}"
    box = judged.verdict.title
    return [
        Row("Modules, and the ratio of periods", "; ".join(texts) or "none",
            "At least ten grid cells of one period (grid spacing) and orientation. Usual:"
            " quick.py 0.50 and 0.87 m; full.py mostly 0.9, 1.55 and 2.7 m; ratios of 1.73.",
            box),
        Row("Torus: Betti numbers of each module", betti_texts(found) or "–", torus, box),
    ]  # fmt: skip


def _index_row(indices: LatticeIndices, box: str) -> Row:
    counts = [f"{units} of {index}" for index, units in indices.counts.items() if units]
    period = indices.coarsest_period_m
    against = f" ({period:.2f} m)" if np.isfinite(period) else ""
    return Row(
        "Grid cells of each index", ", ".join(counts) or "–",
        "Index: number of points of a cell's lattice in a unit cell of the coarsest lattice"
        f"{against}. Usual: quick.py 1 and 3; full.py 1, 3 and 9. Grid cells without an index:"
        f" {without_index(indices)}.", box,
    )  # fmt: skip


def _index_figure(indices: LatticeIndices, box: str) -> Shown:
    figure, counts = plots.blank_figure(), indices.counts
    plots.units_per_index(
        [list(counts.values())], list(counts), rest=[without_index(indices)],
        ax=figure.subplots(),
    )  # fmt: skip
    return Shown(
        "units_per_index", figure,
        "Grid cells per index: points of their lattice in a unit cell of the coarsest one"
        f" ({box}). Grid cells"
        " without an index lie on no sublattice of it. By chance a lattice gets an index in one"
        " case of eleven.",
    )  # fmt: skip


def _fields_row(repeating: Mapping[int, int], others: int, box: str) -> Row:
    counts = [f"{units} with {number}" for number, units in repeating.items()]
    return Row(
        "Units by their fields in that cell", ", ".join(counts) or "–",
        "All active units, also those that are not grid cells. A honeycomb has two fields for each"
        " point of its lattice. Active units whose maps do not repeat on the coarsest lattice:"
        f" {others}.", box,
    )  # fmt: skip


def _fields_figure(folded: FoldedMaps, judged: Judged) -> Shown:
    """Draw the mean cells of some units of each number of fields."""
    order: list[int] = []
    groups = []
    counts = fields_per_cell(judged)
    for number in sorted(counts, key=lambda number: number or np.inf):  # those without come last
        which = np.flatnonzero((folded.fields == number) & judged.fires)
        which = which[np.argsort(-folded.variance_explained[which])][:_SHOWN]
        what = f"{number} field{'' if number == 1 else 's'}" if number else "do not repeat"
        units = f"{counts[number]} unit{'' if counts[number] == 1 else 's'}"
        groups.append((f"{what}: {units}", len(which)))
        order += which.tolist()
    side = 2 * judged.indices.coarsest_period_m
    figure = plots.ratemap_sheet(
        folded.unfold(side, 2 * folded.ratemaps.shape[-1]), side,
        order=order, groups=groups, columns=_SHOWN, fig=plots.blank_figure(),
    )  # fmt: skip
    return Shown(
        "units_by_fields", figure,
        f"Active units by their number of fields in a cell of the coarsest lattice"
        f" ({judged.verdict.box}). Every map is the mean over all cells, repeated; at most {_SHOWN}"
        " units of each number.", wide=True,
    )  # fmt: skip


def _period_figures(judged: Judged) -> list[Shown]:
    """Draw the periods and orientations of grid cells and square units."""
    units, box = judged.units, judged.verdict.box
    shown = units.is_grid | (units.kind == "square")
    labels = np.where(units.is_grid, "no module", units.kind).astype("<U40")
    for k, members in enumerate(judged.modules.members):
        ratio = f", ratio {judged.modules.ratios[k - 1]:.2f}" if k else ""
        labels[members] = f"module {k}: {judged.modules.period_m[k]:.2f} m{ratio}"
    period, orientation, label = units.spacing_m[shown], units.orientation_deg[shown], labels[shown]
    return [
        Shown("periods", panel(plots.period_histogram, period, label),
              f"Periods (distances between neighbouring fields) of the grid cells ({box}). Each"
              " ratio is to the module with the next shorter period."),
        Shown("period_orientation", panel(plots.period_orientation, period, orientation, label),
              f"Period and orientation of the same units ({box}). A module is one tight group."),
    ]  # fmt: skip


def _figures_of_each(judged: Judged) -> list[Shown]:
    """Draw the spectrum, the phases and the torus of each module."""
    maps, units, shown = judged.verdict.maps, judged.units, []
    for k, (members, torus) in enumerate(zip(judged.modules.members, judged.tori, strict=True)):
        group = f"Module {k}: {len(members)} cells, {judged.modules.period_m[k]:.2f} m"
        # The torus test measures waves in bins; the spectrum has cycles per metre.
        waves = torus.waves / (maps.box_m / maps.ratemaps.shape[-1])
        frequencies, power = mean_power(maps.ratemaps[members], maps.box_m)
        spectrum = panel(plots.fourier_power, power, frequencies, waves)
        phases = panel(plots.phase_tiling, units.phase[members], judged.modules.lattice[k])
        states = plots.torus(
            torus.embedding,
            torus.circular_coordinates[torus.embedding_points, 0],
            torus.rings,
            torus.ring_phases,
            torus.diagrams,
            fig=plots.blank_figure(),
        )
        shown += [
            Shown(f"fourier_{k}", spectrum,
                  f"Mean power spectrum of the maps of module {k} (root of the power). The arrows"
                  " are the three wave vectors of its lattice.", group=group),
            Shown(f"phases_{k}", phases,
                  f"Phase of each unit of module {k}: where it fires within the lattice's unit"
                  " cell. An even spread covers every place.", group=group),
            Shown(f"torus_{k}", states,
                  f"States of module {k} at all places of the box. Left: a spectral embedding of"
                  " the principal components that hold nine tenths of the variance, coloured by a"
                  " circular coordinate. Middle: the activity read along each wave vector,"
                  " coloured by that wave's phase. Right: the longest bars of persistent"
                  " cohomology; in a torus one bar in H0, two in H1 and one in H2 stand out.",
                  wide=True, group=group),
        ]  # fmt: skip
    return shown
