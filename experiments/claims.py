"""Measure the paper's claims on fresh seeds of one recipe: a table and a figure.

    python -m experiments.claims [--config=configs/full.py] [--workdir=DIR]
        [--config.FIELD=VALUE ...]
    python -m experiments.claims --merge=DIR,DIR,... --workdir=DIR

Trains 16 networks if the config has one; --config.num_networks sets another number, also 1. Each
report uses 20 rolls per torus test. The command writes claims.md, claims.json (one row per network)
and claims.png into the workdir. All verdicts come from the long-walk map of the box that the
config's `evaluation.verdict_box` names. `TARGETS` were set before the networks were trained, the
last two only for `full.py`.

You can stop the command and start it again. If the run has finished, only its tables and figure are
made again. --merge makes one table and figure of several finished runs of one recipe, each with
other seeds.
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
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.ratemaps import RateMaps
from sicjax.config import flatten
from sicjax.errors import ConfigError
from sicjax.paths import path
from sicjax.run import Run
from sicjax.training.workdir import read_config

NUM_NETWORKS = 16
TORUS_ROLLS = 20
MODULE_UNITS = 10  # the smallest module that counts
LARGE_BOX_SHUFFLES = 20  # a map of 8 m takes four times as long as one of 4 m
HEXAGONAL = 1.0  # least corrected grid score of a unit, or least median of a module
RATIOS = (1.3, 2.0)  # allowed ratios of neighbouring periods
PAPER_RATIOS = (1.6, 1.85)  # of the paper's figure, give or take its reading error
OTHER_RATIO = 1.25  # modules whose ratio of periods differs by more are of another scale
TORUS_UNITS = 15  # the smallest module that is expected to be a torus
LARGEST_PERIOD_CHANGE = 0.05  # between two boxes
PERIODS_IN_A_BOX = 1.6  # in a box of fewer coarsest periods a side, periods can't be compared
OTHER_BOXES_M = (4.0, 8.0)  # modules are counted again in the second if the verdict's is above 4 m
LEAST_EXPLAINED = 0.5  # share of a grid cell's variance, by position, on walks of 2,000 steps
FAR_STEPS, LEAST_FAR = 10_000, 0.4  # the same over walks of this many steps
LEAST_ACTIVE = 0.9
SHIFTS = (0.2, 0.5)  # along the torus, relative to the norm of a state
LEAST_LEFT, FORGOTTEN = 0.9, 0.2  # share of a shift left at rest: trained; untrained
DEFINITIONS = (
    "A module counts if it has ten grid cells or more. In the first two rows, and in the other box,"
    " the periods of neighbouring modules must be in a ratio of 1.3 to 2; the next three rows allow"
    " any ratio. The other box is 4 m wide, or 8 m if the verdicts come from a box of more than"
    " 4 m (with 20 shuffles). n is the number of networks with grid cells."
)
NO_RECIPE = ("seed", "num_networks", "evaluation.snapshot_every")  # may differ in merged runs
HOW_MADE = "## How this table was made"
TARGETS = {
    "two modules or more": "80 % of seeds",
    "three modules or more": "50 % of seeds",
    "three modules at any ratio": "50 % of seeds",
    "three, each with ten cells of corrected grid score 1.0": "50 % of seeds",
    "three, each with a median corrected grid score of 1.0": "50 % of seeds",
    "the same number of modules in the other box": "90 % of seeds",
    "active units, median over networks": "90 %",
    "corrected grid score, median over grid cells": "1.0",
    "grid score, median over grid cells": "0.6",
    "periods agree between boxes": "within 5 %",
    "variance explained by position after 2,000 steps, median over grid cells": "0.5",
    "variance explained by position after 10,000 steps, median over grid cells": "0.4",
    "largest module is a torus": "80 % of seeds",
    "a push of 20 % off the torus decays to 2 %": "every seed",
    "a shift of 20 % along the torus: 0.9 left at rest, untrained at most 0.2": "every seed",
    "a shift of 50 % along the torus: the same": "every seed",
    "three modules in the paper's ratios, 1.6 to 1.85": "75 % of seeds",
    "modules of 15 grid cells or more are tori": "90 % of modules",
}


def other_box_m(verdict_box_m: float) -> float:
    """Return the side of the box in which the modules of a verdict's box are counted again."""
    return OTHER_BOXES_M[verdict_box_m > OTHER_BOXES_M[0]]


def measure(report: Path, other: RateMaps | None = None) -> Row:
    """Return one network's row, from its summary.json and units.csv; None where there is nothing.

    Medians are over grid cells. In the keys:

        modules: of each, units and others, and hexagonal_units: those of corrected score 1.0
        num_modules, num_modules_other: see `num_modules`; the second in the other box
        period_change: largest median change of the period from the verdict's box to another that
            holds 1.6 coarsest periods a side
        explained, _short, _other: by position, after 2,000 steps; 120; 2,000 in the other box
        steps_to_return, _at_rest, _untrained: after a push of 20 % off the torus
        shift_m, shift_left, _untrained: shifts along it by 20 and 50 %; share left after 100 steps
        spacings_m: (period, module) of each grid cell

    Args:
        report: folder of the network's report.
        other: its maps in the other box; by default those of the report.
    """
    summary = json.loads((report / "summary.json").read_text())
    grids = [unit for unit in read_units(report) if unit["is_grid"] == "1"]  # only grid cells count
    verdict = f"{summary['verdict_box_m']:g}m"
    periods = numbers(grids, f"spacing_m_{verdict}")
    spacings = {float(box): numbers(grids, f"spacing_m_{box}m") for box in (2, 3, 4)}
    box_m = other_box_m(summary["verdict_box_m"])
    coarsest = max((module["period_m"] for module in summary["modules"]), default=0.0)
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
    if other is not None:
        which = np.array([unit["unit"] for unit in grids], int)
        spacings[box_m] = score_ratemaps(other.ratemaps, box_m).spacing_m[which]
        explained_other = median(other.variance_explained[which])
        in_other_box = modules_of(other.ratemaps, box_m, LARGE_BOX_SHUFFLES)
    else:
        explained_other = median(numbers(grids, f"variance_explained_{box_m:g}m"))
        in_other_box = modules
        if summary["verdict_box_m"] != box_m:
            with np.load(report / f"ratemaps_{box_m:g}m.npz") as file:
                in_other_box = modules_of(file["ratemaps"], box_m)
    changes = [
        median(np.abs(spacing_m / periods - 1))
        for box, spacing_m in spacings.items()
        if box != summary["verdict_box_m"] and box >= PERIODS_IN_A_BOX * coarsest
    ]
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
        "other_box_m": box_m,
        "num_modules_other": num_modules(in_other_box),
        "grid_score": median(numbers(grids, f"grid_score_{verdict}")),
        "grid_score_corrected": median(numbers(grids, corrected)),
        "period_change": max((c for c in changes if c is not None), default=None),
        "explained": median(numbers(grids, f"variance_explained_{verdict}")),
        "explained_short": median(numbers(grids, "variance_explained_3m_short")),
        "explained_other": explained_other,
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
    """Return a report's numbers on shifts along the torus by `SHIFTS`, or None if not measured."""
    if key not in attractor:
        return None
    asked = attractor["shift_amplitudes"]
    return [attractor[key][asked.index(amplitude)] for amplitude in SHIFTS]


def modules_of(
    ratemaps: np.ndarray, box_m: float, num_shuffles: int = 100
) -> list[dict[str, Any]]:  # fmt: skip
    """Find modules in the maps [N, y, x] of one box; return the units and period of each."""
    units = sicjax.analyze_ratemaps(
        ratemaps, box_m, num_shuffles=num_shuffles, key=jax.random.key(0)
    )
    found = sicjax.find_modules(units)
    return [
        {"units": len(members), "period_m": float(period)}
        for members, period in zip(found.members, found.period_m, strict=True)
    ]


def maps_of_other_box(run: Run, report: Path) -> RateMaps | None:
    """Return a network's maps of the other box, or None if its report has them."""
    box_m = other_box_m(run.config.evaluation.verdict_box)
    return None if (report / f"ratemaps_{box_m:g}m.npz").exists() else run.ratemaps(box_m)


def explained_far(run: Run, report: Path) -> float | None:
    """Return the median variance of grid cells that position explains on walks of 10,000 steps."""
    grids = [int(unit["unit"]) for unit in read_units(report) if unit["is_grid"] == "1"]
    box_m = run.config.evaluation.verdict_box
    return median(run.ratemaps(box_m, walk_steps=FAR_STEPS).variance_explained[grids])


def num_modules(modules: Sequence[Mapping[str, Any]]) -> int:
    """Return the length of the longest chain of modules (10 units or more) at ratios 1.3 to 2."""
    periods = sorted(m["period_m"] for m in modules if m["units"] >= MODULE_UNITS)
    best = length = min(len(periods), 1)
    for below, above in itertools.pairwise(periods):
        length = length + 1 if RATIOS[0] <= above / below <= RATIOS[1] else 1
        best = max(best, length)
    return best


def has_paper_ratios(modules: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether three modules of 10 units or more have both ratios in `PAPER_RATIOS`.

    Other modules may lie in between.
    """
    periods = sorted(m["period_m"] for m in modules if m["units"] >= MODULE_UNITS)
    least, most = PAPER_RATIOS
    return any(
        all(least <= above / below <= most for below, above in itertools.pairwise(three))
        for three in itertools.combinations(periods, 3)
    )


def three_of(row: Row, is_met: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Return whether a network has three modules of 10 units or more that meet a condition."""
    large = [module for module in row["modules"] if module["units"] >= MODULE_UNITS]
    return sum(is_met(module) for module in large) >= 3


def claims(rows: Sequence[Row]) -> dict[str, tuple[str, bool]]:
    """Return, for each claim, what was measured and whether it reaches the target.

    A network without grid cells has no scores, periods or tori. It counts as a miss in shares of
    seeds. Medians leave it out; their n says how many networks they include.
    """

    def share(met: Sequence[bool], least: float) -> tuple[str, bool]:
        return f"{sum(met)} of {len(met)}", bool(met) and sum(met) >= least * len(met)

    def middle(column: str) -> tuple[float, int]:
        found = [row[column] for row in rows if row[column] is not None]
        return (float(np.median(found)), len(found)) if found else (np.nan, 0)

    def at_least(column: str, bar: float) -> tuple[str, bool]:
        value, n = middle(column)
        return f"{value:.2f} (n = {n})", value >= bar

    active = float(np.median([row["active_units"] / row["num_units"] for row in rows]))
    changes = [row["period_change"] for row in rows if row["period_change"] is not None]
    large = [m for row in rows for m in row["modules"] if m["units"] >= TORUS_UNITS]
    within = sum(change <= LARGEST_PERIOD_CHANGE for change in changes)
    measured = [
        share([row["num_modules"] >= 2 for row in rows], 0.8),  # in the order of TARGETS
        share([row["num_modules"] >= 3 for row in rows], 0.5),
        share([three_of(row, lambda _: True) for row in rows], 0.5),
        share([three_of(row, lambda m: m["hexagonal_units"] >= MODULE_UNITS) for row in rows], 0.5),
        share(
            [three_of(row, lambda m: m["grid_score_corrected"] >= HEXAGONAL) for row in rows], 0.5
        ),
        share([row["num_modules_other"] == row["num_modules"] for row in rows], 0.9),
        (f"{active:.0%}", active >= LEAST_ACTIVE),
        at_least("grid_score_corrected", 1.0),
        at_least("grid_score", 0.6),
        (f"{within} of {len(changes)} networks", bool(changes) and within == len(changes)),
        at_least("explained", LEAST_EXPLAINED),
        at_least("explained_far", LEAST_FAR),
        share([bool(row["largest_is_torus"]) for row in rows], 0.8),
        share([row["steps_to_return"] is not None for row in rows], 1.0),
        *(share([_keeps(row, which) for row in rows], 1.0) for which in range(len(SHIFTS))),
        share([has_paper_ratios(row["modules"]) for row in rows], 0.75),
        share([bool(module["is_torus"]) for module in large], 0.9),
    ]
    return dict(zip(TARGETS, measured, strict=True))


def _keeps(row: Row, which: int) -> bool:
    """Return whether a network keeps a shift along the torus that it forgot before training."""
    left, before = row["shift_left"], row["shift_left_untrained"]
    kept = left is not None and left[which] >= LEAST_LEFT
    return kept and (before is None or before[which] <= FORGOTTEN)


def as_markdown(rows: Sequence[Row], provenance: str) -> str:
    """Format the claims beside their targets, then every network, then how the table was made."""
    found = claims(rows)
    lines = [
        "# Claims, measured on fresh seeds",
        "",
        summary(found),
        "",
        DEFINITIONS,
        "",
        "| claim | target | measured | reached |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {claim} | {TARGETS[claim]} | {measured} | {'yes' if reached else 'no'} |"
        for claim, (measured, reached) in found.items()
    ]
    other = f"{rows[0]['other_box_m']:g} m box"
    columns = {
        "grid cells of active units": lambda row: f"{row['grid_units']} of {row['active_units']}",
        "modules: units at period (m) [corrected score], Betti": _modules,
        f"modules in the {other}": _cell("num_modules_other", "{}"),
        "grid score": _cell("grid_score"),
        "corrected grid score": _cell("grid_score_corrected"),
        "largest change of period between boxes": _cell("period_change", "{:.1%}"),
        "variance explained, 2,000 steps": _cell("explained"),
        f"2,000 steps, {other}": _cell("explained_other"),
        "10,000 steps": _cell("explained_far"),
        "120 steps": _cell("explained_short"),
        "drift after 10,000 steps, relative to chance": _cell("drift_10000_of_chance"),
        "correlation of maps, rat's path": _cell("recorded_path_correlation"),
        "steps back to the torus, walking (untrained)": _pair("steps_to_return"),
        "shifts along the torus (m)": _list("shift_m"),
        "share left after 100 steps at rest (untrained)": lambda row: (
            f"{_list('shift_left')(row)} ({_list('shift_left_untrained')(row)})"
        ),
    }
    lines += [
        "",
        "## Every network",
        "",
        "| seed | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in rows:
        cells = [column(row) for column in columns.values()]
        lines.append(f"| {row['seed']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", HOW_MADE, "", provenance]) + "\n"


def summary(found: Mapping[str, tuple[str, bool]]) -> str:
    """Return the answer of a page in three sentences."""
    measured = [what for what, _ in found.values()]
    two, _, three = measured[:3]
    explained, far, torus = (what.partition(" (")[0] for what in measured[10:13])
    return (
        f"**{two} networks have two modules or more, {three} have three.** The largest module is a"
        f" torus in {torus}. Position explains {explained} of a grid cell's variance after walks of"
        f" 2,000 steps, and {far} after 10,000 (medians). {sum(met for _, met in found.values())}"
        f" of {len(found)} targets are reached."
    )


def _cell(key: str, form: str = "{:.2f}") -> Any:
    return lambda row: "–" if row[key] is None else form.format(row[key])


def _pair(key: str) -> Any:
    """Format an integer, with that of the untrained network in brackets."""
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
    """Draw the period of every grid cell of every network, coloured by its module's scale."""
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
    plots.dress(ax, x="period of each grid cell (m); colour: module, grey: none")
    return figure


def scales_of_modules(rows: Sequence[Row]) -> list[list[int]]:
    """Return the scale of every module of every network, 0 being the finest.

    A network may lack a scale, so its finest module isn't always of scale 0. A scale's period is
    the median over the networks with most modules. A network with several modules gets the scales
    whose ratios are nearest to those of its periods, or, where ratios are equal, the nearest ones.
    If the ratios differ by more than a quarter, as few modules as possible are left out; they share
    one extra scale.
    """
    periods = [[module["period_m"] for module in row["modules"]] for row in rows]
    most = max(map(len, periods), default=0)
    scales = np.log(np.median([found for found in periods if len(found) == most], axis=0))

    def misfit(found: Sequence[float], chosen: Iterable[int]) -> float:
        difference = np.log(found) - scales[list(chosen)]
        return float(np.ptp(difference) + 0.1 * abs(difference.mean()))  # ratios first

    def assign(found: Sequence[float]) -> list[int]:
        given = [most] * len(found)
        for kept in range(len(found), 0, -1):
            which, chosen = min(
                itertools.product(
                    itertools.combinations(range(len(found)), kept),
                    itertools.combinations(range(most), kept),
                ),
                key=lambda pair: misfit([found[k] for k in pair[0]], pair[1]),
            )
            if misfit([found[k] for k in which], chosen) <= np.log(OTHER_RATIO) or kept == 1:
                for k, scale in zip(which, chosen, strict=True):
                    given[k] = scale
                break
        return given

    return [assign(found) for found in periods]


def run(config: ConfigDict, workdir: Path, arguments: Sequence[str] = ()) -> str:
    """Train, report, write the tables and the figure, and return the text of claims.md.

    Raises:
        As `sicjax.train` does.
    """
    config.report = True
    reports = [report_of(workdir, row) for row in sweep.run(config, workdir)]
    rows = [
        measure(report, maps_of_other_box(run, report))
        | {"explained_far": explained_far(run, report)}
        for run, report in zip(sicjax.load_runs(workdir), reports, strict=True)
    ]
    return write(rows, sweep.provenance("experiments.claims", arguments, config, workdir), workdir)


def write(rows: Sequence[Row], provenance: str, workdir: Path) -> str:
    """Write claims.json, claims.md and claims.png; return the text of claims.md."""
    (workdir / "claims.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
    (workdir / "claims.md").write_text(text := as_markdown(rows, provenance))
    draw(rows).savefig(workdir / "claims.png", dpi=150)
    return text


def merge(sources: Sequence[Path], workdir: Path) -> str:
    """Write one table and figure of several finished runs; return the text of claims.md.

    Raises:
        ConfigError: a folder holds no claims, has another recipe, or repeats a seed.
    """
    rows: list[Row] = []
    lines, recipes = [], []
    for source in sources:
        try:
            found = json.loads((source / "claims.json").read_text())
            made = _how_made((source / "claims.md").read_text())
            recipe = flatten(read_config(source))
        except FileNotFoundError as error:
            raise ConfigError(f"--merge={source}: no finished run there: {error}") from None
        if any("other_box_m" not in row for row in found):
            raise ConfigError(
                f"--merge={source}: claims of an older version; run the command of that folder"
                " again"
            )
        recipes.append({name: value for name, value in recipe.items() if name not in NO_RECIPE})
        changed = [name for name, value in recipes[-1].items() if value != recipes[0].get(name)]
        if changed:
            raise ConfigError(
                f"--merge={source}: its recipe differs from that of {sources[0]}: {changed[0]}"
            )
        again = {row["seed"] for row in found} & {row["seed"] for row in rows}
        if again:
            raise ConfigError(f"--merge={source}: seed {min(again)} is also in another folder")
        rows += found
        lines += made
    workdir.mkdir(parents=True, exist_ok=True)
    rows.sort(key=lambda row: row["seed"])
    runs = [f"{len(rows)} networks from {len(lines)} runs:", "", *lines]
    return write(rows, "\n".join(runs), workdir)


def _how_made(text: str) -> list[str]:
    """Return the lines of a claims.md that say which runs it is from, as items of a list."""
    section = text.partition(HOW_MADE)[2]
    items = [line for line in section.splitlines() if line.startswith("- ")]  # of a merged page
    # Pages of older versions have no such section. They begin with this line.
    return items or [f"- {(section or text).strip().splitlines()[0]}"]


def main(arguments: Sequence[str]) -> None:
    """Run and print the table."""
    parser = command.Parser(__doc__, config="configs/full.py", trains=True)
    parser.add_argument(
        "--merge", metavar="DIR,DIR,...", help="make one table of several finished runs"
    )
    options = parser.read(arguments)
    if options.merge:
        if not options.workdir:
            parser.error("--merge needs --workdir=DIR, the folder of the new table")
        sources = [path("--merge", folder) for folder in options.merge.split(",")]
        print(merge(sources, path("--workdir", options.workdir)), flush=True)
        return
    command.join_processes(options)
    config, workdir = command.read_run(options)
    told = any(text.startswith("--config.num_networks") for text in arguments)
    if config.num_networks == 1 and not told:
        config.num_networks = NUM_NETWORKS
    config.evaluation.torus_rolls = max(config.evaluation.torus_rolls, 0) or TORUS_ROLLS
    print(run(config, workdir, arguments), flush=True)


if __name__ == "__main__":
    command.run(main)
