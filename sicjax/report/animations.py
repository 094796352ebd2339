"""The report's moving pictures: lattices forming, the network walking, the point on its torus.

Letters: N units, S steps of a walk, K modules. Lengths in metres.
"""

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.animation import AbstractMovieWriter, FuncAnimation
from matplotlib.figure import Figure
from PIL import Image

from sicjax import plots
from sicjax.analysis.module_phases import drift_of_phase
from sicjax.report.dynamics import Walked, walk
from sicjax.report.evaluate import BOXES_M, SHORT_BOXES_M, Evaluation
from sicjax.report.figures import display_order, module_order
from sicjax.report.snapshots import Snapshot
from sicjax.run import Run

DPI = 80
PNG_LEVEL = 7  # of compression, as the figures have
MODULES = 3  # that are shown, those of the most units
ROW = 7  # units of each in the formation
LONGEST = 24  # frames of it
BOX_M, STEPS, EVERY = 2.0, 360, 10  # of the walk: 36 frames
STEP_MS, LOOK_MS, HELD_MS = 160, 450, 2500  # of a frame of the walk, of the formation; of the last
COLOURS = 128  # of the palette that all frames share


@dataclass(frozen=True)
class Motion:
    """A moving picture, and the still that stands for it."""

    gif: bytes
    png: bytes


def shown_walk(run: Run) -> Walked:
    """Walk a network along what `animate` shows."""
    return walk(run, BOX_M, 1, STEPS)


def looked_at(evaluation: Evaluation) -> Evaluation:
    """What `animate` looks at of an evaluation: a small part of it, for another process."""
    near = {SHORT_BOXES_M[0]: evaluation.short[SHORT_BOXES_M[0]]}
    first = {BOXES_M[0]: evaluation.first}
    return dataclasses.replace(evaluation, long=first, short=near, speeds={}, path=None, tori=())


def animate(
    evaluation: Evaluation, frames: Sequence[Snapshot], walked: Walked
) -> dict[str, Motion]:
    """Draw what moves, by the name of its files; nothing where no unit is active.

    Nothing here needs JAX, so that another process can do it.

    Args:
        evaluation: of the network, or what is `looked_at` of it.
        frames: the network's snapshots; none for no formation.
        walked: of `shown_walk`.
    """
    if not evaluation.active.any():
        return {}
    shown = _shown_modules(evaluation)
    made = {}
    if len(frames) > 1:
        made["formation"] = _formation(evaluation, frames, shown)
    path, states = walked.positions[0], walked.states[0]
    made["walk"] = _walk(evaluation, path, states, shown)
    if shown:
        made["torus"] = _torus(evaluation, path, states, shown)
    return {
        name: _save(motion, LOOK_MS if name == "formation" else STEP_MS)
        for name, motion in made.items()
    }


def _shown_modules(evaluation: Evaluation) -> list[int]:
    """Return the largest modules, by rising period."""
    sizes = [len(members) for members in evaluation.modules.members]
    return sorted(np.argsort(sizes)[::-1][:MODULES].tolist())


def _name(evaluation: Evaluation, k: int) -> str:
    return f"module {k}, {evaluation.modules.period_m[k]:.2f} m"


def _formation(
    evaluation: Evaluation, frames: Sequence[Snapshot], shown: Sequence[int]
) -> FuncAnimation:
    """Follow the best units of each module, or of all where there is none."""
    order, module = display_order(evaluation), evaluation.units.module
    rows = [(f"module {k}", order[module[order] == k][:ROW]) for k in shown]
    rows = rows or [("other", order[: min(ROW, int(evaluation.active.sum()))])]
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
    evaluation: Evaluation, path: np.ndarray, states: np.ndarray, shown: Sequence[int]
) -> FuncAnimation:
    units, modules = evaluation.units, evaluation.modules
    score, members = evaluation.first.scores.grid_score, modules.members
    sheets = [
        (_name(evaluation, k), members[k], units.phase[members[k]], modules.lattice[k],
         int(np.argmax(score[members[k]])))
        for k in shown
    ]  # fmt: skip
    order = module_order(evaluation)[: int(evaluation.active.sum())]
    return plots.walking(
        path,
        states / np.maximum(states.max(axis=0), 1e-9),
        BOX_M,
        sheets=sheets,
        rest=order[~np.isin(units.module[order], shown)],
        every=EVERY,
        fig=plots.blank_figure(),
    )


def _torus(
    evaluation: Evaluation, path: np.ndarray, states: np.ndarray, shown: Sequence[int]
) -> FuncAnimation:
    """Read each module's place from its activity: the true one and what it has drifted by."""
    maps, phases = evaluation.short[SHORT_BOXES_M[0]].maps, []
    for k in shown:
        members, lattice = evaluation.modules.members[k], evaluation.modules.lattice[k]
        drift = drift_of_phase(
            states[None, :, members], path[None], maps.ratemaps[members], maps.box_m, lattice
        )
        phases.append(np.mod((path + drift[0]) @ np.linalg.inv(lattice[:2]), 1.0))
    return plots.on_torus(
        path, phases, BOX_M, names=[_name(evaluation, k) for k in shown], every=EVERY,
        fig=plots.blank_figure(),
    )  # fmt: skip


def _save(animation: FuncAnimation, frame_ms: int) -> Motion:
    """Draw every frame, and keep them in as few bytes as a palette of their own allows."""
    writer = _Frames(fps=10)
    animation.save("frames", writer=writer, dpi=DPI)
    pictures = [Image.fromarray(frame) for frame in writer.frames]
    every = max(len(pictures) // 6, 1)
    sample = np.concatenate([frame[::2, ::2] for frame in writer.frames[::-every]])
    palette = _palette(Image.fromarray(sample))
    frames = [_quantised(picture, palette) for picture in pictures]
    gif, png = io.BytesIO(), io.BytesIO()
    frames[0].save(
        gif, "GIF", save_all=True, append_images=frames[1:], loop=0, optimize=True,
        duration=[*[frame_ms] * (len(frames) - 1), HELD_MS],
    )  # fmt: skip
    pictures[-1].save(png, "PNG", compress_level=PNG_LEVEL)
    return Motion(gif.getvalue(), png.getvalue())


def _palette(sample: Image.Image) -> Image.Image:
    """Return an image whose palette has the sample's main colours, and those of small marks."""
    found = sample.quantize(COLOURS, dither=Image.Dither.NONE).getpalette() or []
    marks = [
        int(name[k : k + 2], 16)
        for name in ("#ffffff", plots.INK, plots.FAINT, plots.UNVISITED, *plots.COLOURS)
        for k in (1, 3, 5)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*marks, *found[: 3 * COLOURS]])
    return palette


def _quantised(picture: Image.Image, palette: Image.Image) -> Image.Image:
    """Return a picture in the colours of a palette; white, its first, stays white."""
    frame = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    white = (np.asarray(picture) == 255).all(axis=-1)
    frame.paste(0, mask=Image.fromarray(white))
    return frame


class _Frames(AbstractMovieWriter):
    """Keeps frames [height, width, 3] in memory: a palette that they share needs all of them."""

    def setup(self, fig: Figure, outfile: Any, dpi: float | None = None) -> None:
        """Begin; nothing is written to a file."""
        self.fig, self.outfile, self.dpi = fig, outfile, dpi or DPI
        self.frames: list[np.ndarray] = []
        plots.as_picture(fig, dpi=self.dpi)  # from here on the animation itself draws such pictures

    def grab_frame(self, **savefig_kwargs: Any) -> None:
        """Keep one frame."""
        self.frames.append(plots.last_picture(self.fig))

    def finish(self) -> None:
        """End."""
