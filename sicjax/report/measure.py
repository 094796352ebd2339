"""Measure a network: `Run` -> `Evaluation`.

Results that need only rate maps are in `Judged`, which `report_activity` also uses.
Letters: W walks, T steps, N units; S samples, K bins of steps. Lengths in metres.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future

import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from sicjax.analysis.grid_score import Scores, score_ratemaps
from sicjax.analysis.modules import Modules
from sicjax.analysis.path_integration import (
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
from sicjax.report import judge
from sicjax.report.dynamics import measure_dynamics
from sicjax.report.results import (
    BOXES_M,
    SHORT_BOXES_M,
    SPEEDS,
    Evaluation,
    Mapped,
    PathIntegration,
    PathMapped,
)
from sicjax.report.tables import median
from sicjax.report.walks import Walked, training_range, walk, walks_of
from sicjax.run import BATCH_STEPS, MEAN_SPEED, SHORT_WALK_STEPS, WALK_STEPS, Run
from sicjax.workers import Worker, second_thread

PATH_PIECES = 300
DRIFT_WALKS, DRIFT_STEPS = 16, 10_000
SAMPLES = 3000  # states whose distances and speeds are compared
STEP_M, DIRECTIONS = 0.02, 12  # length and number of directions of the steps for conformality
_SEPARATIONS_M = np.arange(0, 3.02, 0.04)
_SPEED_BINS = 20  # bins along a side of the map of speeds
STAGES = 9  # how often `measure` calls `done`


def map_verdict(run: Run) -> Mapped:
    """Return the maps that the verdicts come from; they are measured first."""
    maps = run.ratemaps(run.config.evaluation.verdict_box, progress=False)
    with threadpool_limits(1):  # as in `measure`: another number of threads would round differently
        scores = score_ratemaps(maps.ratemaps, maps.box_m)
    return Mapped(maps, scores, WALK_STEPS, MEAN_SPEED * run.config.data.max_velocity)


def measure(
    run: Run, verdict: Mapped, worker: Worker, *, recorded_path: Walk | None = None,
    torus_rolls: int = 0, done: Callable[[], object] = lambda: None,
) -> Evaluation:  # fmt: skip
    """Measure a network on smooth walks and along a recorded path.

    Args:
        run: the network.
        verdict: its `map_verdict`.
        worker: judges cells and tori while this process measures. The torus tests may still run
            when everything else is done; reading `Evaluation.tori` waits for them.
        recorded_path: a walk with leaves [T, 2], or none.
        torus_rolls: size of the null of each module's torus test; 0 for no null and no verdict; -1
            for the default of the config.
        done: called STAGES times, once after each part.
    """
    verdict_box = verdict.maps.box_m
    judged = worker.beside(worker, judge.judge_units, verdict.maps, judge.SHUFFLES)
    torus_tests = worker.beside(_test_tori, worker, verdict.maps.ratemaps, judged, torus_rolls)
    # A second thread scores maps while this one runs the next walks. More threads of BLAS would
    # spin, waiting for cores that these threads and XLA use.
    with threadpool_limits(1), second_thread() as submit:

        def mapped(box_m: float, steps: int, speed: float) -> tuple[RateMaps, Future[Scores]]:
            largest = run.config.data.max_velocity
            maps = run.ratemaps(box_m, walk_steps=steps, mean_speed=speed * largest, progress=False)
            done()
            return maps, submit(score_ratemaps, maps.ratemaps, box_m)

        boxes = sorted({*BOXES_M, verdict_box})
        drawn = {box: mapped(box, WALK_STEPS, MEAN_SPEED) for box in boxes if box != verdict_box}
        brief = {box: mapped(box, SHORT_WALK_STEPS, MEAN_SPEED) for box in SHORT_BOXES_M}
        other = {name: mapped(BOXES_M[0], WALK_STEPS, SPEEDS[name]) for name in SPEEDS}
        # As many walks at once as in `Run.ratemaps`, because programs for these are compiled
        # already.
        wide = walk(run, BOXES_M[-1], BATCH_STEPS // SHORT_WALK_STEPS, SHORT_WALK_STEPS)
        near_start = brief[SHORT_BOXES_M[0]][0]
        path_integration = _path_integration(run, near_start, wide)
        done()
        largest, usual = run.config.data.max_velocity, verdict.mean_speed
        long = {
            box: verdict if box == verdict_box else Mapped(*_scored(drawn[box]), WALK_STEPS, usual)
            for box in boxes
        }
        glanced = judge.glance(long[BOXES_M[0]])
        path = None
        if recorded_path is not None:
            path = _along(run, recorded_path, long, glanced["lattice"] != "")
        done()
        dynamics = measure_dynamics(run, wide, lambda: judged.result()[1], near_start)
        done()
        units, modules = judged.result()
        return Evaluation(
            **glanced,
            long=long,
            short={
                box: Mapped(*_scored(pair), SHORT_WALK_STEPS, usual, "short")
                for box, pair in brief.items()
            },
            speeds={
                name: Mapped(*_scored(pair), WALK_STEPS, SPEEDS[name] * largest, name)
                for name, pair in other.items()
            },
            units=units,
            modules=modules,
            torus_tests=torus_tests.result,
            path_integration=path_integration,
            dynamics=dynamics,
            path=path,
            training_range_m=training_range(run),
            verdict_box_m=verdict_box,
        )


def _scored(pair: tuple[RateMaps, Future[Scores]]) -> tuple[RateMaps, Scores]:
    maps, scores = pair
    return maps, scores.result()


def _test_tori(
    worker: Worker, ratemaps: np.ndarray, judged: Future[tuple[UnitAnalysis, Modules]], rolls: int
) -> tuple[TorusTest, ...]:
    """Wait for the modules, then test them in the worker that found them."""
    members = judged.result()[1].members
    return worker(judge.judge_modules, ratemaps, members, rolls, judge.LANDMARKS)


def _along(run: Run, path: Walk, smooth: Mapping[float, Mapped], lattice: np.ndarray) -> PathMapped:
    """Map a recorded path, whole and in pieces; correlate both with the maps of smooth walks."""
    steps, positions = np.asarray(path.steps), np.asarray(path.positions)
    reach = np.abs(positions).max()
    box_m = next((box for box in smooth if reach <= box / 2), max(smooth))
    length = min(SHORT_WALK_STEPS, len(steps))
    starts = np.unique(np.linspace(0, len(steps) - length, PATH_PIECES, dtype=int))
    pieces = run.map_walks([walks_of(steps[starts[:, None] + np.arange(length)])], box_m)
    whole = run.map_walks([walks_of(steps[None])], box_m)
    compared = smooth[box_m].maps.ratemaps[lattice]
    return PathMapped(
        positions,
        whole,
        pieces,
        median_correlation(whole.ratemaps[lattice], compared),
        median_correlation(pieces.ratemaps[lattice], compared),
    )


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
    """Measure path integration: long walks in the 2 m box, short walks in the largest box."""
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
