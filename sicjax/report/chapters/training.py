"""Training: maps during training, the losses, and one batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sicjax import plots
from sicjax.devices.compilation import jit_once
from sicjax.report import snapshots
from sicjax.report.chapter import Chapter, Shown, panel
from sicjax.report.results import Evaluation
from sicjax.report.sheets import examples
from sicjax.report.snapshots import Snapshot
from sicjax.run import Run
from sicjax.training.method import draw_batch, make_settings

FRAMES = 8  # most snapshots in the film strip
PERMUTATIONS = 6  # trajectories in the figure of a batch
FEW_UPDATES = 1000  # with fewer updates no network has formed a lattice


def training(
    run: Run, found: Evaluation, metrics: Sequence[Mapping[str, Any]], frames: Sequence[Snapshot]
) -> Chapter:
    """Return the chapter on a network's training."""
    figures = [_film_strip(found, frames)] if frames else []
    if metrics:
        figures.append(Shown(
            "losses", plots.losses(metrics, fig=plots.blank_figure()),
            "Terms of the loss and other measurements during training, one batch per logged update."
            " Conformal isometry and neural speed use steps shorter than σx. Silent units fire"
            " nowhere in a batch.",
            wide=True,
        ))  # fmt: skip
    figures.append(_batch(run))
    headline = ""
    if not found.units.is_grid.any() and run.step < FEW_UPDATES and not run.failure:
        headline = f"The network has had {run.step:,} updates; lattices take thousands."
    return Chapter("Training", {}, [], figures, headline)


def _film_strip(found: Evaluation, frames: Sequence[Snapshot]) -> Shown:
    units = examples(found)
    shown = sorted({*np.linspace(0, len(frames) - 1, FRAMES).astype(int)})
    figure = plots.film_strip(
        [(frames[k].step, frames[k].ratemaps[units]) for k in shown],
        snapshots.BOX_M,
        titles=[f"u{n}" for n in units],
        fig=plots.blank_figure(),
    )
    return Shown(
        "film_strip", figure,
        "Maps of the same units during training, each on its own scale. These are quick maps from"
        f" {snapshots.WALKS} walks of {snapshots.STEPS} steps in the {snapshots.BOX_M:g} m box"
        " (grey: not visited).",
        wide=True,
    )  # fmt: skip


def _batch(run: Run) -> Shown:
    config = run.config.copy_and_resolve_references()
    config.data.num_trajectories = PERMUTATIONS
    draw = jit_once(lambda key: draw_batch(config, key, make_settings(config), run.method))
    batch = draw(jax.random.key(run.seed))
    return Shown(
        "batch", panel(plots.permuted_batch, np.asarray(batch.positions)),
        "Six trajectories of one training batch. They take the same steps in different orders, so"
        " all end at the same point.",
    )  # fmt: skip
