"""Measure size and kind of the fields against sigma_g, with means and with sums over pairs.

    python -m experiments.sigma_g [--config=quick] [--workdir=runs/sigma_g]
        [--values=0.05,0.07,0.1,0.15,0.2,0.4] [--recipes=means,sums] [--config.FIELD=VALUE ...]

The paper reports place-like fields whose size follows sigma_g. For each of `RECIPES` and each
value, the command trains the config's networks (--config.num_networks=2 for two seeds). It maps
them on walks of 120 steps in a box of 3 m, because a code without grid cells is lost on longer
ones. It writes into the workdir:

- sigma_g.json and sigma_g.md, one row per network;
- sigma_g.png: field diameters and kinds of units against sigma_g;
- sigma_g_maps.png: the most active units of the first network of each setting.

You can stop the command and start it again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import sicjax
from experiments import sweep
from sicjax import command, plots
from sicjax.analysis.firing_fields import field_diameters, find_fields
from sicjax.analysis.kinds import KINDS, active_units
from sicjax.config import flatten
from sicjax.errors import ConfigError
from sicjax.plots import pictures
from sicjax.run import SHORT_WALK_STEPS, Run

Row = dict[str, Any]
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "means": {},
    # The reading of the paper with sums over pairs, and its weights.
    "sums": {"loss.reduction": "sum", "loss.invariance": 0.1, "loss.capacity": 0.5},
}
VALUES = "0.05,0.07,0.1,0.15,0.2,0.4"
BOX_M = 3.0
SHUFFLES = 100
SHOWN = 8  # maps of a network
SHADES = (*plots.COLOURS[:5], plots.NEUTRAL, "#dddddd", plots.FAINT)  # of KINDS; grey: no verdict


def measure(run: Run) -> tuple[Row, np.ndarray]:
    """Return a network's row and its rate maps [N, bins, bins].

    Columns that need a word: kinds, the number of units of each kind; field_m, the median diameter
    of an active unit's whole fields, and field_quartiles_m; fields, the median number of fields of
    an active unit; explained, the median share of its variance that position explains.
    """
    maps = run.ratemaps(BOX_M, walk_steps=SHORT_WALK_STEPS, progress=False)
    units = sicjax.analyze_ratemaps(
        maps.ratemaps, BOX_M, num_shuffles=SHUFFLES, key=jax.random.key(0), progress=False
    )
    active = active_units(maps.ratemaps)
    diameters = field_diameters(maps.ratemaps[active], BOX_M)
    whole = diameters[np.isfinite(diameters)]
    fields = [len(find_fields(ratemap).peaks) for ratemap in maps.ratemaps[active]]
    modules = sicjax.find_modules(units)
    row = {
        "sigma_g": run.config.loss.sigma_g,
        "seed": run.seed,
        "failure": run.failure,
        "active": int(active.sum()),
        "kinds": {kind: int(np.sum(units.kind == kind)) for kind in KINDS},
        "field_m": float(np.median(whole)) if len(whole) else None,
        "field_quartiles_m": np.percentile(whole, (25, 75)).tolist() if len(whole) else None,
        "fields": float(np.median(fields)) if fields else None,
        "explained": float(np.median(maps.variance_explained[active])) if active.any() else None,
        "modules": [
            {"units": len(members), "period_m": float(period)}
            for members, period in zip(modules.members, modules.period_m, strict=True)
        ],
    }
    return row, maps.ratemaps


def as_markdown(rows: Sequence[Row], provenance: Sequence[str]) -> str:
    """Format one line per network, then how the table was made."""
    kinds = [kind for kind in KINDS if any(row["kinds"][kind] for row in rows)]
    heads = [
        "recipe", "sigma_g", "seed", "active units", "field diameter (m) [quartiles]",
        "fields of a unit", *(f"{kind}" for kind in kinds), "modules: units at period",
        "variance explained, 120 steps",
    ]  # fmt: skip
    place = sum(row["kinds"]["place"] for row in rows)
    lines = [
        "# Fields against sigma_g", "",
        f"{len(rows)} networks; {place} of {sum(row['active'] for row in rows):,} active units are"
        " place cells.", "",
        "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|",
    ]  # fmt: skip
    for row in rows:
        field = "–"
        if row["field_m"] is not None:
            low, high = row["field_quartiles_m"]
            field = f"{row['field_m']:.2f} [{low:.2f}, {high:.2f}]"
        modules = "; ".join(f"{m['units']} at {m['period_m']:.2f} m" for m in row["modules"])
        cells = [
            row["recipe"], f"{row['sigma_g']:g}", row["seed"], row["active"], field,
            _short(row["fields"]), *(row["kinds"][kind] for kind in kinds),
            row["failure"] or modules or "none", _short(row["explained"]),
        ]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += ["", "## How this table was made", "", *provenance]
    return "\n".join(lines) + "\n"


def _short(number: float | None) -> str:
    return "–" if number is None else f"{number:.3g}"


def draw(rows: Sequence[Row]) -> plots.Figure:
    """Draw diameters, one dot per network, above the kinds of units, one bar per setting."""
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    values = sorted({row["sigma_g"] for row in rows})
    figure = plots.blank_figure(2.2 + 2.6 * len(recipes), 5.0)
    panels = figure.subplots(2, len(recipes), squeeze=False, sharex=True, sharey="row")
    for (above, below), recipe in zip(panels.T, recipes, strict=True):
        own = [row for row in rows if row["recipe"] == recipe]
        for row in own:
            if row["field_m"] is not None:
                at, (low, high) = values.index(row["sigma_g"]), row["field_quartiles_m"]
                above.plot([at, at], [low, high], color=plots.NEUTRAL, lw=3, zorder=1)
                above.plot(at, row["field_m"], "o", color=plots.COLOURS[0], ms=5)
        above.set_ylim(0)
        plots.dress(above, y="field diameter (m)" if recipe == recipes[0] else "", title=recipe)
        bottom = np.zeros(len(values))
        for kind, colour in zip(KINDS, SHADES, strict=True):
            share = np.array([
                sum(row["kinds"][kind] for row in own if row["sigma_g"] == value)
                / max(sum(sum(row["kinds"].values()) for row in own if row["sigma_g"] == value), 1)
                for value in values
            ])  # fmt: skip
            if any(row["kinds"][kind] for row in rows):
                below.bar(range(len(values)), share, bottom=bottom, label=kind, color=colour)
            bottom += share
        below.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        plots.dress(below, x="$\\sigma_g$", y="share of units" if recipe == recipes[0] else "")
    panels[1, -1].legend(frameon=False, fontsize=9, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def draw_maps(shown: Mapping[tuple[str, float], np.ndarray]) -> plots.Figure:
    """Draw the units of the highest mean square, a row for each setting's first network."""
    rows = []
    for (recipe, value), maps in shown.items():
        order = np.argsort(-np.nanmean(maps**2, axis=(1, 2)))[:SHOWN]
        rows.append((f"{recipe}\n$\\sigma_g$ {value:g}", maps[order]))
    return plots.named_rows(rows, BOX_M, titles=[""] * SHOWN)


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, measure, and write the table and the figures.

    Raises:
        ConfigError: an unknown flag, field or recipe, or a config with variants.
    """
    parser = command.Parser(__doc__, config="quick", trains=True)
    parser.set_defaults(workdir="runs/sigma_g")
    parser.add_argument("--values", metavar="V1,V2,...", default=VALUES, help="of loss.sigma_g")
    parser.add_argument(
        "--recipes", metavar="NAME,...", default=",".join(RECIPES), help="among means, sums"
    )
    options = parser.read(arguments)
    command.join_processes(options)
    config, workdir = command.read_run(options)
    if config.variants:
        raise ConfigError("--config: has variants of its own; choose a config without")
    axes = dict([sweep.axis(f"loss.sigma_g:{options.values}", "values")])
    rows: list[Row] = []
    provenance: list[str] = []
    shown: dict[tuple[str, float], np.ndarray] = {}
    for recipe in options.recipes.split(","):
        if recipe not in RECIPES:
            raise ConfigError(f"--recipes={recipe}: must be among {', '.join(RECIPES)}")
        fields = {"report": False, **RECIPES[recipe]}
        own = sicjax.config.changed(config, fields)
        own.variants = sweep.grid(axes)
        sweep.run(own, workdir / recipe)
        for run in sicjax.load_runs(workdir / recipe):
            row, maps = measure(run)
            rows.append({"recipe": recipe, **row})
            shown.setdefault((recipe, row["sigma_g"]), maps)
        settings = ", ".join(f"{name} {flatten(own)[name]}" for name in RECIPES["sums"])
        made = sweep.provenance("experiments.sigma_g", arguments, own, workdir / recipe)
        provenance.append(f"- {recipe} ({settings}): {made}")
    (workdir / "sigma_g.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
    (workdir / "sigma_g.md").write_text(as_markdown(rows, provenance))
    draw(rows).savefig(workdir / "sigma_g.png", dpi=150, bbox_inches="tight")
    sheet = pictures.pack(pictures.paint(draw_maps(shown)), few_colours=True)
    (workdir / "sigma_g_maps.png").write_bytes(sheet)
    print((workdir / "sigma_g.md").read_text(), end="")


if __name__ == "__main__":
    command.run(main)
