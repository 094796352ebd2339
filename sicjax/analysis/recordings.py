"""Rate maps, verdicts and modules of recorded cells, from a path and spike times.

Letters: N cells; K steps of 20 ms that count; M spike trains of one cell; y, x bins of a map.
Lengths in metres, times in seconds, angles in degrees counter-clockwise from +x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis import lattice
from sicjax.analysis.grid_score import MANY, score_chunks, score_ratemaps
from sicjax.analysis.inputs import check_number, check_shuffles, warn
from sicjax.analysis.modules import MIN_UNITS, Modules, check_min_units, find_modules
from sicjax.analysis.ratemaps import (
    bin_index,
    bin_positions,
    smooth_ratemaps,
    spatial_information,
)
from sicjax.analysis.recorded_kinds import MIN_SPIKES, above_information, cell_kinds, lacking
from sicjax.analysis.sessions import STEP_S, Session, read_session
from sicjax.analysis.shuffles import generator
from sicjax.analysis.time_shifts import draw_shifts, warn_of_repeats
from sicjax.analysis.units import UnitAnalysis, above_null, lattice_fits
from sicjax.progress import track
from sicjax.workers import available_cores, worker_processes

# Time shifts in a call from which worker processes are worth their start, and most of these. Each
# process takes about 350 MB, and a shift about 0.7 ms of one core.
MANY_SHIFTS, MOST_PROCESSES = 30_000, 16
BINS = (10, 400)  # per side of a map: at least 10 for a lattice, at most 400 for any arena


@dataclass(frozen=True, repr=False)
class RecordingAnalysis(UnitAnalysis):
    """Scores, verdicts, maps and modules of N recorded cells, with time shifts as the null.

    Fields that are not listed here mean the same as in `UnitAnalysis`.
    """

    spatial_information: np.ndarray  # [N] bits per spike
    null_threshold: np.ndarray  # [N] 99th percentile of `grid_score` of the cell's own time shifts
    names: tuple[Any, ...]  # N, from the input; numbers from 0 if it has none
    num_spikes: np.ndarray  # [N] int, while the animal was tracked, in the arena and moving
    mean_rate_hz: np.ndarray  # [N]
    peak_rate_hz: np.ndarray  # [N] highest bin of the map
    stability: np.ndarray  # [N] correlation of the maps of the first and the second half
    information_threshold: np.ndarray  # [N] 99th percentile of the cell's own time shifts, bits
    ratemaps: np.ndarray  # [N, bins, bins] Hz, axis 0 is y, axis 1 is x; NaN where unvisited
    occupancy_s: np.ndarray  # [bins, bins] seconds per bin
    box_m: float  # side of the square that the maps cover, metres: the arena's longer side
    sides_m: tuple[float, float]  # of the arena, along x and y; the diameter of a circle twice
    centre_m: tuple[float, float]  # of the arena and the maps, in the coordinates of the recording
    arena: str  # square, rectangle or circle
    duration_s: float  # while the animal was tracked, in the arena and moving
    modules: Modules  # of the grid cells
    null: np.ndarray  # [N, S] grid scores of the cell's own time shifts; NaN without a null
    parameters: dict[str, Any]  # arguments of the scoring, by name

    def _title(self) -> str:
        return f"{super()._title()}; {self.modules.summary}"


def score_recording(
    times: Any,
    positions: Any,
    spike_times: Any,
    *,
    unit: str | None = None,
    time: str | None = None,
    units: str | float | None = None,
    arena: str | None = None,
    box_m: ArrayLike | None = None,
    centre_m: ArrayLike | None = None,
    bin_m: float = 0.025,
    smoothing_m: float = 0.025,
    min_occupancy_s: float = 0.04,
    min_speed: float = 0.025,
    max_speed: float = 2.0,
    max_gap_s: float = 0.5,
    num_shuffles: int = 100,
    min_shift_s: float = 20.0,
    min_units: int = MIN_UNITS,
    seed: int = 0,
    key: Any = None,
    progress: bool = True,
) -> RecordingAnalysis:
    """Score recorded cells from the animal's path and their spike times.

    A cell is a grid cell if four conditions hold. Its grid score and its ellipse-corrected grid
    score are both above the 99th percentile of two time-shift nulls: the cell's own and the pooled
    one. The waves of its lattice explain at least a third of the variance that position explains
    (two thirds in maps of fewer than 5 fields). The lattice is nearer to a hexagon than to a
    square.

    A place cell is not a grid cell, has fewer than 5 fields, and its spatial information is above
    both nulls. (Information is pooled in standard deviations of each cell's own null, because its
    bias falls with the number of spikes.)

    The null shifts the spikes against the path by at least `min_shift_s`; spikes shifted past the
    end continue at the beginning. This keeps the spike train and the path, and removes only their
    relation. It also decides in arenas with too few fields for the null of `analyze_ratemaps`. On a
    path that repeats itself, such as a simulated Lissajous figure, some shifts change nothing and
    the null is too strict. A warning then says so.

    Args:
        times: [S] seconds, rising; None uses the times that come with the positions.
        positions: [S, 2] x and y, NaN where the tracker lost the animal; or a pynapple `TsdFrame`,
            or a `SpatialSeries` of an NWB file.
        spike_times: of N cells, in seconds, rising: a list of arrays, a dict of them, a pynapple
            `TsGroup` (or one `Ts`), a pandas `Series` of arrays, or a table with one spike per row
            (a data frame, a structured array, a dict of columns) together with `unit` and `time`.
        unit: the column of the table that says which cell fired.
        time: the column of the table that holds the times, seconds.
        units: of the positions: "m", "cm", "mm", or a number, the metres per unit. The default is
            the conversion that an NWB file states; else the unit in which the path is as long as
            `box_m`; else metres or centimetres, whichever gives an arena of at most 1.5 m.
            Required for larger arenas: their positions may be decimetres or pixels.
        arena: "square", "rectangle" or "circle"; by default the path decides between the first two.
        box_m: side, sides (x, y) or diameter, metres; by default the extent of the path.
        centre_m: (x, y) of the arena, metres; by default the middle of the path.
        bin_m: side of a bin, metres.
        smoothing_m: standard deviation of the Gaussian that smooths spikes and occupancy, each
            before the division, metres; 0 for none. 0.05 is usual for maps to look at; it
            lengthens periods by 2 %.
        min_occupancy_s: a bin with fewer seconds counts as unvisited: NaN.
        min_speed: metres per second; slower moments are left out.
        max_speed: metres per second. Samples that the animal could reach only at a higher speed
            are left out as lost; a higher median speed is an error. 2 is above any rat's speed;
            give more for a bat.
        max_gap_s: longer gaps of the tracker are left out; shorter ones are bridged by a line.
        num_shuffles: time shifts per cell; a 99th percentile needs at least 100. From 30,000 shifts
            of all cells on, each core gets a process of its own, up to 16; the numbers stay.
        min_shift_s: least shift, seconds of usable time.
        min_units: fewest grid cells of a module, from 3.
        seed: a whole number, for the shifts; the same as `key=jax.random.key(seed)`.
        key: a JAX key, instead of a seed.
        progress: whether to show a bar if the shifts take more than two seconds.

    Returns:
        A `RecordingAnalysis` with arrays of length N. A cell without spikes is "silent", one with
        fewer than 50 is "undetermined". On a track (narrower than 0.2 m, or a path that fills less
        than a quarter of its box) no lattice is judged, so a cell without a place field is
        "undetermined".

    Raises:
        TypeError: times, positions or spikes in a form not listed above.
        ValueError: any other bad input, in one line that names the argument. Warnings of one line
            say what was assumed (units, the arena's place) or left out (lost samples, spikes
            outside the session, samples outside the arena).

    Source: Langston et al. 2010 (shifts of at least 20 s), Gardner et al. 2022 (2.5 cm/s), Skaggs
        et al. 1993 (spatial information), opexebo (2.5 cm bins; it smooths by two of them); grid
        scores as in `analyze_ratemaps`.

    Example:
        >>> import numpy as np, sicjax
        >>> rng = np.random.default_rng(0)
        >>> times = np.arange(0, 600, 0.02)  # 10 minutes at 50 Hz, of an animal at 0.2 m/s
        >>> heading = np.cumsum(rng.normal(0, 0.15, 30_000))
        >>> walk = np.cumsum(0.004 * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
        >>> positions = np.arcsin(np.sin(np.pi * walk)) / np.pi  # walls of a box of 1 m reflect it
        >>> rate = 15 * np.exp(-((positions - [0.2, 0.1]) ** 2).sum(axis=1) / (2 * 0.1**2))  # Hz
        >>> spikes = times[rng.random(30_000) < rate * 0.02]
        >>> cells = sicjax.score_recording(times, positions, [spikes])
        >>> cells.kind.tolist(), round(cells.box_m, 2), cells.ratemaps.shape
        (['place'], 1.0, (1, 40, 40))
    """
    check_number("bin_m", bin_m, "metres", above=0.0)
    check_number("smoothing_m", smoothing_m, "metres", least=0.0)
    check_number("min_occupancy_s", min_occupancy_s, "seconds", least=0.0)
    check_number("min_shift_s", min_shift_s, "seconds", above=0.0)
    check_shuffles(num_shuffles)
    check_min_units(min_units)
    rng = generator(key, seed)
    session = read_session(
        times, positions, spike_times, unit=unit, time=time, units=units, arena=arena, box_m=box_m,
        centre_m=centre_m, min_speed=min_speed, max_speed=max_speed, max_gap_s=max_gap_s,
    )  # fmt: skip
    # All cells share one path and one occupancy, so the path is binned once.
    path = _bin_path(session, bin_m, smoothing_m, min_occupancy_s)
    if not session.track:
        warn_of_repeats(
            session.positions,
            min_shift_s,
            'a grid cell may be called "other" (analyze_ratemaps(cells.ratemaps, cells.box_m)'
            " judges the maps without time shifts)",
        )
    # Shuffles take most of the time, so cells with too few spikes for a verdict get none.
    candidates = np.flatnonzero([len(spikes) >= MIN_SPIKES for spikes in session.spikes])
    null, null_information = _shift_null(
        path, [session.spikes[n] for n in candidates], num_shuffles, min_shift_s, rng, progress
    )
    parameters = {
        "bin_m": bin_m, "smoothing_m": smoothing_m, "min_occupancy_s": min_occupancy_s,
        "min_speed": min_speed, "max_speed": max_speed, "max_gap_s": max_gap_s,
        "num_shuffles": num_shuffles, "min_shift_s": min_shift_s, "min_units": min_units,
        "seed": seed if key is None else "of a key",
    }  # fmt: skip
    return _verdicts(session, path, candidates, null, null_information, parameters)


def count_bins(box_m: float, bin_m: float) -> int:
    """Return the number of bins along a side of a map; ValueError unless it is 10 to 400."""
    bins = round(box_m / bin_m)
    if not BINS[0] <= bins <= BINS[1]:
        raise ValueError(
            f"bin_m is {bin_m:g}: {bins} bins along the {box_m:g} m of the arena; it must be"
            f" {BINS[0]} to {BINS[1]} bins (are units and box_m right?)"
        )
    return bins


class _Path(NamedTuple):
    """A path in bins, with its occupancy and the width of the smoothing."""

    places: np.ndarray  # [K] bin y * bins + x of each step
    occupancy_s: np.ndarray  # [bins, bins]
    visited: np.ndarray  # [bins, bins] bool
    sigma_bins: float  # standard deviation of the smoothing, bins
    box_m: float


def _bin_path(session: Session, bin_m: float, smoothing_m: float, min_occupancy_s: float) -> _Path:
    """Put the path into bins of the square around the arena."""
    box_m = max(session.sides_m)
    bins = count_bins(box_m, bin_m)
    offset = np.abs(bin_positions(box_m, bins))
    within = (offset <= np.divide(session.sides_m, 2)).all(axis=-1)
    if session.arena == "circle":
        within = np.hypot(offset[..., 0], offset[..., 1]) <= box_m / 2
    edge = box_m / 2 * (1 - 1e-9)  # a sample on the arena's edge belongs to the bin beside it
    places = bin_index(np.clip(session.positions, -edge, edge), box_m, bins)
    time = STEP_S * np.bincount(places, minlength=bins**2).reshape(bins, bins)
    visited = (time > 0) & (time > min_occupancy_s - STEP_S / 2)
    if session.arena == "circle":
        visited &= within
    if session.track:
        warn(
            f"positions: {session.track}; lattices can't be judged there, and no cell is called"
            " grid, square or band (along a track: linear_ratemaps)"
        )
    elif (share := visited[within].mean()) < 0.5:
        warn(
            f"positions: {share:.0%} of the arena's bins were visited for {min_occupancy_s:g} s by"
            " the moving animal; a lattice needs most of them: use larger bins or a longer session"
        )
    return _Path(places, time, visited, smoothing_m * bins / box_m, box_m)


def _rate_maps(path: _Path, trains: np.ndarray) -> np.ndarray:
    """Return smoothed maps [M, y, x] in Hz of trains [M, spikes] of steps; NaN where unvisited."""
    size = path.visited.size
    places = path.places[trains] + size * np.arange(len(trains))[:, None]
    counts = np.bincount(places.ravel(), minlength=size * len(trains))
    rates = counts.reshape(-1, *path.visited.shape) / np.where(path.visited, path.occupancy_s, 1.0)
    return smooth_ratemaps(
        np.where(path.visited, rates, np.nan), path.sigma_bins, occupancy=path.occupancy_s
    )


def _shift_null(
    path: _Path,
    spikes: Sequence[np.ndarray],
    num_shuffles: int,
    min_shift_s: float,
    rng: np.random.Generator,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Score every train under time shifts against the path; shifted spikes wrap around.

    Returns:
        scores [N, S, 3] as those of `shuffled_scores`; spatial information [N, S].
    """
    scores = np.empty((len(spikes), num_shuffles, 3))
    information = np.empty(scores.shape[:2])
    many = scores[..., 0].size >= MANY_SHIFTS
    with worker_processes(min(available_cores(), MOST_PROCESSES) if many else 0) as workers:
        # The shifts are drawn here, in order, so the number of processes changes nothing.
        waiting = [
            workers.later(
                _score_shifted, path, train,
                draw_shifts(len(path.places), num_shuffles, min_shift_s, rng),
            )
            for train in spikes
        ]  # fmt: skip
        for n, wait in enumerate(track(waiting, "time shifts", show=progress)):
            scores[n], information[n] = wait()
    return np.nan_to_num(scores, nan=-2.0), information


def _score_shifted(
    path: _Path, train: np.ndarray, shifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores [S, 3] and spatial information [S] of one train under each shift [S, 1]."""
    scores, information = np.empty((len(shifts), 3)), np.empty(len(shifts))
    for start in range(0, len(shifts), MANY):  # memory for some shifts of the spikes, not for all
        part = slice(start, start + MANY)
        maps = _rate_maps(path, (train + shifts[part]) % len(path.places))
        scores[part] = score_chunks(maps)[1]
        information[part] = spatial_information(maps, occupancy=path.occupancy_s)
    return scores, information


def _verdicts(
    session: Session,
    path: _Path,
    candidates: np.ndarray,
    null: np.ndarray,
    null_information: np.ndarray,
    parameters: dict[str, Any],
) -> RecordingAnalysis:
    """Score the cells' own maps and compare them with the nulls."""
    maps = np.concatenate(
        [np.empty((0, *path.visited.shape)), *(_rate_maps(path, s[None]) for s in session.spikes)]
    )
    # [N] each: scores and lattice of every cell's own map, compared with its own and the pooled
    # null.
    scores = score_ratemaps(maps, path.box_m)
    phase, share = lattice_fits(maps, scores.axes_m, path.box_m)
    above, threshold = above_null(scores, candidates, null)
    information = spatial_information(maps, occupancy=path.occupancy_s)
    informative, least_information = above_information(information, candidates, null_information)

    num_spikes = np.array([len(spikes) for spikes in session.spikes], dtype=int)
    # Later rules override earlier ones: too little data is stronger than any score.
    kind, num_fields = cell_kinds(maps, path.box_m, scores, share, above, informative)
    if session.track:
        kind[kind != "place"] = "undetermined"
    kind[num_spikes < MIN_SPIKES] = "undetermined"
    kind[num_spikes == 0] = "silent"
    because = lacking(kind, scores, share, above, num_spikes, session.track)
    aspect, tilt = lattice.ellipse(scores.axes_m)
    num_steps = len(path.places)
    units = UnitAnalysis(
        grid_score=scores.grid_score,
        grid_score_corrected=scores.grid_score_corrected,
        square_score=scores.square_score,
        num_fields=num_fields,
        spacing_m=scores.spacing_m,
        orientation_deg=lattice.orientation_deg(scores.axes_m),
        ellipse_aspect=aspect,
        ellipse_tilt_deg=tilt,
        phase=phase,
        lattice=scores.axes_m,
        spatial_information=information,
        null_threshold=threshold,
        is_grid=kind == "grid",
        module=np.full(len(maps), -1),
        kind=kind,
        not_grid_because=because,
    )
    # Grouping needs the finished verdicts, so `module` is filled in afterwards.
    modules = find_modules(units, min_units=parameters["min_units"])
    # [N, S]: NaN for the cells that were not shuffled.
    own_null = np.full((len(maps), parameters["num_shuffles"]), np.nan)
    own_null[candidates] = null[:, :, 0]
    return RecordingAnalysis(
        **(vars(units) | {"module": modules.labels}),
        names=session.names,
        num_spikes=num_spikes,
        mean_rate_hz=num_spikes / (num_steps * STEP_S),
        peak_rate_hz=maps.max(axis=(1, 2), initial=-np.inf, where=np.isfinite(maps)),
        stability=_stability(path, session.spikes),
        information_threshold=least_information,
        ratemaps=maps,
        occupancy_s=path.occupancy_s,
        box_m=path.box_m,
        sides_m=session.sides_m,
        centre_m=session.centre_m,
        arena=session.arena,
        duration_s=num_steps * STEP_S,
        modules=modules,
        null=own_null,
        parameters=parameters,
    )


def _stability(path: _Path, spikes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the correlation [N] of each cell's maps of the first and the second half.

    NaN if either map is constant, as for a cell that was silent in one half.
    """
    middle = len(path.places) // 2
    parts = []
    for start, stop in ((0, middle), (middle, len(path.places))):
        places = path.places[start:stop]
        time = STEP_S * np.bincount(places, minlength=path.visited.size).reshape(path.visited.shape)
        half = path._replace(places=places, occupancy_s=time, visited=path.visited & (time > 0))
        parts.append(
            [_rate_maps(half, s[(s >= start) & (s < stop)][None] - start)[0] for s in spikes]
        )
    stability = np.full(len(spikes), np.nan)
    for n, (first, second) in enumerate(zip(*parts, strict=True)):
        both = np.isfinite(first) & np.isfinite(second)
        if both.any() and np.ptp(first[both]) > 0 and np.ptp(second[both]) > 0:
            stability[n] = np.corrcoef(first[both], second[both])[0, 1]
    return stability
