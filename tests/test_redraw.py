"""Committed figures can be drawn again from committed rows."""

from pathlib import Path

import pytest
from PIL import Image

from experiments import redraw
from sicjax.errors import ConfigError


@pytest.mark.parametrize("name", ["claims_quick", "phase_capacity_sigma_g", "scaling"])
def test_rows_become_the_committed_figure(name, tmp_path):
    """The layout is the same; another version of matplotlib may place text differently."""
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


def test_commands_and_a_page_s_code_draw_into_the_repository(tmp_path, monkeypatch):
    """The commands and the page are replaced: only what they write, and where, is checked."""
    results, docs = tmp_path / "results", tmp_path / "docs"
    results.mkdir()
    docs.mkdir()
    monkeypatch.setattr(redraw, "RESULTS", results)
    monkeypatch.setattr(redraw, "DOCS", docs)

    def command(name):
        def main(arguments):
            *network, folder = (flag.partition("=")[2] for flag in arguments)
            folder = Path(folder)
            (folder / f"{name.format(*network)}.png").write_text(name)
            (folder / f"{name}.md").write_text("measured again")

        return main

    monkeypatch.setattr(redraw.isometry, "main", command("isometry_tail"))
    monkeypatch.setattr(redraw.clearest, "main", command("{}_ratemaps_6m"))
    monkeypatch.setattr(redraw.indices, "main", command("{}_indices"))
    (docs / "other_networks.md").write_text(
        "```python\nfrom pathlib import Path\n```\n\n```python\n"
        "for name in ('three_tori', 'twisted'):\n"
        "    folder = Path('runs') / name\n"
        "    folder.mkdir(parents=True)\n"
        "    (folder / 'ratemaps_2m.png').write_text(name)\n```\n"
    )
    redraw.main(["isometry", "clearest", "indices", "other_networks"])
    assert (results / "isometry_tail.png").read_text() == "isometry_tail"
    assert not (results / "isometry_tail.md").exists()
    assert (results / "modules_ratemaps_6m.png").is_file()
    assert (results / "full_ratemaps_6m.png").is_file()
    assert (results / "quick,modules,full_indices.png").is_file()
    assert (docs / "three_tori.png").read_text() == "three_tori"
    assert (docs / "twisted_torus.png").read_text() == "twisted"
    assert not Path("runs/three_tori").exists()  # its reports were written elsewhere
