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
    CMAP,
    COLOURS,
    CYCLIC_CMAP,
    FAINT,
    INK,
    NEUTRAL,
    NO_GROUP,
    SMALL,
    axes_or_new,
    colour_bar,
    dress,
    figure_of_size,
    group_legend,
    grouped,
    own_settings,
    plain_numbers,
    scatter_groups,
    whole_numbers,
)

_TURN = 60  # degrees after which a turned hexagonal lattice repeats
_EDGE = 6  # degrees: units nearer to the edge of the axis than this could be split by it


@own_settings()
def period_histogram(
    spacing_m: ArrayLike, labels: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Draw a stacked histogram of periods (distances between neighbouring fields), by group.

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
    whole_numbers(ax.yaxis)
    return dress(ax, x="period (m)", y="units")


@own_settings()
def units_per_index(
    counts: ArrayLike, indices: Sequence[int], *, names: Sequence[str] = ("",),
    rest: ArrayLike = (), ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw how many units have each index (points of its lattice in a cell of the coarsest).

    One bar per index and network, or per setting, side by side.

    Args:
        counts: [G, K] units of each index, for each of G networks or settings; or [K] of one.
        indices: [K] as `sicjax.lattice_indices` gives.
        names: [G], for the legend; a single empty name draws no legend.
        rest: [G] units without an index, drawn as one more group of bars; left out by default.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    bars, labels = np.atleast_2d(np.asarray(counts, dtype=float)), [f"{k}" for k in indices]
    if np.size(rest):
        bars = np.concatenate([bars, np.reshape(rest, (-1, 1))], axis=1)
        labels.append("none")
    width = 0.8 / len(bars)
    many = mpl.colormaps[CMAP](np.linspace(0, 0.95, len(bars)))  # as many as there are bars
    colours = COLOURS if len(bars) <= len(COLOURS) else many
    for k, (name, heights) in enumerate(zip(names, bars, strict=True)):
        middle = np.arange(len(labels)) + (k - (len(bars) - 1) / 2) * width
        drawn = ax.bar(middle, heights, width, color=colours[k], label=name)
        if len(bars) == 1:
            ax.bar_label(drawn, fmt="%.4g", fontsize=SMALL)
    if any(names):
        ax.legend(fontsize=SMALL, frameon=False)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_ylim(top=max(1.0, bars.max(initial=0)) * 1.15)
    whole_numbers(ax.yaxis)
    return dress(ax, x="points of the lattice in a cell of the coarsest one (index)", y="units")


@own_settings()
def period_orientation(
    spacing_m: ArrayLike, orientation_deg: ArrayLike, labels: Sequence[str], *,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw period against orientation, one dot for each unit, coloured by group.

    Orientations of 1 and 59 degrees are neighbours. If units lie near 0, the axis begins in the
    widest gap between orientations, so that no module is split.

    Args:
        spacing_m: [N] metres; NaN is left out.
        orientation_deg: [N] degrees in [0, 60).
        labels: [N] group of each unit.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    groups = grouped(labels, orientation_deg, spacing_m)
    start = _axis_start(groups)
    unrolled = {
        group: (colour, start + np.mod(orientations - start, _TURN), periods)
        for group, (colour, orientations, periods) in groups.items()
    }
    scatter_groups(ax, unrolled)
    group_legend(ax, groups)
    ax.set_xlim(start, start + _TURN)
    ticks = np.arange(15 * np.ceil(start / 15), start + _TURN + 1e-9, 15)
    ax.set_xticks(ticks, [f"{tick % _TURN if start else tick:g}" for tick in ticks])
    if start:  # where the axis wraps around
        ax.axvline(_TURN, color=FAINT, lw=0.8, ls=":", zorder=0)
    top = 1.1 + 0.1 * len(groups)  # room for the legend
    ax.set_ylim(0, top * ax.dataLim.y1 if groups else 1)
    return dress(ax, x="orientation (degrees, modulo 60)", y="period (m)")


def _axis_start(groups: Mapping[str, tuple[Any, ...]]) -> float:
    """Return where an axis of orientations begins: 0, or the middle of the widest gap, degrees."""
    named = [values[1] for group, values in groups.items() if group not in NO_GROUP]
    angles = np.sort(np.mod(np.concatenate(named or [[]]), _TURN))
    if not angles.size or (angles[0] > _EDGE and angles[-1] < _TURN - _EDGE):
        return 0.0
    gaps = np.diff(angles, append=angles[0] + _TURN)
    widest = int(np.argmax(gaps))
    return float(np.mod(angles[widest] + gaps[widest] / 2, _TURN))


@own_settings()
def periods_against_range(
    networks: Sequence[tuple[float, Sequence[float]]], slopes: Mapping[str, float] | None = None, *,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the periods of each network's modules against the range of its training.

    Args:
        networks: for each, the range and the periods (finest first), in metres.
        slopes: slopes of lines through the origin, by label.
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
        ax.legend(loc="upper left")
    ax.set(xlim=(0, 1.05 * longest), ylim=0)
    return dress(ax, x="range of the training (m)", y="period of a module (m)")


@own_settings()
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
    amplitude = np.sqrt(np.asarray(power, dtype=float))
    image = ax.imshow(
        amplitude / (np.max(amplitude, initial=0) or 1), origin="lower", cmap="magma", vmin=0,
        vmax=1, extent=(*edge, *edge), interpolation="bilinear",
    )  # fmt: skip
    for k, (x, y) in enumerate(np.asarray(waves, dtype=float), 1):
        if np.isfinite(x + y):
            ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "->", "color": "white"})
            ax.text(
                1.3 * x, 1.3 * y, f"k{k}", color="white", ha="center", va="center",
                path_effects=[withStroke(linewidth=2.5, foreground="black")],
            )  # fmt: skip
    colour_bar(image, "amplitude (of the largest)", ax=ax)
    return dress(ax, x="cycles per metre along x", y="cycles per metre along y")


@own_settings()
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
    return dress(ax, x="phase along x (m)", y="phase along y (m)")


@own_settings()
def torus(
    embedding: ArrayLike, colours: ArrayLike, rings: ArrayLike, ring_phases: ArrayLike,
    diagrams: Sequence[ArrayLike], *, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw one module's states: a 3-D embedding, three rings along the wave vectors, the barcode.

    Args:
        embedding: [E, 3].
        colours: [E] in [0, 1), a circular coordinate.
        rings: [3, P, 2], cosine and sine of each wave, read from the activity.
        ring_phases: [3, P] in [0, 1), the phase k.x that colours each ring.
        diagrams: births and deaths [bars, 2] of H0, H1 and H2.
        fig: where to draw; its size is set.
    """
    figure = figure_of_size(fig, 10.6, 3.1)
    cloud: Any = figure.add_axes((0.0, 0.05, 0.27, 0.85), projection="3d")
    x, y, z = np.asarray(embedding, dtype=float).T
    cyclic: dict[str, Any] = {"cmap": CYCLIC_CMAP, "vmin": 0, "vmax": 1, "lw": 0}
    cloud.scatter(x, y, z, c=np.asarray(colours, dtype=float), s=5, **cyclic)
    cloud.set_box_aspect(None, zoom=1.3)
    cloud.set_axis_off()
    words: dict[str, Any] = {"color": INK, "fontsize": SMALL, "ha": "center"}
    figure.text(0.135, 0.9, "states in 3-D (spectral embedding)", **words)
    figure.text(0.135, 0.03, "colour: first circular coordinate", **words)
    reach = 1.05 * np.abs(rings).max(initial=1e-9)
    found = zip(np.asarray(rings), np.asarray(ring_phases), strict=True)
    for k, (ring, phases) in enumerate(found):
        ax = figure.add_axes((0.315 + 0.132 * k, 0.27, 0.112, 0.55))
        ax.scatter(ring[:, 0], ring[:, 1], c=phases, s=1.5, rasterized=True, **cyclic)
        ax.set_aspect("equal")
        ax.set(xticks=[], yticks=[], xlim=(-reach, reach), ylim=(-reach, reach))
        dress(ax, x=f"cosine of k{k + 1}·x", y="" if k else "sine")
        ax.spines[:].set_visible(False)
        ax.set_title(f"along k{k + 1}", fontsize=SMALL + 1, color=INK)
    # One key serves all colours: each goes round once.
    key = figure.add_axes((0.41, 0.13, 0.17, 0.03))
    key.imshow(np.linspace(0, 1, 256)[None], cmap=CYCLIC_CMAP, aspect="auto", extent=(0, 1, 0, 1))
    key.set_axis_off()
    figure.text(0.403, 0.13, "0", **words | {"ha": "right"})
    figure.text(0.587, 0.13, "1 turn", **words | {"ha": "left"})
    figure.text(0.495, 0.03, "colour: phase of the place", **words)
    _barcode(figure.add_axes((0.76, 0.17, 0.225, 0.72)), diagrams)
    return figure


def _barcode(ax: Axes, diagrams: Sequence[ArrayLike]) -> None:
    """Draw the longest bars of each dimension from birth to death; endless bars reach the edge."""
    bars = [np.asarray(diagram, dtype=float).reshape(-1, 2) for diagram in diagrams]
    end = 1.05 * max((d[np.isfinite(d)].max(initial=0) for d in bars), default=0) or 1.0
    y = 0
    for k, diagram in enumerate(bars):
        closed = np.minimum(diagram, end)
        longest = np.argsort(closed[:, 0] - closed[:, 1])[:20]
        heights = y + np.arange(len(longest))
        ax.hlines(heights, *closed[longest].T, color=COLOURS[k], lw=1.6)
        ax.text(-0.02 * end, y, f"H{k}", ha="right", va="top")
        y += max(len(longest), 1) + 3
    ax.set_ylim(y, -2)
    ax.set_xlim(0, end)
    ax.set_yticks([])
    dress(ax, x="scale (cosine distance)", title="barcode, longest 20 bars each")


@own_settings()
def module_relation(
    bases_m: ArrayLike, common_m: ArrayLike, *, index: ArrayLike, error: float, p: float,
    names: Sequence[str], ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw several lattices on top of each other, and the unit cell of their common lattice.

    Args:
        bases_m: [K, 2, 2] rows span each lattice (x, y), metres.
        common_m: [2, 2] rows span the common one.
        index: [K] cells of each lattice in the common cell.
        error: relative error of the common lattice.
        p: probability of such a relation by chance.
        names: [K] of the lattices.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    bases, common = np.asarray(bases_m, dtype=float), np.asarray(common_m, dtype=float)
    cells, half = np.asarray(index), 1.25 * np.linalg.norm(common, axis=-1).max()
    order = np.argsort([abs(np.linalg.det(basis)) for basis in bases])[
        ::-1
    ]  # draw coarse lattices first, below the others
    for size, k in zip((90, 26, 9, 3), order, strict=False):
        x, y = _lattice_points(bases[k], half).T
        ax.scatter(
            x, y, size, color=COLOURS[k % len(COLOURS)], lw=0,
            label=f"{names[k]}: {cells[k]} in the cell",
        )  # fmt: skip
    one, two = common
    sides = np.stack([one, -two if one @ two > 0 else two])  # the more compact of two cells
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ sides
    ax.plot(*corners.T, color=INK, lw=1, zorder=0)
    ax.set_aspect("equal")
    ax.set(xlim=(-half, half), ylim=(-half, half))
    ax.locator_params(nbins=5)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), borderpad=0)
    ratio = " : ".join(str(count) for count in cells)
    title = f"indices {ratio}, error {100 * error:.2g} %, p = {p:.2g}"
    return dress(ax, x="x (m)", y="y (m)", title=title)


def _lattice_points(basis: np.ndarray, half: float) -> np.ndarray:
    """Return the points [P, 2] of a lattice in a square around 0 of this half side, metres."""
    reach = int(np.ceil(2 * half * np.abs(np.linalg.inv(basis)).sum()))
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    points = steps @ basis
    return points[np.abs(points).max(axis=1) <= half]


@own_settings()
def module_drift(
    steps: ArrayLike, rms_m: ArrayLike, pairs: Sequence[tuple[int, int]], difference_m: ArrayLike,
    correlation: ArrayLike, null: ArrayLike, *, names: Sequence[str], fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw how far the phases of modules drift, each alone and relative to each other.

    Lines without numbers, of modules that can't be read, are left out.

    Args:
        steps: [L] since the start.
        rms_m: [K, L] root mean square drift of each module.
        pairs: P pairs of modules.
        difference_m: [P, L] root mean square difference of their drifts.
        correlation: [P, L] correlation of their drifts.
        null: [P, L] 95th percentile of the correlation between different walks.
        names: [K] of the modules.
        fig: where to draw; its size is set.
    """
    figure = figure_of_size(fig, 9.4, 3.4)
    room = {"left": 0.075, "right": 0.985, "bottom": 0.15, "top": 0.95, "wspace": 0.22}
    left, right = figure.subplots(1, 2, gridspec_kw=room)
    for k, values in enumerate(np.asarray(rms_m, dtype=float)):
        if np.isnan(values).all():
            continue
        colour, dash = COLOURS[k % len(COLOURS)], ("-", "--", ":")[k % 3]
        left.plot(steps, values, color=colour, lw=1.6, ls=dash, label=names[k])
    apart, together, chance = (
        np.asarray(a, dtype=float) for a in (difference_m, correlation, null)
    )
    label: str | None = "95 % of pairs of different walks"  # once
    for row, (one, two) in enumerate(pairs):
        if np.isnan(apart[row]).all():
            continue
        colour = (INK, FAINT, NEUTRAL)[row % 3]
        name = f"{names[one]} – {names[two]}"
        difference = "their difference" if len(pairs) == 1 else f"difference {name}"
        left.plot(steps, apart[row], color=colour, lw=1.2, marker=".", ms=4, label=difference)
        right.plot(steps, together[row], color=colour, lw=1.2, marker=".", ms=4, label=name)
        right.plot(steps, chance[row], color=colour, lw=1, ls="--", label=label)
        label = None
    for ax in (left, right):
        ax.set_xscale("log")
        plain_numbers(ax.xaxis)
        if ax.lines:
            ax.legend()
    left.set_ylim(bottom=0)
    right.set_ylim(min(-0.35, right.get_ylim()[0]), 1.03)
    dress(left, x="steps since the start", y="drift, root mean square (m)")
    dress(right, x="steps since the start", y="correlation of drifts")
    return figure


@own_settings()
def module_coupling(
    steps: ArrayLike, shift_m: ArrayLike, *, names: Sequence[str], fig: Figure | None = None
) -> Figure:
    """Draw how modules pull each other: one panel for each displaced module.

    Lines without numbers, of modules that can't be read, are left out.

    Args:
        steps: [L] since the displacement.
        shift_m: [K, K, L] metres, by displaced module and observed module.
        names: [K] of the modules.
        fig: where to draw; its size is set.
    """
    shifts = np.asarray(shift_m, dtype=float)
    width = 0.7 + 3.1 * len(shifts)
    figure = figure_of_size(fig, width, 2.9)
    room = {"left": 0.7 / width, "right": 0.985, "bottom": 0.18, "top": 0.9, "wspace": 0.1}
    panels = figure.subplots(1, len(shifts), sharey=True, squeeze=False, gridspec_kw=room)[0]
    for moved, (ax, lines) in enumerate(zip(panels, shifts, strict=True)):
        for k, line in enumerate(lines):
            if not np.isnan(line).all():
                ax.plot(steps, line, color=COLOURS[k % len(COLOURS)], lw=1.5, label=names[k])
        ax.axhline(0, color=FAINT, lw=1, ls="--")
        dress(ax, x="steps", y="" if moved else "shift (m)", title=f"{names[moved]} displaced")
    if len(panels[0].lines) > 1:
        panels[0].legend(title="read from")
    return figure
