"""The command: python -m sicjax.main --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...].

On a TPU pod and under SLURM the processes of a run find each other; elsewhere each is told where
they meet: --coordinator=HOST:PORT --num_processes=N --process_id=K.

What takes long to import, JAX and all that builds on it, is imported where it is used: help and a
misspelt flag answer at once.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from sicjax import stderr
from sicjax.training import signals

if __name__ == "__main__":  # Ctrl-C is listened to while the rest is imported
    _WATCH = signals.watched(for_good=True)
    _WATCH.__enter__()

from ml_collections import ConfigDict

from sicjax import __version__
from sicjax import config as config_module
from sicjax.config import files
from sicjax.errors import ConfigError

# Numbers that JAX, or we, read from the environment: from -1, JAX's own default, or 1.
ENVIRONMENT = {"JAX_NUM_CPU_DEVICES": (-1, 1024), "SLURM_STEP_NUM_TASKS": (1, 10**6)}
PROCESS_FLAGS = ("coordinator", "num_processes", "process_id")
USAGE = "usage: python -m sicjax.main --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...]"
HELP = f"""{USAGE}
       python -m sicjax.main --version

FILE is a config of yours, or one that comes with sicjax, by its path or its name, as quick:
{{}}

DIR is runs/<name of the config> unless given; one that holds a run is resumed.

Several processes, which share DIR, train one population on a TPU pod, under SLURM (srun), or each
started with --coordinator=HOST:PORT --num_processes=N --process_id=K.

FIELD, its default, meaning, range and source (the paper, inferred from it, or ours):
{{}}"""


def read_flags(arguments: Sequence[str], usage: str = USAGE) -> dict[str, str]:
    """Flags by name, from --NAME=VALUE or --NAME VALUE; of one given twice the last counts.

    Raises:
        ConfigError: an argument that is neither.
    """
    flags: dict[str, str] = {}
    left = list(arguments)
    while left:
        argument = left.pop(0)
        name, equals, text = argument.removeprefix("--").partition("=")
        if not equals and left and not left[0].startswith("--"):
            equals, text = "=", left.pop(0)
        if not (argument.startswith("--") and equals):
            raise ConfigError(f"{argument}: must be --NAME=VALUE; {usage}")
        flags[name] = text
    return flags


def parse(arguments: Sequence[str], usage: str = USAGE) -> tuple[ConfigDict, Path]:
    """Config and workdir from the command line.

    Args:
        arguments: of the command.
        usage: what an error ends with.

    Raises:
        ConfigError: an unknown flag or field, a value of the wrong type, or an unreadable file.
    """
    flags = read_flags(arguments, usage)
    path, workdir = flags.pop("config", ""), flags.pop("workdir", "")
    if not path:
        raise ConfigError(f"--config is missing; {usage}")
    config = files.load_config(path)
    if not Path(path).is_file():
        print(f"{path}: the one that comes with sicjax")
    for name, text in flags.items():
        if not name.startswith("config."):
            raise ConfigError(f"--{name}: no such flag; {usage}")
        config_module.set_field(config, name.removeprefix("config."), text)
    return config, Path(workdir) if workdir else Path("runs") / Path(path).stem


def main(arguments: Sequence[str]) -> int:
    """Train, resume or report; returns the exit code."""
    if arguments in (["--help"], ["-h"]):
        text = HELP.format(files.describe_configs(), config_module.describe())
        try:
            print(text, flush=True)
        except BrokenPipeError:  # `--help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if arguments == ["--version"]:
        print(f"sicjax {__version__}")
        return 0
    return guarded(_train, arguments)


def command() -> NoReturn:
    """`sicjax`, as an installed package offers it."""
    with signals.watched(for_good=True):
        stderr.drop_false_alarm()
        stderr.drop_leftovers_of_saves()
        leave(main(sys.argv[1:]))


def _train(arguments: Sequence[str]) -> None:
    config, workdir = parse(arguments)
    from sicjax.runs import train

    train(config, workdir)


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """See that the numbers in the environment are some: JAX's import would fail, at length.

    Raises:
        ConfigError: naming the variable.
    """
    for name, (least, most) in ENVIRONMENT.items():
        text = environment.get(name)
        with contextlib.suppress(ValueError):
            if text is None or least <= int(text) <= most:
                continue
        raise ConfigError(
            f"{name}={text}, in the environment: must be a number from {least} to {most}; unset it"
        )


def join_processes(arguments: Sequence[str]) -> list[str]:
    """Join the other processes of this run; alone, use all cores. Returns the other arguments.

    Raises:
        ConfigError: --coordinator, --num_processes and --process_id that don't fit, or a number in
            the environment that is none.
    """
    check_environment()
    from sicjax.devices import hardware, processes

    names = [argument.removeprefix("--").partition("=")[0] for argument in arguments]
    flags = read_flags(arguments) if {*names} & {*PROCESS_FLAGS} else {}
    given = {name: flags.pop(name) for name in PROCESS_FLAGS if name in flags}
    rest = [f"--{name}={text}" for name, text in flags.items()] if given else list(arguments)
    if not given:
        if processes.has_other_processes():
            processes.start_processes()
        else:
            hardware.use_all_cores()
        return rest
    for name in PROCESS_FLAGS:
        if not given.get(name):
            raise ConfigError(f"--{name} is missing; {', '.join(PROCESS_FLAGS)} go together")
    numbers = {}
    for name in PROCESS_FLAGS[1:]:
        if not given[name].isdecimal():
            raise ConfigError(f"--{name}={given[name]}: must be a number from 0")
        numbers[name] = int(given[name])
    if numbers["process_id"] >= numbers["num_processes"]:
        raise ConfigError(
            f"--process_id={numbers['process_id']}: must be below {numbers['num_processes']}"
        )
    try:
        processes.start_processes(coordinator_address=given["coordinator"], **numbers)
    except (RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ConfigError(f"--coordinator={given['coordinator']}: {what}") from None
    return rest


def guarded(command: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> int:
    """Run a command on its arguments; what it raises becomes one line and the exit code."""
    with signals.watched() as watch:
        try:
            command(join_processes(arguments))
        except Exception as error:
            if (code := getattr(error, "exit_code", None)) is None:
                raise
            watch.last_word(f"sicjax: {error}")
            return code
    return 0


def leave(exit_code: int) -> NoReturn:
    """End this process; what has been cut short isn't waited for.

    Python would join every thread first: one that scores maps for a report runs on for a minute,
    and one that Orbax left in a save that a signal or a full disk has ended waits for minutes.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if exit_code == 0:  # all is done: Ctrl-C has nothing to stop any more
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(exit_code)
    if exit_code not in (75, 130) and "sicjax.devices.processes" in sys.modules:  # else it is alone
        from sicjax.devices import processes

        processes.leave_processes()
    os._exit(exit_code)


if __name__ == "__main__":
    command()
