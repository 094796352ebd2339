"""Every setting of a run: its default, meaning and source; what is right, and how it is set.

A source is "paper" (Schaeffer et al. 2023 state it), "inferred" (the paper implies or plots it) or
"ours" (the paper leaves it open, or it is no part of the method).
"""

import copy
import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict


class ConfigError(ValueError):
    """Bad input, said in one line that names the field, the value and what would be right."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value must satisfy, and how to say so."""

    holds: Callable[[Any], bool]
    says: str


def at_least(smallest: int) -> Rule:
    """Integers from `smallest` to the largest that JAX counts with."""
    return Rule(lambda value: smallest <= value < 2**31, f"at least {smallest}, and below 2**31")


def within(smallest: int, largest: int) -> Rule:
    """Integers in a closed range."""
    return Rule(lambda value: smallest <= value <= largest, f"from {smallest} to {largest}")


def one_of(*choices: str) -> Rule:
    """One of a few words."""
    return Rule(lambda value: value in choices, "one of " + ", ".join(choices))


POSITIVE = Rule(lambda value: math.isfinite(value) and value > 0, "positive and finite")
FINITE = Rule(math.isfinite, "finite")
NOT_NEGATIVE = Rule(lambda value: math.isfinite(value) and value >= 0, "finite and not negative")
FRACTION = Rule(lambda value: 0 <= value < 1, "in [0, 1)")
ANY = Rule(lambda value: True, "")


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting."""

    default: Any
    meaning: str
    source: str = "ours"
    rule: Rule = ANY
    changes_numbers: bool = True  # False: a run may be continued with another value


# What the networks of one program may differ in: traced scalars, see `method.Settings`.
VARIED = (
    "loss.separation", "loss.invariance", "loss.capacity", "loss.conformal_isometry",
    "loss.sigma_x", "loss.sigma_g", "loss.min_step", "data.permute", "optimizer.learning_rate",
)  # fmt: skip

# What may change from one stage of a training to the next: nothing that a network is made of.
STAGED = (
    "data.num_trajectories", "data.trajectory_length", "data.permute",
    "loss.separation", "loss.invariance", "loss.capacity", "loss.conformal_isometry",
    "loss.sigma_x", "loss.sigma_g", "loss.min_step", "optimizer.learning_rate",
    "optimizer.warmup_steps", "optimizer.clip", "optimizer.accumulation", "optimizer.weight_decay",
)  # fmt: skip

FIELDS: Mapping[str, Field] = {
    "seed": Field(0, "network k of every variant uses seed + k", rule=within(0, 2**32 - 1)),
    "num_networks": Field(
        1, "networks (seeds) trained side by side, of every variant", rule=within(1, 2**31)
    ),
    "variants": Field(
        {}, "named settings, each trained from every seed: a table from a name to fields of this"
        " list and their values, as JSON on the command line; fields that may vary: "
        + ", ".join(VARIED),
    ),
    "stages": Field(
        {}, "named stages of the training, in order: a table from a name to its num_steps and to"
        " fields of this list that differ in it, as JSON on the command line; warm-up and cosine"
        " begin anew in each, the run ends at the num_steps above, and a variant's own values hold"
        " in every stage; fields that may change: " + ", ".join(STAGED),
        changes_numbers=False,  # of stages that have begun it does: see `stages_begun`
    ),
    "start_from": Field(
        "", "where the parameters come from at step 0, instead of the seed: the folder of a run, or"
        " the name of a network that comes with sicjax; of one network for all, or as many"
    ),
    "num_steps": Field(
        2_000_000, "optimiser updates", "paper", within(1, 2**31 - 1), changes_numbers=False
    ),
    "steps_per_dispatch": Field(
        10, "steps that the device takes between two words with the host (at most)",
        rule=at_least(1), changes_numbers=False,
    ),
    "log_every": Field(
        100, "steps between two lines of metrics", rule=at_least(1), changes_numbers=False
    ),
    "checkpoint_every": Field(
        1000, "steps between two checkpoints", rule=at_least(1), changes_numbers=False
    ),
    "keep_checkpoints": Field(
        2, "latest checkpoints kept on disk", rule=at_least(1), changes_numbers=False
    ),
    "keep_checkpoints_every": Field(
        0, "checkpoints of every so many steps are kept for good; 0 keeps the latest alone",
        rule=at_least(0), changes_numbers=False,
    ),
    "report": Field(True, "evaluate and write report/ at the end", changes_numbers=False),
    "compilation_cache": Field(
        True, "keep compiled programs under the user's cache folder", changes_numbers=False
    ),
    "parallel": Field(
        "networks", "how several devices are spent: each on networks of its own; all on the"
        " batch of each network; auto: the first if no device stays idle, else the second",
        rule=one_of("networks", "batch", "auto"), changes_numbers=False,
    ),
    "data.num_trajectories": Field(130, "B, permutations of the velocities", "paper", at_least(1)),
    "data.trajectory_length": Field(60, "T, steps", "paper", at_least(1)),
    "data.max_velocity": Field(0.15, "largest velocity component, m per step", "paper", POSITIVE),
    "data.permute": Field(True, "False: the ablation without permutations", "paper"),
    "model.num_units": Field(128, "N", "paper", at_least(1)),
    "model.hidden_width": Field(256, "H, of the hypernetwork's hidden layers", rule=at_least(1)),
    "model.num_layers": Field(3, "linear layers of the hypernetwork", "paper", within(1, 1000)),
    "model.activation": Field(
        "relu", "of the hypernetwork: a function of jax.nn",
        rule=one_of("relu", "gelu", "silu", "tanh", "elu", "softplus"),
    ),
    "model.last_layer_scale": Field(
        0.1, "start of the last layer's weights, relative to ±1/sqrt(H)", rule=NOT_NEGATIVE
    ),
    "model.identity_start": Field(True, "the last bias starts as the identity matrix"),
    "model.positive_start": Field(True, "g_0 starts as |normal| rather than normal, normalised"),
    "model.train_initial_state": Field(True, "g_0 is trained along with the weights"),
    "loss.sigma_x": Field(0.05, "spatial scale of near and far, m", "paper", POSITIVE),
    "loss.sigma_g": Field(0.4, "neural scale of separation", "paper", POSITIVE),
    "loss.min_step": Field(
        0.0, "steps no longer than this, m, don't count in conformal isometry: its expectation is"
        " finite only above 0; 0 is the paper's", "ours", NOT_NEGATIVE,
    ),
    "loss.separation": Field(1.0, "weight", "paper", FINITE),
    "loss.invariance": Field(0.1, "weight", "paper", FINITE),
    "loss.capacity": Field(0.5, "weight", "paper", FINITE),
    "loss.conformal_isometry": Field(0.1, "weight; the paper gives none", "ours", FINITE),
    "loss.reduction": Field(
        "mean", "of the pair losses; literal sums would drown capacity", "inferred",
        one_of("mean", "sum"),
    ),
    "optimizer.learning_rate": Field(2e-5, "peak, of AdamW", "paper", POSITIVE),
    "optimizer.schedule": Field(
        "plateau", "of the learning rate, after the warm-up", "paper",
        one_of("constant", "cosine", "plateau"),
    ),
    "optimizer.warmup_steps": Field(0, "linear rise of the learning rate", rule=at_least(0)),
    "optimizer.decay_steps": Field(
        0,
        "step at which cosine reaches zero; 0 means the num_steps that the run begins with, and"
        " stays that when it is prolonged",
        rule=at_least(0),
    ),
    "optimizer.plateau_factor": Field(
        0.1, "cut of the learning rate on a plateau (PyTorch's default)", "inferred",
        Rule(lambda value: 0 < value < 1, "in (0, 1)"),
    ),
    "optimizer.plateau_patience": Field(
        10, "averages without a new best loss before the cut (PyTorch's default)", "inferred",
        at_least(0),
    ),
    "optimizer.plateau_window": Field(
        1000, "steps whose mean loss is one such average", rule=at_least(1)
    ),
    "optimizer.clip": Field(0.1, "largest norm of the whole gradient", "paper", POSITIVE),
    "optimizer.accumulation": Field(2, "batches averaged in one update", "paper", at_least(1)),
    "optimizer.weight_decay": Field(0.01, "AdamW's (PyTorch's default)", "inferred", NOT_NEGATIVE),
    "optimizer.b1": Field(0.9, "Adam's first moment", "inferred", FRACTION),
    "optimizer.b2": Field(0.999, "Adam's second moment", "inferred", FRACTION),
    "evaluation.recorded_path": Field(
        "sargolini",
        "rat path that drives the network in the report: sargolini (comes with the package"
        " ratinabox), a .npz or .npy file of positions [samples, 2] in metres, or nothing",
        changes_numbers=False,
    ),
    "evaluation.recorded_path_every": Field(
        15,
        "keep one sample in this many; drift grows with steps, and at 15 the rat's fastest step"
        " (0.146 m) is still one that was trained",
        rule=at_least(1), changes_numbers=False,
    ),
    "evaluation.torus_rolls": Field(
        0,
        "rolls in the null of each module's torus test in the report; 20 take a minute or so a"
        " module; 0 makes no null, and so gives no verdict",
        rule=at_least(0), changes_numbers=False,
    ),
    "evaluation.animations": Field(True, "moving pictures in the report", changes_numbers=False),
    "evaluation.snapshot_every": Field(
        0,
        "steps between two quick looks at each network's maps while it trains, a second or two"
        " each: film strip, TensorBoard images, progress; 0: never",
        rule=at_least(0), changes_numbers=False,
    ),
}  # fmt: skip


def default() -> ConfigDict:
    """A locked config of all defaults: the published settings, and for the open ones, ours.

    Returns:
        An `ml_collections.ConfigDict`. A field that doesn't exist can't be set.

    Source: each field names its own; `python -m sicjax.main --help` lists them.

    Example:
        >>> import sicjax
        >>> config = sicjax.default_config()
        >>> config.loss.capacity = 3.0
    """
    config = ConfigDict(convert_dict=False)  # `variants` stays a plain table, in its order
    for name, field in FIELDS.items():
        section, _, leaf = name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[leaf] = copy.deepcopy(field.default)
    return config.lock()


def flatten(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names to plain values, in the config's order; `variants` is one value."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, (Mapping, ConfigDict)) and name not in FIELDS:
                yield from walk(value, f"{name}.")
            else:
                yield name, value

    return dict(walk(config, ""))


def check_kind(config: Any, name: str = "config") -> None:
    """See that this is a config at all, and one that can be changed.

    Raises:
        ConfigError: it isn't; says what it is.
    """
    if isinstance(config, FrozenConfigDict) or not isinstance(config, ConfigDict):
        raise ConfigError(
            f"{name}: a {type(config).__name__}, which is no config; must be an"
            " ml_collections.ConfigDict, as sicjax.load_config and sicjax.default_config give it"
        )


def validate(config: ConfigDict) -> None:
    """Check every field's presence, type and range.

    Raises:
        ConfigError: naming the field, the value and what would be right.
    """
    values = flatten(config)
    for name in values:
        if name not in FIELDS:
            raise ConfigError(unknown_field(name))
    for name in FIELDS:
        if name not in values:
            raise ConfigError(f"{name}: missing; start from sicjax.default_config()")
        _check(name, values[name])
    if config.seed + config.num_networks > 2**32:
        raise ConfigError(f"seed={config.seed}: must leave room for {config.num_networks} seeds")
    _check_tables("variants", config.variants, VARIED, "differ between variants")
    _check_tables("stages", config.stages, STAGED, "change in a stage")
    for name, stage in config.stages.items():
        steps = stage.get("num_steps")
        if type(steps) is not int or not FIELDS["num_steps"].rule.holds(steps):
            raise ConfigError(
                f"stages[{_brief(name)}]['num_steps']={_brief(steps)}: each stage must have one,"
                f" {FIELDS['num_steps'].rule.says}"
            )
    _check_min_step(values)


def _check_min_step(values: Mapping[str, Any]) -> None:
    """See that some steps count in conformal isometry, in every stage of every variant."""
    for stage, fields in (values["stages"] or {"": {}}).items():
        for variant, own in (values["variants"] or {"": {}}).items():
            found = {**values, **flatten(fields), **flatten(own)}
            if found["loss.min_step"] >= found["loss.sigma_x"]:
                where = f"variants[{_brief(variant)}]: " if variant else ""
                where = f"stages[{_brief(stage)}]: {where}" if stage else where
                raise ConfigError(
                    f"{where}loss.min_step={found['loss.min_step']}: must be below loss.sigma_x"
                )


def _check(name: str, value: Any, shown: str | None = None) -> None:
    """Check one value's type and range."""
    field, shown = FIELDS[name], shown or name
    wanted = type(field.default)
    if not isinstance(value, wanted) or isinstance(value, bool) is not (wanted is bool):
        raise ConfigError(f"{shown}={_brief(value)}: must be {_type_name(wanted)}")
    if not field.rule.holds(value):
        raise ConfigError(f"{shown}={_brief(value)}: must be {field.rule.says}")


def _check_tables(field: str, tables: dict[Any, Any], allowed: Sequence[str], what: str) -> None:
    """Check named tables of fields and values."""
    for label, table in tables.items():
        if not (isinstance(label, str) and label and label.isprintable()):
            raise ConfigError(f"{field}: {_brief(label)} can't be a name; give printable text")
        shown = f"{field}[{_brief(label)}]"
        if not isinstance(table, dict):
            raise ConfigError(f"{shown}={_brief(table)}: must be a table of fields and values")
        for name, value in flatten(table).items():
            if field == "stages" and name == "num_steps":
                continue  # how long it is, rather than a change
            if name not in FIELDS:
                raise ConfigError(f"{shown}: {unknown_field(name)}")
            if name not in allowed:
                raise ConfigError(f"{shown}: {name} can't {what}; only {', '.join(allowed)} can")
            if isinstance(FIELDS[name].default, float) and type(value) is int:
                value = float(value) if abs(value) < 1e38 else math.inf
            _check(name, value, f"{shown}[{name!r}]")


def changed(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """A copy of a config with other values of some fields, by dotted name or in sections."""
    other = config.copy_and_resolve_references()
    for name, value in flatten(fields).items():
        section, _, leaf = name.rpartition(".")
        (other[section] if section else other)[leaf] = value
    return other


def stages_begun(config: ConfigDict, step: int) -> list[tuple[str, dict[str, Any]]]:
    """The stages, name and table, that a run which has reached a step is or has been in."""
    begun, first = [], 0
    for name, table in config.stages.items():
        if first >= step:
            break
        begun.append((name, flatten(table)))
        first += table["num_steps"]
    return begun


def set_field(config: ConfigDict, name: str, text: str) -> None:
    """Set a dotted field from its text on the command line.

    Raises:
        ConfigError: no such field (the nearest one is named), one that the config lacks, or text
            of another type.
    """
    if name not in FIELDS:
        raise ConfigError(unknown_field(name))
    wanted = type(FIELDS[name].default)
    try:
        value = _PARSERS[wanted](text)
    except ValueError:
        shown = " ".join(text.split())
        raise ConfigError(f"{name}={shown}: must be {_type_name(wanted)}") from None
    section, _, leaf = name.rpartition(".")
    try:
        (config[section] if section else config)[leaf] = value
    except (KeyError, AttributeError, TypeError):
        raise ConfigError(f"{name}: missing; start from sicjax.default_config()") from None


def describe() -> str:
    """Every field on a line: its name, default, meaning, what is right, and source."""
    lines = []
    for name, field in FIELDS.items():
        right = f"; {field.rule.says}" if field.rule.says else ""
        lines.append(
            f"  {name}={json.dumps(field.default)}  {field.meaning}{right} [{field.source}]"
        )
    return "\n".join(lines)


def difference(old: ConfigDict, new: ConfigDict) -> str | None:
    """The first field that differs and changes a run's numbers, as "field: old, now new"."""
    before, after = flatten(old), flatten(new)
    for name, field in FIELDS.items():
        if field.changes_numbers and before[name] != after[name]:
            return f"{name} was {before[name]!r}, now {after[name]!r}"
    return None


def _parse_bool(text: str) -> bool:
    choices = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in choices:
        raise ValueError(text)
    return choices[text.lower()]


def _parse_int(text: str) -> int:
    """Digits, or a whole number written like 1e4."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not (number.is_integer() and abs(number) <= 2**53):  # beyond, floats skip integers
            raise ValueError(text) from None
        return int(number)


def _parse_table(text: str) -> dict[str, Any]:
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError(text)
    return table


_PARSERS: Mapping[type, Callable[[str], Any]] = {
    bool: _parse_bool, int: _parse_int, float: float, str: str, dict: _parse_table,
}  # fmt: skip

_TYPE_NAMES: Mapping[type, str] = {
    bool: "true or false", int: "an integer", float: "a number", str: "text",
    dict: 'a table, as {"NAME": {"FIELD": VALUE}}',
}  # fmt: skip


def _type_name(kind: type) -> str:
    return _TYPE_NAMES[kind]


def _brief(value: Any) -> str:
    """A value on one line of bounded length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}..."


def unknown_field(name: str) -> str:
    """One line on a name that is no field's, with the nearest one that is."""
    name = " ".join(name.split())
    leaves = {field.rpartition(".")[2]: field for field in FIELDS}
    near = difflib.get_close_matches(name, FIELDS, 1) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], leaves, 1)
    ]
    return f"{name}: no such field" + (f"; did you mean {near[0]}?" if near else "")
