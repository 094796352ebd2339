"""The page of a report: one HTML text with its pictures inside, nothing from outside."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from sicjax.report import snapshots
from sicjax.report.evaluate import SHORT_BOXES_M, Evaluation
from sicjax.report.figures import SHEETS
from sicjax.run import SHORT_WALK_STEPS

WIDE = (*SHEETS, "torus", "recorded_path", "conformality", "losses")
SECTIONS = (
    ("Rate maps", ("ratemaps_2m", "ratemaps_2m_short", "ratemaps_3m")),
    ("Grid cells and modules", (
        "autocorrelograms_3m", "scores", "scores_null", "periods", "period_orientation",
    )),
    ("Other boxes and speeds", ("generalisation", "compared_periods", "compared_scores")),
    ("Path integration", (
        "neural_distance", "drift", "decoding", "conformality", "recorded_path",
    )),
    ("Training", ("film_strip", "losses", "batch")),
)  # fmt: skip
_TEMPLATES = Path(__file__).parent / "templates"


def render(
    summary: Mapping[str, Any],
    evaluation: Evaluation,
    pictures: Mapping[str, bytes],
    recorded_note: str | None,
) -> str:
    """Return the page: one HTML text with its pictures inside, no script, nothing from outside."""
    captions = _captions(evaluation, recorded_note)
    sections = [
        (title, [(name, captions[name], _data_uri(pictures[name])) for name in names])
        for title, given in _sections(evaluation)
        if (names := [name for name in given if name in pictures])
    ]
    facts = [*_facts(summary, evaluation), *_path_facts(summary, evaluation, recorded_note)]
    return template("report.html.j2").render(
        summary=summary, facts=facts, sections=sections, wide=WIDE
    )


def template(name: str) -> jinja2.Template:
    """One of the templates; a name that it isn't given is an error."""
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def betti_texts(modules: Sequence[Mapping[str, Any]]) -> str:
    """Return (1, 2, 1) for each module, or one dash for torus tests without their null."""
    numbers = [[module[f"betti_{k}"] for k in range(3)] for module in modules]
    if any(None in three for three in numbers):
        return "–"
    return "; ".join(f"({', '.join(map(str, three))})" for three in numbers)


def _sections(evaluation: Evaluation) -> list[tuple[str, tuple[str, ...]]]:
    """Return titles and figures of the page; each module has a section of its own."""
    modules = [
        (f"Module {k}", (f"fourier_{k}", f"phases_{k}", f"torus_{k}"))
        for k in range(len(evaluation.modules.members))
    ]
    return [*SECTIONS[:2], *modules, *SECTIONS[2:]]


def _facts(summary: Mapping[str, Any], evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return rows of the page's table: what, how much, measured on which map."""
    first, short = evaluation.first.title, evaluation.short[SHORT_BOXES_M[0]].title
    verdict = evaluation.verdict.title
    lattices = summary["hexagonal_units"] + summary["square_units"]
    constants = ", ".join(f"u{n}" for n in summary["constant_units"]) or "none"
    ripples = summary["constant_units_with_lattice"]
    counted = f"; {ripples} of them counted as a lattice above" if ripples else ""
    kinds = [(kind, count) for kind, count in summary["kinds"].items() if count]
    return [
        ("Active units", f"{summary['active_units']} of {summary['num_units']}", first),
        ("… that carry a lattice", f"{lattices} ({_percent(summary['lattice_fraction'])})", first),
        ("… hexagonal: 60° score above 0.5", f"{summary['hexagonal_units']}", first),
        ("… square: 90° score above 0.7", f"{summary['square_units']}", first),
        ("60° score, median of hexagonal units",
         _number(summary["median_grid_score_hexagonal"]), first),
        ("90° score, median of square units",
         _number(summary["median_square_score_square"]), first),
        ("Units by kind, each against its own null of shuffled fields",
         ", ".join(f"{count} {kind}" for kind, count in kinds), verdict),
        ("Modules", _modules_text(summary["modules"]), verdict),
        ("Torus: Betti numbers by module",
         betti_texts(summary["modules"]) or "–",
         verdict if any(torus.betti for torus in evaluation.tori) else "not tested: no null made"),
        ("Variance that place explains, median of active units",
         _number(summary["variance_explained_long"]), first),
        ("… on short walks", _number(summary["variance_explained_short"]), short),
        ("Constant units, active alike everywhere", constants + counted, first),
        ("… their share of |mean g|²", _percent(summary["constant_share"]), first),
    ]  # fmt: skip


def _modules_text(modules: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for module in modules:
        ratio = f", ratio {module['ratio']:.2f}" if np.isfinite(module["ratio"]) else ""
        texts.append(f"{module['units']} units at {module['period_m']:.2f} m{ratio}")
    return "; ".join(texts) or "none"


def _path_facts(
    summary: Mapping[str, Any], evaluation: Evaluation, recorded_note: str | None
) -> list[tuple[str, str, str]]:
    """Return the rows about path integration."""
    found = summary["path_integration"]
    walks = "2 m box, walks of 10,000 steps"
    errors = [_number(found[f"decoding_error_m_after_{n}"]) for n in (100, 1000, 10_000)]
    facts = [
        ("Error of the decoded position after 100 / 1,000 / 10,000 steps",
         f"{' / '.join(errors)} m (chance {_number(found['chance_decoding_error_m'])} m)", walks),
        ("Speed of the code: spread over places and directions, relative to its mean",
         _percent(found["neural_speed_variation"]), "4 m box, walks of 120 steps"),
    ]  # fmt: skip
    if evaluation.path is None:
        return [*facts, ("Recorded path", "none", recorded_note or "no path was given")]
    note = recorded_note or "the path given"
    return [
        *facts,
        ("Recorded path, in one go: r with the smooth walks' maps, median of lattice units",
         _number(summary["recorded_path_correlation"]), note),
        ("… in pieces of 120 steps", _number(summary["recorded_path_pieces_correlation"]), note),
    ]  # fmt: skip


def _captions(evaluation: Evaluation, recorded_note: str | None) -> dict[str, str]:
    """Return what stands under each figure."""
    captions = _map_captions(evaluation) | _path_captions(evaluation, recorded_note)
    for k in range(len(evaluation.modules.members)):
        captions |= {
            f"fourier_{k}": f"Mean power spectrum of the units of module {k} (root of the power),"
            " with the three wave vectors of their lattice.",
            f"phases_{k}": "Where each unit fires within the lattice's unit cell.",
            f"torus_{k}": "The states at all places of the box: a spectral embedding of their first"
            " six principal components, coloured by a circular coordinate; the activity read along"
            " each wave vector, coloured by that wave's phase; the longest bars of persistent"
            " cohomology (a torus has one in H0, two in H1 and one in H2 that stand out).",
        }
    return captions


def _map_captions(evaluation: Evaluation) -> dict[str, str]:
    first, verdict = evaluation.first.title, evaluation.verdict.title
    usual = evaluation.first.mean_speed
    speeds = " and ".join(f"{m.mean_speed:.3g} m" for m in evaluation.speeds.values()) + " a step"
    sheet = "Mean activity by place, each unit on its own scale from 0 to its peak. "
    letters = " g is the 60° score, s the 90° score of a square unit, of the map shown."
    ranked = "Hexagonal units first, then square ones, other active ones"
    return {
        "ratemaps_2m": f"{sheet}{ranked} and inactive ones; by score within each.{letters}",
        "ratemaps_2m_short": f"{sheet}The same order, active units only. Short walks show the code"
        f" before it drifts.{letters}",
        "ratemaps_3m": f"{sheet}By module, then phase; then other grid cells and active units."
        + letters,
        "autocorrelograms_3m": "Correlation of each map with itself, shifted by up to half the box."
        " Lines are the three axes of the lattice as measured, dots the six nearest fields, the"
        " dotted ring their mean distance.",
        "scores": f"Scores of the active units ({first}); dashed, what counts as a lattice above.",
        "scores_null": "Each unit's 60° score against the 99th percentile of its own shuffled"
        f" fields ({verdict}). Units without enough fields have no null.",
        "periods": f"Period, the distance between neighbouring fields ({verdict}).",
        "period_orientation": f"Period and orientation of the same units ({verdict}).",
        "generalisation": "The best units of each module (of all, if there is none) in three"
        f" boxes, to one scale; scores: {verdict}. In training, 99 % of the positions are nearer to"
        f" the start than the dashed circle ({evaluation.training_range_m:.2f} m); beyond is"
        " outside the training range.",
        "compared_periods": "Period of each unit that carries a lattice, in other boxes and on"
        f" slower and faster walks in the 2 m box ({speeds}; usually {usual:.3g} m), against that"
        " on the long walks in the 2 m box.",
        "compared_scores": "The 60° scores of the same maps.",
        "film_strip": "The same units during training, each map on its own scale (2 m box,"
        f" quick maps from {snapshots.WALKS} walks of {snapshots.STEPS} steps;"
        " grey where none came).",
        "losses": "One batch per logged step. Conformal isometry and neural speed are over steps"
        " shorter than σx; silent units fire nowhere in a batch.",
        "batch": "Six trajectories of one training batch: the same steps in different orders, so"
        " that all end at the same point.",
    }


def _path_captions(evaluation: Evaluation, recorded_note: str | None) -> dict[str, str]:
    reach = f"{evaluation.training_range_m:.2f} m"
    return {
        "neural_distance": "Distance between the states at two places against the places' distance"
        " (mean and standard deviation over pairs; 4 m box, walks of 120 steps). 99 % of the"
        f" training positions are within {reach} of the start.",
        "drift": "How far the state is from the mean state that short walks have at its place, and"
        " from the state of another walk at the same place, against the steps taken (2 m box).",
        "decoding": "Error of the position decoded from the state with the short walks' maps (2 m"
        " box). A code that repeats itself can only be decoded up to its period.",
        "conformality": "How far the code moves per metre, for steps of 2 cm: by place (mean over"
        " twelve directions; 4 m box, walks of 120 steps) and by direction (mean over places). A"
        " conformal code moves equally fast everywhere.",
        "recorded_path": "The network driven along the recorded path"
        + (f" ({recorded_note})" if recorded_note else "")
        + ". Top, in one go from the initial state, so with all the drift of the walk; middle,"
        f" cut into overlapping pieces of {SHORT_WALK_STEPS} steps, each run from the initial state"
        " and placed at the start; bottom, the same units on smooth walks.",
    }


def _number(value: float, unit: str = "") -> str:
    return f"{value:.2f} {unit}".replace("-", "−").strip() if np.isfinite(value) else "–"


def _percent(share: float) -> str:
    return f"{share:.0%}" if np.isfinite(share) else "–"


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
