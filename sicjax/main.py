"""Train a population of networks, or resume or report a run.

python -m sicjax.main --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...]

FILE is your own config, or a bundled one by its path or name, such as quick. DIR is a folder or
gs://BUCKET/FOLDER, by default runs/<name of the config>. If it holds a run, that run is resumed.

Several processes that share DIR train one population: on a TPU pod, under SLURM (srun), or each
started with --coordinator=HOST:PORT --num_processes=N --process_id=K.

Exit codes: 0 done, 2 bad input, 3 every network went non-finite, 75 saved after SIGTERM (start it
again), 130 saved after Ctrl-C.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from sicjax.command import Parser, guarded, join_processes, leave, read_run, run
from sicjax.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from ml_collections import ConfigDict

__all__ = ["command", "guarded", "leave", "main", "parse"]


def _describe() -> str:
    """Return the end of --help: bundled configs, and every field of a config."""
    from sicjax import config
    from sicjax.config import files

    return (
        f"\nBundled configs:\n{files.describe_configs()}\n\n"
        "FIELD, its default, meaning, range and source (the paper, inferred from it, or ours):\n"
        f"{config.describe()}"
    )


def parse(arguments: Sequence[str]) -> "tuple[ConfigDict, Path]":
    """Return the config and the workdir of a command line.

    Raises:
        ConfigError: an unknown flag or field, a value of the wrong type, or an unreadable file.
    """
    return read_run(_parser().read(arguments), bucket=True)


def _parser(doc: str | None = __doc__) -> Parser:
    parser = Parser(doc, config="", trains=True, more=_describe)
    parser.add_argument("--version", action="version", version=f"sicjax {__version__}")
    return parser


def train(arguments: Sequence[str], doc: str | None = __doc__) -> None:
    """Read the flags, join the other processes, read the config, and train.

    Args:
        arguments: of the command.
        doc: docstring with the usage for --help and errors.
    """
    options = _parser(doc).read(arguments)
    join_processes(options)  # joins first: the config is a program, and may ask JAX for its devices
    config, workdir = read_run(options, bucket=True)
    from sicjax import runs

    runs.train(config, workdir)


def main(arguments: Sequence[str]) -> int:
    """Train, resume or report; return the exit code."""
    return guarded(train, arguments)


def command() -> NoReturn:
    """Run the command on this process's arguments."""
    run(train)


if __name__ == "__main__":
    command()
