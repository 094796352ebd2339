"""Config files, built-in ones and the user's: find them, run them, write configs as JSON."""

import ast
import contextlib
import json
import re
import runpy
from pathlib import Path

from ml_collections import ConfigDict

from sicjax.config.check import check_kind, default, flatten, unknown_field
from sicjax.config.fields import FIELDS
from sicjax.errors import ConfigError


def load_config(name: str | Path) -> ConfigDict:
    """Load a bundled config by name, or your own by path.

    Args:
        name: "quick", "full" and so on, or the path of a file that defines `get_config()`. If
            both exist, the file is loaded.

    Returns:
        A locked `ml_collections.ConfigDict` for `sicjax.train`. Its fields can be changed; no field
        can be added.

    Raises:
        ConfigError: the file can't be found, read or run, or does not return a config.

    Source: ours; each file's docstring says what to expect from it.

    Example:
        >>> import sicjax
        >>> config = sicjax.load_config("quick")
        >>> config.model.num_units
        64
        >>> config.num_steps = 1000
    """
    if not isinstance(name, str | Path):
        raise ConfigError(
            f"load_config({type(name).__name__}): must be the name of a config or a path"
        )
    found = find_file(name)
    try:
        names = runpy.run_path(str(found))
        config = names["get_config"]() if "get_config" in names else None
    except (Exception, SystemExit) as error:  # user code: whatever it raises is bad input
        # A locked config raises a page of text about an unknown field; keep only the field's name.
        unknown = re.match(r"""['"]Key "(.*?)" does not exist""", str(error))
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(
            f"--config={name}: {unknown_field(unknown[1]) if unknown else what}"
        ) from None
    if config is None:
        raise ConfigError(
            f"--config={name}: must define get_config(), which returns an ml_collections.ConfigDict"
        )
    check_kind(config, f"--config={name}: get_config() returns")
    return config


def bundled_configs() -> dict[str, Path]:
    """Return the config files that come with sicjax: "configs/quick.py" -> its path."""
    package = Path(__file__).parent.parent
    inside = package / "configs"  # installed; in a clone it is beside the package
    folder = inside if inside.is_dir() else package.parent / "configs"
    return {f"configs/{path.name}": path for path in sorted(folder.glob("*.py"))}


def find_file(name: str | Path) -> Path:
    """Return the path of a config file: the user's own, or else the built-in one of that name.

    Raises:
        ConfigError: there is no such file, or the path can't be read.
    """
    shown = " ".join(str(name).split())
    shown = shown if len(shown) <= 200 else f"{shown[:60]}..."
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # name too long, or unknown ~user
        if Path(name).expanduser().is_file():
            return Path(name).expanduser()
    bundled = bundled_configs()
    for wanted in (Path(name).as_posix(), f"configs/{name}.py"):
        if wanted in bundled:
            return bundled[wanted]
    raise ConfigError(f"--config={shown}: no such file; bundled configs: {', '.join(bundled)}")


def describe_configs() -> str:
    """Describe every bundled config in one line: its path and the first line of its docstring."""
    lines = []
    for name, path in bundled_configs().items():
        about = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines.append(f"  {name}  {about.partition(chr(10))[0]}")
    return "\n".join(lines)


def to_json(config: ConfigDict) -> str:
    """Return the config as the text of config.json."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> ConfigDict:
    """Return the config that `to_json` wrote; newer fields take their defaults."""
    config = default()
    for name, value in flatten(json.loads(text)).items():
        if name not in FIELDS:
            raise ConfigError(unknown_field(name))
        section, _, leaf = name.rpartition(".")
        (config[section] if section else config)[leaf] = value
    return config
