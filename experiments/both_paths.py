"""Train one network by the fast path and by the straightforward one, side by side.

    python -m experiments.both_paths [--config=configs/quick.py] [--steps=200] [--double] [--json]

Network, batches and optimiser are the same; only the loss is computed differently (`make_loss`
against `experiments.naive.make_naive_loss`). The two paths take turns of a few updates in one
process, so other work on the machine slows both. Printed during training:

- gradient: both paths compute the gradient at the fast path's weights; this is the largest
  difference of an element over the largest element. In one update nothing else differs.
- weights, activity: how far apart the two trained networks are: the largest difference of a weight
  over the largest weight, and of a unit's activity along common walks (a whole state has norm 1).
- nudged weights, nudged activity: the same for a third network, trained by the fast path from
  weights one unit in the last place away. Training is chaotic from its first updates and amplifies
  any rounding; the two paths count as equal if they diverge no faster than that.
- lattice: the share of each network's active units that carry a lattice (computed as in snapshots).
- seconds: the time of each path, including compilation, and their ratio.

`--double` computes everything in double precision.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.benchmark import as_table, device
from experiments.naive import make_naive_loss
from sicjax import command
from sicjax import config as config_module
from sicjax.network.trajectories import smooth_walks
from sicjax.report import snapshots
from sicjax.run import Run
from sicjax.training.method import make_settings
from sicjax.training.population import Population
from sicjax.training.step import Loss, TrainState, make_init, make_loss, make_step

STEPS_PER_TURN = 20
WALK_STEPS = 120


class Path(NamedTuple):
    """One compiled way to train."""

    advance: Callable[[TrainState], TrainState]  # STEPS_PER_TURN updates; the state is donated
    gradient: Callable[[TrainState], Any]  # of the next update's batch
    compile_s: float  # of advance


def compile_path(config: ConfigDict, loss: Loss) -> Path:
    """Compile STEPS_PER_TURN updates of one network with this loss."""
    step = make_step(config, loss)
    settings = jax.tree.map(in_widest_precision, make_settings(config))

    def advance(state: TrainState) -> TrainState:
        return jax.lax.scan(
            lambda state, _: (step(state, settings)[0], None), state, length=STEPS_PER_TURN
        )[0]

    def gradient(state: TrainState) -> Any:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        return jax.grad(loss, has_aux=True)(state.parameters, key, settings)[0]

    began = time.perf_counter()
    state = jax.eval_shape(lambda: start(config))
    compiled = jax.jit(advance, donate_argnums=0).lower(state).compile()
    return Path(compiled, jax.jit(gradient), time.perf_counter() - began)


def start(config: ConfigDict) -> TrainState:
    """Return the untrained network, in double precision if `jax_enable_x64` is set."""
    state = jax.jit(make_init(config))(jnp.uint32(config.seed))
    return jax.tree.map(in_widest_precision, state)


def in_widest_precision(leaf: Any) -> jax.Array:
    """Convert float32 to float64 if `jax_enable_x64` is set."""
    return leaf.astype(jnp.result_type(float)) if leaf.dtype == jnp.float32 else leaf


def compare(config: ConfigDict, num_steps: int) -> list[dict[str, Any]]:
    """Train both ways; return ten rows, one at each tenth of the training."""
    fast = compile_path(config, make_loss(config))
    straightforward = compile_path(config, make_naive_loss(config))
    paths = {"fast": fast, "straightforward": straightforward, "nudged": fast}
    states = {name: start(config) for name in paths}
    # The nudged network starts one rounding away: it shows how fast chaos alone drives networks
    # apart.
    states["nudged"] = states["nudged"]._replace(
        parameters=jax.tree.map(lambda leaf: jnp.nextafter(leaf, 9), states["nudged"].parameters)
    )
    seconds = {name: path.compile_s for name, path in paths.items()}
    walk = smooth_walks(jax.random.key(0), num_walks=8, num_steps=WALK_STEPS, box_m=2.0).steps
    # The paths alternate in short turns, so that a slow moment of the machine hits all of them.
    turns = -(-num_steps // STEPS_PER_TURN)
    rows = []
    for turn in range(1, turns + 1):
        for name, path in paths.items():
            began = time.perf_counter()
            states[name] = jax.block_until_ready(path.advance(states[name]))
            seconds[name] += time.perf_counter() - began
        if turn * 10 % turns < 10:
            # Both gradients at one state and one batch, so any difference is rounding.
            gradients = [flat(path.gradient(states["fast"])) for path in (fast, straightforward)]
            rows.append(
                {
                    "step": turn * STEPS_PER_TURN,
                    "gradient": difference(*gradients),
                    **apart(config, states["fast"], states["straightforward"], walk),
                    **apart(config, states["fast"], states["nudged"], walk, name="nudged "),
                    "fast lattice": lattice(config, states["fast"]),
                    "straightforward lattice": lattice(config, states["straightforward"]),
                    "fast (s)": seconds["fast"],
                    "straightforward (s)": seconds["straightforward"],
                    "ratio": seconds["straightforward"] / seconds["fast"],
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def apart(
    config: ConfigDict, first: TrainState, second: TrainState, walk: Any, name: str = ""
) -> dict[str, float]:
    """Return how far apart two networks are."""
    runs = [Run.from_state(Population(config), state, 0) for state in (first, second)]
    walked = [np.asarray(run.rollout(walk)) for run in runs]
    return {
        f"{name}weights": difference(*(flat(run.parameters) for run in runs)),
        f"{name}activity": float(np.abs(walked[0] - walked[1]).max()),
    }


def lattice(config: ConfigDict, state: TrainState) -> float:
    """Return the share of the active units that carry a lattice."""
    return snapshots.take(Run.from_state(Population(config), state, 0))[0].lattice_fraction


def flat(tree: Any) -> np.ndarray:
    """Return all leaves as one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest difference of an element, over the largest element."""
    return float(np.abs(first - second).max() / np.abs(second).max())


def main(arguments: Sequence[str]) -> None:
    """Compare and print."""
    parser = command.Parser(__doc__, config="configs/quick.py")
    parser.add_argument(
        "--steps",
        type=command.whole_number(1),
        default=200,
        help="updates of each path; default: 200",
    )
    parser.add_argument("--double", action="store_true", help="compute in double precision")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.read(arguments)
    config = command.read_config(options)
    config_module.validate(config)
    with jax.enable_x64(options.double):
        rows = compare(config, options.steps)
    if options.json:
        print(json.dumps(rows))
    else:
        print(f"{device()}, jax {jax.__version__}\n\n{as_table(rows)}")


if __name__ == "__main__":
    command.run(main)
