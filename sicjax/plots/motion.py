"""Animations: rate maps forming, a network walking, and its states on their tori.

Letters: F frames; S samples of a path; N units; M units of one module. Lengths in metres.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import ArrayLike

from sicjax.plots.style import (
    CMAP,
    COLOURS,
    FAINT,
    INK,
    NEUTRAL,
    NO_GROUP,
    SMALL,
    TILE_INCHES,
    as_picture,
    blank_figure,
    dress,
    figure_of_size,
    own_settings,
    painted,
    peaks_of,
    whole_numbers,
)


@own_settings()
def formation(
    steps: ArrayLike, ratemaps: ArrayLike, groups: Sequence[tuple[str, int]], *,
    share: ArrayLike | None = None, cmap: str = CMAP, fig: Figure | None = None,
) -> FuncAnimation:  # fmt: skip
    """Animate rate maps during training: lattices form; one row for each group.

    Args:
        steps: [F] updates of the training, one for each frame.
        ratemaps: [F, K, y, x], NaN (grey) where unvisited; each map relative to its peak at that
            time.
        groups: names of the rows, each with its number of maps, in order.
        share: [F] in [0, 1], share of units with a lattice, drawn as a curve below the maps.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    films, when = np.asarray(ratemaps, dtype=float), np.asarray(steps)
    rows, columns, side = len(groups), max(count for _, count in groups), films.shape[-1]
    gap, left, head = max(side // 12, 1), 0.6, 0.42
    right = max(0.25, 2.5 - columns * TILE_INCHES)  # the curve's title takes 2.4 inches
    foot = 0.1 if share is None else 1.1
    width = columns * TILE_INCHES + left + right
    height = rows * TILE_INCHES + head + foot
    figure = figure_of_size(fig, width, height)
    room = (left / width, foot / height, 1 - (left + right) / width, 1 - (head + foot) / height)
    ax = figure.add_axes(room)
    ax.set_axis_off()
    shape = rows * (side + gap) - gap, columns * (side + gap) - gap, 4

    def picture_of(frame: int) -> np.ndarray:
        picture = np.full(shape, 255, np.uint8)
        colours = iter(painted(films[frame], 0.0, peaks_of(films[frame]), cmap))
        for row, (_, count) in enumerate(groups):
            for column in range(count):
                y, x = row * (side + gap), column * (side + gap)
                picture[y : y + side, x : x + side] = next(colours)[::-1]
        return picture

    image = ax.imshow(picture_of(0), origin="upper", interpolation="nearest", aspect="equal")
    for row, (name, _) in enumerate(groups):
        colour = FAINT if name in NO_GROUP else COLOURS[row % len(COLOURS)]
        ax.text(
            -2 * gap, row * (side + gap) + side / 2, name, color=colour, rotation=90,
            ha="right", va="center", weight="bold",
        )  # fmt: skip
    words = figure.text(left / width, 1 - 0.22 / height, "", fontsize=10, color=INK, va="center")
    now = None
    if share is not None:
        strip = figure.add_axes((room[0], 0.47 / height, room[2], 0.34 / height))
        now = _progress(strip, when, np.asarray(share, dtype=float))

    def draw(frame: int) -> tuple[Any, ...]:
        image.set_data(picture_of(frame))
        words.set_text(f"after {when[frame]:,} updates")
        if now is not None:
            now.set_data(when[: frame + 1], np.asarray(share, dtype=float)[: frame + 1])
        return ()

    return FuncAnimation(figure, draw, frames=len(when), init_func=lambda: draw(0), interval=450)


@own_settings()
def walking(
    positions: ArrayLike, activity: ArrayLike, box_m: float, *,
    sheets: Sequence[tuple[str, ArrayLike, ArrayLike, ArrayLike, int]], rest: ArrayLike = (),
    every: int = 1, cmap: str = CMAP, fig: Figure | None = None,
) -> FuncAnimation:  # fmt: skip
    """Animate a network that walks: the path in the box, and all units lighting up beside it.

    Units of a module lie at their phases in the lattice's cell, so the activity is a bump that
    moves with the animal. One unit of each module is ringed; dots on the path mark where it fires.

    Args:
        positions: [S, 2] metres from the box's centre.
        activity: [S, N] relative to each unit's peak.
        box_m: side of the box, metres.
        sheets: for each module its name, its units [M], their phases [M, 2], its axes [3, 2] in
            metres, and which of the M units is ringed.
        rest: [R] units drawn as a block of squares.
        every: steps between two frames.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    path, rates = np.asarray(positions, dtype=float), np.asarray(activity, dtype=float)
    others = np.asarray(rest, dtype=int)
    # Sizes are in inches, because titles and dots have fixed sizes; axes take fractions of them.
    width, height = 4.0 + 2.5 * max(len(sheets), 1), 4.0
    figure = figure_of_size(fig, width, height)
    room = (0.2 / width, 0.25 / height, 3.35 / width, 3.35 / height)
    ax, line, animal = _arena(figure, room, box_m)
    words = figure.text(room[0], 1 - 0.2 / height, "", fontsize=10, color=INK, va="center")
    _activity_key(figure, cmap)
    # The other units, if any, get a strip below the modules.
    low = (1.15 if others.size else 0.7) / height
    fired, lit = [], []
    for k, (name, units, phases, axes_m, ringed) in enumerate(sheets):
        colour, members = COLOURS[k % len(COLOURS)], np.asarray(units, dtype=int)
        panel = figure.add_axes(((3.85 + 2.5 * k) / width, low, 2.35 / width, 2.45 / height))
        panel.set_title(name, fontsize=9.5, color=colour, weight="bold")
        dots = _cell_of_units(panel, phases, axes_m, ringed, colour, cmap)
        lit.append((dots, members))
        (marks,) = ax.plot([], [], "o", color=colour, ms=4.5, mew=0, alpha=0.85)
        # A dot on the path means that the ringed unit is above half of its peak.
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
            # The block may have more squares than units; the rest stays empty.
            cells = np.full(block.get_array().shape, np.nan)
            cells.flat[: len(others)] = rates[step - 1, others]
            block.set_data(np.ma.masked_invalid(cells))
        return ()

    frames = -(-len(path) // every)
    return FuncAnimation(figure, draw, frames=frames, init_func=lambda: draw(0), interval=160)


@own_settings()
def on_torus(
    positions: ArrayLike, phases: Sequence[ArrayLike], box_m: float, *, names: Sequence[str],
    every: int = 1, tail: int = 60, fig: Figure | None = None,
) -> FuncAnimation:  # fmt: skip
    """Animate the point of each module's activity on its torus, beside the path in the box.

    Args:
        positions: [S, 2] metres from the box's centre.
        phases: K arrays [S, 2] in [0, 1): phases of each module, read from its activity.
        box_m: side of the box, metres.
        names: [K] of the modules.
        every: steps between two frames.
        tail: number of steps that stay visible behind the point.
        fig: where to draw; its size is set.
    """
    path = np.asarray(positions, dtype=float)
    # Sizes are in inches, because titles and points have fixed sizes; axes take fractions of them.
    width, height = 2.9 + 2.9 * len(phases), 3.1
    figure = figure_of_size(fig, width, height)
    room = (0.2 / width, 0.25 / height, 2.45 / width, 2.45 / height)
    _, line, animal = _arena(figure, room, box_m)
    words = figure.text(room[0], 1 - 0.2 / height, "", fontsize=10, color=INK, va="center")
    followed = []
    for k, (name, given) in enumerate(zip(names, phases, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        panel = figure.add_axes(((2.85 + 2.9 * k) / width, 0.0, 2.8 / width, 0.92))
        _doughnut(panel, colour)
        panel.set_title(name, fontsize=9.5, color=colour, weight="bold", y=0.93)
        # [S, 2] places on the drawn torus, and whether each faces the viewer.
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
            # Old points fade out, and points behind the torus are faint at any age.
            ink = np.tile(mpl.colors.to_rgba(INK), (step - part.start, 1))
            ink[:, 3] = np.linspace(0.1, 0.9, len(ink)) * np.where(front[part], 1.0, 0.15)
            trail.set_offsets(places[part])
            trail.set_facecolor(list(map(tuple, ink)))
            point.set_data(*places[step - 1 : step].T)
            point.set_alpha(1.0 if front[step - 1] else 0.4)
        return ()

    frames = -(-len(path) // every)
    return FuncAnimation(figure, draw, frames=frames, init_func=lambda: draw(0), interval=160)


def _progress(ax: Axes, when: np.ndarray, share: np.ndarray) -> Any:
    """Draw a strip with a faint curve and the line that follows it."""
    ax.fill_between(when, 0, share, color=NEUTRAL, alpha=0.3, lw=0)
    (line,) = ax.plot([], [], color=INK, lw=1.4, marker=".", ms=5, markevery=[-1])
    ax.set(xlim=(when[0], when[-1] if len(when) > 1 else when[0] + 1), ylim=(0, 1.1))
    ax.set_yticks([0, 1], ["0 %", "100 %"])
    whole_numbers(ax.xaxis, 4)
    dress(ax, x="updates", title="share of active units with a lattice")
    ax.xaxis.labelpad = 0
    return line


def _activity_key(figure: Figure, cmap: str) -> None:
    """Draw the key of the colours of activity below the box."""
    width, height = figure.get_size_inches()
    key = figure.add_axes((0.35 / width, 0.09 / height, 0.6 / width, 0.09 / height))
    key.imshow(np.linspace(0, 1, 256)[None], origin="upper", cmap=cmap, aspect="auto")
    key.set_axis_off()
    for x, text, side in ((0.3, "0", "right"), (1.0, "each unit's peak", "left")):
        figure.text(x / width, 0.13 / height, text, color=FAINT, ha=side, va="center")


def _arena(
    figure: Figure, room: tuple[float, float, float, float], box_m: float
) -> tuple[Axes, Any, Any]:
    """Draw a box from above, with a line for the path and a dot for the animal."""
    ax, half = figure.add_axes(room), box_m / 2
    ax.add_patch(Rectangle((-half, -half), box_m, box_m, fill=False, ec=FAINT, lw=1.2))
    (line,) = ax.plot([], [], color=NEUTRAL, lw=1.1, zorder=1)
    (animal,) = ax.plot([], [], "o", color=INK, ms=9, mec="white", mew=1.4, zorder=4)
    ax.set(xlim=(-1.02 * half, 1.02 * half), ylim=(-1.02 * half, 1.02 * half))
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.text(half, -1.03 * half, f"{box_m:g} m box", color=FAINT, ha="right", va="top")
    return ax, line, animal


def _cell_of_units(
    ax: Axes, phases: ArrayLike, axes_m: ArrayLike, ringed: int, colour: str, cmap: str
) -> Any:
    """Draw dots for units at their phases [M, 2], in the hexagon around one lattice point."""
    axes = np.asarray(axes_m, dtype=float)
    around = np.concatenate([[[0, 0]], _six(axes)])
    places = np.nan_to_num(np.asarray(phases, dtype=float)) @ axes[:2]
    shifted = places[:, None] - np.concatenate([around, around + axes[:2].sum(axis=0)])
    nearest = np.argmin(np.linalg.norm(shifted, axis=-1), axis=1)
    places = shifted[np.arange(len(places)), nearest]
    six = around[1:]
    # Each corner of the hexagon is as far from 0 as from two neighbouring lattice points.
    pairs = np.stack([six, np.roll(six, -1, axis=0)], axis=1)
    corners = np.linalg.solve(pairs, (pairs**2).sum(axis=-1, keepdims=True) / 2)[..., 0]
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
    """Return the six lattice points around 0, [6, 2], counter-clockwise."""
    ends = np.concatenate([axes_m, -axes_m])
    return ends[np.argsort(np.arctan2(*ends.T[::-1]))]


def _block(ax: Axes, count: int, aspect: float, cmap: str) -> Any:
    """Draw squares for units, in a block of a given aspect; squares without a unit are white."""
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
    ax.set_title("other active units", fontsize=SMALL, color=FAINT, loc="left", pad=3)
    return image


_TUBE, _TILT = 0.42, np.deg2rad(52)  # radius of the tube; elevation of the view
_DOUGHNUT = (-1.5, 1.5, -1.45, 1.45)  # left, right, bottom and top of its picture


def _project(phases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points [..., 2] in a torus's picture at phases [..., 2], and depths; > 0 in view."""
    around, tube = np.moveaxis(2 * np.pi * phases, -1, 0)
    outwards = np.stack(
        [np.cos(tube) * np.cos(around), np.cos(tube) * np.sin(around), np.sin(tube)], axis=-1
    )
    ring = np.stack([np.cos(around), np.sin(around), np.zeros_like(around)], axis=-1)
    point = ring + _TUBE * outwards
    up = np.array([0, np.sin(_TILT), np.cos(_TILT)])
    towards = np.array([0, -np.cos(_TILT), np.sin(_TILT)])
    return np.stack([point[..., 0], point @ up], axis=-1), outwards @ towards


def _doughnut(ax: Axes, colour: str) -> None:
    """Paint a torus from above, once, because hundreds of facets are too slow for every frame."""
    figure = figure_of_size(blank_figure(), 3.0, 2.9)
    _facets(figure.add_axes((0.0, 0.0, 1.0, 1.0)), colour)
    ax.imshow(as_picture(figure, dpi=150), extent=_DOUGHNUT, interpolation="bilinear")
    ax.set_axis_off()


def _facets(ax: Axes, colour: str) -> None:
    """Draw the visible side of a torus, shaded, with lines of equal phase every sixth turn."""
    rings, sides = 48, 18
    around, tube = np.meshgrid(np.arange(rings) / rings, np.arange(sides) / sides, indexing="ij")
    start = np.stack([around, tube], axis=-1).reshape(-1, 1, 2)
    step = np.array([[0, 0], [1 / rings, 0], [1 / rings, 1 / sides], [0, 1 / sides]])
    _, facing = _project(start + step.mean(axis=0))
    start, facing = start[facing[:, 0] > -0.2], facing[facing > -0.2]
    quads, _ = _project(start + step)
    depth = np.sin(2 * np.pi * start[:, 0, 0])  # nearer facets cover farther ones
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
