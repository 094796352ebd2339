"""Contents of a report: from chapters to summary.json, pictures and a page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sicjax.plots.pictures import Motion, pack, paint, vector
from sicjax.report.chapter import Chapter, Shown
from sicjax.report.folder import PAGE, replacing
from sicjax.report.results import Judged
from sicjax.report.tables import MODULE_COLUMNS, as_csv, as_json, module_rows, unit_rows
from sicjax.workers import second_thread

SHEETS = ("ratemaps", "autocorrelograms", "generalisation", "film_strip")  # 256 colours are enough


def make_chapters(
    makers: Mapping[str, Callable[[], Chapter]], *, figures: str = "png",
    done: Callable[[], object] = lambda: None,
) -> tuple[dict[str, Chapter], dict[str, bytes]]:  # fmt: skip
    """Make every chapter, and its pictures.

    Args:
        makers: a function for each chapter, called in this order.
        figures: "png", or "pdf" or "svg" for such files beside those of the page.
        done: called after each chapter.

    Returns:
        The chapters, by the names of their makers, and the files, by their names.
    """
    chapters: dict[str, Chapter] = {}
    files: dict[str, Any] = {}
    with second_thread() as submit:  # one thread packs pictures while this one draws the next
        for name, make in makers.items():
            chapters[name] = chapter = make()
            for shown in chapter.figures:
                files |= _vector_file(shown, figures)
                if isinstance(shown.figure, Motion):
                    files |= motion_files({shown.name: shown.figure})
                else:
                    few = shown.name.startswith(SHEETS)
                    files[f"{shown.name}.png"] = submit(pack, paint(shown.figure), few)
            done()
        made = {name: file if isinstance(file, bytes) else file.result()
                for name, file in files.items()}  # fmt: skip
    return chapters, made


def motion_files(moving: Mapping[str, Motion]) -> dict[str, bytes]:
    """Return the files of animations: a GIF and a still PNG of each."""
    stills = {f"{name}.png": motion.png for name, motion in moving.items()}
    return stills | {f"{name}.gif": motion.gif for name, motion in moving.items()}


def summarise(about: Mapping[str, Any], chapters: Sequence[Chapter]) -> dict[str, Any]:
    """Return the numbers of summary.json; NaN for what could not be measured."""
    numbers = dict(about)
    for chapter in chapters:
        numbers |= chapter.numbers
    return numbers


def write_contents(
    folder: Path, judged: Judged, summary: Mapping[str, Any], pictures: Mapping[str, bytes],
    page: str,
) -> None:  # fmt: skip
    """Write maps, numbers, pictures and the page, in place of an earlier report.

    Args:
        folder: of the report.
        judged: results of its maps.
        summary: its numbers.
        pictures: files by their names.
        page: the text of report.html.
    """
    with replacing(folder) as place:
        for mapped in judged.mapped:
            # In single precision, as the network computed them.
            single = mapped.maps._replace(ratemaps=mapped.maps.ratemaps.astype(np.float32))
            np.savez_compressed(place / f"ratemaps_{mapped.name}.npz", **single._asdict())
        units = unit_rows(judged)
        texts = {
            "summary.json": as_json(summary),
            "units.csv": as_csv(list(units[0]), units),
            "modules.csv": as_csv(MODULE_COLUMNS, module_rows(judged)),
            PAGE: page,
        }
        for name, content in pictures.items():
            (place / name).write_bytes(content)
        for name, text in texts.items():
            (place / name).write_bytes(text.encode())


def _vector_file(shown: Shown, kind: str) -> dict[str, bytes]:
    if kind == "png" or isinstance(shown.figure, Motion):
        return {}
    return {f"{shown.name}.{kind}": vector(shown.figure, kind)}
