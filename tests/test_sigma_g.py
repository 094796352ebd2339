"""Fields against sigma_g, and networks without permutations: numbers, table, figure."""

import numpy as np
import pytest

from experiments import no_permutations, sigma_g
from sicjax import load_pretrained
from sicjax.analysis.kinds import KINDS
from sicjax.command import guarded


def row_of(recipe, value, **changed):
    kinds = dict.fromkeys(KINDS, 0) | {"place": 3, "silent": 1}
    return {
        "recipe": recipe, "sigma_g": value, "seed": 7, "failure": None, "active": 3, "kinds": kinds,
        "field_m": 0.5, "field_quartiles_m": [0.4, 0.6], "fields": 1.0, "explained": 0.25,
        "modules": [{"units": 11, "period_m": 0.87}], **changed,
    }  # fmt: skip


def test_the_table_names_what_is_missing():
    lost = row_of("sums", 0.4, field_m=None, field_quartiles_m=None, modules=[], explained=None)
    lines = sigma_g.as_markdown([row_of("means", 0.05), lost], ["- made"]).splitlines()
    assert lines[2].startswith("2 networks; 6 of 6 active units are place cells")
    assert "| means | 0.05 | 7 | 3 | 0.50 [0.40, 0.60] | 1 | 3 | 1 | 11 at 0.87 m | 0.25 |" in lines
    assert "| sums | 0.4 | 7 | 3 | – | 1 | 3 | 1 | none | – |" in lines


def test_the_figure_has_a_dot_per_network_and_whole_bars():
    rows = [row_of("means", 0.05), row_of("means", 0.1), row_of("sums", 0.05)]
    above, _, bars, _ = sigma_g.draw(rows).axes
    dots = [line for line in above.lines if line.get_marker() == "o"]
    assert [float(dot.get_ydata()[0]) for dot in dots] == [0.5, 0.5]
    heights = {}
    for bar in bars.patches:
        at = round(bar.get_x() + bar.get_width() / 2)
        heights[at] = heights.get(at, 0.0) + bar.get_height()
    assert heights == {0: pytest.approx(1), 1: pytest.approx(1)}


def test_a_trained_network_is_measured(monkeypatch):
    monkeypatch.setattr(sigma_g, "BOX_M", 1.0)
    monkeypatch.setattr(sigma_g, "SHUFFLES", 2)
    found, maps = sigma_g.measure(load_pretrained("quick"))
    assert maps.shape == (64, 25, 25)
    assert sum(found["kinds"].values()) == 64
    assert 0.15 < found["field_m"] < 0.35  # fields of a period of 0.5 m
    assert found["explained"] > 0.9


def test_unknown_recipes_are_refused(capsys):
    assert guarded(sigma_g.main, ["--recipes=medians"]) == 2
    assert "medians" in capsys.readouterr().err


def test_what_position_explains_of_a_known_code():
    """One unit tells the position exactly; the other is noise in as many bins as samples allow."""
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, (100, 200, 2))
    code = np.floor(places[..., 0] * 5) + 6  # constant within a bin
    noise = rng.random(code.shape)
    tuned = no_permutations.explained(places, code[..., None], 2.0, 10)
    untuned = no_permutations.explained(places, noise[..., None], 2.0, 10)
    assert tuned == pytest.approx(1)
    assert untuned == pytest.approx(100 / (100 * 190), rel=0.5)  # bins over samples


def test_positions_and_velocities_are_told_apart(monkeypatch):
    monkeypatch.setattr(no_permutations, "WALKS", 100)
    found = no_permutations.measure(load_pretrained("quick"))
    assert found["explained"] > 0.9
    assert found["independent"] > 0.8
    assert max(found["velocity"], found["other_walk"]) < 0.4  # few samples a bin
