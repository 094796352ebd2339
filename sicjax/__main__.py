"""The command `sicjax`: train, report, export and list.

sicjax [train] --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...]
sicjax report WORKDIR [--network=K]
sicjax export WORKDIR --to=npz|torch [--network=K] [--file=FILE]
sicjax list

Each has its own help: sicjax export --help. Exit codes: 0 done, 2 bad input; of a training also 3,
75 and 130.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sicjax import main
from sicjax.command import Parser, join_processes, run, whole_number
from sicjax.errors import ConfigError
from sicjax.version import __version__


def report(arguments: Sequence[str]) -> None:
    """Write the reports of a run again, from its latest checkpoint.

    sicjax report WORKDIR [--network=K]

    Without --network: of all its networks.
    """
    parser = Parser(report.__doc__)
    parser.add_argument("workdir", metavar="WORKDIR", type=Path, help="folder of the run")
    parser.add_argument("--network", metavar="K", type=whole_number(0), help="(all)")
    options = parser.read(arguments)
    join_processes(options)
    from sicjax.report.run_reports import write_reports
    from sicjax.run import load_run, load_runs

    workdir, network = options.workdir, options.network
    try:
        runs = load_runs(workdir) if network is None else [load_run(workdir, network)]
    except (FileNotFoundError, IndexError) as error:
        raise ConfigError(str(error)) from None
    write_reports(runs, workdir)


def export(arguments: Sequence[str]) -> None:
    """Save the weights of a network for other programs.

    sicjax export WORKDIR --to=npz|torch [--network=K] [--file=FILE]

    WORKDIR is the folder of a run, or the name of a pretrained network. npz is a NumPy archive,
    which docs/weights.md describes; torch a file of the same names and tensors for torch.load,
    which needs PyTorch. FILE is by default the name of WORKDIR in the working folder. A file that
    exists is not replaced.
    """
    parser = Parser(export.__doc__)
    parser.add_argument("workdir", metavar="WORKDIR", help="folder of the run, or a name")
    parser.add_argument("--to", choices=("npz", "torch"), required=True, help="format")
    parser.add_argument("--network", metavar="K", type=whole_number(0), default=0, help="(0)")
    parser.add_argument("--file", metavar="FILE", type=Path, help="(WORKDIR.npz or WORKDIR.pt)")
    options = parser.read(arguments)
    from sicjax.pretrained import load_pretrained
    from sicjax.run import load_run

    suffix = {"npz": ".npz", "torch": ".pt"}[options.to]
    target = options.file or Path(Path(options.workdir).resolve().name + suffix)
    try:
        if Path(options.workdir).is_dir():
            trained = load_run(options.workdir, options.network)
        else:
            trained = load_pretrained(options.workdir)
        if options.to == "npz":
            trained.save(target)
        else:
            _save_for_torch(trained, target)
    except (OSError, IndexError, ValueError) as error:
        raise ConfigError(str(error)) from None
    print(target)


def _save_for_torch(trained: object, target: Path) -> None:
    """Write the arrays of `Run.save` as tensors."""
    import io

    import numpy as np

    from sicjax.training.weights import named_arrays

    try:
        import torch
    except ImportError:
        raise ConfigError("--to=torch needs PyTorch: python -m pip install torch") from None
    if target.exists():
        raise FileExistsError(f"{target} exists; name another file with --file")
    arrays = named_arrays(trained.parameters)  # type: ignore[attr-defined]
    content = io.BytesIO()
    torch.save({n: torch.from_numpy(np.array(array)) for n, array in arrays.items()}, content)
    target.write_bytes(content.getvalue())


def list_all(arguments: Sequence[str]) -> None:
    """List the bundled configs and the pretrained networks.

    sicjax list
    """
    Parser(list_all.__doc__).read(arguments)
    from sicjax.config.files import describe_configs

    folder = Path(__file__).parent / "pretrained"
    names = sorted(path.parent.name for path in folder.glob("*/weights.npz"))
    print(f"Configs, for --config:\n{describe_configs()}\n")
    print("Pretrained networks, for sicjax.load_pretrained:\n  " + "\n  ".join(names))


def train(arguments: Sequence[str]) -> None:
    """Train, with the flags of `python -m sicjax.main`."""
    main.train(arguments)


SUBCOMMANDS = {"train": train, "report": report, "export": export, "list": list_all}


def sicjax(arguments: Sequence[str]) -> None:
    """Call the subcommand that the first argument names; without one, train."""
    if arguments and arguments[0] in SUBCOMMANDS:
        SUBCOMMANDS[arguments[0]](arguments[1:])
    elif any(argument.startswith("--config") for argument in arguments):
        main.train(arguments)
    else:
        parser = Parser(__doc__)
        parser.add_argument("--version", action="version", version=f"sicjax {__version__}")
        parser.add_argument("command", metavar="COMMAND", choices=SUBCOMMANDS, help="see above")
        parser.read(arguments)


def command() -> NoReturn:
    """Run `sicjax` on this process's arguments."""
    run(sicjax)


if __name__ == "__main__":
    command()
