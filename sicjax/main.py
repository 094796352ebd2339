"""The command: python -m sicjax.main --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...]."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from sicjax import config as config_module
from sicjax.config import ConfigError
from sicjax.loop import NonFiniteError, RunInterruptedError, train

USAGE = "usage: python -m sicjax.main --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...]"
HELP = f"""{USAGE}

FILE is a config of yours, or one that comes with sicjax:
{{}}

DIR is runs/<name of the config> unless given; one that holds a run is resumed.

FIELD, its default, meaning, range and source (the paper, inferred from it, or ours):
{{}}"""


def parse(arguments: Sequence[str]) -> tuple[ConfigDict, Path]:
    """Config and workdir from the command line.

    Raises:
        ConfigError: an unknown flag or field, a value of the wrong type, or an unreadable file.
    """
    flags: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not (argument.startswith("--") and equals):
            raise ConfigError(f"{argument}: must be --NAME=VALUE; {USAGE}")
        flags[name] = text
    path, workdir = flags.pop("config", ""), flags.pop("workdir", "")
    if not path:
        raise ConfigError(f"--config is missing; {USAGE}")
    config = config_module.load_file(path)
    if not Path(path).is_file():
        print(f"{path}: the one that comes with sicjax")
    for name, text in flags.items():
        if not name.startswith("config."):
            raise ConfigError(f"--{name}: no such flag; {USAGE}")
        config_module.set_field(config, name.removeprefix("config."), text)
    return config, Path(workdir) if workdir else Path("runs") / Path(path).stem


def main(arguments: Sequence[str]) -> int:
    """Train, resume or report; returns the exit code."""
    if arguments in (["--help"], ["-h"]):
        print(HELP.format(config_module.describe_configs(), config_module.describe()))
        return 0
    return guarded(lambda given: train(*parse(given)), arguments)


def guarded(command: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> int:
    """Run a command on its arguments; what it raises becomes one line and the exit code."""
    try:
        command(arguments)
    except ConfigError as error:
        print(f"sicjax: {error}", file=sys.stderr)
        return 2
    except NonFiniteError as error:
        print(f"sicjax: no network is left: {error}", file=sys.stderr)
        return 3
    except RunInterruptedError as stop:
        print(f"sicjax: {stop}", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("sicjax: stopped at once; the last checkpoint stands", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
