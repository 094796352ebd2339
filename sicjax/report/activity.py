"""A report on any activity: states and positions of another network or of a simulation.

Letters: W walks, T steps, N units. Lengths in metres.
"""

import math
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.arenas import find_arena
from sicjax.analysis.inputs import check_number
from sicjax.analysis.ratemaps import as_numbers
from sicjax.analysis.recordings import count_bins
from sicjax.analysis.tracking import LARGEST_M, check_units, in_metres
from sicjax.arguments import at_least, check
from sicjax.paths import path
from sicjax.report.chapter import Chapter, Row
from sicjax.report.chapters.cells import cells
from sicjax.report.chapters.modules import modules
from sicjax.report.chapters.place import place
from sicjax.report.chapters.relations import relations
from sicjax.report.contents import make_chapters, summarise, write_contents
from sicjax.report.folder import PAGE, refuse_others
from sicjax.report.measure_activity import measure_activity
from sicjax.report.page import render
from sicjax.report.results import Activity

ORDER = ("cells", "modules", "place", "relations", "missing")  # of the page
NEEDS_A_NETWORK = (
    ("The same cells in larger boxes", "walks beyond the box"),
    ("Slower and faster walks", "walks of other speeds"),
    ("Steps until position explains less than half", "walks from one known state, short and long"),
    ("Speed of the code by direction", "one step in every direction from the same state"),
    ("Steps to return after a push, gains, diffusion", "states that were displaced"),
    ("Whether one displaced module pulls the others", "states that were displaced"),
    ("Recorded path", "an animal's path to drive the network along"),
)


def report_activity(
    states: ArrayLike,
    positions: ArrayLike,
    folder: str | os.PathLike,
    *,
    name: str = "Activity",
    units: str | None = None,
    box_m: float | None = None,
    centre_m: ArrayLike | None = None,
    bin_m: float = 0.04,
    min_visits: int = 1,
    torus_rolls: int = 20,
) -> Path:
    """Write a report like a run's on the activity of another network or of a simulation.

    Scorers, figures and page are the same: rate maps, kinds of units, modules, tori, how modules
    are related, which places are distinguished. The page names the measurements that need a network
    that can be run (other boxes, drift from short walks, return after a push). For recorded spikes
    use `score_recording`, whose null suits them.

    Args:
        states: [W, T, N] on W walks of T steps in order, or [T, N] on one; in any unit.
        positions: [W, T, 2] or [T, 2], x and y at the same samples.
        folder: where to write. It must be new, empty, or hold an earlier report, whose files are
            replaced. A folder with anything else is refused.
        name: name of the network on the page.
        units: of the positions, "m", "cm" or "mm"; a span above 10 is read as centimetres.
        box_m: side of the square box, metres; by default the extent of the positions.
        centre_m: (x, y) of the box, metres. By default 0 if `box_m` is given and the positions lie
            around 0, otherwise their middle.
        bin_m: side of a bin, metres.
        min_visits: a bin with fewer samples counts as unvisited.
        torus_rolls: size of the null of each module's torus test; 20 take some seconds. 0 disables
            the null, so there is no verdict.

    Returns:
        Path of report.html; beside it summary.json, units.csv, modules.csv, the maps and figures.

    Raises:
        TypeError: states or positions that are not numbers, or a name or folder that is not text.
        ValueError: a folder with other files, shapes that don't match, values that aren't finite,
            or another wrong argument; one line names it. Warnings name assumptions (unit, place of
            the box) and samples outside the box.
        OSError: the folder can't be written.

    Source: ours; scores as in `analyze_ratemaps`, `find_modules` and `torus_test`.

    Example:
        >>> import numpy as np, sicjax
        >>> rng = np.random.default_rng(0)
        >>> positions = rng.uniform(-0.6, 0.6, (20, 500, 2))  # x, y in metres
        >>> turns = np.deg2rad([0, 60, 120])
        >>> waves = 2 * np.pi / 0.3 * np.stack([np.cos(turns), np.sin(turns)])
        >>> shifted = positions[:, :, None] - rng.uniform(0, 0.6, (6, 2))  # of 6 units
        >>> states = np.cos(shifted @ waves).sum(axis=-1) + 1.5  # [W, T, N]
        >>> page = sicjax.report_activity(
        ...     states, positions, "report", name="Three waves", box_m=1.2, torus_rolls=0)
        >>> page.name, len(sorted(page.parent.glob("*.csv")))
        ('report.html', 2)
    """
    where = path("folder", folder)
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"name is {name!r}; it must be text")
    check_units(units)
    refuse_others(where)
    check_number("bin_m", bin_m, "metres", above=0.0)
    check("min_visits", min_visits, at_least(1))
    check("torus_rolls", torus_rolls, at_least(0))
    codes, places = _check_walks(states, positions)
    middle, side, places = _place_box(places, units, box_m, centre_m)
    bins = count_bins(side, bin_m)
    found = measure_activity(codes, places, middle, side, bins, int(min_visits), int(torus_rolls))
    return _write(found, where, name.strip())


def _write(found: Activity, folder: Path, name: str) -> Path:
    """Write the report; returns the path of report.html."""
    makers: dict[str, Callable[[], Chapter]] = {
        "cells": partial(cells, found),
        "modules": partial(modules, found, "torus_rolls=20"),
        "place": partial(place, found),
        "relations": partial(relations, found),
        "missing": _missing,
    }
    chapters, pictures = make_chapters(makers)
    about = {
        "name": name,
        "num_walks": found.num_walks,
        "num_samples": found.samples.maps.occupancy.sum(),
        "box_m": found.samples.maps.box_m,
        "centre_m": found.centre_m,
        "mean_norm": found.mean_norm,
    }
    in_order = [chapters[one] for one in ORDER]
    summary = summarise(about, in_order)
    page = render("activity.html.j2", in_order, pictures, summary=summary)
    write_contents(folder, found, summary, pictures, page)
    return folder / PAGE


def _missing() -> Chapter:
    """Return the chapter that lists the measurements that need a network to run."""
    rows = [Row(what, "–", f"Needs {needed}.", "–") for what, needed in NEEDS_A_NETWORK]
    numbers = {"needs_a_network": [what for what, _ in NEEDS_A_NETWORK]}
    return Chapter("Not measured: needs a network that can be run", numbers, rows, [])


def _check_walks(states: ArrayLike, positions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return states [W, T, N] in single precision and positions [W, T, 2], both finite."""
    codes, places = as_numbers("states", states), as_numbers("positions", positions)
    if codes.ndim not in (2, 3) or 0 in codes.shape:
        raise ValueError(f"states has shape {codes.shape}; it must be [W, T, N] or [T, N]")
    if places.shape != (*codes.shape[:-1], 2):
        raise ValueError(
            f"positions has shape {places.shape} for states {codes.shape}; it must be"
            f" {(*codes.shape[:-1], 2)}: x and y of every sample"
        )
    for name, values in (("states", codes), ("positions", places)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds {np.sum(~np.isfinite(values))} non-finite values")
    if codes.ndim == 2:
        codes, places = codes[None], places[None]
    return codes.astype(np.float32), places


def _place_box(
    places: np.ndarray, units: str | None, box_m: Any, centre_m: Any
) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the box's centre [2] and side, and positions [W, T, 2] in metres from the centre."""
    if box_m is not None:
        check_number("box_m", box_m, "metres", above=0.0)
    flat, assumed = in_metres(places.reshape(-1, 2), units, certain_m=LARGEST_M)
    middle, sides, _, located = find_arena(flat, "square", box_m, centre_m)
    side = float(sides[0])
    if box_m is None:
        # Up to the next centimetre. Round first, because the extent is a millionth too long.
        side = math.ceil(round(100 * side, 3)) / 100
        located = [
            f"the box was put at {side:g} m around ({middle[0]:.3g}, {middle[1]:.3g}) m, from"
            " their extent (to change it, give box_m= and centre_m=)"
        ]
    elif centre_m is None and np.abs(middle).max() <= 0.05 * side:
        middle = np.zeros(2)  # the usual box of a simulation: centred on 0
    if assumed := [*assumed, *located]:
        warnings.warn(f"positions: {'; '.join(assumed)}", stacklevel=3)
    centred = flat - middle
    if (outside := np.mean(np.abs(centred).max(axis=1) > side / 2)) > 0.01:
        warnings.warn(
            f"positions: {outside:.0%} lie outside the box of {side:g} m around ({middle[0]:g},"
            f" {middle[1]:g}) m and are left out",
            stacklevel=3,
        )
    # A simulated animal stops at the walls: these samples belong to the outermost bins.
    edge = side / 2
    near = np.abs(centred) <= edge * (1 + 1e-6)
    centred = np.where(near, np.clip(centred, -edge, edge * (1 - 1e-9)), centred)
    return middle, side, centred.reshape(places.shape)
