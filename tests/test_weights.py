"""Trained networks that come with the package: measurements equal their summary."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import sicjax
from experiments import export_weights
from sicjax.analysis.grid_score import score_ratemaps
from sicjax.analysis.kinds import active_units, lattices_at_a_glance
from sicjax.command import guarded
from sicjax.errors import ConfigError
from sicjax.pretrained import PRETRAINED, load_weights, save_weights
from sicjax.report.tables import median

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.parent.name for path in PRETRAINED.glob("*/weights.npz"))
SMALLEST_FIRST = [
    "quick",
    *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n != "quick"),
]


@pytest.mark.parametrize("name", SMALLEST_FIRST)
def test_rate_maps_give_the_committed_figures(name):
    """Another machine rounds differently, and long walks amplify it.

    Rounding the weights themselves to float16, a perturbation 4,000 times that of float32
    arithmetic, changed the three by at most one unit's lattice, 0.004 of score, 0.04 % of period
    and 0.004 of variance; the tolerances are at least twice that.
    """
    summary = json.loads((PRETRAINED / name / "summary.json").read_text())
    run = sicjax.load_pretrained(name)
    long, short = run.ratemaps(2.0), run.ratemaps(2.0, walk_steps=120)
    active = active_units(long.ratemaps)
    scores = score_ratemaps(long.ratemaps, 2.0)
    kinds = lattices_at_a_glance(scores, active)
    assert active.sum() == pytest.approx(summary["active_units"], abs=3)
    assert (kinds == "hexagonal").sum() == pytest.approx(summary["hexagonal_units"], abs=3)
    assert (kinds == "square").sum() == pytest.approx(summary["square_units"], abs=3)
    hexagonal = kinds == "hexagonal"
    if summary["hexagonal_units"] > 10:
        found = median(scores.grid_score[hexagonal])
        assert found == pytest.approx(summary["median_grid_score_hexagonal"], abs=0.03)
    for maps, key in ((long, "variance_explained_long"), (short, "variance_explained_short")):
        assert median(maps.variance_explained[active]) == pytest.approx(summary[key], abs=0.01)


@pytest.mark.parametrize("name", SMALLEST_FIRST)
def test_modules_are_the_committed_ones(name):
    """With 5 shuffles instead of 100, verdicts on a few units may differ, but no period."""
    summary = json.loads((PRETRAINED / name / "summary.json").read_text())
    box_m = summary.get("verdict_box_m", 3.0)
    maps = sicjax.load_pretrained(name).ratemaps(box_m).ratemaps
    units = sicjax.analyze_ratemaps(maps, box_m, num_shuffles=5, key=jax.random.key(0))
    modules = sicjax.find_modules(units)
    wanted = summary["modules"]
    assert len(modules.members) == len(wanted) > 0
    for members, period_m, module in zip(modules.members, modules.period_m, wanted, strict=True):
        assert len(members) == pytest.approx(module["units"], abs=3)
        assert period_m == pytest.approx(module["period_m"], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_archive_is_plain_float16_with_its_provenance(name):
    folder = PRETRAINED / name
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
        count = sum(array.size for array in arrays.values())
    origin = json.loads((folder / "provenance.json").read_text())
    assert origin["parameters"] == count
    assert origin["origin"]
    summary = json.loads((folder / "summary.json").read_text())
    run = sicjax.load_pretrained(name)
    assert (run.seed, run.step, run.network, run.variant) == tuple(
        summary[key] for key in ("seed", "step", "network", "variant")
    )
    assert run.seed == origin["seed"]


def test_all_weights_together_are_small():
    size = sum(path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file())
    assert size < 20e6


def test_unknown_name_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"must be one of .*quick"):
        sicjax.load_pretrained("quack")


def test_what_is_saved_is_loaded(finished, tmp_path):
    run = sicjax.load_run(finished)
    save_weights(run, tmp_path, origin="a test")
    again = load_weights(tmp_path)
    walk = 0.1 * np.ones((5, 2))
    # float16 keeps 11 bits: 5e-4 of each weight, over 5 steps of unit vectors.
    np.testing.assert_allclose(again.rollout(walk), run.rollout(walk), atol=5e-3)
    assert again.config.to_dict() == run.config.to_dict()
    assert (again.step, again.seed) == (run.step, run.seed)
    with np.load(tmp_path / "weights.npz") as arrays:
        names = {name.partition(".")[0] for name in arrays}
    assert names == {"Dense_0", "Dense_1", "Dense_2", "initial_direction"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pretrained network, and the file that it was saved into."""
    run = sicjax.load_pretrained("quick")
    return run, run.save(tmp_path_factory.mktemp("saved") / "quick.npz")


def page_code(language):
    """Return the last block of a language on the page of weights."""
    text = (ROOT / "docs" / "weights.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[-1]


def walks(number):
    return 0.1 * np.random.default_rng(0).uniform(-1, 1, (number, 20, 2)).astype(np.float32)


def test_a_saved_run_is_the_same_run(saved):
    run, path = saved
    again = sicjax.load_weights(path)
    np.testing.assert_array_equal(again.rollout(walks(2)), run.rollout(walks(2)))
    assert again.config.to_dict() == run.config.to_dict()
    assert (again.step, again.seed, again.network) == (run.step, run.seed, run.network)
    np.testing.assert_array_equal(
        sicjax.load_weights(PRETRAINED / "quick").initial_state, run.initial_state
    )


def test_a_saved_run_needs_numpy_alone(saved, monkeypatch):
    """NumPy sums in another order: 20 steps of unit vectors, each rounded at 6e-8."""
    run, path = saved
    monkeypatch.chdir(path.parent)
    names = {}
    exec(page_code("python"), names)
    np.testing.assert_allclose(names["rollout"](walks(1)[0]), run.rollout(walks(1)[0]), atol=1e-5)


def test_the_pytorch_module_of_the_page_gives_the_same_states(saved):
    torch = pytest.importorskip("torch")
    run, path = saved
    names = {}
    exec(page_code("py"), names)
    module = names["GridCells"](path)
    with torch.no_grad():
        states = module(torch.tensor(walks(3))).numpy()
    np.testing.assert_allclose(states, run.rollout(walks(3)), atol=1e-5)
    module(torch.tensor(walks(1))).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_saving_refuses_to_overwrite_and_what_it_cannot_hold(saved, tmp_path):
    run, path = saved
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"quick\.npz"):
        run.save(path)
    assert path.read_bytes() == before
    run.save(str(path), overwrite=True)
    with pytest.raises(ValueError, match="npz"):
        run.save(tmp_path / "weights")
    for own in ({"failure": "step 3"}, {"method": sicjax.Method(transition=Own())}):
        with pytest.raises(ValueError, match="hypernetwork"):
            dataclasses.replace(run, **own).save(tmp_path / "own.npz")
    assert not list(tmp_path.iterdir())


class Own:
    def init(self, key, velocity):
        return {}

    def apply(self, parameters, velocities):
        return velocities


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        b"PK\x03\x04",
        {"config": "{}", "about": "{}"},
        {"about": "[]"},
        {"config": "["},
        {"config": None},
        {"Dense_0.bias": np.zeros(3)},
        {"initial_direction": None},
    ],
    ids=str,
)
def test_a_file_that_holds_no_weights_is_one_line(saved, tmp_path, content):
    path = tmp_path / "other.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with np.load(saved[1]) as file:
            arrays = {**file, **content}
        np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(ConfigError, match=r"other\.npz") as error:
        sicjax.load_weights(path)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError):
        sicjax.load_weights(tmp_path / "nowhere.npz")


@pytest.mark.usefixtures("x64")
def test_weights_are_single_precision_under_double():
    run = sicjax.load_pretrained("quick")
    assert {leaf.dtype for leaf in jax.tree.leaves(run.parameters)} == {np.dtype(np.float32)}
    walk = 0.05 * np.random.default_rng(0).standard_normal((2, 30, 2))
    double = run.rollout(walk)
    with jax.enable_x64(False):
        single = sicjax.load_pretrained("quick").rollout(walk)
    # 30 steps of unit vectors, each a product of 64 entries rounded at 6e-8 in another order; an
    # attractor keeps what moves its state along it.
    np.testing.assert_allclose(double, single, atol=1e-4)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"network": 0}', b"\xff", b"[" * 9999])
@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
def test_damaged_weights_are_one_line(tmp_path, name, text):
    for path in (PRETRAINED / "quick").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ConfigError) as error:
        load_weights(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(error.value)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path)


def test_what_cannot_be_exported_is_refused(finished, tmp_path, capsys):
    run = sicjax.load_run(finished)
    huge = dataclasses.replace(run, parameters=jax.tree.map(lambda a: 1e9 * a, run.parameters))
    with pytest.raises(ValueError, match="initial_direction"):
        save_weights(huge, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    flags = [f"--workdir={tmp_path}", "--network=0", "--name=none"]
    assert guarded(export_weights.main, flags) == 2
    assert "no config.json" in capsys.readouterr().err
    assert guarded(export_weights.main, ["--workdir=x"]) == 2
    assert "--network=K" in capsys.readouterr().err
    assert not (PRETRAINED / "none").exists()
