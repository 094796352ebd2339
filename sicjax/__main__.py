"""The command `sicjax`: train, report, score, export and list.

sicjax [train] --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...]
sicjax report WORKDIR [--network=K]
sicjax score SESSION [--out=FOLDER] [--units=UNIT] [--FLAG=VALUE ...]
sicjax export WORKDIR --to=npz|torch [--network=K] [--file=FILE]
sicjax list [FOLDER]

Each has its own help: sicjax export --help. Exit codes: 0 done, 2 bad input; a training can also
end with 3, 75 or 130.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sicjax import main
from sicjax.command import Parser, join_processes, run, whole_number
from sicjax.errors import ConfigError, one_line
from sicjax.paths import path
from sicjax.version import __version__


def report(arguments: Sequence[str]) -> None:
    """Write the reports of a run again, from its latest checkpoint.

    sicjax report WORKDIR [--network=K]

    Without --network it writes the reports of all networks.
    """
    parser = Parser(report.__doc__)
    parser.add_argument("workdir", metavar="WORKDIR", help="folder of the run")
    parser.add_argument("--network", metavar="K", type=whole_number(0), help="(all)")
    options = parser.read(arguments)
    join_processes(options)
    from sicjax.report.run_reports import write_reports
    from sicjax.run import load_run, load_runs

    workdir, network = path("WORKDIR", options.workdir, bucket=True), options.network
    try:
        runs = load_runs(workdir) if network is None else [load_run(workdir, network)]
    except (FileNotFoundError, IndexError) as error:
        raise ConfigError(str(error)) from None
    write_reports(runs, workdir)


def _lengths(text: str) -> float | tuple[float, ...]:
    """Return one length, or the lengths of a list such as 1.5,1; `score_recording` checks them."""
    try:
        first, *others = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be metres, or X,Y in metres") from None
    return (first, *others) if others else first


# Flags of `sicjax score` that are arguments of `score_recording`, which has their defaults.
SCORING: tuple[tuple[str, str, Callable[[str], Any], str], ...] = (
    ("box-m", "SIDE|X,Y", _lengths, "side, sides or diameter of the arena, metres (from the path)"),
    ("centre-m", "X,Y", _lengths, "centre of the arena, metres (the middle of the path)"),
    ("bin-m", "METRES", float, "side of a bin of the maps (0.025)"),
    (
        "smoothing-m",
        "METRES",
        float,
        "standard deviation of the Gaussian that smooths the maps (0.025)",
    ),
    (
        "min-occupancy-s",
        "SECONDS",
        float,
        "bins visited for a shorter time count as unvisited (0.04)",
    ),
    ("min-speed", "M/S", float, "slower moments are left out (0.025)"),
    ("max-speed", "M/S", float, "samples that need a higher speed are left out as lost (2)"),
    ("max-gap-s", "SECONDS", float, "longer gaps of the tracker are left out (0.5)"),
    ("num-shuffles", "N", whole_number(1), "time shifts per cell (100)"),
    ("min-shift-s", "SECONDS", float, "least time shift (20)"),
    ("min-units", "N", whole_number(1), "fewest grid cells of a module (10)"),
    ("seed", "S", whole_number(0), "of the time shifts (0)"),
)


def score(arguments: Sequence[str]) -> None:
    """Score the cells of a recorded session, and write a page and CSV files about them.

    sicjax score SESSION [--out=FOLDER] [--units=UNIT] [--FLAG=VALUE ...]

    SESSION is a file. Times are seconds, all on one clock. The command reads these names in it:

      .npz, .mat  times       [samples]
                  positions   [samples, 2]; or x and y, each [samples]
                  spikes      a dict, a list or cell array of arrays, a struct, or one cell's times;
                              or spikes_NAME, an array for each cell NAME;
                              or unit and time, one value per spike
      .nwb        position or SpatialSeries, and units; needs pip install -e '.[recordings]'

    Flags give other names; session.t is the field t of a struct session. MATLAB 7.3 files need
    h5py. FOLDER must be new, empty, or hold an earlier report, which is replaced. Defaults are in
    brackets; docs/measuring.md explains every option.
    """
    parser = Parser(score.__doc__)
    parser.add_argument("session", metavar="SESSION", type=Path, help=".npz, .mat or .nwb")
    parser.add_argument("--out", metavar="FOLDER", help="(SESSION without its ending, + _sicjax)")
    parser.add_argument(
        "--units", metavar="UNIT", type=_number_or_text,
        help="unit of the positions: m, cm, mm, or metres per unit (from the file or the path)",
    )  # fmt: skip
    parser.add_argument("--times-name", metavar="NAME", help="times of the samples")
    parser.add_argument("--position-name", metavar="NAME", help="positions: NAME, or X,Y")
    parser.add_argument("--spikes-name", metavar="NAME", help="spikes: NAME, or UNIT,TIME")
    parser.add_argument(
        "--arena", choices=("square", "rectangle", "circle"), help="shape (from the path)"
    )
    for name, metavar, read, meaning in SCORING:
        parser.add_argument(f"--{name}", metavar=metavar, type=read, help=meaning)
    # --box_m means --box-m, because score_recording has an argument box_m.
    options = parser.read([re.sub(r"^--[^=]+", _hyphens, argument) for argument in arguments])
    named = ["units", "arena", *(name.replace("-", "_") for name, *_ in SCORING)]
    chosen = {name: value for name in named if (value := getattr(options, name)) is not None}
    from sicjax.analysis.files import read_recording
    from sicjax.analysis.recordings import score_recording
    from sicjax.report.folder import refuse_others
    from sicjax.report.recording import report_recording, summary

    file = path("SESSION", options.session)
    default = file.with_name(f"{file.stem}_sicjax")
    folder = path("--out", default if options.out is None else options.out)
    recording = read_recording(
        file, times_name=options.times_name, position_name=options.position_name,
        spikes_name=options.spikes_name,
    )  # fmt: skip
    try:
        refuse_others(folder)  # checked before the scoring, which takes minutes
        with warnings.catch_warnings(record=True) as assumed:
            warnings.simplefilter("always")
            cells = score_recording(**recording, **chosen)
        for warning in assumed:
            print(f"sicjax: {file.name}: {_with_flags(warning.message, named)}", file=sys.stderr)
        page = report_recording(cells, folder, name=file.stem)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{options.session}: {_with_flags(one_line(error), named)}") from None
    print(f"{summary(cells)}\n{page}")


def _with_flags(message: object, names: Sequence[str]) -> str:
    """Return a message with flags (--units=) in place of Python arguments (units=)."""
    words = rf'\b({"|".join(names)})=(?:"(\w+)")?'
    return re.sub(words, lambda m: f"--{m[1].replace('_', '-')}={m[2] or ''}", str(message))


def _hyphens(flag: re.Match[str]) -> str:
    """Return a flag with hyphens in place of underscores."""
    return flag[0].replace("_", "-")


def _number_or_text(text: str) -> float | str:
    """Return metres per unit, or the name of a unit, which `score_recording` checks."""
    try:
        return float(text)
    except ValueError:
        return text


def export(arguments: Sequence[str]) -> None:
    """Save the weights of a network for other programs.

    sicjax export WORKDIR --to=npz|torch [--network=K] [--file=FILE]

    WORKDIR is the folder of a run, or the name of a pretrained network. npz is a NumPy archive,
    which docs/weights.md describes; torch is a file for torch.load with the
    same names and tensors, which needs PyTorch. FILE is by default the name of WORKDIR in the
    working folder. An existing file is not replaced.
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
        workdir = path("WORKDIR", options.workdir, bucket=True)
        if workdir.is_dir():
            trained = load_run(workdir, options.network)
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
    """List the bundled configs and the pretrained networks, or the runs in a folder.

    sicjax list [FOLDER]

    FOLDER holds runs, such as runs or gs://BUCKET/FOLDER, or is a run itself.
    """
    parser = Parser(list_all.__doc__)
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="list the runs in it")
    options = parser.read(arguments)
    if options.folder is not None:
        _list_runs(path("FOLDER", options.folder, bucket=True))
        return
    from sicjax.config.files import describe_configs

    folder = Path(__file__).parent / "pretrained"
    names = sorted(file.parent.name for file in folder.glob("*/weights.npz"))
    print(f"Configs, for --config:\n{describe_configs()}\n")
    print("Pretrained networks, for sicjax.load_pretrained:\n  " + "\n  ".join(names))


def _list_runs(folder: Path) -> None:
    """Print the runs in a folder, with the number of updates that each has made."""
    from sicjax.training.checkpoint_files import reached
    from sicjax.training.population import members
    from sicjax.training.workdir import read_config

    try:
        found = [place for place in [folder, *sorted(folder.iterdir())]
                 if (place / "config.json").is_file()]  # fmt: skip
    except OSError as error:
        raise ConfigError(f"FOLDER={folder}: can't be read ({error.strerror})") from None
    if not found:
        raise ConfigError(
            f"FOLDER={folder}: holds no run (no config.json in it or one level below)"
        )
    for place in found:
        try:
            config = read_config(place)
        except ConfigError as error:
            print(error)
            continue
        step, networks = reached(place / "checkpoints"), len(members(config))
        print(f"{place}: {step} of {config.num_steps} updates, {networks} network(s)")


def train(arguments: Sequence[str]) -> None:
    """Train networks; the flags are those of `python -m sicjax.main`."""
    main.train(arguments)


SUBCOMMANDS = {"train": train, "report": report, "score": score, "export": export, "list": list_all}


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
