"""The page of a report: one HTML text with its pictures inside, nothing from outside."""

import base64
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import numpy as np

from sicjax.report import snapshots
from sicjax.report.evaluate import Evaluation
from sicjax.report.figures import SHEETS
from sicjax.report.verdict import ROLLS, headline, tables
from sicjax.run import SHORT_WALK_STEPS, Run
from sicjax.training.provenance import versions

WIDE = (
    *SHEETS, "torus", "recorded_path", "conformality", "losses", "attractor_return",
    "module_drift", "module_coupling", "formation", "walk",
)  # fmt: skip
SECTIONS = (
    ("In motion", ("walk", "torus", "formation")),
    ("Rate maps in the 2 m box", ("ratemaps_2m", "ratemaps_2m_short")),
    ("Grid cells and modules", ("scores", "scores_null", "periods", "period_orientation")),
    ("Other boxes and speeds", ("generalisation", "compared_periods", "compared_scores")),
    ("Path integration", (
        "explained", "drift", "neural_distance", "distance_map", "conformality", "decoding",
        "recorded_path",
    )),
    ("Are errors corrected?", (
        "attractor_return", "attractor_shift", "attractor_gains", "noise_drift",
    )),
    ("How the modules belong together", ("module_relation", "module_drift", "module_coupling")),
    ("Training", ("film_strip", "losses", "batch")),
)  # fmt: skip
_TEMPLATES = Path(__file__).parent / "templates"


def render(
    run: Run,
    summary: Mapping[str, Any],
    evaluation: Evaluation,
    pictures: Mapping[str, bytes],
    motions: Mapping[str, bytes],
    recorded_note: str | None,
) -> str:
    """Return the page: one HTML text with its pictures inside, no script, nothing from outside."""
    captions = _captions(evaluation, recorded_note)
    lead = f"ratemaps_{evaluation.verdict.name}"  # the sheet of the box that decides
    return template("report.html.j2").render(
        summary=summary,
        headline=headline(summary, evaluation),
        tables=tables(summary, evaluation, recorded_note),
        rolls=ROLLS,
        config=str(run.config).strip(),
        **contents(lead, _sections(evaluation), captions, pictures, motions),
    )


def contents(
    lead: str,
    sections: Sequence[tuple[str, Sequence[str]]],
    captions: Mapping[str, str],
    pictures: Mapping[str, bytes],
    motions: Mapping[str, bytes] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return what every page shows: its pictures in their sections, and what it was made with.

    Args:
        lead: name of the picture at the top.
        sections: titles and names of pictures; those that there are not are left out.
        captions: by the names of the pictures.
        pictures: PNG files by their names.
        motions: GIF files by the names of the pictures that stand for them where nothing may move.
    """

    def shown(name: str) -> tuple[str, str, str, str | None]:
        motion = _data_uri(motions[name], "gif") if name in motions else None
        return name, captions[name], _data_uri(pictures[name], "png"), motion

    return {
        "lead": shown(lead),
        "sections": [
            (title, [shown(name) for name in names])
            for title, given in sections
            if (names := [name for name in given if name in pictures])
        ],
        "wide": WIDE,
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "date": f"{datetime.datetime.now(datetime.UTC):%d %B %Y}",
    }


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


def _sections(evaluation: Evaluation) -> list[tuple[str, tuple[str, ...]]]:
    """Return titles and figures of the page; each module has a section of its own."""
    modules = [
        (f"Module {k}", (f"fourier_{k}", f"phases_{k}", f"torus_{k}"))
        for k in range(len(evaluation.modules.members))
    ]
    motion, others, (title, cells), *rest = SECTIONS
    correlograms = f"autocorrelograms_{evaluation.verdict.name}"
    return [motion, others, (title, (correlograms, *cells)), *modules, *rest]


def _captions(evaluation: Evaluation, recorded_note: str | None) -> dict[str, str]:
    """Return what stands under each figure."""
    captions = _map_captions(evaluation) | _path_captions(evaluation, recorded_note)
    captions |= _dynamics_captions(evaluation) | _motion_captions()
    return captions | module_captions(len(evaluation.modules.members))


def module_captions(count: int) -> dict[str, str]:
    """Return what stands under the figures of each of so many modules."""
    captions: dict[str, str] = {}
    for k in range(count):
        captions |= {
            f"fourier_{k}": f"Mean power spectrum of the units of module {k} (root of the power),"
            " with the three wave vectors of their lattice.",
            f"phases_{k}": "Where each unit fires within the lattice's unit cell.",
            f"torus_{k}": "The states at all places of the box: a spectral embedding of the"
            " principal components that hold nine tenths of the variance, coloured by a circular"
            " coordinate; the activity read along each wave vector, coloured by that wave's phase;"
            " the longest bars of persistent cohomology (a torus has one in H0, two in H1 and one"
            " in H2 that stand out).",
        }
    return captions


def _map_captions(evaluation: Evaluation) -> dict[str, str]:
    first, verdict = evaluation.first.title, evaluation.verdict.title
    box = evaluation.verdict.name
    usual = evaluation.first.mean_speed
    speeds = " and ".join(f"{m.mean_speed:.3g} m" for m in evaluation.speeds.values()) + " a step"
    sheet = "Mean activity by place, each unit on its own scale from 0 to its peak; grey where no"
    sheet += " walk came. "
    letters = " g is the 60° score, s the 90° score of a square unit, of the map shown."
    ranked = "Hexagonal units first, then square ones, other active ones"
    return {
        "ratemaps_2m": f"{sheet}{ranked} and inactive ones; by score within each.{letters}",
        "ratemaps_2m_short": f"{sheet}The same order, active units only. Short walks show the code"
        f" before it drifts.{letters}",
        f"ratemaps_{box}": f"{sheet}Active units, by module and phase within it; look for the"
        " same lattice, shifted, all over a module." + letters,
        f"autocorrelograms_{box}": "Correlation of each map with itself, shifted by up to half the"
        " box. Lines are the three axes of the lattice as measured, dots the six nearest fields,"
        " the dotted ring their mean distance.",
        "scores": f"Scores of the active units ({first}); dashed, from where the quick look at the"
        " 2 m box calls a unit hexagonal or square. Verdicts are made otherwise: next figure.",
        "scores_null": "Each unit's 60° score against the 99th percentile of its own shuffled"
        f" fields ({verdict}). Units without enough fields have no null.",
        "periods": f"Period, the distance between neighbouring fields ({verdict}).",
        "period_orientation": f"Period and orientation of the same units ({verdict}).",
        "generalisation": "The best units of each module (of all, if there is none) in boxes of"
        f" several sizes, to one scale; scores: {verdict}. In training, 99 % of the positions are"
        f" nearer to the start than the dashed circle ({evaluation.training_range_m:.2f} m); beyond"
        " is outside the training range.",
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


def _dynamics_captions(evaluation: Evaluation) -> dict[str, str]:
    reach = evaluation.dynamics.places.range_m
    known = f" (dashed circle, {reach:.2f} m)" if np.isfinite(reach) else ""
    return {
        "distance_map": "Mean distance between the states of two places, by their displacement"
        " (short walks in the 4 m box); crosses mark its dips. Look for dark spots beyond the one"
        " in the middle: displacements that the code takes for none. Up to the nearest of them"
        f"{known} two places are told apart.",
        "attractor_return": "States pushed off the manifold at random, by 10, 20 and 50 % of their"
        " norm; how much farther from it they are than without the push. Lines that fall below the"
        " dotted one (2 %) are back; dashed, the same network before training. Gaps are differences"
        " of 0.",
        "attractor_shift": "What is left, at rest, of a shift along the manifold, towards the state"
        " of a neighbouring place. A continuous attractor keeps it (1), as a memory of place must;"
        " an untrained network (dashed) forgets it.",
        "attractor_gains": "By how much steps at rest scale the smallest displacements (median over"
        " states, bars to the 10th and 90th percentile). An attractor shrinks what is across"
        " (orange falls). What is along it keeps (blue at 1) where the manifold is smooth; ripples"
        " of a centimetre or so spread the bars, and shifts larger than they stay (above).",
        "noise_drift": "How far noise in every step at rest moves states along the manifold:"
        " nothing corrects that. Dashed, diffusion; the smaller its rate, the longer place is"
        " kept.",
        "module_relation": "The modules' lattices over each other, and the cell that they have in"
        " common. Modules whose fields fall on the coarser one's everywhere are sublattices of"
        " one torus: they say the place no farther than the coarser alone. p is the chance of that"
        " for lattices at random periods and orientations.",
        "module_drift": "How far each module's phase drifts from the true place. A difference that"
        " stays flat while both drift, and a correlation far above chance, say that modules drift"
        " together, as one; independent ones part like either of them.",
        "module_coupling": "One module alone is displaced by a tenth of the finest period, and the"
        " network walks on. Lines that meet between 0 and the start pull each other; lines that"
        " stay apart are independent.",
    }


def _motion_captions() -> dict[str, str]:
    return {
        "walk": "The network walks in the 2 m box. Each dot at the right is a unit, at the place"
        " where it fires within the cell of its module's lattice, brighter the more active it is:"
        " the activity is a bump that moves with the walk, and comes in again on the other side."
        " Coloured dots on the path are where the ringed unit of that colour fires.",
        "torus": "The same walk, and the state of each module on its torus: the phases that its"
        " activity reads, once round and once through the hole. Faint where it is on the far side.",
        "formation": "The same units' maps in the course of the training, each on its own scale"
        f" (2 m box, quick maps from {snapshots.WALKS} walks of {snapshots.STEPS} steps).",
    }


def _path_captions(evaluation: Evaluation, recorded_note: str | None) -> dict[str, str]:
    reach = f"{evaluation.training_range_m:.2f} m"
    return {
        "explained": "Share of a grid cell's variance that its short-walk map at the true place"
        " explains, in the course of long walks (2 m box; median over cells; of active units where"
        " there is no grid cell). Above the dotted line the code is still where its map says.",
        "neural_distance": "Distance between the states at two places against the places' distance"
        " (mean and standard deviation over pairs; 4 m box, walks of 120 steps). 99 % of the"
        f" training positions are within {reach} of the start.",
        "drift": "How far the state is from the mean state that short walks have at its place, and"
        " from the state of another walk at the same place, against the steps taken (2 m box).",
        "decoding": "Error of the position decoded from the state with the short walks' maps (2 m"
        " box). A code that repeats itself can only be decoded up to its period, so a good network"
        " may be at chance here: the figures above tell good from bad.",
        "conformality": "How far the code moves per metre, for steps of 2 cm: by place (mean over"
        " twelve directions; 4 m box, walks of 120 steps) and by direction (mean over places). A"
        " conformal code moves equally fast everywhere.",
        "recorded_path": "The network driven along the recorded path"
        + (f" ({recorded_note})" if recorded_note else "")
        + ". Top, in one go from the initial state, so with all the drift of the walk; middle,"
        f" cut into overlapping pieces of {SHORT_WALK_STEPS} steps, each run from the initial state"
        " and placed at the start; bottom, the same units on smooth walks.",
    }


def _data_uri(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")
