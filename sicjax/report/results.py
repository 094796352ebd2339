"""The results of a report, as plain data.

Letters: W walks, T steps, N units; S samples; K bins of steps. Lengths in metres.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sicjax.analysis.ambiguity import DistanceMap
from sicjax.analysis.attractor import Attractor
from sicjax.analysis.folding import FoldedMaps, fold_ratemaps
from sicjax.analysis.grid_score import Scores
from sicjax.analysis.indices import LatticeIndices, lattice_indices
from sicjax.analysis.modules import Modules
from sicjax.analysis.path_integration import Binned, Conformality, Drift
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.relations import Coupling, ModuleDrifts, ModuleRelations
from sicjax.analysis.torus import TorusTest
from sicjax.analysis.units import UnitAnalysis

BOXES_M = (2.0, 3.0, 4.0)  # boxes of the long walks, besides that of the verdict
SHORT_BOXES_M = (2.0, 3.0)
SPEEDS = {"slow": 0.15, "fast": 0.8}  # mean of other walks in the 2 m box, as `run.MEAN_SPEED`


@dataclass(frozen=True)
class Mapped:
    """Maps of one box and one length of walk, with their scores."""

    maps: RateMaps
    scores: Scores
    walk_steps: int
    mean_speed: float  # metres per step, before velocities are clipped to those of training
    suffix: str = ""  # how it differs from the long walks in the same box; empty for those

    @property
    def name(self) -> str:
        """The name in files: 2m, 2m_short, 2m_slow."""
        return f"{self.maps.box_m:g}m{self.suffix and '_' + self.suffix}"

    @property
    def box(self) -> str:
        """The box, as it is named in sentences."""
        return f"{self.maps.box_m:g} m box"

    @property
    def title(self) -> str:
        """The name in tables and captions."""
        title = f"{self.box}, walks of {self.walk_steps:,} steps"
        return title + (f" of {self.mean_speed:.3g} m" if self.suffix in SPEEDS else "")


@dataclass(frozen=True)
class MappedSamples(Mapped):
    """Maps of the activity that was passed to `report_activity`."""

    @property
    def title(self) -> str:
        """The name in tables and captions."""
        return f"{self.box}, {self.maps.occupancy.sum():,} samples"


@dataclass(frozen=True)
class PathMapped:
    """Maps along a recorded path, in the smallest box of the report that holds it."""

    positions: np.ndarray  # [S, 2] metres from the start
    whole: RateMaps  # the whole path at once
    pieces: RateMaps  # in overlapping pieces of 120 steps, each from the initial state
    correlation: float  # of `whole` with the smooth walks' maps; median over lattice units
    pieces_correlation: float  # the same of `pieces`


@dataclass(frozen=True)
class PathIntegration:
    """How the code follows smooth walks."""

    separation: Binned  # neural against physical distance, in the largest box
    same_place: Binned  # neural distance at the same place by different paths, against steps
    drift: Drift  # departure from the short-walk maps of the 2 m box
    conformality: Conformality  # in the largest box
    explained: np.ndarray  # [K, N] share of variance that short-walk maps explain; K as in `drift`


@dataclass(frozen=True)
class Dynamics:
    """How states move."""

    places: DistanceMap  # neural distance against displacement
    attractor: Attractor | None  # None where states are zero, or too few for a manifold
    untrained: Attractor | None  # the same for the same config and seed before any update
    relations: ModuleRelations | None  # None for fewer than two modules, as the next two are
    drifts: ModuleDrifts | None
    coupling: Coupling | None


@dataclass(frozen=True)
class Judged(ABC):
    """Results that need only the rate maps of N units, from a network or from other activity."""

    active: np.ndarray  # [N] bool
    lattice: np.ndarray  # [N] "hexagonal", "square" or "" (none)
    constant: np.ndarray  # [N] bool
    constant_share: float  # of |mean g|^2
    units: UnitAnalysis  # of the maps that verdicts come from
    modules: Modules
    torus_tests: Callable[[], tuple[TorusTest, ...]]  # waits until each module is tested

    @property
    def fires(self) -> np.ndarray:
        """Units [N] that are not silent in the box of the verdict, as bool."""
        return self.units.kind != "silent"

    @cached_property
    def indices(self) -> LatticeIndices:
        """The index of each grid cell, and the coarsest lattice."""
        return lattice_indices(self.units)

    @cached_property
    def folded(self) -> FoldedMaps | None:
        """The verdict's maps in one cell of the coarsest lattice; None if there is no lattice."""
        if not np.isfinite(self.indices.coarsest).all():
            return None
        maps = self.verdict.maps
        return fold_ratemaps(maps.ratemaps, maps.box_m, axes=self.indices.coarsest)

    @property
    def tori(self) -> tuple[TorusTest, ...]:
        """The torus test of each module."""
        return self.torus_tests()

    @property
    @abstractmethod
    def mapped(self) -> list[Mapped]:
        """Every set of maps."""

    @property
    @abstractmethod
    def first(self) -> Mapped:
        """The maps that decide which units are active, or look like a lattice."""

    @property
    @abstractmethod
    def verdict(self) -> Mapped:
        """The maps that verdicts on grid cells, modules and tori come from."""


@dataclass(frozen=True)
class Evaluation(Judged):
    """Everything that is measured on a network."""

    long: Mapping[float, Mapped]  # by side of the box
    short: Mapping[float, Mapped]
    speeds: Mapping[str, Mapped]  # slow and fast walks in the 2 m box
    path_integration: PathIntegration
    dynamics: Dynamics
    path: PathMapped | None
    training_range_m: float  # metres; 99 % of the training positions are nearer to the start
    verdict_box_m: float

    @property
    def mapped(self) -> list[Mapped]:
        """Every set of maps, long walks first."""
        return [*self.long.values(), *self.short.values(), *self.speeds.values()]

    @property
    def first(self) -> Mapped:
        """The long-walk maps of the 2 m box: they decide which units count as active or lattice."""
        return self.long[BOXES_M[0]]

    @property
    def verdict(self) -> Mapped:
        """The maps that verdicts on grid cells, modules and tori come from."""
        return self.long[self.verdict_box_m]

    @property
    def near_start(self) -> Mapped:
        """The short-walk maps of the 2 m box: the code before it drifts."""
        return self.short[SHORT_BOXES_M[0]]


@dataclass(frozen=True)
class Activity(Judged):
    """Everything that is measured on states and positions alone."""

    samples: MappedSamples
    num_walks: int
    mean_norm: float  # mean norm of the input states; all states here are divided by it
    centre_m: tuple[float, float]  # of the box, in the coordinates of the positions
    halves: float  # correlation of maps of the walks' first and second half, median of active units
    separation: Binned  # neural against physical distance
    places: DistanceMap  # neural distance against displacement
    same_place: Binned | None  # neural distance at the same place on two walks, against steps
    relations: ModuleRelations | None  # None for fewer than two modules
    drifts: ModuleDrifts | None  # None for fewer than two modules, or too few walks

    @property
    def mapped(self) -> list[Mapped]:
        """The single set of maps."""
        return [self.samples]

    @property
    def first(self) -> Mapped:
        """The maps that decide which units are active, or look like a lattice: the single set."""
        return self.samples

    @property
    def verdict(self) -> Mapped:
        """The maps that the verdicts come from: the single set."""
        return self.samples
