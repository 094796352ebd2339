"""Sheets of rate maps: which units, in which order, under which headings.

Letters: N units; K units shown. Lengths in metres.
"""

from collections.abc import Sequence

import numpy as np

from sicjax import plots
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.kinds import SILENT_PEAK, active_units
from sicjax.report.results import Judged, Mapped

MAPS = "Mean activity by place, each unit on its own scale from 0 to its peak"
GRID_SCORE = (
    "How much better a map's autocorrelogram matches itself after turns of 60° and 120° than after"
    " 30°, 90° and 150°; the median. A perfect hexagon scores 1.3 to 1.5."
)
LETTERS = "g is the grid score, s the square score of a square unit, of the map shown."
SHOWN = 8  # units in the figures that compare maps


def first_picture(mapped: Mapped) -> plots.Figure:
    """Draw the active units of the maps that give the verdicts, by falling grid score."""
    score, active = mapped.scores.grid_score, active_units(mapped.maps.ratemaps)
    order = np.lexsort((-np.nan_to_num(score, nan=-9), ~active))[: max(int(active.sum()), 1)]
    return plots.ratemap_sheet(
        mapped.maps.ratemaps, mapped.maps.box_m, order=order, titles=_labels(score),
        tops=_tops(mapped), title=_capitalised(mapped.title), fig=plots.blank_figure(),
    )  # fmt: skip


def display_order(judged: Judged) -> np.ndarray:
    """Order units [N]: hexagonal, square, other active, inactive; by falling score within each."""
    scores, kinds = judged.first.scores, judged.lattice
    group = np.select([kinds == "hexagonal", kinds == "square", judged.active], [0, 1, 2], 3)
    score = np.where(kinds == "square", scores.square_score, scores.grid_score)
    return np.lexsort((-np.nan_to_num(score, nan=-9), group))


def examples(judged: Judged) -> np.ndarray:
    """Return up to SHOWN active units as examples.

    Each module gets the same number. The best are chosen in the box that gives the modules, because
    a coarse lattice has few fields in a smaller box.
    """
    count = min(SHOWN, max(int(judged.active.sum()), 1))
    order, module = display_order(judged), judged.units.module
    score = np.where(module >= 0, judged.verdict.scores.grid_score, -np.inf)[order]
    return in_turn(order[np.argsort(-score, kind="stable")], module, count)


def in_turn(order: np.ndarray, module: np.ndarray, count: int) -> np.ndarray:
    """Choose units from each module in turn, and return them module by module.

    Args:
        order: the units, the best first.
        module: [N] module of every unit; -1 for none. Units without a module are chosen last.
        count: how many to choose.
    """
    ranked = module[order]
    place = np.array([(ranked[:k] == ranked[k]).sum() for k in range(len(ranked))])
    chosen = order[np.lexsort((ranked, place, ranked < 0))[:count]]
    return chosen[np.lexsort((module[chosen], module[chosen] < 0))]


def module_order(judged: Judged) -> np.ndarray:
    """Order units [N] by module and phase; other grid cells, active and silent units follow."""
    units = judged.units
    group = np.select(
        [units.module >= 0, units.is_grid, judged.fires], [units.module, 1000, 1001], 1002
    )
    phase = np.nan_to_num(units.phase, nan=2)
    return np.lexsort((phase[:, 1], np.floor(6 * phase[:, 0]), group))


def module_groups(judged: Judged, order: np.ndarray) -> list[tuple[str, int]]:
    """Return the headings for units sorted by `module_order`, and the number under each."""
    units, modules = judged.units, judged.modules
    groups = [
        (f"Module {k}: {len(members)} grid cells, period {modules.period_m[k]:.2f} m", len(members))
        for k, members in enumerate(modules.members)
    ]
    alone = int(np.sum((units.module < 0) & units.is_grid))
    rest = len(order) - sum(count for _, count in groups) - alone
    named = [
        ("Grid cells of no module", alone),
        ("Active units, none a grid cell" if rest == len(order) else "Other active units", rest),
    ]
    return [(name, count) for name, count in [*groups, *named] if count > 0]


def rate_sheet(
    mapped: Mapped, judged: Judged, order: np.ndarray,
    groups: Sequence[tuple[str, int]] | None = None,
) -> plots.Figure:  # fmt: skip
    """Draw the maps of units, in an order and under headings."""
    return plots.ratemap_sheet(
        mapped.maps.ratemaps,
        mapped.maps.box_m,
        order=order,
        titles=unit_labels(mapped, judged),
        tops=_tops(mapped),
        groups=groups,
        title=_capitalised(mapped.title),
        fig=plots.blank_figure(),
    )


def correlogram_sheet(judged: Judged, units: np.ndarray) -> plots.Figure:
    """Draw autocorrelograms up to lags of half the box; beyond that few bins overlap."""
    mapped = judged.verdict
    correlograms = autocorrelogram(mapped.maps.ratemaps[units].astype(np.float32))
    quarter = correlograms.shape[-1] // 4
    return plots.autocorrelogram_sheet(
        correlograms[:, quarter:-quarter, quarter:-quarter],
        mapped.maps.box_m / mapped.maps.ratemaps.shape[-1],
        titles=[unit_labels(mapped, judged)[n] for n in units],
        axes_m=mapped.scores.axes_m[units],
        title=f"Autocorrelograms: {mapped.title}",
        fig=plots.blank_figure(),
    )


def unit_labels(mapped: Mapped, judged: Judged) -> list[str]:
    """Return each unit's number [N] and score: s, the square score, or g, the grid score."""
    square = judged.lattice == "square"
    return _labels(np.where(square, mapped.scores.square_score, mapped.scores.grid_score), square)


def _labels(scores: np.ndarray, square: np.ndarray | None = None) -> list[str]:
    letters = np.where(np.zeros(len(scores), bool) if square is None else square, "s", "g")
    texts = np.where(np.isfinite(scores), [f" {score:.2f}" for score in scores], "")
    return [
        f"u{n}" + (f"  {letters[n]}{text}".replace("-", "−") if text else "")
        for n, text in enumerate(texts)
    ]


def _tops(mapped: Mapped) -> np.ndarray:
    """Return the rate [N] of the brightest colour of each map."""
    return np.maximum(np.nanmax(mapped.maps.ratemaps, axis=(1, 2)), SILENT_PEAK)


def _capitalised(title: str) -> str:
    return title[0].upper() + title[1:]
