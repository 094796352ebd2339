"""What came out, in words: the headline of a report and the rows of its tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sicjax.report.dynamics import FARTHEST_M
from sicjax.report.evaluate import SHORT_BOXES_M, Evaluation, Judged

FEW_UPDATES = 1000  # in fewer, no network has grown a lattice
ROLLS = "python -m experiments.evaluate --workdir=DIR --torus_rolls=20"
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


class Row(NamedTuple):
    """One row of a table."""

    what: str
    value: str
    meaning: str  # one definition, and what is usual
    source: str  # which maps or walks it is measured on


def headline(summary: Mapping[str, Any], evaluation: Evaluation) -> list[str]:
    """Return the sentences at the top: which cells, which boxes, how long, tori."""
    grids, active = summary["kinds"]["grid"], summary["active_units"]
    box, longest = _box(evaluation), _longest(evaluation)
    if not active:
        return [f"No grid cells: none of the {summary['num_units']} units fires by place at all."]
    if not grids:
        words = [f"No grid cells: none of {active} active units passes in the {box}."]
        if summary["step"] < FEW_UPDATES and not summary["failure"]:  # it would wait in vain
            words.append(
                f"The network has had {summary['step']:,} updates; lattices form in thousands."
            )
        return [*words, _position_sentence(summary, longest)]
    return [
        modules_sentence(summary, box), _boxes_sentence(summary),
        _position_sentence(summary, longest),
        torus_sentence(summary, "the foot of this page says how to"),
    ]  # fmt: skip


def _box(evaluation: Evaluation) -> str:
    return f"{evaluation.verdict_box_m:g} m box"


def modules_sentence(summary: Mapping[str, Any], box: str) -> str:
    """Say how many grid cells there are, and which modules they form."""
    modules, grids = summary["modules"], summary["kinds"]["grid"]
    cells = (
        f"{grids} grid cell{'' if grids == 1 else 's'} among {summary['active_units']} active units"
    )
    if not modules:
        return f"{cells}, too few alike for a module ({box})."
    count = _NUMBERS[len(modules)] if len(modules) < len(_NUMBERS) else str(len(modules))
    each = [f"{module['units']} cells of period {module['period_m']:.2f} m" for module in modules]
    listed = " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)
    return f"{cells}, in {count} module{'' if len(modules) == 1 else 's'}: {listed} ({box})."


def _boxes_sentence(summary: Mapping[str, Any]) -> str:
    shares = summary["grid_cells_of_same_period"]
    held = [name.replace("m", " m") for name, share in shares.items() if share >= 0.5]
    lost = [name.replace("m", " m") for name, share in shares.items() if not share >= 0.5]
    texts = [f"Most keep their period in the {' and '.join(held)} box."] if held else []
    texts += [f"Most do not in the {' and '.join(lost)} box."] if lost else []
    return " ".join(texts)


def _position_sentence(summary: Mapping[str, Any], longest: int) -> str:
    steps = summary["steps_position_holds"]
    who = "a grid cell's" if summary["kinds"]["grid"] else "a unit's"
    if not np.isfinite(steps):
        return "Nothing varies along a walk, so there is no path integration to measure."
    if steps <= 0:
        return f"There is no path integration: position never explains half of {who} variance."
    if steps >= longest:
        return f"Path integration holds for {longest:,} steps and more."
    return (
        f"Path integration holds for {steps:,.0f} steps, until position explains less than half"
        f" of {who} variance."
    )


def torus_sentence(summary: Mapping[str, Any], untested: str) -> str:
    """Say how many modules are tori; where there was no null, `untested` says what to do."""
    modules = summary["modules"]
    tested = [module for module in modules if module["is_torus"] is not None]
    if not modules:
        return ""
    if not tested:
        return f"Whether modules are tori has not been tested; {untested}."
    yes = sum(module["is_torus"] for module in tested)
    if len(tested) == 1:
        which = "" if len(modules) == 1 else f" of {tested[0]['units']} cells"
        others = "" if len(modules) == 1 else f" Others have not been tested; {untested}."
        return f"The module{which} {'is' if yes else 'was not found to be'} a torus.{others}"
    return f"{yes} of {len(tested)} modules {'is a torus' if yes == 1 else 'are tori'}."


def betti_texts(modules: Sequence[Mapping[str, Any]]) -> str:
    """Return (1, 2, 1) for each module, a dash for one that was not tested against a null."""
    numbers = [[module[f"betti_{k}"] for k in range(3)] for module in modules]
    if all(None in three for three in numbers):
        return "–"
    return "; ".join(
        "–" if None in three else f"({', '.join(map(str, three))})" for three in numbers
    )


def tables(
    summary: Mapping[str, Any], evaluation: Evaluation, recorded_note: str | None
) -> list[tuple[str, list[Row]]]:
    """Return the tables of the page: a title and rows each."""
    moving = [*_attractor_rows(summary), *_relation_rows(summary, evaluation)]
    return [
        ("Grid cells and modules",
         [*cell_rows(summary, evaluation, ROLLS), _same_period_row(summary, evaluation)]),
        ("Path integration", _path_rows(summary, evaluation, recorded_note)),
        *([("Attractor", moving)] if moving else []),
        ("Also counted", other_rows(summary, evaluation)),
    ]  # fmt: skip


def cell_rows(summary: Mapping[str, Any], evaluation: Judged, rolls: str) -> list[Row]:
    """Return the rows on units, modules and tori; `rolls` is what would test for a torus."""
    box, units = evaluation.verdict.title, evaluation.units
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary["kinds"].items() if count)
    scores = [np.median(s[units.is_grid]) if units.is_grid.any() else np.nan
              for s in (units.grid_score, units.grid_score_corrected)]  # fmt: skip
    untested = [torus.betti is None for torus in evaluation.tori]
    torus = "(1, 2, 1) is a torus. Usual for modules above ten cells."
    if any(untested) or not untested:
        which = "Not tested" if all(untested) else "A dash: not tested"
        torus = f"(1, 2, 1) is a torus. {which}; the null of every module: {rolls}"
    return [
        Row("Active units", f"{summary['active_units']} of {summary['num_units']}",
            "Fire at more than a fifth of their peak in 3 % of the box. Usual: two thirds or more.",
            evaluation.first.title),
        Row("Kinds of units", kinds,
            "A grid cell's 60° score is above the 99th percentile of its own shuffled fields; fewer"
            " than five fields leave a unit undetermined. Usual: most active units are grid cells.",
            box),
        Row("60° score of grid cells, and with the ellipse undone", _pair(*scores),
            "Median. 1.3 to 1.5 is a perfect hexagon. Usual: 1.1 to 1.3.", box),
        Row("Modules", _modules_text(summary["modules"]),
            "At least ten grid cells of one period and orientation. Usual: a large one at 0.87 m"
            " and a small one at 0.5 m, ratio 1.7; with the paper's steps 1.2 m and 0.7 m.", box),
        Row("Torus: Betti numbers by module", betti_texts(summary["modules"]) or "–",
            torus, box),
    ]  # fmt: skip


def _same_period_row(summary: Mapping[str, Any], evaluation: Evaluation) -> Row:
    shares = summary["grid_cells_of_same_period"].items()
    return Row(
        "Grid cells of the same period in other boxes",
        ", ".join(f"{name.replace('m', ' m')}: {percent(share)}" for name, share in shares),
        f"Period within 5 % of that in the {_box(evaluation)}. Usual: above 90 %.",
        "long walks in each box",
    )


def _pair(one: float, two: float) -> str:
    return f"{number(one)}, {number(two)}" if np.isfinite([one, two]).any() else "–"


def _modules_text(modules: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for module in modules:
        ratio = f", ratio {module['ratio']:.2f}" if np.isfinite(module["ratio"]) else ""
        texts.append(f"{module['units']} units at {module['period_m']:.2f} m{ratio}")
    return "; ".join(texts) or "none"


def _path_rows(
    summary: Mapping[str, Any], evaluation: Evaluation, recorded_note: str | None
) -> list[Row]:
    found, place = summary["path_integration"], summary["place"]
    first, short = evaluation.first.title, evaluation.short[SHORT_BOXES_M[0]].title
    longest = _longest(evaluation)
    walks = f"2 m box, walks of {longest:,} steps"
    chance = found["chance_neural_distance"]
    drifts = [percent(found[f"neural_distance_after_{n}"] / chance) if chance else "–"
              for n in (100, 1000, 10_000)]  # fmt: skip
    floor, far = (
        place["distance_same_place"] / max(place["distance_plateau"], 1e-12),
        place["range_m"],
    )
    reach = reach_text(far, floor, FARTHEST_M)
    rows = [
        Row("Steps until position explains less than half",
            _steps(summary["steps_position_holds"], longest),
            "Of a grid cell's variance (an active unit's, where there is none), by its short-walk"
            " map; the code is lost then. Usual: 500 to 1,300; untrained, 0.", walks),
        Row("Variance that position explains, 120 and 2,000 steps",
            _pair(summary["variance_explained_short"], summary["variance_explained_long"]),
            "Between places against within one, median of active units. Usual: 0.93 and 0.6.",
            f"{short}; {first}"),
        Row("Distance from the map's state after 100 / 1,000 / 10,000 steps", " / ".join(drifts),
            "Of that between two random places (100 %). Usual: 20, 60 and 100 %.", walks),
        Row("Range over which places are told apart",
            f"{reach} (at one place, states differ by {percent(floor)} of what they do elsewhere)",
            "Nearest displacement that the code takes for none. Usual: a little less than the"
            " coarsest period, and 20 %; above 50 % no place is told from another.",
            "4 m box, walks of 120 steps"),
        Row("Speed of the code: spread over places and directions",
            percent(found["neural_speed_variation"]),
            "Relative to its mean. A conformal code moves equally fast everywhere; usual: 3 %.",
            "4 m box, walks of 120 steps"),
    ]  # fmt: skip
    return [*rows, *_recorded_rows(summary, evaluation, recorded_note)]


def reach_text(range_m: float, floor: float, farthest_m: float) -> str:
    """Say up to which displacement places are told apart.

    Args:
        range_m: the nearest displacement taken for none; inf where there is none in reach.
        floor: distance of states at one place, of that elsewhere; above half, no place is told.
        farthest_m: how far displacements were looked at.
    """
    if np.isnan(range_m) or not floor < 0.5:
        return "none found"
    return f"{range_m:.2f} m" if np.isfinite(range_m) else f"beyond {farthest_m:.2g} m"


def _recorded_rows(
    summary: Mapping[str, Any], evaluation: Evaluation, recorded_note: str | None
) -> list[Row]:
    if evaluation.path is None:
        return [Row("Recorded path", "none", recorded_note or "no path was given", "–")]
    values = [summary[f"recorded_path_{part}correlation"] for part in ("", "pieces_")]
    return [Row(
        "Recorded path, in one go and in pieces of 120 steps", _pair(*values),
        "r with the smooth walks' maps, median of lattice units. Usual: 0.6 and 0.8.",
        recorded_note or "the path given",
    )]  # fmt: skip


def _attractor_rows(summary: Mapping[str, Any]) -> list[Row]:
    found, null = summary["attractor"], summary["attractor_untrained"]
    if found is None:
        return []
    walking = [_steps(a["steps_to_return_walking"]) if a else "–" for a in (found, null)]
    left = [", ".join(map(number, a["shift_left"])) if a else "–" for a in (found, null)]
    shifts = ", ".join(f"{100 * shift:.1f}" for shift in found["shift_m"])
    length = found["gain_steps"][-1]
    gains = [f"{a['gain_along'][-1]:.2f}, {a['gain_across'][-1]:.2f}" if a else "–"
             for a in (found, null)]  # fmt: skip
    return [
        Row("Steps to return after a push of 20 % off the manifold",
            f"{walking[0]} (untrained {walking[1]})",
            "To within 2 %, walking. Few steps mean that errors are corrected; usual: 10 to 40.",
            "walks in the 2 m box"),
        Row(f"Left of shifts of {shifts} cm along the manifold",
            f"{left[0]} (untrained {left[1]})",
            f"After {found['shift_steps']} steps. A continuous attractor keeps them (1): nothing"
            " pulls the memory of a place to another. Ripples swallow what is smaller than they.",
            "at rest"),
        Row(f"Gain of {length} steps, along and across", f"{gains[0]} (untrained {gains[1]})",
            "What is left of the smallest displacement. Across: 0, errors are corrected. Along: 1"
            " where the manifold is smooth; less where it has ripples, of a centimetre or so.",
            "at rest"),
        Row("Diffusion under noise of 5 % in every step",
            f"{found['diffusion_m2_per_step'][-1]:.1e} m² per step",
            "A quarter of the growth of the squared shift along the manifold.", "at rest"),
    ]  # fmt: skip


def _relation_rows(summary: Mapping[str, Any], evaluation: Evaluation) -> list[Row]:
    found = summary["module_relation"]
    if found is None:
        return []
    return [
        lattices_row(found, _box(evaluation)), drifts_row(found, "walks in the 2 m box"),
    ]  # fmt: skip


def lattices_row(found: Mapping[str, Any], source: str) -> Row:
    """Return the row on the lattices of two modules or more."""
    ratio = " : ".join(str(count) for count in found["index"])
    return Row(
        "How the modules' lattices are related", f"{found['verdict']}: cells {ratio}",
        f"Nested: every field of the coarser lattice is one of the finer. Off by"
        f" {100 * found['error']:.1f} %; by chance in p = {found['p']:.2g}.", source,
    )  # fmt: skip


def drifts_row(found: Mapping[str, Any], source: str) -> Row:
    """Return the row on the drifts of modules."""
    together = ", ".join(number(r) for r in found["drift_correlation"])
    chance = ", ".join(f"{p:.2g}" for p in found["drift_p"])
    return Row(
        "Modules drift together: correlation", f"{together} (p = {chance})",
        f"Of their phases' drifts after {found['drift_steps']:,} steps, pair by pair. 1 if they"
        " are one torus, 0 if independent.", source,
    )  # fmt: skip


def other_rows(summary: Mapping[str, Any], evaluation: Judged) -> list[Row]:
    """Return the rows on what is counted without a null, and on constant units."""
    first = evaluation.first.title
    constants = ", ".join(f"u{n}" for n in summary["constant_units"]) or "none"
    ripples = summary["constant_units_with_lattice"]
    counted = f"; {ripples} of them counted as a lattice" if ripples else ""
    return [
        Row("At a glance: hexagonal, square",
            f"{summary['hexagonal_units']}, {summary['square_units']}"
            f" ({percent(summary['lattice_fraction'])} of the active)",
            "By fixed scores (60° above 0.5, else 90° above 0.7), without a null: quick, and no"
            " verdict.", first),
        Row("Constant units", constants + counted, "Active alike everywhere. Usual: none to three.",
            first),
        Row("… their share of |mean g|\u2060²", percent(summary["constant_share"]),
            "How much of the capacity term they satisfy alone.", first),
    ]  # fmt: skip


def _longest(evaluation: Evaluation) -> int:
    """Return the steps of the walks along which path integration is followed."""
    return int(evaluation.path_integration.drift.edges[-1])


def _steps(count: float, longest: float = np.inf) -> str:
    if not np.isfinite(count):
        return "–"
    return f"{count:,.0f}" + (" or more" if count >= longest else "")


def number(value: float) -> str:
    """Write a number with two decimals; a dash where there is none."""
    return f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "–"


def percent(share: float) -> str:
    """Write a share in percent; a dash where there is none."""
    return f"{share:.0%}" if np.isfinite(share) else "–"
