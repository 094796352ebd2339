"""What all figures share: colours, sizes, empty figures, and the look of a panel."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import cbook
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
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


def dress(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> Axes:
    """Give a panel the look that all panels share."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(labelsize=8, colors=FAINT, labelcolor=INK)
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    ax.set_title(title, fontsize=9.5, color=INK, loc="left")
    return ax


def settable(name: str) -> str:
    """A name as matplotlib sets it: with its `$` where what they enclose is no mathematics."""
    try:
        if cbook.is_math_text(name):
            MathTextParser("path").parse(name)
    except ValueError:
        return name.replace("$", r"\$")
    return name


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the panel, or that of a new pyplot figure if there is none."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # only here: pyplot needs a backend, reports don't

    return plt.subplots(figsize=(5.2, 3.4), layout="constrained")[1]


def figure_of_size(figure: Figure | None, width: float, height: float) -> Figure:
    """Return a figure of this size in inches, a new pyplot figure if there is none.

    Its panels stay where they are put.
    """
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure()
    figure.set_layout_engine("none")
    figure.set_size_inches(width, height)
    return figure


def peaks_of(maps: np.ndarray) -> np.ndarray:
    """Highest value [N] of maps [N, y, x], and 0 of a map that is all NaN."""
    return np.where(np.isfinite(maps), maps, 0).max(axis=(1, 2), initial=0)


def painted(maps: np.ndarray, bottom: float, tops: np.ndarray, cmap: str) -> np.ndarray:
    """Colours [K, y, x, 4] as bytes; grey where NaN."""
    span = np.where(tops > bottom, tops - bottom, 1)[:, None, None]
    colours = mpl.colormaps[cmap].with_extremes(bad=UNVISITED)
    return colours(np.ma.masked_invalid((maps - bottom) / span), bytes=True)


def finite_values(values: ArrayLike) -> np.ndarray:
    """Return the finite values in one row."""
    array = np.asarray(values, dtype=float).ravel()
    return array[np.isfinite(array)]


def grouped(labels: Sequence[str], *columns: ArrayLike) -> dict[str, tuple[Any, ...]]:
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


def group_legend(ax: Axes, groups: Mapping[str, Any]) -> None:
    """Add the legend of groups, or a note if there are none."""
    if groups:
        ax.legend(fontsize=8, frameon=False)
    else:
        ax.text(0.5, 0.5, "no unit", transform=ax.transAxes, color=FAINT, ha="center", fontsize=9)
