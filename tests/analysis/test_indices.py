"""Units of known index: 1, 3, 4, 7, 9 and 12 fields in a cell of the coarsest lattice."""

from types import SimpleNamespace

import numpy as np
import pytest

import sicjax
from sicjax.analysis.indices import INDICES, REASONS, lattice_indices
from sicjax.analysis.lattice import three_axes
from sicjax.analysis.relations import relate_modules
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map, square_basis

COARSE_M = 1.3
# Turn of the sublattice of each index against the coarsest lattice, in degrees.
TURNS = {1: 0, 3: 30, 4: 0, 7: np.rad2deg(np.arctan(np.sqrt(3) / 5)), 9: 0, 12: 30}
REGULAR = np.eye(2)
SHEARS = {
    "regular": REGULAR,
    "sheared": np.array([[1.0, 0.15], [0.0, 0.9]]),
    "aspect 1.2": np.diag([1.2, 1.0]),
}


def lattice(index, shape=REGULAR, turn_deg=7.0, mirrored=False):
    """Axes [3, 2] of the hexagonal sublattice of an index, deformed."""
    turn = turn_deg + TURNS[index] * (-1 if mirrored else 1)
    return three_axes((hexagonal_basis(COARSE_M / np.sqrt(index), turn) @ shape)[None])[0]


def cells(axes, is_grid=None):
    axes = np.asarray(axes, dtype=float)
    grid = np.ones(len(axes), bool) if is_grid is None else np.asarray(is_grid)
    return SimpleNamespace(
        is_grid=grid, lattice=axes, spacing_m=np.linalg.norm(axes, axis=-1).mean(axis=-1)
    )


def noisy(axes, level, seed=0):
    """Every vector displaced at random by a share of the lattice's period."""
    rng = np.random.default_rng(seed)
    size = np.linalg.norm(axes, axis=-1).mean(axis=-1)[:, None, None]
    basis = axes[:, [0, 2]] + level * size * rng.standard_normal((len(axes), 2, 2))
    return three_axes(basis)


@pytest.mark.parametrize("shape", SHEARS.values(), ids=SHEARS)
@pytest.mark.parametrize("turn_deg", [0.0, 7.0, 30.0, 59.0])
def test_every_index_is_found(shape, turn_deg):
    truth = np.repeat(INDICES, 3)
    found = lattice_indices(cells([lattice(index, shape, turn_deg) for index in truth]))
    assert found.index.tolist() == truth.tolist()
    assert found.error.max() < 1e-6
    assert set(found.reason) == {""}
    np.testing.assert_allclose(found.coarsest, lattice(1, shape, turn_deg), atol=1e-9)
    assert found.counts == dict.fromkeys(INDICES, 3)


def test_both_mirror_images_have_index_7():
    axes = [lattice(1)] * 3 + [lattice(7), lattice(7, mirrored=True)]
    assert lattice_indices(cells(axes)).index.tolist() == [1, 1, 1, 7, 7]


@pytest.mark.parametrize("shape", SHEARS.values(), ids=SHEARS)
def test_noise_of_two_percent_changes_no_index(shape):
    truth = np.repeat(INDICES, 8)
    axes = noisy(np.array([lattice(index, shape) for index in truth]), 0.02)
    found = lattice_indices(cells(axes))
    assert (found.index == truth).mean() > 0.97
    assert found.coarsest_period_m == pytest.approx(
        np.linalg.norm(lattice(1, shape), axis=1).mean(), rel=0.02
    )


def test_units_without_an_index_have_a_reason():
    axes = [lattice(1)] * 3 + [
        lattice(3),
        three_axes(square_basis(0.6, 20)[None])[0],  # a square
        lattice(3, turn_deg=22.0),  # its period fits, its orientation is 15 degrees off
        0.8 * lattice(1),  # its orientation fits, its period is 20 % off
        lattice(4),  # no grid cell
        np.ones((3, 2)),  # axes on one line
    ]
    found = lattice_indices(cells(axes, [True] * 7 + [False, True]))
    assert found.index.tolist() == [1, 1, 1, 3, 0, 0, 0, 0, 0]
    assert np.isnan(found.error).tolist() == [False] * 4 + [True] * 5
    assert list(found.reason[4:]) == ["on no sublattice"] * 3 + [
        "no grid cell", "on no sublattice"
    ]  # fmt: skip
    assert set(found.reason) <= set(REASONS)


def test_without_a_shared_lattice_there_is_no_index():
    found = lattice_indices(cells([lattice(1), lattice(1), lattice(3), lattice(4)]))
    assert not found.index.any()
    assert set(found.reason) == {"no coarsest lattice"}
    assert np.isnan(found.coarsest).all()
    none = lattice_indices(cells(np.full((2, 3, 2), np.nan), [False, False]))
    assert set(none.reason) == {"no grid cell"}


def test_the_coarsest_lattice_is_that_which_explains_most_cells():
    """Three cells of twice the period explain the others; three unrelated ones do not."""
    axes = [lattice(1)] * 3 + [lattice(3)] * 10 + [lattice(12)] * 10
    assert lattice_indices(cells(axes)).counts == {1: 3, 3: 10, 4: 0, 7: 0, 9: 0, 12: 10}
    stray = [1.37 * lattice(1, turn_deg=20)] * 3
    found = lattice_indices(cells(axes + stray))
    assert found.index.tolist() == [1] * 3 + [3] * 10 + [12] * 10 + [0] * 3


def test_a_common_lattice_that_no_unit_has_can_be_given():
    """Units of index 3 and 4 only: neither lattice holds the other; both share a coarser one."""
    units = cells([lattice(3)] * 4 + [lattice(4)] * 5)
    alone = lattice_indices(units)
    assert alone.index.tolist() == [0] * 4 + [1] * 5
    common = relate_modules([lattice(3), lattice(4)]).whole
    given = lattice_indices(units, coarsest=three_axes(common.basis_m[None])[0])
    assert given.index.tolist() == [3] * 4 + [4] * 5


def test_a_random_lattice_seldom_has_an_index():
    """The comment on TOLERANCE promises one case of eleven."""
    rng = np.random.default_rng(0)
    sizes, turns = COARSE_M / np.sqrt(12) ** rng.random(4000), rng.uniform(0, 60, 4000)
    axes = [three_axes(hexagonal_basis(s, t)[None])[0] for s, t in zip(sizes, turns, strict=True)]
    found = lattice_indices(cells(axes), coarsest=lattice(1))
    assert 0.07 < (found.index > 0).mean() < 0.11


def test_maps_of_three_known_indices():
    """From rate maps to indices, through the public functions."""
    rng = np.random.default_rng(0)
    truth = [1] * 4 + [3] * 3 + [4] * 3
    maps = np.stack(
        [
            lattice_map(
                hexagonal_basis(1.0 / np.sqrt(index), 5 + TURNS[index]), box_m=3.0, bins=60,
                phase=rng.random(2),
            )
            for index in truth
        ]
    )  # fmt: skip
    units = sicjax.analyze_ratemaps(maps, 3.0, num_shuffles=2, progress=False)
    assert units.is_grid.all()
    found = sicjax.lattice_indices(units)
    assert found.index.tolist() == truth
    assert found.coarsest_period_m == pytest.approx(1.0, rel=0.02)


def test_the_table_has_one_row_per_unit():
    found = lattice_indices(cells([lattice(1)] * 3 + [lattice(3)]))
    columns = found.columns()
    assert list(columns) == ["unit", "index", "error", "reason"]
    assert columns["index"].tolist() == [1, 1, 1, 3]
    assert "3 of index 1, 1 of index 3" in repr(found)
