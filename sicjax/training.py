"""One training step for one network, and its map over networks, steps and devices.

step(state, settings) -> (state, metrics)     one network, pure
map over networks                             P networks: seeds and/or settings
lax.scan(..., length=n)                       n steps per dispatch
pmap                                          the same on every device
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from ml_collections import ConfigDict
from optax.contrib import reduce_on_plateau

from sicjax import config as config_module
from sicjax.config import ConfigError
from sicjax.losses import LossSettings, neural_speeds, sic_loss
from sicjax.model import Hypernetwork, initial_direction, norm_relu, rollout_permuted
from sicjax.parallel import WHOLE, Layout, Split
from sicjax.trajectories import Batch, permuted_batch, sample_batch

# What can go non-finite, after which come a method's own terms; index -1 means nothing has.
FAILURES = (
    "separation", "invariance", "capacity", "conformal_isometry", "gradient", "weights"
)  # fmt: skip
# What is logged beside the four terms and their weighted values.
LOGGED = (
    "loss", "num_far", "num_near", "neural_speed", "dead_states", "dead_units", "learning_rate",
    "gradient_norm", "step", "network", "timing",
)  # fmt: skip


class Settings(NamedTuple):
    """Traced scalars: networks trained side by side may differ in them."""

    loss: LossSettings
    permute: Array  # bool
    learning_rate: Array  # peak


class Parameters(NamedTuple):
    """What is trained."""

    hypernetwork: Any  # Flax parameters
    initial_direction: Array  # [N]; g_0 = norm_relu(initial_direction)


class TrainState(NamedTuple):
    """One network in training. A population has a leading axis on every leaf."""

    step: Array  # int32, updates done
    seed: Array  # uint32
    parameters: Parameters
    optimizer: Any  # optax state
    failed_step: Array  # int32, step whose update went non-finite; -1 while all is well
    failed_term: Array  # int32, index into failures(method)


Metrics = dict[str, Array]
Loss = Callable[[Parameters, Array, Settings], tuple[Array, Metrics]]
Step = Callable[[TrainState, Settings], tuple[TrainState, Metrics]]


class TransitionNetwork(Protocol):
    """What gives W(v): a Flax module, or anything with the same two functions."""

    def init(self, key: Array, velocity: Array, /) -> Any:
        """Parameters, from a key and a velocity [2]."""

    def apply(self, parameters: Any, velocities: Array, /) -> Any:
        """Velocities [..., 2] metres per step -> matrices [..., N, N]."""


@dataclasses.dataclass(frozen=True)
class Method:
    """Parts of the method to replace by your own; those not given are the paper's.

    Args:
        transition: gives W(v) instead of the MLP: a Flax module (or any object with `init` and
            `apply`) from velocities [..., 2] metres per step to matrices [..., N, N], N being
            `config.model.num_units`.
        velocities: from a key to T velocities [T, 2] metres per step, T being
            `config.data.trajectory_length`; each batch holds B permutations of them. Set
            `config.data.max_velocity` to the largest component: evaluation walks stay below it.
        terms: further terms of the loss, weight included, by name: functions of the states
            [B, T, N], the initial state [N] and the `Batch`, each giving a scalar. They are
            added to the loss and logged under their names.

    Raises:
        ConfigError: by `train`, for a part that gives another shape, or a name that is taken.

    Source: ours; what it replaces is in Schaeffer et al. 2023, section 3.

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> def sparsity(states, initial_state, batch):
        ...     return 0.01 * jnp.mean(jnp.sum(states, axis=-1))
        >>> method = sicjax.Method(terms={"sparsity": sparsity})
        >>> config = sicjax.default_config()
        >>> config.num_steps, config.data.num_trajectories, config.model.hidden_width = 2, 4, 8
        >>> run = sicjax.train(config, method=method)  # doctest: +ELLIPSIS
        1 network(s) on ...
    """

    transition: TransitionNetwork | None = None
    velocities: Callable[[Array], Array] | None = None
    terms: Mapping[str, Callable[[Array, Array, Batch], Array]] = dataclasses.field(
        default_factory=dict
    )

    def describe(self) -> dict[str, str]:
        """Which parts are replaced, and by what: names, without the code behind them."""
        parts: dict[str, Any] = {"transition": self.transition, "velocities": self.velocities}
        parts |= {f"terms.{name}": term for name, term in self.terms.items()}
        return {name: _name(part) for name, part in parts.items() if part is not None}


def _name(part: Any) -> str:
    """What a part is called, without the addresses that differ between processes."""
    name = getattr(part, "__qualname__", None) or re.sub(r" at 0x[0-9a-f]+", "", repr(part))
    return " ".join(name.split())


PAPER = Method()


def failures(method: Method = PAPER) -> tuple[str, ...]:
    """What can go non-finite in a network trained by this method."""
    return (*FAILURES, *sorted(method.terms))


def check_method(config: ConfigDict, method: Method) -> None:
    """See that the parts fit the config.

    Raises:
        ConfigError: naming the part, the shape that it gives and the one that would be right.
    """
    data, units = config.data, config.model.num_units
    key, length = jax.random.key(0), data.trajectory_length
    if method.velocities is not None:
        _check_shape("velocities", (length, 2), method.velocities, key)
    batch = jax.eval_shape(lambda: draw_batch(config, key, make_settings(config), method))
    if method.transition is not None:
        weights = jax.eval_shape(method.transition.init, key, jnp.zeros(2))
        right = (length, units, units)
        _check_shape("transition", right, method.transition.apply, weights, batch.velocities)
    states = jax.ShapeDtypeStruct((data.num_trajectories, length, units), jnp.float32)
    start = jax.ShapeDtypeStruct((units,), jnp.float32)
    for name, term in method.terms.items():
        if name in LOGGED or name in FAILURES or name.startswith("weighted_"):
            raise ConfigError(f"method.terms.{name}: this name is taken; choose another")
        _check_shape(f"terms.{name}", (), term, states, start, batch)


def _check_shape(name: str, right: tuple, function: Callable, *arguments: Any) -> None:
    given = jnp.shape(jax.eval_shape(function, *arguments))
    if given != right:
        raise ConfigError(f"method.{name}: gives shape {given}; must be {right}")


def make_hypernetwork(config: ConfigDict, method: Method = PAPER) -> TransitionNetwork:
    """The network that gives W: the method's own, or the hypernetwork that a config describes."""
    if method.transition is not None:
        return method.transition
    model = config.model
    return Hypernetwork(
        num_units=model.num_units,
        hidden_width=model.hidden_width,
        num_layers=model.num_layers,
        activation=model.activation,
        max_velocity=config.data.max_velocity,
        last_layer_scale=model.last_layer_scale,
        identity_start=model.identity_start,
    )


def make_transition(
    config: ConfigDict, method: Method = PAPER
) -> Callable[[Parameters, Array], Array]:
    """W: (parameters, velocities [..., 2] metres per step) -> matrices [..., N, N]."""
    hypernetwork = make_hypernetwork(config, method)

    def transition(parameters: Parameters, velocities: Array) -> Array:
        return jnp.asarray(hypernetwork.apply(parameters.hypernetwork, velocities))

    return transition


def make_settings(config: ConfigDict) -> Settings:
    """The settings of one network."""
    loss = config.loss
    names = LossSettings._fields
    return Settings(
        loss=LossSettings(*(jnp.float32(loss[name]) for name in names)),
        permute=jnp.asarray(config.data.permute),
        learning_rate=jnp.float32(config.optimizer.learning_rate),
    )


def population_settings(config: ConfigDict) -> Settings:
    """The settings of every network, leaves [P]."""
    apart = {
        variant: make_settings(config_module.of_variant(config, variant))
        for variant in config.variants or ["default"]
    }
    networks = [apart[member.variant] for member in config_module.members(config)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *networks)


def population_seeds(config: ConfigDict) -> np.ndarray:
    """The seed of every network, uint32 [P]."""
    return np.array([member.seed for member in config_module.members(config)], np.uint32)


def make_optimizer(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Clip, Adam, weight decay, cut on a plateau; the learning rate is applied outside."""
    options = config.optimizer
    plateau = options.schedule == "plateau"
    return optax.chain(
        optax.clip_by_global_norm(options.clip),
        optax.scale_by_adam(options.b1, options.b2),
        optax.add_decayed_weights(options.weight_decay),
        reduce_on_plateau(
            factor=options.plateau_factor,
            patience=options.plateau_patience,
            accumulation_size=options.plateau_window,
        )
        if plateau
        else optax.with_extra_args_support(optax.identity()),
    )


def make_schedule(config: ConfigDict) -> optax.Schedule:
    """Step -> fraction of the peak learning rate (cuts on a plateau come on top)."""
    options = config.optimizer
    if options.schedule == "cosine":
        after = optax.cosine_decay_schedule(
            1.0, max((options.decay_steps or config.num_steps) - options.warmup_steps, 1)
        )
    else:
        after = optax.constant_schedule(1.0)
    # The first update has a rate above zero: the warm-up ends at its peak, not before it.
    warmup = optax.linear_schedule(
        1 / max(options.warmup_steps, 1), 1.0, max(options.warmup_steps - 1, 1)
    )
    return optax.join_schedules([warmup, after], [options.warmup_steps])


def make_init(config: ConfigDict, method: Method = PAPER) -> Callable[[Array], TrainState]:
    """A function seed -> TrainState."""
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


def draw_batch(config: ConfigDict, key: Array, settings: Settings, method: Method = PAPER) -> Batch:
    """The batch that a key stands for."""
    if method.velocities is not None:
        velocity_key, order_key = jax.random.split(key)
        return permuted_batch(
            order_key,
            method.velocities(velocity_key),
            num_trajectories=config.data.num_trajectories,
            permute=settings.permute,
        )
    return sample_batch(
        key,
        num_trajectories=config.data.num_trajectories,
        trajectory_length=config.data.trajectory_length,
        max_velocity=config.data.max_velocity,
        permute=settings.permute,
    )


def make_loss(
    config: ConfigDict, method: Method = PAPER, *, branch: bool = True, split: Split = WHOLE
) -> Loss:
    """The loss of one batch, or this device's share of it; the metrics are whole.

    Args:
        config: of the run.
        method: parts of one's own.
        branch: as in `pairs.pair_losses`.
        split: over the devices that share the trajectories and pairs of a batch; all of them draw
            the same one.
    """
    transition = make_transition(config, method)

    def loss(parameters: Parameters, key: Array, settings: Settings) -> tuple[Array, Metrics]:
        batch = draw_batch(config, key, settings, method)
        initial_state = norm_relu(parameters.initial_direction)
        transitions = transition(parameters, batch.velocities)
        states = rollout_permuted(transitions, split.take(batch.order), initial_state)
        states = split.gathered(states, len(batch.order))
        total, terms = sic_loss(
            states, initial_state, batch, settings.loss,
            reduction=config.loss.reduction, branch=branch, split=split,
        )  # fmt: skip
        own = {name: term(states, initial_state, batch) for name, term in method.terms.items()}
        total = sum(map(split.share, own.values()), total)
        speeds, counted = neural_speeds(
            states, initial_state, batch.steps, max_step=settings.loss.sigma_x
        )
        alive = states > 0
        return total, {
            "loss": split.total(total),
            **terms._asdict(),
            **own,
            "neural_speed": jnp.sum(speeds) / jnp.maximum(jnp.sum(counted), 1),
            "dead_states": jnp.sum(~alive.any(axis=-1)).astype(jnp.float32),
            "dead_units": jnp.sum(~alive.any(axis=(0, 1))).astype(jnp.float32),
        }

    return loss


def make_step(config: ConfigDict, loss: Loss | None = None, split: Split = WHOLE) -> Step:
    """The update of one network, by the given loss or by `make_loss(config)`, split likewise."""
    loss = loss or make_loss(config)
    optimizer, schedule = make_optimizer(config), make_schedule(config)
    accumulation = config.optimizer.accumulation
    frozen_start = not config.model.train_initial_state

    def step(state: TrainState, settings: Settings) -> tuple[TrainState, Metrics]:
        keys = jax.random.split(jax.random.fold_in(_keys(state.seed)[1], state.step), accumulation)

        def add_batch(_, key):
            return None, jax.grad(loss, has_aux=True)(state.parameters, key, settings)

        if accumulation == 1:
            gradients, metrics = add_batch(None, keys[0])[1]
        else:
            stacked = lax.scan(add_batch, None, keys)[1]
            gradients, metrics = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), stacked)
        own = sorted(metrics.keys() - {*FAILURES, *LOGGED})
        gradients = split.total(gradients)
        if frozen_start:
            start = jnp.zeros_like(gradients.initial_direction)
            gradients = gradients._replace(initial_direction=start)
        updates, optimizer_state = optimizer.update(
            gradients, state.optimizer, state.parameters, value=metrics["loss"]
        )
        rate = settings.learning_rate * schedule(state.step)
        metrics["learning_rate"] = rate * _plateau_scale(optimizer_state)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        for name in FAILURES[:4]:
            metrics[f"weighted_{name}"] = getattr(settings.loss, name) * metrics[name]
        parameters = optax.apply_updates(
            state.parameters, jax.tree.map(lambda update: -rate * update, updates)
        )
        updated = state._replace(parameters=parameters, optimizer=optimizer_state)
        return _keep_if_finite(state, updated, metrics, own), metrics

    return step


def _keep_if_finite(
    state: TrainState, updated: TrainState, metrics: Metrics, own: Sequence[str]
) -> TrainState:
    """Freeze a network at its last finite state; the step counter goes on for all.

    A broken term breaks the gradient, and that the weights: the first of them is named.
    """
    watched = [*FAILURES[:4], *own, *FAILURES[4:]]
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


def make_dispatch(config: ConfigDict, layout: Layout, method: Method = PAPER) -> Callable:
    """n steps of a device's networks: `(states, settings, n) -> (states, metrics of the last)`.

    Leaves are [K, ...], to be mapped over devices. On a CPU the networks of a device take their
    steps one after another, so that each keeps the caches to itself and its numbers don't
    depend on its neighbours; elsewhere they run batched.
    """
    loss = make_loss(config, method, branch=_one_by_one(), split=layout.split)
    step = make_step(config, loss, layout.split)

    def dispatch(states: TrainState, settings: Settings, num_steps: int):
        def advance(states, _):
            return _map_networks(step, states, settings)

        states, metrics = lax.scan(advance, states, length=num_steps)
        return states, jax.tree.map(lambda leaf: leaf[-1], metrics)

    return dispatch


def compile_dispatch(
    config: ConfigDict, layout: Layout, method: Method = PAPER, num_steps: int = 1
) -> Any:
    """`make_dispatch` mapped and compiled: (states, settings) [D, K, ...]; states are donated."""
    held = len(layout.devices), layout.per_device

    def rows(tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*held, *leaf.shape), leaf.dtype), tree
        )

    states = jax.eval_shape(make_init(config, method), jnp.uint32(0))
    settings = jax.eval_shape(lambda: make_settings(config))
    dispatch = make_dispatch(config, layout, method)
    return layout.compile(dispatch, rows(states), rows(settings), static=(num_steps,), donate=True)


def start(config: ConfigDict, layout: Layout, method: Method = PAPER) -> TrainState:
    """The states of a population before the first step, leaves [D, K, ...]."""
    seeds = layout.rows(population_seeds(config))
    return layout.compile(partial(_map_networks, make_init(config, method)), seeds)(seeds)


def _one_by_one() -> bool:
    return jax.default_backend() == "cpu"


def _map_networks(function: Callable, *arguments: Any) -> Any:
    """`function` of each network of a device, leaves [K, ...]."""
    if _one_by_one():
        return lax.map(lambda of_one: function(*of_one), arguments)
    return jax.vmap(function)(*arguments)


def _keys(seed: Array) -> Array:
    """Two keys of a network: for its start and for its data."""
    return jax.random.split(jax.random.key(seed))


def _plateau_scale(optimizer_state: Any) -> Array:
    return getattr(optimizer_state[-1], "scale", jnp.float32(1))
