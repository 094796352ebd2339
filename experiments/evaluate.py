"""Rebuild the reports of a run from its latest checkpoint.

    python -m experiments.evaluate --workdir=DIR [--network=K] [--torus_rolls=N]

DIR may be gs://BUCKET/FOLDER. Without --network it rebuilds the reports of all networks.
--torus_rolls=N gives each module's torus test a null model of N rolls, and so a verdict (20 rolls
take some seconds for each module). Exit codes: 0 done, 2 bad input.
"""

from collections.abc import Sequence

from sicjax import command
from sicjax import config as config_module
from sicjax.errors import ConfigError
from sicjax.paths import path
from sicjax.report.run_reports import write_reports
from sicjax.run import load_run, load_runs


def main(arguments: Sequence[str]) -> None:
    """Read the flags and write the reports.

    Raises:
        ConfigError: an unknown flag, a wrong value, or a folder without this network.
    """
    parser = command.Parser(__doc__)
    parser.add_argument("--workdir", metavar="DIR", required=True, help="folder of the run")
    parser.add_argument(
        "--network",
        metavar="K",
        type=command.whole_number(0),
        help="number of one network; default: all",
    )
    parser.add_argument("--torus_rolls", metavar="N", help="rolls of each torus test")
    options = parser.read(arguments)
    command.join_processes(options)
    workdir = path("--workdir", options.workdir, bucket=True)
    network, rolls = options.network, options.torus_rolls
    try:
        runs = load_runs(workdir) if network is None else [load_run(workdir, network)]
    except (FileNotFoundError, IndexError) as error:
        raise ConfigError(str(error)) from None
    for run in runs:
        if rolls:
            config_module.set_field(run.config, "evaluation.torus_rolls", rolls)
            config_module.validate(run.config)
    write_reports(runs, workdir)


if __name__ == "__main__":
    command.run(main)
