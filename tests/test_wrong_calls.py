"""Wrong calls of the public functions: each is one line that names the argument."""

import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from sicjax import plots

KEY = jax.random.key(0)
MAPS = np.random.default_rng(0).random((12, 12, 12))
STATES, PLACES = jnp.ones((2, 3, 4)), jnp.ones((2, 3, 2))
TIMES, PATH = np.arange(100) * 0.02, np.random.default_rng(0).random((100, 2))
SCALES = {"sigma_x": 0.05, "sigma_g": 0.4}
QUICK = sicjax.__path__[0] + "/pretrained/quick"  # a config.json, as a run has one
WALK = np.zeros((5, 2))
STATES_2D = np.ones((100, 3))


def run():
    return sicjax.load_pretrained("quick")


def report(states, positions, **options):
    return sicjax.report_activity(states, positions, "nowhere", **options)


def with_field(name, value):
    config = sicjax.load_config("quick").unlock()
    section, _, leaf = name.rpartition(".")
    with config.ignore_type():
        (config[section] if section else config)[leaf] = value
    return config


def train(**options):
    return sicjax.train(sicjax.load_config("quick"), **options)


CALLS = {
    "train: a path": (lambda: sicjax.train("configs/quick.py"), "config"),
    "train: a table": (lambda: sicjax.train({"seed": 0}), "config"),
    "train: nothing": (lambda: sicjax.train(None), "config"),
    "train: a function": (lambda: sicjax.train(sicjax.default_config), "config"),
    "train: a frozen config": (
        lambda: sicjax.train(__import__("ml_collections").FrozenConfigDict({"seed": 0})),
        "config",
    ),
    "train: workdir": (lambda: train(workdir=3), "workdir"),
    "train: method": (lambda: train(method="paper"), "method"),
    "train: a transition as method": (lambda: train(method=lambda v: v), "method"),
    "train: text for a number": (lambda: sicjax.train(with_field("num_steps", "9")), "num_steps"),
    "train: array": (lambda: sicjax.train(with_field("seed", np.arange(2))), "seed"),
    "train: field": (lambda: sicjax.train(with_field("lr", 1.0)), "lr"),
    "train: section": (lambda: sicjax.train(with_field("data", 3)), "data"),
    "train: variants": (lambda: sicjax.train(with_field("variants", ["a"])), "variants"),
    "train: stages": (lambda: sicjax.train(with_field("stages", None)), "stages"),
    "load_config: nothing": (lambda: sicjax.load_config(None), "load_config"),
    "load_config: unknown": (lambda: sicjax.load_config("quik"), "quik"),
    "load_config: a folder": (lambda: sicjax.load_config("."), "config=."),
    "load_run: number": (lambda: sicjax.load_run(3), "workdir"),
    "load_run: nothing": (lambda: sicjax.load_run(None), "workdir"),
    "load_run: method": (lambda: sicjax.load_run("x", method=3), "method"),
    "load_run: network": (
        lambda: sicjax.load_run(sicjax.__path__[0] + "/pretrained/quick", "0"),
        "network",
    ),
    "load_runs: number": (lambda: sicjax.load_runs(3), "workdir"),
    "load_weights: number": (lambda: sicjax.load_weights(3), "path"),
    "save: number": (lambda: run().save(3), "path"),
    "load_pretrained: nothing": (lambda: sicjax.load_pretrained(None), "load_pretrained"),
    "load_pretrained: unknown": (lambda: sicjax.load_pretrained("none"), "load_pretrained"),
    "load_pretrained: list": (lambda: sicjax.load_pretrained(["quick"]), "load_pretrained"),
    "Method: transition": (lambda: sicjax.Method(transition=lambda v: v), "transition"),
    "Method: class": (lambda: sicjax.Method(transition=SimpleNamespace), "transition"),
    "Method: velocities": (lambda: sicjax.Method(velocities=np.zeros((3, 2))), "velocities"),
    "Method: terms": (lambda: sicjax.Method(terms=[len]), "terms"),
    "Method: term": (lambda: sicjax.Method(terms={"own": 3.0}), "terms"),
    "Method: name": (lambda: sicjax.Method(terms={3: len}), "terms"),
    "Method: positional": (lambda: sicjax.Method(len), "positional"),
    "sample_batch: number": (lambda: sicjax.sample_batch(0), "key"),
    "sample_batch: keys": (lambda: sicjax.sample_batch(jax.random.split(KEY)), "key"),
    "sample_batch: B": (lambda: sicjax.sample_batch(KEY, num_trajectories=-1), "num_trajectories"),
    "sample_batch: half": (
        lambda: sicjax.sample_batch(KEY, num_trajectories=1.5),
        "num_trajectories",
    ),
    "sample_batch: T": (lambda: sicjax.sample_batch(KEY, trajectory_length="6"), "length"),
    "sample_batch: huge": (lambda: sicjax.sample_batch(KEY, trajectory_length=10**10), "length"),
    "sample_batch: velocity": (lambda: sicjax.sample_batch(KEY, max_velocity=-1), "max_velocity"),
    "norm_relu: a name": (lambda: sicjax.norm_relu([[1.0], [2.0, 3.0]]), "x is"),
    "norm_relu: nothing": (lambda: sicjax.norm_relu(None), "x is"),
    "separation: text": (lambda: sicjax.separation_loss("a", PLACES, **SCALES), "states"),
    "separation: places": (lambda: sicjax.separation_loss(STATES, None, **SCALES), "positions"),
    "separation: sigma": (
        lambda: sicjax.separation_loss(STATES, PLACES, sigma_x=-1, sigma_g=0.4),
        "sigma_x",
    ),
    "invariance: reduction": (
        lambda: sicjax.invariance_loss(STATES, PLACES, sigma_x=0.05, reduction="max"),
        "reduction",
    ),
    "invariance: sigma": (
        lambda: sicjax.invariance_loss(STATES, PLACES, sigma_x="wide"),
        "sigma_x",
    ),
    "capacity: shape": (lambda: sicjax.capacity_loss(STATES[0]), "states"),
    "capacity: list": (lambda: sicjax.capacity_loss([[1.0], [2.0, 3.0]]), "states"),
    "conformal: start": (
        lambda: sicjax.conformal_isometry_loss(STATES, None, PLACES, max_step=0.05),
        "initial_state",
    ),
    "conformal: max_step": (
        lambda: sicjax.conformal_isometry_loss(STATES, jnp.ones(4), PLACES, max_step=-1),
        "max_step",
    ),
    "rollout: shape": (lambda: run().rollout(np.zeros(2)), "velocities"),
    "rollout: components": (lambda: run().rollout(np.zeros((5, 3))), "velocities"),
    "rollout: text": (lambda: run().rollout("north"), "velocities"),
    "rollout: NaN": (lambda: run().rollout(np.full((5, 2), np.nan)), "velocities"),
    "ratemaps: sides": (lambda: run().ratemaps(box_m=(2, 3)), "box_m"),
    "ratemaps: text": (lambda: run().ratemaps("2m"), "box_m"),
    "ratemaps: nothing": (lambda: run().ratemaps(None), "box_m"),
    "ratemaps: steps": (lambda: run().ratemaps(walk_steps=3), "walk_steps"),
    "ratemaps: half a step": (lambda: run().ratemaps(walk_steps=99.5), "walk_steps"),
    "ratemaps: speed": (lambda: run().ratemaps(mean_speed="fast"), "mean_speed"),
    "ratemaps: key": (lambda: run().ratemaps(key=0), "key"),
    "analyze: one map": (lambda: sicjax.analyze_ratemaps(MAPS[0], 2.0, key=KEY), "ratemaps"),
    "analyze: text": (lambda: sicjax.analyze_ratemaps("maps", 2.0, key=KEY), "ratemaps"),
    "analyze: a tuple of maps": (
        lambda: sicjax.analyze_ratemaps((MAPS, MAPS[0]), 2.0, key=KEY),
        "ratemaps",
    ),
    "analyze: box": (lambda: sicjax.analyze_ratemaps(MAPS, (2, 3), key=KEY), "box_m"),
    "analyze: text box": (lambda: sicjax.analyze_ratemaps(MAPS, "2", key=KEY), "box_m"),
    "analyze: key": (lambda: sicjax.analyze_ratemaps(MAPS, 2.0, key=0), "key"),
    "analyze: shuffles": (
        lambda: sicjax.analyze_ratemaps(MAPS, 2.0, num_shuffles=0, key=KEY),
        "num_shuffles",
    ),
    "analyze: half a shuffle": (
        lambda: sicjax.analyze_ratemaps(MAPS, 2.0, num_shuffles=2.5, key=KEY),
        "num_shuffles",
    ),
    "find_modules: maps": (lambda: sicjax.find_modules(MAPS), "analysis"),
    "find_modules: nothing": (lambda: sicjax.find_modules(None), "analysis"),
    "find_modules: lengths": (
        lambda: sicjax.find_modules(
            SimpleNamespace(is_grid=np.ones(3, bool), lattice=np.ones((2, 3, 2)), spacing_m=[1])
        ),
        "lattice",
    ),
    "torus_test: one map": (lambda: sicjax.torus_test(MAPS[0], num_shuffles=0, key=KEY), "ratemap"),
    "torus_test: shuffles": (lambda: sicjax.torus_test(MAPS, num_shuffles=-1, key=KEY), "shuffles"),
    "torus_test: key": (lambda: sicjax.torus_test(MAPS, num_shuffles=0, key=7), "key"),
    "torus_test: text": (lambda: sicjax.torus_test("maps", num_shuffles=0, key=KEY), "ratemap"),
    "bin_activity: shapes": (
        lambda: sicjax.bin_activity(WALK, np.zeros((4, 2)), box_m=1.0, bins=4),
        "activity",
    ),
    "bin_activity: number": (
        lambda: sicjax.bin_activity(WALK, 3, box_m=1.0, bins=4),
        "activity",
    ),
    "bin_activity: text": (
        lambda: sicjax.bin_activity("path", np.zeros((5, 1)), box_m=1.0, bins=4),
        "positions",
    ),
    "bin_activity: box": (
        lambda: sicjax.bin_activity(WALK, np.zeros((5, 1)), box_m=(1, 2), bins=4),
        "box_m",
    ),
    "bin_activity: bins": (
        lambda: sicjax.bin_activity(WALK, np.zeros((5, 1)), box_m=1.0, bins=4.5),
        "bins",
    ),
    "bin_activity: visits": (
        lambda: sicjax.bin_activity(WALK, np.zeros((5, 1)), box_m=1.0, bins=4, min_visits="x"),
        "min_visits",
    ),
    "score: times": (lambda: sicjax.score_recording("t", PATH, [TIMES]), "times"),
    "score: lengths": (lambda: sicjax.score_recording(TIMES[:9], PATH, [TIMES]), "times"),
    "score: positions": (lambda: sicjax.score_recording(TIMES, PATH[:, 0], [TIMES]), "positions"),
    "score: spikes": (lambda: sicjax.score_recording(TIMES, PATH, 3), "spike_times"),
    "score: nothing": (lambda: sicjax.score_recording(TIMES, PATH, None), "spike_times"),
    "score: units": (
        lambda: sicjax.score_recording(TIMES, PATH, [TIMES], units="feet"),
        "units",
    ),
    "score: arena": (lambda: sicjax.score_recording(TIMES, PATH, [TIMES], arena="L"), "arena"),
    "score: bin": (lambda: sicjax.score_recording(TIMES, PATH, [TIMES], bin_m="2"), "bin_m"),
    "score: key": (lambda: sicjax.score_recording(TIMES, PATH, [TIMES], key=3), "key"),
    "report: text": (lambda: report("states", WALK), "states"),
    "report: nothing": (lambda: report(None, WALK), "states"),
    "report: no units": (lambda: report(np.zeros((5, 0)), WALK), "states"),
    "report: one unit's": (lambda: report(np.zeros(5), WALK), "states"),
    "report: NaN": (lambda: report(np.full((5, 3), np.nan), WALK), "states"),
    "report: positions": (lambda: report(np.ones((5, 3)), WALK[:4]), "positions"),
    "report: axes swapped": (lambda: report(np.ones((5, 3)), WALK.T), "positions"),
    "report: position NaN": (lambda: report(np.ones((5, 3)), WALK + np.nan), "positions"),
    "report: text positions": (lambda: report(np.ones((5, 3)), "path"), "positions"),
    "report: one place": (lambda: report(np.ones((5, 3)), WALK), "positions"),
    "report: too few bins": (lambda: report(STATES_2D, PATH, box_m=4.0), "positions"),
    "report: folder": (lambda: sicjax.report_activity(STATES_2D, PATH, 3), "folder"),
    "report: name": (lambda: report(STATES_2D, PATH, name=3), "name"),
    "report: units": (lambda: report(STATES_2D, PATH, units="feet"), "units"),
    "report: box": (lambda: report(STATES_2D, PATH, box_m=(1, 2)), "box_m"),
    "report: text box": (lambda: report(STATES_2D, PATH, box_m="1"), "box_m"),
    "report: centre": (lambda: report(STATES_2D, PATH, box_m=1.0, centre_m=3), "centre_m"),
    "report: bin": (lambda: report(STATES_2D, PATH, box_m=1.0, bin_m=0), "bin_m"),
    "report: few bins": (lambda: report(STATES_2D, PATH, box_m=1.0, bin_m=0.5), "bin_m"),
    "report: visits": (lambda: report(STATES_2D, PATH, min_visits=0), "min_visits"),
    "report: rolls": (lambda: report(STATES_2D, PATH, torus_rolls=-1), "torus_rolls"),
    "ratemap_sheet: one map": (lambda: plots.ratemap_sheet(MAPS[0], 2.0), "ratemaps"),
    "ratemap_sheet: a RateMaps": (lambda: plots.ratemap_sheet(run(), 2.0), "ratemaps"),
    "ratemap_sheet: box": (lambda: plots.ratemap_sheet(MAPS, (2, 3)), "box_m"),
    "ratemap_sheet: order": (lambda: plots.ratemap_sheet(MAPS, 2.0, order=[99]), "order"),
    "ratemap_sheet: titles": (lambda: plots.ratemap_sheet(MAPS, 2.0, titles=["a"]), "titles"),
    "autocorrelogram_sheet: one": (
        lambda: plots.autocorrelogram_sheet(MAPS[0], 0.04),
        "correlograms",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_one_line_that_names_the_argument(name):
    call, argument = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is assumed before a call is found wrong
        check(call, argument)


def check(call, argument):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert argument in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
