"""Which units are grid cells, which modules they form, whether those are tori: by maps alone.

Nothing here needs a network or JAX's arrays, so that another process can do it.
Letters: N units.
"""

from collections.abc import Sequence

import numpy as np

from sicjax.analysis.modules import Modules, find_modules
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.torus import TorusTest, torus_test
from sicjax.analysis.units import UnitAnalysis, analyze_ratemaps

AUTOMATIC = -1  # rolls: ROLLS for each module, as long as by an estimate all take MOST_S or less
ROLLS, MOST_S = 20, 60
_KEY = np.zeros(2, np.uint32)  # the words of jax.random.key(0)


def judge_units(maps: RateMaps, num_shuffles: int) -> tuple[UnitAnalysis, Modules]:
    """Say what units are, by shuffles of the fields of each, and which modules they form."""
    units = analyze_ratemaps(
        maps.ratemaps, maps.box_m, num_shuffles=num_shuffles, key=_KEY, progress=False
    )
    return units, find_modules(units)


def judge_modules(
    ratemaps: np.ndarray, members: Sequence[np.ndarray], rolls: int, num_landmarks: int
) -> tuple[TorusTest, ...]:
    """Say whether modules are tori.

    Args:
        ratemaps: [N, bins, bins].
        members: the units of each module.
        rolls: size of the null of each module's test; 0 for none; or AUTOMATIC.
        num_landmarks: of the persistence diagrams.
    """
    num_bins = ratemaps.shape[1] * ratemaps.shape[2]
    return tuple(
        torus_test(
            ratemaps[units],
            num_shuffles=number,
            key=_KEY,
            num_landmarks=num_landmarks,
            progress=False,
        )
        for units, number in zip(
            members, rolls_of([len(units) for units in members], rolls, num_bins), strict=True
        )
    )


def rolls_of(sizes: Sequence[int], rolls: int, num_bins: int) -> list[int]:
    """The rolls of the null of each module.

    Args:
        sizes: units of each.
        rolls: for each, or AUTOMATIC: the largest module first.
        num_bins: of a map.
    """
    if rolls != AUTOMATIC:
        return [rolls] * len(sizes)
    number, left = [0] * len(sizes), float(MOST_S)
    for k in np.argsort(sizes)[::-1]:
        left -= ROLLS * roll_seconds(sizes[k], num_bins)
        if left < 0:  # nor a smaller one, instead of the larger
            break
        number[k] = ROLLS
    return number


def roll_seconds(num_units: int, num_bins: int) -> float:
    """About how long a roll takes on one core: its cohomology at most, and its components."""
    return 0.2 + 1e-9 * num_bins * num_units**2
