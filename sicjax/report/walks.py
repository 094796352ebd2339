"""Walks along which a report measures a network.

Letters: W walks, T steps, N units; S samples. Lengths in metres.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sicjax.network.trajectories import Walk, smooth_walks
from sicjax.run import DROPPED_STEPS, MEAN_SPEED, Run


@dataclass(frozen=True)
class Walked:
    """Walks from the start, and a network's states along them."""

    steps: np.ndarray  # [W, T, 2] metres per step
    positions: np.ndarray  # [W, T, 2] after each step
    states: np.ndarray  # [W, T, N]

    def samples(self, count: int, box_m: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Return states [S, N] and positions [S, 2] in random order, without the first steps."""
        places = self.positions[:, DROPPED_STEPS:].reshape(-1, 2)
        codes = self.states[:, DROPPED_STEPS:].reshape(len(places), -1)
        inside = np.flatnonzero(np.abs(places).max(axis=1) <= box_m / 2)
        some = np.random.default_rng(0).permutation(inside)[:count]
        return codes[some], places[some]


def walk(run: Run, box_m: float, num_walks: int, num_steps: int) -> Walked:
    """Run a network along smooth walks like those of the maps."""
    drawn = draw_walks(run, box_m, num_walks, num_steps)
    states = run.rollout(drawn.steps, exact=False)
    return Walked(np.asarray(drawn.steps), np.asarray(drawn.positions), np.asarray(states))


def draw_walks(run: Run, box_m: float, num_walks: int, num_steps: int) -> Walk:
    """Draw smooth walks at the mean speed of the maps."""
    largest = run.config.data.max_velocity
    return smooth_walks(
        jax.random.key(1), num_walks=num_walks, num_steps=num_steps, box_m=box_m,
        max_velocity=largest, mean_speed=MEAN_SPEED * largest,
    )  # fmt: skip


def walks_of(steps: np.ndarray) -> Walk:
    """Return the walks with these steps [W, T, 2]."""
    return Walk(jnp.asarray(steps), jnp.asarray(np.cumsum(steps, axis=1, dtype=np.float64)))


def training_range(run: Run) -> float:
    """Return the radius in metres within which 99 % of the training positions lie."""
    data = run.config.data
    shape, largest = (2000, data.trajectory_length, 2), data.max_velocity
    if run.method.velocities is None:
        velocities = np.random.default_rng(0).uniform(-largest, largest, shape)
    else:
        keys = jax.random.split(jax.random.key(0), shape[0])
        velocities = np.asarray(jax.vmap(run.method.velocities)(keys))
    positions = velocities.cumsum(axis=1)
    return float(np.quantile(np.linalg.norm(positions, axis=-1), 0.99))
