"""Committed figures can be drawn again from committed rows."""

import pytest
from PIL import Image

from experiments import redraw
from sicjax.errors import ConfigError


@pytest.mark.parametrize("name", ["claims_quick", "phase_capacity_sigma_g", "scaling"])
def test_rows_become_the_committed_figure(name, tmp_path):
    """The same layout: text may be laid out by another version of matplotlib."""
    redraw.draw_rows(redraw.RESULTS / f"{name}.json", tmp_path / "again.png")
    paths = tmp_path / "again.png", redraw.RESULTS / f"{name}.png"
    with Image.open(paths[0]) as again, Image.open(paths[1]) as committed:
        assert again.size == committed.size


def test_figures_of_reports_are_committed_ones():
    for figures in redraw.REPORTED.values():
        assert all(target.is_file() for target in figures)


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="nobody"):
        redraw.main(["nobody"])
