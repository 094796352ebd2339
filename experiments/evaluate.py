"""Rebuild the reports of a run from its latest checkpoint.

    python -m experiments.evaluate --workdir=DIR [--network=K] [--torus_rolls=N]

Without --network, of all its networks. --torus_rolls gives each module's torus test a null of that
many rolls (20 take seconds a module), and so a verdict. Exit codes: 0 done, 2 bad input.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from sicjax import config as config_module
from sicjax.errors import ConfigError
from sicjax.main import guarded, leave, read_flags
from sicjax.report.phase import write_reports
from sicjax.run import load_run, load_runs

USAGE = "usage: python -m experiments.evaluate --workdir=DIR [--network=K] [--torus_rolls=N]"


def evaluate(arguments: Sequence[str]) -> None:
    """Read the flags and write the reports.

    Raises:
        ConfigError: an unknown flag, a bad value, or a folder that holds no such network.
    """
    flags = read_flags(arguments, USAGE)
    workdir, network, rolls = (
        flags.pop(name, "") for name in ("workdir", "network", "torus_rolls")
    )
    if flags:
        raise ConfigError(f"--{min(flags)}: no such flag; {USAGE}")
    if not workdir:
        raise ConfigError(f"--workdir is missing; {USAGE}")
    if network and not network.isdecimal():
        raise ConfigError(f"--network={network}: must be an index from 0")
    try:
        runs = [load_run(workdir, int(network))] if network else load_runs(workdir)
    except (FileNotFoundError, IndexError) as error:
        raise ConfigError(str(error)) from None
    for run in runs:
        if rolls:
            config_module.set_field(run.config, "evaluation.torus_rolls", rolls)
            config_module.validate(run.config)
    write_reports(runs, Path(workdir))


def main(arguments: Sequence[str]) -> int:
    """Return the exit code."""
    if arguments in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    return guarded(evaluate, arguments)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
