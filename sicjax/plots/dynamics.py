"""Figures of how the code moves with place, and of perturbed states.

Letters: K steps; A amplitudes. Lengths in metres.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from sicjax.plots.style import (
    CMAP,
    COLOURS,
    FAINT,
    INK,
    SMALL,
    UNVISITED,
    axes_or_new,
    colour_bar,
    dress,
    figure_of_size,
    legend_above,
    own_settings,
    plain_numbers,
)

_LINEAR_STEPS = 10  # an axis of steps is linear up to here, so it can show step 0


@own_settings()
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
    ax = axes_or_new(ax)
    edges, middle, spread = (np.asarray(values, dtype=float) for values in (edges_m, mean, std))
    centres = (edges[:-1] + edges[1:]) / 2
    ax.fill_between(centres, middle - spread, middle + spread, color=COLOURS[0], alpha=0.2, lw=0)
    ax.plot(centres, middle, color=COLOURS[0], lw=1.4)
    if training_range_m is not None:
        ax.axvline(training_range_m, color=FAINT, ls="--", lw=1)
        ax.text(training_range_m, 0.02, " training range", color=FAINT,
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(bottom=0)
    return dress(ax, x="physical distance (m)", y="neural distance |g − g′|")


@own_settings()
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
    figure = figure_of_size(fig, 8.6, 3.6)
    half = box_m / 2
    ax = figure.add_axes((0.08, 0.15, 0.33, 0.78))
    shown = ax.imshow(
        np.ma.masked_invalid(np.asarray(speeds, dtype=float)), origin="lower", vmin=0,
        extent=(-half, half, -half, half), cmap=mpl.colormaps[CMAP].with_extremes(bad=UNVISITED),
        interpolation="nearest",
    )  # fmt: skip
    dress(ax, x="x (m)", y="y (m)")
    cax = figure.add_axes((0.43, 0.15, 0.015, 0.78))
    colour_bar(shown, "speed of the code |Δg| / |Δx| (1/m)", cax=cax)
    polar = figure.add_axes((0.6, 0.1, 0.34, 0.74), projection="polar")
    turns, values = np.deg2rad(directions_deg), np.asarray(by_direction, dtype=float)
    polar.plot(np.append(turns, turns[0]), np.append(values, values[0]), color=COLOURS[0], lw=1.4)
    polar.set_ylim(0, max(1.15 * np.nanmax(values, initial=0), 1e-9))
    polar.yaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    polar.tick_params(labelsize=SMALL, labelcolor=INK)
    polar.set_title("speed by direction (1/m)", fontsize=SMALL + 1, color=INK)
    return figure


@own_settings()
def distance_map(
    distance: ArrayLike, bin_m: float, *, dips_m: ArrayLike, range_m: float, cmap: str = CMAP,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw neural distance against displacement, its dips, and the nearest confusable one.

    Args:
        distance: [y, x], displacement 0 in the middle; NaN (grey) where unknown.
        bin_m: width of a bin of displacement, metres.
        dips_m: [P, 2] displacements marked, with their opposites.
        range_m: radius of a dashed circle; inf or NaN draws none.
        cmap: any matplotlib colour map.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    values = np.asarray(distance, dtype=float)
    half = values.shape[0] * bin_m / 2
    image = ax.imshow(
        np.ma.masked_invalid(values), origin="lower", vmin=0, extent=(-half, half, -half, half),
        cmap=mpl.colormaps[cmap].with_extremes(bad=UNVISITED), interpolation="nearest",
    )  # fmt: skip
    dips = np.asarray(dips_m, dtype=float).reshape(-1, 2)
    x, y = np.concatenate([dips, -dips]).T
    # White with dark outlines is visible on any colour.
    dark = [withStroke(linewidth=2, foreground=INK)]
    ax.scatter(x, y, 14, color="white", marker="x", lw=0.8, path_effects=dark)
    if np.isfinite(range_m):
        ax.add_patch(Circle((0, 0), range_m, fill=False, ec=INK, lw=2.2))
        ax.add_patch(Circle((0, 0), range_m, fill=False, ec="white", lw=1.2, ls="--"))
    colour_bar(image, "neural distance |g − g′|", ax=ax)
    # The title gives only the radius: what it means depends on the floor, which the caller knows.
    title = f"dashed circle: {range_m:.2f} m" if np.isfinite(range_m) else ""
    return dress(ax, x="displacement along x (m)", y="displacement along y (m)", title=title)


@own_settings()
def attractor_return(
    steps: ArrayLike, distance: ArrayLike, amplitudes: ArrayLike, *,
    null: ArrayLike | None = None, level: float | None = 0.02,
    y: str = "excess distance to the manifold", ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the distance of perturbed states over time: one line for each amplitude, nulls dashed.

    Args:
        steps: [K] since the perturbation, from 0.
        distance: [A, K] relative to the norm; 0 leaves a gap.
        amplitudes: [A] asked for, relative to the norm.
        null: [A, K] the same of another network.
        level: distance marked as "back"; None draws none.
        y: label of the distances.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    names = [f"{100 * amplitude:g} %" for amplitude in np.asarray(amplitudes)]

    def with_gaps(lines: ArrayLike) -> np.ndarray:
        return np.where(np.asarray(lines, dtype=float) > 0, lines, np.nan)

    dashed = None if null is None else with_gaps(null)
    _beside_null(ax, steps, with_gaps(distance), dashed, names)
    if level is not None:
        ax.axhline(level, color=FAINT, lw=1, ls=":")
    ax.set_yscale("log")
    ax.set_ylim(bottom=4e-3)
    plain_numbers(ax.yaxis, steps=(1, 2, 5))
    return _since_perturbation(ax, steps, "steps since the perturbation", y)


@own_settings()
def attractor_shift(
    steps: ArrayLike, left: ArrayLike, shift_m: ArrayLike, *, null: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the share of a shift along the manifold that is left, one line for each size.

    Args:
        steps: [K] since the shift, from 0.
        left: [A, K] share of it that is left.
        shift_m: [A] metres.
        null: [A, K] the same of another network, dashed.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    _beside_null(ax, steps, left, null, [f"{100 * m:.1f} cm" for m in np.asarray(shift_m)])
    for level in (0, 1):
        ax.axhline(level, color=FAINT, lw=1, ls=":")
    ax.set_ylim(-0.3, 1.3)
    return _since_perturbation(
        ax, steps, "steps at rest since the shift", "share of the shift left"
    )


def _beside_null(
    ax: Axes, steps: ArrayLike, values: ArrayLike, null: ArrayLike | None, names: Sequence[str]
) -> None:
    """Draw lines [A, K], one for each name, with those of a null dashed."""
    shades = mpl.colormaps[CMAP](np.linspace(0.8, 0.1, len(names)))
    for row, (shade, name) in enumerate(zip(shades, names, strict=True)):
        ax.plot(steps, np.asarray(values)[row], color=shade, lw=1.5, label=name)
        if null is not None:
            ax.plot(steps, np.asarray(null)[row], color=shade, lw=1.5, ls="--")
    if null is not None:
        ax.plot([], [], color=INK, lw=1.2, ls="--", label="untrained")


def _since_perturbation(ax: Axes, steps: ArrayLike, x: str, y: str) -> Axes:
    """Spread the first steps along x, say where the axis turns logarithmic, and label it."""
    last = np.max(np.asarray(steps))
    ax.set_xscale("symlog", linthresh=_LINEAR_STEPS, linscale=1.2)
    ax.set_xlim(0, last)
    ax.xaxis.set_major_locator(mpl.ticker.FixedLocator([0, 2, 4, 6, 8, 10, 20, 50, 100, 200]))
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    if last > _LINEAR_STEPS:
        ax.axvline(_LINEAR_STEPS, color=FAINT, lw=0.8, zorder=0)
        for words, side in (("linear ", "right"), (" logarithmic", "left")):
            ax.text(_LINEAR_STEPS, 0.97, words, color=FAINT, ha=side, va="top",
                    transform=ax.get_xaxis_transform())  # fmt: skip
    legend_above(ax, 5)
    return dress(ax, x=x, y=y)


@own_settings()
def jacobian_gains(
    lengths: ArrayLike, gains: Mapping[str, ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """Draw the factor by which several steps scale a displacement; below 1 they correct it.

    Args:
        lengths: [L] steps in a row.
        gains: name of a direction to [L, 3], low quantile, median and high quantile over states.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
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
    plain_numbers(ax.yaxis, steps=(1, 2, 5))
    ax.set_xticks(range(len(counts)), [f"{count}" for count in counts])
    ax.set_xlim(-0.5, len(counts) - 0.5)
    legend_above(ax, 2)
    return dress(ax, x="steps in a row, at rest", y="gain")


@own_settings()
def noise_drift(
    steps: ArrayLike, shift_m: ArrayLike, amplitudes: ArrayLike, diffusion: ArrayLike, *,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw how far noise in every step moves states along the manifold.

    Args:
        steps: [K] since the noise began.
        shift_m: [A, K] root mean square shift, metres.
        amplitudes: [A] amplitudes of the noise, relative to the norm.
        diffusion: [A] square metres per step; drawn as a dashed line root of 4 D steps.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    count = np.asarray(steps, dtype=float)
    rows = zip(np.asarray(amplitudes), np.asarray(shift_m), np.asarray(diffusion), strict=True)
    for colour, (amplitude, shift, speed) in zip(COLOURS, rows, strict=False):
        found = f"{speed:.1e} m² per step" if speed > 0 else "no diffusion found"
        label = f"noise {100 * amplitude:g} %: {found}"
        ax.plot(count, shift, "o-", color=colour, lw=1.4, ms=3.5, label=label)
        if speed > 0:
            ax.plot(count, np.sqrt(4 * speed * count), color=colour, lw=1, ls="--")
    ax.set(xscale="log", yscale="log")
    plain_numbers(ax.xaxis)
    plain_numbers(ax.yaxis, steps=(1, 2, 5))
    ax.legend()
    return dress(ax, x="steps", y="shift, root mean square (m)")
