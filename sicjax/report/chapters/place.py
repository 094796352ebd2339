"""Place: how well the code distinguishes places, and how long it keeps track of them.

Letters: N units, K bins of steps. Lengths in metres.
"""

from typing import Any

import numpy as np

from sicjax import plots
from sicjax.analysis.ambiguity import DistanceMap
from sicjax.report.chapter import Chapter, Row, Shown, panel
from sicjax.report.results import BOXES_M, Activity, Evaluation
from sicjax.report.sheets import examples, unit_labels
from sicjax.report.tables import bin_middles, median, number, pair, percent, steps
from sicjax.run import SHORT_WALK_STEPS, WALK_STEPS

APART = f"{BOXES_M[-1]:g} m box, walks of {SHORT_WALK_STEPS} steps"
AFTER = (100, 1000, 10_000)  # steps
APART_SHARE = 0.5  # distance at one place over elsewhere; above it, no place is distinguished


def path_integration(found: Evaluation, recorded_note: str | None) -> Chapter:
    """Return the chapter on a network's path integration.

    Args:
        found: what was measured.
        recorded_note: the recorded path that drove the network, or why none did; None if the config
            names none.
    """
    active, path = found.active, found.path
    numbers = {
        "variance_explained_long": median(found.first.maps.variance_explained[active]),
        "variance_explained_short": median(found.near_start.maps.variance_explained[active]),
        "path_integration": _numbers(found),
        "steps_position_holds": steps_position_holds(found),
        "place": place_numbers(found.dynamics.places),
        "recorded_path_correlation": np.nan if path is None else path.correlation,
        "recorded_path_pieces_correlation": np.nan if path is None else path.pieces_correlation,
    }
    figures = [*_against_steps(found), *_over_places(found)]
    if path is not None:
        figures.append(_recorded_path(found, recorded_note))
    rows = [*_rows(numbers, found), *_recorded_rows(found, recorded_note)]
    return Chapter("Path integration", numbers, rows, figures, _headline(found))


def place(found: Activity) -> Chapter:
    """Return the chapter on how well states distinguish places, without running a network."""
    numbers: dict[str, Any] = {
        "variance_explained": median(found.samples.maps.variance_explained[found.active]),
        "correlation_of_halves": found.halves,
        "place": place_numbers(found.places),
    }
    source, share = found.samples.title, numbers["variance_explained"]
    rows = [
        Row("Variance explained by position", number(share),
            "Variance between places relative to all variance, median of active units. 1: the"
            " activity depends on position alone.", source),
        Row("Maps of the first and the second half of the walks", number(found.halves),
            "Correlation, median of active units. Low if the code drifts, or samples are few.",
            source),
        _reach_row(numbers["place"], found.samples.maps.box_m / 2, source,
                   "Searched up to half the box."),
    ]  # fmt: skip
    # Two views of one table of pairs: by distance alone, and by displacement in the plane.
    apart = found.separation
    separation = panel(plots.neural_distance, apart.edges, apart.mean, apart.std)
    figures = [
        Shown("neural_distance", separation,
              "Distance between the states at two places against the distance of the places (mean"
              " and standard deviation over pairs)."),
        _distance_map(found.places, source),
    ]  # fmt: skip
    if found.same_place is not None:  # a single walk meets no other
        same = found.same_place
        drift = panel(
            plots.against_steps,
            {"same place, another walk": (bin_middles(same.edges), same.mean)},
            y="neural distance |g − g′|", chance=found.places.plateau,
        )  # fmt: skip
        figures.append(Shown(
            "drift", drift,
            "Distance between the states of two walks at the same place, against the steps since"
            " their start. Dashed: the distance between unrelated places. A code that depends on"
            " position alone stays at 0.",
        ))  # fmt: skip
    headline = f"Position explains {percent(share)} of an active unit's variance."
    return Chapter("Place", numbers, rows, figures, headline if found.active.any() else "")


def explained(found: Evaluation) -> np.ndarray:
    """Return the share [K] of a unit's variance that its short-walk map explains along long walks.

    It is the median over grid cells, or over active units if there is no grid cell.
    """
    grid = found.units.is_grid
    shares = found.path_integration.explained[:, grid if grid.any() else found.active]
    return np.array([median(share) for share in shares])


def steps_position_holds(found: Evaluation) -> float:
    """Return the number of steps up to which position explains half of the variance or more.

    It is 0 if position never does, the length of the walks if it does to their end, and NaN if no
    unit varies.
    """
    edges, shares = found.path_integration.drift.edges, explained(found)
    if not np.isfinite(shares).any():
        return np.nan
    below = np.flatnonzero(~(shares >= 0.5))
    if not below.size:
        return float(edges[-1])
    k, middles = int(below[0]), np.log(bin_middles(edges))
    if k == 0:
        return 0.0
    if not np.isfinite(shares[k]):
        return float(np.exp(middles[k - 1]))
    # Interpolate between the last bin above a half and the first below, in the logarithm of steps.
    part = (shares[k - 1] - 0.5) / (shares[k - 1] - shares[k])
    return float(np.exp(middles[k - 1] + part * (middles[k] - middles[k - 1])))


def place_numbers(found: DistanceMap) -> dict[str, Any]:
    """Return the numbers on the range over which places are distinguished."""
    deepest = found.depths.argmax() if found.depths.size else None
    return {
        "distance_same_place": found.floor,
        "distance_plateau": found.plateau,
        "range_m": found.range_m,  # null: no displacement within reach looks the same
        "deepest_dip_m": np.nan if deepest is None else np.linalg.norm(found.dips_m[deepest]),
        "deepest_dip": np.nan if deepest is None else found.depths[deepest],
    }


def reach_text(range_m: float, floor: float, farthest_m: float) -> str:
    """Return the text on the distance up to which places are distinguished.

    Args:
        range_m: the shortest distance at which two places look the same; inf if there is none.
        floor: distance of states at one place, relative to that elsewhere; above APART_SHARE,
            places are not distinguished.
        farthest_m: the largest distance that was searched.
    """
    if np.isnan(range_m) or not floor < APART_SHARE:
        return "none found"
    return f"{range_m:.2f} m" if np.isfinite(range_m) else f"beyond {farthest_m:.2g} m"


def _headline(found: Evaluation) -> str:
    """Return the sentence on how long path integration holds."""
    if not found.fires.any():
        return ""
    held, longest = steps_position_holds(found), _longest(found)
    who = "a grid cell's" if found.units.is_grid.any() else "a unit's"
    what = "Path integration (knowing the place from velocities alone)"
    if not np.isfinite(held):
        return "Nothing varies along a walk, so there is no path integration to measure."
    if held <= 0:
        return f"There is no path integration: position never explains half of {who} variance."
    if held >= longest:
        return f"{what} holds for {longest:,} steps and more."
    return (
        f"{what} holds for {held:,.0f} steps; after that, position explains less than half of {who}"
        " variance."
    )


def _longest(found: Evaluation) -> int:
    """Return the length in steps of the walks of path integration."""
    return int(found.path_integration.drift.edges[-1])


def _numbers(found: Evaluation) -> dict[str, Any]:
    drift, speeds = found.path_integration.drift, found.path_integration.conformality
    numbers: dict[str, Any] = {
        "chance_neural_distance": drift.chance_distance,
        "chance_decoding_error_m": drift.chance_error_m,
        "neural_speed_per_m": speeds.mean,
        "neural_speed_variation": speeds.variation,
        "neural_speed_anisotropy": speeds.anisotropy,
    }
    for count in AFTER:
        k = int(np.argmin(np.abs(np.log(bin_middles(drift.edges) / count))))
        numbers[f"neural_distance_after_{count}"] = drift.distance[k]
        numbers[f"decoding_error_m_after_{count}"] = drift.error_m[k]
    return numbers


def _rows(numbers: dict[str, Any], found: Evaluation) -> list[Row]:
    moved, longest = numbers["path_integration"], _longest(found)
    walks = f"2 m box, walks of {longest:,} steps"
    chance = moved["chance_neural_distance"]
    drifts = [percent(moved[f"neural_distance_after_{n}"] / chance) for n in AFTER if chance]
    return [
        Row("Steps until position explains less than half",
            steps(numbers["steps_position_holds"], longest),
            "Half of a grid cell's variance (of an active unit's if there is no grid cell), by its"
            " short-walk map. Usual: quick.py 500 to 1,300,"
            " full.py 2,200 to 4,100; untrained, 0.", walks),
        Row("Variance explained by position, walks of 120 and 2,000 steps",
            pair(numbers["variance_explained_short"], numbers["variance_explained_long"]),
            "Variance between places relative to all variance, median of active units. Usual:"
            " quick.py 0.93 and 0.6, full.py 0.98 and 0.9.",
            f"{found.near_start.title}; {found.first.title}"),
        Row("Distance from the map's state after 100, 1,000 and 10,000 steps",
            ", ".join(drifts) or "–",
            "100 % is the distance between two random places. Usual: quick.py 20, 60 and"
            " 100 %, full.py 9, 20 to 30 and 65 to 90 %.", walks),
        _reach_row(numbers["place"], found.dynamics.places.reach_m, APART,
                   "Usual: a little less than the coarsest period; quick.py 20 %, full.py 9 %."),
        Row("Spread of the code's speed over places and directions",
            percent(moved["neural_speed_variation"]),
            "Standard deviation relative to the mean. A conformal code moves equally fast"
            " everywhere. Usual: 3 %.", APART),
    ]  # fmt: skip


def _reach_row(numbers: dict[str, Any], farthest_m: float, source: str, usual: str) -> Row:
    floor = numbers["distance_same_place"] / max(numbers["distance_plateau"], 1e-12)
    reach = reach_text(numbers["range_m"], floor, farthest_m)
    return Row(
        "Range over which places are distinguished",
        f"{reach} (states at one place differ by {percent(floor)} of the usual distance)",
        "The shortest distance at which two places look the same to the code. Above 50 % places"
        f" are not distinguished. {usual}", source,
    )  # fmt: skip


def _recorded_rows(found: Evaluation, note: str | None) -> list[Row]:
    if found.path is None:
        if note is None:
            return []
        return [Row("Recorded path", "none", f"Not measured: {note}", "–")]
    return [Row(
        "Recorded path, whole and in pieces of 120 steps",
        pair(found.path.correlation, found.path.pieces_correlation),
        "Correlation with the maps of smooth walks, median of lattice units. Usual:"
        " quick.py 0.6 and 0.8, full.py 0.9 and 0.98.",
        note or "the path passed to the report",
    )]  # fmt: skip


def _against_steps(found: Evaluation) -> list[Shown]:
    """Draw how the code drifts during long walks.

    The decoded position has no figure: a periodic code is at chance beyond its period, so a good
    network looks like a bad one. summary.json has its error.
    """
    same, gone = found.path_integration.same_place, found.path_integration.drift
    middles = bin_middles(gone.edges)
    who = "grid cells" if found.units.is_grid.any() else "active units"
    share = panel(
        plots.against_steps, {who: (middles, np.maximum(explained(found), 0))},
        y="variance explained by position", level=0.5,
    )  # fmt: skip
    distance = panel(
        plots.against_steps,
        {
            "to the short walks' map": (middles, gone.distance),
            "same place, another path": (bin_middles(same.edges), same.mean),
        },
        y="neural distance |g − g′|", chance=gone.chance_distance,
    )  # fmt: skip
    return [
        Shown("explained", share,
              "Variance explained by position during long walks: how well a cell's"
              f" short-walk map predicts its activity at the true place (2 m box; median of {who})."
              " Above the dotted line position explains more than half."),
        Shown("drift", distance,
              "Distance of the state from the mean state of short walks at the same place, and from"
              " the state of another walk there, against the steps taken (2 m box). Dashed: the"
              " distance between random places."),
    ]  # fmt: skip


def _over_places(found: Evaluation) -> list[Shown]:
    """Draw distances between the states of places, and the code's speed."""
    apart, speeds = found.path_integration.separation, found.path_integration.conformality
    separation = panel(
        plots.neural_distance, apart.edges, apart.mean, apart.std,
        training_range_m=found.training_range_m,
    )  # fmt: skip
    conformal = plots.conformality(
        speeds.by_place, BOXES_M[-1], speeds.directions_deg, speeds.by_direction,
        fig=plots.blank_figure(),
    )  # fmt: skip
    return [
        Shown("neural_distance", separation,
              "Distance between the states at two places against the distance of the places (mean"
              f" and standard deviation over pairs; {APART}). In training, 99 % of the positions"
              f" were within {found.training_range_m:.2f} m of the start."),
        _distance_map(found.dynamics.places, APART),
        Shown("conformality", conformal,
              f"Speed of the code: how far the state moves per metre, for steps of 2 cm ({APART})."
              " Left: by place, mean over twelve directions. Right: by direction, mean over places."
              " A conformal code moves equally fast everywhere.", wide=True),
    ]  # fmt: skip


def _distance_map(places: DistanceMap, source: str) -> Shown:
    figure = panel(
        plots.distance_map, places.distance, places.bin_m, dips_m=places.dips_m,
        range_m=places.range_m,
    )  # fmt: skip
    known = f" (dashed circle, {places.range_m:.2f} m)" if np.isfinite(places.range_m) else ""
    return Shown(
        "distance_map", figure,
        f"Mean distance between the states of two places, by their displacement ({source})."
        " Crosses mark dips: displacements at which two places look alike to the code. Places that"
        f" are closer than the nearest dip{known} are distinguished.",
    )  # fmt: skip


def _recorded_path(found: Evaluation, note: str | None) -> Shown:
    path, units = found.path, examples(found)
    assert path is not None
    compared = found.long[path.whole.box_m]
    figure = plots.recorded_path(
        path.positions,
        [
            ("whole\npath", path.whole.ratemaps[units]),
            (f"path, pieces of\n{SHORT_WALK_STEPS} steps", path.pieces.ratemaps[units]),
            (f"smooth walks of\n{WALK_STEPS:,} steps", compared.maps.ratemaps[units]),
        ],
        path.whole.box_m,
        titles=[unit_labels(found.first, found)[n] for n in units],
        fig=plots.blank_figure(),
    )
    return Shown(
        "recorded_path", figure,
        "Maps of the network along the recorded path" + (f" ({note})" if note else "") + ". Top:"
        " the whole path from the initial state, with all the drift of the walk. Middle: in"
        f" overlapping pieces of {SHORT_WALK_STEPS} steps, each run from the initial state at its"
        " start. Bottom: the same units on smooth walks.",
        wide=True,
    )  # fmt: skip
