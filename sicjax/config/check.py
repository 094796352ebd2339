"""Configs: defaults from the fields, checks, flattening, comparison, and values from text."""

import copy
import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FieldReference, FrozenConfigDict

from sicjax.config.fields import FIELDS, STAGED, VARIED, Field
from sicjax.errors import ConfigError, brief


def default() -> ConfigDict:
    """Return a locked config of all defaults: published settings, or ours where the paper has none.

    Returns:
        An `ml_collections.ConfigDict` to which no field can be added.

    Source: each field names its own; `python -m sicjax.main --help` lists them.

    Example:
        >>> import sicjax
        >>> config = sicjax.default_config()
        >>> config.loss.capacity = 3.0
    """
    config = ConfigDict(convert_dict=False)  # `variants` stays a plain table and keeps its order
    for name, field in FIELDS.items():
        section, _, leaf = name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        value = copy.deepcopy(field.default)
        if field.also:  # a ConfigDict would refuse text for a field whose default is not text
            value = FieldReference(value, field_type=object)
        (config[section] if section else config)[leaf] = value
    return config.lock()


def flatten(config: ConfigDict | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map dotted names to plain values, in the config's order; `variants` is one value."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, (Mapping, ConfigDict)) and name not in FIELDS:
            values |= flatten(value, f"{name}.")
        else:
            values[name] = value
    return values


def check_kind(config: Any, name: str = "config") -> None:
    """Check that this is a config that can be changed.

    Raises:
        ConfigError: it is something else; the message names its type.
    """
    if isinstance(config, FrozenConfigDict) or not isinstance(config, ConfigDict):
        raise ConfigError(
            f"{name}: a {type(config).__name__}, which is not a config; must be an"
            " ml_collections.ConfigDict, as sicjax.load_config and sicjax.default_config return it"
        )


def validate(config: ConfigDict) -> None:
    """Check every field's presence, type and range.

    Raises:
        ConfigError: a field is wrong; the message names it, its value and what would be right.
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
        raise ConfigError(
            f"seed={config.seed}: must be at most {2**32 - config.num_networks}, because network k"
            " uses seed + k"
        )
    _check_tables("variants", config.variants, VARIED, "differ between variants")
    _check_tables("stages", config.stages, STAGED, "change in a stage")
    for name, stage in config.stages.items():
        steps = stage.get("num_steps")
        if type(steps) is not int or not FIELDS["num_steps"].rule.holds(steps):
            raise ConfigError(
                f"stages[{brief(name)}]['num_steps']={brief(steps)}: each stage must have one,"
                f" {FIELDS['num_steps'].rule.says}"
            )
    _check_min_step(values)


def _check_min_step(values: Mapping[str, Any]) -> None:
    """Check that some steps count in conformal isometry, in every stage of every variant."""
    for stage, fields in (values["stages"] or {"": {}}).items():
        for variant, own in (values["variants"] or {"": {}}).items():
            found = {**values, **flatten(fields), **flatten(own)}
            if found["loss.min_step"] >= found["loss.sigma_x"]:
                where = f"variants[{brief(variant)}]: " if variant else ""
                where = f"stages[{brief(stage)}]: {where}" if stage else where
                raise ConfigError(
                    f"{where}loss.min_step={found['loss.min_step']}: must be below loss.sigma_x"
                )


def _check(name: str, value: Any, shown: str | None = None) -> None:
    """Check one value's type and range."""
    field, shown = FIELDS[name], shown or name
    wanted = type(field.default)
    if isinstance(value, str) and value in field.also:
        return
    if not isinstance(value, wanted) or isinstance(value, bool) is not (wanted is bool):
        raise ConfigError(f"{shown}={brief(value)}: must be {_type_name(field)}")
    if not field.rule.holds(value):
        raise ConfigError(f"{shown}={brief(value)}: must be {field.rule.says}")


def _check_tables(field: str, tables: dict[Any, Any], allowed: Sequence[str], what: str) -> None:
    """Check named tables of fields and values."""
    for label, table in tables.items():
        if not (isinstance(label, str) and label and label.isprintable()):
            raise ConfigError(f"{field}: {brief(label)} can't be a name; give printable text")
        shown = f"{field}[{brief(label)}]"
        if not isinstance(table, dict):
            raise ConfigError(f"{shown}={brief(table)}: must be a table of fields and values")
        for name, value in flatten(table).items():
            if field == "stages" and name == "num_steps":
                continue  # num_steps is the length of the stage, not a field that changes
            if name not in FIELDS:
                raise ConfigError(f"{shown}: {unknown_field(name)}")
            if name not in allowed:
                raise ConfigError(f"{shown}: {name} can't {what}; only {', '.join(allowed)} can")
            if isinstance(FIELDS[name].default, float) and type(value) is int:
                value = float(value) if abs(value) < 1e38 else math.inf
            _check(name, value, f"{shown}[{name!r}]")


def changed(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """Return a copy of a config with new values of some fields, by dotted name or in sections."""
    other = config.copy_and_resolve_references()
    for name, value in flatten(fields).items():
        section, _, leaf = name.rpartition(".")
        with other.ignore_type():  # `report` may be a bool or a word
            (other[section] if section else other)[leaf] = value
    return other


def stages_begun(config: ConfigDict, step: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the stages (name and table) that a run has begun after a number of updates."""
    begun, first = [], 0
    for name, table in config.stages.items():
        if first >= step:
            break
        begun.append((name, flatten(table)))
        first += table["num_steps"]
    return begun


def set_field(config: ConfigDict, name: str, text: str) -> None:
    """Set a dotted field from its text on the command line.

    `stages.NAME.FIELD` and `variants.NAME.FIELD` set a field of one stage or variant of the config.

    Raises:
        ConfigError: no such field (the message names the nearest one), a field, stage or variant
            that this config lacks, or text of another type.
    """
    value, (table, label, field) = parse_field(name, text), _in_table(name)
    try:
        if not table:
            section, _, leaf = field.rpartition(".")
            (config[section] if section else config)[leaf] = value
        elif label in (entries := config[table]):
            entries[label] = flatten(entries[label]) | {field: value}
        else:
            known = ", ".join(map(brief, entries)) or "empty"
            raise ConfigError(f"{_one_line(name)}: the config's {table} are {known}")
    except (KeyError, AttributeError, TypeError):
        raise ConfigError(
            f"{_one_line(name)}: missing; start from sicjax.default_config()"
        ) from None


def parse_field(name: str, text: str) -> Any:
    """Return a dotted field's value from its text on the command line, as `set_field` takes both.

    Raises:
        ConfigError: no such field (the message names the nearest one), or text of another type.
    """
    _, _, own = _in_table(name)
    if own not in FIELDS:
        table, dot, _ = name.partition(".")
        if dot and table in _TABLES:
            known = ", ".join(_TABLES[table])
            raise ConfigError(
                f"{_one_line(name)}: must be {table}.NAME.FIELD, with a FIELD of {known}"
            )
        raise ConfigError(unknown_field(name))
    field = FIELDS[own]
    try:
        return text if text in field.also else _PARSERS[type(field.default)](text)
    except ValueError:
        raise ConfigError(
            f"{_one_line(name)}={_one_line(text)}: must be {_type_name(field)}"
        ) from None


def _in_table(name: str) -> tuple[str, str, str]:
    """Split the name of a field of a stage or variant: table, label, field; "", "", name if not."""
    table, _, rest = name.partition(".")
    for field in _TABLES.get(table, ()):
        if rest.endswith(f".{field}"):
            return table, rest.removesuffix(f".{field}"), field
    return "", "", name


def _one_line(text: str) -> str:
    return " ".join(text.split())


def describe() -> str:
    """Describe every field in one line: name, default, meaning, range and source."""
    lines = []
    for name, field in FIELDS.items():
        right = f"; {field.rule.says}" if field.rule.says else ""
        lines.append(
            f"  {name}={json.dumps(field.default)}  {field.meaning}{right} [{field.source}]"
        )
    return "\n".join(lines)


def difference(old: ConfigDict, new: ConfigDict) -> str | None:
    """Return the first difference that changes a run's numbers, as "field was old, now new"."""
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
    """Read digits, or a whole number written like 1e4."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not (number.is_integer() and abs(number) <= 2**53):  # larger floats skip integers
            raise ValueError(text) from None
        return int(number)


def _parse_table(text: str) -> dict[str, Any]:
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError(text)
    return table


# The fields that an entry of a table may set, see `_check_tables`.
_TABLES: Mapping[str, Sequence[str]] = {"stages": ("num_steps", *STAGED), "variants": VARIED}

_PARSERS: Mapping[type, Callable[[str], Any]] = {
    bool: _parse_bool, int: _parse_int, float: float, str: str, dict: _parse_table,
}  # fmt: skip

_TYPE_NAMES: Mapping[type, str] = {
    bool: "true or false", int: "an integer", float: "a number", str: "text",
    dict: 'a table, as {"NAME": {"FIELD": VALUE}}',
}  # fmt: skip


def _type_name(field: Field) -> str:
    return " or ".join([_TYPE_NAMES[type(field.default)], *field.also])


def unknown_field(name: str) -> str:
    """Return one line about an unknown field, with the nearest field name."""
    name = _one_line(name)
    leaves = {field.rpartition(".")[2]: field for field in FIELDS}
    near = difflib.get_close_matches(name, FIELDS, 1) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], leaves, 1)
    ]
    return f"{name}: no such field" + (f"; did you mean {near[0]}?" if near else "")
