"""Sheets and rows of rate maps and autocorrelograms.

Letters: N units; K units shown; y, x bins of a map. Lengths in metres.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import ArrayLike

from sicjax.plots.style import (
    CMAP,
    COLOURS,
    CORRELATION_CMAP,
    FAINT,
    INK,
    TILE_INCHES,
    UNVISITED,
    dress,
    figure_of_size,
    own_settings,
    painted,
    peaks_of,
)

_GAP, _HEAD, _FOOT = (
    0.08,
    0.23,
    0.34,
)  # relative to a tile: space between maps, above each, below the sheet
_ROUNDING = 1e-3  # rounding may push a correlation this far above 1


@own_settings()
def ratemap_sheet(
    ratemaps: ArrayLike, box_m: float, *, order: ArrayLike | None = None,
    titles: Sequence[str] | None = None, tops: ArrayLike | None = None, columns: int = 12,
    groups: Sequence[tuple[str, int]] | None = None, title: str = "", cmap: str = CMAP,
    fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw rate maps side by side, each on its own colour scale from 0 to its peak.

    Args:
        ratemaps: [N, y, x], NaN (grey) where unvisited.
        box_m: side of the box in metres, for the scale bar.
        order: [K] indices of the units to show, in order; all units by default.
        titles: [N] short texts, one above each map.
        tops: [N] value of the brightest colour of each map; its peak by default.
        columns: maps in a row.
        groups: headings, each with the number of maps under it, in order. Every group begins a row.
        title: title of the sheet.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    maps = _maps("ratemaps", ratemaps)
    shown = _shown(len(maps), order, titles)
    if not (np.ndim(box_m) == 0 and np.isreal(box_m) and box_m > 0):
        raise ValueError(f"box_m is {box_m!r}; must be the side of the box, metres")
    peaks = peaks_of(maps) if tops is None else np.asarray(tops, dtype=float)
    colours = painted(maps[shown], 0.0, peaks[shown], cmap)
    labels = None if titles is None else [titles[n] for n in shown]
    figure, ax, _ = _sheet(colours, labels, columns, title, fig, groups)
    side = maps.shape[-1]
    _scale_bar(ax, side / box_m, box_m, side)
    _sheet_key(ax, cmap, ("0", "each map's peak"), side)
    if not np.isfinite(maps[shown]).all():
        _unvisited_key(ax, side)
    return figure


@own_settings()
def autocorrelogram_sheet(
    correlograms: ArrayLike, bin_m: float, *, order: ArrayLike | None = None,
    titles: Sequence[str] | None = None, axes_m: ArrayLike | None = None, columns: int = 12,
    title: str = "", fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw autocorrelograms side by side, from -1 (blue) through 0 (white) to 1 (red).

    Args:
        correlograms: [N, odd, odd], lag 0 in the middle, NaN (grey) where undefined. Rate maps
            are refused: `sicjax.analysis.autocorrelogram` computes these from them.
        bin_m: side of a bin, metres.
        order: [K] indices of the units to show, in order; all units by default.
        titles: [N] short texts, one above each.
        axes_m: [N, 3, 2] lattice axes (x, y) in metres; NaN for none. Drawn from lag 0, with the
            six nearest fields as dots and their mean distance as a ring.
        columns: autocorrelograms in a row.
        title: of the sheet.
        fig: where to draw; its size is set.

    Raises:
        ValueError: values that cannot be autocorrelograms.
    """
    maps = _maps("correlograms", correlograms)
    _refuse_ratemaps(maps)
    shown = _shown(len(maps), order, titles)
    colours = painted(maps[shown], -1.0, np.ones(len(shown)), CORRELATION_CMAP)
    labels = None if titles is None else [titles[n] for n in shown]
    figure, ax, corners = _sheet(colours, labels, columns, title, fig)
    side = maps.shape[-1]
    if axes_m is not None:
        _lattices(ax, corners + side / 2, np.asarray(axes_m, dtype=float)[shown] / bin_m, side)
    _scale_bar(ax, 1 / bin_m, side * bin_m, side)
    _sheet_key(ax, CORRELATION_CMAP, ("correlation −1", "1"), side)
    return figure


@own_settings()
def recorded_path(
    positions: ArrayLike, rows: Sequence[tuple[str, ArrayLike]], box_m: float, *,
    titles: Sequence[str], cmap: str = CMAP, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw a recorded path, and rows of maps of the same units along it and on other walks.

    Args:
        positions: [S, 2] metres from the start.
        rows: pairs of a name and maps [K, y, x], all of one box; NaN (grey) where unvisited.
        box_m: side of that box, centred on the start, metres.
        titles: [K], one for each unit.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    path = np.asarray(positions, dtype=float)
    tile, left = 0.97, 3.1  # so that eight units fill the page of a report, and no more
    columns = max(len(titles), 1)
    width, height = left + 0.9 + columns * tile * 1.06, len(rows) * tile * 1.06 + 0.6
    figure = figure_of_size(fig, width, height)
    side = min(height - 0.9, left - 1.2)
    ax = figure.add_axes((0.85 / width, 0.55 / height, side / width, side / height))
    ax.plot(*path.T, color=COLOURS[0], lw=0.4, alpha=0.7, rasterized=len(path) > 20_000)
    ax.plot(0, 0, "o", color=COLOURS[5], ms=5, label="start")
    ax.axis("equal")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    dress(ax, x="x from the start (m)", y="y from the start (m)")
    panel = figure.add_axes((left / width, 0.0, 1 - left / width, 1.0))
    boxes = [(name, np.asarray(maps, dtype=float), box_m) for name, maps in rows]
    _rows_of_maps(panel, boxes, titles, cmap)
    return figure


@own_settings()
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
    per_m = 1.34 / widest  # so that eight units fill the page of a report, and no more
    height = sum(box * per_m + 0.087 for box, _ in boxes) + 0.52
    figure = figure_of_size(fig, 1.427 * max(len(titles), 1) + 0.7, height)
    rows = [(f"{box:g} m box", np.asarray(maps, dtype=float), box) for box, maps in boxes]
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    _rows_of_maps(ax, rows, titles, cmap, circle_m=training_range_m)
    return figure


@own_settings()
def film_strip(
    frames: Sequence[tuple[int, ArrayLike]], box_m: float, *, titles: Sequence[str],
    cmap: str = CMAP, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw maps of the same units at several moments of the training, one row for each.

    Args:
        frames: pairs of a number of updates and maps [K, y, x].
        box_m: side of the box, metres.
        titles: [K], one for each unit.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    rows = [(f"{update:,}\nupdates", maps) for update, maps in frames]
    return named_rows(rows, box_m, titles=titles, cmap=cmap, fig=fig)


@own_settings()
def named_rows(
    rows: Sequence[tuple[str, ArrayLike]], box_m: float, *, titles: Sequence[str],
    cmap: str = CMAP, fig: Figure | None = None,
) -> Figure:  # fmt: skip
    """Draw rows of maps with a name for each row, such as settings; each map to its own peak.

    Args:
        rows: pairs of a name and maps [K, y, x].
        box_m: side of the box, metres.
        titles: [K], one for each column.
        cmap: any matplotlib colour map.
        fig: where to draw; its size is set.
    """
    sized = [(name, np.asarray(maps, dtype=float), box_m) for name, maps in rows]
    figure = figure_of_size(fig, 1.06 * max(len(titles), 1) + 0.6, 1.06 * len(sized) + 0.42)
    _rows_of_maps(figure.add_axes((0.0, 0.0, 1.0, 1.0)), sized, titles, cmap)
    return figure


def _maps(name: str, maps: ArrayLike) -> np.ndarray:
    """Return maps [N, y, x] as floats.

    Raises:
        ValueError: a single map [y, x], or something else.
    """
    try:
        found = np.asarray(maps, dtype=float)
        shape = f"has shape {found.shape}"
    except (TypeError, ValueError):
        found, shape = np.zeros(0), f"is a {type(maps).__name__}"
    if found.ndim != 3:
        raise ValueError(f"{name} {shape}; must be maps [N, y, x]")
    return found


def _refuse_ratemaps(maps: np.ndarray) -> None:
    """Check that maps [N, y, x] can be autocorrelograms: at lag 0, the middle bin, they are 1.

    Raises:
        ValueError: the maps are something else, such as rate maps.
    """
    rows, columns = maps.shape[1:]
    middle = maps[:, rows // 2, columns // 2] if rows and columns else np.ones(len(maps))
    largest = np.abs(maps[np.isfinite(maps)]).max(initial=0)
    at_lag_0 = np.abs(middle[np.isfinite(middle)] - 1).max(initial=0)
    if rows % 2 and columns % 2 and largest <= 1 + _ROUNDING and at_lag_0 <= _ROUNDING:
        return
    raise ValueError(
        f"correlograms: {rows} x {columns} bins, values up to {largest:.3g}; must be"
        " autocorrelograms, an odd number of bins with 1 in the middle. Are these rate maps?"
        " sicjax.analysis.autocorrelogram.autocorrelogram(ratemaps) computes them."
    )


def _shown(number: int, order: ArrayLike | None, titles: Sequence[str] | None) -> np.ndarray:
    """Return the indices of the units shown, [K].

    Raises:
        ValueError: an order with indices that no unit has, or a wrong number of titles.
    """
    shown = np.arange(number) if order is None else np.asarray(order, dtype=int)
    if shown.size and not (shown.ndim == 1 and -number <= shown.min() <= shown.max() < number):
        raise ValueError(f"order: must be indices [K] of the {number} units")
    if titles is not None and len(titles) != number:
        raise ValueError(f"titles: {len(titles)}; must be one for each of {number} units")
    return shown


def _sheet(
    colours: np.ndarray, labels: list[str] | None, columns: int, title: str, fig: Figure | None,
    groups: Sequence[tuple[str, int]] | None = None,
) -> tuple[Figure, Axes, np.ndarray]:  # fmt: skip
    """Put painted maps into one picture, because hundreds of panels would take minutes to draw.

    Returns:
        The figure, its axes in units of bins with y down, and top left corners [K, 2] of the maps.
    """
    count, side = colours.shape[:2]
    columns = max(min(columns, count), 5)
    gap, head = round(_GAP * side), round(_HEAD * side if labels else _GAP * side)
    # Each group needs space for a heading, then rows of maps with space above each.
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
        picture[y : y + side, x : x + side] = tile[::-1]  # a map's first row is its smallest y
    # The figure's size makes a map TILE_INCHES wide.
    foot, top = _FOOT * side, 0.36 * side if title else 0.0
    per_bin = TILE_INCHES / side
    figure = figure_of_size(fig, width * per_bin + 0.2, (height + foot + top) * per_bin + 0.2)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    margin = 0.1 / per_bin
    ax.imshow(
        picture, extent=(0, width, height, 0), origin="upper", interpolation="nearest",
        aspect="equal",
    )  # fmt: skip
    ax.set_xlim(-margin, width + margin)
    ax.set_ylim(height + foot + margin, -top - margin)
    ax.set_axis_off()
    for (x, y), label in zip(corners, labels or [], strict=False):
        ax.text(x, y - 0.03 * side, label, va="bottom")
    for y, (heading, _) in zip(dividers, groups or (), strict=False):
        line = y + 0.1 * side
        ax.plot([0, width], [line, line], color=FAINT, lw=0.8)
        ax.text(0, line + 0.05 * side, heading, fontsize=9.5, va="top", weight="bold")
    ax.text(0, -0.16 * side, title, fontsize=11, va="bottom")
    return figure, ax, corners


def _foot(ax: Axes, side: int) -> float:
    """Return the y of the keys under a sheet whose maps have `side` bins."""
    return ax.images[0].get_extent()[2] + 0.16 * side


def _lattices(ax: Axes, centres: np.ndarray, axes: np.ndarray, side: int) -> None:
    """Draw axes [K, 3, 2] in bins, their six fields and a ring, around centres [K, 2] of tiles."""
    ends = axes * [1, -1]  # y points down in a sheet
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


def _bar_length(width_m: float) -> float:
    """Return a round length that is at most half of a width; the width if that is tiny."""
    return max((step for step in (0.1, 0.2, 0.5, 1, 2) if step <= width_m / 2), default=width_m)


def _scale_bar(ax: Axes, bins_per_m: float, width_m: float, side: int) -> None:
    length = _bar_length(width_m)
    y = _foot(ax, side)
    ax.plot([0, length * bins_per_m], [y, y], color=INK, lw=2, solid_capstyle="butt")
    x = length * bins_per_m + 0.08 * side
    ax.text(x, y, f"{length:g} m", va="center")


def _colour_key(
    ax: Axes, cmap: str, ends: tuple[str, str], box: tuple[float, float, float, float]
) -> None:
    """Draw a strip of a colour map in a box (left, right, bottom, top), and name its ends."""
    left, right, bottom, top = box
    strip = mpl.colormaps[cmap](np.linspace(0, 1, 256))[None]
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(strip, extent=box, origin="upper", aspect="equal")
    ax.set(xlim=limits[0], ylim=limits[1])
    pad = 0.06 * (right - left)
    ax.text(left - pad, (bottom + top) / 2, ends[0], va="center", ha="right")
    ax.text(right + pad, (bottom + top) / 2, ends[1], va="center", ha="left")


def _sheet_key(ax: Axes, cmap: str, ends: tuple[str, str], side: int) -> None:
    """Draw the key of the colours under a sheet, at its right."""
    y, half = _foot(ax, side), 0.05 * side
    right = (
        ax.images[0].get_extent()[1] - (0.12 + 0.083 * len(ends[1])) * side
    )  # leave room for the number at the end
    _colour_key(ax, cmap, ends, (right - 0.9 * side, right, y + half, y - half))


def _unvisited_key(ax: Axes, side: int) -> None:
    y, left = _foot(ax, side), 1.6 * side
    ax.add_patch(Rectangle((left, y - 0.06 * side), 0.12 * side, 0.12 * side, color=UNVISITED))
    ax.text(left + 0.18 * side, y, "not visited", va="center")


def _rows_of_maps(
    ax: Axes, rows: Sequence[tuple[str, np.ndarray, float]], titles: Sequence[str], cmap: str,
    *, circle_m: float | None = None,
) -> None:  # fmt: skip
    """Draw rows of maps (name, maps [K, y, x], side of the box in metres) to one scale."""
    widest = max(box for *_, box in rows)
    pitch, top = 1.06 * widest, 0.0
    for name, maps, box in rows:
        colours = painted(maps, 0.0, peaks_of(maps), cmap)
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
            -0.54 * widest, middle, name, rotation=90, ha="right", va="center", ma="center",
            linespacing=1.3,
        )  # fmt: skip
        top -= box + 0.06 * widest
    for column, title in enumerate(titles):
        ax.text(column * pitch, 0.03 * widest, title, ha="center")
    left, bar, length = -rows[-1][2] / 2, top - 0.03 * widest, _bar_length(min(widest, 2))
    ax.plot([left, left + length], [bar, bar], color=INK, lw=2, solid_capstyle="butt")
    note = f"{length:g} m" + ("" if circle_m is None else "      dashed circle: training range")
    ax.text(left + length + 0.03 * widest, bar, note, va="center")
    if len(titles) >= 5:  # there is room beside the scale bar
        end, half = (len(titles) - 2) * pitch, 0.03 * widest  # the name needs 1.5 tiles
        place = end - 0.6 * pitch, end, bar - half, bar + half
        _colour_key(ax, cmap, ("0", "each map's peak"), place)
    ax.set_axis_off()
    ax.set_aspect("equal", anchor="SE")
    ax.set_xlim(-0.95 * widest, (max(len(titles), 1) - 0.5) * pitch)
    ax.set_ylim(top - 0.12 * widest, 0.2 * widest)
