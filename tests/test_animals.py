"""Our modules beside published ones: pairs, shapes and the page's table."""

import json
import re

import numpy as np
import pytest

import sicjax
from experiments import animals
from sicjax.analysis.lattice import reduce_basis, three_axes
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map

AXES = three_axes(reduce_basis(hexagonal_basis(0.9, 10)[None]))[0]


def module(units, period_m, orientation_deg):
    return {"units": units, "period_m": period_m, "orientation_deg": orientation_deg}


def test_neighbours_are_compared_by_rising_period():
    row = {"modules": [module(20, 1.2, 2.0), module(12, 0.6, 58.0), module(9, 0.3, 0.0)]}
    found = animals.pairs_of([row])
    assert found.ratios == [2.0]
    assert found.turns_deg == [pytest.approx(4.0)]
    assert found.cells == [[12, 20]]  # nine cells are no module


def test_phases_are_compared_with_random_ones():
    side = np.arange(5) / 5
    even = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    assert animals.phase_spacing(even, AXES) > 1.6
    random = np.random.default_rng(1).random((200, 2))
    assert animals.phase_spacing(random, AXES) == pytest.approx(1, abs=0.1)
    assert animals.phase_spacing(0.1 * random, AXES) < 0.3


def test_shapes_of_known_maps():
    rng = np.random.default_rng(0)
    maps = np.stack(
        [
            lattice_map(hexagonal_basis(0.9, 10), box_m=3.0, bins=60, phase=rng.random(2))
            for _ in range(12)
        ]
    )
    units = sicjax.analyze_ratemaps(maps, 3.0, num_shuffles=2, progress=False)
    (row,) = animals.shapes_of(maps, 3.0, units)
    assert row["cells"] == 12
    assert row["period_m"] == pytest.approx(0.9, rel=0.02)
    assert row["aspect"] == pytest.approx(1, abs=0.05)
    # Half height of a Gaussian of 0.17 times the root of the cell's area: 2.355 deviations wide.
    width = 2.355 * 0.17 * np.sqrt(np.sqrt(3) / 2)
    assert row["field_over_period"] == pytest.approx(width, rel=0.15)


def test_values_are_written_as_clusters():
    assert animals.spread([1.73, 1.15, 1.74]) == "1.150 (n = 1), 1.735 (n = 2)"
    assert animals.spread([]) == "–"
    assert animals.cells_text([[10, 30], [12, 40], [5]]) == "11 (10 to 12), 35 (30 to 40)"


def test_the_table_on_the_page_is_the_one_that_the_results_give(tmp_path):
    """Every row that needs no maps is in docs/animals.md as computed from the finished claims."""
    shape = {"aspect": 1.0, "field_over_period": 0.3, "phase_spacing": 1.0}
    text = animals.run({"quick": [shape]}, tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    page = (animals.RESULTS.parents[1] / "docs" / "animals.md").read_text()
    assert len(rows) == 8
    assert [row for row in rows if "*" not in row.split("|")[1] and row not in page] == []
    assert (tmp_path / "animals.png").stat().st_size > 5000
    claims = json.loads((animals.RESULTS / "claims_full.json").read_text())
    pairs = sum(sum(m["units"] >= 10 for m in row["modules"]) - 1 for row in claims)
    of_full = rows[2].partition("`full.py`")[2].partition(";")[0]
    assert sum(int(n) for n in re.findall(r"n = (\d+)", of_full)) == pairs
