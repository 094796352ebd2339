"""Style of all figures: colours, matplotlib settings, empty figures, and panels."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
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
CYCLIC_CMAP = "twilight"
UNVISITED = "#d9d9d9"
INK, FAINT = "#222222", "#767676"
# Okabe & Ito's colours, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
NEUTRAL = "#b3b3b3"  # colour of units without a group
NO_GROUP = ("no module", "other")

TILE_INCHES = 0.86  # inches, side of a small map
SMALL = 9  # points, of ticks, legends and notes: at least 9 in the report, which shrinks little

# Settings for windows and folders, not for style; the user's values stay.
_NOT_LOOKS = (
    "animation.", "backend", "date.epoch", "docstring", "figure.max_open_warning",
    "figure.raise_window", "interactive", "keymap.", "savefig.directory", "timezone", "tk.",
    "toolbar", "webagg.",
)  # fmt: skip
SETTINGS = {
    name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith(_NOT_LOOKS)
} | {
    "font.size": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "text.color": INK,
    "pdf.fonttype": 42,  # text remains text in vector graphics
    "ps.fonttype": 42,
}
_LOCK = threading.RLock()


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw with sicjax's settings instead of the user's; works as a decorator, too.

    Only one thread at a time, because matplotlib's settings are global: two overlapping threads
    could leave our settings to the user. Unlike `rc_context`, this restores only the settings that
    it changed. The first figure of a notebook starts the backend, which turns on interactive
    drawing; if that were undone, no later figure would be shown.
    """
    with _LOCK:
        changed = {name: value for name, value in SETTINGS.items() if mpl.rcParams[name] != value}
        before = {name: mpl.rcParams[name] for name in changed}
        try:
            mpl.rcParams.update(changed)
            yield
        finally:
            mpl.rcParams.update(before)


class OwnFigure(Figure):
    """A figure that is built, drawn and saved with sicjax's settings.

    Matplotlib reads many settings (fonts, `savefig.bbox`) only when it draws or saves. At that time
    the function that made the figure has returned.
    """

    __init__ = own_settings()(Figure.__init__)
    add_axes = own_settings()(Figure.add_axes)
    add_subplot = own_settings()(Figure.add_subplot)
    colorbar = own_settings()(Figure.colorbar)
    draw = own_settings()(Figure.draw)
    savefig = own_settings()(Figure.savefig)
    subplots = own_settings()(Figure.subplots)


def blank_figure(width: float = 5.2, height: float = 3.4) -> Figure:
    """Make an empty figure of a size in inches, without pyplot, so notebooks don't show it."""
    return OwnFigure(figsize=(width, height), layout="constrained")


def as_picture(figure: Figure, *, dpi: float = 100) -> np.ndarray:
    """Draw a figure into bytes [height, width, 3]."""
    figure.set_dpi(dpi)
    FigureCanvasAgg(figure).draw()
    return last_picture(figure)


def last_picture(figure: Figure) -> np.ndarray:
    """Return the last picture that `as_picture`, or an animation after it, has drawn."""
    assert isinstance(figure.canvas, FigureCanvasAgg)
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


@own_settings()
def dress(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> Axes:
    """Give a panel the common style, its labels and its title."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(labelsize=SMALL, colors=FAINT, labelcolor=INK)
    ax.set_xlabel(x, fontsize=SMALL + 1, color=INK)
    ax.set_ylabel(y, fontsize=SMALL + 1, color=INK)
    ax.set_title(title, fontsize=SMALL + 1, color=INK, loc="left")
    return ax


def colour_bar(image: Any, label: str, *, ax: Axes | None = None, cax: Axes | None = None) -> Any:
    """Add the key of an image's colours, beside a panel or in a panel of its own."""
    bar = image.figure.colorbar(image, ax=ax, cax=cax)
    bar.ax.tick_params(labelsize=SMALL, colors=FAINT, labelcolor=INK)
    bar.set_label(label, fontsize=SMALL + 1, color=INK)
    bar.outline.set_visible(False)
    return bar


def whole_numbers(axis: Any, most: int = 5) -> None:
    """Label an axis with a few whole numbers such as 12,000."""
    axis.set_major_locator(mpl.ticker.MaxNLocator(most, integer=True))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain_numbers(axis: Any, *, steps: Sequence[float] = (1,)) -> None:
    """Label a logarithmic axis at powers of ten times `steps`, written as 0.1 and 1,000."""

    def text(value: float, _: int | None) -> str:
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"

    axis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(text))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())


def legend_above(ax: Axes, columns: int) -> None:
    """Put the legend above a panel, where it does not cover data."""
    ax.legend(
        ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, columnspacing=1,
        handlelength=1.4,
    )  # fmt: skip


def settable(name: str) -> str:
    r"""Return a name with `$` escaped, unless the text between them is valid mathematics."""
    try:
        if cbook.is_math_text(name):
            MathTextParser("path").parse(name)
    except ValueError:
        return name.replace("$", r"\$")
    return name


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the panel, or the panel of a new pyplot figure if there is none."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # only here: pyplot needs a backend, reports don't

    return plt.figure(FigureClass=OwnFigure, figsize=(5.2, 3.4), layout="constrained").subplots()


def figure_of_size(figure: Figure | None, width: float, height: float) -> Figure:
    """Return a figure of this size in inches, a new pyplot figure if there is none.

    Its panels keep their places.
    """
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(FigureClass=OwnFigure)
    figure.set_layout_engine("none")
    figure.set_size_inches(width, height)
    return figure


def peaks_of(maps: np.ndarray) -> np.ndarray:
    """Return the highest value [N] of each map [N, y, x]; 0 for a map that is all NaN."""
    return np.where(np.isfinite(maps), maps, 0).max(axis=(1, 2), initial=0)


def painted(maps: np.ndarray, bottom: float, tops: np.ndarray, cmap: str) -> np.ndarray:
    """Return colours [K, y, x, 4] as bytes; grey where NaN."""
    span = np.where(tops > bottom, tops - bottom, 1)[:, None, None]
    colours = mpl.colormaps[cmap].with_extremes(bad=UNVISITED)
    return colours(np.ma.masked_invalid((maps - bottom) / span), bytes=True)


def finite_values(values: ArrayLike) -> np.ndarray:
    """Return the finite values in one row."""
    array = np.asarray(values, dtype=float).ravel()
    return array[np.isfinite(array)]


def grouped(labels: Sequence[str], *columns: ArrayLike) -> dict[str, tuple[Any, ...]]:
    """Return group -> (colour, values of columns where all are finite), by name; no group last."""
    names, table = np.asarray(labels, dtype=str), np.array(columns, dtype=float)
    known = np.isfinite(table).all(axis=0)
    found = [str(name) for name in np.unique(names[known])]
    named = [name for name in found if name not in NO_GROUP]
    colour = {group: COLOURS[k % len(COLOURS)] for k, group in enumerate(named)}
    return {
        group: (colour.get(group, NEUTRAL), *table[:, known & (names == group)])
        for group in [*named, *(name for name in found if name in NO_GROUP)]
    }


def group_legend(ax: Axes, groups: Mapping[str, Any], *, above: int = 0) -> None:
    """Add the legend of groups, in `above` columns above the panel, or a note if there are none."""
    if groups:
        legend_above(ax, above) if above else ax.legend()
    else:
        ax.text(0.5, 0.5, "no unit", transform=ax.transAxes, color=FAINT, ha="center")


def scatter_groups(ax: Axes, groups: Mapping[str, tuple[Any, ...]]) -> None:
    """Draw one dot per unit for groups of (colour, x, y); units without a group lie below."""
    for group, (colour, x, y) in groups.items():
        ax.scatter(
            x, y, 20, color=colour, alpha=0.75, lw=0, label=f"{group} (n = {len(x)})",
            zorder=1 + (colour != NEUTRAL),
        )  # fmt: skip
