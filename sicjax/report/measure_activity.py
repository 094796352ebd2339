"""Measure activity from its states and positions alone: arrays -> `Activity`.

Letters: W walks, T steps, N units; S samples. Lengths in metres.
"""

import warnings
from typing import Any

import numpy as np

from sicjax.analysis.ambiguity import map_distances
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.path_integration import (
    distance_against_separation,
    distance_at_same_place,
)
from sicjax.analysis.ratemaps import RateMaps, bin_activity
from sicjax.analysis.relations import measure_drifts, relate_modules
from sicjax.report import judge
from sicjax.report.measure import SAMPLES, median_correlation
from sicjax.report.results import Activity, MappedSamples

FEWEST_BINS = 100  # bins that must have been visited
FEWEST_WALKS = 20  # walks for the drifts of modules: with W walks, the smallest p is 1 / W
MOST_WALKS = 48  # most walks for these drifts, and for the same place on two walks


def measure_activity(
    codes: np.ndarray, places: np.ndarray, middle: np.ndarray, side: float, bins: int,
    min_visits: int, torus_rolls: int,
) -> Activity:  # fmt: skip
    """Measure activity from its states and positions.

    Args:
        codes: [W, T, N], states.
        places: [W, T, 2] metres from the box's centre.
        middle: [2], that centre in the coordinates of the positions.
        side: of the box, metres.
        bins: along that side.
        min_visits: a bin with fewer samples counts as unvisited.
        torus_rolls: size of the null of each module's torus test.

    Raises:
        ValueError: too few bins were visited.
    """
    mean_norm = float(np.linalg.norm(codes, axis=-1).mean())
    codes = codes / (mean_norm or 1.0)  # thresholds and distances assume states of norm 1

    def mapped(part: slice) -> RateMaps:
        inside = np.abs(places[:, part]).max(axis=-1) <= side / 2
        return bin_activity(
            places[:, part][inside], codes[:, part][inside], box_m=side, bins=bins,
            min_visits=min_visits,
        )  # fmt: skip

    # Fail for poor coverage before the shuffles, which take most of the time.
    maps = mapped(slice(None))
    _check_coverage(maps)
    length = codes.shape[1]
    mean_speed = np.linalg.norm(np.diff(places, axis=1), axis=-1).mean() if length > 1 else np.nan
    samples = MappedSamples(maps, score_ratemaps(maps.ratemaps, side), length, float(mean_speed))
    glanced = judge.glance(samples)
    active = glanced["active"]
    units, modules = judge.judge_units(maps, judge.SHUFFLES)
    tori = judge.judge_modules(maps.ratemaps, modules.members, torus_rolls, judge.LANDMARKS)
    lattices = modules.lattice if len(modules.members) > 1 else None
    # If a network drifts, its code differs between the two halves of a walk.
    halves = [mapped(part).ratemaps[active] for part in _halves(length)]
    return Activity(
        **glanced,
        units=units,
        modules=modules,
        torus_tests=lambda: tori,
        samples=samples,
        num_walks=len(codes),
        mean_norm=mean_norm,
        centre_m=(float(middle[0]), float(middle[1])),
        halves=median_correlation(*halves) if active.any() else np.nan,
        **_distances(codes, places, side, bins),
        relations=None if lattices is None else relate_modules(lattices),
        drifts=None
        if lattices is None or len(codes) < FEWEST_WALKS
        else measure_drifts(
            codes[:MOST_WALKS], places[:MOST_WALKS], maps.ratemaps, side, modules.members, lattices,
            np.unique(np.geomspace(1, length, 13).astype(int)),
        ),
    )  # fmt: skip


def _halves(length: int) -> tuple[slice, slice]:
    return slice(0, length // 2), slice(length // 2, length)


def _check_coverage(maps: RateMaps) -> None:
    """Raise an error if too little of the box was visited; warn if it is less than half."""
    visited = np.isfinite(maps.ratemaps).all(axis=0)
    words = f"positions: {visited.sum()} of {visited.size} bins were visited often enough"
    if visited.sum() < FEWEST_BINS:
        raise ValueError(
            f"{words}; at least {FEWEST_BINS} are needed: give more samples or a larger bin_m (is"
            " box_m right?)"
        )
    if visited.mean() < 0.5:
        warnings.warn(
            f"{words}; a lattice needs most of them: give more samples or a larger bin_m",
            stacklevel=4,
        )


def _distances(codes: np.ndarray, places: np.ndarray, side: float, bins: int) -> dict[str, Any]:
    """Compare states of different places, and of the same place on different walks."""
    flat, place = codes.reshape(-1, codes.shape[-1]), places.reshape(-1, 2)
    inside = np.flatnonzero(np.abs(place).max(axis=1) <= side / 2)
    some = np.random.default_rng(0).permutation(inside)[:SAMPLES]
    width = side / bins
    several = len(codes) > 1
    return {
        "separation": distance_against_separation(
            flat[some], place[some], width * np.arange(0, round(bins / 4 * 3) + 1)
        ),
        "places": map_distances(flat[some], place[some], reach_m=side / 2, bin_m=width),
        "same_place": distance_at_same_place(
            codes[:MOST_WALKS], places[:MOST_WALKS],
            np.unique(np.geomspace(1, codes.shape[1] + 1, 13).astype(int)), radius_m=width / 2,
        ) if several else None,
    }  # fmt: skip
