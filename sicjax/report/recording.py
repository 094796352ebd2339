"""A page on one recorded session, from the result of `score_recording`.

Letters: N cells.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sicjax.analysis.recorded_kinds import MIN_SPIKES
from sicjax.analysis.recordings import RecordingAnalysis
from sicjax.analysis.tables import Table
from sicjax.paths import path
from sicjax.report.chapters.recorded import kinds_found, recorded_cells, recorded_modules
from sicjax.report.contents import make_chapters
from sicjax.report.folder import PAGE, refuse_others, replacing
from sicjax.report.page import render
from sicjax.training.provenance import versions

SHOWN = (
    "unit", "name", "kind", "module", "num_spikes", "mean_rate_hz", "peak_rate_hz", "grid_score",
    "grid_score_corrected", "null_threshold", "spacing_m", "orientation_deg", "num_fields",
    "spatial_information", "information_threshold", "stability", "not_grid_because",
)  # fmt: skip
IN_BRIEF = ("name", "kind", "module", "num_spikes", "peak_rate_hz", "grid_score", "spacing_m")
ROWS_IN_BRIEF = 20


def report_recording(
    cells: RecordingAnalysis, folder: str | os.PathLike, *, name: str = "Recorded session"
) -> Path:
    """Write one page on a recorded session: maps, nulls, modules, tables and a methods paragraph.

    Args:
        cells: from `score_recording`.
        folder: a new or empty one, or one that holds an earlier report, whose files are replaced.
            A folder that holds anything else is refused.
        name: name of the session on the page.

    Returns:
        Path of report.html; beside it cells.csv, modules.csv and the figures.

    Raises:
        TypeError: `cells` is not from `score_recording`, or `folder` is not a path.
        ValueError: no cells, or a folder that holds files that no report wrote.
        OSError: the folder can't be written.

    Source: ours; scores as in `score_recording`.

    Example:
        >>> import sicjax
        >>> cells = sicjax.score_recording(times, positions, spikes)  # doctest: +SKIP
        >>> sicjax.report_recording(cells, "session_12")  # doctest: +SKIP
        PosixPath('session_12/report.html')
    """
    if not isinstance(cells, RecordingAnalysis):
        raise TypeError(f"cells is a {type(cells).__name__}: must come from score_recording")
    if not cells.names:
        raise ValueError("cells: there are none to report on")
    target = path("folder", folder)
    refuse_others(target)
    makers = {
        "cells": partial(recorded_cells, cells),
        "modules": partial(recorded_modules, cells),
    }
    chapters, pictures = make_chapters(makers)
    tables = [("Cells", *_table(cells, SHOWN))]
    if cells.modules.members:
        tables.append(("Modules", *_table(cells.modules)))
    page = render(
        "recording.html.j2", list(chapters.values()), pictures, name=name, facts=_facts(cells),
        tables=tables, methods=methods(cells),
    )  # fmt: skip
    with replacing(target) as place:
        for file, content in pictures.items():
            (place / file).write_bytes(content)
        cells.save_csv(place / "cells.csv")
        cells.modules.save_csv(place / "modules.csv")
        (place / PAGE).write_text(page, encoding="utf-8")
    return target / PAGE


def methods(cells: RecordingAnalysis) -> str:
    """Return the methods paragraph, with every parameter and the version, ready for a paper."""
    use, version = cells.parameters, versions()["sicjax"]
    sides = " x ".join(f"{side:.2f}" for side in dict.fromkeys(cells.sides_m))
    return (
        f"Cells were scored with sicjax {version}. The arena was a {cells.arena} of {sides} m."
        f" Moments in which the animal was slower than {100 * use['min_speed']:g} cm/s, faster than"
        f" {use['max_speed']:g} m/s, or lost for more than {use['max_gap_s']:g} s were left out,"
        f" which left {cells.duration_s:.0f} s. Rate maps have bins of {100 * use['bin_m']:g} cm;"
        f" spikes and occupancy were each smoothed by a Gaussian with a standard deviation of"
        f" {100 * use['smoothing_m']:g} cm; bins occupied for less than"
        f" {use['min_occupancy_s']:g} s count as unvisited. The grid score (Sargolini et al. 2006)"
        " was computed before and after correction for elliptical distortion. A cell is a grid"
        " cell if both scores exceed the 99th percentile of a null distribution, the cell's own and"
        " that pooled over cells, if the plane waves of its lattice explain a third of the variance"
        " that position explains (two thirds with fewer than five fields), and if the lattice is"
        " nearer to a hexagon than to a square. The null distribution comes from"
        f" {use['num_shuffles']} circular shifts of the spike times against the path by at least"
        f" {use['min_shift_s']:g} s (Langston et al. 2010; seed {use['seed']}). Cells with fewer"
        f" than {MIN_SPIKES} spikes were not judged. Modules were found by a Gaussian mixture over"
        " period, orientation and ellipse (after Stensola et al. 2012) and have at least"
        f" {use['min_units']} cells."
    )


def summary(cells: RecordingAnalysis) -> str:
    """Return text for a terminal: the headlines of the page, and a table of the first cells."""
    headings, rows = _table(cells, IN_BRIEF)
    lines = [headings, *rows[:ROWS_IN_BRIEF]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    more = [f"{len(rows) - ROWS_IN_BRIEF} more in cells.csv"] * (len(rows) > ROWS_IN_BRIEF)
    found = f"Kinds of cells: {kinds_found(cells)}. Modules: {cells.modules.summary}."
    return "\n".join([_facts(cells), found, *table, *more])


def _facts(cells: RecordingAnalysis) -> str:
    sides = " x ".join(f"{side:.2f}" for side in dict.fromkeys(cells.sides_m))
    minutes = cells.duration_s / 60
    return f"{len(cells.names)} cells · {cells.arena}, {sides} m · {minutes:.1f} min of movement"


def _table(table: Table, names: tuple[str, ...] = ()) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of a table as text."""
    columns = table.columns()
    names = tuple(name for name in names or tuple(columns) if name in columns)
    rows = zip(*(columns[name] for name in names), strict=True)
    return [name.replace("_", " ") for name in names], [[_text(v) for v in row] for row in rows]


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if np.isfinite(value) else "–"
    return str(value)
