"""Modules: periods, orientations, spectra, phases, tori, and how modules relate.

Letters: N units; M units of one module; K modules. Lengths in metres, angles in degrees.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from sicjax.plots.style import (
    COLOURS,
    FAINT,
    INK,
    NEUTRAL,
    axes_or_new,
    dress,
    figure_of_size,
    group_legend,
    grouped,
)


def period_histogram(
    spacing_m: ArrayLike, labels: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Stacked histogram of periods (distance between neighbouring fields), coloured by group.

    Args:
        spacing_m: [N] metres; NaN is left out.
        labels: [N] group of each unit.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    groups = grouped(labels, spacing_m)
    longest = max((periods.max() for _, periods in groups.values()), default=1.0)
    edges = np.arange(0, longest + 0.1, 0.05)
    below = np.zeros(len(edges) - 1)
    for group, (colour, periods) in groups.items():
        counts = np.histogram(periods, edges)[0]
        name = f"{group} (n = {len(periods)})"
        ax.bar(edges[:-1], counts, 0.05, below, align="edge", color=colour, label=name)
        below += counts
    group_legend(ax, groups)
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
    ax = axes_or_new(ax)
    groups = grouped(labels, spacing_m, orientation_deg)
    for group, (colour, periods, orientations) in groups.items():
        ax.scatter(orientations, periods, 20, color=colour, alpha=0.75, lw=0, label=group)
    group_legend(ax, groups)
    ax.set_xlim(0, 60)
    ax.set_xticks(range(0, 61, 15))
    ax.set_ylim(0, 1.2 * ax.dataLim.y1 if groups else 1)
    return dress(ax, x="orientation (degrees, modulo 60)", y="period (m)")


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
    ax = axes_or_new(ax)
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
    ax = axes_or_new(ax)
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
    ax = axes_or_new(ax)
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
    figure = figure_of_size(fig, 10.6, 3.0)
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
    ax = axes_or_new(ax)
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
    figure = figure_of_size(fig, 9.4, 3.4)
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
    figure = figure_of_size(fig, 0.7 + 3.1 * len(shifts), 2.9)
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


def _lattice_points(basis: np.ndarray, half: float) -> np.ndarray:
    """Points [P, 2] of a lattice within a square of half a side, metres."""
    reach = int(np.ceil(2 * half * np.abs(np.linalg.inv(basis)).sum()))
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    points = steps @ basis
    return points[np.abs(points).max(axis=1) <= half]
