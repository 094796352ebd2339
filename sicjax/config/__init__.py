"""Configs: the schema of all settings, checks of their values, and config files."""

from sicjax.config.check import (
    changed,
    check_kind,
    default,
    describe,
    difference,
    flatten,
    parse_field,
    set_field,
    stages_begun,
    unknown_field,
    validate,
)
from sicjax.config.fields import FIELDS, STAGED, VARIED
from sicjax.config.files import load_config
from sicjax.errors import ConfigError

__all__ = [
    "FIELDS",
    "STAGED",
    "VARIED",
    "ConfigError",
    "changed",
    "check_kind",
    "default",
    "describe",
    "difference",
    "flatten",
    "load_config",
    "parse_field",
    "set_field",
    "stages_begun",
    "unknown_field",
    "validate",
]
