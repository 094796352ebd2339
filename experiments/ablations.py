"""The paper's ablations in one population: a table and a figure.

    python -m experiments.ablations [--config=configs/ablations.py] [--workdir=DIR]
        [--config.FIELD=VALUE ...]

Writes ablations.md, ablations.json and ablations.png into the workdir: for each variant the mean
and the spread over seeds (standard deviation) of what the reports measured, in how many seeds the
paper's ablations have the paper's effect, and rate maps of the most active units, equally many
from each module. Grid cells and modules are those of the long-walk map of the 3 m box. The run can
be stopped and started again; a finished one only makes its table and figure again.
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

# Column of the table -> where a row has it: `sweep.collect`, or `measure` below.
COLUMNS = {
    "active units": "active_units",
    "grid, of active": "grid_fraction",
    "grid score of grid units": "grid_score",
    "after undoing the ellipse": "grid_score_corrected",
    "modules": "num_modules",
    "ratio of periods": "period_ratio",
    "spatial information (bits)": "spatial_information",
    "explained, 2,000 steps": "variance_explained_long",
    "explained, 120 steps": "variance_explained_short",
    "neural distance after 100 steps": "path_integration.neural_distance_after_100",
    "decoding error after 100 steps (m)": "path_integration.decoding_error_m_after_100",
    "neural distance after 10,000 steps": "path_integration.neural_distance_after_10000",
    "neural speed (per m)": "path_integration.neural_speed_per_m",
}
MAPS_SHOWN = 8
LABEL_WIDTH = 14  # characters
WHOLE = "full"  # the variant that the others are held against, seed by seed
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

# Variant -> what the paper says of it, and whether a network's row (beside that of the whole method
# from the same seed) agrees. Written before any result of these ablations was seen.
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
    """variant -> what the paper says, in how many seeds it came out so, and of how many."""
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
    """variant -> column -> mean, standard deviation over seeds, and how many had a number."""
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
    """Format the table, below the commands that made it."""
    table = summarise(rows)
    lines = [provenance, ""] if provenance else []
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
    if found := agreement(rows):
        lines += ["", "| variant | the paper | so in | in most seeds |", "|---|---|---|---|"]
        for variant, (claim, agreeing, total) in found.items():
            most = "yes" if 2 * agreeing > total else "no"
            lines.append(f"| {variant} | {claim} | {agreeing} of {total} | {most} |")
    failed = [f"{row['variant']}, seed {row['seed']}" for row in rows if row.get("failure")]
    return "\n".join(lines) + (f"\n\nNon-finite: {'; '.join(failed)}.\n" if failed else "\n")


def draw(workdir: Path, rows: Sequence[Row]) -> plots.Figure:
    """Draw maps of each variant's first network, 3 m box: the most active units of each module."""
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
    """Train, report and write the table and the figure; returns ablations.md.

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
