"""How fine lattices get: units per index, over finished runs, against a setting.

    python -m experiments.indices --runs=DIR,DIR,... --workdir=DIR [--x=FIELD]

    python -m experiments.indices --runs=runs/low,runs/high --workdir=runs/law --x=loss.invariance

The index of a unit is the number of its fields in a unit cell of the network's coarsest lattice
(`sicjax.lattice_indices`). Reads the reports or scores.csv of finished runs (a sweep over --x, or
several runs that differ in it) and trains nothing. A report that an older version wrote has no
indices; they are then measured again from its maps. Writes indices.json, one row per network;
indices.md, one row per value of --x with medians over its networks; and indices.png.
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
from sicjax.analysis.indices import INDICES
from sicjax.config import flatten
from sicjax.config.fields import FIELDS
from sicjax.errors import ConfigError
from sicjax.paths import path
from sicjax.report.tables import index_numbers
from sicjax.training.population import of_variant
from sicjax.training.workdir import read_config

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
    parser.add_argument("--runs", metavar="DIR,DIR,...", required=True, help="finished runs")
    parser.add_argument("--workdir", metavar="DIR", required=True, help="where the table goes")
    parser.add_argument("--x", metavar="FIELD", default=DEFAULT_X, help="the setting")
    options = parser.read(arguments)
    if options.x not in FIELDS:
        raise ConfigError(f"--x={options.x}: no such field; for example {DEFAULT_X}")
    sources = [path("--runs", source) for source in options.runs.split(",")]
    print(run(sources, path("--workdir", options.workdir), options.x))


if __name__ == "__main__":
    command.run(main)
