"""Measure the dynamics of a network: ambiguity, attractor, relations of its modules.

Letters: W walks, T steps, N units, S states, K modules. Lengths in metres.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sicjax.analysis.ambiguity import map_distances
from sicjax.analysis.attractor import STEPS, Attractor, measure_attractor
from sicjax.analysis.manifold import NEIGHBOURS, REACH_M, square_distances
from sicjax.analysis.modules import Modules
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.relations import (
    Coupling,
    ModuleDrifts,
    measure_coupling,
    measure_drifts,
    relate_modules,
)
from sicjax.devices.compilation import jit_once
from sicjax.network.model import norm_relu
from sicjax.report.results import Dynamics
from sicjax.report.walks import Walked, draw_walks, walk
from sicjax.run import Run
from sicjax.training.method import Parameters, TransitionNetwork, make_hypernetwork
from sicjax.training.step import make_init

REACH_OF_MAP_M = 2.0, 3.0  # shortest and longest; beyond 3 m the 4 m box holds few pairs
PAIRED = 3000  # states whose distances are compared
AMPLITUDES = (0.1, 0.2, 0.5)  # of perturbations, relative to the norm of a state
NOISES = (0.02, 0.05)  # in every step, the same
PERTURBED, REFERENCES = 48, 1200  # states: perturbed, and representing the manifold
MANIFOLD_WALKS, MANIFOLD_BOX_M = 60, 2.0  # walks from which, and box in which, both are taken
DRIFT_WALKS, DRIFT_STEPS = 48, 1000  # along which the modules' phases are read
DISPLACED, DISPLACED_AT, FOLLOWED = 48, 20, 60  # states, after which step, for how many steps


def untrained(run: Run) -> Run:
    """Return the network of the same config and seed before its first update, for comparison."""
    init = make_init(run.config, run.method)
    # Compiled as one program instead of one per operation, and without the optimiser's state.
    parameters = jit_once(lambda seed: init(seed).parameters)(jnp.uint32(run.seed))
    return dataclasses.replace(run, parameters=jax.tree.map(np.asarray, parameters))


def reach_of_map(verdict_box_m: float) -> float:
    """Return the largest displacement of the map of distances: half the verdict's box, bounded."""
    shortest, longest = REACH_OF_MAP_M
    return min(max(verdict_box_m / 2, shortest), longest)


def measure_dynamics(
    run: Run, walked: Walked, find_modules: Callable[[], Modules], maps: RateMaps
) -> Dynamics:
    """Measure the dynamics of a network.

    Args:
        run: the network.
        walked: many short walks of this network, in a box larger than MANIFOLD_BOX_M.
        find_modules: returns the modules of its grid cells. It may have to wait for them, so it
            is called after everything that needs no modules.
        maps: of short walks, which show the modules' phases before they drift.
    """
    null = untrained(run)
    few = walked.steps[:MANIFOLD_WALKS]
    states = np.asarray(null.rollout(few, exact=False))
    again = Walked(few, walked.positions[: len(few)], states)
    reach_m = reach_of_map(run.config.evaluation.verdict_box)
    places = map_distances(*walked.samples(PAIRED), reach_m=reach_m)
    attractors = _attractor(run, walked), _attractor(null, again)
    modules = find_modules()
    lattices, members = modules.lattice, modules.members
    several = len(members) > 1
    return Dynamics(
        places=places,
        attractor=attractors[0],
        untrained=attractors[1],
        relations=relate_modules(lattices) if several else None,
        drifts=_drifts(run, maps, members, lattices) if several else None,
        coupling=_coupling(run, walked, maps, members, lattices) if several else None,
    )


def _attractor(run: Run, walked: Walked) -> Attractor | None:
    """Perturb states of the first walks; all other states of these walks represent the manifold."""
    first = Walked(*(part[:MANIFOLD_WALKS] for part in dataclasses.astuple(walked)))
    states, positions = first.samples(PERTURBED + REFERENCES, MANIFOLD_BOX_M)
    dense = PERTURBED + _dense(positions[PERTURBED:])
    if not states.any(axis=1).all() or len(dense) <= NEIGHBOURS:
        return None
    on_walks = np.asarray(draw_walks(run, MANIFOLD_BOX_M, PERTURBED, STEPS[-1]).steps)
    return measure_attractor(
        _step_of(run), states[:PERTURBED], states[dense], positions[dense], on_walks,
        key=jax.random.key(2), jacobian=_jacobian_of(run), amplitudes=AMPLITUDES, noises=NOISES,
    )  # fmt: skip


def _dense(places: np.ndarray) -> np.ndarray:
    """Return indices of places [R, 2] with NEIGHBOURS of them, itself included, within reach."""
    kept = np.arange(len(places))
    while kept.size:
        near = (square_distances(places[kept], places[kept]) <= REACH_M**2 - 1e-6).sum(axis=1)
        if near.min() >= NEIGHBOURS:
            break
        kept = kept[near >= NEIGHBOURS]
    return kept


def _drifts(run: Run, maps: RateMaps, members: Any, lattices: np.ndarray) -> ModuleDrifts:
    walked = walk(run, maps.box_m, DRIFT_WALKS, DRIFT_STEPS)
    when = np.unique(np.geomspace(10, DRIFT_STEPS, 13).astype(int))
    return measure_drifts(
        walked.states, walked.positions, maps.ratemaps, maps.box_m, members, lattices, when
    )


def _coupling(
    run: Run, walked: Walked, maps: RateMaps, members: Any, lattices: np.ndarray
) -> Coupling:
    """Displace modules by a tenth of the finest period, early in walks."""
    at, until = DISPLACED_AT, DISPLACED_AT + FOLLOWED
    finest = np.linalg.norm(lattices, axis=-1).mean(axis=-1).min()
    return measure_coupling(
        _step_of(run), walked.states[:DISPLACED, at], walked.positions[:DISPLACED, at],
        walked.steps[:DISPLACED, at + 1 : until + 1], *walked.samples(REFERENCES, maps.box_m),
        maps.ratemaps, maps.box_m, members, lattices, displacement_m=finest / 10,
    )  # fmt: skip


def _step_of(run: Run) -> Callable[[Any, Any], np.ndarray]:
    """Return the network as a function of states [..., S, N] and velocities, [S, 2] or [2]."""
    network = make_hypernetwork(run.config, run.method)
    parameters = jax.tree.map(jnp.asarray, run.parameters)

    def step(states: Any, velocities: Any) -> np.ndarray:
        given = np.asarray(states, np.float32)
        sets = given.reshape(-1, *given.shape[-2:])  # a program takes as many as AMPLITUDES
        padded = np.pad(sets, [(0, -len(sets) % len(AMPLITUDES)), (0, 0), (0, 0)])
        parts = [
            _step(network, parameters, part, np.float32(velocities))
            for part in np.split(padded, len(padded) // len(AMPLITUDES))
        ]
        return np.concatenate(parts)[: len(sets)].reshape(given.shape)

    return step


@partial(jax.jit, static_argnums=0)
def _step(
    network: TransitionNetwork, parameters: Parameters, states: jax.Array, velocities: jax.Array
) -> jax.Array:
    """Take one step of a walk; compiled once for each network and shape."""
    transitions = jnp.asarray(network.apply(parameters.hypernetwork, velocities))
    pushed = jnp.einsum("...mn,...n->...m", transitions, states, precision="highest")
    return norm_relu(pushed)


def _jacobian_of(run: Run) -> Callable[[np.ndarray], np.ndarray]:
    """Return states [S, N] -> Jacobians [S, N, N] of a step at rest."""
    still = run.transition(jnp.zeros(2))
    return lambda states: np.asarray(_jacobian(still, states))


@jax.jit
def _jacobian(transition: jax.Array, states: jax.Array) -> jax.Array:
    return jax.vmap(jax.jacrev(lambda state: norm_relu(transition @ state)))(states)
