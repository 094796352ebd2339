"""Measure how the range of the training walks sets periods and sizes of fields.

    python -m experiments.scaling [--config=short_steps] [--workdir=runs/scaling]
        [--only="NAME;NAME;..."] [--config.FIELD=VALUE ...]

Trains one network for each row of `NETWORKS`, by the recipe of the config in one stage of 10,000
updates. A row changes the number of steps of a trajectory, the largest velocity, the number of
units, the number of updates, a radius, or a weight of the loss; B*T stays constant. Each network is
examined in a box of 3.5 times its range, the radius within which 90 % of the training positions
stay. The command writes scaling.md, scaling.json and scaling.png into the workdir:

- the periods of the modules against the range, with the best line through the origin;
- lengths against sigma_g;
- the number of units on each sublattice of the coarsest module's lattice.

You can stop the command and start it again. Exit codes: those of sicjax.main.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import sicjax
from experiments import benchmark
from sicjax import command, plots
from sicjax.analysis.firing_fields import field_diameters
from sicjax.analysis.kinds import active_units
from sicjax.analysis.modules import Modules
from sicjax.analysis.units import UnitAnalysis
from sicjax.config import changed, validate
from sicjax.errors import ConfigError
from sicjax.run import Run

Row = dict[str, Any]
STATES = 1920  # B*T of every network
NUM_STEPS = 10_000
BOX_PER_RANGE = 3.5
MOST = 1 / 3  # share of the active units that a coarsest module must hold to count
INDICES = (1, 2, 3, 4)  # a unit's fields in one unit cell of the coarsest module
NEAR = 0.12  # relative error of an index
SHUFFLES = 100
DRAWS = 4000  # trajectories from which the range is measured
DEFINITIONS = (
    "Range: the radius within which 90 % of the training positions stay. Box: the side of the maps,"
    " 3.5 times the range. Index: the number of a unit's fields in one unit cell of the coarsest"
    " module."
)


# Name -> fields that differ from the recipe. `RANGES` are the networks of the fits. Steps are as
# long as the paper's unless a name gives v.
RANGES: Mapping[str, Mapping[str, Any]] = {
    f"T {T}, v {v:g}": {"data.trajectory_length": T, "data.max_velocity": v}
    for T in (20, 30, 60, 120)
    for v in (0.1, 0.15, 0.25)
}
_OTHERS: Mapping[str, Mapping[str, Any]] = {
    "T 60, v 0.15, N 128": {"model.num_units": 128},
    "T 120, v 0.15, N 128": {"data.trajectory_length": 120, "model.num_units": 128},
    "T 60, v 0.15, sigma_x 0.03": {"loss.sigma_x": 0.03},
    "T 60, v 0.15, sigma_x 0.08": {"loss.sigma_x": 0.08},
    **{f"sigma_g {sigma_g:g}": {"loss.sigma_g": sigma_g} for sigma_g in (0.2, 0.25, 0.3, 0.5, 0.6)},
    "invariance 0.05": {"loss.invariance": 0.05},
    "invariance 0.2": {"loss.invariance": 0.2},
    "2,500 updates": {"num_steps": 2500},
    "5,000 updates": {"num_steps": 5000},
    "20,000 updates": {"num_steps": 20_000},
    "30,000 updates at 3e-4": {"num_steps": 30_000, "optimizer.learning_rate": 3e-4},
}
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    **RANGES,
    **{name: {"data.max_velocity": 0.15, **fields} for name, fields in _OTHERS.items()},
}


def recipe(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """Return the config of one network: one stage, with constant B*T."""
    plain = {"stages": {}, "num_steps": NUM_STEPS, "report": False, "num_networks": 1,
             "evaluation.snapshot_every": 0}  # fmt: skip
    own = changed(config, {**plain, **fields})
    own.data.num_trajectories = STATES // own.data.trajectory_length
    validate(own)
    return own


def training_range(config: ConfigDict) -> float:
    """Return the radius in metres within which 90 % of the training positions stay."""
    data = config.data
    batch = sicjax.sample_batch(
        jax.random.key(0), num_trajectories=1, trajectory_length=DRAWS * data.trajectory_length,
        max_velocity=data.max_velocity,
    )  # fmt: skip
    steps = np.asarray(batch.velocities).reshape(DRAWS, data.trajectory_length, 2)
    return float(np.percentile(np.linalg.norm(steps.cumsum(axis=1), axis=2), 90))


def measure(run: Run) -> Row:
    """Return a network's row.

    Columns that need a word: modules, finest first, each with units, period_m and score (the median
    corrected grid score); sublattices, the number of units of each index of `INDICES`; field_m, the
    median diameter of an active unit's fields; explained, the median share of its variance that
    position explains after walks of 2,000 steps.
    """
    reach = training_range(run.config)
    # Periods follow the range of the walks, so a fixed box would hold too few or too many fields.
    box = round(max(1.2, BOX_PER_RANGE * reach) / 0.2) * 0.2
    maps = run.ratemaps(box)
    units = sicjax.analyze_ratemaps(
        maps.ratemaps, box, num_shuffles=SHUFFLES, key=jax.random.key(0)
    )
    modules, active = sicjax.find_modules(units), active_units(maps.ratemaps)
    explained = maps.variance_explained[active]
    fields = field_diameters(maps.ratemaps[active], box)
    return {
        "trajectory_length": run.config.data.trajectory_length,
        "max_velocity": run.config.data.max_velocity,
        "num_units": run.config.model.num_units,
        "sigma_x": run.config.loss.sigma_x,
        "sigma_g": run.config.loss.sigma_g,
        "num_steps": run.step,
        "range_m": reach,
        "box_m": box,
        "active": int(active.sum()),
        "grid": int(units.is_grid.sum()),
        "modules": [
            {
                "units": len(members),
                "period_m": float(period),
                "score": float(np.median(units.grid_score_corrected[members])),
            }
            for members, period in zip(modules.members, modules.period_m, strict=True)
        ],
        "sublattices": sublattices(units, modules, active),
        "field_m": float(np.nanmedian(fields)) if np.isfinite(fields).any() else None,
        "explained": float(np.median(explained)) if active.any() else None,
    }


def sublattices(units: UnitAnalysis, modules: Modules, active: np.ndarray) -> dict[str, int]:
    """Count active units by the points of their lattice in a unit cell of the coarsest one.

    Returns:
        Counts by index, and "other" for units without a lattice or with a lattice in between.
    """
    counts = {str(index): 0 for index in INDICES} | {"other": 0}
    if not modules.members:
        return counts | {"other": int(active.sum())}
    first, second = units.lattice[:, 0], units.lattice[:, 1]
    cells = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    index = np.median(cells[modules.members[-1]]) / cells
    for found in index[active]:
        near = [k for k in INDICES if abs(found / k - 1) < NEAR]
        counts[str(near[0]) if near else "other"] += 1
    return counts


def fits(rows: Mapping[str, Row]) -> dict[str, tuple[float, float, int]]:
    """Fit period against range: slope through the origin, relative spread, number of networks.

    The fits use the networks that differ only in T and v. "coarse" uses those whose coarsest module
    holds a third of the active units; with fewer, an even coarser lattice may exist without being a
    module. "fine" uses those of them that have two modules.
    """
    found = {}
    for label, networks in _by_lattice(rows).items():
        if len(networks) >= 3:
            x, y = np.array([(row["range_m"], period) for row, period in networks]).T
            slope = float(x @ y / (x @ x))
            found[label] = slope, float(np.std(y / (slope * x))), len(networks)
    return found


def power_laws(rows: Mapping[str, Row]) -> dict[str, tuple[float, float, float, float]]:
    """Fit period = factor T^a v^b: return factor, a, b and the relative spread.

    Least squares of the logarithms, over the same networks as `fits`.
    """
    found = {}
    for label, networks in _by_lattice(rows).items():
        T, v, period = np.log(
            [(row["trajectory_length"], row["max_velocity"], length) for row, length in networks]
        ).T
        known = np.stack([np.ones_like(T), T, v], axis=1)
        if np.linalg.matrix_rank(known) == 3:
            law = np.linalg.lstsq(known, period, rcond=None)[0]
            spread = float(np.std(period - known @ law))
            found[label] = float(np.exp(law[0])), float(law[1]), float(law[2]), spread
    return found


def _by_lattice(rows: Mapping[str, Row]) -> dict[str, list[tuple[Row, float]]]:
    """Return the networks of the fits with their periods, "coarse" and "fine"."""
    groups: dict[str, list[tuple[Row, float]]] = {"coarse": [], "fine": []}
    for name in RANGES:
        modules = rows[name]["modules"] if name in rows else []
        if not modules or modules[-1]["units"] < MOST * rows[name]["active"]:
            continue
        groups["coarse"].append((rows[name], modules[-1]["period_m"]))
        if len(modules) > 1:
            groups["fine"].append((rows[name], modules[0]["period_m"]))
    return {label: networks for label, networks in groups.items() if networks}


def as_markdown(rows: Mapping[str, Row], provenance: str) -> str:
    """Format the fits, then the table, then how it was made."""
    names = [f"{index}" for index in INDICES]
    lines = ["# Periods against the range of training", ""]
    for label, (slope, spread, number) in fits(rows).items():
        lines.append(
            f"- The {label} period is {slope:.2f} times the range ± {100 * spread:.0f} % (standard"
            f" deviation; {number} networks that differ in T and v)."
        )
    for label, (factor, steps, speed, spread) in power_laws(rows).items():
        lines.append(
            f"- The {label} period is {factor:.2f} T^{steps:.2f} v^{speed:.2f} m,"
            f" ± {100 * spread:.0f} % (v in metres)."
        )
    lines += ["", DEFINITIONS, ""]
    lines.append(
        "| network | range (m) | box (m) | active units |"
        " modules: units at period (corrected score) |"
        f" units of index {', '.join(names)}; other | diameter of a field (m) |"
        " variance explained, 2,000 steps |"
    )
    lines.append("|---" * 8 + "|")
    for name, row in rows.items():
        modules = "; ".join(
            f"{m['units']} at {m['period_m']:.2f} m ({m['score']:.2f})" for m in row["modules"]
        )
        counts = ", ".join(str(row["sublattices"][index]) for index in names)
        field, explained = (
            "–" if row[key] is None else f"{row[key]:.2f}" for key in ("field_m", "explained")
        )
        lines.append(
            f"| {name} | {row['range_m']:.2f} | {row['box_m']:.1f} | {row['active']} of"
            f" {row['num_units']} | {modules or 'none'} | {counts};"
            f" {row['sublattices']['other']} | {field} | {explained} |"
        )
    return "\n".join([*lines, "", "## How this table was made", "", provenance]) + "\n"


def lengths_by_sigma_g(rows: Mapping[str, Row]) -> dict[str, list[tuple[float, float]]]:
    """Return (sigma_g, metres) of fields and modules, for networks that differ only in sigma_g."""
    found: dict[str, list[tuple[float, float]]] = {"field": [], "coarse": [], "fine": []}
    for name, row in rows.items():
        if name.startswith("sigma_g") or name == "T 60, v 0.15":
            lengths = {"field": row["field_m"]}
            if row["modules"]:
                lengths["coarse"] = row["modules"][-1]["period_m"]
            if len(row["modules"]) > 1:
                lengths["fine"] = row["modules"][0]["period_m"]
            for label, length in lengths.items():
                if length is not None:
                    found[label].append((row["sigma_g"], length))
    return {label: sorted(pairs) for label, pairs in found.items() if pairs}


def draw(rows: Mapping[str, Row]) -> plots.Figure:
    """Periods against the range where T and v differ, with the fits; lengths against sigma_g."""
    figure = plots.blank_figure(8.6, 3.4)
    left, right = figure.subplots(1, 2)
    points = [
        (rows[name]["range_m"], [module["period_m"] for module in rows[name]["modules"]])
        for name in RANGES
        if name in rows
    ]
    lines = {label: slope for label, (slope, _, _) in fits(rows).items()}
    plots.periods_against_range(points, lines, ax=left)
    labels = {
        "field": "diameter of a field", "coarse": "coarsest period", "fine": "finest of several",
    }  # fmt: skip
    for label, pairs in lengths_by_sigma_g(rows).items():
        right.plot(*zip(*pairs, strict=True), "o-", ms=4, lw=1, label=labels[label])
        right.legend(frameon=False, fontsize=9)
    right.set_ylim(0)
    plots.dress(right, x="$\\sigma_g$", y="length (m)")
    return figure


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, measure, and write the table and the figure.

    Raises:
        ConfigError: an unknown flag, field or network.
    """
    parser = command.Parser(__doc__, config="short_steps", trains=True)
    parser.set_defaults(workdir="runs/scaling")
    parser.add_argument("--only", metavar="NAME;NAME;...", help="train these rows of the table")
    options = parser.read(arguments)
    command.join_processes(options)
    config, workdir = command.read_run(options)
    wanted = options.only
    names = [name.strip() for name in wanted.split(";")] if wanted else list(NETWORKS)
    for name in names:
        if name not in NETWORKS:
            raise ConfigError(f"--only={name}: must be among {'; '.join(NETWORKS)}")
    rows: dict[str, Row] = {}
    for name in names:
        folder = workdir / name.replace(", ", "_").replace(" ", "")
        rows[name] = measure(sicjax.train(recipe(config, NETWORKS[name]), folder))
        made = f"`{' '.join(['python -m experiments.scaling', *arguments])}`, {benchmark.device()}."
        (workdir / "scaling.json").write_text(json.dumps(rows, indent=1, allow_nan=False))
        (workdir / "scaling.md").write_text(as_markdown(rows, made))
    draw(rows).savefig(workdir / "scaling.png", dpi=150)
    print((workdir / "scaling.md").read_text(), end="")


if __name__ == "__main__":
    command.run(main)
