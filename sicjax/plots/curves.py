"""Training curves, histograms, comparisons and tables of settings.

Letters: N units; K points of a curve. Lengths in metres.
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
    dress,
    figure_of_size,
    finite_values,
    group_legend,
    grouped,
    settable,
)

_PANELS = (
    ("weighted", "Weighted terms", "loss"),
    ("separation", "Separation", "mean over far pairs"),
    ("invariance", "Invariance", "mean over near pairs"),
    ("capacity", "Capacity", "−|mean g|²"),
    ("conformal_isometry", "Conformal isometry", "variance of speed, 1/m²"),
    ("neural_speed", "Neural speed", "|Δg| / |Δx|, 1/m"),
    ("gradient_norm", "Gradient norm", "before clipping"),
    ("learning_rate", "Learning rate", "per update"),
    ("dead_units", "Silent units", "units"),
)
_TERMS = ("separation", "invariance", "capacity", "conformal_isometry")


def losses(metrics: Sequence[Mapping[str, Any]], *, fig: Figure | None = None) -> Figure:
    """Training curves: weighted terms, each raw term, neural speed, gradient, rate, silent units.

    Args:
        metrics: one mapping per logged step, as in metrics.jsonl; `step` is the x axis, and a key
            that is missing leaves a gap.
        fig: where to draw; its size is set.
    """
    figure = figure_of_size(fig, 10.6, 7.2)
    room = {
        "left": 0.07,
        "right": 0.985,
        "bottom": 0.065,
        "top": 0.965,
        "wspace": 0.3,
        "hspace": 0.48,
    }
    steps = np.array([row["step"] for row in metrics], dtype=float)
    for ax, (key, title, label) in zip(
        figure.subplots(3, 3, gridspec_kw=room).flat, _PANELS, strict=True
    ):
        if key == "weighted":
            for colour, term in zip(COLOURS, _TERMS, strict=False):
                values = _series(metrics, f"weighted_{term}")
                ax.plot(steps, values, color=colour, lw=1.2, label=term.replace("_", " "))
            ax.plot(steps, _series(metrics, "loss"), color=INK, lw=1.2, label="total")
            ax.set_yscale("symlog", linthresh=0.1)  # a spike doesn't flatten the rest
            ax.margins(y=0.1)
            ax.set_ylim(top=_above(ax, 1.35))
            ax.legend(fontsize=6.5, frameon=False, ncols=3, handlelength=1.2, columnspacing=0.8)
        else:
            values = _series(metrics, key)
            ax.plot(steps, values, color=COLOURS[0], lw=1.2)
            if key in ("conformal_isometry", "gradient_norm") and np.any(values > 0):
                ax.set_yscale("log")
        dress(ax, x="step", y=label, title=title)
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
        ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    return figure


def score_histogram(
    scores: Mapping[str, ArrayLike], thresholds: Mapping[str, float], *, ax: Axes | None = None
) -> Axes:
    """Histograms of scores on common bins, with the threshold of each as a dashed line.

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
    ax.legend(fontsize=8, frameon=False)
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])  # room for the legend
    ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
    return dress(ax, x="score (dashed: threshold)", y="units")


def score_against_null(
    scores: ArrayLike, thresholds: ArrayLike, labels: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Draw each unit's score against the threshold of its own null; grid cells lie above the line.

    Args:
        scores: [N]; NaN is left out.
        thresholds: [N]; NaN is left out.
        labels: [N] group of each unit.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    groups = grouped(labels, thresholds, scores)
    for group, (colour, null, score) in groups.items():
        ax.scatter(
            null, score, 20, color=colour, alpha=0.75, lw=0, label=f"{group} (n = {len(null)})"
        )
    ax.axline((0, 0), slope=1, color=FAINT, lw=1, ls="--")
    group_legend(ax, groups)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    return dress(ax, x="99th percentile of the unit's shuffles", y="60° score")


def compared(
    reference: ArrayLike, others: Mapping[str, ArrayLike], *, quantity: str, of: str,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw each unit's value under other conditions against its value under one; equal on the line.

    Args:
        reference: [N] values under the one condition.
        others: name of a condition to values [N]; a pair with NaN is left out.
        quantity: what is compared, with its unit.
        of: name of the one condition.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    x = np.asarray(reference, dtype=float)
    for colour, marker, (name, values) in zip(COLOURS, "os^vD", others.items(), strict=False):
        y = np.asarray(values, dtype=float)
        known = np.isfinite(x) & np.isfinite(y)
        ax.scatter(
            x[known], y[known], 22, edgecolors=colour, facecolors="none", marker=marker, lw=0.9,
            label=f"{name} (n = {known.sum()})",
        )  # fmt: skip
    if np.isfinite(x).any():
        ax.axline((np.nanmedian(x),) * 2, slope=1, color=FAINT, lw=1, ls="--")
    ax.legend(fontsize=8, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return dress(ax, x=f"{quantity}, {of}", y=f"{quantity}, elsewhere")


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
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8, frameon=False)
    return dress(ax, x="steps since the start", y=y)


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
    ax.legend(fontsize=8, frameon=False)
    return dress(ax, x="x (m)", y="y (m)")


def phase_diagram(
    values: ArrayLike, xs: Sequence[float], ys: Sequence[float], *, x: str, y: str, label: str,
    text: Sequence[Sequence[str]] | None = None, cmap: str = CMAP, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """One number for each pair of two settings, as colour and text.

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
    image = ax.imshow(np.ma.masked_invalid(table), cmap=colours, origin="lower", aspect="auto")
    middle = np.mean(image.get_clim())
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            ink = "white" if value < middle else INK
            words = f"{value:.3g}" + (f"\n{text[row][column]}" if text else "")
            ax.text(column, row, words, ha="center", va="center", color=ink, fontsize=8)
    ax.set_xticks(range(len(xs)), [f"{value:g}" for value in xs])
    ax.set_yticks(range(len(ys)), [f"{value:g}" for value in ys])
    whole = not np.any(table[np.isfinite(table)] % 1)
    ticks = mpl.ticker.MaxNLocator(5, integer=whole)
    ax.figure.colorbar(image, ax=ax, label=label, ticks=ticks)
    dress(ax, x=x, y=y)
    ax.spines[:].set_visible(False)
    return ax


def by_setting(groups: Mapping[str, ArrayLike], *, label: str, ax: Axes | None = None) -> Axes:
    """One dot per network for each of several settings, with their median.

    Args:
        groups: name of the settings to values [networks]; NaN is left out, and counted.
        label: what the numbers are.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    for row, values in enumerate(groups.values()):
        finite = finite_values(values)
        nudge = np.linspace(-0.2, 0.2, len(finite)) if len(finite) > 1 else np.zeros(len(finite))
        ax.scatter(finite, row + nudge, s=16, color=COLOURS[0], alpha=0.7, lw=0)
        if finite.size:
            ax.plot([np.median(finite)] * 2, [row - 0.3, row + 0.3], color=INK, lw=1.6)
    counts = [
        f"{settable(name)} (n = {len(finite_values(values))})" for name, values in groups.items()
    ]
    ax.set_yticks(range(len(groups)), counts)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    return dress(ax, x=f"{label} (line: median)")


def tails(
    groups: Mapping[str, ArrayLike], *, x: str = "", y: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the share of each group's values above a value, on logarithmic axes.

    Args:
        groups: positive values by label.
        x: name of the values.
        y: name of the share.
    """
    ax = axes_or_new(ax)
    for k, (label, values) in enumerate(groups.items()):
        rising = np.sort(finite_values(values))
        above = 1 - (np.arange(len(rising)) + 0.5) / len(rising)
        ax.plot(rising, above, color=COLOURS[k % len(COLOURS)], label=label)
    ax.set(xscale="log", yscale="log")
    ax.legend(frameon=False, fontsize="small")
    return dress(ax, x=x, y=y)


def _above(ax: Axes, factor: float) -> float:
    """The value at `factor` times the height of a panel, whatever its scale."""
    ax.autoscale_view()
    height = ax.transAxes.transform((0, factor))[1]
    return float(ax.transData.inverted().transform((0, height))[1])


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Values [rows] of one metric; NaN where a row lacks it or holds null."""
    values = (row.get(key) for row in metrics)
    return np.array([np.nan if value is None else value for value in values], dtype=float)
