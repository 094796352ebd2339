"""Try to make the modules of a network independent: walks that reach far, and noise.

    python -m experiments.independence [--config=quick] [--workdir=runs/independence]
        [--drifts=0,0.25,0.5] [--noises=0] [--config.num_networks=2] [--config.FIELD=VALUE ...]

Modules on one torus confuse all places that are a period of the coarsest one apart. The separation
loss punishes this only if the training reaches such places. So each run trains the config's
networks on walks with a drift: of each velocity, a share --drifts is the same for the whole walk,
in a random direction, and the rest is independent from step to step, as in the paper. No component
exceeds `data.max_velocity`. --noises adds noise to the transition matrices in training; other
velocities have other noise. Its size is the error of a state after one step, relative to the norm
of a state. Maps are measured without noise. Other fields follow on the command line:

- `--config.model.num_units=128`: more units;
- `--config.start_from=quick`: continue a trained network, whose modules stand already.

For each network the table has its modules, how their lattices are related, and the range of the
code in periods of the coarsest module: 1 if they are one torus, more if they are independent. The
command writes independence.md and independence.json into the workdir. You can stop it and start it
again.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from ml_collections import ConfigDict

import sicjax
from experiments import sweep
from experiments.ablations import median
from sicjax import command
from sicjax.analysis.ambiguity import code_range
from sicjax.analysis.kinds import active_units
from sicjax.analysis.relations import relate_modules
from sicjax.config import changed
from sicjax.errors import ConfigError
from sicjax.network.trajectories import permuted_batch
from sicjax.run import Run
from sicjax.training.method import Method, TransitionNetwork, make_hypernetwork

Row = dict[str, Any]
BATCHES = 50  # whose positions tell how far the training reaches
FAR = 0.95  # quantile of the distances in them
SHUFFLES = 50


def drifting(steps: int, max_velocity: float, share: float) -> Callable[[jax.Array], jax.Array]:
    """Return a function that draws velocities [T, 2] with a common part.

    Args:
        steps: T.
        max_velocity: the largest component, metres per step.
        share: of it that is common to all steps of a walk; the rest is uniform and independent.
    """

    def draw(key: jax.Array) -> jax.Array:
        turn_key, step_key = jax.random.split(key)
        turn = jax.random.uniform(turn_key, maxval=2 * jnp.pi)
        own = jax.random.uniform(step_key, (steps, 2), minval=-1.0, maxval=1.0)
        common = jnp.stack([jnp.cos(turn), jnp.sin(turn)])
        return max_velocity * (share * common[None] + (1 - share) * own)

    return draw


@dataclasses.dataclass(frozen=True)
class NoisyTransition:
    """A network for W(v) with normal noise on its matrices; other velocities have other noise.

    Args:
        inner: the network without noise.
        noise: standard deviation of the noise of a state after a step, relative to its norm.
    """

    inner: TransitionNetwork
    noise: float

    def init(self, key: jax.Array, velocity: jax.Array) -> Any:
        """Return the parameters of the network without noise."""
        return self.inner.init(key, velocity)

    def apply(self, parameters: Any, velocities: jax.Array) -> jax.Array:
        """Return matrices [..., N, N] for velocities [..., 2]; the same for the same velocity."""
        matrices = jnp.asarray(self.inner.apply(parameters, velocities))
        if not self.noise:
            return matrices
        shape = matrices.shape
        bits = lax.bitcast_convert_type(jnp.asarray(velocities, jnp.float32), jnp.uint32)

        def draw(pair: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), pair[0]), pair[1])
            return jax.random.normal(key, shape[-2:])

        drawn = jax.vmap(draw)(bits.reshape(-1, 2)).reshape(shape)
        return matrices + self.noise / np.sqrt(shape[-1]) * drawn


def make_method(config: ConfigDict, share: float, noise: float) -> Method:
    """Return the method of one run."""
    data = config.data
    return Method(
        velocities=drifting(data.trajectory_length, data.max_velocity, share),
        transition=NoisyTransition(make_hypernetwork(config), noise) if noise else None,
    )


def reach(method: Method, num_trajectories: int) -> float:
    """Return how far apart two states of a training batch lie: the 95th percentile in metres."""
    distances = []
    draw = method.velocities
    assert draw is not None
    rng = np.random.default_rng(0)
    for key in jax.random.split(jax.random.key(0), BATCHES):
        batch = permuted_batch(key, draw(key), num_trajectories=num_trajectories)
        places = np.asarray(batch.positions).reshape(-1, 2)
        one, two = rng.permutation(places), rng.permutation(places)
        distances.append(np.linalg.norm(one - two, axis=-1))
    return float(np.quantile(distances, FAR))


def measure(run: Run, reach_m: float) -> Row:
    """Return one network's modules, their relation and the range of its code.

    Numbers on the range are None for fewer than two modules, and if the box of the verdict is
    smaller than a cell of the coarsest lattice.
    """
    plain = dataclasses.replace(run, method=Method())  # maps have no noise
    box_m = run.config.evaluation.verdict_box
    maps = plain.ratemaps(box_m)
    active = active_units(maps.ratemaps)
    units = sicjax.analyze_ratemaps(
        maps.ratemaps, box_m, num_shuffles=SHUFFLES, key=jax.random.key(0)
    )
    found = sicjax.find_modules(units)
    row: Row = {
        "seed": run.seed,
        "failure": run.failure,
        "reach_m": reach_m,
        "active": int(active.sum()),
        "grid_cells": int(units.is_grid.sum()),
        "modules": [
            {"units": len(members), "period_m": float(period)}
            for members, period in zip(found.members, found.period_m, strict=True)
        ],
        "explained": median(maps.variance_explained[active]),
        **dict.fromkeys(("verdict", "index", "error", "range_periods", "independent_periods")),
    }
    if len(found.members) > 1:
        whole = relate_modules(found.lattice).whole
        assert whole is not None  # there are two modules
        row |= {"verdict": whole.verdict, "index": whole.index.tolist(), "error": whole.error}
        if np.linalg.norm(found.lattice, axis=-1).max() <= box_m:
            code = code_range(maps.ratemaps, box_m, found.members, found.lattice)
            coarsest = code.periods_m.max()
            row["range_periods"] = float(code.range_m / coarsest)
            if np.isfinite(code.independent_m):
                row["independent_periods"] = float(code.independent_m / coarsest)
    return row


def as_markdown(rows: Sequence[Row], provenance: Sequence[str]) -> str:
    """Format one line per network, then how the table was made."""
    several = [row for row in rows if len(row["modules"]) > 1]
    nested = sum(row["verdict"] in ("nested", "same") for row in several)
    lines = [
        "# Walks that reach far, and noise: are the modules independent?", "",
        f"**Of {len(rows)} networks {len(several)} have two modules or more; in {nested} of them"
        " the lattices of all modules are nested.**", "",
        "Drift: share of each velocity that is the same for the whole walk. Noise: of a state in"
        " every step of the training, relative to its norm. Reach: 95th percentile of the distances"
        " between states of a batch, also in periods of the coarsest module. Range: distance over"
        " which all modules together distinguish places, in the same periods; in brackets, what"
        " these modules would reach if they were independent.", "",
        "| drift | noise | seed | active units | grid cells | modules: units at period (m) |"
        " reach (m; periods) | lattices | range (if independent) | position explains, 2,000 steps"
        " |",
        "|---" * 10 + "|",
    ]  # fmt: skip
    for row in rows:
        modules = "; ".join(f"{m['units']} at {m['period_m']:.2f}" for m in row["modules"])
        coarsest = max((m["period_m"] for m in row["modules"]), default=None)
        periods = "–" if coarsest is None else f"{row['reach_m'] / coarsest:.1f}"
        lattices = "–"
        if row["verdict"] is not None:
            index = " : ".join(map(str, row["index"]))
            lattices = f"{row['verdict']}, {index} ({row['error']:.2%})"
        ranges = "–"
        if row["range_periods"] is not None:
            ranges = f"{row['range_periods']:.2f} ({_number(row['independent_periods'], '.1f')})"
        cells = [
            f"{row['drift']:g}", f"{row['noise']:g}", str(row["seed"]), str(row["active"]),
            str(row["grid_cells"]), row["failure"] or modules or "none",
            f"{row['reach_m']:.2f}; {periods}", lattices, ranges, _number(row["explained"], ".2f"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "## How this table was made", "", *provenance]) + "\n"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _shares(name: str, text: str) -> list[float]:
    """Read numbers from 0 to below 1, separated by commas."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= value < 1 for value in found):
        raise ConfigError(f"{name}={text}: must be numbers from 0 to below 1, as in 0,0.25")
    return found


def train_and_measure(config: ConfigDict, folder: Path, share: float, noise: float) -> list[Row]:
    """Train the networks of one run, and return their rows."""
    method = make_method(config, share, noise)
    sweep.run(config, folder, method=method)
    reach_m = reach(method, config.data.num_trajectories)
    return [
        {"drift": share, "noise": noise, **measure(run, reach_m)}
        for run in sicjax.load_runs(folder, method=method)
    ]


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, measure, and write the table.

    Raises:
        ConfigError: an unknown flag or field, a share outside 0 to 1, or a config with variants.
    """
    parser = command.Parser(__doc__, config="quick", trains=True)
    parser.set_defaults(workdir="runs/independence")
    parser.add_argument("--drifts", default="0,0.25,0.5", metavar="SHARE,...", help="see above")
    parser.add_argument("--noises", default="0", metavar="SHARE,...", help="see above")
    options = parser.read(arguments)
    drifts, noises = _shares("--drifts", options.drifts), _shares("--noises", options.noises)
    command.join_processes(options)
    config, workdir = command.read_run(options)
    if config.variants:
        raise ConfigError("--config: has variants of its own; choose a config without")
    own = changed(config, {"report": False})
    rows: list[Row] = []
    provenance: list[str] = []
    for share, noise in itertools.product(drifts, noises):
        folder = workdir / f"drift_{share:g}_noise_{noise:g}"
        rows += train_and_measure(own, folder, share, noise)
        made = sweep.provenance("experiments.independence", arguments, own, folder)
        provenance.append(f"- drift {share:g}, noise {noise:g}: {made}")
    (workdir / "independence.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
    (workdir / "independence.md").write_text(as_markdown(rows, provenance))
    print((workdir / "independence.md").read_text(), end="")


if __name__ == "__main__":
    command.run(main)
