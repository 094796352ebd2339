"""A trained network: load it, roll it out, map it.

Letters: N units, T steps, W walks. Lengths in metres; maps [N, y, x] as described at `RateMaps`.
"""

import dataclasses
import itertools
import json
import os
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from sicjax import config as config_module
from sicjax.checkpoint import Checkpoints
from sicjax.config import ConfigError
from sicjax.model import PRECISION, norm_relu, rollout
from sicjax.training import (
    FAILURES,
    PAPER,
    Method,
    Parameters,
    TrainState,
    make_init,
    make_transition,
)
from sicjax.trajectories import Walk, smooth_walks

BIN_M = 0.04  # side of a bin in every box
WALK_STEPS = 2000  # of the long walks
SHORT_WALK_STEPS = 120
DROPPED_STEPS = 10  # of each walk: some units fire only there, and carry g_0 rather than a place
MIN_VISITS = 20  # of every bin


class RateMaps(NamedTuple):
    """Mean activity per position bin.

    Axis 0 of a map is y, axis 1 is x, both increasing; the box is centred on the walks' start;
    bin i is centred on (i + 1/2) * box_m / bins - box_m / 2. NaN marks unvisited bins.
    """

    ratemaps: np.ndarray  # [N, bins, bins]
    occupancy: np.ndarray  # [bins, bins] number of visits
    box_m: float  # side of the box, metres
    variance_explained: np.ndarray  # [N] share of a unit's variance that is between bins; NaN: none


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained network, its config and where it comes from."""

    config: ConfigDict  # of its variant
    parameters: Parameters
    network: int = 0  # index in its population
    step: int = 0  # updates done
    failure: str | None = None  # what went non-finite, if anything did
    variant: str = "default"  # name of the settings it was trained with
    method: Method = PAPER  # parts of one's own

    @classmethod
    def from_state(
        cls, config: ConfigDict, state: TrainState, network: int, method: Method = PAPER
    ) -> "Run":
        """The network of a population's config that a training state holds."""
        variant = config_module.members(config)[network].variant
        return cls(
            config_module.of_variant(config, variant), state.parameters, network,
            int(state.step), failure_of(state, network), variant, method,
        )  # fmt: skip

    @property
    def seed(self) -> int:
        """The seed that the network was initialised and fed with."""
        return self.config.seed + self.network % self.config.num_networks

    @property
    def initial_state(self) -> Array:
        """g_0, [N]."""
        return norm_relu(self.parameters.initial_direction)

    def transition(self, velocities: Array) -> Array:
        """W(v): [..., 2] metres per step -> [..., N, N]."""
        return make_transition(self.config, self.method)(self.parameters, velocities)

    @cached_property
    def _rollout(self):
        transition = make_transition(self.config, self.method)

        @jax.jit
        def run(parameters: Parameters, velocities: Array) -> Array:
            start = norm_relu(parameters.initial_direction)
            return rollout(partial(transition, parameters), start, velocities)

        return run

    def rollout(self, velocities: ArrayLike) -> Array:
        """Run the network along velocities, from its learned initial state.

        Args:
            velocities: [..., T, 2] metres per step.

        Returns:
            States [..., T, N]; state t is the one after step t.

        Raises:
            ValueError: velocities that aren't [..., T, 2] or aren't finite.
        """
        given = np.asarray(velocities, np.float32)
        if given.ndim < 2 or given.shape[-1] != 2:
            raise ValueError(f"velocities {given.shape}: must be [..., T, 2]")
        if not np.isfinite(given).all():
            raise ValueError("velocities: must be finite")
        return self._rollout(self.parameters, given)

    def ratemaps(
        self, box_m: float = 2.0, *, walk_steps: int = WALK_STEPS, key: Array | None = None
    ) -> RateMaps:
        """Rate maps from smooth walks that start at the centre of a square box.

        As many walks are drawn as it takes to visit every bin at least 20 times; the first 10
        steps of each are dropped; nothing is smoothed.

        Args:
            box_m: side of the box, metres; bins are 4 cm.
            walk_steps: steps of each walk: 2,000 (the default) shows what survives drift,
                120 the code near the start of a walk.
            key: for the walks; by default the same for every network.

        Returns:
            `RateMaps`, maps [N, bins, bins].

        Raises:
            ValueError: a box smaller than one bin, or walks too short to fill it.
        """
        if not (np.isfinite(box_m) and box_m >= BIN_M):
            raise ValueError(f"box_m={box_m}: must be at least {BIN_M} m")
        if walk_steps <= DROPPED_STEPS:
            raise ValueError(f"walk_steps={walk_steps}: must be more than {DROPPED_STEPS}")
        walks = _walks_that_fill(
            jax.random.key(0) if key is None else key,
            box_m, walk_steps, self.config.data.max_velocity,
        )  # fmt: skip
        return self.map_walks(walks, box_m)

    def map_walks(self, walks: list[Walk], box_m: float) -> RateMaps:
        """Rate maps from given walks; steps outside the box are left out.

        Args:
            walks: each with leaves [W, T, 2].
            box_m: side of the box around the walks' start, metres.
        """
        bins = num_bins(box_m)
        totals = np.zeros(bins**2 + 1), *np.zeros((2, bins**2 + 1, self.config.model.num_units))
        for walk in walks:
            index = bin_index(np.asarray(walk.positions), box_m)
            index[:, :DROPPED_STEPS] = bins**2
            parts = _accumulate(self._step, self.parameters, walk.steps, jnp.asarray(index), bins)
            for total, part in zip(totals, parts, strict=True):
                total += np.asarray(part)
        return _to_ratemaps(totals, box_m)

    @cached_property
    def _step(self):
        transition = make_transition(self.config, self.method)

        def step(parameters: Parameters, states: Array, velocities: Array) -> Array:
            transitions = transition(parameters, velocities)
            return norm_relu(jnp.einsum("wij,wj->wi", transitions, states, precision=PRECISION))

        return step


def load_run(workdir: str | os.PathLike, network: int = 0, *, method: Method = PAPER) -> Run:
    """Load a network from the latest checkpoint of a run.

    Args:
        workdir: the run's folder.
        network: index in its population.
        method: the parts of your own that it was trained with.

    Raises:
        FileNotFoundError: the folder holds no run, or one without a checkpoint yet.
        IndexError: no such network.
        ConfigError: the run was trained with another method.

    Example:
        >>> import sicjax
        >>> run = sicjax.load_run("runs/quick")  # doctest: +SKIP
        >>> run.ratemaps(box_m=2.0).ratemaps.shape  # doctest: +SKIP
        (128, 50, 50)
    """
    folder = Path(workdir)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"workdir={folder}: no config.json, so no run")
    config = config_module.from_json((folder / "config.json").read_text())
    last = len(config_module.members(config)) - 1
    if not 0 <= network <= last:
        raise IndexError(f"network={network}: {folder} has networks 0 to {last}")
    check_recorded_method(folder, method, "transition")
    if not (folder / "checkpoints").is_dir():
        raise FileNotFoundError(f"workdir={folder}: no checkpoint yet")
    with Checkpoints(folder / "checkpoints") as checkpoints:
        if (step := checkpoints.latest_step) is None:
            raise FileNotFoundError(f"workdir={folder}: no checkpoint yet")
        states = checkpoints.restore(step, state_shapes(config, method))
    return Run.from_state(config, jax.tree.map(lambda leaf: leaf[network], states), network, method)


def check_recorded_method(folder: Path, method: Method, *parts: str) -> None:
    """See that the method.json of a run with a method of one's own names this method.

    Args:
        folder: the workdir.
        method: the method given now.
        parts: names of the parts that must agree; all when none is named.

    Raises:
        ConfigError: a part differs.
    """
    path = folder / "method.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    now = method.describe()
    for part in parts or before | now:
        if before.get(part) != now.get(part):
            raise ConfigError(
                f"workdir={folder} belongs to another experiment: method.{part} was"
                f" {before.get(part, 'not given')}, now {now.get(part, 'not given')}"
            )


def state_shapes(config: ConfigDict, method: Method = PAPER) -> TrainState:
    """Shapes and types [P, ...] of a population's training state."""
    seeds = jax.ShapeDtypeStruct((len(config_module.members(config)),), jnp.uint32)
    return jax.eval_shape(jax.vmap(make_init(config, method)), seeds)


def failure_of(state: TrainState, network: int) -> str | None:
    """One line that names network, step and term if the network went non-finite."""
    if state.failed_step < 0:
        return None
    term = FAILURES[int(state.failed_term)]
    return f"network {network}: {term} is not finite at step {int(state.failed_step)}"


def num_bins(box_m: float) -> int:
    """Bins along a side of a box."""
    return round(box_m / BIN_M)


def bin_index(positions: np.ndarray, box_m: float) -> np.ndarray:
    """[..., 2] metres from the box's centre -> [...] index y * bins + x; bins^2 outside the box."""
    bins = num_bins(box_m)
    cell = np.floor((positions + box_m / 2) * (bins / box_m)).astype(np.int32)
    inside = ((cell >= 0) & (cell < bins)).all(axis=-1)
    return np.where(inside, cell[..., 1] * bins + cell[..., 0], bins**2)


def _walks_that_fill(key: Array, box_m: float, walk_steps: int, max_velocity: float) -> list[Walk]:
    """As few walks as give every bin its visits, drawn in batches of 128,000 steps."""
    bins = num_bins(box_m)
    at_once = max(1, 128_000 // walk_steps)
    visits = np.zeros(bins**2 + 1, int)
    walks: list[Walk] = []
    most = 200 * MIN_VISITS * bins**2 // (at_once * (walk_steps - DROPPED_STEPS)) + 20
    for batch in range(most):
        walk = smooth_walks(
            jax.random.fold_in(key, batch), num_walks=at_once, num_steps=walk_steps,
            box_m=box_m, max_velocity=max_velocity, mean_speed=0.4 * max_velocity,
        )  # fmt: skip
        index = bin_index(np.asarray(walk.positions)[:, DROPPED_STEPS:], box_m)
        quarters = np.linspace(0, at_once, 5).astype(int) if at_once >= 4 else np.arange(2)
        for first, last in itertools.pairwise(quarters):
            visits += np.bincount(index[first:last].ravel(), minlength=bins**2 + 1)
            if visits[:-1].min() >= MIN_VISITS:
                return [*walks, jax.tree.map(lambda leaf, last=last: leaf[:last], walk)]
        walks.append(walk)
    raise ValueError(
        f"box_m={box_m}, walk_steps={walk_steps}: walks this short don't reach every bin; take a"
        " smaller box or longer walks"
    )


@partial(jax.jit, static_argnames=("step", "bins"))
def _accumulate(step, parameters: Parameters, velocities: Array, index: Array, bins: int):
    """Visits [bins^2 + 1] and sums of activity and of its square [bins^2 + 1, N] over walks."""
    start = norm_relu(parameters.initial_direction)
    num_walks, num_units = velocities.shape[0], start.shape[0]

    def advance(carry, now):
        states, visits, sums, squares = carry
        velocity, cell = now
        states = step(parameters, states, velocity)
        return (
            states,
            visits.at[cell].add(1),
            sums.at[cell].add(states),
            squares.at[cell].add(states**2),
        ), None

    zeros = jnp.zeros((bins**2 + 1, num_units))
    carry = (
        jnp.broadcast_to(start, (num_walks, num_units)),
        jnp.zeros(bins**2 + 1, jnp.int32),
        zeros,
        zeros,
    )
    return lax.scan(advance, carry, (jnp.moveaxis(velocities, 1, 0), index.T))[0][1:]


def _to_ratemaps(totals: Sequence[np.ndarray], box_m: float) -> RateMaps:
    """From visits [bins^2 + 1] and sums of activity and of its square [bins^2 + 1, N]."""
    visits, sums, squares = (total[:-1] for total in totals)
    bins = num_bins(box_m)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / visits[:, None]
        number = visits.sum()
        overall = sums.sum(axis=0) / number
        variance = squares.sum(axis=0) / number - overall**2
        between = np.nansum(visits[:, None] * (means - overall) ** 2, axis=0) / number
        explained = np.where(variance > 1e-12, between / variance, np.nan)
    return RateMaps(
        ratemaps=means.T.reshape(-1, bins, bins),
        occupancy=visits.reshape(bins, bins).astype(int),
        box_m=float(box_m),
        variance_explained=explained,
    )
