"""Measure the errors of `score_recording` on simulated cells along a recorded path.

    python -m experiments.recordings [--opexebo=PYTHON]
    python -m experiments.recordings --inputs

Cells are simulated along a rat's path (Sargolini et al. 2006, 600 s in a 1 m box, from the package
`ratinabox`) as Poisson spikes of known maps: grid cells of five periods, with even fields and with
fields whose peaks differ; place cells; grid and place cells of ratinabox; cells with two to eight
fields at random places; cells with a constant rate, and cells whose rate drifts in time. Sessions
of 60 mixed cells are scored with the time-shift null model. Their maps are scored with the
field-shuffle null model of `analyze_ratemaps`, and with a grid score above 0.3 alone.
--opexebo=PYTHON, a Python that has opexebo (`experiments.opexebo_scores`), adds its scores. Writes
`experiments/results/recordings.md` and `.png`, in about 10 minutes on one core. With --inputs it
writes only the table of damaged and unusual inputs (`experiments.recording_inputs`) into the same
page, in two minutes.
"""

import importlib.util
import re
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import recording_inputs
from experiments.benchmark import as_table
from sicjax import command, plots
from sicjax.analysis import synthetic
from sicjax.analysis.ratemaps import bin_index
from sicjax.analysis.recordings import score_recording
from sicjax.analysis.units import analyze_ratemaps

SEED = 2024  # smoothing and the lattice's share were chosen on other seeds
PER_SESSION = 60
PERIODS_M = (0.3, 0.4, 0.5, 0.6, 0.7)
PER_PERIOD = 40
FIELD_SPREAD = 0.3  # standard deviation of a field's peak over the mean, of uneven grid cells
PLACES, PATCHES, POISSON, DRIFTING, SIMULATED = 100, 200, 400, 100, 30
BINS = 200  # per side of the maps drawn, 5 mm each
LAX = 0.3  # a common threshold of the grid score
RESULTS = Path(__file__).parent / "results"
# Sections of the page that other measurements write.
SCALE, INPUTS = "## At scale", "## Damaged and oddly formed inputs"


class Cell(NamedTuple):
    """A simulated cell and its true properties."""

    label: str
    period_m: float  # NaN of all but grid cells
    spikes: np.ndarray  # seconds


class Rat(NamedTuple):
    """The recorded path: times [S], positions [S, 2] in metres from the box's centre."""

    times: np.ndarray
    positions: np.ndarray


def load_rat() -> Rat:
    """Read the recorded path; ModuleNotFoundError without `ratinabox`, whose file it is."""
    found = importlib.util.find_spec("ratinabox")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the path comes with a package: python -m pip install ratinabox")
    with np.load(Path(found.origin).parent / "data" / "sargolini.npz") as recorded:
        return Rat(recorded["t"], recorded["pos"] - 0.5)


def fire(rat: Rat, rate_hz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw Poisson spike times from the rate at each sample of the path [S], or from one rate."""
    count = rng.poisson(np.broadcast_to(rate_hz, rat.times.shape) * 0.02)
    spikes = np.repeat(rat.times, count) + rng.uniform(-0.01, 0.01, count.sum())
    return np.sort(spikes[(spikes > rat.times[0]) & (spikes < rat.times[-1])])


def along(rat: Rat, ratemap: np.ndarray) -> np.ndarray:
    """Read a map of the 1 m box at each sample of the path."""
    return ratemap.ravel()[bin_index(rat.positions, 1.0, len(ratemap))]


def uneven_lattice(basis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a lattice map whose fields differ in their peaks by FIELD_SPREAD."""
    steps = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 2), axis=-1).reshape(-1, 2)
    centres = (steps + rng.random(2)) @ basis
    width = 0.17 * np.sqrt(abs(np.linalg.det(basis)))
    total = np.zeros((BINS, BINS))
    for centre in centres[(np.abs(centres) < 0.5 + 3 * width).all(axis=1)]:
        peak = max(1 + FIELD_SPREAD * rng.standard_normal(), 0.2)
        total += peak * synthetic.place_map(centre, width, box_m=1.0, bins=BINS)
    return total


def patches(number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw fields at random places, at least 15 cm apart (the cells of Barry & Burgess 2017)."""
    centres: list[np.ndarray] = []
    while len(centres) < number:
        centre = rng.uniform(-0.5, 0.5, 2)
        if all(np.linalg.norm(centre - other) > 0.15 for other in centres):
            centres.append(centre)
    fields = [
        rng.uniform(0.5, 1) * synthetic.place_map(c, rng.uniform(0.06, 0.12), box_m=1.0, bins=BINS)
        for c in centres
    ]
    return np.sum(fields, axis=0)


def draw_cells(rat: Rat, rng: np.random.Generator) -> list[Cell]:
    """Simulate every cell once."""
    cells = []

    def add(label: str, rate_hz: Any, period_m: float = np.nan) -> None:
        cells.append(Cell(label, period_m, fire(rat, rate_hz, rng)))

    for period in PERIODS_M:
        for _ in range(PER_PERIOD):
            basis = synthetic.hexagonal_basis(period, rng.uniform(0, 60))
            even = synthetic.lattice_map(basis, box_m=1.0, bins=BINS, phase=rng.random(2))
            add("grid, even fields", 0.3 + rng.uniform(10, 20) * along(rat, even), period)
            uneven = along(rat, uneven_lattice(basis, rng))
            add("grid, uneven fields", 0.3 + rng.uniform(10, 20) * uneven, period)
    for _ in range(PLACES):
        field = synthetic.place_map(
            rng.uniform(-0.45, 0.45, 2), rng.uniform(0.06, 0.14), box_m=1.0, bins=BINS
        )
        add("place", 0.1 + rng.uniform(5, 20) * along(rat, field))
    for n in range(PATCHES):
        add(
            "2 to 8 fields anywhere",
            0.3 + rng.uniform(10, 20) * along(rat, patches(2 + n % 7, rng)),
        )
    for _ in range(POISSON):
        add("one rate", np.exp(rng.uniform(np.log(0.1), np.log(20))))
    for _ in range(DRIFTING):
        slow = np.repeat(rng.standard_normal(60), 500)[: len(rat.times)]  # a new rate every 10 s
        add("rate drifts", rng.uniform(0.5, 5) * np.exp(slow - 0.5))
    return cells + simulated_cells(rat, rng)


def simulated_cells(rat: Rat, rng: np.random.Generator) -> list[Cell]:
    """Simulate grid and place cells of ratinabox: the rates of its neurons along the path."""
    import ratinabox
    from ratinabox.Agent import Agent
    from ratinabox.Environment import Environment
    from ratinabox.Neurons import GridCells, PlaceCells

    ratinabox.verbose = False
    np.random.seed(SEED)  # noqa: NPY002 - the only source of chance that ratinabox knows
    agent = Agent(Environment({"scale": 1.0}))
    lattice = np.resize(PERIODS_M, SIMULATED)  # its `gridscale` is the wavelength
    grids = GridCells(agent, {"gridscale": lattice * np.sqrt(3) / 2, "n": SIMULATED})
    places = PlaceCells(agent, {"n": SIMULATED, "widths": 0.12})
    cells = []
    for label, neurons, lengths in (
        ("grid, ratinabox", grids, lattice),
        ("place, ratinabox", places, np.full(SIMULATED, np.nan)),
    ):
        rates = neurons.get_state(evaluate_at=None, pos=rat.positions + 0.5)
        cells += [
            Cell(label, length, fire(rat, 0.3 + 12 * rate, rng))
            for length, rate in zip(lengths, rates, strict=True)
        ]
    return cells


def score(rat: Rat, cells: Sequence[Cell], opexebo: str) -> dict[str, np.ndarray]:
    """Score cells in sessions of PER_SESSION; columns [N]."""
    found: dict[str, list[np.ndarray]] = {}
    seconds = 0.0
    for start in range(0, len(cells), PER_SESSION):
        trains = [cell.spikes for cell in cells[start : start + PER_SESSION]]
        key = jax.random.fold_in(jax.random.key(SEED), start)
        began = time.process_time()
        cells_by_time = score_recording(*rat, trains, centre_m=(0, 0), key=key)
        seconds += time.process_time() - began
        by_fields = analyze_ratemaps(cells_by_time.ratemaps, cells_by_time.box_m, key=key)
        columns = {
            "kind": cells_by_time.kind,
            "kind by field shuffles": by_fields.kind,
            "grid_score": cells_by_time.grid_score,
            "null_threshold": cells_by_time.null_threshold,
            "spacing_m": cells_by_time.spacing_m,
            "num_fields": cells_by_time.num_fields,
        } | (opexebo_scores(rat, trains, opexebo) if opexebo else {})
        for name, column in columns.items():
            found.setdefault(name, []).append(column)
        print(f"{start + len(trains)} of {len(cells)} cells", flush=True)
    return {name: np.concatenate(parts) for name, parts in found.items()} | {
        "seconds": np.array(seconds)
    }


def opexebo_scores(rat: Rat, trains: Sequence[np.ndarray], python: str) -> dict[str, np.ndarray]:
    """Score the same cells by opexebo in its own Python."""
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(
            given,
            times=rat.times,
            positions=rat.positions,
            box_m=1.0,
            spikes=np.concatenate(trains),
            counts=[len(train) for train in trains],
        )
        command = [python, "-m", "experiments.opexebo_scores", str(given), str(result)]
        subprocess.run(command, check=True, cwd=Path(__file__).parent.parent)
        with np.load(result) as scores:
            return {f"opexebo {name}": scores[name] for name in scores.files}


def called_grid(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return, for each rule, which cells [N] it calls grid cells."""
    rules = {
        "time shift": found["kind"] == "grid",
        "field shuffle": found["kind by field shuffles"] == "grid",
        f"score above {LAX}": found["grid_score"] > LAX,
    }
    if "opexebo grid_score" in found:
        rules[f"opexebo's above {LAX}"] = found["opexebo grid_score"] > LAX
    return rules


def tables(cells: Sequence[Cell], found: Mapping[str, np.ndarray]) -> list[str]:
    """Return the tables: cells called grid cells, the call for each kind, and errors of periods."""
    labels, rules = np.array([cell.label for cell in cells]), called_grid(found)
    names = sorted(set(labels))
    groups = {name: labels == name for name in names} | {
        "all grid cells": np.char.startswith(labels, "grid"),
        "all of one or a drifting rate": np.isin(labels, ("one rate", "rate drifts")),
    }
    called = [
        {"drawn": name, "cells": mask.sum()}
        | {rule: f"{yes[mask].sum()} ({yes[mask].mean():.1%})" for rule, yes in rules.items()}
        for name, mask in groups.items()
    ]
    kinds = []
    for name in names:
        kind, counts = np.unique(found["kind"][labels == name], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        kinds.append({"drawn": name, "called": ", ".join(f"{kind[k]} {counts[k]}" for k in order)})
    return [
        "## Called grid cells", "", as_table(called), "",
        "## What the time shift called them", "", as_table(kinds), "",
        "## Periods of what the time shift called grid cells", "", as_table(periods(cells, found)),
    ]  # fmt: skip


def periods(cells: Sequence[Cell], found: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the rows of a table: how often each period was found, and how well."""
    truth, grid = np.array([cell.period_m for cell in cells]), found["kind"] == "grid"
    rows = []
    for period in PERIODS_M:
        here = np.isclose(truth, period)
        row = {
            "period (m)": str(period),
            "fields (median)": f"{np.median(found['num_fields'][here]):.0f}",
            "found": f"{(here & grid).sum()} of {here.sum()}",
        }
        for name, column in (("", "spacing_m"), ("opexebo: ", "opexebo spacing_m")):
            if column in found:
                error = (found[column] / period - 1)[here & grid & np.isfinite(found[column])]
                row |= {
                    f"{name}median error": f"{np.median(error):+.1%}",
                    f"{name}median size": f"{np.median(np.abs(error)):.1%}",
                    f"{name}largest": f"{np.abs(error).max():.1%}",
                }
        rows.append(row)
    return rows


def draw(cells: Sequence[Cell], found: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw scores against thresholds, and the errors of the periods."""
    figure = plots.blank_figure(10.5, 4.2)
    left, right = figure.subplots(1, 2)
    labels = [cell.label.split(",")[0] for cell in cells]
    plots.score_against_null(found["grid_score"], found["null_threshold"], labels, ax=left)
    left.set_ylim(bottom=-2.0)  # below every score, where the names of the colours stand
    truth, grid = np.array([cell.period_m for cell in cells]), found["kind"] == "grid"
    groups = {
        f"{period} m": 100 * (found["spacing_m"] / period - 1)[np.isclose(truth, period) & grid]
        for period in PERIODS_M
    }
    plots.by_setting(groups, label="error of the period, %", ax=right)
    figure.savefig(path, dpi=110)


def write_inputs() -> None:
    """Write the table of damaged inputs below the rest of the page."""
    outcomes = [recording_inputs.try_input(given) for given in recording_inputs.inputs()]
    right = sum(outcome.is_right for outcome in outcomes)
    section = "\n".join([
        INPUTS,
        "",
        "`python -m experiments.recordings --inputs`: the same session (15 minutes, a grid cell"
        " with a period of 0.40 m and a cell of one rate) in other forms, and damaged. Each must"
        " give the right kind, period and box, or one line that names the input:"
        f" {right} of {len(outcomes)} do.",
        "",
        as_table(recording_inputs.rows(outcomes)),
        "",
    ])  # fmt: skip
    write_page(page().partition(INPUTS)[0].rstrip() + "\n\n" + section)
    print(section)


def page() -> str:
    """Return the page as it is; empty if there is none."""
    path = RESULTS / "recordings.md"
    return path.read_text() if path.exists() else ""


def write_page(text: str) -> None:
    """Write the page."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "recordings.md").write_text(text.lstrip())


def main(arguments: Sequence[str]) -> None:
    """Measure, and write the page and the figure."""
    parser = command.Parser(__doc__)
    parser.add_argument("--opexebo", metavar="PYTHON", default="", help="score with opexebo, too")
    parser.add_argument(
        "--inputs", action="store_true", help="write only the table of damaged inputs"
    )
    options = parser.read(arguments)
    if options.inputs:
        write_inputs()
        return
    rat, rng = load_rat(), np.random.default_rng(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = draw_cells(rat, rng)
        cells = [cells[n] for n in rng.permutation(len(cells))]
        found = score(rat, cells, options.opexebo)
    order = sorted(range(len(cells)), key=lambda n: cells[n].label)
    cells = [cells[n] for n in order]
    seconds = float(found.pop("seconds"))
    found = {name: column[order] for name, column in found.items()}
    lines = [
        "# Recorded cells whose truth is known",
        "",
        "`python -m experiments.recordings` (its first lines describe the simulated cells).",
        f"{len(cells)} cells along the path of a rat, 600 s in a 1 m box; {seconds:.0f} CPU seconds"
        f" for {100 * len(cells):,} time shifts.",
        "",
        *tables(cells, found),
        "",
    ]
    text = "\n".join(lines)
    stays = re.search(f"^({SCALE}|{INPUTS})$.*", page(), re.MULTILINE | re.DOTALL)
    write_page(f"{text}\n{stays[0]}" if stays else text)
    draw(cells, found, RESULTS / "recordings.png")
    print(text)


if __name__ == "__main__":
    command.run(main)
