"""The method and its replaceable parts: the velocities, the transition W(v), extra loss terms.

The factories here turn a config and a `Method` into functions of arrays.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from sicjax.errors import ConfigError
from sicjax.network.losses import TERMS, LossSettings
from sicjax.network.model import Hypernetwork
from sicjax.network.trajectories import Batch, permuted_batch, sample_batch
from sicjax.training.fingerprint import Fingerprint, fingerprint

# Names of what can go non-finite; a method's own terms follow. Checkpoints store the index.
FAILURES = (*TERMS, "gradient", "weights")
# Metrics besides the terms and their weighted values.
LOGGED = (
    "loss", "num_far", "num_near", "neural_speed", "dead_states", "dead_units", "learning_rate",
    "gradient_norm", "step", "network", "timing",
)  # fmt: skip


class Settings(NamedTuple):
    """Traced scalars that may differ between networks trained side by side."""

    loss: LossSettings
    permute: Array  # bool
    learning_rate: Array  # peak


class Parameters(NamedTuple):
    """The trained parameters."""

    hypernetwork: Any  # Flax parameters
    initial_direction: Array  # [N]; g_0 = norm_relu(initial_direction)


class TransitionNetwork(Protocol):
    """Interface of a network for W(v): a Flax module, or any object with these two functions."""

    def init(self, key: Array, velocity: Array, /) -> Any:
        """Return parameters from a key and a velocity [2]."""

    def apply(self, parameters: Any, velocities: Array, /) -> Any:
        """Return matrices [..., N, N] for velocities [..., 2] in metres per step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """Your own parts of the method; parts left out are the paper's.

    Args:
        transition: replaces the MLP: a Flax module (or any object with `init` and `apply`) that
            maps velocities [..., 2] in metres per step to matrices [..., N, N]. N is
            `config.model.num_units`.
        velocities: maps a key to T velocities [T, 2] in metres per step. T is
            `config.data.trajectory_length`; each batch holds B permutations of them. Set
            `config.data.max_velocity` to the largest component: evaluation walks stay below it.
        terms: more terms of the loss, by name. Each is a function of the states [B, T, N], the
            initial state [N] and the `Batch`; it returns a scalar that includes its weight. Terms
            are multiplied by `config.loss.own_terms`, in which networks trained side by side may
            differ; then they are added to the loss and logged under their names.

    Raises:
        ConfigError: a part has the wrong type. `train` also raises it for a part that returns the
            wrong shape and for a name that is taken.

    Source: ours; the replaced parts are in Schaeffer et al. 2023, section 3.

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> def sparsity(states, initial_state, batch):
        ...     return 0.01 * jnp.mean(jnp.sum(states, axis=-1))
        >>> method = sicjax.Method(terms={"sparsity": sparsity})
        >>> config = sicjax.load_config("quick")
        >>> config.num_steps, config.data.num_trajectories, config.model.hidden_width = 2, 4, 8
        >>> run = sicjax.train(config, method=method)  # doctest: +ELLIPSIS
        1 network(s) on ...
    """

    transition: TransitionNetwork | None = None
    velocities: Callable[[Array], Array] | None = None
    terms: Mapping[str, Callable[[Array, Array, Batch], Array]] = dataclasses.field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        part = self.transition
        if part is not None and (
            isinstance(part, type) or not (hasattr(part, "init") and hasattr(part, "apply"))
        ):
            raise ConfigError(
                f"method.transition: {_name(part)} has no `init` and `apply`; must be a Flax module"
                " or an object with both"
            )
        if self.velocities is not None and not callable(self.velocities):
            raise ConfigError(
                f"method.velocities: {_name(self.velocities)}: must be a function of a key"
            )
        if not isinstance(self.terms, Mapping):
            raise ConfigError(
                f"method.terms: a {type(self.terms).__name__}: must be a table, name to function"
            )
        for name, term in self.terms.items():
            if not (isinstance(name, str) and name.isprintable() and name and callable(term)):
                raise ConfigError(
                    f"method.terms: {name!r}: {_name(term)}: must be a name and a function of"
                    " states, initial state and batch"
                )

    def describe(self) -> dict[str, str]:
        """Return the replaced parts and the names of their replacements."""
        return {name: _name(part) for name, part in self._parts().items()}

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Return the digests of each replaced part."""
        return {name: fingerprint(part) for name, part in self._parts().items()}

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"transition": self.transition, "velocities": self.velocities}
        parts |= {f"terms.{name}": term for name, term in self.terms.items()}
        return {name: part for name, part in parts.items() if part is not None}


def _name(part: Any) -> str:
    """Return the name of a part without memory addresses: these differ between processes."""
    name = getattr(part, "__qualname__", None) or re.sub(r" at 0x[0-9a-f]+", "", repr(part))
    return " ".join(name.split())


PAPER = Method()
CONSTANTS, SOURCE = "constants_of", "source_of"  # tables of digests in method.json
TABLES = (CONSTANTS, SOURCE, "source")  # versions up to 0.3 wrote the last


def check_is(method: Any) -> None:
    """Check that the argument is a `Method`.

    Raises:
        ConfigError: the argument is something else.
    """
    if not isinstance(method, Method):
        raise ConfigError(f"method: a {type(method).__name__}: must be a sicjax.Method")


def failures(method: Method = PAPER) -> tuple[str, ...]:
    """Return the names of everything that can go non-finite in a network trained by this method."""
    return (*FAILURES, *sorted(method.terms))


def record(method: Method) -> dict[str, Any]:
    """Return what method.json records about a method; empty for the paper's method."""
    names, digests = method.describe(), method.fingerprints()
    if not names:
        return {}
    return {
        **names,
        CONSTANTS: {name: digest.constants for name, digest in digests.items()},
        SOURCE: {name: digest.source for name, digest in digests.items()},
    }


def check_recorded(folder: Path, recorded: Mapping[str, Any], method: Method) -> None:
    """Check that a run continues with the method it began with.

    Names and constants must be equal. Changed source only prints a line, because it may be a
    comment.

    Args:
        folder: the workdir, for messages.
        recorded: what `record` returned when the run began.
        method: the method now.

    Raises:
        ConfigError: a part has another name or other constants.
    """
    now = record(method)
    for part in [name for name in {**recorded, **now} if name not in TABLES]:
        _check_name(folder, part, recorded, now)
        if _differ(CONSTANTS, part, recorded, now):
            raise ConfigError(
                f"workdir={folder} belongs to another experiment: a constant of method.{part} has"
                " changed since; use another --workdir for this one"
            )
        if _differ(SOURCE, part, recorded, now):
            print(
                f"workdir={folder}: the source of method.{part} has changed since this run began;"
                " the run continues with the present source",
                file=sys.stderr,
            )


def check_to_load(folder: Path, recorded: Mapping[str, Any], method: Method) -> None:
    """Check that a trained network is loaded with its own transition; print other changes.

    Args:
        folder: the workdir, for messages.
        recorded: what `record` returned when the network was trained.
        method: the method now.

    Raises:
        ConfigError: the network was trained with another transition.
    """
    now = record(method)
    _check_name(folder, "transition", recorded, now)
    for part in sorted({*recorded} - {*TABLES}):
        if part not in now:
            note = "isn't given: maps and rollouts don't need it, further training does"
        elif any(_differ(table, part, recorded, now) for table in (CONSTANTS, SOURCE)):
            note = "has been edited since (its source, or a constant in it)"
        else:
            continue
        print(f"{folder} was trained with method.{part}, which {note}", file=sys.stderr)


def _differ(table: str, part: str, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether a part's digest has changed; False if it wasn't recorded."""
    before, after = recorded.get(table, {}), now.get(table, {})
    return part in before and part in after and before[part] != after[part]


def _check_name(
    folder: Path, part: str, recorded: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    if recorded.get(part) != now.get(part):
        raise ConfigError(
            f"workdir={folder} belongs to another experiment: method.{part} was"
            f" {recorded.get(part, 'not given')}, now {now.get(part, 'not given')}"
        )


def check_method(config: ConfigDict, method: Method) -> None:
    """Check that the parts fit the config.

    Raises:
        ConfigError: a part returns the wrong shape, a name is taken, or the transition isn't
            hashable.
    """
    data, units = config.data, config.model.num_units
    key, length = jax.random.key(0), data.trajectory_length
    if method.velocities is not None:
        _check_shape("velocities", (length, 2), method.velocities, key)
    batch = jax.eval_shape(lambda: draw_batch(config, key, make_settings(config), method))
    if method.transition is not None:
        if not isinstance(method.transition, Hashable):
            raise ConfigError(
                "method.transition: must be hashable, because programs are compiled for it; for a"
                " dataclass, set frozen=True"
            )
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
    """Return the network that computes W: the method's, or else the config's hypernetwork."""
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
    """Return W: (parameters, velocities [..., 2] in metres per step) -> matrices [..., N, N]."""
    hypernetwork = make_hypernetwork(config, method)

    def transition(parameters: Parameters, velocities: Array) -> Array:
        return jnp.asarray(hypernetwork.apply(parameters.hypernetwork, velocities))

    return transition


def make_settings(config: ConfigDict) -> Settings:
    """Return the settings of one network."""
    loss = config.loss
    names = LossSettings._fields
    return Settings(
        loss=LossSettings(*(jnp.float32(loss[name]) for name in names)),
        permute=jnp.asarray(config.data.permute),
        learning_rate=jnp.float32(config.optimizer.learning_rate),
    )


def draw_batch(config: ConfigDict, key: Array, settings: Settings, method: Method = PAPER) -> Batch:
    """Draw the batch of a key."""
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
