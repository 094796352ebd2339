"""Other boxes and speeds: do the same cells keep their lattices there? Lengths in metres."""

from typing import Any

import numpy as np

from sicjax import plots
from sicjax.report.chapter import Chapter, Row, Shown, panel
from sicjax.report.results import Evaluation
from sicjax.report.sheets import examples, unit_labels
from sicjax.report.tables import listed, percent
from sicjax.run import WALK_STEPS

SAME_PERIOD = 0.05  # relative difference between boxes


def boxes(found: Evaluation) -> Chapter:
    """Return the chapter on the other boxes and on slower and faster walks."""
    shares = _same_period(found)
    numbers: dict[str, Any] = {
        "grid_cells_of_same_period": shares,
        "training_range_m": found.training_range_m,
        "verdict_box_m": found.verdict_box_m,
    }
    texts = [f"{_box(name)}: {percent(share)}" for name, share in shares.items()]
    rows = [Row(
        "Grid cells of the same period in other boxes", ", ".join(texts),
        f"Period within 5 % of that in the {found.verdict.box}. Usual: above 90 % in boxes of one"
        " and a half coarsest periods or more. In smaller ones a lattice has too few fields.",
        "long walks in each box",
    )]  # fmt: skip
    figures = [_generalisation(found), *_comparisons(found)]
    return Chapter("Other boxes and speeds", numbers, rows, figures, _headline(found, shares))


def _same_period(found: Evaluation) -> dict[str, float]:
    """Return for each other box the share of grid cells whose period agrees within 5 %."""
    grid, verdict = found.units.is_grid, found.verdict
    if not grid.any():
        return {m.name: np.nan for m in found.long.values() if m is not verdict}
    return {
        m.name: np.mean(
            np.abs(m.scores.spacing_m / verdict.scores.spacing_m - 1)[grid] < SAME_PERIOD
        )
        for m in found.long.values()
        if m is not verdict
    }


def _headline(found: Evaluation, shares: dict[str, float]) -> str:
    if not found.units.is_grid.any():
        return ""
    held = [_box(name) for name, share in shares.items() if share >= 0.5]
    lost = [_box(name) for name, share in shares.items() if not share >= 0.5]
    texts = [f"Most grid cells keep their period in the {listed(held)} box."] if held else []
    texts += (
        [f"Most grid cells do not keep their period in the {listed(lost)} box."] if lost else []
    )
    return " ".join(texts)


def _box(name: str) -> str:
    return name.replace("m", " m")


def _generalisation(found: Evaluation) -> Shown:
    best = examples(found)
    figure = plots.generalisation(
        [(box, mapped.maps.ratemaps[best]) for box, mapped in found.long.items()],
        titles=[unit_labels(found.verdict, found)[n] for n in best],
        training_range_m=found.training_range_m,
        fig=plots.blank_figure(),
    )
    return Shown(
        "generalisation", figure,
        "The best units of each module in boxes of several sizes, drawn to one scale. The network"
        " was trained near the start only: 99 % of its training positions lie inside the dashed"
        f" circle ({found.training_range_m:.2f} m). Lattices should continue beyond it. Scores:"
        f" {found.verdict.title}.",
        wide=True,
    )  # fmt: skip


def _comparisons(found: Evaluation) -> list[Shown]:
    """Draw the period and score of each lattice unit in other boxes and at other speeds."""
    first, shown = found.first, found.lattice != ""
    others = [m for m in found.mapped if m is not first and m.walk_steps == WALK_STEPS]
    names = [f"{m.suffix} walks" if m.suffix else m.box for m in others]
    figures = [
        panel(
            plots.compared,
            getattr(first.scores, score)[shown],
            {n: getattr(m.scores, score)[shown] for n, m in zip(names, others, strict=True)},
            quantity=quantity,
            of="2 m box",
        )
        for quantity, score in (("period (m)", "spacing_m"), ("grid score", "grid_score"))
    ]
    speeds = " and ".join(f"{m.mean_speed:.3g} m" for m in found.speeds.values())
    return [
        Shown("compared_periods", figures[0],
              "Period of each unit that carries a lattice, in other boxes and on slower and faster"
              f" walks, against its period in the 2 m box. Slow and fast walks take {speeds} a"
              f" step, the others {first.mean_speed:.3g} m. On the diagonal nothing changes."),
        Shown("compared_scores", figures[1], "Grid scores of the same maps, in the same way."),
    ]  # fmt: skip
