"""Draw phase diagrams: what kind of code training gives, against two settings.

    python -m experiments.phase_diagram [--config=configs/quick.py] [--workdir=DIR]
        [--x=FIELD:V1,...] [--y=FIELD:V1,...] [--config.FIELD=VALUE ...]

The default is the capacity weight against sigma_g: 5 x 5 settings, one seed of each
(--config.num_networks=4 trains four). On two cores of an AMD EPYC this takes 57 minutes (2.9
updates a second), and 9 for the reports. The command writes

- phase_diagram.json, one row per network, and phase_diagram.md, the same as a table;
- phase_diagram.png: the number of modules; the period of the grid cells; their share of the active
  units, with the most frequent kind of unit (3 m box, long walks); and the variance that position
  explains on short walks;
- phase_diagram_maps.png: the most active unit of the most frequent kind in the first network of
  each setting, in the 3 m box.

You can stop the command and start it again.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from experiments import ablations, sweep
from experiments.sweep import Axes, Row
from sicjax import command, plots
from sicjax.errors import ConfigError

DEFAULT_X = "loss.capacity:0.05,0.1,0.2,0.5,2"
DEFAULT_Y = "loss.sigma_g:0.2,0.3,0.4,0.5,0.6"
PANELS = {
    "num_modules": "modules",
    "period_m": "period of the grid cells (m)",
    "grid_fraction": "grid cells, share of active units",
    "variance_explained_short": "variance explained, 120 steps",
}
COLUMNS = PANELS | {"by_map.3m.variance_explained": "variance explained, 2,000 steps"}


def run(config: ConfigDict, workdir: Path, axes: Axes, arguments: Sequence[str] = ()) -> list[Row]:
    """Train a grid of settings, report, and write the rows, the table and the figures.

    Raises:
        As `sicjax.train` does.
    """
    config.variants, config.report = sweep.grid(axes), True
    rows = [
        row | ablations.measure(ablations.report_of(workdir, row))
        for row in sweep.run(config, workdir)
    ]
    (workdir / "phase_diagram.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
    provenance = sweep.provenance("experiments.phase_diagram", arguments, config, workdir)
    (workdir / "phase_diagram.md").write_text(page(rows, axes, provenance))
    draw(rows, axes).savefig(workdir / "phase_diagram.png", dpi=150)
    draw_maps(workdir, rows, axes).savefig(workdir / "phase_diagram_maps.png", dpi=150)
    return rows


def page(rows: Sequence[Row], axes: Axes, provenance: str) -> str:
    """Return phase_diagram.md: the answer, the table, and how it was made."""
    grids = [row for row in rows if np.isfinite(sweep.number(row["period_m"]))]
    several = sum(sweep.number(row.get("num_modules")) >= 2 for row in rows)
    return (
        f"# Phase diagram: {' against '.join(axes)}\n\n**{len(grids)} of {len(rows)} networks have"
        f" grid cells, and {several} have two modules or more.** One line per network:\n\n"
        f"{as_markdown(rows, axes)}\n## How this table was made\n\n{provenance}\n"
    )


def as_markdown(rows: Sequence[Row], axes: Axes) -> str:
    """Return a table with one line per network."""
    columns = [*axes, "seed"]
    heads = [*columns, "kind of most units", *COLUMNS.values(), "periods of modules (m)"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        numbers = [sweep.number(row.get(column)) for column in COLUMNS]
        cells = [f"{row[column]}" for column in columns] + [row["kind"]]
        cells += [f"{value:.3g}" if np.isfinite(value) else "–" for value in numbers]
        lines.append("| " + " | ".join([*cells, row.get("periods_m") or "–"]) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], axes: Axes) -> plots.Figure:
    """Draw the four panels; each shows medians over seeds."""
    (y, ys), (x, xs) = axes.items()
    figure = plots.blank_figure(2 * (2.2 + 0.9 * len(xs)), 2 * (1.2 + 0.5 * len(ys)))
    for panel, (column, label) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        table = sweep.median_over_seeds(rows, column, axes)
        text = kinds(rows, axes) if column == "grid_fraction" else None
        plots.phase_diagram(table, xs, ys, x=x, y=y, label=label, text=text, ax=panel)
    return figure


def draw_maps(workdir: Path, rows: Sequence[Row], axes: Axes) -> plots.Figure:
    """Draw one map per setting, laid out as in `draw`: a typical unit of its first network.

    It is the unit whose 3 m map varies most, among the active units of the most frequent kind.
    """
    (y, ys), (x, xs) = axes.items()
    shown, box_m = [], 3.0
    for line in by_setting(rows, axes):
        maps = []
        for members in line:
            report = ablations.report_of(workdir, members[0])
            with np.load(report / "ratemaps_3m.npz") as file:
                everyone, box_m = file["ratemaps"], float(file["box_m"])
            alike = [
                int(unit["unit"])
                for unit in ablations.read_units(report)
                if unit["kind"] == members[0]["kind"]
            ]
            some = everyone[alike] if alike else everyone
            maps.append(some[np.argmax(np.nanstd(some, axis=(1, 2)))])
        shown.append(np.stack(maps))
    # The names of settings are long, so each is written once, in the middle.
    names, titles = [f"{below:g}" for below in ys], [f"{beside:g}" for beside in xs]
    names[len(ys) // 2] = f"{y.rpartition('.')[2]}\n{ys[len(ys) // 2]:g}"
    titles[len(xs) // 2] = f"{x.rpartition('.')[2]} {xs[len(xs) // 2]:g}"
    named = list(zip(names, shown, strict=True))
    return plots.named_rows(named[::-1], box_m, titles=titles)


def kinds(rows: Sequence[Row], axes: Axes) -> list[list[str]]:
    """Return, for each setting, the most common kind of unit in most networks, [Y][X]."""
    return [
        [Counter(row["kind"] for row in members).most_common(1)[0][0] for members in line]
        for line in by_setting(rows, axes)
    ]


def by_setting(rows: Sequence[Row], axes: Axes) -> list[list[list[Row]]]:
    """Return the networks of each setting, [Y][X]."""
    (y, ys), (x, xs) = axes.items()
    return [
        [[row for row in rows if row[y] == below and row[x] == beside] for beside in xs]
        for below in ys
    ]


def main(arguments: Sequence[str]) -> None:
    """Run, then print where the results are."""
    parser = command.Parser(__doc__, config="configs/quick.py", trains=True)
    parser.set_defaults(workdir="runs/phase_diagram")
    parser.add_argument(
        "--x", metavar="FIELD:V1,...", default=DEFAULT_X, help="field and values of the columns"
    )
    parser.add_argument(
        "--y", metavar="FIELD:V1,...", default=DEFAULT_Y, help="field and values of the rows"
    )
    options = parser.read(arguments)
    command.join_processes(options)
    config, workdir = command.read_run(options)
    if config.variants:
        raise ConfigError(
            "variants: this config has its own; --x and --y need a config without variants"
        )
    axes = dict(sweep.axis(getattr(options, flag), flag) for flag in ("y", "x"))
    rows = run(config, workdir, axes, arguments)
    periods = np.array([sweep.number(row["period_m"]) for row in rows])
    print(f"{np.isfinite(periods).sum()} of {len(rows)} networks have grid cells")
    print(f"table: {workdir / 'phase_diagram.md'}\nfigures: {workdir / 'phase_diagram*.png'}")


if __name__ == "__main__":
    command.run(main)
