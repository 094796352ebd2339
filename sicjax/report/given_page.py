"""The report on given activity, from what was measured: its numbers, figures, words and page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sicjax import plots
from sicjax.report.evaluate import median
from sicjax.report.figures import (
    correlogram_sheet,
    lattice_and_drift_figures,
    module_figures,
    module_groups,
    module_order,
    rate_sheet,
    score_figures,
)
from sicjax.report.folder import pack_all, write_folder
from sicjax.report.given import FEWEST_WALKS, MOST_WALKS, Activity
from sicjax.report.page import contents, module_captions, template
from sicjax.report.summary import (
    bin_middles,
    drift_summary,
    lattice_summary,
    modules_summary,
    place_summary,
    summary_of_maps,
    units_summary,
)
from sicjax.report.verdict import (
    Row,
    cell_rows,
    drifts_row,
    lattices_row,
    modules_sentence,
    number,
    other_rows,
    percent,
    reach_text,
    torus_sentence,
)

ROLLS = "torus_rolls=20"
NEEDS_A_NETWORK = (
    ("The same cells in larger boxes", "walks beyond the box that was given"),
    ("Slower and faster walks", "the same"),
    ("Steps until position explains less than half", "walks from one known state, short and long"),
    ("Speed of the code by direction", "one step in every direction from the same state"),
    ("Steps to return after a push, gains, diffusion", "states that were displaced"),
    ("Whether one displaced module pulls the others", "the same"),
    ("Recorded path", "a path of an animal to drive the network along"),
)


def write_given(found: Activity, folder: Path, name: str) -> Path:
    """Write the report on given activity; returns the path of report.html."""
    summary = summarise(found, name)
    pictures = pack_all(draw(found))
    write_folder(folder, found, summary, pictures, _render(found, summary, pictures))
    return folder / "report.html"


def summarise(found: Activity, name: str) -> dict[str, Any]:
    """Return the numbers of summary.json; those that a run's has too mean the same there."""
    maps, active = found.given.maps, found.active
    relation = None
    if found.relations is not None:
        relation = lattice_summary(found.relations)
        relation |= {} if found.drifts is None else drift_summary(found.drifts)
    return {
        "name": name,
        "num_walks": found.num_walks,
        "num_samples": maps.occupancy.sum(),
        "box_m": maps.box_m,
        "centre_m": found.centre_m,
        "mean_norm": found.mean_norm,
        **units_summary(found),
        "variance_explained": median(maps.variance_explained[active]),
        "correlation_of_halves": found.halves,
        **modules_summary(found),
        "place": place_summary(found.places),
        "module_relation": relation,
        "by_map": {found.given.name: summary_of_maps(found.given, found)},
        "needs_a_network": [what for what, _ in NEEDS_A_NETWORK],
    }


def draw(found: Activity) -> dict[str, Figure]:
    """Draw every figure, by the name of its file."""
    name, places = found.given.name, found.places
    order = module_order(found)[: max(int(found.active.sum()), 1)]
    figures = {
        f"ratemaps_{name}": rate_sheet(found.given, found, order, module_groups(found, order)),
        f"autocorrelograms_{name}": correlogram_sheet(found, order),
        **score_figures(found),
        **module_figures(found),
        **lattice_and_drift_figures(found.relations, found.drifts, found.modules.period_m),
    }
    names = ("neural_distance", "distance_map", *(["drift"] if found.same_place else []))
    panels = {}
    for figure in names:
        figures[figure] = plots.blank_figure()
        panels[figure] = figures[figure].subplots()
    apart = found.separation
    plots.neural_distance(apart.edges, apart.mean, apart.std, ax=panels["neural_distance"])
    plots.distance_map(
        places.distance, places.bin_m, dips_m=places.dips_m, range_m=places.range_m,
        ax=panels["distance_map"],
    )  # fmt: skip
    if found.same_place:
        same = found.same_place
        plots.against_steps(
            {"same place, another walk": (bin_middles(same.edges), same.mean)},
            y="neural distance |g − g′|", chance=places.plateau, ax=panels["drift"],
        )  # fmt: skip
    return figures


def headline(summary: Mapping[str, Any], found: Activity) -> list[str]:
    """Return the sentences at the top: which cells, how well place tells them, tori."""
    box, active = f"{summary['box_m']:g} m box", summary["active_units"]
    if not active:
        return [f"No grid cells: none of the {summary['num_units']} units fires by place at all."]
    explained = summary["variance_explained"]
    known = f"Position explains {percent(explained)} of an active unit's variance."
    if not summary["kinds"]["grid"]:
        return [f"No grid cells: none of {active} active units passes in the {box}.", known]
    return [
        modules_sentence(summary, box),
        known,
        torus_sentence(summary, f"{ROLLS} does, in minutes"),
    ]


def _tables(summary: Mapping[str, Any], found: Activity) -> list[tuple[str, list[Row]]]:
    relation, source = summary["module_relation"], found.given.title
    moving = []
    if relation:
        moving = [lattices_row(relation, f"{summary['box_m']:g} m box")]
        if found.drifts is not None:
            moving.append(drifts_row(relation, f"{min(found.num_walks, MOST_WALKS)} walks"))
        else:
            moving.append(
                Row("Modules drift together: correlation", "–",
                    f"Needs at least {FEWEST_WALKS} walks.", source)
            )  # fmt: skip
    missing = [Row(what, "–", f"Needs {needed}.", "–") for what, needed in NEEDS_A_NETWORK]
    return [
        ("Grid cells and modules", cell_rows(summary, found, ROLLS)),
        ("Place", _place_rows(summary, source)),
        *([("How the modules belong together", moving)] if moving else []),
        ("Also counted", other_rows(summary, found)),
        ("Not measured: needs a network that can be run", missing),
    ]


def _place_rows(summary: Mapping[str, Any], source: str) -> list[Row]:
    place = summary["place"]
    floor = place["distance_same_place"] / max(place["distance_plateau"], 1e-12)
    reach = reach_text(place["range_m"], floor, summary["box_m"] / 2)
    return [
        Row("Variance that position explains", number(summary["variance_explained"]),
            "Between places against within one, median of active units. 1: place says all.",
            source),
        Row("Maps of the first and the second half of the walks",
            number(summary["correlation_of_halves"]),
            "Correlation, median of active units. Low where the code drifts, or samples are few.",
            source),
        Row("Range over which places are told apart",
            f"{reach} (at one place, states differ by {percent(floor)} of what they do elsewhere)",
            "Nearest displacement that the code takes for none, up to half the box. Above 50 % no"
            " place is told from another.", source),
    ]  # fmt: skip


def _render(found: Activity, summary: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    name, count = found.given.name, len(found.modules.members)
    sheet, lags = f"ratemaps_{name}", f"autocorrelograms_{name}"
    sections = [
        ("Grid cells and modules",
         (lags, "scores", "scores_null", "periods", "period_orientation")),
        *((f"Module {k}", (f"fourier_{k}", f"phases_{k}", f"torus_{k}")) for k in range(count)),
        ("Place", ("neural_distance", "distance_map", "drift")),
        ("How the modules belong together", ("module_relation", "module_drift")),
    ]  # fmt: skip
    return template("given.html.j2").render(
        name=summary["name"],
        summary=summary,
        headline=headline(summary, found),
        tables=_tables(summary, found),
        **contents(sheet, sections, _captions(found, sheet, lags), pictures),
    )


def _captions(found: Activity, sheet: str, lags: str) -> dict[str, str]:
    source = found.given.title
    return module_captions(len(found.modules.members)) | {
        sheet: "Mean activity by place, each unit on its own scale from 0 to its peak; grey where"
        " no sample is. Active units, by module and phase within it. g is the 60° score, s the 90°"
        " score of a square unit.",
        lags: "Correlation of each map with itself, shifted by up to half the box. Lines are the"
        " three axes of the lattice as measured, dots the six nearest fields, the dotted ring their"
        " mean distance.",
        "scores": f"Scores of the active units ({source}); dashed, from where a quick look calls a"
        " unit hexagonal or square. Verdicts are made otherwise: next figure.",
        "scores_null": "Each unit's 60° score against the 99th percentile of its own shuffled"
        " fields. Units without enough fields have no null.",
        "periods": "Period, the distance between neighbouring fields.",
        "period_orientation": "Period and orientation of the same units.",
        "neural_distance": "Distance between the states at two places against the places' distance"
        " (mean and standard deviation over pairs).",
        "distance_map": "Mean distance between the states of two places, by their displacement;"
        " crosses mark its dips. Dark spots beyond the one in the middle are displacements that"
        " the code takes for none.",
        "drift": "Distance between the states of two walks at the same place, against the steps"
        " since their start; dashed, of two places with nothing in common. A code of place alone"
        " stays at 0.",
        "module_relation": "The modules' lattices over each other, and the cell that they have in"
        " common. p is the chance of that for lattices at random periods and orientations.",
        "module_drift": "How far each module's phase is from the true place. Modules that drift as"
        " one correlate far above chance (dashed). Few units with narrow fields read a phase badly:"
        " then it slips by whole periods, and this is no drift.",
    }
