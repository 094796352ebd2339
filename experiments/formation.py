"""Follow the fields of every unit through a training, in the snapshots of finished runs.

    python -m experiments.formation --runs=DIR,DIR,... --workdir=DIR [--until=UPDATE]

A snapshot holds quick maps of the 2 m box (`evaluation.snapshot_every`). At the last one, the
coarsest lattice that grid cells share is found. Cells of the coarsest module may have too few
fields in this box to pass as grid cells. So a lattice coarser by the square root of 3 is taken
instead, if its cell explains clearly more of the maps' variance. The lattice is followed back
through the earlier snapshots: in each, of the lattices of nearly that period and orientation, the
one is taken whose cell explains most of the maps' variance. All maps of a snapshot are folded into
a cell of its lattice, and the fields of each unit are counted (`sicjax.fold_ratemaps`). A later
stage of training may stretch the coarsest lattice beyond the box; --until leaves out the snapshots
after an update.

The command writes formation.json, formation.md and formation.png into the workdir. If units of the
first run end with one field, formation_units.png has maps of some of them. A change is counted
where the number of fields of a unit differs between two snapshots. At the end of a cosine the
learning rate is almost zero, so changes there tell how often a count is wrong.

Letters: K snapshots, N units.
"""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

import sicjax
from sicjax import command, plots
from sicjax.analysis.folding import fold_ratemaps, mean_cells
from sicjax.analysis.kinds import active_units
from sicjax.errors import ConfigError
from sicjax.paths import path
from sicjax.report import snapshots
from sicjax.training.workdir import read_config

SHUFFLES = 20
# Between two snapshots a lattice changes by less than this; the second search is finer.
SCALES, TURNS_DEG = np.linspace(0.9, 1.1, 11), np.linspace(-4, 4, 5)
FINER = 0.2
CLEARLY = 0.05  # of the maps' variance
PERIODS_IN_BOX = 1.5  # fewest periods of a lattice in a side of the box
CLASSES = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4, 5": (4, 5), "6": (6, 6), "7, 8": (7, 8),
           "9 or more": (9, 99), "do not repeat": (0, 0)}  # fmt: skip
SHOWN = 6  # units in the film
FILM = 9  # snapshots in the film


def coarsest(ratemaps: np.ndarray) -> np.ndarray:
    """Return the axes [3, 2] in metres of the coarsest lattice of active units [N, bins, bins].

    Raises:
        ConfigError: no three grid cells share a lattice.
    """
    units = sicjax.analyze_ratemaps(ratemaps, snapshots.BOX_M, num_shuffles=SHUFFLES)
    axes = sicjax.lattice_indices(units).coarsest
    if not np.isfinite(axes).all():
        raise ConfigError("the last snapshot has no lattice that three grid cells share")
    while True:
        # The six vectors between second neighbours are longer by the root of 3, turned by 30
        # degrees.
        first, second = axes[:2]
        coarser = np.array([first + second, 2 * second - first, second - 2 * first])
        too_coarse = PERIODS_IN_BOX * period_m(coarser) > snapshots.BOX_M
        if too_coarse or explained(ratemaps, coarser) < explained(ratemaps, axes) + CLEARLY:
            return axes
        axes = coarser


def period_m(axes: np.ndarray) -> np.ndarray:
    """Return the mean length [...] of the axes [..., 3, 2] of lattices, metres."""
    return np.linalg.norm(axes, axis=-1).mean(axis=-1)


def explained(ratemaps: np.ndarray, axes: np.ndarray) -> float:
    """Return the mean share of the maps' variance that the cell of a lattice explains."""
    return float(np.nanmean(mean_cells(ratemaps, snapshots.BOX_M, axes[:2])[1]))


def follow(ratemaps: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the axes [3, 2] of the lattice near `axes` that explains most of the maps' variance.

    Args:
        ratemaps: [N, bins, bins] of active units.
        axes: [3, 2] of the next snapshot, metres.
    """
    for fineness in (1.0, FINER):
        tried = []
        for scale, turn_deg in itertools.product(SCALES, TURNS_DEG):
            factor = 1 + fineness * (scale - 1)
            angle = np.deg2rad(fineness * turn_deg)
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            candidate = factor * axes @ turn
            tried.append((explained(ratemaps, candidate), candidate))
        axes = max(tried, key=lambda pair: pair[0])[1]
    return axes


def formation(maps: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fields of every unit at every snapshot.

    Args:
        maps: K times [N, bins, bins] of the 2 m box, by rising update.

    Returns:
        Fields [K, N] in a cell of the coarsest lattice: 0 where a map does not repeat on it, -1
        where a unit is silent; the lattice's axes [K, 3, 2] in metres; and the mean share [K] of an
        active unit's variance that the place in the cell explains.
    """
    axes, found = coarsest(maps[-1][active_units(maps[-1])]), []
    for ratemaps in reversed(maps):
        active = active_units(ratemaps)
        axes = follow(ratemaps[active], axes)
        folded = fold_ratemaps(ratemaps, snapshots.BOX_M, axes=axes)
        fields = np.where(active, folded.fields, -1)
        found.append((fields, axes, np.nanmean(folded.variance_explained[active])))
    counts, lattices, shares = zip(*reversed(found), strict=True)
    return np.array(counts), np.array(lattices), np.array(shares)


def changes(fields: np.ndarray) -> Counter[tuple[int, int]]:
    """Count the changes from one number of fields to another, between neighbouring snapshots."""
    pairs = np.stack([fields[:-1], fields[1:]], axis=-1).reshape(-1, 2)
    known = (pairs > 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])
    return Counter((int(before), int(after)) for before, after in pairs[known])


def measure(workdir: Path, until: int | None) -> dict[str, Any]:
    """Return what the snapshots of the first network of a run show.

    Raises:
        ConfigError: no run, fewer than two snapshots, or no lattice.
    """
    try:
        seed = read_config(workdir).seed
    except FileNotFoundError:
        raise ConfigError(f"--runs={workdir}: holds no run") from None
    found = [s for s in snapshots.load(workdir, 0) if until is None or s.step <= until]
    if len(found) < 2:
        raise ConfigError(
            f"--runs={workdir}: {len(found)} snapshots; must hold two or more (train with"
            " --config.evaluation.snapshot_every=5000)"
        )
    maps = [snapshot.ratemaps.astype(float) for snapshot in found]
    try:
        fields, axes, shares = formation(maps)
    except ConfigError as error:
        raise ConfigError(f"--runs={workdir}: {error}") from None
    return {
        "seed": seed,
        "updates": [snapshot.step for snapshot in found],
        "coarsest_period_m": period_m(axes).round(4).tolist(),
        "explained": shares.round(3).tolist(),
        "fields": fields.tolist(),
    }


def per_class(fields: np.ndarray) -> np.ndarray:
    """Return the number of units [K, classes] in each of CLASSES at each snapshot."""
    return np.stack(
        [((low <= fields) & (fields <= high)).sum(axis=1) for low, high in CLASSES.values()], axis=1
    )


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table for each run: a snapshot a row; then the changes of all runs together."""
    text = [
        "# How modules form",
        "",
        "Units by their fields in a cell of the coarsest lattice.",
        "",
    ]
    total: Counter[tuple[int, int]] = Counter()
    for row in rows:
        fields = np.array(row["fields"])
        heads = ["update", "coarsest period (m)", "variance explained", *CLASSES, "lost", "gained"]
        text += [
            f"## Seed {row['seed']}",
            "",
            "| " + " | ".join(heads) + " |",
            "|---" * len(heads) + "|",
        ]
        for k, counts in enumerate(per_class(fields)):
            moves = changes(fields[max(k - 1, 0) : k + 1])
            lost = sum(units for (before, after), units in moves.items() if after < before)
            since = (lost, moves.total() - lost) if k else ("–", "–")
            cells = [f"{row['updates'][k]:,}", f"{row['coarsest_period_m'][k]:.2f}",
                     f"{row['explained'][k]:.2f}", *counts, *since]  # fmt: skip
            text.append("| " + " | ".join(map(str, cells)) + " |")
        text.append("")
        total += changes(fields)
    common = ", ".join(
        f"{before} to {after} ({units})" for (before, after), units in total.most_common(12)
    )
    text.append(
        "Lost and gained: units with fewer and with more fields than at the snapshot before. Units"
        " that are silent or do not repeat at one of the two are left out. The most frequent"
        f" changes of all runs: {common}."
    )
    return "\n".join(text) + "\n"


def draw(rows: Sequence[dict[str, Any]]) -> plots.Figure:
    """Draw the number of units of each class against the update, one panel per run."""
    figure = plots.blank_figure(1.6 + 3.4 * len(rows), 3.4)
    panels = np.atleast_1d(figure.subplots(1, len(rows), sharey=True))
    for ax, row in zip(panels, rows, strict=True):
        counts = per_class(np.array(row["fields"]))
        colours = mpl.colormaps[plots.CMAP](np.linspace(0, 0.95, len(CLASSES) - 1))
        ax.stackplot(
            np.array(row["updates"]) / 1000, counts.T, labels=list(CLASSES),
            colors=[*colours, plots.FAINT],
        )  # fmt: skip
        ax.set_title(f"seed {row['seed']}")
        plots.dress(ax, x="updates (thousands)", y="active units" if ax is panels[0] else "")
        ax.margins(0)
    panels[-1].legend(
        title="fields in a cell", loc="center left", bbox_to_anchor=(1, 0.5), reverse=True
    )
    return figure


def film(row: dict[str, Any], workdir: Path) -> plots.Figure:
    """Draw the maps of some units at some snapshots: the first ones that end with one field."""
    fields = np.array(row["fields"])
    units = np.flatnonzero(fields[-1] == 1)[:SHOWN]
    when = np.unique(np.linspace(0, len(fields) - 1, FILM).round().astype(int))
    steps = {snapshot.step: snapshot.ratemaps for snapshot in snapshots.load(workdir, 0)}
    maps = [steps[row["updates"][k]][unit].astype(float) for unit in units for k in when]
    names = {-1: "silent", 0: "–"}
    titles = [
        f"{row['updates'][k] / 1000:g}k: {names.get(fields[k, unit], fields[k, unit])}"
        for unit in units for k in when
    ]  # fmt: skip
    return plots.ratemap_sheet(
        maps, snapshots.BOX_M, titles=titles, columns=len(when),
        groups=[(f"unit {unit}", len(when)) for unit in units], fig=plots.blank_figure(),
    )  # fmt: skip


def run(sources: Sequence[Path], workdir: Path, until: int | None) -> str:
    """Write the table, the numbers and both figures; return the table."""
    rows = [measure(source, until) for source in sources]
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "formation.json").write_text(json.dumps(rows, allow_nan=False) + "\n")
    (workdir / "formation.md").write_text(text := as_markdown(rows))
    draw(rows).savefig(workdir / "formation.png", dpi=150, bbox_inches="tight")
    if 1 in rows[0]["fields"][-1]:
        film(rows[0], sources[0]).savefig(workdir / "formation_units.png", dpi=120)
    return text


def main(arguments: Sequence[str]) -> None:
    """Read the runs, then write and print the table."""
    parser = command.Parser(__doc__)
    parser.add_argument("--runs", metavar="DIR,DIR,...", required=True, help="finished runs")
    parser.add_argument("--workdir", metavar="DIR", required=True, help="where the results go")
    parser.add_argument("--until", type=command.whole_number(1), help="last update to read")
    options = parser.read(arguments)
    sources = [path("--runs", name) for name in options.runs.split(",")]
    print(run(sources, path("--workdir", options.workdir), options.until))


if __name__ == "__main__":
    command.run(main)
