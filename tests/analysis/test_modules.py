"""Modules: mixed ones are separated, a broad one is not split."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sicjax.analysis import synthetic
from sicjax.analysis.lattice import reduce_basis, three_axes
from sicjax.analysis.modules import find_modules, mean_axes, median_interval


def units(periods, angles):
    """Stand in for a UnitAnalysis: hexagonal lattices of these periods and orientations."""
    bases = [synthetic.hexagonal_basis(p, a) for p, a in zip(periods, angles, strict=True)]
    axes = three_axes(reduce_basis(np.stack(bases))) if bases else np.empty((0, 3, 2))
    return SimpleNamespace(
        is_grid=np.ones(len(bases), dtype=bool),
        lattice=axes,
        spacing_m=np.linalg.norm(axes, axis=-1).mean(axis=-1),
    )


def test_three_modules_of_the_paper():
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 40)
    periods = np.array([0.5, 0.85, 1.44])[true] * np.exp(0.03 * rng.standard_normal(120))
    order = rng.permutation(120)
    modules = find_modules(units(periods[order], 15 + 3 * rng.standard_normal(120)))
    np.testing.assert_array_equal(modules.labels, true[order])
    np.testing.assert_allclose(modules.period_m, [0.5, 0.85, 1.44], rtol=0.03)
    np.testing.assert_allclose(modules.ratios, [1.7, 1.69], atol=0.06)
    assert (modules.period_interval_m[:, 0] <= modules.period_m).all()
    assert (modules.period_interval_m[:, 1] >= modules.period_m).all()
    np.testing.assert_allclose(modules.orientation_deg, 15, atol=2)
    assert (modules.split_p < 0.01).all()
    assert modules.bic_gain > 0


def test_a_small_fine_module_beside_a_large_one():
    rng = np.random.default_rng(1)
    periods = np.repeat([1.15, 0.68], [37, 11]) * np.exp(0.03 * rng.standard_normal(48))
    modules = find_modules(units(periods, 40 + 3 * rng.standard_normal(48)))
    assert [len(members) for members in modules.members] == [11, 37]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spread", ["even", "bell"])
def test_one_broad_cluster_is_never_split(seed, spread):
    rng = np.random.default_rng(seed)
    periods = (
        rng.uniform(0.5, 1.5, 60) if spread == "even" else 0.9 * np.exp(rng.normal(0, 0.15, 60))
    )
    angles = rng.uniform(0, 60, 60) if seed % 2 else np.full(60, 12.0)
    assert len(find_modules(units(periods, angles)).members) <= 1


def test_stray_units_are_left_out():
    periods = np.repeat([0.7, 1.2, 2.5], [30, 4, 3])
    modules = find_modules(units(periods, np.full(37, 20.0)))
    assert [members.tolist() for members in modules.members] == [list(range(30))]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.tuples(st.floats(0.3, 3), st.integers(1, 14)), max_size=7),
    seed=st.integers(0, 99),
)
def test_no_mixture_is_too_odd_for_modules(groups, seed):
    rng = np.random.default_rng(seed)
    periods = np.repeat([period for period, _ in groups], [number for _, number in groups])
    periods = periods * np.exp(0.02 * rng.standard_normal(len(periods)))
    modules = find_modules(units(periods, rng.uniform(0, 60, len(periods))))
    assert all(len(members) >= 10 for members in modules.members)
    assert (np.diff(modules.period_m) >= 0).all()


@pytest.mark.parametrize("count", [0, 9])
def test_too_few_units_make_no_module(count):
    modules = find_modules(units(np.full(count, 0.5), np.zeros(count)))
    assert modules.members == ()
    assert modules.period_m.shape == (0,)
    assert modules.lattice.shape == (0, 3, 2)
    assert np.isnan(modules.bic_gain)


def test_mean_axes_across_the_half_turn():
    """Axes at 1 and at 179 degrees are neighbours, not at 90 on average."""
    axes = three_axes(np.stack([synthetic.hexagonal_basis(1.0, a) for a in (-2.0, 2.0)]))
    angles = np.rad2deg(np.arctan2(mean_axes(axes)[:, 1], mean_axes(axes)[:, 0]))
    np.testing.assert_allclose(np.sort(np.abs((angles + 90) % 180 - 90)), [0, 60, 60], atol=1e-6)


def test_the_median_lies_in_its_interval_95_times_in_100():
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((2000, 25))
    low, high = np.array([median_interval(row) for row in draws]).T
    assert 0.93 < ((low <= 0) & (high >= 0)).mean() < 0.99  # exact coverage is 0.957


def test_bad_input_is_named():
    broken = units(np.full(3, 0.5), np.zeros(3))
    broken.lattice = broken.lattice[:2]
    with pytest.raises(ValueError, match="lattice has shape"):
        find_modules(broken)


def test_the_fewest_units_of_a_module_can_be_asked_for():
    rng = np.random.default_rng(2)
    periods = np.repeat([0.5, 0.85], [6, 12]) * np.exp(0.02 * rng.standard_normal(18))
    cells = units(periods, np.full(18, 20.0))
    assert [len(members) for members in find_modules(cells).members] == [12]
    modules = find_modules(cells, min_units=6)
    assert [len(members) for members in modules.members] == [6, 12]
    assert modules.min_units == 6


@pytest.mark.parametrize("least", [2, 0, 4.5])
def test_a_module_of_fewer_than_three_units_is_refused(least):
    with pytest.raises(ValueError, match="min_units"):
        find_modules(units(np.full(12, 0.5), np.zeros(12)), min_units=least)


def test_groups_too_small_for_a_module_are_named():
    periods = np.repeat([0.5, 0.85, 1.4, 2.6], [12, 6, 4, 1])
    modules = find_modules(units(periods, np.full(23, 20.0)))
    assert [members.tolist() for members in modules.members] == [list(range(12))]
    assert [size for size, _ in modules.small_groups] == [6, 4]  # a unit alone is no group
    np.testing.assert_allclose([period for _, period in modules.small_groups], [0.85, 1.4])
    assert modules.num_grid_cells == 23
    for said in ("1 module: 12 at 0.50 m", "11 other grid cells", "6 at 0.85 m, 4 at 1.40 m"):
        assert said in modules.summary


def test_the_summary_without_a_module_counts_the_grid_cells():
    modules = find_modules(units(np.array([0.5, 0.5, 0.9]), np.zeros(3)))
    assert modules.small_groups == ((2, pytest.approx(0.5)),)
    assert modules.summary.startswith("3 grid cells")
    assert find_modules(units([], [])).summary.startswith("0 grid cells")
