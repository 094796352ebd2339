"""The page of a report: one HTML text that holds its pictures and loads nothing."""

import base64
import datetime
import itertools
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from sicjax.plots.pictures import DPI, MOTION_DPI
from sicjax.report.chapter import Chapter, Shown
from sicjax.training.provenance import versions

CSS_DPI = 96  # CSS pixels in an inch: at this size 9 points of a figure are 9 points on the page
_TEMPLATES = Path(__file__).parent / "templates"


def render(
    template_name: str, chapters: Sequence[Chapter], files: Mapping[str, bytes], **about: Any
) -> str:
    """Return the page: one HTML text that holds its pictures; it has no script and loads nothing.

    Args:
        template_name: which template.
        chapters: in the order of the page. The first figure of the first one leads the page.
        files: PNG files, and GIF files of animations, by their names.
        about: other variables of the template.
    """
    lead = chapters[0].figures[0]
    sections = []
    for chapter in chapters:
        figures = [shown for shown in chapter.figures if shown is not lead]
        if figures or chapter.rows:
            groups = [
                (group, _pictures(list(members), files))
                for group, members in itertools.groupby(figures, lambda shown: shown.group)
            ]
            sections.append((_slug(chapter.title), chapter.title, chapter.rows, groups))
    return template(template_name).render(
        headline=" ".join(chapter.headline for chapter in chapters if chapter.headline),
        lead=_picture(lead, files, "wide"),
        sections=sections,
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        date=f"{datetime.datetime.now(datetime.UTC):%d %B %Y}",
        **about,
    )


def template(name: str) -> jinja2.Template:
    """Return one of the templates; a missing variable is an error."""
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def _pictures(figures: Sequence[Shown], files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the pictures of a grid of two columns; one that has no neighbour is "alone"."""
    pictures: list[dict[str, Any]] = []
    for wide, together in itertools.groupby(figures, lambda shown: shown.wide):
        row = list(together)
        places = ["wide" if wide else ""] * len(row)
        if not wide and len(row) % 2:
            places[-1] = "alone"
        pictures += [
            _picture(shown, files, place) for shown, place in zip(row, places, strict=True)
        ]
    return pictures


def _picture(shown: Shown, files: Mapping[str, bytes], place: str) -> dict[str, Any]:
    still, moving = files[f"{shown.name}.png"], files.get(f"{shown.name}.gif")
    (width,) = struct.unpack(">I", still[16:20])  # of a PNG file's header
    return {
        "source": _data_uri(still, "png"),
        "motion": moving and _data_uri(moving, "gif"),
        "width": round(width / (MOTION_DPI if moving else DPI) * CSS_DPI),
        "alt": re.split(r"[.:] ", shown.caption)[0],
        "caption": shown.caption,
        "place": place,
    }


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _data_uri(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")
