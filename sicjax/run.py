"""A trained network: load it, roll it out, map it.

Letters: N units, T steps, W walks. Lengths in metres; maps [N, y, x] as in `analysis.ratemaps`.
"""

import base64
import dataclasses
import html
import io
import itertools
import operator
import os
import sys
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from sicjax.analysis.ratemaps import ActivitySums, RateMaps, bin_index
from sicjax.arguments import POSITIVE, Rule, at_least, check, check_key
from sicjax.devices.compilation import large_programs
from sicjax.network.model import Hypernetwork, norm_relu
from sicjax.network.rollout import Factors, factorise, rollout_factorised
from sicjax.network.trajectories import Walk, smooth_walks
from sicjax.paths import path as as_path
from sicjax.progress import track
from sicjax.training.checkpoint import restore_rows
from sicjax.training.checkpoint_files import latest_intact
from sicjax.training.method import (
    PAPER,
    Method,
    Parameters,
    check_is,
    check_to_load,
    make_hypernetwork,
    make_transition,
)
from sicjax.training.population import Population
from sicjax.training.rollouts import check_not_forked, checked_velocities, fork, rollout
from sicjax.training.step import TrainState, failure_of
from sicjax.training.weights import write_weights
from sicjax.training.workdir import read_config, recorded_method
from sicjax.version import __version__

BIN_M = 0.04  # side of a bin in every box, metres
WALK_STEPS = 2000  # steps of the long walks

SHORT_WALK_STEPS = 120
DROPPED_STEPS = 10  # of each walk: some units are active only there, and carry g_0, not a place
MIN_VISITS = 20  # least visits of every bin
BATCH_STEPS = 128_000  # steps, in all, of the walks that are drawn and run at once
MEAN_SPEED = 0.4  # mean speed of smooth walks, relative to the largest velocity component
TOLERANCE = 1e-5  # relative error of W in evaluation rollouts, and so of each step of the state
ROUNDING = 1e-5  # rounding of velocities that are differences of positions, relative to the largest
BOX = Rule(lambda side: BIN_M <= side < np.inf, f"one side, at least {BIN_M} m")
INDEX = Rule(lambda value: isinstance(operator.index(value), int), "an integer")
SHOWN_UNITS, SHOWN_BOX_M = 12, 1.0  # units in a notebook's picture of a run
WIDTHS, PIECE_STEPS = (16, 48), 40  # walks and steps that a program of fast rollouts runs
WIDE = (64, 256)  # walks on an accelerator, where more walks take hardly longer
GRID = 45  # velocities per side for factorising W: finer than any feature of a trained W


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained network, its config and where it comes from.

    `train`, `load_run` and `load_pretrained` return one.

    Source: ours; the network is that of Schaeffer et al. 2023, section 3.

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> run = sicjax.load_pretrained("quick")
        >>> run.initial_state.shape, run.transition(jnp.zeros(2)).shape
        ((64,), (64, 64))
        >>> run.ratemaps(box_m=0.4).ratemaps.shape  # N, y, x
        (64, 10, 10)
    """

    config: ConfigDict  # config of its variant, in the last stage that its training reached
    parameters: Parameters
    network: int = 0  # index in its population
    step: int = 0  # updates done
    failure: str | None = None  # what went non-finite; None if nothing did
    variant: str = "default"  # name of its settings
    method: Method = PAPER  # replaced parts

    def __post_init__(self) -> None:
        fork.jax_runs = True

    @classmethod
    def from_state(cls, population: Population, state: TrainState, network: int) -> "Run":
        """Return one network of a population from its training state."""
        step, method = int(state.step), population.method
        return cls(
            population.config_of(network, step), state.parameters, network, step,
            failure_of(state, network, method), population.members[network].variant, method,
        )  # fmt: skip

    def __repr__(self) -> str:
        """Describe the run in two lines, and a failure in a third."""
        model, own = self.config.model, sorted(self.method.describe())
        width = f"H {model.hidden_width}" if "transition" not in own else "its own transition"
        lines = [
            f"Run: network {self.network}, seed {self.seed}, {self.step:,} updates,"
            f" variant {self.variant!r}",
            f"  N {model.num_units}, {width}" + (f"; method: {', '.join(own)}" if own else ""),
        ]
        return "\n".join([*lines, *([f"  {self.failure}"] if self.failure else [])])

    def _repr_html_(self) -> str:
        """Show the same text in notebooks, above the maps of the most active units."""
        text = f"<pre>{html.escape(repr(self))}</pre>"
        if self.failure:
            return text
        from sicjax import plots  # loads Matplotlib only if the picture is shown

        found = self.ratemaps(box_m=SHOWN_BOX_M, walk_steps=SHORT_WALK_STEPS, progress=False)
        peaks = np.nan_to_num(found.ratemaps).max(axis=(1, 2))
        active = np.sort(np.argsort(-peaks, kind="stable")[:SHOWN_UNITS])
        figure = plots.ratemap_sheet(
            found.ratemaps, found.box_m, order=active, titles=[f"{n}" for n in range(len(peaks))],
            fig=plots.blank_figure(),
        )  # fmt: skip
        with io.BytesIO() as file:
            figure.savefig(file, dpi=70)
            picture = base64.b64encode(file.getvalue()).decode()
        return f'{text}<img alt="rate maps" src="data:image/png;base64,{picture}">'

    @property
    def seed(self) -> int:
        """Seed of the network's initialisation and training data."""
        return self.config.seed + self.network % self.config.num_networks

    @property
    def initial_state(self) -> Array:
        """g_0, [N]."""
        return norm_relu(self.parameters.initial_direction)

    def transition(self, velocities: Array) -> Array:
        """W(v): [..., 2] metres per step -> [..., N, N]."""
        return make_transition(self.config, self.method)(self.parameters, velocities)

    def rollout(self, velocities: ArrayLike, *, exact: bool = True) -> Array:
        """Run the network along velocities, from its learned initial state.

        It works inside `jax.jit`, `jax.vmap` and `jax.grad`. To differentiate with respect to the
        parameters, use `sicjax.rollout`.

        Args:
            velocities: [..., T, 2] metres per step.
            exact: False approximates W(v) to 1e-5 by a few matrices (see
                `network.rollout.factorise`), which is several times faster on long walks. Your own
                transition, and a rollout inside a transformation, are always exact.

        Returns:
            States [..., T, N]; state t is the one after step t.

        Raises:
            TypeError: velocities that are not numbers.
            ValueError: velocities that are not [..., T, 2] or not finite.
            RuntimeError: this process was forked from one in which JAX was running.
        """
        traced = isinstance(velocities, jax.core.Tracer)
        if exact or traced or self.method.transition is not None:
            return rollout(self.parameters, velocities, self.config, method=self.method)
        given = np.asarray(checked_velocities(velocities))
        walks = given.reshape(-1, *given.shape[-2:])
        with large_programs():
            states = self._rollout_in_pieces(self._factors(walks), walks)
        return jnp.asarray(states.reshape(*given.shape[:-1], -1))

    def _rollout_in_pieces(self, factors: Factors, walks: np.ndarray) -> np.ndarray:
        """Return states [W, T, N] along velocities [W, T, 2], in pieces of a few fixed shapes.

        So any number of walks of any length runs with one or two programs. These are compiled once,
        for the snapshots during training and for the report. And the states of a walk do not depend
        on the other walks in the call.
        """
        num_walks, num_steps = walks.shape[:2]
        start = self.initial_state  # run the walks on the device that holds the parameters
        device = next(iter(start.devices()))
        widths = WIDTHS if device.platform == "cpu" else WIDE
        width = widths[0] if num_walks <= widths[0] else widths[1]
        fill = [(0, -num_walks % width), (0, -num_steps % PIECE_STEPS), (0, 0)]
        padded, pieces = np.pad(walks, fill), []
        parameters, factors = jax.device_put((self.parameters, factors), device)
        for first in range(0, len(padded), width):
            states = jnp.broadcast_to(start, (width, self.config.model.num_units))
            for begin in range(0, padded.shape[1], PIECE_STEPS):
                part = padded[first : first + width, begin : begin + PIECE_STEPS]
                states, passed = _rollout_factorised(
                    self._hypernetwork, parameters, factors, states, part
                )
                pieces.append((first, begin, passed))  # it runs while the next piece is sent
        found = np.empty((*padded.shape[:2], self.config.model.num_units), np.float32)
        for first, begin, passed in pieces:
            found[first : first + width, begin : begin + PIECE_STEPS] = passed
        return found[:num_walks, :num_steps]

    @property
    def _hypernetwork(self) -> Hypernetwork:
        network = make_hypernetwork(self.config)
        assert isinstance(network, Hypernetwork)  # without a user's method
        return network

    @cached_property
    def _trained_factors(self) -> Factors:
        return self._factors_within(self.config.data.max_velocity)

    def _factors(self, velocities: np.ndarray) -> Factors:
        """Return factors of W that are accurate for velocities [..., 2]."""
        largest = float(np.abs(velocities).max(initial=0))
        if largest <= self.config.data.max_velocity * (1 + ROUNDING):
            return self._trained_factors
        return self._factors_within(largest)

    def _factors_within(self, largest: float) -> Factors:
        side = np.linspace(-largest, largest, GRID, dtype=np.float32)
        grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        weights = self.parameters.hypernetwork
        return factorise(self._hypernetwork, weights, grid, tolerance=TOLERANCE)

    def ratemaps(
        self, box_m: float = 2.0, *, walk_steps: int = WALK_STEPS,
        mean_speed: float | None = None, key: Array | None = None, progress: bool = True,
    ) -> RateMaps:  # fmt: skip
        """Return rate maps from smooth walks that start at the centre of a square box.

        Walks are drawn until every bin has at least 20 visits. The first 10 steps of each walk are
        dropped, and nothing is smoothed.

        Args:
            box_m: side of the box, metres; bins are 4 cm.
            walk_steps: steps of each walk: 2,000 (the default) shows what survives drift,
                120 the code near the start of a walk.
            mean_speed: mean speed of the walks, metres per step, before components are clipped to
                the largest one in training; by default 0.4 of that.
            key: JAX key of the walks; by default the same for every network.
            progress: whether to show a bar if the walks take more than two seconds.

        Returns:
            `RateMaps` with maps [N, bins, bins].

        Raises:
            ValueError: a box smaller than one bin, no speed, or walks too short to fill it.
        """
        check_not_forked()
        check("box_m", box_m, BOX)
        check("walk_steps", walk_steps, at_least(DROPPED_STEPS + 1))
        largest = self.config.data.max_velocity
        mean_speed = MEAN_SPEED * largest if mean_speed is None else mean_speed
        check("mean_speed", mean_speed, POSITIVE)
        mean_speed = float(mean_speed)
        key = jax.random.key(0) if key is None else key
        check_key("key", key)
        walks = _walks_that_fill(key, box_m, walk_steps, largest, mean_speed)
        return self.map_walks(walks, box_m, progress=progress)

    def save(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write the weights and the config into one NumPy archive; `sicjax.load_weights` reads it.

        Args:
            path: the file; its name ends with .npz.
            overwrite: replace a file that exists.

        Returns:
            The path.

        Raises:
            FileExistsError: the file exists and `overwrite` is false.
            ValueError: another ending, a transition of your own, or a network that went
                non-finite.
            OSError: the file can't be written.
        """
        target = as_path("path", path)
        if target.suffix != ".npz":
            raise ValueError(f"path={target}: must end with .npz")
        if self.method.transition is not None or self.failure is not None:
            raise ValueError(
                "run: only finite networks with the package's own hypernetwork can be saved"
            )
        if target.exists() and not overwrite:
            raise FileExistsError(f"path={target} exists; overwrite=True replaces it")
        about = {"network": self.network, "step": self.step, "variant": self.variant}
        about |= {"seed": self.seed, "sicjax": __version__}
        write_weights(target, self.config, self.parameters, about)
        return target

    def map_walks(
        self, walks: list[Walk], box_m: float, *, progress: bool = False
    ) -> RateMaps:  # fmt: skip
        """Return rate maps from given walks, without steps outside the box.

        Args:
            walks: each with leaves [W, T, 2].
            box_m: side of the box around the walks' start, metres.
            progress: whether to show a bar.
        """
        sums = ActivitySums(self.config.model.num_units, box_m=box_m, bins=num_bins(box_m))
        for steps, positions in track(list(_together(walks)), "walks", show=progress):
            states = np.asarray(self.rollout(steps, exact=False))[:, DROPPED_STEPS:]
            sums.add(positions[:, DROPPED_STEPS:], states)
        return sums.ratemaps()


def load_run(workdir: str | os.PathLike, network: int = 0, *, method: Method = PAPER) -> Run:
    """Load a network from the latest intact checkpoint of a run.

    Args:
        workdir: the run's folder, on a disk or gs://BUCKET/FOLDER.
        network: index in its population.
        method: your own parts with which it was trained.

    Raises:
        FileNotFoundError: the folder holds no run, or one without a checkpoint yet.
        IndexError: no such network.
        CheckpointError: the checkpoint has another structure, or can't be read.
        ConfigError: the run was trained with another transition.

    Source: ours.

    Example:
        >>> import sicjax
        >>> run = sicjax.load_run("runs/quick")  # doctest: +SKIP
        >>> run.ratemaps(box_m=2.0).ratemaps.shape  # doctest: +SKIP
        (64, 50, 50)
    """
    folder, population = _recorded_population(workdir, method)
    check("network", network, INDEX)
    if not 0 <= network < len(population):
        raise IndexError(f"network={network}: {folder} has networks 0 to {len(population) - 1}")
    light = population.shapes._replace(optimizer=())
    state = restore_rows(folder / "checkpoints", _last_step(folder), light, network)
    return Run.from_state(population, state, network)


def load_runs(workdir: str | os.PathLike, *, method: Method = PAPER) -> list[Run]:
    """Load every network of a run from its latest intact checkpoint.

    Args:
        workdir: the run's folder, on a disk or gs://BUCKET/FOLDER.
        method: your own parts with which they were trained.

    Returns:
        The networks by their index. Errors are those of `load_run`.

    Source: ours.

    Example:
        >>> import sicjax
        >>> runs = sicjax.load_runs("runs/pod")  # doctest: +SKIP
        >>> [run.variant for run in runs]  # doctest: +SKIP
        ['capacity 0.1', 'capacity 0.1', 'capacity 0.5', ...]
    """
    folder, population = _recorded_population(workdir, method)
    light = population.shapes._replace(optimizer=())
    states = restore_rows(folder / "checkpoints", _last_step(folder), light, slice(None))
    return [
        Run.from_state(population, jax.tree.map(lambda leaf, k=k: leaf[k], states), k)
        for k in range(len(population))
    ]


def _recorded_population(workdir: str | os.PathLike, method: Method) -> tuple[Path, Population]:
    """Return the folder of a run and the population in its config.json."""
    folder = as_path("workdir", workdir, bucket=True)
    check_is(method)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"workdir={folder} is not a run: no config.json")
    config = read_config(folder)
    check_to_load(folder, recorded_method(folder), method)
    return folder, Population(config, method)


def _last_step(folder: Path) -> int:
    """Return the number of updates of the latest intact checkpoint; print the damaged ones."""
    step, damaged = latest_intact(folder / "checkpoints")
    for bad, problem in damaged.items():
        print(f"the checkpoint of update {bad} is damaged: {problem}", file=sys.stderr)
    if step is None:
        raise FileNotFoundError(f"workdir={folder}: no {'intact ' * bool(damaged)}checkpoint yet")
    return step


@partial(jax.jit, static_argnums=0)
def _rollout_factorised(
    network: Hypernetwork, parameters: Parameters, factors: Factors, start: Array, velocities: Array
) -> tuple[Array, Array]:
    """Return last states [W, N] and all states [W, T, N] along velocities [W, T, 2], by factors."""

    def hidden(velocity: Array) -> Array:
        return jnp.asarray(network.apply(parameters.hypernetwork, velocity, hidden_only=True))

    states = rollout_factorised(factors, hidden, start, velocities)
    return states[:, -1], states


def num_bins(box_m: float) -> int:
    """Return the number of bins along a side of a box."""
    return round(box_m / BIN_M)


def _together(walks: list[Walk]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield steps and positions [W, T, 2] of walks of one length, in batches of program size."""
    for length, alike in itertools.groupby(walks, lambda walk: walk.steps.shape[1]):
        steps, positions = (np.concatenate(leaves) for leaves in zip(*alike, strict=True))
        most = max(2 * BATCH_STEPS // (length * WIDTHS[1]), 1) * WIDTHS[1]
        for first in range(0, len(steps), most):
            yield steps[first : first + most], positions[first : first + most]


def _walks_that_fill(
    key: Array, box_m: float, walk_steps: int, max_velocity: float, mean_speed: float
) -> list[Walk]:
    """Return as few walks as give every bin its visits, drawn in batches."""
    bins = num_bins(box_m)
    at_once = max(1, BATCH_STEPS // walk_steps)
    visits = np.zeros(bins**2 + 1, int)
    walks: list[Walk] = []
    most = 200 * MIN_VISITS * bins**2 // (at_once * (walk_steps - DROPPED_STEPS)) + 20
    for batch in range(most):
        walk = smooth_walks(
            jax.random.fold_in(key, batch), num_walks=at_once, num_steps=walk_steps,
            box_m=box_m, max_velocity=max_velocity, mean_speed=mean_speed,
        )  # fmt: skip
        index = bin_index(np.asarray(walk.positions)[:, DROPPED_STEPS:], box_m, bins)
        quarters = np.linspace(0, at_once, 5).astype(int) if at_once >= 4 else np.arange(2)
        for first, last in itertools.pairwise(quarters):
            visits += np.bincount(index[first:last].ravel(), minlength=bins**2 + 1)
            if visits[:-1].min() >= MIN_VISITS:
                return [*walks, jax.tree.map(lambda leaf, last=last: leaf[:last], walk)]
        walks.append(walk)
        if batch >= 10 and visits[:-1].min() * most < MIN_VISITS * (batch + 1):
            break  # at this rate, never
    raise ValueError(
        f"box_m={box_m}, walk_steps={walk_steps}: walks this short don't reach every bin; take a"
        " smaller box or longer walks"
    )
