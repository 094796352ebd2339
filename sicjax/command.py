"""Command lines: one parser, one set of exit codes, for `sicjax` and `python -m experiments.NAME`.

JAX, and everything built on it, is imported where it is used, so --help and errors about flags
appear at once.
"""

import argparse
import contextlib
import inspect
import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from sicjax import stderr
from sicjax.errors import ConfigError, RunInterruptedError, one_line
from sicjax.paths import path
from sicjax.training import signals

if TYPE_CHECKING:
    from ml_collections import ConfigDict

FIELD = "config."
PROCESS_FLAGS = ("coordinator", "num_processes", "process_id")
# Allowed ranges of the integer environment variables that JAX or sicjax reads.
ENVIRONMENT = {"JAX_NUM_CPU_DEVICES": (-1, 1024), "SLURM_STEP_NUM_TASKS": (1, 10**6)}


class Parser(argparse.ArgumentParser):
    """A command's flags, from the docstring of its module: its second paragraph is the usage.

    A wrong command line raises a `ConfigError` of one line that ends with the usage.
    """

    def __init__(
        self, doc: str | None, *, config: str | None = None, trains: bool = False,
        more: Callable[[], str] = str,
    ) -> None:  # fmt: skip
        """Read the docstring.

        Args:
            doc: the module's docstring: one line, the usage, and the rest of --help.
            config: default of --config, or "" if it is required; adds --config and
                --config.FIELD=VALUE. None if the command reads no config.
            trains: adds --workdir and the flags with which several processes meet.
            more: function that returns the end of --help.
        """
        first, usage, *rest = [*(doc or "").split("\n\n"), "", ""]
        self._fields, self._more = config is not None, more
        super().__init__(
            usage="\n".join(line.strip() for line in usage.strip().split("\n")).replace("%", "%%"),
            description=inspect.cleandoc("\n\n".join([first, *rest])).strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )  # fmt: skip
        if config is not None:
            self.add_argument(
                "--config", metavar="FILE", default=config, required=not config,
                help="config file, or the name of a bundled config" + f" ({config})" * bool(config),
            )  # fmt: skip
            self.add_argument("--config.FIELD", metavar="VALUE", help="set a field of the config")
        if trains:
            self.add_argument("--workdir", metavar="DIR", help="folder of the run")
            meet = self.add_argument_group("several processes, started one by one")
            meet.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
            meet.add_argument("--num_processes", metavar="N", help="number of processes")
            meet.add_argument("--process_id", metavar="K", help="number of this process, from 0")

    def read(self, arguments: Sequence[str]) -> Namespace:
        """Return the flags; `fields` holds the pairs (FIELD, VALUE) of --config.FIELD=VALUE.

        Raises:
            ConfigError: an unknown flag, one without its value, or a wrong value.
            SystemExit: after --help or --version.
        """
        fields, rest = self._split(arguments) if self._fields else ([], list(arguments))
        found, unknown = self.parse_known_args(rest)
        if unknown:
            name, is_flag = unknown[0].partition("=")[0], unknown[0].startswith("-")
            self.error(f"{name}: " + ("no such flag" if is_flag else "must be --NAME=VALUE"))
        found.fields = fields
        return found

    def _split(self, arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
        """Return the pairs of --config.FIELD=VALUE or --config.FIELD VALUE, and the rest."""
        fields, rest, left = [], [], list(arguments)
        while left:
            argument = left.pop(0)
            name, equals, text = argument.removeprefix("--").partition("=")
            if not argument.startswith(f"--{FIELD}"):
                rest.append(argument)
                continue
            if not equals and left and not left[0].startswith("--"):
                equals, text = "=", left.pop(0)
            if equals:
                fields.append((name.removeprefix(FIELD), text))
            elif not {"-h", "--help"} & {*left}:  # --help counts at any place
                self.error(f"{argument}: must be --NAME=VALUE")
        return fields, rest

    def one_line_usage(self) -> str:
        """Return the usage as one line."""
        return "usage: " + " ".join((self.usage or "").replace("%%", "%").split())

    def error(self, message: str) -> NoReturn:
        """Raise a `ConfigError`, where argparse would print two lines and exit."""
        raise ConfigError(f"{message.removeprefix('argument ')}; {self.one_line_usage()}")

    def print_help(self, file: object = None) -> None:
        """Print the help to stdout, which may be closed early, as by `--help | head`."""
        try:
            print(self.format_help() + self._more(), flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole_number(least: int) -> Callable[[str], int]:
    """Return argparse's `type` for integers from `least` on."""

    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            if (number := int(text)) >= least:
                return number
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {least}")

    return read


def read_config(
    options: Namespace, own: "Mapping[str, Callable[[], ConfigDict]]" = MappingProxyType({})
) -> "ConfigDict":
    """Return the config of --config with the fields of --config.FIELD=VALUE set.

    Args:
        options: flags, as `Parser.read` returns them.
        own: configs that the command makes itself, by name.

    Raises:
        ConfigError: the file is unreadable, a field doesn't exist, or a value is of the wrong type.
    """
    from sicjax.config import set_field
    from sicjax.config.files import load_config

    make = own.get(options.config)
    config = make() if make else load_config(options.config)
    for name, text in options.fields:
        set_field(config, name, text)
    return config


def read_run(options: Namespace, *, bucket: bool = False) -> "tuple[ConfigDict, Path]":
    """Return the config, as `read_config` does, and the workdir: runs/<config name> by default.

    With `bucket` the workdir may also be gs://BUCKET/FOLDER.

    Turns JAX's compilation cache on if the config says so: a command owns its process.
    """
    from sicjax.devices.compilation import use_cache

    # An empty --workdir= is an error: usually a script's variable was not set.
    workdir = None if options.workdir is None else path("workdir", options.workdir, bucket=bucket)
    config, file = read_config(options), Path(options.config).expanduser()
    if config.compilation_cache:
        use_cache()
    if not file.is_file():
        print(f"Using the bundled config {file.stem}.py")
    return config, workdir or Path("runs") / file.stem


def check_environment() -> None:
    """Check `ENVIRONMENT` ourselves, because JAX's own error on import is a page long.

    Raises:
        ConfigError: the message names the variable.
    """
    for name, (least, most) in ENVIRONMENT.items():
        text = os.environ.get(name)
        with contextlib.suppress(ValueError):
            if text is None or least <= int(text) <= most:
                continue
        raise ConfigError(
            f"{name}={text}, in the environment: must be a number from {least} to {most}; unset it"
        )


def join_processes(options: Namespace) -> None:
    """Join the other processes of this run; a lone process gets all cores as devices.

    Raises:
        ConfigError: --coordinator, --num_processes and --process_id don't fit together, or a
            number in the environment is wrong.
    """
    check_environment()
    from sicjax.config import parse_field
    from sicjax.devices import hardware, processes

    # A misspelt field must fail now, not after all processes have joined. The config file is read
    # later: it is a program, and may ask JAX for its devices.
    for name, text in getattr(options, "fields", ()):
        parse_field(name, text)
    flags = {name: getattr(options, name, None) for name in PROCESS_FLAGS}
    if not processes.join(flags, met=signals.heed_others):
        hardware.use_all_cores()


def guarded(command: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> int:
    """Call a command with its arguments and return its exit code; an error becomes one line.

    An error without an exit code of its own is a bug, and keeps its traceback.
    """
    with signals.watched() as watch:
        try:
            command(arguments)
        except SystemExit as stop:  # --help and --version; or the command's own exit code
            return stop.code if isinstance(stop.code, int) else 0
        except (Exception, RunInterruptedError) as raised:
            error = signals.caused_by_another(raised)
            if (code := getattr(error, "exit_code", None)) is None:
                signals.tell_others(1, f"{type(error).__name__}: {one_line(error)}")
                raise
            watch.last_word(f"sicjax: {error}")
            signals.tell_others(code, str(error))
            return code
    return 0


def run(command: Callable[[Sequence[str]], object]) -> NoReturn:
    """Run a command on this process's arguments, and end the process with its exit code."""
    with signals.watched(for_good=True):
        stderr.start_filter()
        stderr.drop_leftovers_of_saves()
        try:
            exit_code = guarded(command, sys.argv[1:])
        except Exception:  # a bug; `leave` must still end this process, even with others
            traceback.print_exc()
            exit_code = 1
        leave(exit_code)


def leave(exit_code: int) -> NoReturn:
    """Exit; unless the exit code is 0, without joining background threads.

    Python would join every thread first. A thread that scores maps for a report may run for another
    minute. A thread of an Orbax save that a signal or a full disk has ended may wait for minutes.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if exit_code == 0:  # everything is done, so Ctrl-C has nothing to stop
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(exit_code)
    if "sicjax.devices.processes" in sys.modules:  # else this process is alone
        from sicjax.devices import processes

        processes.wait_for_others(exit_code)
    os._exit(exit_code)
