"""The folder of a network's report: evaluated, drawn and written whole, or not at all.

The only place that saves figures.
"""

import contextlib
import dataclasses
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from sicjax.analysis.ratemaps import RateMaps
from sicjax.devices.compilation import small_programs
from sicjax.network.trajectories import Walk
from sicjax.report.animations import Motion, animate, looked_at, shown_walk
from sicjax.report.evaluate import Evaluation, Judged, Mapped, evaluate, second_thread
from sicjax.report.figures import SHEETS, draw, first_picture, module_figures
from sicjax.report.page import render
from sicjax.report.second_process import second_process
from sicjax.report.snapshots import Snapshot
from sicjax.report.summary import (
    MODULE_COLUMNS,
    as_json,
    module_rows,
    summarise,
    unit_rows,
    write_csv,
)
from sicjax.run import Run
from sicjax.training.files import write_whole

DPI = 120
PAGE, LIST = "report.html", ".files.json"  # the list names every file that a report wrote
_NEW_LIST = f"{LIST}.new"
UNFINISHED = ".unfinished"  # where the next report's files are made
UNTOLD = (".DS_Store", "Thumbs.db", "desktop.ini")  # that file managers leave in any folder
PNG_LEVEL = 7  # of compression: 9 takes four times as long, for 2 % less


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
    first: str | os.PathLike | None = None,
) -> Path:
    """Evaluate a network and write its report.

    Everything is made in a folder inside `folder` first, so that a kill leaves the old report or
    none, never half of one. Files that no report wrote stay. Animations come last, into a report
    that is whole. What shows no torus is drawn, as far as there is time for it, while those are
    tested; another process, where there is a second core, draws what moves.

    Args:
        run: the network.
        folder: of the report; an earlier report's files in it are replaced.
        metrics: the network's rows of metrics.jsonl, for the training curves.
        frames: the network's snapshots, for the film strip.
        recorded_path: a walk with leaves [T, 2] to drive the network along.
        recorded_note: one line: which path that is, or why there is none.
        variant: name of the settings that the network was trained with.
        torus_rolls: size of the null of each module's torus test, a fifth of a second for each; 0
            for none, and so no verdict; -1: 20, the largest module first, until by an estimate they
            take more than a minute.
        animations: draw what moves, too, which takes a few seconds.
        first: a file beside the folder for a first picture, which is written, whole, seconds after
            the call, and named on standard output: the maps that verdicts will come from.

    Returns:
        Path of report.html.

    Raises:
        OSError: the folder can't be written.
    """
    folder = Path(folder)
    show = None if first is None else partial(show_first, Path(first))
    pictures: dict[str, bytes] = {}

    run = dataclasses.replace(run, parameters=jax.tree.map(np.asarray, run.parameters))
    with small_programs(), second_process() as apart, second_thread() as beside:
        moving: list[Future] = []

        def begin(found: Evaluation) -> None:
            shown = looked_at(found), frames, shown_walk(run)
            moving.append(beside(apart.ask, animate, *shown))

        def draw_all(found: Evaluation) -> None:
            pictures.update(pack_all(draw(run, found, metrics, frames)))

        evaluation = evaluate(
            run, recorded_path, torus_rolls=torus_rolls, show=show, apart=apart,
            meanwhile=[*([begin] if animations else []), draw_all],
        )  # fmt: skip
        if animations and not moving:
            begin(evaluation)
        if not pictures:
            draw_all(evaluation)
        pictures |= pack_all(module_figures(evaluation))
        summary = summarise(run, evaluation, variant)

        def page(pictures: Mapping[str, bytes], motions: Mapping[str, bytes]) -> str:
            return render(run, summary, evaluation, pictures, motions, recorded_note)

        write_folder(folder, evaluation, summary, pictures, page(pictures, {}))
        motions: dict[str, Motion] = {}
        if moving:
            drawn, motions = moving[0].result()
            if not drawn:
                motions = animate(evaluation, frames, shown_walk(run))
    if motions:
        pictures |= {name: motion.png for name, motion in motions.items()}
        moves = {name: motion.gif for name, motion in motions.items()}
        files = {f"{name}.gif": gif for name, gif in moves.items()}
        files |= {f"{name}.png": motion.png for name, motion in motions.items()}
        add(folder, {**files, PAGE: page(pictures, moves).encode()})
    return folder / PAGE


def write_folder(
    folder: Path,
    judged: Judged,
    summary: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    page: str,
) -> None:
    """Write maps, numbers, pictures and the page made of them, in place of an earlier report's.

    Args:
        folder: of the report.
        judged: what its maps say.
        summary: its numbers.
        pictures: the figures' files, by their names.
        page: the text of report.html.
    """
    with replacing(folder) as place:
        for mapped in judged.mapped:
            _write_maps(place / f"ratemaps_{mapped.name}.npz", mapped.maps)
        (place / "summary.json").write_text(as_json(summary))
        rows = unit_rows(judged)
        write_csv(place / "units.csv", list(rows[0]), rows)
        write_csv(place / "modules.csv", MODULE_COLUMNS, module_rows(judged))
        for name, picture in pictures.items():
            (place / f"{name}.png").write_bytes(picture)
        (place / PAGE).write_text(page, encoding="utf-8")


def refuse_others(folder: Path) -> None:
    """Check that a folder is new, empty, or holds nothing but the files of an earlier report.

    Raises:
        ValueError: it is a file, or holds something that no report wrote.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise ValueError(f"folder={folder} is not a folder; name a new folder for the report")
    ours = {*_written(folder), LIST, _NEW_LIST, *UNTOLD}
    if _is_ours(folder / UNFINISHED):
        ours.add(UNFINISHED)
    others = sorted({entry.name for entry in folder.iterdir()} - ours)
    if others:
        names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise ValueError(
            f"folder={folder} holds files that no report wrote ({names}); name a new folder for"
            " the report"
        )


@contextlib.contextmanager
def replacing(folder: Path, *, keep: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; when that ends well, its files replace the report in `folder`.

    Files that no report wrote stay. A kill while the new files are made leaves the old report; one
    while they are moved leaves no report.html, so no report.

    Args:
        folder: of the report.
        keep: whether the report's other files stay, too.

    Raises:
        FileExistsError: a file of the user's has the name of one of the report's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed, ours, new = (folder / LIST).exists(), _written(folder), folder / UNFINISHED
    if _is_ours(new):  # left by a kill
        shutil.rmtree(new)
    new.mkdir()
    (new / LIST).touch()
    try:
        yield new
        names = {path.name for path in new.iterdir()} - {LIST}
        # Only a report of an earlier version has no list: its files are replaced by their names.
        taken = sorted(name for name in names - ours if listed and (folder / name).exists())
        if taken:
            raise FileExistsError(f"{folder / taken[0]} was not written by a report; move it away")
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        with contextlib.suppress(OSError):  # where it isn't empty
            folder.rmdir()
        raise
    # Every name is listed before it is in the folder, so that what a kill leaves is known as ours.
    _list(folder, ours | names)
    # Without report.html there is no report: it goes first and comes last.
    for name in sorted({PAGE} & names | (set() if keep else ours - names)):
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: (name == PAGE, name)):
        (new / name).replace(folder / name)
    shutil.rmtree(new)
    _list(folder, ours | names if keep else names)


def add(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write more files into a report's folder, or write them anew.

    Raises:
        FileExistsError: a file of the user's has the name of one of them.
    """
    with replacing(folder, keep=True) as place:
        for name, content in files.items():
            (place / name).write_bytes(content)


def _written(folder: Path) -> set[str]:
    """Return the names of what reports wrote into a folder."""
    try:
        names = json.loads((folder / LIST).read_text())
    except (OSError, ValueError):
        return set()
    return {name for name in names if isinstance(name, str) and Path(name).name == name}


def _is_ours(unfinished: Path) -> bool:
    """Return whether a folder was begun by a report: it has a list, or nothing in it yet."""
    return unfinished.is_dir() and ((unfinished / LIST).exists() or not any(unfinished.iterdir()))


def _list(folder: Path, names: Iterable[str]) -> None:
    """Write the list of a report's files; a kill leaves the old list or the new one."""
    (folder / _NEW_LIST).write_text(json.dumps(sorted(names), indent=0) + "\n")
    (folder / _NEW_LIST).replace(folder / LIST)


def _write_maps(path: Path, maps: RateMaps) -> None:
    """Write maps in the single precision that the network computed them in."""
    single = maps._replace(ratemaps=maps.ratemaps.astype(np.float32))
    np.savez_compressed(path, **single._asdict())


def show_first(path: Path, mapped: Mapped) -> None:
    """Write the first picture; whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, _pack(_paint(first_picture(mapped)), few_colours=True))
    print(f"first picture: {path}", flush=True)


def pack_all(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """Return figures as PNG files, by their names; sheets get 256 colours, which halves them."""
    with second_thread() as submit:  # packs pictures while this one draws the next
        packed = {
            name: submit(_pack, _paint(figure), name.startswith(SHEETS))
            for name, figure in figures.items()
        }
        return {name: picture.result() for name, picture in packed.items()}


def _paint(figure: Figure) -> Image.Image:
    raw = io.BytesIO()
    figure.savefig(raw, format="rgba", dpi=DPI, facecolor="white")
    width, height = (int(inches * DPI) for inches in figure.get_size_inches())
    return Image.frombytes("RGBA", (width, height), raw.getvalue()).convert("RGB")


def _pack(picture: Image.Image, few_colours: bool) -> bytes:
    if few_colours:
        picture = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    picture.save(packed, "PNG", compress_level=PNG_LEVEL)
    return packed.getvalue()
