"""The paper's claims, measured on fresh seeds of one recipe: a table and a figure.

    python -m experiments.claims [--config=configs/full.py] [--workdir=DIR]
        [--config.FIELD=VALUE ...]
    python -m experiments.claims --merge=DIR,DIR,... --workdir=DIR

Trains 16 networks (--config.num_networks=16) if the config says no more than one, each report with
20 rolls per torus test, and writes claims.md, claims.json (one row per network) and claims.png
into the workdir. All verdicts come from the long-walk map of the box that the config's
`evaluation.verdict_box` names. `TARGETS` were set before the networks were trained. Can be stopped
and started again; if it has finished, only its tables and figure are made again. --merge: one table
and figure of runs of one recipe, each of other seeds, that are finished.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import sicjax
from experiments import sweep
from experiments.ablations import median, numbers, read_units, report_of
from experiments.sweep import Row
from sicjax import command, plots
from sicjax.config import flatten
from sicjax.errors import ConfigError
from sicjax.run import Run
from sicjax.training.workdir import read_config

NUM_NETWORKS = 16
TORUS_ROLLS = 20
MODULE_UNITS = 10  # smallest module that counts
HEXAGONAL = 1.0  # least corrected grid score, of a unit or of the median of a module's
RATIOS = (1.3, 2.0)  # of neighbouring periods
LARGEST_PERIOD_CHANGE = 0.05  # between boxes
PERIODS_IN_A_BOX = 1.6  # coarsest ones that a side holds: in less, periods can't be compared
OTHER_BOX_M = 4.0  # in which modules are counted again
LEAST_EXPLAINED = 0.5  # of a grid unit's variance, by position, over walks of 2,000 steps
FAR_STEPS, LEAST_FAR = 10_000, 0.4  # the same over walks of this many steps
LEAST_ACTIVE = 0.9
SHIFTS = (0.2, 0.5)  # along the torus, relative to the norm of a state
LEAST_LEFT, FORGOTTEN = 0.9, 0.2  # of such a shift, of the network and untrained
MEANT = (
    "Modules: of ten grid cells or more. In the first two rows, and in the 4 m box, neighbours'"
    " periods are in ratio 1.3 to 2; in the next three in any. Scores are corrected grid scores."
)
TARGETS = {
    "two modules or more": "80 % of seeds",
    "three modules or more": "50 % of seeds",
    "three modules at any ratio": "50 % of seeds",
    "three, each with ten cells of score 1.0": "50 % of seeds",
    "three, each with a median score of 1.0": "50 % of seeds",
    "as many modules in the 4 m box": "90 % of seeds",
    "active units, median": "90 %",
    "corrected grid score, median of grid units": "1.0",
    "grid score, median of grid units": "0.6",
    "periods agree between boxes": "within 5 %",
    "explained by position after 2,000 steps, median of grid units": "0.5",
    "explained by position after 10,000 steps, median of grid units": "0.4",
    "largest module is a torus": "80 % of seeds",
    "pushed off the torus by 20 %, back within 2 %": "every seed",
    "shifted along it by 20 %, 0.9 left at rest, untrained at most 0.2": "every seed",
    "shifted along it by 50 %, the same": "every seed",
}


def measure(report: Path) -> Row:
    """One network's row, from its summary.json and units.csv.

    Keys: seed, failure, active_units, grid_units; modules (each with units, period_m,
    orientation_deg, grid_score_corrected, a median, hexagonal_units, those of a corrected score of
    1.0, betti, is_torus); num_modules, those of at least 10 units in a chain of ratios from 1.3 to
    2, and num_modules_4m, those of the 4 m box; grid_score and grid_score_corrected, period_change
    (the largest of the medians of other boxes against that of the verdict, of those that hold 1.6
    of the coarsest periods a side) and explained (after 2,000 steps), medians over grid units;
    explained_short (120 steps) and explained_4m; largest_is_torus; drift_10000_of_chance;
    recorded_path_correlation; steps_to_return, _at_rest and _untrained, after a push of 20 % off
    the torus; shift_m along it by 20 and 50 %, shift_left of both after 100 steps at rest, and
    _untrained; spacings_m, (period, module) of each grid unit. None where there is nothing to
    measure.
    """
    summary = json.loads((report / "summary.json").read_text())
    grids = [unit for unit in read_units(report) if unit["is_grid"] == "1"]
    verdict = f"{summary['verdict_box_m']:g}m"
    periods = numbers(grids, f"spacing_m_{verdict}")
    coarsest = max((module["period_m"] for module in summary["modules"]), default=0.0)
    others = [
        box for box in (2, 3, 4)
        if box != summary["verdict_box_m"] and box >= PERIODS_IN_A_BOX * coarsest
    ]  # fmt: skip
    changes = [median(np.abs(numbers(grids, f"spacing_m_{box}m") / periods - 1)) for box in others]
    corrected = f"grid_score_corrected_{verdict}"
    members: dict[int, list[Any]] = {k: [] for k in range(-1, len(summary["modules"]))}
    for unit in grids:
        members[int(unit["module"])].append(unit)
    modules = [
        {key: module[key] for key in ("units", "period_m", "orientation_deg", "is_torus")}
        | {"betti": [module[f"betti_{k}"] for k in range(3)]}
        | {
            "grid_score_corrected": median(numbers(members[number], corrected)),
            "hexagonal_units": int(np.sum(numbers(members[number], corrected) >= HEXAGONAL)),
        }
        for number, module in enumerate(summary["modules"])
    ]
    in_other_box = (
        modules if summary["verdict_box_m"] == OTHER_BOX_M else modules_of_box(report, OTHER_BOX_M)
    )
    largest = max(modules, key=lambda module: module["units"], default={"is_torus": None})
    path = summary["path_integration"]
    drift, chance = path["neural_distance_after_10000"], path["chance_neural_distance"]
    attractor = summary["attractor"] or {}
    untrained = summary["attractor_untrained"] or {}
    return {
        "seed": summary["seed"],
        "failure": summary["failure"],
        "num_units": summary["num_units"],
        "active_units": summary["active_units"],
        "grid_units": len(grids),
        "modules": modules,
        "num_modules": num_modules(modules),
        "num_modules_4m": num_modules(in_other_box),
        "grid_score": median(numbers(grids, f"grid_score_{verdict}")),
        "grid_score_corrected": median(numbers(grids, corrected)),
        "period_change": max((c for c in changes if c is not None), default=None),
        "explained": median(numbers(grids, f"variance_explained_{verdict}")),
        "explained_short": median(numbers(grids, "variance_explained_3m_short")),
        "explained_4m": median(numbers(grids, "variance_explained_4m")),
        "largest_is_torus": largest["is_torus"],
        "drift_10000_of_chance": drift / chance if drift is not None and chance else None,
        "recorded_path_correlation": summary["recorded_path_correlation"],
        "steps_to_return": attractor.get("steps_to_return_walking"),
        "steps_to_return_at_rest": attractor.get("steps_to_return_at_rest"),
        "steps_to_return_untrained": untrained.get("steps_to_return_walking"),
        "shift_m": _of_shifts(attractor, "shift_m"),
        "shift_left": _of_shifts(attractor, "shift_left"),
        "shift_left_untrained": _of_shifts(untrained, "shift_left"),
        "spacings_m": [
            [float(period), int(unit["module"])]
            for period, unit in zip(periods, grids, strict=True)
            if np.isfinite(period)
        ],
    }


def _of_shifts(attractor: Mapping[str, Any], key: str) -> list[float] | None:
    """Return a report's numbers on shifts along the torus by `SHIFTS`; None where not measured."""
    if key not in attractor:
        return None
    asked = attractor["shift_amplitudes"]
    return [attractor[key][asked.index(amplitude)] for amplitude in SHIFTS]


def modules_of_box(report: Path, box_m: float) -> list[dict[str, Any]]:
    """Units and period of each module by a report's maps of one box."""
    with np.load(report / f"ratemaps_{box_m:g}m.npz") as file:
        units = sicjax.analyze_ratemaps(file["ratemaps"], box_m, key=jax.random.key(0))
    found = sicjax.find_modules(units)
    return [
        {"units": len(members), "period_m": float(period)}
        for members, period in zip(found.members, found.period_m, strict=True)
    ]


def explained_far(run: Run, report: Path) -> float | None:
    """Share of a grid unit's variance that position explains over walks of 10,000 steps, median."""
    grids = [int(unit["unit"]) for unit in read_units(report) if unit["is_grid"] == "1"]
    box_m = run.config.evaluation.verdict_box
    return median(run.ratemaps(box_m, walk_steps=FAR_STEPS).variance_explained[grids])


def num_modules(modules: Sequence[Mapping[str, Any]]) -> int:
    """Return the longest chain of modules of 10+ units with neighbours at ratios 1.3 to 2."""
    periods = sorted(m["period_m"] for m in modules if m["units"] >= MODULE_UNITS)
    best = length = min(len(periods), 1)
    for below, above in itertools.pairwise(periods):
        length = length + 1 if RATIOS[0] <= above / below <= RATIOS[1] else 1
        best = max(best, length)
    return best


def three_of(row: Row, is_met: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether a network has three modules of at least 10 units that meet a condition."""
    large = [module for module in row["modules"] if module["units"] >= MODULE_UNITS]
    return sum(is_met(module) for module in large) >= 3


def claims(rows: Sequence[Row]) -> dict[str, tuple[str, bool]]:
    """claim -> what was measured over the networks, and whether it reaches the target.

    A network without grid units has neither scores, periods nor tori: it counts against shares of
    seeds and is left out of medians, whose n is given.
    """

    def share(met: Sequence[bool], least: float) -> tuple[str, bool]:
        return f"{sum(met)} of {len(met)}", sum(met) >= least * len(met)

    def middle(column: str) -> tuple[float, int]:
        found = [row[column] for row in rows if row[column] is not None]
        return (float(np.median(found)), len(found)) if found else (np.nan, 0)

    def at_least(column: str, bar: float) -> tuple[str, bool]:
        value, n = middle(column)
        return f"{value:.2f} (n = {n})", value >= bar

    active = float(np.median([row["active_units"] / row["num_units"] for row in rows]))
    changes = [row["period_change"] for row in rows if row["period_change"] is not None]
    within = sum(change <= LARGEST_PERIOD_CHANGE for change in changes)
    measured = [
        share([row["num_modules"] >= 2 for row in rows], 0.8),
        share([row["num_modules"] >= 3 for row in rows], 0.5),
        share([three_of(row, lambda _: True) for row in rows], 0.5),
        share([three_of(row, lambda m: m["hexagonal_units"] >= MODULE_UNITS) for row in rows], 0.5),
        share(
            [three_of(row, lambda m: m["grid_score_corrected"] >= HEXAGONAL) for row in rows], 0.5
        ),
        share([row["num_modules_4m"] == row["num_modules"] for row in rows], 0.9),
        (f"{active:.0%}", active >= LEAST_ACTIVE),
        at_least("grid_score_corrected", 1.0),
        at_least("grid_score", 0.6),
        (f"{within} of {len(changes)} networks", bool(changes) and within == len(changes)),
        at_least("explained", LEAST_EXPLAINED),
        at_least("explained_far", LEAST_FAR),
        share([bool(row["largest_is_torus"]) for row in rows], 0.8),
        share([row["steps_to_return"] is not None for row in rows], 1.0),
        *(share([_keeps(row, which) for row in rows], 1.0) for which in range(len(SHIFTS))),
    ]
    return dict(zip(TARGETS, measured, strict=True))


def _keeps(row: Row, which: int) -> bool:
    """Whether a network keeps a shift along the torus, which it forgot before training."""
    left, before = row["shift_left"], row["shift_left_untrained"]
    kept = left is not None and left[which] >= LEAST_LEFT
    return kept and (before is None or before[which] <= FORGOTTEN)


def as_markdown(rows: Sequence[Row], provenance: str) -> str:
    """Format the claims beside their targets, and every network below them."""
    lines = [
        provenance,
        "",
        MEANT,
        "",
        "| claim | target | measured | reached |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {claim} | {TARGETS[claim]} | {measured} | {'yes' if reached else 'no'} |"
        for claim, (measured, reached) in claims(rows).items()
    ]
    columns = {
        "grid cells of active": lambda row: f"{row['grid_units']} of {row['active_units']}",
        "modules: units at period (m) [corrected score], Betti": _modules,
        "modules in 4 m": _cell("num_modules_4m", "{}"),
        "grid score": _cell("grid_score"),
        "corrected": _cell("grid_score_corrected"),
        "period change, other boxes": _cell("period_change", "{:.1%}"),
        "explained, 2,000 steps": _cell("explained"),
        "in 4 m": _cell("explained_4m"),
        "10,000 steps": _cell("explained_far"),
        "120 steps": _cell("explained_short"),
        "drift after 10,000 steps, of chance": _cell("drift_10000_of_chance"),
        "rat's path": _cell("recorded_path_correlation"),
        "steps to return, walking (untrained)": _pair("steps_to_return"),
        "of shifts along (m)": _list("shift_m"),
        "left after 100 steps at rest (untrained)": lambda row: (
            f"{_list('shift_left')(row)} ({_list('shift_left_untrained')(row)})"
        ),
    }
    lines += ["", "| seed | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [column(row) for column in columns.values()]
        lines.append(f"| {row['seed']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(key: str, form: str = "{:.2f}") -> Any:
    return lambda row: "–" if row[key] is None else form.format(row[key])


def _pair(key: str) -> Any:
    """Format a whole number, with that of the untrained network in brackets."""
    parts = _cell(key, "{:.0f}"), _cell(f"{key}_untrained", "{:.0f}")
    return lambda row: f"{parts[0](row)} ({parts[1](row)})"


def _list(key: str) -> Any:
    return lambda row: "–" if row[key] is None else ", ".join(f"{x:.2f}" for x in row[key])


def _modules(row: Row) -> str:
    found = []
    for module in row["modules"]:
        betti = "" if None in module["betti"] else f" {tuple(module['betti'])}"
        torus = " torus" if module["is_torus"] else ""
        score = module["grid_score_corrected"]
        scored = "" if score is None else f" [{score:.2f}]"
        found.append(f"{module['units']} at {module['period_m']:.2f}{scored}{betti}{torus}")
    return row["failure"] or "; ".join(found) or "none"


def draw(rows: Sequence[Row]) -> plots.Figure:
    """Draw the period of every grid unit of every network, coloured by its module's scale."""
    figure = plots.blank_figure(5.2, 1.2 + 0.22 * len(rows))
    ax = figure.subplots()
    scales = scales_of_modules(rows)
    for k, row in enumerate(rows):
        for spacing, module in row["spacings_m"]:
            scale = scales[k][module] if module >= 0 else None
            colour = plots.FAINT if scale is None else plots.COLOURS[scale % len(plots.COLOURS)]
            ax.plot(spacing, k, "|", color=colour, ms=9, alpha=0.8)
    ax.set_yticks(range(len(rows)), [f"seed {row['seed']}" for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    plots.dress(ax, x="period of each grid unit (m); colour: scale, grey: in no module")
    return figure


def scales_of_modules(rows: Sequence[Row]) -> list[list[int]]:
    """Each network's modules -> scales, 0 the finest, so that a coarse module alone is not that.

    A scale's period is the median over the networks with most modules. Several modules of a
    network are the scales whose proportions are nearest to theirs, a single one the nearest scale.
    """
    periods = [[module["period_m"] for module in row["modules"]] for row in rows]
    most = max(map(len, periods), default=0)
    scales = np.log(np.median([found for found in periods if len(found) == most], axis=0))

    def misfit(found: Sequence[float], chosen: Iterable[int]) -> float:
        difference = np.log(found) - scales[list(chosen)]
        return float(np.ptp(difference) if len(found) > 1 else abs(difference[0]))

    return [
        list(min(itertools.combinations(range(most), len(found)), key=lambda c: misfit(found, c)))
        if found
        else []
        for found in periods
    ]


def run(config: ConfigDict, workdir: Path, arguments: Sequence[str] = ()) -> str:
    """Train, report and write the tables and the figure; returns claims.md.

    Raises:
        As `sicjax.train` does.
    """
    config.report = True
    reports = [report_of(workdir, row) for row in sweep.run(config, workdir)]
    rows = [
        measure(report) | {"explained_far": explained_far(run, report)}
        for run, report in zip(sicjax.load_runs(workdir), reports, strict=True)
    ]
    return write(rows, sweep.provenance("experiments.claims", arguments, config, workdir), workdir)


def write(rows: Sequence[Row], provenance: str, workdir: Path) -> str:
    """Write claims.json, claims.md and claims.png; returns claims.md."""
    (workdir / "claims.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
    (workdir / "claims.md").write_text(text := as_markdown(rows, provenance))
    draw(rows).savefig(workdir / "claims.png", dpi=150)
    return text


def merge(sources: Sequence[Path], workdir: Path) -> str:
    """Write the table and figure of several finished runs of one recipe; returns claims.md.

    Raises:
        ConfigError: a folder without claims, of another recipe, or with a seed that another has.
    """
    rows: list[Row] = []
    lines, recipes = [], []
    for source in sources:
        try:
            found = json.loads((source / "claims.json").read_text())
            line = (source / "claims.md").read_text().partition("\n")[0]
            recipe = flatten(read_config(source))
        except FileNotFoundError as error:
            raise ConfigError(f"--merge={source}: holds no finished run: {error}") from None
        recipes.append({k: v for k, v in recipe.items() if k not in ("seed", "num_networks")})
        changed = [name for name, value in recipes[-1].items() if value != recipes[0].get(name)]
        if changed:
            raise ConfigError(f"--merge={source}: another recipe than {sources[0]}: {changed[0]}")
        again = {row["seed"] for row in found} & {row["seed"] for row in rows}
        if again:
            raise ConfigError(f"--merge={source}: seed {min(again)} is in another folder too")
        rows += found
        lines.append(f"- {line}")
    workdir.mkdir(parents=True, exist_ok=True)
    rows.sort(key=lambda row: row["seed"])
    runs = [f"{len(rows)} networks, of {len(lines)} runs:", "", *lines]
    return write(rows, "\n".join(runs), workdir)


def main(arguments: Sequence[str]) -> None:
    """Run and print the table."""
    parser = command.Parser(__doc__, config="configs/full.py", trains=True)
    parser.add_argument("--merge", metavar="DIR,DIR,...", help="make one table of finished runs")
    options = parser.read(arguments)
    if options.merge:
        if not options.workdir:
            parser.error("--workdir is missing")
        sources = [Path(folder) for folder in options.merge.split(",")]
        print(merge(sources, Path(options.workdir)), flush=True)
        return
    command.join_processes(options)
    config, workdir = command.read_run(options)
    if config.num_networks == 1:
        config.num_networks = NUM_NETWORKS
    config.evaluation.torus_rolls = max(config.evaluation.torus_rolls, 0) or TORUS_ROLLS
    print(run(config, workdir, arguments), flush=True)


if __name__ == "__main__":
    command.run(main)
