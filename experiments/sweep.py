"""Train a population of settings and seeds; write one table and one figure of the results.

    python -m experiments.sweep --config=FILE [--workdir=DIR] [--config.FIELD=VALUE ...]
        [--x=FIELD:V1,V2,...] [--y=FIELD:V1,V2,...] [--show=COLUMN] [--method=FILE]

    python -m experiments.sweep --config=configs/pod.py --config.num_networks=64
    python -m experiments.sweep --config=configs/quick.py --config.num_networks=3
        --x=loss.capacity:0.5,1,3 --y=loss.sigma_g:0.3,0.4

--x and --y span a grid of settings, each trained from every seed: a phase diagram. Without them the
config's own variants are trained. --method names a Python file that defines `method`, a
`sicjax.Method`; --x=loss.own_terms:0,0.1,1 then varies the weight of its loss terms. The command
writes into the workdir:

- sweep.csv, one row per network: its settings, its last metrics, and the numbers of its
  summary.json or scores.csv;
- sweep.png, the column --show against the settings. The default is the number of modules, or the
  loss if no network was scored (--config.report=false).

With --config.report=scores the modules are counted without reports. You can stop a sweep and start
it again. If it has finished, only its table and figure are made again.

Other experiments use `grid`, `run` and `collect`.
"""

import contextlib
import csv
import itertools
import json
import math
import runpy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import benchmark
from sicjax import command, plots
from sicjax import config as config_module
from sicjax.analysis.indices import INDICES
from sicjax.config.fields import VARIED
from sicjax.devices import processes
from sicjax.errors import ConfigError, one_line
from sicjax.report.run_reports import SCORES
from sicjax.runs import train
from sicjax.training.method import PAPER, Method, check_is, check_recorded
from sicjax.training.metrics import read_metrics
from sicjax.training.population import members, of_variant
from sicjax.training.workdir import read_config, recorded_method, settled

Row = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]
SESSIONS = "sessions.jsonl"
INDEX_NUMBERS = (
    *(f"units_per_index.{index}" for index in INDICES), "grid_cells_without_index",
    "coarsest_period_m",
)  # fmt: skip


def grid(axes: Axes) -> dict[str, dict[str, Any]]:
    """Return variants for every combination of values; the last field varies fastest.

    Args:
        axes: field, as `loss.capacity`, to its values.

    Returns:
        A table for `config.variants`; names are like "capacity=0.5 sigma_g=0.4".
    """
    return {
        " ".join(
            f"{name.rpartition('.')[2]}={value}" for name, value in zip(axes, values, strict=True)
        ): dict(zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
    }


def run(config: ConfigDict, workdir: Path, *, method: Method = PAPER) -> list[Row]:
    """Train the population of a config, or continue it, and collect its rows.

    Every call that trains adds a line to sessions.jsonl, even if it is stopped.

    Args:
        config: of all networks.
        workdir: of the run.
        method: your own parts of the method.

    Raises:
        As `sicjax.train` does.
    """
    if is_finished(config, workdir):
        check_recorded(workdir, recorded_method(workdir), method)
    else:
        started = time.monotonic()
        try:
            train(config, workdir, method=method)
        finally:
            session = {"hours": (time.monotonic() - started) / 3600, "device": benchmark.device()}
            if processes.is_first() and workdir.is_dir():
                with contextlib.suppress(OSError), (workdir / SESSIONS).open("a") as file:
                    file.write(json.dumps(session) + "\n")
    return collect(workdir)


def provenance(module: str, arguments: Sequence[str], config: ConfigDict, workdir: Path) -> str:
    """Describe in one sentence what made a table: command, sizes, seeds, hardware and wall time.

    Args:
        module: as given to `python -m`.
        arguments: as given to it; the workdir is left out.
        config: what was trained.
        workdir: where `run` trained it.
    """
    given = [text for text in arguments if not text.startswith("--workdir=")]
    path = workdir / SESSIONS
    lines = path.read_text().splitlines() if path.exists() else []
    sessions = [json.loads(line) for line in lines]
    devices = " and ".join(sorted({session["device"] for session in sessions}))
    hours = sum(session["hours"] for session in sessions)
    networks, last = len(members(config)), config.seed + config.num_networks - 1
    seeds = f"seed {last}" if config.num_networks == 1 else f"seeds {config.seed} to {last}"
    return (
        f"`python -m {' '.join([module, *given])}`: {networks} network{'s' * (networks != 1)},"
        f" {seeds}, B {config.data.num_trajectories}, T {config.data.trajectory_length},"
        f" N {config.model.num_units}, H {config.model.hidden_width}, {config.num_steps:,} updates;"
        f" {devices or 'hardware not recorded'}, jax {jax.__version__};"
        f" {hours:.1f} h with the reports ({len(sessions)} session(s))."
    )


def is_finished(config: ConfigDict, workdir: Path) -> bool:
    """Return whether a run has finished everything that a config asks for, reports included."""
    try:
        found = read_config(workdir)
    except FileNotFoundError:
        return False
    asked = settled(config, workdir)
    if config_module.difference(found, asked) or found.num_steps != config.num_steps:
        return False
    rows = collect(workdir)
    wanted = ["report_step"] if config.report else ["step"]
    if config.report == "scores":
        wanted.append("scores_step")  # a whole report has the scores, too
    return all(config.num_steps in [row.get(name) for name in wanted] for row in rows)


def collect(workdir: Path) -> list[Row]:
    """Return one row per network of a run: its name, settings, last metrics and summary.

    Keys: network, variant, seed; the fields that differ between the variants; `step` and the
    metrics of the last logged update. From summary.json, if there is a report: report_step,
    failure, num_modules, periods_m, period_ratio (of neighbouring modules; their median, None below
    two), and every scalar by its dotted name. From scores.csv, if it is newer: scores_step,
    failure, num_modules, periods_m, grid_cells and INDEX_NUMBERS (points of a unit's
    lattice in a cell of the coarsest one).

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    config = read_config(workdir)
    varied = sorted(
        {name for settings in config.variants.values() for name in config_module.flatten(settings)},
        key=VARIED.index,
    )
    values = {
        member.variant: config_module.flatten(of_variant(config, member.variant))
        for member in members(config)
    }
    last = {row["network"]: row for row in read_metrics(workdir / "metrics.jsonl")}
    rows, scores = [], _scores(workdir)
    for network, (variant, seed) in enumerate(members(config)):
        row: Row = {"network": network, "variant": variant, "seed": seed}
        row |= {name: values[variant][name] for name in varied}
        row |= {key: value for key, value in last.get(network, {}).items() if key != "timing"}
        path = workdir / "report" / f"network_{network:03d}" / "summary.json"
        if path.exists():
            row |= _from_summary(json.loads(path.read_text()))
        found = scores.get(network)
        if found and found["scores_step"] > row.get("report_step", -1):
            row |= found
        rows.append(row)
    return rows


def _scores(workdir: Path) -> dict[int, Row]:
    """Return each network's row of report/scores.csv; empty without the file."""
    path = workdir / "report" / SCORES
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            int(row["network"]): {
                "scores_step": int(row["step"]), "failure": row["failure"] or None,
                "num_modules": int(row["modules"]), "periods_m": row["periods_m"],
                "grid_cells": int(row["grid_cells"]),
            } | {name: float(row[name]) for name in INDEX_NUMBERS if row.get(name)}
            for row in csv.DictReader(file)
        }  # fmt: skip


def _from_summary(summary: Mapping[str, Any]) -> Row:
    row = {"report_step": summary["step"], "failure": summary["failure"]}
    modules = summary["modules"]
    ratios = [module["ratio"] for module in modules if module["ratio"] is not None]
    row |= {
        "num_modules": len(modules),
        "periods_m": " ".join(f"{module['period_m']:.3f}" for module in modules),
        "period_ratio": float(np.median(ratios)) if ratios else None,
    }
    known = {"step", "network", "variant", "seed"}
    return row | {
        name: value
        for name, value in config_module.flatten(summary).items()
        if name not in known and not isinstance(value, list)
    }


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV; a missing value is an empty cell."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def median_over_seeds(rows: Sequence[Row], column: str, axes: Axes) -> np.ndarray:
    """Return the median of a column over the seeds of each setting.

    Returns:
        [Y, X], axes being {y: values, x: values}; NaN where no network has a number.
    """
    table = np.full([len(values) for values in axes.values()], np.nan)
    for index in np.ndindex(*table.shape):
        wanted = {name: axes[name][k] for name, k in zip(axes, index, strict=True)}
        found = [
            number(row.get(column))
            for row in rows
            if all(row[name] == value for name, value in wanted.items())
        ]
        finite = [value for value in found if math.isfinite(value)]
        table[index] = np.median(finite) if finite else np.nan
    return table


def number(value: Any) -> float:
    """Convert a cell to a number, NaN if it is not one."""
    return float(value) if isinstance(value, int | float) else math.nan


def draw(rows: Sequence[Row], column: str, axes: Axes) -> plots.Figure:
    """Draw a column against the settings: a phase diagram of two, or a strip per variant."""
    if len(axes) == 2:
        (y, ys), (x, xs) = axes.items()
        figure = plots.blank_figure(2.2 + 0.7 * len(xs), 1.4 + 0.5 * len(ys))
        label = f"{column} (median over seeds)"
        table = median_over_seeds(rows, column, axes)
        plots.phase_diagram(table, xs, ys, x=x, y=y, label=label, ax=figure.subplots())
        return figure
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row["variant"], []).append(number(row.get(column)))
    figure = plots.blank_figure(5.2, 1.0 + 0.4 * len(groups))
    plots.by_setting(groups, label=column, ax=figure.subplots())
    return figure


def axis(text: str, flag: str) -> tuple[str, list[Any]]:
    """Parse FIELD:V1,V2 into the field and its values.

    Raises:
        ConfigError: the field doesn't exist or can't vary, or a value has the wrong type.
    """
    name, colon, values = text.partition(":")
    if not (colon and values):
        raise ConfigError(f"--{flag}={text}: must be FIELD:V1,V2,...")
    scratch, parsed = config_module.default(), []
    for value in values.split(","):
        config_module.set_field(scratch, name, value)
        parsed.append(config_module.flatten(scratch)[name])
    if len(set(parsed)) < len(parsed):
        raise ConfigError(f"--{flag}={text}: it has a value twice")
    return name, parsed


def load_method(path: str) -> Method:
    """Return the method that a Python file defines.

    Raises:
        ConfigError: the file can't be run, or has no `method` that is a `sicjax.Method`.
    """
    try:
        method = runpy.run_path(str(Path(path).expanduser())).get("method")
    except (Exception, SystemExit) as error:  # user code: whatever it raises is bad input
        raise ConfigError(f"--method={path}: {one_line(error)}") from None
    if method is None:
        raise ConfigError(f"--method={path}: must define `method`, a sicjax.Method")
    check_is(method)
    return method


def main(arguments: Sequence[str]) -> None:
    """Train, then write the table and the figure."""
    parser = command.Parser(__doc__, config="", trains=True)
    for flag in ("x", "y"):
        parser.add_argument(f"--{flag}", metavar="FIELD:V1,V2,...", help="an axis of the grid")
    parser.add_argument(
        "--show", metavar="COLUMN", help="column that the figure shows; default: num_modules"
    )
    parser.add_argument("--method", metavar="FILE", help="Python file that defines `method`")
    options = parser.read(arguments)
    command.join_processes(options)
    config, workdir = command.read_run(options)
    axes = dict(axis(text, flag) for flag in ("y", "x") if (text := getattr(options, flag)))
    if axes and config.variants:
        raise ConfigError(
            "--x and --y: the config has variants of its own; omit the flags, or the variants"
        )
    if axes:
        config.variants = grid(axes)
    rows = run(config, workdir, method=load_method(options.method) if options.method else PAPER)
    show = options.show or ("num_modules" if any("num_modules" in row for row in rows) else "loss")
    if not any(show in row for row in rows):
        columns = ", ".join(dict.fromkeys(name for row in rows for name in row))
        raise ConfigError(f"--show={show}: no such column. Columns: {columns}")
    write_table(rows, workdir / "sweep.csv")
    draw(rows, show, axes).savefig(workdir / "sweep.png", dpi=150)
    print(f"table: {workdir / 'sweep.csv'}\nfigure: {workdir / 'sweep.png'}", flush=True)


if __name__ == "__main__":
    command.run(main)
