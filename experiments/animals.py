"""Our modules beside published ones: ratios of periods, orientations, shapes and sizes.

    python -m experiments.animals [--networks=NAME,NAME,...]

Reads the finished claims of each recipe (experiments/results/claims_*.json) and measures the maps
of pretrained networks. Writes experiments/results/animals.md and animals.png,
which docs/animals.md shows. `PUBLISHED` holds what is known of animals, with sources.

Letters: N units.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sicjax
from experiments.claims import MODULE_UNITS
from sicjax import command, plots
from sicjax.analysis.firing_fields import field_diameters

RESULTS = Path(__file__).parent / "results"
RECIPES = ("full", "modules", "long_walks", "quick")
NETWORKS = "full,modules,quick"
TURN = 60  # degrees after which a lattice is itself again
RANGE, MEANS = (1.2, 2.0), {"Stensola et al. 2012": 1.42, "Krupic et al. 2015": 1.56}  # ratios
PEAKS_DEG = (7, 30)  # of relative orientation, Krupic et al. 2015
RANDOM_DRAWS = 200


class Published(NamedTuple):
    """What is published of animals."""

    found: str
    source: str


REVIEWED = "as reviewed by Kang & Balasubramanian 2019"
PUBLISHED = {
    "ratio": Published(
        "1.42 ± 0.17 (mean ± s.d.); 1.56 (mean); single pairs 1.2 to 2.0",
        f"Stensola et al. 2012, analysed again by Wei et al. 2015; Krupic et al. 2015; {REVIEWED}",
    ),
    "turn": Published("two peaks, near 7° and near 30°", f"Krupic et al. 2015, {REVIEWED}"),
    "cells": Published(
        "fewer cells in modules of larger period",
        "data of Stensola et al. 2012, by Mosheiff et al. 2017",
    ),
    "aspect": Published(
        "sheared lattices, no number here", f"Krupic et al. 2015, Stensola et al. 2015, {REVIEWED}"
    ),
    "field": Published("no number here", "definitions of field size differ"),
    "phase": Published("no number here", "–"),
}


class Pairs(NamedTuple):
    """Neighbouring modules of at least ten cells, over the networks of a recipe."""

    ratios: list[float]  # of their periods
    turns_deg: list[float]  # relative orientation, 0 to 30
    cells: list[list[int]]  # of each network's modules, by rising period


def pairs_of(rows: Sequence[dict[str, Any]]) -> Pairs:
    """Compare neighbouring modules in the rows of a claims.json."""
    ratios, turns, cells = [], [], []
    for row in rows:
        large = [module for module in row["modules"] if module["units"] >= MODULE_UNITS]
        large.sort(key=lambda module: module["period_m"])
        cells.append([module["units"] for module in large])
        for fine, coarse in itertools.pairwise(large):
            ratios.append(coarse["period_m"] / fine["period_m"])
            turn = coarse["orientation_deg"] - fine["orientation_deg"]
            turns.append(abs((turn + TURN / 2) % TURN - TURN / 2))
    return Pairs(ratios, turns, cells)


def shapes_of(ratemaps: np.ndarray, box_m: float, units: Any) -> list[dict[str, float]]:
    """Return period, shape, field size and spread of phases of each module of a network.

    Args:
        ratemaps: [N, bins, bins].
        box_m: side of the box.
        units: the `UnitAnalysis` of these maps.
    """
    modules, rows = sicjax.find_modules(units), []
    diameters = field_diameters(ratemaps, box_m)
    for members, period, axes in zip(
        modules.members, modules.period_m, modules.lattice, strict=True
    ):
        rows.append(
            {
                "cells": len(members),
                "period_m": float(period),
                "aspect": float(np.median(units.ellipse_aspect[members])),
                "field_over_period": float(np.nanmedian(diameters[members]) / period),
                "phase_spacing": phase_spacing(units.phase[members], axes),
            }
        )
    return rows


def phase_spacing(phases: np.ndarray, axes_m: np.ndarray) -> float:
    """Return the mean distance to the nearest phase, relative to that of random phases.

    1 is random; evenly spread phases have more, clusters less.

    Args:
        phases: [N, 2] of a module, as `UnitAnalysis.phase`.
        axes_m: [3, 2] of its lattice.
    """
    rng = np.random.default_rng(0)
    chance = [_nearest(rng.random(phases.shape), axes_m[:2]) for _ in range(RANDOM_DRAWS)]
    return _nearest(phases, axes_m[:2]) / float(np.mean(chance))


def _nearest(phases: np.ndarray, basis: np.ndarray) -> float:
    """Return the mean distance of phases [N, 2] to their nearest neighbour on the torus."""
    apart = phases[:, None] - phases
    apart -= np.round(apart)
    copies = [np.linalg.norm((apart + np.array([i, j])) @ basis, axis=-1)
              for i, j in itertools.product((-1, 0, 1), repeat=2)]  # fmt: skip
    distance = np.min(copies, axis=0)
    np.fill_diagonal(distance, np.inf)
    return float(distance.min(axis=1).mean())


def spread(values: Sequence[float], form: str = "{:.3f}") -> str:
    """Write values as their distinct clusters: "1.155 (n = 12), 1.732 (n = 15)"."""
    clusters: list[list[float]] = []
    for value in sorted(values):
        if clusters and value - clusters[-1][-1] <= 0.05 * abs(value):
            clusters[-1].append(value)
        else:
            clusters.append([value])
    return ", ".join(f"{form.format(np.median(c))} (n = {len(c)})" for c in clusters) or "–"


def cells_text(cells: Sequence[Sequence[int]]) -> str:
    """Write the median cells of each module, by rising period, for the usual number of modules."""
    usual = max({len(found) for found in cells}, key=[len(found) for found in cells].count)
    table = np.array([found for found in cells if len(found) == usual])
    middle = np.median(table, axis=0)
    ends = zip(middle, table.min(axis=0), table.max(axis=0), strict=True)
    return ", ".join(f"{m:.3g} ({low} to {high})" for m, low, high in ends)


def as_markdown(pairs: dict[str, Pairs], shapes: dict[str, list[dict[str, float]]]) -> str:
    """Return the table: a quantity a row, ours by recipe beside the animals'."""

    def ours(of: Any) -> str:
        return "; ".join(f"`{name}.py` {of(found)}" for name, found in pairs.items())

    def single(key: str) -> str:
        return "; ".join(
            f"`{name}` " + ", ".join(f"{module[key]:.2f}" for module in found)
            for name, found in shapes.items()
        )

    rows = {
        "Ratio of neighbouring periods": (ours(lambda p: spread(p.ratios)), "ratio"),
        "Relative orientation of neighbours": (
            ours(lambda p: f"{np.min(p.turns_deg):.1f}° to {np.max(p.turns_deg):.1f}°"), "turn",
        ),
        "Cells per module, by rising period": (ours(lambda p: cells_text(p.cells)), "cells"),
        "Ellipse through the six fields, long over short axis *": (single("aspect"), "aspect"),
        "Field diameter at half height over period *": (single("field_over_period"), "field"),
        "Distance to the nearest phase, over that of random phases *": (
            single("phase_spacing"), "phase",
        ),
    }  # fmt: skip
    # Each row stands beside published numbers, which are kept with their source in PUBLISHED.
    lines = ["| quantity | here | in rats | source |", "|---|---|---|---|"]
    for quantity, (text, key) in rows.items():
        found, source = PUBLISHED[key]
        lines.append(f"| {quantity} | {text} | {found} | {source} |")
    return "\n".join(lines) + "\n"


def draw(pairs: dict[str, Pairs]) -> plots.Figure:
    """Draw ratios and relative orientations of every pair of modules, beside the animals'."""
    figure = plots.blank_figure(8.4, 1.4 + 0.45 * len(pairs))
    left, right = figure.subplots(1, 2)
    named = {f"{name}.py": found for name, found in pairs.items()}
    plots.by_setting({n: p.ratios for n, p in named.items()}, label="ratio of periods", ax=left)
    plots.by_setting({n: p.turns_deg for n, p in named.items()}, label="turn (degrees)", ax=right)
    left.axvspan(*RANGE, color=plots.FAINT, alpha=0.3, lw=0)
    for mean in MEANS.values():
        left.axvline(mean, color=plots.INK, ls="--", lw=1)
    for peak in PEAKS_DEG:
        right.axvline(peak, color=plots.INK, ls="--", lw=1)
    left.set_xlim(1, 2.1)
    right.set_xlim(0, 32)
    return figure


def run(shapes: dict[str, list[dict[str, float]]], folder: Path = RESULTS) -> str:
    """Write the table and the figure; return the table."""
    pairs = {
        name: pairs_of(json.loads((RESULTS / f"claims_{name}.json").read_text()))
        for name in RECIPES
    }
    networks = ", ".join(f"{len(found.cells)} of `{name}.py`" for name, found in pairs.items())
    text = (
        "`python -m experiments.animals`: modules of at least ten grid cells in all networks of the"
        f" frozen recipes: {networks}. Rows with a star: pretrained networks, their modules by"
        f" rising period, in the box of the verdict.\n\n{as_markdown(pairs, shapes)}"
    )
    (folder / "animals.md").write_text(text)
    draw(pairs).savefig(folder / "animals.png", dpi=150)
    return text


def main(arguments: Sequence[str]) -> None:
    """Measure the pretrained networks, then write the table and the figure."""
    parser = command.Parser(__doc__)
    parser.add_argument("--networks", default=NETWORKS, help="pretrained ones, with commas")
    options = parser.read(arguments)
    shapes = {}
    for name in options.networks.split(","):
        network = sicjax.load_pretrained(name)
        maps = network.ratemaps(network.config.evaluation.verdict_box)
        units = sicjax.analyze_ratemaps(maps.ratemaps, maps.box_m)
        shapes[name] = shapes_of(maps.ratemaps, maps.box_m, units)
    print(run(shapes))


if __name__ == "__main__":
    command.run(main)
