"""Figures: arrays in, matplotlib out; nothing is computed but where ink goes, nothing is saved.

Letters: N units; K units shown; y, x bins of a map; S samples of a path. Lengths in metres, angles
in degrees. Functions that draw one panel take `ax=`, those that lay out several take `fig=` (and
set its size); both return what they drew on. Without one they open a pyplot figure, as a notebook
wants.

Source: ours; the looks are the paper's and its field's.

Example:
    >>> import sicjax
    >>> maps = sicjax.load_pretrained("quick").ratemaps(box_m=0.4)
    >>> figure = sicjax.plots.ratemap_sheet(maps.ratemaps[:24], maps.box_m)
    >>> figure.savefig("maps.png")
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Circle, Polygon, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

CMAP = "viridis"  # perceptually uniform, readable without red and green; "jet" for the paper's look
CORRELATION_CMAP = "RdBu_r"
UNVISITED = "#d9d9d9"
INK, FAINT = "#222222", "#8a8a8a"
# Okabe & Ito's colours, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
NEUTRAL = "#b3b3b3"  # of what belongs to no group
NO_GROUP = ("no module", "other")

TILE_INCHES = 0.86  # side of a small map
_GAP, _HEAD, _FOOT = 0.08, 0.21, 0.34  # of a tile: between maps, above each, below the sheet

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


def blank_figure(width: float = 5.2, height: float = 3.4) -> Figure:
    """Make an empty figure, inches, that pyplot and so a notebook knows nothing of."""
    return Figure(figsize=(width, height), layout="constrained")


def as_picture(figure: Figure, *, dpi: float = 100) -> np.ndarray:
    """Draw a figure into bytes [height, width, 3]."""
    figure.set_dpi(dpi)
    FigureCanvasAgg(figure).draw()
    return last_picture(figure)


def last_picture(figure: Figure) -> np.ndarray:
    """Return what `as_picture`, or an animation after it, has drawn last."""
    assert isinstance(figure.canvas, FigureCanvasAgg)
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def ratemap_sheet(
    ratemaps: ArrayLike, box_m: float, *, order: ArrayLike | None = None,
    titles: Sequence[str] | None = None, tops: ArrayLike | None = None, columns: int = 12,
    groups: Sequence[tuple[str, int]] | None = None, title: str = "", cmap: str = CMAP,
    fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """All rate maps side by side, each on its own colour scale from 0 to its peak.

    Args:
        ratemaps: [N, y, x], NaN (grey) where unvisited.
        box_m: side of the box, metres, for the scale bar.
        order: [K] indices of the units to show, in order; all of them when not given.
        titles: [N] short texts, one above each map.
        tops: [N] value of the brightest colour of each map; its peak when not given.
        columns: maps in a row.
        groups: headings of the maps shown and how many, in order, come under each; every group
            begins a row of its own.
        title: of the sheet.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    maps = _maps("ratemaps", ratemaps)
    shown = _shown(len(maps), order, titles)
    if not (np.ndim(box_m) == 0 and np.isreal(box_m) and box_m > 0):
        raise ValueError(f"box_m is {box_m!r}; must be the side of the box, metres")
    peaks = _peaks(maps) if tops is None else np.asarray(tops, dtype=float)
    colours = _paint(maps[shown], 0.0, peaks[shown], cmap)
    labels = None if titles is None else [titles[n] for n in shown]
    figure, ax, _ = _sheet(colours, labels, columns, title, fig, groups)
    side = maps.shape[-1]
    _scale_bar(ax, side / box_m, box_m, side)
    _colour_key(ax, cmap, ("0", "peak"), side)
    if not np.isfinite(maps[shown]).all():
        _unvisited_key(ax, side)
    return figure


def autocorrelogram_sheet(
    correlograms: ArrayLike, bin_m: float, *, order: ArrayLike | None = None,
    titles: Sequence[str] | None = None, axes_m: ArrayLike | None = None, columns: int = 12,
    title: str = "", fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """All autocorrelograms side by side, from -1 (blue) through 0 (white) to 1 (red).

    Args:
        correlograms: [N, 2y - 1, 2x - 1], lag 0 in the middle, NaN (grey) where undefined.
        bin_m: side of a bin, metres.
        order: [K] indices of the units to show, in order; all of them when not given.
        titles: [N] short texts, one above each.
        axes_m: [N, 3, 2] lattice axes (x, y) in metres; NaN for none. Drawn from lag 0, with the
            six nearest fields as dots and their mean distance as a ring.
        columns: autocorrelograms in a row.
        title: of the sheet.
        fig: where to draw; its size is set.
    """
    maps = _maps("correlograms", correlograms)
    shown = _shown(len(maps), order, titles)
    colours = _paint(maps[shown], -1.0, np.ones(len(shown)), CORRELATION_CMAP)
    labels = None if titles is None else [titles[n] for n in shown]
    figure, ax, corners = _sheet(colours, labels, columns, title, fig)
    side = maps.shape[-1]
    if axes_m is not None:
        _lattices(ax, corners + side / 2, np.asarray(axes_m, dtype=float)[shown] / bin_m, side)
    _scale_bar(ax, 1 / bin_m, side * bin_m, side)
    _colour_key(ax, CORRELATION_CMAP, ("−1", "1"), side)
    return figure


def losses(metrics: Sequence[Mapping[str, Any]], *, fig: Figure | None = None) -> Figure:
    """Training curves: weighted terms, each raw term, neural speed, gradient, rate, silent units.

    Args:
        metrics: one mapping per logged step, as in metrics.jsonl; `step` is the x axis, and a key
            that is missing leaves a gap.
        fig: where to draw; its size is set.
    """
    figure = _fixed(fig, 10.6, 7.2)
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
    ax = _axes(ax)
    finite = {name: _finite(values) for name, values in scores.items()}
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


def period_histogram(
    spacing_m: ArrayLike, labels: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Stacked histogram of periods (distance between neighbouring fields), coloured by group.

    Args:
        spacing_m: [N] metres; NaN is left out.
        labels: [N] group of each unit.
        ax: where to draw.
    """
    ax = _axes(ax)
    groups = _grouped(labels, spacing_m)
    longest = max((periods.max() for _, periods in groups.values()), default=1.0)
    edges = np.arange(0, longest + 0.1, 0.05)
    below = np.zeros(len(edges) - 1)
    for group, (colour, periods) in groups.items():
        counts = np.histogram(periods, edges)[0]
        name = f"{group} (n = {len(periods)})"
        ax.bar(edges[:-1], counts, 0.05, below, align="edge", color=colour, label=name)
        below += counts
    _legend(ax, groups)
    ax.set_ylim(top=max(1.0, np.max(below)) * (1.1 + 0.1 * len(groups)))  # room for the legend
    ax.set_xlim(0, edges[-1])
    ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
    return dress(ax, x="period (m)", y="units")


def period_orientation(
    spacing_m: ArrayLike, orientation_deg: ArrayLike, labels: Sequence[str], *,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Period against orientation, one dot a unit, coloured by group.

    Args:
        spacing_m: [N] metres; NaN is left out.
        orientation_deg: [N] degrees in [0, 60).
        labels: [N] group of each unit.
        ax: where to draw.
    """
    ax = _axes(ax)
    groups = _grouped(labels, spacing_m, orientation_deg)
    for group, (colour, periods, orientations) in groups.items():
        ax.scatter(orientations, periods, 20, color=colour, alpha=0.75, lw=0, label=group)
    _legend(ax, groups)
    ax.set_xlim(0, 60)
    ax.set_xticks(range(0, 61, 15))
    ax.set_ylim(0, 1.2 * ax.dataLim.y1 if groups else 1)
    return dress(ax, x="orientation (degrees, modulo 60)", y="period (m)")


def recorded_path(
    positions: ArrayLike, rows: Sequence[tuple[str, ArrayLike]], box_m: float, *,
    titles: Sequence[str], cmap: str = CMAP, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw a recorded path, and rows of the same units' maps from it and from other walks.

    Args:
        positions: [S, 2] metres from the start.
        rows: pairs of a name and maps [K, y, x], all of one box; NaN (grey) where unvisited.
        box_m: side of that box, centred on the start, metres.
        titles: [K], one for each unit.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    path = np.asarray(positions, dtype=float)
    tile, left = 1.22, 3.8
    columns = max(len(titles), 1)
    width, height = left + 0.9 + columns * tile * 1.06, len(rows) * tile * 1.06 + 0.5
    figure = _fixed(fig, width, height)
    side = min(height - 0.9, left - 0.9)
    ax = figure.add_axes((0.65 / width, 0.55 / height, side / width, side / height))
    ax.plot(*path.T, color=COLOURS[0], lw=0.4, alpha=0.7)
    ax.plot(0, 0, "o", color=COLOURS[5], ms=5, label="start")
    ax.axis("equal")
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    dress(ax, x="x from the start (m)", y="y from the start (m)")
    panel = figure.add_axes((left / width, 0.0, 1 - left / width, 1.0))
    boxes = [(name, np.asarray(maps, dtype=float), box_m) for name, maps in rows]
    _rows_of_maps(panel, boxes, titles, cmap)
    return figure


def generalisation(
    boxes: Sequence[tuple[float, ArrayLike]], *, titles: Sequence[str],
    training_range_m: float | None = None, cmap: str = CMAP, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw the same units in boxes of several sizes, all to one scale.

    Args:
        boxes: pairs of the side of a box in metres and maps [K, y, x] in it.
        titles: [K], one for each unit.
        training_range_m: radius of a dashed circle around the start.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    widest = max(box for box, _ in boxes)
    per_m = 1.45 / widest
    height = sum(box * per_m + 0.087 for box, _ in boxes) + 0.52
    figure = _fixed(fig, 1.537 * max(len(titles), 1) + 0.7, height)
    rows = [(f"{box:g} m box", np.asarray(maps, dtype=float), box) for box, maps in boxes]
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    _rows_of_maps(ax, rows, titles, cmap, circle_m=training_range_m)
    return figure


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
    ax = _axes(ax)
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


def film_strip(
    frames: Sequence[tuple[int, ArrayLike]], box_m: float, *, titles: Sequence[str],
    cmap: str = CMAP, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw the same units' maps at several times of the training, one row a time.

    Args:
        frames: pairs of a training step and maps [K, y, x].
        box_m: side of the box, metres.
        titles: [K], one for each unit.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    rows = [(f"step {step:,}", maps) for step, maps in frames]
    return named_rows(rows, box_m, titles=titles, cmap=cmap, fig=fig)


def named_rows(
    rows: Sequence[tuple[str, ArrayLike]], box_m: float, *, titles: Sequence[str],
    cmap: str = CMAP, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw rows of maps with a name each, as of several settings; every map to its own peak.

    Args:
        rows: pairs of a name and maps [K, y, x].
        box_m: side of the box, metres.
        titles: [K], one for each column.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    sized = [(name, np.asarray(maps, dtype=float), box_m) for name, maps in rows]
    figure = _fixed(fig, 1.06 * max(len(titles), 1) + 0.6, 1.06 * len(sized) + 0.42)
    _rows_of_maps(figure.add_axes((0.0, 0.0, 1.0, 1.0)), sized, titles, cmap)
    return figure


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
    ax = _axes(ax)
    groups = _grouped(labels, thresholds, scores)
    for group, (colour, null, score) in groups.items():
        ax.scatter(
            null, score, 20, color=colour, alpha=0.75, lw=0, label=f"{group} (n = {len(null)})"
        )
    ax.axline((0, 0), slope=1, color=FAINT, lw=1, ls="--")
    _legend(ax, groups)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    return dress(ax, x="99th percentile of the unit's shuffles", y="60° score")


def neural_distance(
    edges_m: ArrayLike, mean: ArrayLike, std: ArrayLike, *,
    training_range_m: float | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw neural distance against physical distance, mean and standard deviation over pairs.

    Args:
        edges_m: [K + 1] bins of physical distance, metres.
        mean: [K]; NaN leaves a gap.
        std: [K].
        training_range_m: distance marked by a dashed line.
        ax: where to draw.
    """
    ax = _axes(ax)
    edges, middle, spread = (np.asarray(values, dtype=float) for values in (edges_m, mean, std))
    centres = (edges[:-1] + edges[1:]) / 2
    ax.fill_between(centres, middle - spread, middle + spread, color=COLOURS[0], alpha=0.2, lw=0)
    ax.plot(centres, middle, color=COLOURS[0], lw=1.4)
    if training_range_m is not None:
        ax.axvline(training_range_m, color=FAINT, ls="--", lw=1)
        ax.text(training_range_m, 0.02, " training range", fontsize=8, color=FAINT,
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(bottom=0)
    return dress(ax, x="physical distance (m)", y="neural distance |g − g′|")


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
    ax = _axes(ax)
    for colour, (name, (steps, values)) in zip(COLOURS, curves.items(), strict=False):
        ax.plot(steps, values, color=colour, lw=1.4, label=name)
    if chance is not None:
        ax.axhline(chance, color=FAINT, ls="--", lw=1, label="chance")
    if level is not None:
        ax.axhline(level, color=FAINT, ls=":", lw=1)
    known = np.concatenate([_finite(steps) for steps, _ in curves.values()])
    if known.size:  # for curves that are all NaN
        ax.set_xlim(known.min() / 1.3, 1.3 * known.max())
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8, frameon=False)
    return dress(ax, x="steps since the start", y=y)


def conformality(
    speeds: ArrayLike, box_m: float, directions_deg: ArrayLike, by_direction: ArrayLike, *,
    fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw how fast the code moves per metre: by place, and by direction.

    Args:
        speeds: [y, x] mean speed, 1/m; NaN (grey) where unknown.
        box_m: side of the box, metres.
        directions_deg: [D] counter-clockwise from +x.
        by_direction: [D] mean speed, 1/m.
        fig: where to draw; its size is set.
    """
    figure = _fixed(fig, 8.6, 3.6)
    half = box_m / 2
    ax = figure.add_axes((0.08, 0.15, 0.33, 0.78))
    shown = ax.imshow(
        np.ma.masked_invalid(np.asarray(speeds, dtype=float)), origin="lower", vmin=0,
        extent=(-half, half, -half, half), cmap=mpl.colormaps[CMAP].with_extremes(bad=UNVISITED),
    )  # fmt: skip
    dress(ax, x="x (m)", y="y (m)")
    bar = figure.colorbar(shown, cax=figure.add_axes((0.43, 0.15, 0.015, 0.78)))
    bar.ax.tick_params(labelsize=8, colors=FAINT, labelcolor=INK)
    bar.set_label("|Δg| / |Δx| (1/m)", fontsize=9, color=INK)
    polar = figure.add_axes((0.6, 0.12, 0.34, 0.76), projection="polar")
    turns, values = np.deg2rad(directions_deg), np.asarray(by_direction, dtype=float)
    polar.plot(np.append(turns, turns[0]), np.append(values, values[0]), color=COLOURS[0], lw=1.4)
    polar.set_ylim(0, max(1.15 * np.nanmax(values, initial=0), 1e-9))
    polar.yaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    polar.tick_params(labelsize=7.5, labelcolor=INK)
    polar.set_title("speed by direction (1/m)", fontsize=9, color=INK)
    return figure


def fourier_power(
    power: ArrayLike, frequencies: ArrayLike, waves: ArrayLike, *, ax: Axes | None = None
) -> Axes:
    """Draw a mean power spectrum with the three wave vectors of the lattice.

    Args:
        power: [F, F], axis 0 is the frequency along y.
        frequencies: [F] cycles per metre, rising.
        waves: [3, 2] (x, y) cycles per metre; NaN draws none.
        ax: where to draw.
    """
    ax = _axes(ax)
    edge = np.asarray(frequencies, dtype=float)[[0, -1]]
    ax.imshow(
        np.sqrt(np.asarray(power, dtype=float)), origin="lower", cmap="magma",
        extent=(*edge, *edge), interpolation="bilinear",
    )  # fmt: skip
    for k, (x, y) in enumerate(np.asarray(waves, dtype=float), 1):
        if np.isfinite(x + y):
            ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "->", "color": "white"})
            ax.text(
                1.3 * x, 1.3 * y, f"k{k}", color="white", fontsize=9, ha="center", va="center",
                path_effects=[withStroke(linewidth=2.5, foreground="black")],
            )  # fmt: skip
    return dress(ax, x="cycles per metre along x", y="cycles per metre along y")


def phase_tiling(phase: ArrayLike, lattice_m: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw where the units of one module fire within the unit cell.

    Args:
        phase: [M, 2] in [0, 1), fractions of the first two axes; NaN is left out.
        lattice_m: [3, 2] axes (x, y), metres; the first two span the cell.
        ax: where to draw.
    """
    ax = _axes(ax)
    cell = np.asarray(lattice_m, dtype=float)[:2]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ cell
    fractions = np.asarray(phase, dtype=float)
    ax.plot(*corners.T, color=FAINT, lw=1)
    x, y = (fractions[np.isfinite(fractions).all(axis=1)] @ cell).T
    ax.scatter(x, y, 18, color=COLOURS[0], lw=0)
    ax.set_aspect("equal")
    return dress(ax, x="x (m)", y="y (m)")


def torus(
    embedding: ArrayLike, colours: ArrayLike, rings: ArrayLike, ring_phases: ArrayLike,
    diagrams: Sequence[ArrayLike], *, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw one module's states: a 3-D embedding, three rings along the wave vectors, the barcode.

    Args:
        embedding: [E, 3].
        colours: [E] in [0, 1), a circular coordinate.
        rings: [3, P, 2].
        ring_phases: [3, P] in [0, 1), the phase k.x that colours each ring.
        diagrams: births and deaths [bars, 2] of H0, H1 and H2.
        fig: where to draw; its size is set.
    """
    figure = _fixed(fig, 10.6, 3.0)
    cloud: Any = figure.add_axes((0.0, 0.0, 0.27, 1.0), projection="3d")
    x, y, z = np.asarray(embedding, dtype=float).T
    cloud.scatter(x, y, z, c=np.asarray(colours, dtype=float), cmap="twilight", s=5, lw=0)
    cloud.set_box_aspect(None, zoom=1.1)
    cloud.set_axis_off()
    for k, (ring, phases) in enumerate(
        zip(np.asarray(rings), np.asarray(ring_phases), strict=True)
    ):
        ax = figure.add_axes((0.29 + 0.135 * k, 0.2, 0.125, 0.6))
        ax.scatter(ring[:, 0], ring[:, 1], c=phases, cmap="twilight", s=1.5, lw=0)
        ax.set_aspect("equal")
        ax.set_axis_off()
        ax.set_title(f"along k{k + 1}", fontsize=9, color=INK)
    bars = figure.add_axes((0.74, 0.17, 0.24, 0.72))
    _barcode(bars, diagrams)
    return figure


def permuted_batch(positions: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw trajectories that take the same steps in different orders.

    Args:
        positions: [B, T, 2] metres from the common start.
        ax: where to draw.
    """
    ax = _axes(ax)
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
    ax = _axes(ax)
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
    ax = _axes(ax)
    for row, values in enumerate(groups.values()):
        finite = _finite(values)
        nudge = np.linspace(-0.2, 0.2, len(finite)) if len(finite) > 1 else np.zeros(len(finite))
        ax.scatter(finite, row + nudge, s=16, color=COLOURS[0], alpha=0.7, lw=0)
        if finite.size:
            ax.plot([np.median(finite)] * 2, [row - 0.3, row + 0.3], color=INK, lw=1.6)
    counts = [f"{_settable(name)} (n = {len(_finite(values))})" for name, values in groups.items()]
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
    ax = _axes(ax)
    for k, (label, values) in enumerate(groups.items()):
        rising = np.sort(_finite(values))
        above = 1 - (np.arange(len(rising)) + 0.5) / len(rising)
        ax.plot(rising, above, color=COLOURS[k % len(COLOURS)], label=label)
    ax.set(xscale="log", yscale="log")
    ax.legend(frameon=False, fontsize="small")
    return dress(ax, x=x, y=y)


def periods_against_range(
    networks: Sequence[tuple[float, Sequence[float]]], slopes: Mapping[str, float] | None = None, *,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the periods of each network's modules above the range of its training.

    Args:
        networks: the range in metres and the periods in metres, finest first, of each.
        slopes: of lines through the origin, by label.
        ax: where to draw.
    """
    ax = _axes(ax)
    longest = max((reach for reach, _ in networks), default=1.0)
    for k, (label, slope) in enumerate((slopes or {}).items()):
        ax.plot([0, longest], [0, slope * longest], color=COLOURS[k], lw=1, ls="--",
                label=f"{label}: {slope:.2f} times the range")  # fmt: skip
    for reach, periods in networks:
        for k, period in enumerate(reversed(periods)):
            ax.plot(reach, period, "o", color=COLOURS[k % len(COLOURS)], ms=5, mec="white", mew=0.5)
    if slopes:
        ax.legend(frameon=False, fontsize=8, loc="upper left")
    ax.set(xlim=(0, 1.05 * longest), ylim=0)
    return dress(ax, x="range of the training (m)", y="period of a module (m)")


def dress(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> Axes:
    """Give a panel the look that all panels share."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(labelsize=8, colors=FAINT, labelcolor=INK)
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    ax.set_title(title, fontsize=9.5, color=INK, loc="left")
    return ax


def _settable(name: str) -> str:
    """A name as matplotlib sets it: with its `$` where what they enclose is no mathematics."""
    try:
        if cbook.is_math_text(name):
            MathTextParser("path").parse(name)
    except ValueError:
        return name.replace("$", r"\$")
    return name


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(figsize=(5.2, 3.4), layout="constrained")[1] if ax is None else ax


def _fixed(figure: Figure | None, width: float, height: float) -> Figure:
    """Return a figure of this size in inches whose panels stay where they are put."""
    figure = plt.figure() if figure is None else figure
    figure.set_layout_engine("none")
    figure.set_size_inches(width, height)
    return figure


def _maps(name: str, maps: ArrayLike) -> np.ndarray:
    """Maps [N, y, x] as floats.

    Raises:
        ValueError: one map alone, or anything else.
    """
    try:
        found = np.asarray(maps, dtype=float)
        shape = f"has shape {found.shape}"
    except (TypeError, ValueError):
        found, shape = np.zeros(0), f"is a {type(maps).__name__}"
    if found.ndim != 3:
        raise ValueError(f"{name} {shape}; must be maps [N, y, x]")
    return found


def _shown(number: int, order: ArrayLike | None, titles: Sequence[str] | None) -> np.ndarray:
    """Indices of the units shown, [K].

    Raises:
        ValueError: an order that names other units, or titles that aren't one for each.
    """
    shown = np.arange(number) if order is None else np.asarray(order, dtype=int)
    if shown.size and not (shown.ndim == 1 and -number <= shown.min() <= shown.max() < number):
        raise ValueError(f"order: must be indices [K] of the {number} units")
    if titles is not None and len(titles) != number:
        raise ValueError(f"titles: {len(titles)}; must be one for each of {number} units")
    return shown


def _peaks(maps: np.ndarray) -> np.ndarray:
    """Highest value [N] of maps [N, y, x], and 0 of a map that is all NaN."""
    return np.where(np.isfinite(maps), maps, 0).max(axis=(1, 2), initial=0)


def _paint(maps: np.ndarray, bottom: float, tops: np.ndarray, cmap: str) -> np.ndarray:
    """Colours [K, y, x, 4] as bytes; grey where NaN."""
    span = np.where(tops > bottom, tops - bottom, 1)[:, None, None]
    colours = mpl.colormaps[cmap].with_extremes(bad=UNVISITED)
    return colours(np.ma.masked_invalid((maps - bottom) / span), bytes=True)


def _sheet(
    colours: np.ndarray, labels: list[str] | None, columns: int, title: str, fig: Figure | None,
    groups: Sequence[tuple[str, int]] | None = None,
) -> tuple[Figure, Axes, np.ndarray]:  # fmt: skip
    """Painted maps as one picture; axes in bins, y down; the maps' top left corners [K, 2]."""
    count, side = colours.shape[:2]
    columns = max(min(columns, count), 5)
    gap, head = round(_GAP * side), round(_HEAD * side if labels else _GAP * side)
    rooms = [(0, count)] if groups is None else [(round(0.36 * side), size) for _, size in groups]
    corners, dividers, height = np.zeros((count, 2), int), [], 0
    for first, (room, size) in zip(np.cumsum([0, *(n for _, n in rooms)]), rooms, strict=False):
        dividers.append(height)
        row, column = np.divmod(np.arange(size), columns)
        x, y = column * (side + gap), height + room + row * (side + head) + head
        corners[first : first + size] = np.stack([x, y], axis=-1)
        height += room + -(-size // columns) * (side + head)
    width = columns * (side + gap) - gap
    picture = np.full((max(height, 1), width, 4), 255, np.uint8)
    for (x, y), tile in zip(corners, colours, strict=True):
        picture[y : y + side, x : x + side] = tile[::-1]
    foot, top = _FOOT * side, 0.36 * side if title else 0.0
    per_bin = TILE_INCHES / side
    figure = _fixed(fig, width * per_bin + 0.2, (height + foot + top) * per_bin + 0.2)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    margin = 0.1 / per_bin
    ax.imshow(picture, extent=(0, width, height, 0), interpolation="nearest", aspect="equal")
    ax.set_xlim(-margin, width + margin)
    ax.set_ylim(height + foot + margin, -top - margin)
    ax.set_axis_off()
    for (x, y), label in zip(corners, labels or [], strict=False):
        ax.text(x, y - 0.03 * side, label, fontsize=6.5, color=INK, va="bottom")
    for y, (heading, _) in zip(dividers, groups or (), strict=False):
        line = y + 0.1 * side
        ax.plot([0, width], [line, line], color=FAINT, lw=0.8)
        ax.text(0, line + 0.05 * side, heading, fontsize=8.5, color=INK, va="top", weight="bold")
    ax.text(0, -0.16 * side, title, fontsize=10.5, color=INK, va="bottom")
    return figure, ax, corners


def _foot(ax: Axes, side: int) -> float:
    """Return the y of the keys under a sheet whose maps have `side` bins."""
    return ax.images[0].get_extent()[2] + 0.16 * side


def _lattices(ax: Axes, centres: np.ndarray, axes: np.ndarray, side: int) -> None:
    """Draw axes [K, 3, 2] in bins, their six fields and a ring, around centres [K, 2] of tiles."""
    ends = axes * [1, -1]  # a sheet's y counts downwards
    inside = np.abs(ends).max(axis=-1) < side / 2
    for centre, end, kept in zip(centres, ends, inside, strict=True):
        if not kept.any():
            continue
        segments = [(centre, centre + tip) for tip in end[kept]]
        ax.add_collection(LineCollection(segments, colors=INK, linewidths=0.7))
        fields = np.concatenate([centre + end[kept], centre - end[kept]])
        ax.plot(*fields.T, ".", color=INK, ms=2)
        radius = float(np.linalg.norm(end, axis=-1).mean())
        if radius < side / 2:
            ax.add_patch(Circle(tuple(centre), radius, fill=False, ec=INK, lw=0.4, ls=":"))


def _scale_bar(ax: Axes, bins_per_m: float, width_m: float, side: int) -> None:
    length = max((step for step in (0.1, 0.2, 0.5, 1, 2) if step <= width_m / 2), default=width_m)
    y = _foot(ax, side)
    ax.plot([0, length * bins_per_m], [y, y], color=INK, lw=2, solid_capstyle="butt")
    x = length * bins_per_m + 0.08 * side
    ax.text(x, y, f"{length:g} m", fontsize=8, color=INK, va="center")


def _colour_key(ax: Axes, cmap: str, ends: tuple[str, str], side: int) -> None:
    """Draw a strip of the colour map under a sheet, at its right."""
    y, right = _foot(ax, side), ax.images[0].get_extent()[1]
    left, stop, half = right - 1.5 * side, right - 0.5 * side, 0.05 * side
    strip = mpl.colormaps[cmap](np.linspace(0, 1, 256))[None]
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(strip, extent=(left, stop, y + half, y - half), aspect="equal")
    ax.set(xlim=limits[0], ylim=limits[1])
    for x, text, side_of in ((left, ends[0], "right"), (stop, ends[1], "left")):
        pad = -0.06 * side if side_of == "right" else 0.06 * side
        ax.text(x + pad, y, text, fontsize=8, color=INK, va="center", ha=side_of)


def _unvisited_key(ax: Axes, side: int) -> None:
    y, left = _foot(ax, side), 1.6 * side
    ax.add_patch(Rectangle((left, y - 0.06 * side), 0.12 * side, 0.12 * side, color=UNVISITED))
    ax.text(left + 0.18 * side, y, "not visited", fontsize=8, color=INK, va="center")


def _rows_of_maps(
    ax: Axes, rows: Sequence[tuple[str, np.ndarray, float]], titles: Sequence[str], cmap: str,
    *, circle_m: float | None = None,
) -> None:  # fmt: skip
    """Draw rows of maps (name, maps [K, y, x], side of the box in metres) to one scale."""
    widest = max(box for *_, box in rows)
    pitch, top = 1.06 * widest, 0.0
    for name, maps, box in rows:
        colours = _paint(maps, 0.0, _peaks(maps), cmap)
        middle = top - box / 2
        for column, picture in enumerate(colours):
            x = column * pitch
            extent = (x - box / 2, x + box / 2, top - box, top)
            image = ax.imshow(picture, extent=extent, origin="lower", interpolation="nearest")
            if circle_m is not None:
                circle = Circle((x, middle), circle_m, fill=False, ec="white", lw=1, ls="--")
                ax.add_patch(circle)
                circle.set_clip_path(Rectangle(extent[::2], box, box, transform=ax.transData))
            image.set_clip_on(False)
        ax.text(
            -0.54 * widest, middle, name, fontsize=8, color=INK, rotation=90,
            ha="right", va="center", ma="center", linespacing=1.3,
        )  # fmt: skip
        top -= box + 0.06 * widest
    for column, title in enumerate(titles):
        ax.text(column * pitch, 0.03 * widest, title, fontsize=8, color=INK, ha="center")
    left, bar = -rows[-1][2] / 2, top - 0.03 * widest
    ax.plot([left, left + 1], [bar, bar], color=INK, lw=2, solid_capstyle="butt")
    ax.text(left + 1.06, bar, "1 m", fontsize=8, color=INK, va="center")
    ax.set_axis_off()
    ax.set_aspect("equal", anchor="SE")
    ax.set_xlim(-0.95 * widest, (max(len(titles), 1) - 0.5) * pitch)
    ax.set_ylim(top - 0.12 * widest, 0.2 * widest)


def _barcode(ax: Axes, diagrams: Sequence[ArrayLike]) -> None:
    """Draw the longest bars of each dimension, from birth to death; one without end to the edge."""
    bars = [np.asarray(diagram, dtype=float).reshape(-1, 2) for diagram in diagrams]
    end = 1.05 * max((d[np.isfinite(d)].max(initial=0) for d in bars), default=0) or 1.0
    y = 0
    for k, diagram in enumerate(bars):
        closed = np.minimum(diagram, end)
        longest = np.argsort(closed[:, 0] - closed[:, 1])[:20]
        heights = y + np.arange(len(longest))
        ax.hlines(heights, *closed[longest].T, color=COLOURS[k], lw=1.6)
        ax.text(-0.02 * end, y, f"H{k}", fontsize=9, color=INK, ha="right", va="top")
        y += max(len(longest), 1) + 3
    ax.set_ylim(y, -2)
    ax.set_xlim(0, end)
    ax.set_yticks([])
    dress(ax, x="scale (cosine distance)", title="barcode, longest 20 bars each")


def _above(ax: Axes, factor: float) -> float:
    """The value at `factor` times the height of a panel, whatever its scale."""
    ax.autoscale_view()
    height = ax.transAxes.transform((0, factor))[1]
    return float(ax.transData.inverted().transform((0, height))[1])


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Values [rows] of one metric; NaN where a row lacks it or holds null."""
    values = (row.get(key) for row in metrics)
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=float).ravel()
    return array[np.isfinite(array)]


def _grouped(labels: Sequence[str], *columns: ArrayLike) -> dict[str, tuple[Any, ...]]:
    """Group -> (colour, values of each column where all are finite), by name."""
    names, table = np.asarray(labels, dtype=str), np.array(columns, dtype=float)
    known = np.isfinite(table).all(axis=0)
    found = np.unique(names[known])
    named = [str(name) for name in found if name not in NO_GROUP]
    groups = named + [str(name) for name in found if name in NO_GROUP]
    colour = {group: COLOURS[k % len(COLOURS)] for k, group in enumerate(named)}
    return {
        group: (colour.get(group, NEUTRAL), *table[:, known & (names == group)]) for group in groups
    }


def _legend(ax: Axes, groups: Mapping[str, Any]) -> None:
    if groups:
        ax.legend(fontsize=8, frameon=False)
    else:
        ax.text(0.5, 0.5, "no unit", transform=ax.transAxes, color=FAINT, ha="center", fontsize=9)


def module_relation(
    bases_m: ArrayLike, common_m: ArrayLike, *, index: ArrayLike, error: float, p: float,
    names: Sequence[str], ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw several lattices over each other, and the cell of the lattice that they have in common.

    Args:
        bases_m: [K, 2, 2] rows span each lattice (x, y), metres.
        common_m: [2, 2] rows span the common one.
        index: [K] cells of each lattice in the common cell.
        error: relative, of the common lattice.
        p: chance of such a relation.
        names: [K] of the lattices.
        ax: where to draw.
    """
    ax = _axes(ax)
    bases, common = np.asarray(bases_m, dtype=float), np.asarray(common_m, dtype=float)
    cells, half = np.asarray(index), 1.25 * np.linalg.norm(common, axis=-1).max()
    order = np.argsort([abs(np.linalg.det(basis)) for basis in bases])[::-1]  # coarse ones below
    for size, k in zip((90, 26, 9, 3), order, strict=False):
        x, y = _lattice_points(bases[k], half).T
        ax.scatter(
            x, y, size, color=COLOURS[k % len(COLOURS)], lw=0,
            label=f"{names[k]}: {cells[k]} in the cell",
        )  # fmt: skip
    one, two = common
    sides = np.stack([one, -two if one @ two > 0 else two])  # the cell that reaches less far
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ sides
    ax.plot(*corners.T, color=INK, lw=1, zorder=0)
    ax.set_aspect("equal")
    ax.set(xlim=(-half, half), ylim=(-half, half))
    ax.legend(
        fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), borderpad=0
    )
    ratio = " : ".join(str(count) for count in cells)
    title = f"indices {ratio}, error {100 * error:.2g} %, p = {p:.2g}"
    return dress(ax, x="x (m)", y="y (m)", title=title)


def _lattice_points(basis: np.ndarray, half: float) -> np.ndarray:
    """Points [P, 2] of a lattice within a square of half a side, metres."""
    reach = int(np.ceil(2 * half * np.abs(np.linalg.inv(basis)).sum()))
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    points = steps @ basis
    return points[np.abs(points).max(axis=1) <= half]


def module_drift(
    steps: ArrayLike, rms_m: ArrayLike, pairs: Sequence[tuple[int, int]], difference_m: ArrayLike,
    correlation: ArrayLike, null: ArrayLike, *, names: Sequence[str], fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw how far the phases of modules drift, each alone and one against another.

    Args:
        steps: [L] since the start.
        rms_m: [K, L] root mean square drift of each module.
        pairs: P pairs of modules.
        difference_m: [P, L] root mean square difference of their drifts.
        correlation: [P, L] of their drifts.
        null: [P, L] 95th percentile of that between different walks.
        names: [K] of the modules.
        fig: where to draw; its size is set.
    """
    figure = _fixed(fig, 9.4, 3.4)
    room = {"left": 0.075, "right": 0.985, "bottom": 0.15, "top": 0.93, "wspace": 0.22}
    left, right = figure.subplots(1, 2, gridspec_kw=room)
    for k, values in enumerate(np.asarray(rms_m, dtype=float)):
        colour, dash = COLOURS[k % len(COLOURS)], ("-", "--", ":")[k % 3]
        left.plot(steps, values, color=colour, lw=1.6, ls=dash, label=names[k])
    apart, together, chance = (np.asarray(a) for a in (difference_m, correlation, null))
    for row, (one, two) in enumerate(pairs):
        colour = (INK, FAINT, NEUTRAL)[row % 3]
        name = f"{names[one]} – {names[two]}"
        left.plot(steps, apart[row], color=colour, lw=1.2, marker=".", ms=4, label=name)
        right.plot(steps, together[row], color=colour, lw=1.2, marker=".", ms=4, label=name)
        label = "95 % of pairs of different walks" if row == 0 else None
        right.plot(steps, chance[row], color=colour, lw=1, ls="--", label=label)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        ax.legend(fontsize=8, frameon=False)
    left.set_ylim(bottom=0)
    right.set_ylim(min(-0.35, right.get_ylim()[0]), 1.03)
    dress(left, x="steps since the start", y="drift, root mean square (m)")
    dress(right, x="steps since the start", y="correlation of drifts")
    return figure


def distance_map(
    distance: ArrayLike, bin_m: float, *, dips_m: ArrayLike, range_m: float, cmap: str = CMAP,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw neural distance against displacement, its dips, and the range of place.

    Args:
        distance: [y, x], displacement 0 in the middle; NaN (grey) where unknown.
        bin_m: of displacement, metres.
        dips_m: [P, 2] displacements marked, with their opposites.
        range_m: radius of a dashed circle; inf or NaN draws none.
        cmap: any matplotlib colour map.
        ax: where to draw.
    """
    ax = _axes(ax)
    values = np.asarray(distance, dtype=float)
    half = values.shape[0] * bin_m / 2
    image = ax.imshow(
        np.ma.masked_invalid(values), origin="lower", vmin=0, extent=(-half, half, -half, half),
        cmap=mpl.colormaps[cmap].with_extremes(bad=UNVISITED),
    )  # fmt: skip
    dips = np.asarray(dips_m, dtype=float).reshape(-1, 2)
    x, y = np.concatenate([dips, -dips]).T
    ax.scatter(x, y, 16, color="white", marker="x", lw=0.9)
    if np.isfinite(range_m):
        ax.add_patch(Circle((0, 0), range_m, fill=False, ec="white", lw=1.2, ls="--"))
    bar = ax.figure.colorbar(image, ax=ax)
    bar.ax.tick_params(labelsize=8, colors=FAINT, labelcolor=INK)
    bar.set_label("neural distance", fontsize=9, color=INK)
    known = f"place is known up to {range_m:.2f} m" if np.isfinite(range_m) else ""
    return dress(ax, x="displacement along x (m)", y="along y (m)", title=known)


def attractor_return(
    steps: ArrayLike, distance: ArrayLike, amplitudes: ArrayLike, *,
    null: ArrayLike | None = None, level: float | None = 0.02,
    y: str = "excess distance to the manifold", ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw what becomes of perturbed states, one line an amplitude; those of a null dashed.

    Args:
        steps: [K] since the perturbation, from 0.
        distance: [A, K] relative to the norm; 0 leaves a gap.
        amplitudes: [A] asked for, relative to the norm.
        null: [A, K] the same of another network.
        level: marked as "back"; none when None.
        y: label of the distances.
        ax: where to draw.
    """
    ax = _axes(ax)
    names = [f"{100 * amplitude:g} %" for amplitude in np.asarray(amplitudes)]

    def with_gaps(lines: ArrayLike) -> np.ndarray:
        return np.where(np.asarray(lines, dtype=float) > 0, lines, np.nan)

    dashed = None if null is None else with_gaps(null)
    _beside_null(ax, steps, with_gaps(distance), dashed, names)
    if level is not None:
        ax.axhline(level, color=FAINT, lw=1, ls=":")
    ax.set_yscale("log")
    ax.set_ylim(bottom=4e-3)
    ax.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    _since_perturbation(ax, steps)
    return dress(ax, x="steps since the perturbation", y=y)


def attractor_shift(
    steps: ArrayLike, left: ArrayLike, shift_m: ArrayLike, *, null: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the share of a shift along the manifold that is left, one line a size of it.

    Args:
        steps: [K] since the shift, from 0.
        left: [A, K] share of it that is left.
        shift_m: [A] metres.
        null: [A, K] the same of another network, dashed.
        ax: where to draw.
    """
    ax = _axes(ax)
    _beside_null(ax, steps, left, null, [f"{100 * m:.1f} cm" for m in np.asarray(shift_m)])
    for level in (0, 1):
        ax.axhline(level, color=FAINT, lw=1, ls=":")
    ax.set_ylim(-0.3, 1.3)
    _since_perturbation(ax, steps)
    return dress(ax, x="steps at rest since the shift", y="share of the shift that is left")


def _beside_null(
    ax: Axes, steps: ArrayLike, values: ArrayLike, null: ArrayLike | None, names: Sequence[str]
) -> None:
    """Draw lines [A, K], one a name, and those of a null dashed."""
    shades = mpl.colormaps[CMAP](np.linspace(0.8, 0.1, len(names)))
    for row, (shade, name) in enumerate(zip(shades, names, strict=True)):
        ax.plot(steps, np.asarray(values)[row], color=shade, lw=1.5, label=name)
        if null is not None:
            ax.plot(steps, np.asarray(null)[row], color=shade, lw=1.5, ls="--")
    if null is not None:
        ax.plot([], [], color=INK, lw=1.2, ls="--", label="untrained")


def _since_perturbation(ax: Axes, steps: ArrayLike) -> None:
    """Spread the first steps along x, and put the legend on top."""
    ax.set_xscale("symlog", linthresh=10, linscale=1.2)
    ax.set_xlim(0, np.max(np.asarray(steps)))
    ax.xaxis.set_major_locator(mpl.ticker.FixedLocator([0, 2, 4, 6, 8, 10, 20, 50, 100, 200]))
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    ax.legend(
        fontsize=8, frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0,
        columnspacing=1, handlelength=1.4,
    )  # fmt: skip


def jacobian_gains(
    lengths: ArrayLike, gains: Mapping[str, ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """Draw by how much products of steps scale displacements; 1 is neutral, below it corrected.

    Args:
        lengths: [L] steps in a row.
        gains: name of a direction to [L, 3], low quantile, median and high quantile over states.
        ax: where to draw.
    """
    ax = _axes(ax)
    counts = np.asarray(lengths)
    nudges = np.linspace(-0.25, 0.25, len(gains)) if len(gains) > 1 else [0.0]
    for colour, nudge, (name, values) in zip(COLOURS, nudges, gains.items(), strict=False):
        low, middle, high = np.asarray(values, dtype=float).T
        ax.errorbar(
            np.arange(len(counts)) + nudge, middle, [middle - low, high - middle], fmt="o", ms=5,
            color=colour, lw=1.4, capsize=2.5, label=name,
        )  # fmt: skip
    ax.axhline(1, color=FAINT, lw=1, ls="--")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    ax.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.set_xticks(range(len(counts)), [f"{count}" for count in counts])
    ax.set_xlim(-0.5, len(counts) - 0.5)
    ax.legend(fontsize=8, frameon=False, loc="lower left")
    return dress(ax, x="steps in a row, at rest", y="gain")


def noise_drift(
    steps: ArrayLike, shift_m: ArrayLike, amplitudes: ArrayLike, diffusion: ArrayLike, *,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw how far noise in every step moves states along the manifold.

    Args:
        steps: [K] since the noise began.
        shift_m: [A, K] root mean square shift, metres.
        amplitudes: [A] of the noise, relative to the norm.
        diffusion: [A] square metres per step; drawn as a dashed line root of 4 D steps.
        ax: where to draw.
    """
    ax = _axes(ax)
    count = np.asarray(steps, dtype=float)
    rows = zip(np.asarray(amplitudes), np.asarray(shift_m), np.asarray(diffusion), strict=True)
    for colour, (amplitude, shift, speed) in zip(COLOURS, rows, strict=False):
        label = f"noise {100 * amplitude:g} %: {speed:.1e} m² per step"
        ax.plot(count, shift, "o-", color=colour, lw=1.4, ms=3.5, label=label)
        if speed > 0:
            ax.plot(count, np.sqrt(4 * speed * count), color=colour, lw=1, ls="--")
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.legend(fontsize=8, frameon=False)
    return dress(ax, x="steps", y="shift, root mean square (m)")


def module_coupling(
    steps: ArrayLike, shift_m: ArrayLike, *, names: Sequence[str], fig: Figure | None = None
) -> Figure:
    """Draw how modules pull each other: one panel for each that was displaced alone.

    Args:
        steps: [L] since the displacement.
        shift_m: [K, K, L] metres: which one was displaced, which one is read.
        names: [K] of the modules.
        fig: where to draw; its size is set.
    """
    shifts = np.asarray(shift_m, dtype=float)
    figure = _fixed(fig, 0.7 + 3.1 * len(shifts), 2.9)
    width = 0.7 + 3.1 * len(shifts)
    room = {"left": 0.7 / width, "right": 0.985, "bottom": 0.18, "top": 0.9, "wspace": 0.1}
    panels = figure.subplots(1, len(shifts), sharey=True, squeeze=False, gridspec_kw=room)[0]
    for moved, (ax, lines) in enumerate(zip(panels, shifts, strict=True)):
        for k, line in enumerate(lines):
            ax.plot(steps, line, color=COLOURS[k % len(COLOURS)], lw=1.5, label=names[k])
        ax.axhline(0, color=FAINT, lw=1, ls="--")
        dress(ax, x="steps", y="" if moved else "shift (m)", title=f"{names[moved]} displaced")
    panels[0].legend(fontsize=8, frameon=False, title="read from", title_fontsize=8)
    return figure


def formation(
    steps: ArrayLike, ratemaps: ArrayLike, groups: Sequence[tuple[str, int]], *,
    share: ArrayLike | None = None, cmap: str = CMAP, fig: Figure | None = None,
) -> FuncAnimation:  # fmt: skip
    """Animate rate maps in the course of a training: lattices forming, a row for each group.

    Args:
        steps: [F] of the training, one for each frame.
        ratemaps: [F, K, y, x], NaN (grey) where unvisited; each map to its own peak of the moment.
        groups: names of the rows, and how many maps, in order, are in each.
        share: [F] in [0, 1] of units with a lattice, drawn below; none when not given.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    films, when = np.asarray(ratemaps, dtype=float), np.asarray(steps)
    rows, columns, side = len(groups), max(count for _, count in groups), films.shape[-1]
    gap, left, right, head = max(side // 12, 1), 0.55, 0.25, 0.42
    foot = 0.1 if share is None else 0.95
    width = columns * TILE_INCHES + left + right
    height = rows * TILE_INCHES + head + foot
    figure = _fixed(fig, width, height)
    room = (left / width, foot / height, 1 - (left + right) / width, 1 - (head + foot) / height)
    ax = figure.add_axes(room)
    ax.set_axis_off()
    shape = rows * (side + gap) - gap, columns * (side + gap) - gap, 4

    def painted(frame: int) -> np.ndarray:
        picture = np.full(shape, 255, np.uint8)
        colours = iter(_paint(films[frame], 0.0, _peaks(films[frame]), cmap))
        for row, (_, count) in enumerate(groups):
            for column in range(count):
                y, x = row * (side + gap), column * (side + gap)
                picture[y : y + side, x : x + side] = next(colours)[::-1]
        return picture

    image = ax.imshow(painted(0), interpolation="nearest", aspect="equal")
    for row, (name, _) in enumerate(groups):
        colour = NEUTRAL if name in NO_GROUP else COLOURS[row % len(COLOURS)]
        ax.text(
            -2 * gap, row * (side + gap) + side / 2, name, fontsize=8, color=colour, rotation=90,
            ha="right", va="center", weight="bold",
        )  # fmt: skip
    words = figure.text(left / width, 1 - 0.22 / height, "", fontsize=10, color=INK, va="center")
    now = None
    if share is not None:
        strip = figure.add_axes((room[0], 0.28 / height, room[2], 0.34 / height))
        now = _progress(strip, when, np.asarray(share, dtype=float))

    def draw(frame: int) -> tuple[Any, ...]:
        image.set_data(painted(frame))
        words.set_text(f"after {when[frame]:,} updates")
        if now is not None:
            now.set_data(when[: frame + 1], np.asarray(share, dtype=float)[: frame + 1])
        return ()

    return FuncAnimation(figure, draw, frames=len(when), init_func=lambda: draw(0), interval=450)


def _progress(ax: Axes, when: np.ndarray, share: np.ndarray) -> Any:
    """A strip with a faint curve and the line that follows it."""
    ax.fill_between(when, 0, share, color=NEUTRAL, alpha=0.3, lw=0)
    (line,) = ax.plot([], [], color=INK, lw=1.4, marker=".", ms=5, markevery=[-1])
    ax.set(xlim=(when[0], when[-1] if len(when) > 1 else when[0] + 1), ylim=(0, 1.1))
    ax.set_yticks([0, 1], ["0", "100 %"])
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    dress(ax)
    ax.tick_params(labelsize=7)
    ax.set_title("active units that carry a lattice, by updates", fontsize=7.5, color=INK, pad=3)
    return line


def walking(
    positions: ArrayLike, activity: ArrayLike, box_m: float, *,
    sheets: Sequence[tuple[str, ArrayLike, ArrayLike, ArrayLike, int]], rest: ArrayLike = (),
    every: int = 1, cmap: str = CMAP, fig: Figure | None = None,
) -> FuncAnimation:  # fmt: skip
    """Animate a network that walks: the path in the box, and all units lighting up beside it.

    Units of a module lie at their phases in the lattice's cell, so that the activity is a bump
    that moves with the animal. One unit of each is ringed; dots on the path mark where it fires.

    Args:
        positions: [S, 2] metres from the box's centre.
        activity: [S, N] relative to each unit's peak.
        box_m: side of the box, metres.
        sheets: of each module a name, its units [M], their phases [M, 2], its axes [3, 2] in
            metres, and which of the M is ringed.
        rest: [R] units drawn as a block of squares.
        every: steps between two frames.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    path, rates = np.asarray(positions, dtype=float), np.asarray(activity, dtype=float)
    others = np.asarray(rest, dtype=int)
    width, height = 4.0 + 2.5 * max(len(sheets), 1), 4.0
    figure = _fixed(fig, width, height)
    room = (0.2 / width, 0.25 / height, 3.35 / width, 3.35 / height)
    ax, line, animal = _arena(figure, room, box_m)
    words = figure.text(room[0], 1 - 0.2 / height, "", fontsize=10, color=INK, va="center")
    low = (1.15 if others.size else 0.7) / height
    fired, lit = [], []
    for k, (name, units, phases, axes_m, ringed) in enumerate(sheets):
        colour, members = COLOURS[k % len(COLOURS)], np.asarray(units, dtype=int)
        panel = figure.add_axes(((3.85 + 2.5 * k) / width, low, 2.35 / width, 2.45 / height))
        panel.set_title(name, fontsize=9.5, color=colour, weight="bold")
        dots = _cell_of_units(panel, phases, axes_m, ringed, colour, cmap)
        lit.append((dots, members))
        (marks,) = ax.plot([], [], "o", color=colour, ms=4.5, mew=0, alpha=0.85)
        fired.append((marks, rates[:, members[ringed]] > 0.5))
    if others.size:
        room = (3.95 / width, 0.25 / height, 1 - 4.2 / width, (0.6 if sheets else 3.3) / height)
        block = _block(figure.add_axes(room), len(others), room[2] * width / room[3] / height, cmap)

    def draw(frame: int) -> tuple[Any, ...]:
        step = min((frame + 1) * every, len(path))
        words.set_text(f"step {step:,}")
        line.set_data(*path[:step].T)
        animal.set_data(*path[step - 1 : step].T)
        for marks, fires in fired:
            marks.set_data(*path[:step][fires[:step]].T)
        for dots, members in lit:
            dots.set_array(rates[step - 1, members])
        if others.size:
            cells = np.full(block.get_array().shape, np.nan)
            cells.flat[: len(others)] = rates[step - 1, others]
            block.set_data(np.ma.masked_invalid(cells))
        return ()

    frames = -(-len(path) // every)
    return FuncAnimation(figure, draw, frames=frames, init_func=lambda: draw(0), interval=160)


def on_torus(
    positions: ArrayLike, phases: Sequence[ArrayLike], box_m: float, *, names: Sequence[str],
    every: int = 1, tail: int = 60, fig: Figure | None = None,
) -> FuncAnimation:  # fmt: skip
    """Animate the point that each module's activity is on its torus, beside the path in the box.

    Args:
        positions: [S, 2] metres from the box's centre.
        phases: K arrays [S, 2] in [0, 1): phases of each module, read from its activity.
        box_m: side of the box, metres.
        names: [K] of the modules.
        every: steps between two frames.
        tail: steps that stay visible behind the point.
        fig: where to draw; its size is set.
    """
    path = np.asarray(positions, dtype=float)
    width, height = 2.9 + 2.9 * len(phases), 3.1
    figure = _fixed(fig, width, height)
    room = (0.2 / width, 0.25 / height, 2.45 / width, 2.45 / height)
    _, line, animal = _arena(figure, room, box_m)
    words = figure.text(room[0], 1 - 0.2 / height, "", fontsize=10, color=INK, va="center")
    followed = []
    for k, (name, given) in enumerate(zip(names, phases, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        panel = figure.add_axes(((2.85 + 2.9 * k) / width, 0.0, 2.8 / width, 0.92))
        _doughnut(panel, colour)
        panel.set_title(name, fontsize=9.5, color=colour, weight="bold", y=0.93)
        places, facing = _project(np.asarray(given, dtype=float))
        trail = panel.scatter([], [], 11, lw=0)
        (point,) = panel.plot([], [], "o", color=INK, ms=9, mec="white", mew=1.4)
        followed.append((places, facing > 0, trail, point))

    def draw(frame: int) -> tuple[Any, ...]:
        step = min((frame + 1) * every, len(path))
        part = slice(max(step - tail, 0), step)
        words.set_text(f"step {step:,}")
        line.set_data(*path[part].T)
        animal.set_data(*path[step - 1 : step].T)
        for places, front, trail, point in followed:
            ink = np.tile(mpl.colors.to_rgba(INK), (step - part.start, 1))
            ink[:, 3] = np.linspace(0.1, 0.9, len(ink)) * np.where(front[part], 1.0, 0.15)
            trail.set_offsets(places[part])
            trail.set_facecolor(list(map(tuple, ink)))
            point.set_data(*places[step - 1 : step].T)
            point.set_alpha(1.0 if front[step - 1] else 0.4)
        return ()

    frames = -(-len(path) // every)
    return FuncAnimation(figure, draw, frames=frames, init_func=lambda: draw(0), interval=160)


def _arena(
    figure: Figure, room: tuple[float, float, float, float], box_m: float
) -> tuple[Axes, Any, Any]:
    """A box seen from above, with a line for the path and a dot for the animal."""
    ax, half = figure.add_axes(room), box_m / 2
    ax.add_patch(Rectangle((-half, -half), box_m, box_m, fill=False, ec=FAINT, lw=1.2))
    (line,) = ax.plot([], [], color=NEUTRAL, lw=1.1, zorder=1)
    (animal,) = ax.plot([], [], "o", color=INK, ms=9, mec="white", mew=1.4, zorder=4)
    ax.set(xlim=(-1.02 * half, 1.02 * half), ylim=(-1.02 * half, 1.02 * half))
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.text(half, -1.03 * half, f"{box_m:g} m box", fontsize=8, color=FAINT, ha="right", va="top")
    return ax, line, animal


def _cell_of_units(
    ax: Axes, phases: ArrayLike, axes_m: ArrayLike, ringed: int, colour: str, cmap: str
) -> Any:
    """Dots for units at their phases [M, 2] in the hexagon that is nearest to one lattice point."""
    axes = np.asarray(axes_m, dtype=float)
    around = np.concatenate([[[0, 0]], _six(axes)])
    places = np.nan_to_num(np.asarray(phases, dtype=float)) @ axes[:2]
    shifted = places[:, None] - np.concatenate([around, around + axes[:2].sum(axis=0)])
    nearest = np.argmin(np.linalg.norm(shifted, axis=-1), axis=1)
    places = shifted[np.arange(len(places)), nearest]
    six = around[1:]
    pairs = np.stack([six, np.roll(six, -1, axis=0)], axis=1)  # a corner is as far from 0 as from
    corners = np.linalg.solve(pairs, (pairs**2).sum(axis=-1, keepdims=True) / 2)[..., 0]  # both
    ax.add_patch(Polygon(corners, fc="#f4f4f4", ec=colour, lw=1.4, zorder=0))
    size = min(260.0, 4200 / len(places))
    (x, y), dark = places.T, np.zeros(len(places))
    dots = ax.scatter(x, y, size, dark, cmap=cmap, vmin=0, vmax=1, lw=0)
    ax.scatter(x[ringed], y[ringed], 1.8 * size, facecolors="none", edgecolors=colour, lw=2)
    reach = 1.06 * np.linalg.norm(corners, axis=1).max()
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    ax.set_aspect("equal")
    ax.set_axis_off()
    return dots


def _six(axes_m: np.ndarray) -> np.ndarray:
    """The six lattice points around 0 [6, 2], counter-clockwise."""
    ends = np.concatenate([axes_m, -axes_m])
    return ends[np.argsort(np.arctan2(*ends.T[::-1]))]


def _block(ax: Axes, count: int, aspect: float, cmap: str) -> Any:
    """Squares for units, in a block of some width to its height; white where none is left."""
    columns = max(math.ceil(math.sqrt(count * aspect)), 12)
    cells = np.full((-(-count // columns), columns), np.nan)
    image = ax.imshow(
        cells, cmap=mpl.colormaps[cmap].with_extremes(bad="white"), vmin=0, vmax=1, aspect="equal"
    )
    for gap in range(1, columns):
        ax.axvline(gap - 0.5, color="white", lw=2)
    for gap in range(1, len(cells)):
        ax.axhline(gap - 0.5, color="white", lw=2)
    ax.set_axis_off()
    ax.set_anchor("NW")
    ax.set_title("other active units", fontsize=8.5, color=FAINT, loc="left", pad=3)
    return image


_TUBE, _TILT = 0.42, np.deg2rad(52)  # radius of a doughnut's tube; elevation that it is seen from


def _project(phases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [..., 2] of a doughnut's picture at phases [..., 2]; above 0 where they face us."""
    around, tube = np.moveaxis(2 * np.pi * phases, -1, 0)
    outwards = np.stack(
        [np.cos(tube) * np.cos(around), np.cos(tube) * np.sin(around), np.sin(tube)], axis=-1
    )
    ring = np.stack([np.cos(around), np.sin(around), np.zeros_like(around)], axis=-1)
    point = ring + _TUBE * outwards
    up = np.array([0, np.sin(_TILT), np.cos(_TILT)])
    towards = np.array([0, -np.cos(_TILT), np.sin(_TILT)])
    return np.stack([point[..., 0], point @ up], axis=-1), outwards @ towards


_DOUGHNUT = (-1.5, 1.5, -1.45, 1.45)  # left, right, bottom and top of its picture


def _doughnut(ax: Axes, colour: str) -> None:
    """A torus seen from above, painted once: hundreds of facets are too slow for every frame."""
    figure = _fixed(blank_figure(), 3.0, 2.9)
    _facets(figure.add_axes((0.0, 0.0, 1.0, 1.0)), colour)
    ax.imshow(as_picture(figure, dpi=150), extent=_DOUGHNUT, interpolation="bilinear")
    ax.set_axis_off()


def _facets(ax: Axes, colour: str) -> None:
    """The side of a torus that faces us, shaded, with lines of equal phase every sixth turn."""
    rings, sides = 48, 18
    around, tube = np.meshgrid(np.arange(rings) / rings, np.arange(sides) / sides, indexing="ij")
    start = np.stack([around, tube], axis=-1).reshape(-1, 1, 2)
    step = np.array([[0, 0], [1 / rings, 0], [1 / rings, 1 / sides], [0, 1 / sides]])
    _, facing = _project(start + step.mean(axis=0))
    start, facing = start[facing[:, 0] > -0.2], facing[facing > -0.2]
    quads, _ = _project(start + step)
    depth = np.sin(2 * np.pi * start[:, 0, 0])  # what is nearer covers the rest
    light = np.clip(facing, 0, 1)[:, None]
    tint = 1 - 0.5 * (1 - np.array(mpl.colors.to_rgb(colour)))
    shades = tint * (0.6 + 0.4 * light) + (1 - tint) * 0.25 * light**2
    order = np.argsort(-depth, kind="stable")
    ax.add_collection(
        PolyCollection(list(quads[order]), facecolors=shades[order], edgecolors="face", lw=0.4)
    )
    turn = np.linspace(0, 1, 49)
    for k in range(6):
        for pair in ([turn, 0 * turn + k / 6], [0 * turn + k / 6, turn]):
            line, front = _project(np.stack(pair, axis=-1))
            shown = np.where(front[:, None] > 0, line, np.nan)
            ax.plot(*shown.T, color="white", lw=0.6, alpha=0.7)
    ax.set(xlim=_DOUGHNUT[:2], ylim=_DOUGHNUT[2:])
    ax.set_axis_off()
