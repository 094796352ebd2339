"""Grid cells: the kinds of units, their maps and their scores.

Letters: N units. Lengths in metres.
"""

from typing import Any

import numpy as np

from sicjax import plots
from sicjax.analysis.kinds import (
    GLANCE_HEXAGONAL,
    GLANCE_SQUARE,
    KINDS,
    active_units,
    lattices_at_a_glance,
)
from sicjax.report.chapter import Chapter, Row, Shown, panel
from sicjax.report.results import Activity, Evaluation, Judged, Mapped
from sicjax.report.sheets import (
    GRID_SCORE,
    LETTERS,
    MAPS,
    correlogram_sheet,
    display_order,
    module_groups,
    module_order,
    rate_sheet,
)
from sicjax.report.tables import median, pair, percent


def cells(judged: Judged) -> Chapter:
    """Return the chapter on single units; its first figure opens the page."""
    figures = [_verdict_sheet(judged), *_other_sheets(judged), *_score_figures(judged)]
    numbers = {**_numbers(judged), "by_map": {m.name: _of_maps(m, judged) for m in judged.mapped}}
    return Chapter("Grid cells", numbers, _rows(numbers, judged), figures, _headline(judged))


def _headline(judged: Judged) -> str:
    """Return a headline if there are no grid cells; else the modules' headline counts them."""
    if not judged.fires.any():
        return f"No grid cells: none of the {len(judged.fires)} units fires anywhere."
    if not judged.units.is_grid.any():
        return (
            f"No grid cells: none of {judged.fires.sum()} active units passes the test in the"
            f" {judged.verdict.box}."
        )
    return ""


def _numbers(judged: Judged) -> dict[str, Any]:
    """Count active units, lattices at a glance, constant units, and the units of each kind."""
    active, lattice, scores = judged.active, judged.lattice, judged.first.scores
    hexagonal, square = lattice == "hexagonal", lattice == "square"
    return {
        "num_units": len(active),
        "active_units": active.sum(),
        "hexagonal_units": hexagonal.sum(),
        "square_units": square.sum(),
        "lattice_fraction": (hexagonal | square).sum() / active.sum() if active.any() else np.nan,
        "constant_units": np.flatnonzero(judged.constant),
        "constant_units_with_lattice": (judged.constant & (lattice != "")).sum(),
        "constant_share": judged.constant_share,
        "median_period_hexagonal_m": median(scores.spacing_m[hexagonal]),
        "median_period_square_m": median(scores.spacing_m[square]),
        "median_grid_score_hexagonal": median(scores.grid_score[hexagonal]),
        "median_square_score_square": median(scores.square_score[square]),
        "kinds": {kind: np.sum(judged.units.kind == kind) for kind in KINDS},
    }


def _of_maps(mapped: Mapped, judged: Judged) -> dict[str, Any]:
    """Return the numbers of one set of maps."""
    active, lattice = judged.active, judged.lattice != ""
    there = active_units(mapped.maps.ratemaps)
    kinds = lattices_at_a_glance(mapped.scores, there)
    change = mapped.scores.spacing_m / judged.first.scores.spacing_m - 1
    return {
        "active_units": there.sum(),
        "hexagonal_units": np.sum(kinds == "hexagonal"),
        "square_units": np.sum(kinds == "square"),
        "median_grid_score": median(mapped.scores.grid_score[active]),
        "median_square_score": median(mapped.scores.square_score[active]),
        "variance_explained": median(mapped.maps.variance_explained[active]),
        "mean_speed_m": mapped.mean_speed,
        "median_period_change": median(np.abs(change[lattice])),  # to the long walks' 2 m box
    }


def _rows(numbers: dict[str, Any], judged: Judged) -> list[Row]:
    # Verdicts come from one box and quick counts from another; each row names its source.
    box, first, units = judged.verdict.title, judged.first.title, judged.units
    kinds = ", ".join(f"{count} {kind}" for kind, count in numbers["kinds"].items() if count)
    scores = [np.median(s[units.is_grid]) if units.is_grid.any() else np.nan
              for s in (units.grid_score, units.grid_score_corrected)]  # fmt: skip
    constant = ", ".join(f"u{n}" for n in numbers["constant_units"]) or "none"
    if ripples := numbers["constant_units_with_lattice"]:
        constant += f"; {ripples} of them counted as a lattice"
    rows = [
        Row("Active units", f"{judged.fires.sum()} of {len(judged.fires)}",
            "All units except the silent ones. Usual: two thirds or more.", box),
        Row("Kinds of units", kinds,
            "A unit is a grid cell if its grid score (gridness) is above the 99th percentile of"
            " its own shuffled fields. With fewer than five fields a unit is undetermined. Usual:"
            " most active units are grid cells.", box),
        Row("Grid score of grid cells; corrected for elliptical distortion", pair(*scores),
            f"{GRID_SCORE} Usual: 1.1 to 1.3.", box),
        Row("Quick count: hexagonal, square",
            f"{numbers['hexagonal_units']}, {numbers['square_units']}"
            f" ({percent(numbers['lattice_fraction'])} of {numbers['active_units']} active units)",
            "By fixed thresholds (grid score above 0.5, else square score above 0.7) and without a"
            " null, so this is not a verdict.", first),
        Row("Constant units", constant, "Equally active everywhere. Usual: none to three.", first),
    ]  # fmt: skip
    if judged.constant.any():  # a few constant units can satisfy most of the capacity term
        rows.append(
            Row("Their share of |mean g|\u2060²", percent(judged.constant_share),
                "The part of the capacity term that these units alone satisfy.", first)
        )  # fmt: skip
    return rows


def _verdict_sheet(judged: Judged) -> Shown:
    mapped = judged.verdict
    order = module_order(judged)[: max(int(judged.fires.sum()), 1)]
    missed = "no samples" if isinstance(judged, Activity) else "not visited"
    return Shown(
        f"ratemaps_{mapped.name}",
        rate_sheet(mapped, judged, order, module_groups(judged, order)),
        f"{MAPS} (grey: {missed}). Active units by module, then by phase. Look for the same"
        f" lattice, shifted, in all units of a module. {LETTERS}",
        wide=True,
    )  # fmt: skip


def _other_sheets(judged: Judged) -> list[Shown]:
    """Draw the sheets of a network's 2 m box, and the autocorrelograms."""
    shown = []
    if isinstance(judged, Evaluation):
        # All sheets of the box have one order, so a unit is at the same place in each.
        order, short = display_order(judged), judged.near_start
        count = max(int(judged.active.sum()), 1)
        if judged.first is not judged.verdict:
            shown.append(Shown(
                f"ratemaps_{judged.first.name}", rate_sheet(judged.first, judged, order),
                f"{MAPS} ({judged.first.box}; grey: not visited). All units: hexagonal"
                " ones first, then square, other active and inactive ones, each by falling"
                f" score. {LETTERS}",
                wide=True,
            ))  # fmt: skip
        shown.append(Shown(
            f"ratemaps_{short.name}", rate_sheet(short, judged, order[:count]),
            f"The same box on walks of {short.walk_steps} steps. Active units in the same order."
            " Short walks show the code before it drifts.",
            wide=True,
        ))  # fmt: skip
    units = module_order(judged)[: max(int(judged.fires.sum()), 1)]
    shown.append(Shown(
        f"autocorrelograms_{judged.verdict.name}", correlogram_sheet(judged, units),
        "Correlation of each map with itself, shifted by up to half the box. Lines are the three"
        " axes of the lattice as measured, dots the six nearest fields, the dotted ring their mean"
        " distance. Look for six dots on red spots.",
        wide=True,
    ))  # fmt: skip
    return shown


def _score_figures(judged: Judged) -> list[Shown]:
    """Draw scores and their null."""
    scores, active, units = judged.first.scores, judged.active, judged.units
    histogram = panel(
        plots.score_histogram,
        {"grid score": scores.grid_score[active], "square score": scores.square_score[active]},
        {"grid score": GLANCE_HEXAGONAL, "square score": GLANCE_SQUARE},
    )
    against_null = panel(
        plots.score_against_null, units.grid_score, units.null_threshold, list(units.kind)
    )
    return [
        Shown("scores", histogram,
              f"Scores of the active units ({judged.first.title}). Dashed: the thresholds of the"
              " quick count. Verdicts are made with a null instead, see the next figure."),
        Shown("scores_null", against_null,
              "Each unit's grid score against the 99th percentile of its own shuffled fields"
              f" ({judged.verdict.title}). Grid cells lie above the diagonal. A unit with too few"
              " fields has no null and is left out."),
    ]  # fmt: skip
