"""One training update for one network, and its map over networks, updates and devices.

step(state, settings) -> (state, metrics)     one network, pure
map over networks                             P networks: seeds and/or settings
lax.fori_loop                                 n updates per dispatch
pmap                                          the same on every device
"""

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from ml_collections import ConfigDict, FrozenConfigDict

from sicjax.config.check import changed
from sicjax.config.fields import FIELDS, VARIED
from sicjax.devices.layout import Layout
from sicjax.devices.split import WHOLE, Split
from sicjax.network.losses import TERMS, neural_speeds, sic_loss
from sicjax.network.model import initial_direction, norm_relu
from sicjax.network.rollout import rollout_permuted
from sicjax.training.method import (
    FAILURES,
    LOGGED,
    PAPER,
    Method,
    Parameters,
    Settings,
    draw_batch,
    failures,
    make_hypernetwork,
    make_settings,
    make_transition,
)
from sicjax.training.optimizer import make_optimizer, make_schedule, plateau_scale


class TrainState(NamedTuple):
    """One network in training. A population has a leading axis on every leaf."""

    step: Array  # int32, updates done
    seed: Array  # uint32
    parameters: Parameters
    optimizer: Any  # optax state
    failed_step: Array  # int32, the first update that went non-finite; -1 while all is well
    failed_term: Array  # int32, index into failures(method)


# Fields that a program doesn't depend on: traced scalars, and what the run does around the updates.
_OUTSIDE = [
    name
    for name, field in FIELDS.items()
    if name in (*VARIED, "seed", "num_networks", "variants", "start_from")
    or not (field.changes_numbers or name in ("num_steps", "fused_pairs", "fused_rollout"))
]
_KEPT_FUNCTIONS = 16  # functions; `on_devices` keeps the programs of as many

Metrics = dict[str, Array]
Loss = Callable[[Parameters, Array, Settings], tuple[Array, Metrics]]
Step = Callable[[TrainState, Settings], tuple[TrainState, Metrics]]


def make_init(config: ConfigDict, method: Method = PAPER) -> Callable[[Array], TrainState]:
    """Return a function seed -> TrainState, the state before the first update."""
    hypernetwork, optimizer = make_hypernetwork(config, method), make_optimizer(config)

    def init(seed: Array) -> TrainState:
        weights_key, direction_key = jax.random.split(_keys(seed)[0])
        parameters = Parameters(
            hypernetwork.init(weights_key, jnp.zeros(2)),
            initial_direction(
                direction_key, config.model.num_units, positive=config.model.positive_start
            ),
        )
        return TrainState(
            step=jnp.int32(0),
            seed=jnp.asarray(seed, jnp.uint32),
            parameters=parameters,
            optimizer=optimizer.init(parameters),
            failed_step=jnp.int32(-1),
            failed_term=jnp.int32(-1),
        )

    return init


def make_loss(
    config: ConfigDict,
    method: Method = PAPER,
    *,
    branch: bool = True,
    split: Split = WHOLE,
    fused_pairs: bool = False,
    fused_rollout: bool = False,
) -> Loss:
    """Return the loss of one batch, or this device's share of it; metrics are for the whole batch.

    Args:
        config: of the run.
        method: replaced parts of the method.
        branch: as in `pair_losses`.
        split: how devices share the trajectories and pairs of a batch. Each device draws the same
            batch.
        fused_pairs: `fused` of `pair_losses`.
        fused_rollout: walk with the GPU kernels of `rollout_kernel`.
    """
    transition = make_transition(config, method)
    walk: Callable[[Array, Array, Array], Array] = rollout_permuted
    if fused_rollout:
        from sicjax.network.rollout_kernel import rollout_fused  # Pallas is loaded only where used

        walk = rollout_fused

    def loss(parameters: Parameters, key: Array, settings: Settings) -> tuple[Array, Metrics]:
        # Every device draws the same batch; only the trajectories that it rolls out are its own.
        batch = draw_batch(config, key, settings, method)
        initial_state = norm_relu(parameters.initial_direction)
        # [T, N, N]: trajectories share their velocities, so T matrices serve all B of them.
        transitions = transition(parameters, batch.velocities)
        states = walk(transitions, split.take(batch.order), initial_state)
        # The pair losses compare states of all trajectories, so each device needs all: [B, T, N].
        states = split.gathered(states, len(batch.order))
        total, terms = sic_loss(
            states, initial_state, batch, settings.loss,
            reduction=config.loss.reduction, branch=branch, split=split,
            fused=fused_pairs,
        )  # fmt: skip
        # Every device computes a user's term for the whole batch, so each counts only a share of
        # it.
        own = {name: term(states, initial_state, batch) for name, term in method.terms.items()}
        factor = settings.loss.own_terms
        total = sum((split.share(factor * value) for value in own.values()), total)
        speeds, counted = neural_speeds(
            states, initial_state, batch.steps, max_step=settings.loss.sigma_x,
            min_step=settings.loss.min_step,
        )  # fmt: skip
        # Counted, because a dead state has no gradient, and a dead unit is lost for the code.
        alive = states > 0
        return total, {
            "loss": split.total(total),
            **terms._asdict(),
            **own,
            "neural_speed": jnp.sum(speeds) / jnp.maximum(jnp.sum(counted), 1).astype(speeds.dtype),
            "dead_states": jnp.sum(~alive.any(axis=-1)).astype(jnp.float32),
            "dead_units": jnp.sum(~alive.any(axis=(0, 1))).astype(jnp.float32),
        }

    return loss


def make_step(
    config: ConfigDict, loss: Loss | None = None, split: Split = WHOLE, first_step: int = 0
) -> Step:
    """Return the update of one network.

    Args:
        config: of the stage.
        loss: a loss that is split in the same way; None means `make_loss(config)`.
        split: how devices share a batch.
        first_step: first update of the stage, where the learning rate's schedule begins.
    """
    loss = loss or make_loss(config)
    optimizer, schedule = make_optimizer(config), make_schedule(config)
    accumulation = config.optimizer.accumulation
    frozen_start = not config.model.train_initial_state

    def step(state: TrainState, settings: Settings) -> tuple[TrainState, Metrics]:
        # 1. Keys follow from the seed and the number of updates alone, so that a restart draws the
        # same batches.
        keys = jax.random.split(jax.random.fold_in(_keys(state.seed)[1], state.step), accumulation)

        def add_batch(_, key):
            return None, jax.grad(loss, has_aux=True)(state.parameters, key, settings)

        # 2. Mean gradient over the accumulated batches. A scan keeps one batch in memory at a time.
        if accumulation == 1:
            gradients, metrics = add_batch(None, keys[0])[1]
        else:
            stacked = lax.scan(add_batch, None, keys)[1]
            gradients, metrics = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), stacked)
        own = sorted(metrics.keys() - {*FAILURES, *LOGGED})
        # 3. Where devices split the batch, each has a share of the gradient; add the shares.
        gradients = split.total(gradients)
        if frozen_start:
            start = jnp.zeros_like(gradients.initial_direction)
            gradients = gradients._replace(initial_direction=start)
        # 4. The optimiser gives the direction. The learning rate is applied here, because networks
        # that train side by side may have different rates.
        updates, optimizer_state = optimizer.update(
            gradients, state.optimizer, state.parameters, value=metrics["loss"]
        )
        rate = settings.learning_rate * schedule(state.step - first_step)
        metrics["learning_rate"] = rate * plateau_scale(optimizer_state)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        for name in TERMS:
            metrics[f"weighted_{name}"] = getattr(settings.loss, name) * metrics[name]
        for name in own:  # a method's own terms include their weight, all but this factor
            metrics[f"weighted_{name}"] = settings.loss.own_terms * metrics[name]
        # 5. The new parameters count only if everything is finite.
        parameters = optax.apply_updates(
            state.parameters, jax.tree.map(lambda update: -rate * update, updates)
        )
        updated = state._replace(parameters=parameters, optimizer=optimizer_state)
        return _keep_if_finite(state, updated, metrics, own), metrics

    return step


def _keep_if_finite(
    state: TrainState, updated: TrainState, metrics: Metrics, own: Sequence[str]
) -> TrainState:
    """Freeze a network at its last finite state; the update counter goes on for all.

    A non-finite term makes the gradient and then the weights non-finite, so the first is named.
    """
    watched = [*TERMS, *own, "gradient", "weights"]
    values = metrics | {"gradient": metrics["gradient_norm"]}
    values["weights"] = optax.tree.norm(updated.parameters)
    broken = ~jnp.isfinite(jnp.stack([values[name] for name in watched]))
    found = jnp.array([(*FAILURES, *own).index(name) for name in watched])[jnp.argmax(broken)]
    fails = broken.any() & (state.failed_step < 0)
    frozen = broken.any() | (state.failed_step >= 0)
    kept = jax.tree.map(lambda old, new: jnp.where(frozen, old, new), state, updated)
    return kept._replace(
        step=state.step + 1,
        failed_step=jnp.where(fails, state.step, state.failed_step),
        failed_term=jnp.where(fails, found.astype(jnp.int32), state.failed_term),
    )


def make_dispatch(
    config: ConfigDict, layout: Layout, method: Method = PAPER, first_step: int = 0
) -> Callable:
    """Return n updates of one device: `(states, settings, n) -> (states, the last metrics)`.

    Leaves are [K, ...], to be mapped over devices. n is at least 1 and traced, so one program
    takes any number of updates. On a CPU the networks of a device take turns: each has the caches
    to itself, and its numbers don't depend on its neighbours. On other devices they run batched.
    """
    on_gpu = jax.default_backend() == "gpu"
    loss = make_loss(
        config, method, branch=_one_by_one(), split=layout.split,
        fused_pairs=config.fused_pairs and on_gpu and layout.split.count == 1,
        fused_rollout=config.fused_rollout and on_gpu,
    )  # fmt: skip
    step = make_step(config, loss, layout.split, first_step)

    def dispatch(states: TrainState, settings: Settings, num_steps: Array):
        def advance(_, carried: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            return _map_networks(step, carried[0], settings)

        shapes = jax.eval_shape(partial(_map_networks, step), states, settings)[1]
        no_metrics = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return lax.fori_loop(0, num_steps, advance, (states, no_metrics))

    return dispatch


class Dispatch:
    """`make_dispatch`, compiled and mapped over devices: (states, settings, n), leaves [D, K, ...].

    The input states are donated: the returned states reuse their memory.
    """

    def __init__(
        self, config: ConfigDict, layout: Layout, method: Method = PAPER, first_step: int = 0
    ) -> None:
        held = len(layout.devices), layout.per_device

        def rows(tree: Any) -> Any:
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((*held, *leaf.shape), leaf.dtype), tree
            )

        states = jax.eval_shape(make_init(config, method), jnp.uint32(0))
        settings = jax.eval_shape(lambda: make_settings(config))
        number = jax.ShapeDtypeStruct(held[:1], jnp.int32)
        dispatch = _same(make_dispatch, config, method, layout=layout, first_step=first_step)
        self._layout = layout
        self.program = layout.compile(dispatch, rows(states), rows(settings), number, donate=True)

    def __call__(
        self, states: TrainState, settings: Settings, num_steps: int
    ) -> tuple[TrainState, Metrics]:
        """Make `num_steps` updates; return the states and the metrics of the last update."""
        return self.program(states, settings, self._layout.everywhere(num_steps))


def start(
    config: ConfigDict, seeds: np.ndarray, layout: Layout, method: Method = PAPER
) -> TrainState:
    """Return the states before the first update of networks with seeds [P], leaves [D, K, ...]."""
    rows = layout.rows(seeds)
    return layout.compile(_same(_make_start, config, method), rows)(rows)


def _make_start(config: ConfigDict, method: Method) -> Callable[[Array], TrainState]:
    return partial(_map_networks, make_init(config, method))


def _same(make: Callable, config: ConfigDict, method: Method, **options: Any) -> Callable:
    """Return `make(config, method=method, **options)`, the same function for the same program.

    JAX compiles a function once. A user's own parts give a new function every time, because values
    that they read may have changed.
    """
    if method != PAPER:
        return make(config, method=method, **options)
    # Only the cosine depends on num_steps, and only if decay_steps is 0. So a prolonged run
    # continues with the same program.
    fields = {name: FIELDS[name].default for name in _OUTSIDE}
    ends = 0
    if config.optimizer.schedule == "cosine":
        ends = config.optimizer.decay_steps or config.num_steps
    fields |= {"optimizer.decay_steps": ends, "num_steps": FIELDS["num_steps"].default}
    return _made(make, FrozenConfigDict(changed(config, fields)), **options)


@functools.lru_cache(maxsize=_KEPT_FUNCTIONS)
def _made(make: Callable, config: FrozenConfigDict, **options: Any) -> Callable:
    return make(config, method=PAPER, **options)


def failure_of(state: TrainState, network: int, method: Method = PAPER) -> str | None:
    """Return one line naming network, update and term if the network went non-finite, else None."""
    if state.failed_step < 0:
        return None
    terms = dict(enumerate(failures(method)))
    term = terms.get(int(state.failed_term), "a term of the method")  # loaded without its method
    return f"network {network}: {term} is not finite at update {int(state.failed_step)}"


def _one_by_one() -> bool:
    return jax.default_backend() == "cpu"


def _map_networks(function: Callable, *arguments: Any) -> Any:
    """Apply a function to each network of a device, leaves [K, ...]."""
    if _one_by_one():
        return lax.map(lambda of_one: function(*of_one), arguments)
    return jax.vmap(function)(*arguments)


def _keys(seed: Array) -> Array:
    """Return two keys of a network: for its initial weights and for its data."""
    return jax.random.split(jax.random.key(seed))
