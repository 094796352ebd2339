"""Recorded cells: their maps, scores and nulls, and the modules of the grid cells.

Letters: N cells. Lengths in metres.
"""

import numpy as np

from sicjax import plots
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.recordings import RecordingAnalysis
from sicjax.report.chapter import Chapter, Row, Shown
from sicjax.report.sheets import GRID_SCORE
from sicjax.report.tables import pair

COLUMNS = 12  # maps in a row, the width of the page
NARROW = 14  # null distributions that fit into half of the page


def recorded_cells(cells: RecordingAnalysis) -> Chapter:
    """Return the chapter on cells one by one; its first figure leads the page."""
    found = kinds_found(cells)
    scores = [
        np.median(score[cells.is_grid]) if cells.is_grid.any() else np.nan
        for score in (cells.grid_score, cells.grid_score_corrected)
    ]
    rows = [
        Row("Kinds of cells", found,
            "A grid cell beats the scores of its own spikes, shifted in time. The table"
            " of cells says what a cell lacks that is other or undetermined.",
            "all cells"),
        Row("Grid score of grid cells; corrected for elliptical distortion", pair(*scores),
            GRID_SCORE, "grid cells"),
    ]  # fmt: skip
    return Chapter("Cells", {}, rows, _figures(cells), f"Kinds of cells: {found}.")


def kinds_found(cells: RecordingAnalysis) -> str:
    """Return the number of cells of each kind, as text."""
    kinds, counts = np.unique(cells.kind, return_counts=True)
    return ", ".join(f"{count} {kind}" for kind, count in zip(kinds, counts, strict=True))


def recorded_modules(cells: RecordingAnalysis) -> Chapter:
    """Return the chapter on the modules of the grid cells."""
    modules, grid, shown = cells.modules, cells.is_grid, []
    if grid.any():
        figure = plots.blank_figure()
        groups = [f"module {k}" if k >= 0 else "no module" for k in cells.module[grid]]
        plots.period_orientation(
            cells.spacing_m[grid], cells.orientation_deg[grid], groups, ax=figure.subplots()
        )
        shown.append(
            Shown("modules", figure, "Period and orientation of the grid cells. Cells of one module"
                  " lie together.")
        )  # fmt: skip
    row = Row("Modules", modules.summary,
              f"A group of at least {cells.parameters['min_units']} grid cells with the same"
              " period, orientation and ellipse.", "grid cells")  # fmt: skip
    return Chapter("Modules", {}, [row], shown, f"Modules: {modules.summary}.")


def _figures(cells: RecordingAnalysis) -> list[Shown]:
    """Draw maps, autocorrelograms and null distributions."""
    names = [str(name)[:9] for name in cells.names]  # about the width of a map in letters
    peaks, scores = np.maximum(cells.peak_rate_hz, 0), cells.grid_score
    rates = [f"{name} {peak:.0f} Hz" for name, peak in zip(names, peaks, strict=True)]
    scored = [
        name + f" g {score:.2f}" * bool(np.isfinite(score))
        for name, score in zip(names, scores, strict=True)
    ]
    maps = np.where(np.isfinite(cells.ratemaps), cells.ratemaps, np.nan)
    sheet = plots.ratemap_sheet(
        maps, cells.box_m, titles=rates, columns=COLUMNS, fig=plots.blank_figure()
    )
    lags = autocorrelogram(maps)
    quarter = lags.shape[-1] // 4
    correlograms = plots.autocorrelogram_sheet(
        lags[:, quarter:-quarter, quarter:-quarter], cells.box_m / maps.shape[-1], titles=scored,
        axes_m=cells.lattice, columns=COLUMNS, fig=plots.blank_figure(),
    )  # fmt: skip
    wide = len(names) > NARROW
    null = plots.blank_figure(1.5 + 0.25 * len(names)) if wide else plots.blank_figure()
    plots.null_distributions(cells.grid_score, cells.null, names, ax=null.subplots())
    return [
        Shown("ratemaps", sheet, "Each cell's firing rate by position, from 0 to its own peak; grey"
              " where the animal was not. Above each map: name and peak rate.", wide=True),
        Shown("autocorrelograms", correlograms, "Each map's correlation with itself, shifted by up"
              " to half the box. Lines: the lattice's three axes. Dots: the six nearest fields."
              " Look for a hexagon of red spots. g is the grid score.", wide=True),
        Shown("null", null, "Scores and their null distributions. Orange: the cell's grid score."
              " Grey: the scores of its own spikes, shifted in time. A grid cell's score lies above"
              " the dash, the 99th percentile.", wide=wide),
    ]  # fmt: skip
