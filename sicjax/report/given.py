"""Everything that is measured on given activity: states and positions in, plain results out.

Letters: W walks, T steps, N units; S samples. Lengths in metres.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from sicjax.analysis.ambiguity import DistanceMap, map_distances
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.path_integration import (
    Binned,
    distance_against_separation,
    distance_at_same_place,
)
from sicjax.analysis.ratemaps import RateMaps, bin_activity
from sicjax.analysis.relations import (
    ModuleDrifts,
    ModuleRelations,
    measure_drifts,
    relate_modules,
)
from sicjax.report.evaluate import (
    SAMPLES,
    Judged,
    Mapped,
    find_tori,
    glance,
    judge,
    median_correlation,
)

FEWEST_BINS = 100  # that were visited: of fewer, nothing is told
FEWEST_WALKS = 20  # for how modules drift: the chance of a correlation is told to one in so many
MOST_WALKS = 48  # of those, and of the same place by two paths


@dataclass(frozen=True)
class Given(Mapped):
    """Maps of the samples that were given."""

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.maps.box_m:g} m box, {self.maps.occupancy.sum():,} samples"


@dataclass(frozen=True)
class Activity(Judged):
    """All that the report on given activity says, before it is written."""

    given: Given
    num_walks: int
    mean_norm: float  # of the states as they were given, by which all here is divided
    centre_m: tuple[float, float]  # of the box, in the coordinates of the positions
    halves: float  # correlation of maps of the walks' first and second half, median of active units
    separation: Binned  # neural against physical distance
    places: DistanceMap  # neural distance against displacement
    same_place: Binned | None  # neural distance at the same place on two walks, against steps
    relations: ModuleRelations | None  # None for fewer than two modules
    drifts: ModuleDrifts | None  # None for fewer than two modules, or walks than FEWEST_WALKS

    @property
    def mapped(self) -> list[Mapped]:
        """The one set of maps."""
        return [self.given]

    @property
    def first(self) -> Mapped:
        """The same."""
        return self.given

    @property
    def verdict(self) -> Mapped:
        """The same."""
        return self.given


def measure(
    codes: np.ndarray, places: np.ndarray, middle: np.ndarray, side: float, bins: int,
    min_visits: int, torus_rolls: int,
) -> Activity:  # fmt: skip
    """Measure all that states and positions alone tell.

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
    codes = codes / (mean_norm or 1.0)  # thresholds and distances are those of states of norm 1

    def mapped(part: slice) -> RateMaps:
        inside = np.abs(places[:, part]).max(axis=-1) <= side / 2
        return bin_activity(
            places[:, part][inside], codes[:, part][inside], box_m=side, bins=bins,
            min_visits=min_visits,
        )  # fmt: skip

    maps = mapped(slice(None))
    _check_coverage(maps)
    length = codes.shape[1]
    mean_speed = np.linalg.norm(np.diff(places, axis=1), axis=-1).mean() if length > 1 else np.nan
    given = Given(maps, score_ratemaps(maps.ratemaps, side), length, float(mean_speed))
    glanced = glance(given)
    active = glanced["active"]
    units, modules = judge(maps)
    tori = find_tori(maps.ratemaps, modules, torus_rolls)
    lattices = modules.lattice if len(modules.members) > 1 else None
    halves = [mapped(part).ratemaps[active] for part in _halves(length)]
    return Activity(
        **glanced,
        units=units,
        modules=modules,
        tori=tori,
        given=given,
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
    """See that enough of the box was visited; warn where it is less than half."""
    visited = np.isfinite(maps.ratemaps).all(axis=0)
    words = f"positions: {visited.sum()} of {visited.size} bins were visited often enough"
    if visited.sum() < FEWEST_BINS:
        raise ValueError(
            f"{words}; at least {FEWEST_BINS} must be (more samples, a larger bin_m; is box_m"
            " right?)"
        )
    if visited.mean() < 0.5:
        warnings.warn(
            f"{words}; a lattice needs most of them (more samples, a larger bin_m)", stacklevel=4
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
