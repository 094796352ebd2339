"""Judge units and modules by their rate maps alone: grid cells, modules, tori.

This file owns the torus tests of a report: landmarks, rolls and their cost. It needs neither a
network nor JAX's arrays, so a worker process can run it.
Letters: N units.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sicjax.analysis.kinds import active_units, constant_units, lattices_at_a_glance
from sicjax.analysis.modules import Modules, find_modules
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.torus import NULL_LANDMARKS, TorusTest, torus_test
from sicjax.analysis.units import UnitAnalysis, analyze_ratemaps
from sicjax.report.results import Mapped

SHUFFLES = 100  # shuffles of every unit's fields
# The diagrams shown are on as many landmarks as those of the null, so they are computed only once.
LANDMARKS = NULL_LANDMARKS
AUTOMATIC = -1  # rolls: ROLLS per module while the estimated total stays within MOST_S
ROLLS, MOST_S = 20, 60
_KEY = np.zeros(2, np.uint32)  # the words of jax.random.key(0)


def judge_units(maps: RateMaps, num_shuffles: int) -> tuple[UnitAnalysis, Modules]:
    """Return the kind of each unit, by shuffles of its fields, and the modules of grid cells."""
    units = analyze_ratemaps(
        maps.ratemaps, maps.box_m, num_shuffles=num_shuffles, key=_KEY, progress=False
    )
    return units, find_modules(units)


def judge_modules(
    ratemaps: np.ndarray, members: Sequence[np.ndarray], rolls: int, num_landmarks: int
) -> tuple[TorusTest, ...]:
    """Test whether modules are tori.

    Args:
        ratemaps: [N, bins, bins].
        members: the units of each module.
        rolls: size of the null of each module's test; 0 for none; or AUTOMATIC.
        num_landmarks: of the persistence diagrams.
    """
    num_bins = ratemaps.shape[1] * ratemaps.shape[2]
    sizes = [len(units) for units in members]
    return tuple(
        torus_test(
            ratemaps[units], num_shuffles=number, key=_KEY, num_landmarks=num_landmarks,
            null_landmarks=num_landmarks, progress=False,
        )
        for units, number in zip(members, rolls_of(sizes, rolls, num_bins), strict=True)
    )  # fmt: skip


def rolls_of(sizes: Sequence[int], rolls: int, num_bins: int) -> list[int]:
    """Return the size of the null of each module's test.

    Args:
        sizes: units of each module.
        rolls: for each, or AUTOMATIC: the largest module first.
        num_bins: of a map.
    """
    if rolls != AUTOMATIC:
        return [rolls] * len(sizes)
    number, left = [0] * len(sizes), float(MOST_S)
    for k in np.argsort(sizes)[::-1]:
        left -= ROLLS * roll_seconds(sizes[k], num_bins)
        if left < 0:  # no smaller module is tested in place of a larger one
            break
        number[k] = ROLLS
    return number


def roll_seconds(num_units: int, num_bins: int) -> float:
    """Estimate the time of one roll on one core: its cohomology and its principal components."""
    return 0.2 + 1e-9 * num_bins * num_units**2


def glance(first: Mapped) -> dict[str, Any]:
    """Return which units are active, constant, or look like a lattice, without a null.

    Returns:
        `active`, `lattice`, `constant` and `constant_share` of a `Judged`.
    """
    maps = first.maps.ratemaps
    active = active_units(maps)
    constant = constant_units(maps) & active
    squares = np.nanmean(maps, axis=(1, 2)) ** 2
    return {
        "active": active,
        "lattice": lattices_at_a_glance(first.scores, active),
        "constant": constant,
        "constant_share": float(squares[constant].sum() / squares.sum())
        if squares.any()
        else np.nan,
    }
