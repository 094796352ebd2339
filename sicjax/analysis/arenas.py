"""The arena of a recording: its centre, size and shape, and whether the path fills it.

Letters: S samples of the tracker. Lengths in metres.
"""

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.inputs import brief, numbers
from sicjax.analysis.ratemaps import bin_index
from sicjax.analysis.tracking import LARGEST_M

ARENAS = ("square", "rectangle", "circle")
SQUARE = 1.1  # an arena is a square if its sides differ by a smaller factor
NARROW_M = 0.2  # a narrower arena is a track
FILL, FILL_BINS = 1 / 4, 40  # least share of the arena's bins that the path reaches; bins per side


def find_arena(
    places: np.ndarray, arena: str | None, box_m: ArrayLike | None, centre_m: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, str, list[str]]:
    """Return the arena's centre [2], sides [2] and shape, and sentences on what was assumed."""
    low, high = places.min(axis=0), places.max(axis=0)
    middle, assumed = (low + high) / 2, []
    if arena == "circle":
        middle = _centre_of_circle(places)
    if box_m is None:
        sides = high - low
        if not (sides > 0).all():
            raise ValueError(
                f"positions span {sides[0]:g} x {sides[1]:g} m; a map needs an arena of two"
                " dimensions (along a track: linear_ratemaps)"
            )
        shape = arena or ("square" if sides.max() <= SQUARE * sides.min() else "rectangle")
        if shape == "circle":  # the path may not have reached all four sides
            sides = np.full(2, 2 * np.hypot(*(places - middle).T).max())
        elif shape == "square":
            sides = np.full(2, sides.max())
        sides = sides * (1 + 1e-6)  # so that the outermost sample lies in the outermost bin
    else:
        sides = _pair("box_m", box_m, "the side or the two sides (x, y)")
        shape = arena or ("square" if sides[0] == sides[1] else "rectangle")
        if shape != "rectangle" and sides[0] != sides[1]:
            raise ValueError(f"box_m is {brief(box_m)}; a {shape} has one length")
        if not (sides.min() > 0 and sides.max() <= LARGEST_M):
            raise ValueError(f"box_m is {brief(box_m)}; it must be metres, above 0 and at most 10")
    if centre_m is not None:
        middle = _pair("centre_m", centre_m, "the arena's centre (x, y)", both=True)
    elif np.abs(middle).max() > 0.05 * sides.max():
        assumed.append(
            f"their origin is not the arena's centre; the centre was set to ({middle[0]:.4g},"
            f" {middle[1]:.4g}) m, the middle of the path (to change it, give centre_m=)"
        )
    if box_m is not None and (high - low).max() < 0.5 * sides.max():
        assumed.append(f"they cover {(high - low).max():.3g} m of an arena of {sides.max():g} m")
    return middle, sides, shape, assumed


def track_reason(path: np.ndarray, sides_m: np.ndarray) -> str:
    """Return why lattices can't be judged on a path [k, 2] around the arena's centre, or ""."""
    width = min(np.ptp(path, axis=0).min(), np.min(sides_m))
    if width < NARROW_M:
        return f"the path is {width:.2g} m wide"
    side = float(np.max(sides_m))
    visited = np.unique(bin_index(path, side, FILL_BINS)).size
    share = visited / (np.prod(sides_m) / (side / FILL_BINS) ** 2)
    return f"the path fills {share:.0%} of its box" if share < FILL else ""


def _centre_of_circle(places: np.ndarray) -> np.ndarray:
    """Fit the centre [2] of the circle that a path [S, 2] reaches in 36 directions."""
    angles = np.deg2rad(np.arange(0, 360, 10))
    outwards = np.stack([np.cos(angles), np.sin(angles), np.ones(len(angles))])
    reach = np.array([(places @ direction).max() for direction in outwards[:2].T])
    return np.linalg.lstsq(outwards.T, reach, rcond=None)[0][:2]


def _pair(name: str, value: ArrayLike, what: str, *, both: bool = False) -> np.ndarray:
    """Return one or two lengths as a pair [2]; ValueError for anything else."""
    lengths = np.squeeze(numbers(name, value))  # MATLAB's numbers are [1, 1]
    right = lengths.shape == (2,) or (lengths.shape == () and not both)
    if not right or not np.isfinite(lengths).all():
        raise ValueError(f"{name} is {brief(value)}; it must be {what}, metres")
    return np.broadcast_to(lengths, 2)
