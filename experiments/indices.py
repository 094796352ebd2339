"""How fine lattices get: units per index, over finished runs, against a setting.

    python -m experiments.indices --runs=DIR,DIR,... --workdir=DIR [--x=FIELD]
    python -m experiments.indices --claims=NAME,NAME,... --workdir=DIR

    python -m experiments.indices --runs=runs/low,runs/high --workdir=runs/law --x=loss.invariance
    python -m experiments.indices --claims=quick,modules,full --workdir=experiments/results

The index of a unit is the number of points of its lattice in a unit cell of the network's coarsest
lattice (`sicjax.lattice_indices`). Reads the reports or scores.csv of finished runs (a sweep over
--x, or several runs that differ in it) and trains nothing. A report that an older version wrote has
no indices; they are then measured again from its maps. Writes indices.json, one row per network;
indices.md, one row per value of --x with medians over its networks; and indices.png.

--claims compares recipes instead: it reads the finished claims of each
(experiments/results/claims_NAME.json) and writes indices_of_recipes.png, the median number of grid
cells of each index. There an index comes from the period alone.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sicjax
from experiments import ablations, sweep
from experiments.sweep import INDEX_NUMBERS, Row
from sicjax import command, plots
from sicjax.analysis.indices import INDICES, MIN_UNITS, TOLERANCE
from sicjax.config import flatten
from sicjax.config.fields import FIELDS
from sicjax.config.files import load_config
from sicjax.errors import ConfigError
from sicjax.paths import path
from sicjax.report.tables import index_numbers
from sicjax.training.population import of_variant
from sicjax.training.workdir import read_config

RESULTS = Path(__file__).parent / "results"
DEFAULT_X = "loss.invariance"
SETTINGS = ("loss.invariance", "optimizer.learning_rate", "num_steps", "model.num_units")
SHUFFLES = 20  # for maps of older reports; the pooled null then decides
COLUMNS = {f"units_per_index.{index}": f"index {index}" for index in INDICES} | {
    "grid_cells_without_index": "no index", "num_modules": "modules",
    "coarsest_period_m": "coarsest period (m)",
}  # fmt: skip


def collect(workdir: Path, x: str) -> list[Row]:
    """Return one row per network of a finished run: who it is, SETTINGS and x, and INDEX_NUMBERS.

    Raises:
        FileNotFoundError: the folder holds no run.
        ConfigError: a network has neither a report nor scores.
    """
    config, rows = read_config(workdir), []
    for row in sweep.collect(workdir):
        if "num_modules" not in row:
            raise ConfigError(
                f"--runs={workdir}: network {row['network']} has neither a report nor scores; make"
                f" them by: python -m experiments.evaluate --workdir={workdir}"
            )
        if INDEX_NUMBERS[0] not in row:
            row |= _measured_again(ablations.report_of(workdir, row))
        values = flatten(of_variant(config, row["variant"]))
        names = ("network", "variant", "seed", "num_modules", "periods_m", *INDEX_NUMBERS)
        rows.append(
            {"run": workdir.name, **{name: values[name] for name in (*SETTINGS, x)}}
            | {name: row.get(name) for name in names}
        )
    return rows


def _measured_again(report: Path) -> Row:
    """Return the INDEX_NUMBERS of a report, from its maps of the box of the verdict."""
    box_m = json.loads((report / "summary.json").read_text())["verdict_box_m"]
    with np.load(report / f"ratemaps_{box_m:g}m.npz") as file:
        units = sicjax.analyze_ratemaps(file["ratemaps"], box_m, num_shuffles=SHUFFLES)
    found = flatten(index_numbers(sicjax.lattice_indices(units)))
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def by_value(rows: Sequence[Row], x: str) -> dict[Any, list[Row]]:
    """Return the rows of each value of a setting, by rising value."""
    return {value: [row for row in rows if row[x] == value] for value in _values(rows, x)}


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    return sorted({row[name] for row in rows})


def medians(rows: Sequence[Row], columns: Sequence[str]) -> np.ndarray:
    """Return the median of each column over networks; NaN where no network has a number."""
    found = [np.array([sweep.number(row[column]) for row in rows]) for column in columns]
    finite = [values[np.isfinite(values)] for values in found]
    return np.array([np.median(values) if values.size else np.nan for values in finite])


def as_markdown(rows: Sequence[Row], x: str) -> str:
    """Return a table: one row per value of the setting, medians over its networks."""
    others = [name for name in SETTINGS if name != x]
    heads = [x, "networks", *COLUMNS.values(), *others]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for value, members in by_value(rows, x).items():
        numbers = medians(members, list(COLUMNS))
        cells = [f"{number:.3g}" if np.isfinite(number) else "–" for number in numbers]
        rest = [", ".join(f"{v:g}" for v in _values(members, name)) for name in others]
        lines.append("| " + " | ".join([f"{value}", f"{len(members)}", *cells, *rest]) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], x: str) -> plots.Figure:
    """Draw the median number of units of each index, side by side for each value of the setting."""
    groups = by_value(rows, x)
    figure = plots.blank_figure(6.4, 3.6)
    columns = [f"units_per_index.{index}" for index in INDICES]
    counts = [medians(members, columns) for members in groups.values()]
    rest = [medians(members, ["grid_cells_without_index"])[0] for members in groups.values()]
    names = [f"{x} {value} (n = {len(members)})" for value, members in groups.items()]
    plots.units_per_index(counts, INDICES, names=names, rest=rest, ax=figure.subplots())
    return figure


def of_periods(row: Row) -> np.ndarray:
    """Return the number of grid cells of each of INDICES, then of none, of a row of a claims.json.

    An index is the squared ratio of the coarsest period to the cell's, within 8 % of the period.
    The coarsest period is the longest that three cells share, as in `sicjax.lattice_indices`.
    """
    periods = np.array([period for period, _ in row["spacings_m"]])
    alike = np.abs(periods[:, None] / periods - 1) <= TOLERANCE / 2
    shared = periods[alike.sum(axis=1) >= MIN_UNITS]
    coarsest = np.median(periods[alike[periods == shared.max()][0]]) if shared.size else np.nan
    ideal = coarsest / np.sqrt(INDICES)
    off = np.abs(periods[:, None] / ideal - 1)  # [cells, K]
    near = (off == off.min(axis=1, keepdims=True)) & (off <= TOLERANCE)
    return np.append(near.sum(axis=0), (~near.any(axis=1)).sum())


def draw_recipes(names: Sequence[str]) -> plots.Figure:
    """Draw the median number of grid cells of each index in the fresh networks of recipes.

    Args:
        names: built-in configs with finished claims.

    Raises:
        ConfigError: no such config, or no claims of it.
    """
    counts, labels = [], []
    for name in names:
        file = RESULTS / f"claims_{name}.json"
        if not file.is_file():
            raise ConfigError(f"--claims={name}: there is no experiments/results/{file.name}")
        rows = json.loads(file.read_text())
        counts.append(np.median([of_periods(row) for row in rows], axis=0))
        config = load_config(name)
        labels.append(
            f"{name}.py: N {config.model.num_units}, $\\lambda_{{inv}}$ {config.loss.invariance:g},"
            f" {len(rows)} networks"
        )
    figure, table = plots.blank_figure(6.4, 3.6), np.array(counts)
    plots.units_per_index(
        table[:, :-1], INDICES, names=labels, rest=table[:, -1], ax=figure.subplots()
    )
    return figure


def run(sources: Sequence[Path], workdir: Path, x: str) -> str:
    """Write indices.json, indices.md and indices.png of finished runs; return indices.md."""
    rows = []
    for source in sources:
        try:
            rows += collect(source, x)
        except FileNotFoundError as error:
            raise ConfigError(f"--runs={source}: holds no finished run: {error}") from None
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "indices.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
    text = f"`python -m experiments.indices --x={x}`: medians over networks.\n\n"
    (workdir / "indices.md").write_text(text := text + as_markdown(rows, x))
    draw(rows, x).savefig(workdir / "indices.png", dpi=150)
    return text


def main(arguments: Sequence[str]) -> None:
    """Read the runs, then write and print the table."""
    parser = command.Parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--runs", metavar="DIR,DIR,...", help="finished runs")
    what.add_argument("--claims", metavar="NAME,NAME,...", help="recipes with finished claims")
    parser.add_argument("--workdir", metavar="DIR", required=True, help="where the table goes")
    parser.add_argument("--x", metavar="FIELD", help=f"the setting of --runs ({DEFAULT_X})")
    options = parser.read(arguments)
    if options.claims:
        if options.x is not None:
            parser.error("--x belongs to --runs; --claims compares recipes")
        names, folder = options.claims.split(","), path("--workdir", options.workdir)
        figure = draw_recipes(names)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(file := folder / "indices_of_recipes.png", dpi=150)
        print(file)
        return
    x = options.x or DEFAULT_X
    if x not in FIELDS:
        raise ConfigError(f"--x={x}: no such field; for example {DEFAULT_X}")
    sources = [path("--runs", source) for source in options.runs.split(",")]
    print(run(sources, path("--workdir", options.workdir), x))


if __name__ == "__main__":
    command.run(main)
