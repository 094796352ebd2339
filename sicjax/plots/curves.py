"""Training curves, histograms, comparisons and tables of settings.

Letters: N units; K points of a curve; B trajectories of T steps. Lengths in metres.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from sicjax.plots.style import (
    CMAP,
    COLOURS,
    FAINT,
    INK,
    UNVISITED,
    axes_or_new,
    colour_bar,
    dress,
    figure_of_size,
    finite_values,
    group_legend,
    grouped,
    legend_above,
    own_settings,
    plain_numbers,
    scatter_groups,
    settable,
    whole_numbers,
)

# The loss terms that sicjax has: key in the metrics -> title and label of the panel.
_TERMS = {
    "separation": ("Separation", "mean over far pairs"),
    "invariance": ("Invariance", "mean over near pairs"),
    "capacity": ("Capacity", "−|mean g|²"),
    "conformal_isometry": ("Conformal isometry", "variance of speed (1/m²)"),
}
_OTHERS = {
    "neural_speed": ("Neural speed", "|Δg| / |Δx| (1/m)"),
    "gradient_norm": ("Gradient norm", "before clipping"),
    "learning_rate": ("Learning rate", "per update"),
    "dead_units": ("Silent units", "units"),
}
_LOGARITHMIC = ("conformal_isometry", "gradient_norm")


@own_settings()
def losses(
    metrics: Sequence[Mapping[str, Any]], *, terms: Sequence[str] | None = None,
    fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw training curves: weighted terms, each term, neural speed, gradient, rate, silent units.

    Args:
        metrics: one mapping per logged update, as in metrics.jsonl. `step` is the x axis. A key
            that is missing, or null, leaves a gap.
        terms: names of the loss terms. By default the four of sicjax and every other term that
            `metrics` holds as `weighted_NAME`, such as your own.
        fig: where to draw; its size is set.
    """
    if terms is None:
        logged = dict.fromkeys(key for row in metrics for key in row if key.startswith("weighted_"))
        terms = list(dict.fromkeys([*_TERMS, *(key.removeprefix("weighted_") for key in logged)]))
    panels = {name: _TERMS.get(name, (name, "before weighting")) for name in terms} | _OTHERS
    # The sum takes the first panel. Margins are in inches, so they don't change as rows are added.
    rows = -(-(1 + len(panels)) // 3)
    figure = figure_of_size(fig, 10.6, height := 2.4 * rows)
    room = {
        "left": 0.07, "right": 0.985, "bottom": 0.47 / height, "top": 1 - 0.25 / height,
        "wspace": 0.3, "hspace": 0.52,
    }  # fmt: skip
    steps = np.array([row["step"] for row in metrics], dtype=float)
    first, *others = figure.subplots(rows, 3, gridspec_kw=room).flat
    _weighted_terms(first, steps, metrics, terms)
    for ax, (key, (title, label)) in zip(others, panels.items(), strict=False):
        values = _series(metrics, key)
        ax.plot(steps, values, color=COLOURS[0], lw=1.2)
        if not np.isfinite(values).any():
            ax.text(0.5, 0.5, "not logged", transform=ax.transAxes, color=FAINT, ha="center")
            ax.set_yticks([])
        ax.set_xlim(first.get_xlim())
        above = values[values > 0]
        if key in _LOGARITHMIC and above.size:
            ax.set_yscale("log")
            few_decades = above.max() < 30 * above.min()
            plain_numbers(ax.yaxis, steps=(1, 2, 5) if few_decades else (1,))
        elif key == "dead_units":
            whole_numbers(ax.yaxis)
        dress(ax, x="update", y=label, title=settable(title))
        whole_numbers(ax.xaxis, 4)
    for ax in others[len(panels) :]:
        ax.remove()
    return figure


def _weighted_terms(
    ax: Axes, steps: np.ndarray, metrics: Sequence[Mapping[str, Any]], terms: Sequence[str]
) -> None:
    """Draw each weighted term and their sum on an axis that is logarithmic above 0.1."""
    for k, term in enumerate(terms):
        label = settable(term.replace("_", " "))
        values = _series(metrics, f"weighted_{term}")
        ax.plot(steps, values, color=COLOURS[k % len(COLOURS)], lw=1.2, label=label)
    if steps.size:
        ax.set_xlim(0, 1.02 * max(steps.max(), 1))
    ax.plot(steps, _series(metrics, "loss"), color=INK, lw=1.2, label="total")
    ax.set_yscale("symlog", linthresh=0.1)  # a spike must not flatten the rest
    ax.margins(y=0.1)
    ax.set_ylim(top=_above(ax, 1.15 + 0.15 * (len(terms) // 2 + 1)))  # room for the legend
    ax.legend(loc="upper center", ncols=2, handlelength=1.2, columnspacing=0.8, labelspacing=0.2)
    dress(ax, x="update", y="loss (linear below 0.1)", title="Weighted terms")
    whole_numbers(ax.xaxis, 4)


@own_settings()
def score_histogram(
    scores: Mapping[str, ArrayLike], thresholds: Mapping[str, float], *, ax: Axes | None = None
) -> Axes:
    """Draw histograms of scores on common bins, with the threshold of each as a dashed line.

    Args:
        scores: name to values [any length]; NaN is left out.
        thresholds: name to the value above which a score counts.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    finite = {name: finite_values(values) for name, values in scores.items()}
    everything = np.concatenate([*finite.values(), [-0.5, 1.5]])
    edges = np.arange(math.floor(everything.min() * 10), math.ceil(everything.max() * 10) + 1) / 10
    for colour, (name, values) in zip(COLOURS, finite.items(), strict=False):
        ax.hist(values, list(edges), color=colour, alpha=0.55, label=f"{name} (n = {len(values)})")
        if name in thresholds:
            ax.axvline(thresholds[name], color=colour, ls="--", lw=1.2)
    ax.legend()
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])  # room for the legend
    whole_numbers(ax.yaxis)
    return dress(ax, x="score (dashed: threshold)", y="units")


@own_settings()
def score_against_null(
    scores: ArrayLike, thresholds: ArrayLike, labels: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Draw each unit's grid score against its null's threshold; grid cells lie above the line.

    Args:
        scores: [N]; NaN is left out.
        thresholds: [N]; NaN is left out.
        labels: [N] group of each unit.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    groups = grouped(labels, thresholds, scores)
    scatter_groups(ax, groups)
    group_legend(ax, groups, above=3)
    ax.axline((0, 0), slope=1, color=FAINT, lw=1, ls="--")
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    return dress(ax, x="99th percentile of the unit's shuffles", y="grid score")


@own_settings()
def null_distributions(
    scores: ArrayLike, null: ArrayLike, names: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Draw each unit's null as a column of small dots, its 99th percentile, and its score.

    Args:
        scores: [N]; NaN is left out.
        null: [N, S] scores of the unit's shuffles; NaN is left out.
        names: [N] of the units.
        ax: where to draw.
    """
    ax, null = axes_or_new(ax), np.asarray(null, dtype=float)
    columns = np.arange(len(null))
    at = np.broadcast_to(columns[:, None], null.shape)
    ax.scatter(at.ravel(), null.ravel(), s=4, color=FAINT, alpha=0.4, lw=0, label="time shifts")
    known = np.isfinite(null).all(axis=1) & (null.shape[1] > 0)
    limits = np.full(len(null), np.nan)
    limits[known] = np.percentile(null[known], 99, axis=1)
    ax.scatter(columns, limits, marker="_", s=60, color=INK, label="their 99th percentile")
    ax.scatter(columns, np.asarray(scores), s=24, color=COLOURS[1], label="the cell")
    ax.set_xticks(columns, names, rotation=90)
    ax.set_ylim(bottom=-1.5)
    legend_above(ax, 3)
    return dress(ax, x="", y="grid score")


@own_settings()
def compared(
    reference: ArrayLike, others: Mapping[str, ArrayLike], *, quantity: str, of: str,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw each unit's values under other conditions against a reference; equal on the line.

    Args:
        reference: [N] values under the reference condition.
        others: name of a condition to values [N]; a pair with NaN is left out.
        quantity: what is compared, with its unit.
        of: name of the reference condition.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    x, shown = np.asarray(reference, dtype=float), []
    for colour, marker, (name, values) in zip(COLOURS, "os^vD", others.items(), strict=False):
        y = np.asarray(values, dtype=float)
        known = np.isfinite(x) & np.isfinite(y)
        ax.scatter(
            x[known], y[known], 22, edgecolors=colour, facecolors="none", marker=marker, lw=0.9,
            label=f"{name} (n = {known.sum()})",
        )  # fmt: skip
        shown += [x[known], y[known]]
    values = np.concatenate([*shown, []])
    if values.size:  # both axes alike, so that the line of equal values is a diagonal
        room = 0.06 * np.ptp(values) or 1.0
        limits = values.min() - room, values.max() + room
        ax.plot(limits, limits, color=FAINT, lw=1, ls="--", label="equal", zorder=0)
        ax.set(xlim=limits, ylim=limits)
    ax.set_aspect("equal")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    return dress(ax, x=f"{quantity}, {of}", y=f"{quantity}, as in the key")


@own_settings()
def against_steps(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, y: str, chance: float | None = None,
    level: float | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw curves against the number of steps of a walk, on a logarithmic axis.

    Args:
        curves: name to steps [K] and values [K]; NaN leaves a gap.
        y: label of the values.
        chance: value marked by a dashed line.
        level: value marked by a dotted line.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    for colour, (name, (steps, values)) in zip(COLOURS, curves.items(), strict=False):
        ax.plot(steps, values, color=colour, lw=1.4, label=name)
    if chance is not None:
        ax.axhline(chance, color=FAINT, ls="--", lw=1, label="chance")
    if level is not None:
        ax.axhline(level, color=FAINT, ls=":", lw=1)
    known = np.concatenate([finite_values(steps) for steps, _ in curves.values()])
    if known.size:  # for curves that are all NaN
        ax.set_xlim(known.min() / 1.3, 1.3 * known.max())
    ax.set_xscale("log")
    plain_numbers(ax.xaxis)
    ax.set_ylim(bottom=0)
    ax.legend()
    return dress(ax, x="steps since the start", y=y)


@own_settings()
def permuted_batch(positions: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw trajectories that take the same steps in different orders.

    Args:
        positions: [B, T, 2] metres from the common start.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    paths = np.asarray(positions, dtype=float)
    paths = np.concatenate([np.zeros((len(paths), 1, 2)), paths], axis=1)
    for k, path in enumerate(paths):
        ax.plot(*path.T, color=COLOURS[k % len(COLOURS)], lw=0.7, alpha=0.6)
    ax.plot(0, 0, "o", color=INK, ms=6, label="start")
    ax.plot(*paths[0, -1], "s", color=INK, ms=6, label="end of all")
    ax.set_aspect("equal")
    legend_above(ax, 2)
    return dress(ax, x="x (m)", y="y (m)")


@own_settings()
def phase_diagram(
    values: ArrayLike, xs: Sequence[float], ys: Sequence[float], *, x: str, y: str, label: str,
    text: Sequence[Sequence[str]] | None = None, cmap: str = CMAP, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw one number for each pair of two settings, as colour and text.

    Args:
        values: [Y, X], NaN (grey) where there is none.
        xs: [X] values of the setting along x.
        ys: [Y] values of the setting along y, the first one at the bottom.
        x: name of the setting along x.
        y: name of the setting along y.
        label: what the numbers are.
        text: [Y][X], written below the numbers.
        cmap: any matplotlib colour map.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    table = np.asarray(values, dtype=float)
    colours = mpl.colormaps[cmap].with_extremes(bad=UNVISITED)
    image = ax.imshow(
        np.ma.masked_invalid(table), cmap=colours, origin="lower", aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    middle = np.mean(image.get_clim())
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            ink = "white" if value < middle else INK
            words = f"{value:.3g}" + (f"\n{text[row][column]}" if text else "")
            ax.text(column, row, words, ha="center", va="center", color=ink)
    ax.set_xticks(range(len(xs)), [f"{value:g}" for value in xs])
    ax.set_yticks(range(len(ys)), [f"{value:g}" for value in ys])
    bar = colour_bar(image, label, ax=ax)
    whole = not np.any(table[np.isfinite(table)] % 1)
    bar.locator = mpl.ticker.MaxNLocator(5, integer=whole)
    bar.update_ticks()
    dress(ax, x=x, y=y)
    ax.spines[:].set_visible(False)
    return ax


@own_settings()
def by_setting(groups: Mapping[str, ArrayLike], *, label: str, ax: Axes | None = None) -> Axes:
    """Draw one dot per network for each of several settings, with their median.

    Args:
        groups: name of the settings to values [networks]; NaN is left out, and not counted.
        label: what the numbers are.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    names = []
    for row, (name, values) in enumerate(groups.items()):
        finite = finite_values(values)
        nudge = np.linspace(-0.2, 0.2, len(finite)) if len(finite) > 1 else np.zeros(len(finite))
        ax.scatter(finite, row + nudge, s=16, color=COLOURS[0], alpha=0.7, lw=0)
        if finite.size:
            ax.plot([np.median(finite)] * 2, [row - 0.3, row + 0.3], color=INK, lw=1.6)
        names.append(f"{settable(name)} (n = {len(finite)})")
    ax.set_yticks(range(len(groups)), names)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    return dress(ax, x=f"{label} (line: median)")


@own_settings()
def tails(
    groups: Mapping[str, ArrayLike], *, x: str = "", y: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the share of each group's values above a value, on logarithmic axes.

    Args:
        groups: positive values by label.
        x: name of the values.
        y: name of the share.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    for k, (label, values) in enumerate(groups.items()):
        rising = np.sort(finite_values(values))
        above = 1 - (np.arange(len(rising)) + 0.5) / len(rising)
        ax.plot(rising, above, color=COLOURS[k % len(COLOURS)], label=label)
    ax.set(xscale="log", yscale="log")
    ax.legend()
    return dress(ax, x=x, y=y)


def _above(ax: Axes, factor: float) -> float:
    """Return the value at `factor` times the height of a panel, for any scale."""
    ax.autoscale_view()
    height = ax.transAxes.transform((0, factor))[1]
    return float(ax.transData.inverted().transform((0, height))[1])


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Return values [rows] of one metric; NaN where a row lacks it or has null."""
    values = (row.get(key) for row in metrics)
    return np.array([np.nan if value is None else value for value in values], dtype=float)
