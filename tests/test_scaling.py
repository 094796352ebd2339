"""The law of the periods: ranges, sublattices and fits on cases with known truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments import scaling
from sicjax.analysis.synthetic import hexagonal_basis
from sicjax.config.files import load_config


def rows_of(coarse, fine):
    """Return rows of networks that differ in T and v; one also belongs to the sigma_g series."""
    return {
        name: {
            "range_m": k + 1.0,
            "sigma_g": 0.4,
            "field_m": 0.3,
            "active": 60,
            "modules": [
                {"period_m": fine * (k + 1), "units": 11},
                {"period_m": coarse * (k + 1), "units": 40},
            ],
        }
        for k, name in enumerate(list(scaling.NETWORKS)[:12])
    }


def test_range_is_that_of_a_random_walk():
    """Sixty steps with a variance of 0.15^2 / 3 on each axis; positions of all times are pooled."""
    config = load_config("paper")
    variances = 0.15**2 / 3 * np.arange(1, 61)
    radii = np.random.default_rng(0).rayleigh(np.sqrt(variances), (20_000, 60))
    # 4,000 walks of one draw against 20,000 of the other; neighbours of one walk are alike.
    assert scaling.training_range(config) == pytest.approx(np.percentile(radii, 90), rel=0.02)


def test_batches_keep_their_number_of_states():
    config = load_config("short_steps")
    usual = scaling.recipe(config, scaling.NETWORKS["sigma_g 0.2"])
    assert usual.data.max_velocity == 0.15
    for fields in scaling.NETWORKS.values():
        own = scaling.recipe(config, fields)
        assert own.data.num_trajectories * own.data.trajectory_length == scaling.STATES


def test_sublattices_are_counted_by_the_area_of_their_cells():
    coarse = hexagonal_basis(1.2, 0)
    turned = hexagonal_basis(1.2 / np.sqrt(3), 30)
    halved = hexagonal_basis(0.6, 0)
    between = hexagonal_basis(0.95, 0)
    lattice = np.stack([coarse, coarse, turned, halved, between, np.full_like(coarse, np.nan)])
    units = SimpleNamespace(lattice=lattice)
    modules = SimpleNamespace(members=[np.array([2]), np.array([0, 1])])
    found = scaling.sublattices(units, modules, np.ones(6, dtype=bool))
    assert found == {"1": 2, "2": 0, "3": 1, "4": 1, "other": 2}
    nothing = SimpleNamespace(members=[])
    assert scaling.sublattices(units, nothing, np.ones(6, dtype=bool))["other"] == 6


def test_fits_are_lines_through_the_origin():
    rows = rows_of(1.1, 0.6)
    found = scaling.fits(rows)
    assert found["coarse"] == (pytest.approx(1.1), pytest.approx(0, abs=1e-9), 12)
    assert found["fine"][0] == pytest.approx(0.6)
    rows["T 20, v 0.1"]["modules"].pop()  # the coarse lattice has no module there
    assert [number for _, _, number in scaling.fits(rows).values()] == [11, 11]
    axes = scaling.draw(rows_of(1.1, 0.6)).axes[0]
    assert "coarse: 1.10 times the range" in [t.get_text() for t in axes.get_legend().get_texts()]


def test_lengths_are_sorted_by_sigma_g():
    rows = {
        "sigma_g 0.6": {"sigma_g": 0.6, "field_m": 0.4, "modules": [{"period_m": 1.2}]},
        "T 60, v 0.15": rows_of(1.1, 0.6)["T 60, v 0.15"],
        "sigma_g 0.2": {"sigma_g": 0.2, "field_m": None, "modules": []},
        "invariance 0.2": {"sigma_g": 0.4, "field_m": 9.0, "modules": []},
    }
    k = 8  # th of the networks that differ in T and v, which rows_of counts from 1
    assert scaling.lengths_by_sigma_g(rows) == {
        "field": [(0.4, 0.3), (0.6, 0.4)],
        "coarse": [(0.4, pytest.approx(1.1 * k)), (0.6, 1.2)],
        "fine": [(0.4, pytest.approx(0.6 * k))],
    }


def test_power_laws_are_found_again():
    rows = {
        name: {
            "trajectory_length": fields["data.trajectory_length"],
            "max_velocity": fields["data.max_velocity"],
            "active": 60,
            "modules": [
                {"units": 40, "period_m": 2 * fields["data.trajectory_length"] ** 0.5
                 * fields["data.max_velocity"] ** 0.8},
            ],
        }
        for name, fields in list(scaling.NETWORKS.items())[:12]
    }  # fmt: skip
    (law,) = scaling.power_laws(rows).values()
    assert law == pytest.approx((2, 0.5, 0.8, 0), abs=1e-9)
    assert scaling.power_laws({name: rows[name] for name in list(rows)[:2]}) == {}
