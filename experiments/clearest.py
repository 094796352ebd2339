"""Draw the clearest grid cells of each module of a network: one row of maps for each module.

    python -m experiments.clearest [--network=modules | --workdir=DIR] [--cells=12]
        [--folder=experiments/results]

Maps a network that comes with sicjax, or the first one of a run, in the box that its config's
`evaluation.verdict_box` names.
Draws the cells of each module with the highest corrected grid scores into
NETWORK_ratemaps_BOXm.png, or DIR_ratemaps_BOXm.png. Exit codes: 0 done, 2 bad input.
"""

from collections.abc import Sequence

import jax
import numpy as np

import sicjax
from sicjax import command, plots
from sicjax.analysis.modules import Modules
from sicjax.analysis.units import UnitAnalysis
from sicjax.errors import ConfigError
from sicjax.paths import path


def clearest(units: UnitAnalysis, modules: Modules, cells: int) -> list[np.ndarray]:
    """Return the units of each module with the highest corrected grid scores, best first."""
    scores = units.grid_score_corrected
    return [np.asarray(m)[np.argsort(-scores[np.asarray(m)])][:cells] for m in modules.members]


def draw(ratemaps: np.ndarray, box_m: float, cells: int) -> plots.Figure:
    """Draw one row for each module: its clearest cells.

    Args:
        ratemaps: [N, bins, bins].
        box_m: side of the box.
        cells: largest number of cells in a row.
    """
    units = sicjax.analyze_ratemaps(ratemaps, box_m, key=jax.random.key(0))
    modules = sicjax.find_modules(units)
    rows = clearest(units, modules, cells)
    groups = [
        (f"{len(members)} grid cells of period {period:.2f} m: the {len(row)} clearest", len(row))
        for members, period, row in zip(modules.members, modules.period_m, rows, strict=True)
    ]
    titles = [f"u{n} g {score:.2f}" for n, score in enumerate(units.grid_score_corrected)]
    order = [int(n) for row in rows for n in row]
    return plots.ratemap_sheet(ratemaps, box_m, order=order, groups=groups, titles=titles)


def main(arguments: Sequence[str]) -> None:
    """Map, and draw the figure.

    Raises:
        ConfigError: an unknown flag or network, or a wrong number of cells.
    """
    parser = command.Parser(__doc__)
    parser.add_argument(
        "--network", metavar="NAME", default="modules", help="bundled network; default: modules"
    )
    parser.add_argument("--workdir", metavar="DIR", help="a run, instead of a bundled network")
    parser.add_argument(
        "--cells", type=command.whole_number(1), default=12, help="cells in a row; default: 12"
    )
    parser.add_argument(
        "--folder", metavar="DIR", default="experiments/results", help="folder of the figure"
    )
    options = parser.read(arguments)
    command.join_processes(options)
    name, folder = options.network, path("--folder", options.folder)
    if options.workdir:
        workdir = path("--workdir", options.workdir)
        name = workdir.name
        try:
            run = sicjax.load_run(workdir)
        except FileNotFoundError as error:
            raise ConfigError(f"--workdir={workdir}: {error}") from None
    else:
        try:
            run = sicjax.load_pretrained(name)
        except ValueError as error:
            raise ConfigError(f"--network={name}: {error}") from None
    box_m = run.config.evaluation.verdict_box
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}_ratemaps_{box_m:g}m.png"
    draw(run.ratemaps(box_m).ratemaps, box_m, options.cells).savefig(file, dpi=110)
    print(file)


if __name__ == "__main__":
    command.run(main)
