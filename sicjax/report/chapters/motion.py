"""In motion: lattices forming, the network walking, the point on each module's torus.

Letters: N units, S steps of a walk, K modules. Lengths in metres.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from sicjax import plots
from sicjax.analysis.module_phases import drift_of_phase, is_readable
from sicjax.plots.pictures import FuncAnimation, Motion, film
from sicjax.report import snapshots
from sicjax.report.chapter import Chapter, Shown
from sicjax.report.results import BOXES_M, SHORT_BOXES_M, Evaluation
from sicjax.report.sheets import display_order, module_order
from sicjax.report.snapshots import Snapshot
from sicjax.report.walks import Walked, walk
from sicjax.run import Run

MODULES = 3  # largest modules that are shown
ROW = 7  # units of each in the formation
LONGEST = 24  # frames of it
BOX_M, STEPS, EVERY = 2.0, 360, 10  # of the walk: 36 frames
STEP_MS, LOOK_MS, HELD_MS = 160, 450, 2500  # of a frame of the walk, of the formation; of the last


def motion(moving: Mapping[str, Motion]) -> Chapter:
    """Return the chapter with the animations that `animate` drew."""
    captions = {
        "walk": "The network walks in the 2 m box. Each dot on the right is a unit, drawn at its"
        " phase in the unit cell of its module. Bright units are active. As the network walks, a"
        " bump of activity moves across the lattice; where it leaves on one side it re-enters on"
        " the other. Coloured dots on the path mark where the ringed unit of that colour fires.",
        "torus": "The same walk, and the state of each module on its torus: the two phases that its"
        " activity encodes, one around the hole and one through it. Points on the far side are"
        " faint. A module that is silent in parts of its unit cell is left out, because its phase"
        " can't be read there.",
        "formation": "Maps of the same units during training, each on its own scale (2 m"
        f" box, quick maps from {snapshots.WALKS} walks of {snapshots.STEPS} steps).",
    }
    figures = [
        Shown(name, moving[name], caption, wide=True)
        for name, caption in captions.items()
        if name in moving
    ]
    return Chapter("In motion", {}, [], figures)


def shown_walk(run: Run) -> Walked:
    """Run a network along the walk that `animate` shows."""
    return walk(run, BOX_M, 1, STEPS)


def looked_at(found: Evaluation) -> Evaluation:
    """Return the part of an evaluation that `animate` reads, small enough for another process."""
    near = {SHORT_BOXES_M[0]: found.near_start}
    first = {BOXES_M[0]: found.first}
    return dataclasses.replace(
        found, long=first, short=near, speeds={}, path=None, torus_tests=tuple
    )


def animate(found: Evaluation, frames: Sequence[Snapshot], walked: Walked) -> dict[str, Motion]:
    """Draw the animations, by the names of their files; none if no unit is active.

    This needs no JAX, so the worker process can do it.

    Args:
        found: results of the network, or the part that `looked_at` returns.
        frames: the network's snapshots; with fewer than two, the formation is not drawn.
        walked: from `shown_walk`.
    """
    if not found.active.any():
        return {}
    shown = _shown_modules(found)
    made = {}
    if len(frames) > 1:
        made["formation"] = _formation(found, frames, shown)
    path, states = walked.positions[0], walked.states[0]
    made["walk"] = _walk(found, path, states, shown)
    if readable := [k for k in shown if _is_readable(found, k)]:
        made["torus"] = _torus(found, path, states, readable)
    return {
        name: film(one, frame_ms=LOOK_MS if name == "formation" else STEP_MS, held_ms=HELD_MS)
        for name, one in made.items()
    }


def _shown_modules(found: Evaluation) -> list[int]:
    """Return the largest modules, in order of rising period."""
    sizes = [len(members) for members in found.modules.members]
    return sorted(np.argsort(sizes)[::-1][:MODULES].tolist())


def _name(found: Evaluation, k: int) -> str:
    return f"module {k}, {found.modules.period_m[k]:.2f} m"


def _formation(
    found: Evaluation, frames: Sequence[Snapshot], shown: Sequence[int]
) -> FuncAnimation:
    """Follow the best units of each module, or of all units if there is no module."""
    order, module = display_order(found), found.units.module
    rows = [(f"module {k}", order[module[order] == k][:ROW]) for k in shown]
    rows = rows or [("other", order[: min(ROW, int(found.active.sum()))])]
    units = np.concatenate([chosen for _, chosen in rows])
    kept = sorted({*np.linspace(0, len(frames) - 1, LONGEST).astype(int)})
    chosen = [frames[k] for k in kept]
    return plots.formation(
        [frame.step for frame in chosen],
        np.stack([frame.ratemaps[units] for frame in chosen]),
        [(name, len(row)) for name, row in rows],
        share=[np.nan_to_num(frame.lattice_fraction) for frame in chosen],
        fig=plots.blank_figure(),
    )


def _walk(
    found: Evaluation, path: np.ndarray, states: np.ndarray, shown: Sequence[int]
) -> FuncAnimation:
    units, modules = found.units, found.modules
    score, members = found.first.scores.grid_score, modules.members
    sheets = [
        (_name(found, k), members[k], units.phase[members[k]], modules.lattice[k],
         int(np.argmax(score[members[k]])))
        for k in shown
    ]  # fmt: skip
    order = module_order(found)[: int(found.fires.sum())]
    return plots.walking(
        path,
        states / np.maximum(states.max(axis=0), 1e-9),
        BOX_M,
        sheets=sheets,
        rest=order[~np.isin(units.module[order], shown)],
        every=EVERY,
        fig=plots.blank_figure(),
    )


def _is_readable(found: Evaluation, k: int) -> bool:
    maps, members = found.near_start.maps, found.modules.members[k]
    return is_readable(maps.ratemaps[members], maps.box_m, found.modules.lattice[k])


def _torus(
    found: Evaluation, path: np.ndarray, states: np.ndarray, shown: Sequence[int]
) -> FuncAnimation:
    """Decode each module's place from its activity: the true place plus its drift."""
    maps, phases = found.near_start.maps, []
    for k in shown:
        members, lattice = found.modules.members[k], found.modules.lattice[k]
        drift = drift_of_phase(
            states[None, :, members], path[None], maps.ratemaps[members], maps.box_m, lattice
        )
        phases.append(np.mod((path + drift[0]) @ np.linalg.inv(lattice[:2]), 1.0))
    return plots.on_torus(
        path, phases, BOX_M, names=[_name(found, k) for k in shown], every=EVERY,
        fig=plots.blank_figure(),
    )  # fmt: skip
