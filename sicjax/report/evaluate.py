"""Everything that is measured on a trained network: Run in, plain results out.

What its maps alone say is a `Judged`, which other activity can be too (see `activity`).

Letters: N units, W walks, K times, S samples. Lengths in metres. What is active and what carries a
lattice is counted on the long-walk maps of the 2 m box; what is a grid cell, a module or a torus
is decided on those of the box that `evaluation.verdict_box` of the config names, 3 m by default.
"""

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from sicjax.analysis.grid_score import Scores, score_ratemaps
from sicjax.analysis.kinds import active_units, constant_units, lattices_at_a_glance
from sicjax.analysis.modules import Modules
from sicjax.analysis.path_integration import (
    Binned,
    Conformality,
    Drift,
    conformality,
    distance_against_separation,
    distance_at_same_place,
    drift,
    explained_by_maps,
)
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.torus import TorusTest
from sicjax.analysis.units import UnitAnalysis
from sicjax.network.trajectories import Walk
from sicjax.report.cells import judge_modules, judge_units
from sicjax.report.dynamics import Dynamics, Walked, measure_dynamics, walk
from sicjax.report.second_process import Apart, second_process
from sicjax.run import (
    BATCH_STEPS,
    MEAN_SPEED,
    SHORT_WALK_STEPS,
    WALK_STEPS,
    Run,
)

BOXES_M = (2.0, 3.0, 4.0)  # of the long walks, besides that of the verdict
SHORT_BOXES_M = (2.0, 3.0)
SPEEDS = {"slow": 0.15, "fast": 0.8}  # mean of other walks in the 2 m box, as `run.MEAN_SPEED`
SHUFFLES = 100  # of every unit's fields
LANDMARKS = 150  # of the persistence diagrams: as many as those of the null have
PATH_PIECES = 300
DRIFT_WALKS, DRIFT_STEPS = 16, 10_000
SAMPLES = 3000  # states whose distances and speeds are compared
STEP_M, DIRECTIONS = 0.02, 12  # of the steps that conformality is measured with
_SEPARATIONS_M = np.arange(0, 3.02, 0.04)
_SPEED_BINS = 20  # a side of the map of speeds


@dataclass(frozen=True)
class Mapped:
    """Maps of one box and one length of walk, with their scores."""

    maps: RateMaps
    scores: Scores
    walk_steps: int
    mean_speed: float  # metres per step, before velocities are clipped to those of training
    suffix: str = ""  # of its name: what sets it apart from the long walks in the same box

    @property
    def name(self) -> str:
        """What files call it: 2m, 2m_short, 2m_slow."""
        return f"{self.maps.box_m:g}m{self.suffix and '_' + self.suffix}"

    @property
    def title(self) -> str:
        """What people call it."""
        title = f"{self.maps.box_m:g} m box, walks of {self.walk_steps:,} steps"
        return title + (f" of {self.mean_speed:.3g} m" if self.suffix in SPEEDS else "")


@dataclass(frozen=True)
class PathMapped:
    """Maps along a recorded path, in the smallest box of the report that holds it."""

    positions: np.ndarray  # [S, 2] metres from the start
    whole: RateMaps  # in one go
    pieces: RateMaps  # in overlapping pieces of 120 steps, each from the initial state
    correlation: float  # of `whole` with the smooth walks' maps; median over lattice units
    pieces_correlation: float  # the same of `pieces`


@dataclass(frozen=True)
class PathIntegration:
    """How the code follows smooth walks."""

    separation: Binned  # neural against physical distance, in the largest box
    same_place: Binned  # neural distance at the same place by different paths, against steps
    drift: Drift  # from the short-walk maps of the 2 m box
    conformality: Conformality  # in the largest box
    explained: np.ndarray  # [K, N] of units' variance, by their short-walk maps; K as of `drift`


@dataclass(frozen=True)
class Judged(ABC):
    """What maps alone say of N units, whatever made their activity."""

    active: np.ndarray  # [N] bool
    lattice: np.ndarray  # [N] "hexagonal", "square" or "" (none)
    constant: np.ndarray  # [N] bool
    constant_share: float  # of |mean g|^2
    units: UnitAnalysis  # of the maps that verdicts come from
    modules: Modules
    tori: tuple[TorusTest, ...]  # one for each module

    @property
    @abstractmethod
    def mapped(self) -> list[Mapped]:
        """Every set of maps."""

    @property
    @abstractmethod
    def first(self) -> Mapped:
        """The maps that decide what is active and a lattice."""

    @property
    @abstractmethod
    def verdict(self) -> Mapped:
        """The maps that verdicts on grid cells, modules and tori come from."""


@dataclass(frozen=True)
class Evaluation(Judged):
    """All that the report says, before it is written."""

    long: Mapping[float, Mapped]  # by side of the box
    short: Mapping[float, Mapped]
    speeds: Mapping[str, Mapped]  # slow and fast walks in the 2 m box
    path_integration: PathIntegration
    dynamics: Dynamics
    path: PathMapped | None
    training_range_m: float  # 99 % of the training positions are nearer to the start
    verdict_box_m: float

    @property
    def mapped(self) -> list[Mapped]:
        """Every set of maps, long walks first."""
        return [*self.long.values(), *self.short.values(), *self.speeds.values()]

    @property
    def first(self) -> Mapped:
        """The long-walk maps of the 2 m box, which decide what is active and a lattice."""
        return self.long[BOXES_M[0]]

    @property
    def verdict(self) -> Mapped:
        """The maps that verdicts on grid cells, modules and tori come from."""
        return self.long[self.verdict_box_m]


def evaluate(
    run: Run, recorded_path: Walk | None = None, *, torus_rolls: int = 0,
    show: Callable[[Mapped], None] | None = None,
    meanwhile: Sequence[Callable[[Evaluation], None]] = (), apart: Apart | None = None,
) -> Evaluation:  # fmt: skip
    """Measure a network on smooth walks and along a recorded path.

    Args:
        run: the network.
        recorded_path: a walk with leaves [T, 2], or none.
        torus_rolls: size of the null of each module's torus test; 0 for none, and so no verdict;
            -1 for that of the config's default.
        show: called with the maps that verdicts will come from, before anything else is measured.
        meanwhile: called in order with all but the tori, as long as those are still being tested.
        apart: another process that judges cells and tori; by default one for this call alone.
    """
    verdict_box = run.config.evaluation.verdict_box
    boxes = sorted({*BOXES_M, verdict_box})
    # A thread scores maps while this one draws the next; another process judges cells and tori.
    # Threads of BLAS would only wait, at full speed, for cores that those and XLA's have.
    with (
        threadpool_limits(1), second_thread() as submit, second_thread() as beside,
        second_process() if apart is None else contextlib.nullcontext(apart) as apart,
    ):  # fmt: skip
        usual = MEAN_SPEED * run.config.data.max_velocity
        verdict = _map(run, submit, verdict_box)
        if show is not None:
            show(Mapped(*_scored(verdict), WALK_STEPS, usual))
        judged = beside(apart, judge_units, verdict[0], SHUFFLES)
        tested = beside(_find_tori_judged, apart, verdict[0].ratemaps, judged, torus_rolls)
        drawn = {box: verdict if box == verdict_box else _map(run, submit, box) for box in boxes}
        brief = {box: _map(run, submit, box, steps=SHORT_WALK_STEPS) for box in SHORT_BOXES_M}
        other = {name: _map(run, submit, BOXES_M[0], speed=SPEEDS[name]) for name in SPEEDS}
        # As many walks as `Run.ratemaps` runs at once, for which programs are compiled.
        wide = walk(run, BOXES_M[-1], BATCH_STEPS // SHORT_WALK_STEPS, SHORT_WALK_STEPS)
        near_start = brief[SHORT_BOXES_M[0]][0]
        path_integration = _path_integration(run, near_start, wide)
        largest = run.config.data.max_velocity
        long = {box: Mapped(*_scored(drawn[box]), WALK_STEPS, usual) for box in boxes}
        short = {
            box: Mapped(*_scored(pair), SHORT_WALK_STEPS, usual, "short")
            for box, pair in brief.items()
        }
        speeds = {
            name: Mapped(*_scored(pair), WALK_STEPS, SPEEDS[name] * largest, name)
            for name, pair in other.items()
        }
        glanced = glance(long[BOXES_M[0]])
        path = None
        if recorded_path is not None:
            path = _along(run, recorded_path, long, glanced["lattice"] != "")
        dynamics = measure_dynamics(run, wide, lambda: judged.result()[1], near_start)
        units, modules = judged.result()
        found = Evaluation(
            **glanced,
            long=long,
            short=short,
            speeds=speeds,
            units=units,
            modules=modules,
            tori=(),
            path_integration=path_integration,
            dynamics=dynamics,
            path=path,
            training_range_m=_training_range(run),
            verdict_box_m=verdict_box,
        )
        for work in meanwhile:
            if not tested.done():
                work(found)
        return dataclasses.replace(found, tori=tested.result())


def glance(first: Mapped) -> dict[str, Any]:
    """Say which units of some maps are active, constant and seem to carry a lattice.

    Returns:
        `active`, `lattice`, `constant` and `constant_share` of a `Judged`.
    """
    maps = first.maps.ratemaps
    active = active_units(maps)
    constant = constant_units(maps) & active
    return {
        "active": active,
        "lattice": lattices_at_a_glance(first.scores, active),
        "constant": constant,
        "constant_share": _share_of_mean(maps, constant),
    }


def judge(maps: RateMaps) -> tuple[UnitAnalysis, Modules]:
    """Say what units are, and which modules they form."""
    return judge_units(maps, SHUFFLES)


def median(values: np.ndarray) -> float:
    """Return the median of the finite values; NaN of none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else np.nan


@contextlib.contextmanager
def second_thread() -> Iterator[Callable[..., Future]]:
    """Give a function that has another thread call functions, one after another."""
    thread = ThreadPoolExecutor(1)
    try:
        yield thread.submit
    finally:  # an interrupted report doesn't wait for what has not begun
        thread.shutdown(wait=False, cancel_futures=True)


def _map(
    run: Run, submit: Callable[..., Future], box_m: float, *, steps: int = WALK_STEPS,
    speed: float = MEAN_SPEED,
) -> tuple[RateMaps, Future]:  # fmt: skip
    """Return maps, and their scores to come."""
    maps = run.ratemaps(box_m, walk_steps=steps, mean_speed=speed * run.config.data.max_velocity)
    return maps, submit(score_ratemaps, maps.ratemaps, box_m)


def _scored(pair: tuple[RateMaps, Future]) -> tuple[RateMaps, Scores]:
    maps, scores = pair
    return maps, scores.result()


def find_tori(ratemaps: np.ndarray, modules: Modules, rolls: int) -> tuple[TorusTest, ...]:
    """Say whether modules are tori."""
    return judge_modules(ratemaps, modules.members, rolls, LANDMARKS)


def _find_tori_judged(
    apart: Apart, ratemaps: np.ndarray,
    judged: Future[tuple[UnitAnalysis, Modules]], rolls: int,
) -> tuple[TorusTest, ...]:  # fmt: skip
    """Say the same, in another process, of the modules that were found there."""
    return apart(judge_modules, ratemaps, judged.result()[1].members, rolls, LANDMARKS)


def _share_of_mean(ratemaps: np.ndarray, units: np.ndarray) -> float:
    """Return the share of |mean g|^2 that some units carry; NaN of silence."""
    squares = np.nanmean(ratemaps, axis=(1, 2)) ** 2
    return float(squares[units].sum() / squares.sum()) if squares.any() else np.nan


def _along(run: Run, walk: Walk, smooth: Mapping[float, Mapped], lattice: np.ndarray) -> PathMapped:
    """Map a path in one go and in pieces, and compare both with the smooth walks' maps."""
    steps, positions = np.asarray(walk.steps), np.asarray(walk.positions)
    reach = np.abs(positions).max()
    box_m = next((box for box in smooth if reach <= box / 2), max(smooth))
    length = min(SHORT_WALK_STEPS, len(steps))
    starts = np.unique(np.linspace(0, len(steps) - length, PATH_PIECES, dtype=int))
    pieces = run.map_walks([_walk(steps[starts[:, None] + np.arange(length)])], box_m)
    whole = run.map_walks([_walk(steps[None])], box_m)
    compared = smooth[box_m].maps.ratemaps[lattice]
    return PathMapped(
        positions,
        whole,
        pieces,
        median_correlation(whole.ratemaps[lattice], compared),
        median_correlation(pieces.ratemaps[lattice], compared),
    )


def _walk(steps: np.ndarray) -> Walk:
    """Return the walks that steps [W, T, 2] make."""
    return Walk(jnp.asarray(steps), jnp.asarray(np.cumsum(steps, axis=1, dtype=np.float64)))


def median_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson r between maps [N, y, x] over their common bins, median over the units."""
    both = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    if both.sum() < 2:
        return np.nan
    one, two = (maps[:, both] for maps in (first, second))
    one, two = one - one.mean(axis=1, keepdims=True), two - two.mean(axis=1, keepdims=True)
    spread = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    return median((one * two).sum(axis=1)[spread > 0] / spread[spread > 0])


def _path_integration(run: Run, reference: RateMaps, wide: Walked) -> PathIntegration:
    """Measure along long walks in the reference maps' box and along short ones in the largest."""
    long = walk(run, reference.box_m, DRIFT_WALKS, DRIFT_STEPS)
    spans = np.unique(np.geomspace(10, DRIFT_STEPS, 25).astype(int))
    against_map = (long.states, long.positions, spans, reference.ratemaps, reference.box_m)
    samples = wide.samples(SAMPLES)
    turns = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    headings = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return PathIntegration(
        separation=distance_against_separation(*samples, _SEPARATIONS_M),
        same_place=distance_at_same_place(long.states, long.positions, spans[::2]),
        drift=drift(*against_map),
        conformality=conformality(
            *samples,
            np.asarray(run.transition(jnp.asarray(STEP_M * headings))),
            STEP_M,
            box_m=BOXES_M[-1],
            bins=_SPEED_BINS,
        ),
        explained=explained_by_maps(*against_map),
    )


def _training_range(run: Run) -> float:
    """Return the radius in metres that 99 % of the training positions stay within."""
    data = run.config.data
    shape, largest = (2000, data.trajectory_length, 2), data.max_velocity
    if run.method.velocities is None:
        velocities = np.random.default_rng(0).uniform(-largest, largest, shape)
    else:
        keys = jax.random.split(jax.random.key(0), shape[0])
        velocities = np.asarray(jax.vmap(run.method.velocities)(keys))
    positions = velocities.cumsum(axis=1)
    return float(np.quantile(np.linalg.norm(positions, axis=-1), 0.99))
