"""A chapter: everything that a report says about one subject.

A result's number, sentence, table row, figure and caption are all made in the chapter's file.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sicjax.plots import Figure, blank_figure
from sicjax.plots.pictures import Motion


class Row(NamedTuple):
    """One row of a table."""

    what: str
    value: str
    meaning: str  # its definition, and the usual value
    source: str  # the maps or walks that it is measured on


class Shown(NamedTuple):
    """One figure, with what to look at."""

    name: str  # name of its file
    figure: Figure | Motion
    caption: str  # the first sentence says what is drawn; it is also the picture's alt text
    wide: bool = False  # a row of its own
    group: str = ""  # heading above this figure and the next ones of the same group


def panel(draw: Callable[..., Any], *arrays: Any, **options: Any) -> Figure:
    """Return a figure with one panel, drawn from arrays by a function of `plots`."""
    figure = blank_figure()
    draw(*arrays, **options, ax=figure.subplots())
    return figure


class Chapter(NamedTuple):
    """A section of the page and its part of summary.json."""

    title: str
    numbers: dict[str, Any]
    rows: list[Row]
    figures: list[Shown]
    headline: str = ""  # its sentence at the top of the page
