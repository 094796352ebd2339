"""The ablation table and the phase diagram, from reports whose numbers are known."""

import json

import numpy as np
import pytest
from matplotlib import pyplot as plt

from experiments import ablations, both_paths, phase_diagram
from sicjax import plots
from sicjax.command import guarded
from sicjax.config import flatten
from sicjax.config.files import load_config
from sicjax.training.population import members, of_variant

UNITS = """unit,active,kind,is_grid,module,grid_score_3m,grid_score_corrected_3m,spacing_m_3m,\
spatial_information
0,1,grid,1,0,0.8,1.2,0.70,1.5
1,1,grid,1,1,1.0,1.4,0.74,2.5
2,1,place,0,-1,0.1,,,3.5
3,0,grid,1,0,9.0,9.0,9.0,9.0
"""


@pytest.fixture
def report(tmp_path):
    """A report folder of a network with two grid cells, a place cell and an inactive unit."""
    folder = tmp_path / "report" / "network_000"
    folder.mkdir(parents=True)
    (folder / "units.csv").write_text(UNITS)
    ramp = np.linspace(0, 1, 25).reshape(5, 5)
    maps = np.stack([np.zeros((5, 5)), ramp, 3 * ramp, ramp.T])
    np.savez(folder / "ratemaps_3m.npz", ratemaps=maps, box_m=3.0, occupancy=np.ones((5, 5)))
    return folder


def test_measure_counts_active_units_only(report):
    found = ablations.measure(report)
    assert found["kind"] == "grid"
    assert found["grid_fraction"] == pytest.approx(2 / 3)
    assert found["grid_score"] == pytest.approx(0.9)
    assert found["grid_score_corrected"] == pytest.approx(1.3)
    assert found["period_m"] == pytest.approx(0.72)
    assert found["spatial_information"] == pytest.approx(2.5)


def test_measure_without_an_active_unit(report):
    header, *_, silent = UNITS.splitlines()
    (report / "units.csv").write_text(f"{header}\n{silent}\n")
    found = ablations.measure(report)
    assert found["kind"] == "silent"
    assert found["grid_fraction"] is None
    assert found["period_m"] is None


def test_mean_and_spread_over_seeds():
    rows = [
        {"variant": "full", "seed": k, "num_modules": k, "periods_m": f"0.{k}", "failure": None}
        for k in (1, 3)
    ] + [{"variant": "none", "seed": 1, "failure": "separation"}]
    table = ablations.summarise(rows)
    assert table["full"]["modules"] == (2.0, 1.0, 2)
    assert table["none"]["modules"][2] == 0
    lines = ablations.as_markdown(rows).splitlines()
    (full,) = (line for line in lines if line.startswith("| full"))
    assert "| 2 ± 1 |" in full
    assert full.endswith("| 0.1; 0.3 |")
    assert "none, seed 1" in lines[-1]


def ablated(variant, seed=0, **changed):
    row = {
        "variant": variant, "seed": seed, "num_modules": 0, "grid_fraction": 0.0, "kind": "other",
        "grid_score": None, "variance_explained_short": 0.9, "failure": None,
    }  # fmt: skip
    return row | changed


def test_which_ablations_go_the_papers_way():
    whole = {"num_modules": 2, "grid_fraction": 0.9, "kind": "grid", "grid_score": 1.1}
    rows = [
        ablated("full", **whole),
        ablated("full", seed=1, **whole | {"grid_score": 0.5}),
        ablated("no capacity", num_modules=1),
        ablated("no capacity", seed=1, num_modules=2),
        ablated("no separation"),
        ablated("no separation", seed=1, grid_fraction=0.5),
        ablated("no invariance", grid_fraction=None),
        ablated("no conformal isometry", num_modules=1, grid_score=0.8),
        ablated("no conformal isometry", seed=1, num_modules=1, grid_score=0.8),
        ablated("sigma_g halved", kind="place"),
        ablated("sigma_g halved", seed=1, kind="grid"),
        ablated("no permutations", variance_explained_short=0.05),
        ablated("no permutations", seed=1, variance_explained_short=0.3),
        ablated("no permutations", seed=2, variance_explained_short=0.05),  # no whole to compare
        ablated("published capacity weight", num_modules=1),
    ]
    found = ablations.agreement(rows)
    assert {variant: counts for variant, (_, *counts) in found.items()} == {
        "no capacity": [1, 2],
        "no separation": [1, 2],
        "no invariance": [1, 1],
        "no conformal isometry": [1, 2],
        "sigma_g halved": [1, 2],
        "no permutations": [1, 2],
    }
    lines = ablations.as_markdown(rows).splitlines()
    assert "| no capacity | one module | 1 of 2 | no |" in lines
    assert "1 of 6 ablations" in lines[2]
    assert "| no invariance | no grid cells (below 5% of active units) | 1 of 1 | yes |" in lines


def test_the_figure_shows_each_module_then_the_units_that_vary_most(report):
    """Units 0 and 1 represent a module each; unit 2, three times unit 1, varies more than 3."""
    rows = [{"variant": "no conformal isometry", "network": 0}]
    figure = ablations.draw(report.parents[1], rows)
    flat, ramp, steeper, turned = (np.asarray(im.get_array()) for im in figure.axes[0].images[:4])
    assert np.ptp(flat, axis=(0, 1)).max() == 0
    np.testing.assert_array_equal(ramp, steeper)  # each to its own peak
    np.testing.assert_array_equal(turned, ramp.swapaxes(0, 1))
    assert "no conformal\nisometry" in [text.get_text() for text in figure.axes[0].texts]
    plt.close(figure)


def test_the_configs_variants_are_the_papers():
    config = load_config("ablations")
    population = members(config)
    assert len(population) == 8 * 4
    changed = {
        name: {
            field
            for field, value in flatten(of_variant(config, name)).items()
            if value != flatten(of_variant(config, "full"))[field]
        }
        for name in config.variants
    }
    assert changed == {
        "full": set(),
        "no capacity": {"loss.capacity"},
        "no separation": {"loss.separation"},
        "no invariance": {"loss.invariance"},
        "no conformal isometry": {"loss.conformal_isometry"},
        "sigma_g halved": {"loss.sigma_g"},
        "no permutations": {"data.permute"},
        "published capacity weight": {"loss.capacity"},
    }
    assert of_variant(config, "sigma_g halved").loss.sigma_g == config.loss.sigma_g / 2


def test_a_phase_diagram_shows_numbers_and_kinds():
    axes = {"loss.sigma_g": [0.2, 0.4], "loss.capacity": [1.0, 3.0]}
    rows = [
        {
            **dict(zip(axes, setting, strict=True)),
            "num_modules": modules, "period_m": np.nan, "grid_fraction": 0.5, "kind": kind,
            "variance_explained_short": 0.8, "by_map.3m.variance_explained": 0.4,
        }
        for setting, modules, kind in [
            ((0.2, 1.0), 0, "place"), ((0.2, 3.0), 1, "grid"), ((0.4, 1.0), 1, "grid"),
            ((0.4, 3.0), 2, "band"),
        ]
    ]  # fmt: skip
    table = phase_diagram.as_markdown(
        [row | {"seed": 3, "periods_m": "0.750"} for row in rows], axes
    ).splitlines()
    assert table[0].startswith(
        "| loss.sigma_g | loss.capacity | seed | kind of most units | modules"
    )
    assert table[3] == "| 0.2 | 3.0 | 3 | grid | 1 | – | 0.5 | 0.8 | 0.4 | 0.750 |"
    assert phase_diagram.kinds(rows, axes) == [["place", "grid"], ["grid", "band"]]
    figure = phase_diagram.draw(rows, axes)
    modules, periods, grids = ([text.get_text() for text in ax.texts] for ax in figure.axes[:3])
    assert modules == ["0", "1", "1", "2"]
    assert periods == []
    assert grids == ["0.5\nplace", "0.5\ngrid", "0.5\ngrid", "0.5\nband"]
    plt.close(figure)


def test_a_phase_diagram_shows_a_unit_of_the_kind_that_most_are(tmp_path):
    """Unit 1 varies more, but is of another kind; unit 2 is of that kind, but silent."""
    axes = {"loss.sigma_g": [0.2, 0.4], "loss.capacity": [1.0]}
    ramp = np.linspace(0, 1, 25).reshape(5, 5)
    pictures = {"place": ramp, "grid": ramp.T, "silent": ramp[::-1]}
    rows = []
    for network, kind in enumerate(["grid", "silent"]):
        folder = tmp_path / "report" / f"network_{network:03d}"
        folder.mkdir(parents=True)
        active = int(kind != "silent")
        (folder / "units.csv").write_text(
            f"unit,active,kind\n0,{active},grid\n1,{active},place\n2,0,grid\n"
        )
        maps = np.stack([ramp.T, 3 * ramp, 5 * ramp[::-1]])
        np.savez(folder / "ratemaps_3m.npz", ratemaps=maps, box_m=3.0, occupancy=np.ones((5, 5)))
        setting = {"loss.sigma_g": axes["loss.sigma_g"][network], "loss.capacity": 1.0}
        rows.append({"network": network, "kind": kind, **setting})
    figure = phase_diagram.draw_maps(tmp_path, rows, axes)
    above, below = (np.asarray(image.get_array()) for image in figure.axes[0].images[:2])
    coloured = {
        kind: plots.named_rows([("", picture[None])], 3.0, titles=[""])
        for kind, picture in pictures.items()
    }
    for found, kind in [(above, "silent"), (below, "grid")]:  # the first row is at the bottom
        expected = np.asarray(coloured[kind].axes[0].images[0].get_array())
        np.testing.assert_array_equal(found, expected)
    assert {"sigma_g\n0.4", "capacity 1"} <= {text.get_text() for text in figure.axes[0].texts}
    plt.close("all")


def test_phase_diagram_refuses_variants_and_bad_axes(tmp_path, capsys):
    assert guarded(phase_diagram.main, ["--config=configs/ablations.py"]) == 2
    assert guarded(phase_diagram.main, ["--x=loss.nonsense:1,2"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "variants" in said[0]
    assert "nonsense" in said[1]


def test_both_paths_train_one_network(tmp_path, capsys):
    """Double precision, 40 updates of a tiny network: only rounding separates the two."""
    path = tmp_path / "tiny.py"
    path.write_text(
        "from sicjax.config import load_config\n"
        "def get_config():\n"
        "    c = load_config('quick')\n"
        "    c.data.num_trajectories, c.data.trajectory_length = 4, 10\n"
        "    c.model.num_units, c.model.hidden_width = 7, 4\n"
        "    return c\n"
    )
    both_paths.main([f"--config={path}", "--steps=40", "--double", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in rows] == [20, 40]
    for row in rows:
        assert row["gradient"] < 1e-12
        assert row["weights"] < 1e-8
        assert row["activity"] < 1e-6
        assert row["nudged weights"] > 0
    assert rows[1]["fast (s)"] > rows[0]["fast (s)"] > 0


def test_both_paths_refuses_bad_arguments(capsys):
    for arguments in (["--steps=0"], ["--stpes=3"], ["--config=nowhere.py"]):
        assert guarded(both_paths.main, arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
