"""The clearest grid cells of each module of a network: one row of maps a module.

    python -m experiments.clearest [--network=modules] [--cells=12] [--folder=experiments/results]

Maps a network that comes with sicjax in the box that its config's `evaluation.verdict_box` names,
and draws, of each module, the cells of the highest corrected 60° score, into
NETWORK_ratemaps_BOXm.png. Exit codes: 0 done, 2 bad input.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import sicjax
from sicjax import plots
from sicjax.analysis.modules import Modules
from sicjax.analysis.units import UnitAnalysis
from sicjax.errors import ConfigError
from sicjax.main import guarded, leave, read_flags

USAGE = "usage: python -m experiments.clearest [--network=NAME] [--cells=NUMBER] [--folder=DIR]"


def clearest(units: UnitAnalysis, modules: Modules, cells: int) -> list[np.ndarray]:
    """Units of each module in falling order of their corrected 60° score, so many at most."""
    scores = units.grid_score_corrected
    return [np.asarray(m)[np.argsort(-scores[np.asarray(m)])][:cells] for m in modules.members]


def draw(ratemaps: np.ndarray, box_m: float, cells: int) -> Figure:
    """One row a module, its clearest cells.

    Args:
        ratemaps: [N, bins, bins].
        box_m: side of the box.
        cells: of a row, at most.
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
        ConfigError: an unknown flag, a network that doesn't exist, or no number of cells.
    """
    flags = read_flags(arguments, USAGE)
    name, cells = flags.pop("network", "modules"), flags.pop("cells", "12")
    folder = Path(flags.pop("folder", "experiments/results"))
    if flags:
        raise ConfigError(f"--{min(flags)}: no such flag; {USAGE}")
    if not (cells.isdecimal() and int(cells) > 0):
        raise ConfigError(f"--cells={cells}: must be at least 1")
    try:
        run = sicjax.load_pretrained(name)
    except ValueError as error:
        raise ConfigError(f"--network={name}: {error}") from None
    box_m = run.config.evaluation.verdict_box
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_ratemaps_{box_m:g}m.png"
    draw(run.ratemaps(box_m).ratemaps, box_m, int(cells)).savefig(path, dpi=110)
    print(path)


if __name__ == "__main__":
    leave(guarded(main, sys.argv[1:]))
