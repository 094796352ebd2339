"""Relations between modules of one network: sublattices of one torus, or independent lattices.

Letters: K lattices (modules), P pairs of them, C candidates for a common lattice; W walks,
T steps, L of them (counted from 1), N units, M of them in a module. Lengths in metres, angles in
degrees, phases in cycles.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.lattice import (
    cell_area,
    orientation_deg,
    reduce_basis,
    relative_strain,
    shortest_pair,
    three_axes,
)
from sicjax.analysis.manifold import rectified
from sicjax.analysis.module_phases import drift_of_phase, is_readable
from sicjax.analysis.ratemaps import check_ratemaps

MAX_INDEX = 4  # largest index of a common lattice in the coarsest one
LEVEL = 0.01  # p below which a relation does not count as chance
PERIODS = 3.0  # largest ratio of periods in the null, the range of the paper's three modules
VERDICTS = ("same", "nested", "common", "unrelated")

_DRAWS = 20_000


@dataclass(frozen=True)
class Relation:
    """The smallest common lattice of K lattices, and its probability by chance."""

    bases_m: np.ndarray  # [K, 2, 2] rows span each lattice, reduced
    basis_m: np.ndarray  # [2, 2] rows span the common lattice, as the coarsest one has it
    matrices: np.ndarray  # [K, 2, 2] int: matrices[k] @ bases_m[k] is basis_m, up to the error
    index: np.ndarray  # [K] int, cells of each lattice in a cell of the common one: |det matrices|
    error: float  # largest relative displacement that makes the common lattices of all K one
    turn_deg: np.ndarray  # [K] orientation against the coarsest lattice, in [-30, 30)
    p: float  # chance of as good a relation between lattices of random periods and orientations
    p_turn: float  # the same with the periods as they are and random orientations
    verdict: str  # "same", "nested" (the coarsest is the common one), "common", "unrelated"


@dataclass(frozen=True)
class ModuleRelations:
    """Relations of K modules, pair by pair and all together."""

    pairs: Mapping[tuple[int, int], Relation]  # by the two modules' numbers, the first one smaller
    whole: Relation | None  # of all K; None for fewer than two


@dataclass(frozen=True)
class ModuleDrifts:
    """Drifts of the phases of K modules from the true place, and their correlations.

    All numbers of a module whose phase can't be read, and of its pairs, are NaN.
    """

    steps: np.ndarray  # [L] steps since the start of the walks
    drift_m: np.ndarray  # [K, W, L, 2] place by the module's phase minus true place, unwrapped
    rms_m: np.ndarray  # [K, L] root mean square over walks
    pairs: tuple[tuple[int, int], ...]  # P pairs of modules
    difference_m: np.ndarray  # [P, L] root mean square of the difference of their drifts
    correlation: np.ndarray  # [P, L] of their drifts over walks, NaN where nothing drifts
    null: np.ndarray  # [P, L] 95th percentile of that correlation between different walks
    p: np.ndarray  # [P, L] chance of the correlation, at least 1 / W


@dataclass(frozen=True)
class Coupling:
    """Response of all modules to a displacement of one of them."""

    steps: np.ndarray  # [T + 1] since the displacement, from 0
    displacement_m: float
    shift_m: (
        np.ndarray
    )  # [K, K, T + 1] displaced module, observed module, steps: along the displacement


def relate_modules(lattices_m: ArrayLike) -> ModuleRelations:
    """Find the common lattice of every pair of modules, and of all modules.

    See `relate_lattices`.

    Args:
        lattices_m: [K, 3, 2] axes or [K, 2, 2] bases (x, y), as `Modules.lattice`.
    """
    given = np.asarray(lattices_m, dtype=float)
    pairs = {
        pair: relate_lattices(given[list(pair)]) for pair in combinations(range(len(given)), 2)
    }
    if len(pairs) < 2:
        return ModuleRelations(pairs, next(iter(pairs.values()), None))
    return ModuleRelations(pairs, relate_lattices(given))


def relate_lattices(lattices_m: ArrayLike) -> Relation:
    """Find the smallest common lattice of K lattices, up to an error.

    Candidates are the sublattices of the coarsest lattice up to MAX_INDEX. Each is written in the
    basis of every other lattice and rounded to an integer matrix. F is the linear map from the
    rounded lattice to the candidate. The error of a candidate is the norm of F - 1: the largest
    displacement of a point, relative to its distance. It does not depend on the bases.

    The candidates are ranked by chance. A lattice has about n sublattices of its own shape with
    indices up to n, and a random lattice comes within e of one of them with a probability
    proportional to n e^2. So the best candidate has the smallest product of all indices and of the
    error to the power 2 K - 2.

    In the null every lattice but the coarsest is turned at random, and its period is drawn
    log-uniformly down to a third of the coarsest period; shapes stay. p is the probability that the
    best candidate of random lattices, of any indices, is as good.

    For instance, two lattices are nested in a hexagonal lattice of period L. One has period
    L / sqrt 3, is turned by 30 degrees and has index 3; the other has period L / 2 and index 4.
    These two have the lattice of period L in common.

    Args:
        lattices_m: [K, 3, 2] axes or [K, 2, 2] bases (x, y), K at least 2.

    Raises:
        ValueError: another shape, fewer than two, or a lattice that isn't finite or has no area.
    """
    bases = _check_lattices(lattices_m)
    area = cell_area(bases)
    coarsest = int(np.argmax(area))
    others = np.delete(np.arange(len(bases)), coarsest)
    # A common lattice of all K is also a sublattice of the coarsest one: few candidates.
    sublattices, index = _sublattices()
    candidates = reduce_basis(sublattices @ bases[coarsest])
    matrices, errors = relative_strain(candidates, bases[others])
    merit = _merit(matrices, errors, index)
    best = int(np.argmin(merit))
    # The coarsest lattice has no fitted matrix: its candidate is exact, an integer matrix times it.
    found = np.empty((len(bases), 2, 2), int)
    found[others] = matrices[best]
    found[coarsest] = np.rint(candidates[best] @ np.linalg.inv(bases[coarsest]))
    cells = np.rint(cell_area(found)).astype(int)
    # Two nulls: random periods and turns, then random turns alone. A +1 counts the data themselves.
    ratio = np.sqrt(area[coarsest] / area[others])
    null = (_turned(bases[others], ratio, scaled=scaled) for scaled in (True, False))
    chance = (_merit(*relative_strain(candidates, random), index).min(axis=-1) for random in null)
    p, p_turn = ((np.sum(drawn <= merit[best]) + 1) / (_DRAWS + 1) for drawn in chance)
    # Orientations repeat after 60 degrees; the difference is wrapped into [-30, 30).
    angles = orientation_deg(three_axes(bases))
    return Relation(
        bases_m=bases,
        basis_m=candidates[best],
        matrices=found,
        index=cells,
        error=float(errors[best].max()),
        turn_deg=(angles - angles[coarsest] + 30) % 60 - 30,
        p=float(p),
        p_turn=float(p_turn),
        verdict=_verdict(cells, cells[coarsest], p < LEVEL),
    )


def _check_lattices(lattices_m: ArrayLike) -> np.ndarray:
    """Return reduced bases [K, 2, 2] of K >= 2 lattices."""
    given = np.asarray(lattices_m, dtype=float)
    if given.ndim != 3 or given.shape[1:] not in ((2, 2), (3, 2)) or len(given) < 2:
        raise ValueError(
            f"lattices_m has shape {given.shape}; it must be [K, 3, 2] axes or [K, 2, 2] bases,"
            " K at least 2"
        )
    bases = reduce_basis(shortest_pair(given))
    if not (np.isfinite(given).all() and (cell_area(bases) > 0).all()):
        raise ValueError("lattices_m: every lattice must be finite, its vectors not in one line")
    return bases


def _sublattices() -> tuple[np.ndarray, np.ndarray]:
    """Return all sublattices up to MAX_INDEX: Hermite normal forms [C, 2, 2], and indices [C]."""
    forms = [
        [[index // d, b], [0, d]]
        for index in range(1, MAX_INDEX + 1)
        for d in range(1, index + 1)
        if index % d == 0
        for b in range(d)
    ]
    matrices = np.array(forms)
    return matrices, matrices[:, 0, 0] * matrices[:, 1, 1]


def _merit(matrices: np.ndarray, errors: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rank candidates, the best one lowest: product of all indices and error^(2 K - 2).

    Args:
        matrices: [..., C, K - 1, 2, 2] of the lattices but the coarsest.
        errors: [..., C, K - 1].
        index: [C] in the coarsest lattice.
    """
    worst = np.maximum(errors.max(axis=-1), 1e-12)  # exact relations are ranked by index
    cells = np.maximum(cell_area(matrices), 1).prod(axis=-1)
    return index * cells * worst ** (2 * errors.shape[-1])


def _turned(bases: np.ndarray, ratio: np.ndarray, *, scaled: bool) -> np.ndarray:
    """Turn bases [K, 2, 2] at random -> [D, K, 2, 2], and draw their periods too when `scaled`.

    `ratio` [K] is that of the coarsest lattice's period to theirs.
    """
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, (_DRAWS, len(bases)))
    drawn = np.maximum(ratio, PERIODS) ** rng.random((_DRAWS, len(bases)))
    size = ratio / drawn if scaled else np.ones_like(drawn)
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=-1)
    return size[..., None, None] * (bases @ turn.reshape(*angle.shape, 2, 2))


def _verdict(cells: np.ndarray, coarsest: int, related: bool) -> str:
    if not related:
        return "unrelated"
    if coarsest > 1:
        return "common"
    return "same" if cells.max() == 1 else "nested"


def measure_drifts(
    states: ArrayLike, positions: ArrayLike, ratemaps: ArrayLike, box_m: float,
    members: Sequence[ArrayLike], lattices_m: ArrayLike, steps: ArrayLike,
) -> ModuleDrifts:  # fmt: skip
    """Decode each module's phase along walks, and compare how the modules drift.

    Modules that are sublattices of one torus can only drift together, by one displacement in
    metres. Modules on separate tori drift independently, and their difference grows like the drift
    itself. A module that is silent in parts of its unit cell can't be read
    (`module_phases.is_readable`).

    Args:
        states: [W, T, N], of walks that start where the maps do.
        positions: [W, T, 2], the true places.
        ratemaps: [N, bins, bins], the code before it drifts: maps of short walks.
        box_m: side of their box.
        members: K arrays of unit indices, as `Modules.members`.
        lattices_m: [K, 3, 2] axes, as `Modules.lattice`.
        steps: [L] numbers of steps, from 1 to T, at which drift is reported.

    Raises:
        ValueError: shapes that don't match, or fewer than two walks.
    """
    codes, places = np.asarray(states), np.asarray(positions, dtype=float)
    if codes.ndim != 3 or places.shape != (*codes.shape[:2], 2) or len(codes) < 2:
        raise ValueError(
            f"states {codes.shape} and positions {places.shape}: must be [W, T, N] and [W, T, 2],"
            " W at least 2"
        )
    maps, axes = check_ratemaps(ratemaps), np.asarray(lattices_m, dtype=float)
    when, units = np.asarray(steps), [np.asarray(module) for module in members]
    if len(maps) != codes.shape[2] or axes.shape != (len(members), 3, 2):
        raise ValueError(
            f"ratemaps {maps.shape} and lattices_m {axes.shape}: must be of {codes.shape[2]} units"
            f" and [{len(members)}, 3, 2]"
        )
    # [K, W, L, 2] in metres, because phases of modules of different periods are not comparable.
    drifts = np.stack(
        [
            drift_of_phase(codes[..., module], places, maps[module], box_m, lattice, when)
            if is_readable(maps[module], box_m, lattice)
            else np.full((len(codes), len(when), 2), np.nan)
            for module, lattice in zip(units, axes, strict=True)
        ]
    )
    pairs = tuple(combinations(range(len(members)), 2))
    # Without a pair of modules all three are empty, which the reshape keeps.
    compared = [_correlations(drifts[one], drifts[two]) for one, two in pairs]
    correlation, null, p = np.array(compared).reshape(len(pairs), 3, len(when)).swapaxes(0, 1)
    difference = [_rms(drifts[one] - drifts[two]) for one, two in pairs]
    return ModuleDrifts(
        steps=when,
        drift_m=drifts,
        rms_m=_rms(drifts),
        pairs=pairs,
        difference_m=np.array(difference).reshape(len(pairs), len(when)),
        correlation=correlation,
        null=null,
        p=p,
    )


def measure_coupling(
    step: Callable[[np.ndarray, np.ndarray], Any], states: ArrayLike, positions: ArrayLike,
    velocities: ArrayLike, reference: ArrayLike, reference_positions: ArrayLike,
    ratemaps: ArrayLike, box_m: float, members: Sequence[ArrayLike], lattices_m: ArrayLike, *,
    displacement_m: float = 0.1,
) -> Coupling:  # fmt: skip
    """Displace one module alone, let the network run, and measure whether all agree again.

    The units of that module get the activity of another place, in a random direction for each
    state. Then states are rectified and normalised. Modules on one torus pull each other to a
    common shift; modules on separate tori keep their places. Shifts are measured from the
    undisturbed state on the same walk, so a shared drift does not count. Shifts of a module that
    can't be read, as in `measure_drifts`, are NaN.

    Args:
        step: states [S, N] and velocities [S, 2] -> states [S, N], of any S.
        states: [S, N] early in walks.
        positions: [S, 2], where they are.
        velocities: [S, T, 2] of the walks from there on, metres per step.
        reference: [R, N] states that short walks visit, from which activity is taken.
        reference_positions: [R, 2].
        ratemaps: [N, bins, bins], the code before it drifts: maps of short walks.
        box_m: side of their box.
        members: K arrays of unit indices, as `Modules.members`.
        lattices_m: [K, 3, 2] axes, as `Modules.lattice`.
        displacement_m: well below half of the finest period.
    """
    codes, starts = np.asarray(states, dtype=np.float32), np.asarray(positions, dtype=float)
    cloud, maps = np.asarray(reference, dtype=np.float32), check_ratemaps(ratemaps)
    walks = np.asarray(velocities, dtype=np.float32)
    units, axes = [np.asarray(module) for module in members], np.asarray(lattices_m, dtype=float)
    # Directions are spread evenly over the states, so no direction of the lattice is preferred.
    angle = 2 * np.pi * np.arange(len(codes)) / len(codes)
    heading = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    target = starts + displacement_m * heading
    gap = np.asarray(reference_positions, dtype=float) - target[:, None]
    there = cloud[(gap**2).sum(axis=-1).argmin(axis=1)]
    path = np.cumsum(np.concatenate([starts[:, None], walks], axis=1), axis=1)

    starts_of = [codes]
    for module in units:  # side by side: undisturbed first, then one module elsewhere
        mixed = codes.copy()
        mixed[:, module] = there[:, module]
        starts_of.append(rectified(mixed))
    orbit = [np.concatenate(starts_of)]
    for velocity in np.tile(walks, (len(starts_of), 1, 1)).swapaxes(0, 1):
        orbit.append(np.asarray(step(orbit[-1], velocity)))
    walked, paths = np.stack(orbit, axis=1), np.tile(path, (len(starts_of), 1, 1))
    drifts = np.stack(
        [
            drift_of_phase(walked[..., module], paths, maps[module], box_m, lattice)
            if is_readable(maps[module], box_m, lattice)
            else np.full(paths.shape, np.nan)
            for module, lattice in zip(units, axes, strict=True)
        ]
    ).reshape(len(units), len(starts_of), *path.shape)
    shifts = drifts[:, 1:] - drifts[:, :1]  # [K, K displaced, S, T + 1, 2]
    along = np.median(np.einsum("kmstd,sd->mkst", shifts, heading), axis=2)
    return Coupling(np.arange(path.shape[1]), displacement_m, along)


def _rms(drifts: np.ndarray) -> np.ndarray:
    """Return the root mean square length over walks of drifts [..., W, L, 2] -> [..., L]."""
    return np.sqrt((drifts**2).sum(axis=-1).mean(axis=-2))


def _correlations(
    first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlate two drifts [W, L, 2]: correlation, its null's 95th percentile and its p, each [L].

    The null pairs the walks of the first drift with other walks of the second.
    """
    one, two = first - first.mean(axis=0), second - second.mean(axis=0)
    spread = np.sqrt((one**2).sum(axis=(0, 2)) * (two**2).sum(axis=(0, 2)))
    shifted = np.stack([np.roll(two, shift, axis=0) for shift in range(len(two))])
    products = np.einsum("wld,swld->sl", one, shifted)
    all_r = np.where(spread > 0, products / np.where(spread > 0, spread, 1), np.nan)
    p = (all_r[1:] >= all_r[0]).mean(axis=0) * (1 - 1 / len(two)) + 1 / len(two)
    return all_r[0], np.percentile(all_r[1:], 95, axis=0), np.where(np.isnan(all_r[0]), np.nan, p)
