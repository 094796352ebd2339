"""Attractor dynamics: the return of perturbed states, gains, and drift by noise.

Letters: S states, N units, R reference states, A amplitudes, K numbers of steps, L lengths of
products, Q quantiles. Lengths in metres; distances and amplitudes relative to the norm of a state.

The network is a function `step(states [..., S, N], velocities) -> [..., S, N]` that broadcasts as
NumPy does: velocities are [S, 2], one for each state, or [2], one for all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sicjax.analysis.manifold import (
    Manifold,
    fit_manifold,
    locate,
    rectified,
    shift_between,
    square_distances,
    tangents_at,
)
from sicjax.analysis.shuffles import generator

AMPLITUDES = (0.05, 0.1, 0.2, 0.5)
NOISES = (0.02, 0.05, 0.1)
STEPS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 20, 25, 30, 40, 50, 60, 80, 100)
NOISE_STEPS = (1, 2, 5, 10, 20, 35, 50, 70, 100, 150, 200)
LENGTHS = (1, 10, 30)  # of products of Jacobians, steps
QUANTILES = (0.1, 0.5, 0.9)
RETURNED = 0.02  # excess distance to the manifold, below which a state is back on it

Step = Callable[[np.ndarray, np.ndarray], Any]


@dataclass(frozen=True)
class Return:
    """Perturbed states as a function of steps; medians over states."""

    steps: np.ndarray  # [K] int, from 0
    amplitudes: np.ndarray  # [A] of the perturbations
    distance: np.ndarray  # [A, K] distance to the manifold, in excess of `floor`
    floor: np.ndarray  # [K] distance of the unperturbed states to the manifold
    from_twin: np.ndarray  # [A, K] distance to the unperturbed state
    shift_m: np.ndarray  # [A, K] distance along the manifold from the unperturbed state
    # Share [A, K] of the shift at step 0 that is left, in its direction. Meaningless (noise) for
    # pushes across.
    shift_left: np.ndarray
    returned: np.ndarray  # [A] first step from which the distance stays below 2 %, or NaN


@dataclass(frozen=True)
class Gains:
    """Factors by which steps at rest scale the smallest displacements; quantiles over states.

    These are derivatives, which see every ripple of the manifold. A displacement of centimetres can
    behave differently: see `Return.shift_left`.
    """

    lengths: np.ndarray  # [L] int, steps in a row
    along: np.ndarray  # [L, Q] the two singular values of each state within the tangent plane
    across: np.ndarray  # [L, Q] root mean square over directions across it, staying across
    across_largest: np.ndarray  # [L, Q] the worst of those directions


@dataclass(frozen=True)
class NoiseDrift:
    """Movement of states along the manifold by noise in every step at rest."""

    steps: np.ndarray  # [K] int
    amplitudes: np.ndarray  # [A] root mean square length of the noise of a step
    shift_m: np.ndarray  # [A, K] root mean square shift against the noiseless state
    distance: np.ndarray  # [A, K] median distance to the manifold
    floor: np.ndarray  # [K] the same for noiseless states
    diffusion: np.ndarray  # [A] m^2 per step: a quarter of the slope of the mean square shift


@dataclass(frozen=True)
class Attractor:
    """All attractor measures of one network."""

    across: Return  # after a random displacement off the manifold, at rest
    along: Return  # after a displacement towards a neighbouring place, at rest
    across_walking: Return  # the same two on walks
    along_walking: Return
    gains: Gains
    noise: NoiseDrift
    rest_shift_m: np.ndarray  # [K] median shift of the unperturbed states at rest since step 0
    tangent_share: float  # of the local variance of the reference states, in two dimensions


def measure_attractor(
    step: Step, states: ArrayLike, reference: ArrayLike, reference_positions: ArrayLike,
    walks: ArrayLike, *, key: Any, jacobian: Callable[[np.ndarray], Any] | None = None,
    amplitudes: Sequence[float] = AMPLITUDES, noises: Sequence[float] = NOISES,
) -> Attractor:  # fmt: skip
    """Measure whether states return to the manifold, keep shifts along it, and drift by noise.

    Args:
        step: the network (see the module).
        states: [S, N] on the manifold, of norm 1.
        reference: [R, N] some thousand states of short walks, which have not drifted yet.
        reference_positions: [R, 2] metres.
        walks: [S, T, 2] velocities, T at least the largest of `STEPS`.
        key: a JAX key.
        jacobian: states [S, N] -> [S, N, N] of the step at rest; finite differences if not given.
        amplitudes: of perturbations.
        noises: of the noise.

    Raises:
        ValueError: shapes that don't match, or too few reference states for a tangent plane.
    """
    codes, velocities = np.asarray(states, dtype=np.float32), np.asarray(walks, dtype=np.float32)
    manifold = fit_manifold(reference, reference_positions)
    if codes.ndim != 2 or codes.shape[1] != manifold.states.shape[1]:
        raise ValueError(f"states {codes.shape}: must be [S, {manifold.states.shape[1]}]")
    length = velocities.shape[1] if velocities.ndim == 3 else 0
    if velocities.shape != (len(codes), length, 2) or length < STEPS[-1]:
        raise ValueError(
            f"walks {velocities.shape}: must be [{len(codes)}, T, 2], T at least {STEPS[-1]}"
        )
    # One generator draws all directions and noises, so the order of these calls fixes the numbers.
    rng = generator(key)
    rest = np.zeros((STEPS[-1], 2), np.float32)
    moving = velocities.swapaxes(0, 1)
    off = perturb_across(codes, manifold, amplitudes, rng)
    on = perturb_along(codes, manifold, amplitudes, rng)
    # Each perturbed state is compared with its undisturbed twin, so drift of both cancels.
    still = _orbit(step, codes, rest, STEPS)
    walking = _orbit(step, codes, moving, STEPS)
    shifts = [np.linalg.norm(shift_between(manifold, codes, later), axis=-1) for later in still]

    def returning(perturbed: np.ndarray, twins: np.ndarray, velocities: np.ndarray) -> Return:
        return follow(step, perturbed, twins, velocities, manifold, amplitudes)

    return Attractor(
        across=returning(off, still, rest),
        along=returning(on, still, rest),
        across_walking=returning(off, walking, moving),
        along_walking=returning(on, walking, moving),
        gains=measure_gains(step, codes, manifold, jacobian=jacobian),
        noise=measure_noise_drift(step, codes, manifold, noises, rng),
        rest_shift_m=np.median(shifts, axis=-1),
        tangent_share=manifold.tangent_share,
    )


def perturb_across(
    states: np.ndarray, manifold: Manifold, amplitudes: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Displace states [S, N] off the manifold, in random directions -> [A, S, N].

    Directions are orthogonal to the state and to the tangent plane. The result is rectified and
    normalised as all states are, which reduces the displacement.
    """
    direction = rng.standard_normal(states.shape)
    tangents = tangents_at(manifold, states)
    for axis in (states, *tangents.swapaxes(0, 1)):
        direction -= (direction * axis).sum(-1, keepdims=True) * axis
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return rectified(states + np.asarray(amplitudes)[:, None, None] * direction)


def perturb_along(
    states: np.ndarray, manifold: Manifold, amplitudes: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Displace states [S, N] towards the states of neighbouring places -> [A, S, N].

    The neighbour is a reference state in a random direction on the ground, the one whose distance
    is nearest to the amplitude. The displacement is along the chord.
    """
    place = locate(manifold, states)[1]
    angle = rng.uniform(0, 2 * np.pi, len(states))
    heading = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    ahead = manifold.positions_m - place[:, None]  # [S, R, 2]
    length = np.linalg.norm(ahead, axis=-1)
    forward = np.einsum("srd,sd->sr", ahead, heading) > 0.9 * length  # within 26 degrees
    usable = forward & (length < manifold.reach_m)
    distance = np.sqrt(square_distances(states, manifold.states))
    perturbed = []
    for amplitude in amplitudes:
        miss = np.where(usable, np.abs(distance - amplitude), np.inf)
        chord = manifold.states[miss.argmin(axis=1)] - states
        chord /= np.maximum(np.linalg.norm(chord, axis=-1, keepdims=True), 1e-12)
        perturbed.append(rectified(states + amplitude * chord))
    return np.stack(perturbed)


def follow(
    step: Step, perturbed: np.ndarray, twins: np.ndarray, velocities: np.ndarray,
    manifold: Manifold, amplitudes: Sequence[float], *, steps: Sequence[int] = STEPS,
) -> Return:  # fmt: skip
    """Run perturbed states beside their twins, and measure where they are.

    Args:
        step: the network.
        perturbed: [A, S, N] at step 0.
        twins: [K, S, N], unperturbed, at each number of steps.
        velocities: [T, 2] or [T, S, 2], for both.
        manifold: surface to which distances are measured.
        amplitudes: [A] of the perturbations.
        steps: [K].
    """
    orbits = _orbit(step, perturbed, velocities, steps)  # [K, A, S, N]
    floor, place = locate(manifold, twins)
    distance, moved = locate(manifold, orbits, place[:, None])
    shift = moved - place[:, None]
    excess = _excess(distance, floor[:, None]).T
    return Return(
        steps=np.asarray(steps),
        amplitudes=np.asarray(amplitudes),
        distance=excess,
        floor=np.median(floor, axis=-1),
        from_twin=np.median(np.linalg.norm(orbits - twins[:, None], axis=-1), axis=-1).T,
        shift_m=np.median(np.linalg.norm(shift, axis=-1), axis=-1).T,
        shift_left=_left(shift).T,
        returned=np.array([_back(np.asarray(steps), line) for line in excess]),
    )


def _excess(distance: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return the root [...] of the median over states [..., S] of distance^2 - floor^2.

    The floor is the distance of the same state unperturbed: the thickness of the cloud that walks
    visit, and its curvature between reference states. A random displacement is orthogonal to both,
    so squares subtract.
    """
    return np.sqrt(np.maximum(np.median(distance**2 - floor**2, axis=-1), 0))


def _left(shift: np.ndarray) -> np.ndarray:
    """Project shifts [K, A, S, 2] on the first ones; return median shares [K, A] over states."""
    first = shift[0]
    square = np.maximum((first**2).sum(axis=-1), 1e-12)
    return np.median((shift * first).sum(axis=-1) / square, axis=-1)


def _back(steps: np.ndarray, excess: np.ndarray) -> float:
    """Return the first number of steps from which on the excess stays below 2 %; NaN if never."""
    away = np.flatnonzero(excess >= RETURNED)
    first = away[-1] + 1 if away.size else 0
    return float(steps[first]) if first < len(steps) else np.nan


def measure_gains(
    step: Step, states: np.ndarray, manifold: Manifold, *,
    jacobian: Callable[[np.ndarray], Any] | None = None, lengths: Sequence[int] = LENGTHS,
) -> Gains:  # fmt: skip
    """Measure how steps at rest scale small displacements along and across the manifold.

    A single rectified, normalised step may be non-normal, so products of several steps are
    measured, too. A neutral direction has gain 1, a corrected one a gain below 1.

    Args:
        step: the network.
        states: [S, N] on the manifold.
        manifold: its tangent planes separate along from across.
        jacobian: states [S, N] -> [S, N, N] of the step at rest; central differences if not given.
        lengths: [L] numbers of steps, rising.
    """
    derive = jacobian if jacobian is not None else _central_differences(step)
    rest, now = np.zeros(2, np.float32), states
    product = np.broadcast_to(np.eye(states.shape[1]), (len(states), *(states.shape[1],) * 2))
    start = tangents_at(manifold, states)
    found = []
    for count in range(1, max(lengths) + 1):
        product = np.asarray(derive(now), dtype=np.float64) @ product
        now = np.asarray(step(now, rest))
        if count in lengths:
            end = tangents_at(manifold, now)
            along = np.linalg.svd(end @ product @ start.swapaxes(1, 2), compute_uv=False)
            across = product - (product @ start.swapaxes(1, 2)) @ start
            across = across - end.swapaxes(1, 2) @ (end @ across)
            mean = np.sqrt((across**2).sum(axis=(1, 2)) / (states.shape[1] - 2))
            largest = np.linalg.norm(across, ord=2, axis=(1, 2))
            found.append([np.quantile(values, QUANTILES) for values in (along, mean, largest)])
    along, across, largest = np.array(found).swapaxes(0, 1)
    return Gains(np.asarray(lengths), along, across, largest)


def _central_differences(step: Step) -> Callable[[np.ndarray], np.ndarray]:
    """Return states [S, N] -> Jacobians [S, N, N]; errors of 1e-4 in single precision."""

    def jacobian(states: np.ndarray) -> np.ndarray:
        size = 1e-3
        nudge = size * np.eye(states.shape[1], dtype=np.float32)[:, None]
        rest = np.zeros(2, np.float32)
        ahead, behind = (np.asarray(step(states + sign * nudge, rest)) for sign in (1, -1))
        return np.moveaxis(ahead - behind, 0, -1) / (2 * size)

    return jacobian


def measure_noise_drift(
    step: Step, states: np.ndarray, manifold: Manifold, noises: Sequence[float],
    rng: np.random.Generator,
) -> NoiseDrift:  # fmt: skip
    """Add noise before every step at rest, and follow states along the manifold.

    Diffusion is fitted while the mean square shift is within half of the reach; beyond that a
    periodic code folds it back. <shift^2> = c + 4 D steps, where c is the error of decoding.

    Args:
        step: the network.
        states: [S, N] on the manifold.
        manifold: surface on which places are decoded.
        noises: [A] root mean square length of the noise of a step (each unit's is 1 / sqrt(N) of
            it); noisy states are rectified and normalised.
        rng: random generator.
    """
    size = np.asarray(noises)[:, None, None] / np.sqrt(states.shape[1])
    noisy = np.broadcast_to(states, (len(noises), *states.shape))
    rest, twins = np.zeros(2, np.float32), states
    squares, distances, floors = [], [], []
    for count in range(1, max(NOISE_STEPS) + 1):
        noisy = np.asarray(step(rectified(noisy + size * rng.standard_normal(noisy.shape)), rest))
        twins = np.asarray(step(twins, rest))
        if count in NOISE_STEPS:
            floor, place = locate(manifold, twins)
            distance, moved = locate(manifold, noisy, place)
            squares.append(((moved - place) ** 2).sum(axis=-1).mean(axis=-1))
            distances.append(np.median(distance, axis=-1))
            floors.append(np.median(floor))
    mean_square = np.array(squares).T
    slopes = [_slope(np.asarray(NOISE_STEPS), line, manifold.reach_m / 2) for line in mean_square]
    return NoiseDrift(
        steps=np.asarray(NOISE_STEPS),
        amplitudes=np.asarray(noises),
        shift_m=np.sqrt(mean_square),
        distance=np.array(distances).T,
        floor=np.array(floors),
        diffusion=np.array(slopes) / 4,
    )


def _slope(steps: np.ndarray, mean_square: np.ndarray, reach_m: float) -> float:
    """Return the slope per step of mean squares [K] before one exceeds reach; NaN if under 3."""
    beyond = np.flatnonzero(mean_square > reach_m**2)
    used = slice(0, beyond[0] if beyond.size else len(steps))
    if len(steps[used]) < 3:
        return np.nan
    # The error of a mean square grows with it, so later points weigh less.
    return float(np.polyfit(steps[used], mean_square[used], 1, w=1 / steps[used])[0])


def _orbit(
    step: Step, states: np.ndarray, velocities: np.ndarray, steps: Sequence[int]
) -> np.ndarray:
    """Return states [K, ..., S, N] after each number of steps, from [..., S, N] at step 0."""
    now, kept = states, []
    for count in range(max(steps) + 1):
        if count in steps:
            kept.append(now)
        if count < max(steps):
            now = np.asarray(step(now, velocities[count]))
    return np.stack(kept)
