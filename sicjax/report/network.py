"""Measure one network, draw its figures and write its report."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sicjax.devices.compilation import small_programs
from sicjax.network.trajectories import Walk
from sicjax.plots.pictures import pack, paint
from sicjax.progress import track
from sicjax.report.chapter import Chapter
from sicjax.report.chapters.attractor import attractor
from sicjax.report.chapters.boxes import boxes
from sicjax.report.chapters.cells import cells
from sicjax.report.chapters.modules import modules
from sicjax.report.chapters.motion import animate, looked_at, motion, shown_walk
from sicjax.report.chapters.place import path_integration
from sicjax.report.chapters.relations import relations
from sicjax.report.chapters.training import training
from sicjax.report.contents import make_chapters, motion_files, summarise, write_contents
from sicjax.report.folder import PAGE, add
from sicjax.report.measure import STAGES, map_verdict, measure
from sicjax.report.page import render
from sicjax.report.sheets import first_picture
from sicjax.report.snapshots import Snapshot
from sicjax.run import Run
from sicjax.workers import worker_processes

ORDER = (  # of the page
    "cells", "modules", "motion", "boxes", "path_integration", "attractor", "relations", "training",
)  # fmt: skip
ROLLS = "python -m experiments.evaluate --workdir=DIR --torus_rolls=20"


def write_report(
    run: Run,
    folder: str | os.PathLike,
    *,
    metrics: Sequence[Mapping[str, Any]],
    frames: Sequence[Snapshot] = (),
    recorded_path: Walk | None = None,
    recorded_note: str | None = None,
    variant: str = "default",
    torus_rolls: int = 0,
    animations: bool = False,
    figures: str = "png",
    first: Callable[[bytes], None] | None = None,
    progress: bool = True,
) -> Path:
    """Measure a network and write its report.

    The files are made in a folder inside `folder` first, so a kill never leaves half a report.
    Files that no report wrote stay. Animations are added last, to a complete report. With a second
    core, a worker process judges the cells, tests the modules for tori and draws the animations,
    while this process runs the network and draws the other figures.

    Args:
        run: the network.
        folder: folder of the report; an earlier report's files in it are replaced.
        metrics: the network's rows of metrics.jsonl, for the training curves.
        frames: the network's snapshots, for the film strip.
        recorded_path: a walk with leaves [T, 2] along which the network is run.
        recorded_note: one line that names the recorded path, or says why it could not be used; None
            if the config names no path.
        variant: name of the settings that the network was trained with.
        torus_rolls: size of the null of each module's torus test, a fifth of a second per roll. 0
            disables the null, so there is no verdict. -1 means 20 rolls, the largest module first,
            while the estimated total stays within a minute.
        animations: also draw the animations, which takes a few seconds.
        figures: "png"; "pdf" or "svg" also write each figure as such a file.
        first: called with a first picture of the maps, a PNG file, seconds after the start.
        progress: show a bar after two seconds.

    Returns:
        Path of report.html.

    Raises:
        OSError: the folder can't be written, or a user's file has the name of a report's file.
    """
    folder = Path(folder)
    run = dataclasses.replace(run, parameters=jax.tree.map(np.asarray, run.parameters))
    parts = range(1 + STAGES + len(ORDER))
    bar = iter(track(parts, f"report on network {run.network}", show=progress))
    next(bar)

    def done() -> None:
        next(bar, None)

    with small_programs(), worker_processes() as worker:
        verdict = map_verdict(run)
        done()
        if first is not None:
            first(pack(paint(first_picture(verdict)), few_colours=True))
        found = measure(
            run, verdict, worker, recorded_path=recorded_path, torus_rolls=torus_rolls,
            done=done,
        )  # fmt: skip
        # The worker draws the animations after the torus tests; meanwhile this process draws the
        # other chapters. "modules" comes last, because only it waits for the torus tests.
        moving = None
        if animations:
            moving = worker.later(animate, looked_at(found), frames, shown_walk(run))
        chapters, pictures = make_chapters(
            {
                "motion": partial(motion, {}),
                "cells": partial(cells, found),
                "boxes": partial(boxes, found),
                "path_integration": partial(path_integration, found, recorded_note),
                "attractor": partial(attractor, found.dynamics),
                "relations": partial(relations, found),
                "training": partial(training, run, found, metrics, frames),
                "modules": partial(modules, found, ROLLS),
            },
            figures=figures,
            done=done,
        )
        about = {
            "seed": run.seed, "variant": variant, "network": run.network, "step": run.step,
            "failure": run.failure,
        }  # fmt: skip
        summary = summarise(about, [chapters[name] for name in ORDER])
        page = partial(_page, run, summary)
        write_contents(folder, found, summary, pictures, page(chapters, pictures))
        moved = moving() if moving else {}
    if moved:
        chapters["motion"] = motion(moved)
        files = motion_files(moved)
        add(folder, {**files, PAGE: page(chapters, pictures | files).encode()})
    return folder / PAGE


def _page(
    run: Run, summary: Mapping[str, Any], chapters: Mapping[str, Chapter],
    files: Mapping[str, bytes],
) -> str:  # fmt: skip
    return render(
        "network.html.j2", [chapters[name] for name in ORDER], files, summary=summary, rolls=ROLLS,
        config=str(run.config).strip(),
    )  # fmt: skip
