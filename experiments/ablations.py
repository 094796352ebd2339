"""Train the paper's ablations in one population: a table and a figure.

    python -m experiments.ablations [--config=configs/ablations.py] [--workdir=DIR]
        [--config.FIELD=VALUE ...]

Writes ablations.md, ablations.json and ablations.png into the workdir:

- for each variant, the mean and the standard deviation over seeds of what the reports measured;
- for each of the paper's ablations, the number of seeds that show the paper's effect;
- rate maps of the most active units, the same number from each module.

Grid cells and modules are those of the long-walk map of the 3 m box. You can stop the command and
start it again. If the run has finished, only its table and figure are made again.
"""

import csv
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from experiments import sweep
from experiments.sweep import Row
from sicjax import command, plots
from sicjax.report.sheets import in_turn

# Column of the table -> key of a row, from `sweep.collect` or from `measure` below.
COLUMNS = {
    "active units": "active_units",
    "grid cells, share of active units": "grid_fraction",
    "grid score of grid cells": "grid_score",
    "grid score, corrected for elliptical distortion": "grid_score_corrected",
    "modules": "num_modules",
    "ratio of periods": "period_ratio",
    "spatial information (bits)": "spatial_information",
    "variance explained, 2,000 steps": "variance_explained_long",
    "variance explained, 120 steps": "variance_explained_short",
    "neural distance after 100 steps": "path_integration.neural_distance_after_100",
    "decoding error after 100 steps (m)": "path_integration.decoding_error_m_after_100",
    "neural distance after 10,000 steps": "path_integration.neural_distance_after_10000",
    "neural speed (per m)": "path_integration.neural_speed_per_m",
}
MAPS_SHOWN = 8
LABEL_WIDTH = 14  # characters
WHOLE = "full"  # the variant with which the others are compared, seed by seed
FEW = 0.05  # share of active units below which a network has no grid cells
UNTUNED = 0.1  # explained by position after 120 steps; binned noise gives 0.05 (20 visits a bin)


def read_units(report: Path) -> list[dict[str, str]]:
    """Return the active units of a report, as rows of its units.csv."""
    with (report / "units.csv").open(newline="", encoding="utf-8") as file:
        return [unit for unit in csv.DictReader(file) if unit["active"] == "1"]


def numbers(units: Sequence[Mapping[str, str]], column: str) -> np.ndarray:
    """Return a column of units.csv [units], NaN where it is empty."""
    return np.array([float(unit[column] or "nan") for unit in units])


def median(values: np.ndarray) -> float | None:
    """Return the median of the finite values, None if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def measure(report: Path) -> Row:
    """Return a row's columns from a report's units.csv: 3 m box, long walks, active units only."""
    units = read_units(report)
    kinds = Counter(unit["kind"] for unit in units)
    grids = [unit for unit in units if unit["is_grid"] == "1"]
    return {
        "grid_fraction": len(grids) / len(units) if units else None,
        "kind": kinds.most_common(1)[0][0] if kinds else "silent",
        "grid_score": median(numbers(grids, "grid_score_3m")),
        "grid_score_corrected": median(numbers(grids, "grid_score_corrected_3m")),
        "period_m": median(numbers(grids, "spacing_m_3m")),
        "spatial_information": median(numbers(units, "spatial_information")),
    }


def _none(row: Row, _: Row) -> bool:
    return not sweep.number(row["grid_fraction"]) >= FEW


def _distorted(row: Row, whole: Row) -> bool:
    lower = sweep.number(row["grid_score"]) < sweep.number(whole["grid_score"])
    return row["kind"] == "square" or (sweep.number(row.get("num_modules")) >= 1 and lower)


_NO_GRID_CELLS = f"no grid cells (below {FEW:.0%} of active units)", _none

# Variant -> the effect in the paper, and whether a row shows it. The second row is that of the
# whole method from the same seed. Written before any result of these ablations was seen.
EXPECTED: dict[str, tuple[str, Callable[[Row, Row], bool]]] = {
    "no capacity": (
        "one module",
        lambda row, _: sweep.number(row.get("num_modules")) == 1,
    ),
    "no separation": _NO_GRID_CELLS,
    "no invariance": _NO_GRID_CELLS,
    "no conformal isometry": (
        "modules remain with a lower grid score, or square lattices",
        _distorted,
    ),
    "sigma_g halved": (
        "place-like fields: most active units are place cells",
        lambda row, _: row["kind"] == "place",
    ),
    "no permutations": (
        f"no spatial tuning (position explains less than {UNTUNED} after 120 steps)",
        lambda row, _: not sweep.number(row.get("variance_explained_short")) >= UNTUNED,
    ),
}


def agreement(rows: Sequence[Row]) -> dict[str, tuple[str, int, int]]:
    """Return, for each variant, the paper's effect, the seeds that show it, and all its seeds."""
    wholes = {row["seed"]: row for row in rows if row["variant"] == WHOLE}
    found = {}
    for variant, (claim, agrees) in EXPECTED.items():
        pairs = [
            (row, wholes[row["seed"]])
            for row in rows
            if row["variant"] == variant and row["seed"] in wholes and not row.get("failure")
        ]
        if pairs:
            found[variant] = claim, sum(agrees(*pair) for pair in pairs), len(pairs)
    return found


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Return, for each variant and column, mean, standard deviation and number of seeds."""
    table: dict[str, dict[str, tuple[float, float, int]]] = {}
    for variant in dict.fromkeys(row["variant"] for row in rows):
        members = [row for row in rows if row["variant"] == variant]
        table[variant] = {}
        for label, column in COLUMNS.items():
            values = np.array([sweep.number(row.get(column)) for row in members])
            values = values[np.isfinite(values)]
            mean, spread = (values.mean(), values.std()) if values.size else (np.nan, np.nan)
            table[variant][label] = (float(mean), float(spread), int(values.size))
    return table


def as_markdown(rows: Sequence[Row], provenance: str = "") -> str:
    """Format the answer, the two tables, and how they were made."""
    table, found = summarise(rows), agreement(rows)
    lines = ["# Ablations", ""]
    if found:
        lines += [summary(found), "", "| variant | effect in the paper | seeds with it | in most |"]
        lines.append("|---|---|---|---|")
    for variant, (claim, agreeing, total) in found.items():
        most = "yes" if 2 * agreeing > total else "no"
        lines.append(f"| {variant} | {claim} | {agreeing} of {total} | {most} |")
    lines += ["", "Mean ± standard deviation over seeds; periods of every seed:", ""]
    lines += ["| | " + " | ".join(COLUMNS) + " | periods of modules (m) |"]
    lines.append("|---" * (len(COLUMNS) + 2) + "|")
    for variant, columns in table.items():
        periods = "; ".join(
            row.get("periods_m") or "–" for row in rows if row["variant"] == variant
        )
        cells = [
            f"{mean:.3g} ± {spread:.2g}" if count else "–"
            for mean, spread, count in columns.values()
        ]
        lines.append(f"| {variant} | " + " | ".join(cells) + f" | {periods} |")
    failed = [f"{row['variant']}, seed {row['seed']}" for row in rows if row.get("failure")]
    if failed:
        lines += ["", f"Training became non-finite: {'; '.join(failed)}."]
    if provenance:
        lines += ["", "## How these tables were made", "", provenance]
    return "\n".join(lines) + "\n"


def summary(found: Mapping[str, tuple[str, int, int]]) -> str:
    """Return the answer of a page: which ablations have the paper's effect in most seeds."""
    shown = [variant for variant, (_, agreeing, total) in found.items() if 2 * agreeing > total]
    missed = [variant for variant in found if variant not in shown]
    return (
        f"**{len(shown)} of {len(found)} ablations have the paper's effect in most seeds"
        f"{': ' * bool(shown)}{', '.join(shown)}.**"
        + (f" Not: {', '.join(missed)}." if missed else "")
    )


def draw(workdir: Path, rows: Sequence[Row]) -> plots.Figure:
    """Draw the most active units of each module of each variant's first network, in the 3 m box."""
    firsts: dict[str, Path] = {}
    for row in rows:
        firsts.setdefault(row["variant"], report_of(workdir, row))
    shown = []
    for variant, report in firsts.items():
        with np.load(report / "ratemaps_3m.npz") as file:
            maps, box_m = file["ratemaps"], float(file["box_m"])
        module = np.full(len(maps), -1)
        for unit in read_units(report):
            module[int(unit["unit"])] = int(unit["module"])
        strongest = np.argsort(-np.nanstd(maps, axis=(1, 2)), kind="stable")
        chosen = in_turn(strongest, module, MAPS_SHOWN)
        shown.append((textwrap.fill(variant, LABEL_WIDTH), maps[chosen]))
    return plots.named_rows(shown, box_m, titles=[""] * MAPS_SHOWN)


def report_of(workdir: Path, row: Row) -> Path:
    """Return the folder of a network's report."""
    return workdir / "report" / f"network_{row['network']:03d}"


def run(config: ConfigDict, workdir: Path, arguments: Sequence[str] = ()) -> str:
    """Train, report, write the table and the figure, and return the text of ablations.md.

    Raises:
        As `sicjax.train` does.
    """
    config.report = True
    rows = sweep.run(config, workdir)
    rows = [row | measure(report_of(workdir, row)) for row in rows]
    (workdir / "ablations.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
    provenance = sweep.provenance("experiments.ablations", arguments, config, workdir)
    (workdir / "ablations.md").write_text(text := as_markdown(rows, provenance))
    draw(workdir, rows).savefig(workdir / "ablations.png", dpi=150)
    return text


def main(arguments: Sequence[str]) -> None:
    """Run and print the table."""
    options = command.Parser(__doc__, config="configs/ablations.py", trains=True).read(arguments)
    command.join_processes(options)
    config, workdir = command.read_run(options)
    print(run(config, workdir, arguments), flush=True)


if __name__ == "__main__":
    command.run(main)
