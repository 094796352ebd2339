"""Fields of units through a training of which every map is known."""

import json

import numpy as np
import pytest

import sicjax
from experiments import formation
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
from sicjax.config.files import to_json
from sicjax.errors import ConfigError
from sicjax.report import snapshots

PERIODS_M, TURN_DEG = (0.95, 0.91, 0.90), 11.0  # of the coarsest lattice, at three snapshots
UPDATES = (1000, 2000, 3000)
UNITS = 24


def unit(period_m, fields, phase, turn_deg=TURN_DEG):
    """A map with one, two or three of the three fields that index 3 has in a cell."""
    basis = hexagonal_basis(period_m, turn_deg)
    thirds = [(0, 0), (1 / 3, 1 / 3), (2 / 3, 2 / 3)][:fields]
    return sum(
        lattice_map(basis, box_m=snapshots.BOX_M, bins=50, phase=phase + np.array(third),
                    field_width=0.11)
        for third in thirds
    )  # fmt: skip


@pytest.fixture(scope="module")
def maps():
    """All units have three fields; half of them lose one, then another; the last falls silent."""
    phases = np.random.default_rng(0).random((UNITS, 2))
    found = []
    for k, period in enumerate(PERIODS_M):
        turn = TURN_DEG + 1.5 * (k - 2)
        lost = [k if n % 2 else 0 for n in range(UNITS)]
        found.append(np.stack([unit(period, 3 - lost[n], phases[n], turn) for n in range(UNITS)]))
    found[-1][-1] = 0
    return found


def test_fields_and_lattice_are_followed(maps):
    fields, axes, explained = formation.formation(maps)
    assert fields[:, 0].tolist() == [3, 3, 3]
    assert fields[:, 1].tolist() == [3, 2, 1]
    assert fields[:, -1].tolist() == [3, 2, -1]
    np.testing.assert_array_equal(fields[:, :-1:2], 3)
    np.testing.assert_array_equal(fields[:, 1:-1:2], [[3] * 11, [2] * 11, [1] * 11])
    # The first search has steps of 2 %, the second of 0.4 %.
    np.testing.assert_allclose(formation.period_m(axes), PERIODS_M, rtol=0.01)
    assert explained.min() > 0.8
    assert formation.changes(fields) == {(3, 2): 12, (2, 1): 11}
    counts = formation.per_class(fields)
    assert counts[:, :3].tolist() == [[0, 0, 24], [0, 12, 12], [11, 0, 12]]
    assert counts.sum(axis=1).tolist() == [24, 24, 23]


def test_a_run_gives_tables_and_figures(maps, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    for step, found in zip(UPDATES, maps, strict=True):
        snapshots.save(source, 0, snapshots.Snapshot(step, found, 1.0, 1))
    config = sicjax.default_config()
    config.seed = 41
    (source / "config.json").write_text(to_json(config))
    text = formation.run([source], out, until=None)
    assert (out / "formation.md").read_text() == text
    assert "| 2,000 | 0.91 |" in text
    (row,) = json.loads((out / "formation.json").read_text())
    assert (row["seed"], row["updates"]) == (41, list(UPDATES))
    assert np.array(row["fields"]).shape == (3, UNITS)
    for name in ("formation.png", "formation_units.png"):
        assert (out / name).stat().st_size > 1000
    formation.run([source], tmp_path / "early", until=2500)
    assert not (tmp_path / "early" / "formation_units.png").exists()  # no unit has one field yet
    with pytest.raises(ConfigError, match="1 snapshots"):
        formation.measure(source, until=1500)
    with pytest.raises(ConfigError, match="holds no run"):
        formation.measure(tmp_path / "elsewhere", until=None)


def test_maps_without_a_lattice_are_refused():
    noise = np.random.default_rng(1).random((12, 50, 50))
    with pytest.raises(ConfigError, match="no lattice"):
        formation.formation([noise, noise])
