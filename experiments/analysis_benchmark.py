"""Measure the errors of the analysis on maps whose truth is known.

    python -m experiments.analysis_benchmark

Takes about 10 minutes on one core, and writes `experiments/results/analysis.md` and `.json`. The
maps are random, from a fixed seed:

- at least 600 maps of hexagons, squares, sheared hexagons, bands, place fields and smoothed noise,
  with periods of 0.3-1.5 m, boxes of 2, 3 and 4 m, five noise levels, and 0-20 % of bins unvisited;
- noise maps until 100 of them have at least 5 fields (with fewer, a map is never called grid);
- mixtures of modules, and broad clusters;
- shapes for the torus test.

It measures each accuracy that the analysis promises.
"""

import dataclasses
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sicjax import command
from sicjax.analysis import synthetic
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.kinds import MIN_FIELDS
from sicjax.analysis.lattice import ellipse, orientation_deg, reduce_basis, three_axes
from sicjax.analysis.modules import find_modules
from sicjax.analysis.torus import torus_test
from sicjax.analysis.units import UnitAnalysis, analyze_ratemaps

SEED = 2023  # thresholds were chosen on other seeds
MAPS_PER_KIND = 100
SHUFFLES = 100
BROAD_CLUSTERS = 50
NOISE_LEVELS = (0.0, 0.1, 0.2, 0.3, 0.5)  # standard deviation per bin over the peak rate
BOXES_M = (2.0, 3.0, 4.0)
KINDS = ("hexagon", "square", "sheared", "band", "place", "noise")
RESULTS = Path(__file__).parent / "results"


class Truth(NamedTuple):
    """One drawn map and what is true of it."""

    ratemap: np.ndarray  # [y, x]
    drawn: str  # one of KINDS
    kind: str  # what `analyze_ratemaps` should say
    axes: np.ndarray  # [3, 2] metres; NaN without a lattice
    num_fields: int  # field centres (or crests of a band) in the box; -1 for noise
    noise: float


def draw_map(drawn: str, box_m: float, rng: np.random.Generator) -> Truth:
    """Draw one map of a kind, with noise and holes."""
    bins = round(25 * box_m)
    period = np.exp(rng.uniform(np.log(0.3), np.log(1.5)))
    angle = rng.uniform(0, 180)
    axes, kind, count = np.full((3, 2), np.nan), drawn, -1
    # The truth is computed from the drawn parameters, never from the map.
    if drawn in ("hexagon", "square", "sheared"):
        shape = {"hexagon": (1, 1, 1), "square": (1, 1, 2**0.5), "sheared": synthetic.SHEARED}[
            drawn
        ]
        basis = synthetic.triangle_basis(period * np.array(shape), angle)
        phase = rng.random(2)
        clean = synthetic.lattice_map(basis, box_m=box_m, bins=bins, phase=phase)
        axes = three_axes(reduce_basis(basis[None]))[0]
        count = lattice_points(basis, phase, box_m)
        kind = ("square" if drawn == "square" else "grid") if count >= 5 else "undetermined"
    elif drawn == "band":
        shift = rng.random()
        clean = synthetic.band_map(
            period, box_m=box_m, bins=bins, orientation_deg=angle, phase=shift
        )
        # Crests cross the box up to its corner, seen along the wave vector.
        reach = box_m / 2 * np.abs([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]).sum()
        count = int(np.floor(reach / period - shift) - np.ceil(-reach / period - shift)) + 1
        kind = "band" if count >= 5 else "undetermined"
    elif drawn == "place":
        centre, count = rng.uniform(-box_m / 2, box_m / 2, 2), 1
        clean = synthetic.place_map(centre, rng.uniform(0.1, 0.3), box_m=box_m, bins=bins)
    else:
        clean = synthetic.noise_map(rng.uniform(0.06, 0.2), box_m=box_m, bins=bins, rng=rng)
        kind = "other"
    # Noise and holes come last, so that they hide any kind of map alike.
    noise = float(rng.choice(NOISE_LEVELS))
    ratemap = synthetic.degrade(clean, noise=noise, unvisited=rng.uniform(0, 0.2), rng=rng)
    return Truth(ratemap, drawn, kind, axes, count, noise)


def lattice_points(basis: np.ndarray, phase: np.ndarray, box_m: float) -> int:
    """Count the points of a lattice that lie in the box."""
    reach = int(np.ceil(3 * box_m / np.sqrt(abs(np.linalg.det(basis))))) + 2
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    points = (steps + phase) @ basis
    return int((np.abs(points) < box_m / 2).all(axis=1).sum())


def errors(truth: list[Truth], analysis: UnitAnalysis) -> dict[str, np.ndarray]:
    """Measure spacing (relative), orientation (degrees) and aspect errors of every map."""
    axes = np.stack([t.axes for t in truth])
    turn = analysis.orientation_deg - orientation_deg(axes)
    return {
        "spacing": np.abs(analysis.spacing_m / np.linalg.norm(axes, axis=-1).mean(axis=-1) - 1),
        "orientation": np.abs((turn + 30) % 60 - 30),
        "aspect": np.abs(analysis.ellipse_aspect - ellipse(axes)[0]),
    }


def measure_units(rng: np.random.Generator) -> tuple[dict[str, Any], list[str]]:
    """Analyse 600 random maps and compare with their truth."""
    truths: list[Truth] = []
    found: dict[str, list[np.ndarray]] = {}
    noise_with_fields = 0
    batches: list[tuple[float, tuple[str, ...]]] = [(box_m, KINDS) for box_m in BOXES_M]
    while batches:
        box_m, kinds = batches.pop(0)
        count = MAPS_PER_KIND // 3 + (box_m == 3.0) * (MAPS_PER_KIND % 3)
        batch = [draw_map(kind, box_m, rng) for kind in kinds for _ in range(count)]
        analysis = analyze_ratemaps(
            np.stack([t.ratemap for t in batch]),
            box_m,
            num_shuffles=SHUFFLES,
            key=jax.random.key(SEED),
        )
        values = errors(batch, analysis) | {"kind": analysis.kind, "fields": analysis.num_fields}
        for name, value in values.items():
            found.setdefault(name, []).append(value)
        truths += batch
        is_noise = np.array([t.drawn == "noise" for t in batch])
        noise_with_fields += int((is_noise & (analysis.num_fields >= MIN_FIELDS)).sum())
        if not batches and noise_with_fields < MAPS_PER_KIND:
            batches = [(BOXES_M[len(truths) % 3], ("noise",))]
    result = {name: np.concatenate(parts) for name, parts in found.items()}
    return summarise_units(truths, result)


def summarise_units(
    truths: list[Truth], found: dict[str, np.ndarray]
) -> tuple[dict[str, Any], list[str]]:
    """Reduce the comparison to the promised numbers and a table of confusions."""
    drawn, kind = np.array([t.drawn for t in truths]), np.array([t.kind for t in truths])
    true_fields = np.array([t.num_fields for t in truths])
    noise = np.array([t.noise for t in truths])
    is_noise = drawn == "noise"
    enough = np.where(is_noise, found["fields"], true_fields) >= MIN_FIELDS
    lattice = np.isin(drawn, ("hexagon", "square", "sheared"))
    right = found["kind"] == kind
    few = lattice & ~enough
    wrong = [
        f"{truths[n].drawn} with {true_fields[n]}, counted as {found['fields'][n]}"
        for n in np.flatnonzero(few & (found["kind"] != "undetermined"))
    ]
    numbers: dict[str, Any] = {
        "maps": len(truths),
        "right kind, maps with at least 5 fields": [int((right & enough).sum()), int(enough.sum())],
        "called undetermined, lattices with fewer fields": [
            int((right & few).sum()),
            int(few.sum()),
        ],
        "the others: field centres in the box, and fields counted": "; ".join(wrong) or "none",
        "called grid with fewer than 5 fields by the analysis's own count": int(
            ((found["fields"] < MIN_FIELDS) & (found["kind"] == "grid")).sum()
        ),
        "place fields called place": [
            int((right & (drawn == "place")).sum()),
            int((drawn == "place").sum()),
        ],
        "noise with at least 5 fields called grid": [
            int((found["kind"] == "grid")[is_noise & enough].sum()),
            int((is_noise & enough).sum()),
        ],
        "noise called grid": [int((found["kind"] == "grid")[is_noise].sum()), int(is_noise.sum())],
    }
    for name in ("spacing", "orientation", "aspect"):
        # Mod 60, the axes of a square (0, 45, 90) have no mean direction.
        counted = lattice & enough & ((name != "orientation") | (drawn != "square"))
        for label, mask in (("clean", counted & (noise == 0)), ("all noise levels", counted)):
            values = found[name][mask]
            numbers[f"{name} error, {label}"] = {
                "median": float(np.median(values)),
                "largest": float(np.max(values)),
                "of": len(values),
            }
    return numbers, confusion(drawn, enough, found["kind"], truths, found["fields"])


def confusion(
    drawn: np.ndarray, enough: np.ndarray, kind: np.ndarray, truths: list[Truth], fields: np.ndarray
) -> list[str]:
    """Return the rows of a Markdown table: what was drawn, and what it was called."""
    rows = ["| drawn | at least 5 fields | called |", "|---|---|---|"]
    for name in KINDS:
        for many in (True, False):
            mask = (drawn == name) & (enough == many)
            labels, counts = np.unique(kind[mask], return_counts=True)
            called = ", ".join(
                f"{label} {count}" for label, count in zip(labels, counts, strict=True)
            )
            if called:
                rows.append(f"| {name} | {'yes' if many else 'no'} | {called} |")
    return rows


def draw_modules(box_m: float, periods: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw 40 noisy units of each module: periods spread by 2 %, orientations by 2 degrees."""
    maps = []
    for period in periods:
        angle = rng.uniform(0, 60)
        for _ in range(40):
            basis = synthetic.hexagonal_basis(
                period * np.exp(0.02 * rng.standard_normal()), angle + 2 * rng.standard_normal()
            )
            clean = synthetic.lattice_map(
                basis, box_m=box_m, bins=round(25 * box_m), phase=rng.random(2)
            )
            maps.append(synthetic.degrade(clean, noise=0.2, unvisited=0.05, rng=rng))
    return np.stack(maps)


def measure_modules(rng: np.random.Generator) -> dict[str, Any]:
    """Put three mixed modules through the analysis, and broad clusters through the clustering."""
    maps = draw_modules(4.0, (0.5, 0.85, 1.44), rng)
    analysis = analyze_ratemaps(maps, 4.0, num_shuffles=SHUFFLES, key=jax.random.key(SEED))
    modules = find_modules(analysis)
    split = 0
    # One broad cluster must not be split: normal or even periods, free or aligned orientations.
    for draw in range(BROAD_CLUSTERS):
        count = 60
        if draw % 2:
            period = 0.9 * np.exp(0.15 * rng.standard_normal(count))
        else:
            period = rng.uniform(0.5, 1.5, count)
        angle = rng.uniform(0, 60, count) if draw % 4 < 2 else 2 * rng.standard_normal(count)
        bases = [synthetic.hexagonal_basis(p, a) for p, a in zip(period, angle, strict=True)]
        broad = dataclasses.replace(
            analysis,
            lattice=three_axes(reduce_basis(np.stack(bases))),
            spacing_m=period,
            is_grid=np.ones(count, dtype=bool),
        )
        split += len(find_modules(broad).members) > 1
    return {
        "modules found of 3 mixed": len(modules.members),
        "units in the right module": [
            int((modules.labels == np.repeat([0, 1, 2], 40)).sum()),
            len(maps),
        ],
        "module periods (m)": modules.period_m.tolist(),
        "broad clusters split": [split, BROAD_CLUSTERS],
    }


def sampled_shape(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Return maps [40, 60, 60] of units with a bump at a random point of a shape over the box.

    Torus and circle run 2.6 times round along lines at 20 degrees to the walls (so that rolled maps
    no longer fit together), the sphere is laid out by longitude and height, the plane is the box.
    """
    y, x = np.meshgrid(*[(np.arange(60) + 0.5) / 60] * 2, indexing="ij")
    along, across = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
    first = 2 * np.pi * 2.6 * (along * x + across * y)
    second = 2 * np.pi * 2.6 * (along * y - across * x)
    height, longitude = 2 * y - 1, 2 * np.pi * x
    radius = np.sqrt(1 - height**2)
    places = {
        "torus": [np.cos(first), np.sin(first), np.cos(second), np.sin(second)],
        "circle": [np.cos(first), np.sin(first)],
        "sphere": [radius * np.cos(longitude), radius * np.sin(longitude), height],
        "plane": [3 * x, 3 * y],
    }[shape]
    points = np.stack(places, axis=-1)
    centres = points.reshape(-1, points.shape[-1])[rng.integers(0, 3600, 40)]
    return np.exp(-((points - centres[:, None, None]) ** 2).sum(-1) / 2)


def measure_shapes(rng: np.random.Generator) -> dict[str, Any]:
    """Betti numbers of a torus, a sphere, a circle and a plane, and of a module of grid cells."""
    shapes = {name: sampled_shape(name, rng) for name in ("torus", "sphere", "circle", "plane")}
    shapes["module of 40 grid cells"] = draw_modules(3.0, (0.85,), rng)
    found: dict[str, Any] = {}
    for name, maps in shapes.items():
        test = torus_test(maps, num_shuffles=20, key=jax.random.key(SEED), num_landmarks=150)
        found[f"Betti numbers, {name}"] = list(test.betti or ())
    return found


def measure_oracles(rng: np.random.Generator) -> dict[str, Any]:
    """Compare with `spatial_maps` (CINPLA), where installed, on clean hexagons in a 3 m box."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports names that SciPy has deprecated
            from spatial_maps import autocorrelation, find_peaks, gridness, spacing_and_orientation
    except ImportError:
        return {"spatial_maps": "not installed"}
    periods = (0.4, 0.5, 0.6, 0.7, 0.85)
    maps = np.stack(
        [
            synthetic.lattice_map(
                synthetic.hexagonal_basis(period, rng.uniform(0, 60)), box_m=3.0, bins=75
            )
            for period in periods
        ]
    )
    ours = score_ratemaps(maps, 3.0)
    correlograms = [autocorrelation(m) for m in maps]
    size = np.array(correlograms[0].shape) * 0.04
    theirs = [spacing_and_orientation(find_peaks(c) * 0.04, size)[0] for c in correlograms]
    return {
        "true periods (m)": list(periods),
        "spacing, ours (m)": ours.spacing_m.tolist(),
        "spacing, spatial_maps (m)": [float(value) for value in theirs],
        "grid score, ours": ours.grid_score.tolist(),
        "gridness, spatial_maps": [gridness(m) for m in maps],
    }


def rounded(value: Any) -> Any:
    """Round every float in nested lists and dictionaries to four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def markdown(numbers: dict[str, Any], table: list[str]) -> str:
    """Lay the numbers out as a page that opens with the answer."""
    units = numbers["Units"]
    right, maps = units["right kind, maps with at least 5 fields"]
    grid, noise = units["noise called grid"]
    lines = [
        "# The analysis, measured on maps whose truth is known",
        "",
        f"**{right} of {maps} maps with at least 5 fields get the right kind, and {grid} of {noise}"
        " noise maps are called grid.** `python -m experiments.analysis_benchmark`",
    ]
    for title, section in numbers.items():
        lines += ["", f"## {title}", "", "| quantity | value |", "|---|---|"]
        for name, value in section.items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {item}" for key, item in value.items())
            elif isinstance(value, list) and len(value) == 2:
                value = f"{value[0]} of {value[1]}"
            elif isinstance(value, list):
                value = ", ".join(str(item) for item in value)
            lines.append(f"| {name} | {value} |")
    return "\n".join([*lines, "", "## What each drawn map was called", "", *table, ""])


def main(arguments: Sequence[str]) -> None:
    """Measure everything and write the results."""
    command.Parser(__doc__).read(arguments)
    rng = np.random.default_rng(SEED)
    units, table = measure_units(rng)
    numbers = rounded(
        {
            "Units": units,
            "Modules": measure_modules(rng),
            "Shapes": measure_shapes(rng),
            "Independent scorer": measure_oracles(rng),
            "Cost": {"CPU seconds": time.process_time()},
        }
    )
    page = markdown(numbers, table)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "analysis.json").write_text(json.dumps(numbers, indent=1) + "\n")
    (RESULTS / "analysis.md").write_text(page)
    print(page)


if __name__ == "__main__":
    command.run(main)
