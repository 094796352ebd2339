"""Wrong calls of every public name: each is one line that names the argument.

There is a sound call of each name (`strange_calls.sound`); one argument at a time is replaced.
`pytest -m slow tests/test_fuzz.py` replaces each argument by many more things.
"""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

import sicjax
from sicjax import plots
from tests.storm import strange_calls

KEY = jax.random.key(0)
MAPS = np.random.default_rng(0).random((12, 12, 12))
STATES, PLACES = np.ones((2, 3, 4), np.float32), np.ones((2, 3, 2), np.float32)
TIMES, PATH = np.arange(100) * 0.02, np.random.default_rng(0).random((100, 2))
RAGGED = [[1.0], [2.0, 3.0]]
WALK = np.zeros((5, 2))
NOT_FLOAT = [STATES.astype(dtype) for dtype in (np.int32, bool, np.complex64)]


def with_field(name, value):
    config = sicjax.load_config("quick").unlock()
    section, _, leaf = name.rpartition(".")
    with config.ignore_type():
        (config[section] if section else config)[leaf] = value
    return config


def modules(**changed):
    found = {"is_grid": np.ones(3, bool), "lattice": np.ones((3, 3, 2)), "spacing_m": np.ones(3)}
    return SimpleNamespace(**found | changed)


REPORTED = {"states": np.ones((100, 3)), "positions": PATH, "folder": "nowhere"}
SHEET = {"ratemaps": MAPS, "box_m": 2.0}
SOUND = {
    **strange_calls.sound(),
    "train": (sicjax.train, {"config": sicjax.load_config("quick")}),
    "find_modules": (sicjax.find_modules, {"analysis": modules()}),
    "lattice_indices": (sicjax.lattice_indices, {"analysis": modules()}),
    "report_activity": (sicjax.report_activity, REPORTED),
    "report_activity, in a box": (sicjax.report_activity, REPORTED | {"box_m": 1.0}),
    "report_recording": (sicjax.report_recording, {"cells": None, "folder": "nowhere"}),
    "linear_ratemaps": (
        sicjax.linear_ratemaps,
        {"times": TIMES, "positions": PATH[:, 0], "spike_times": [TIMES], "units": "m"},
    ),
    "rollout": (
        sicjax.rollout,
        {"parameters": None, "velocities": WALK, "config": sicjax.load_config("quick")},
    ),
    "Run.save": (sicjax.load_pretrained("quick").save, {"path": "nowhere.npz"}),
    "plots.ratemap_sheet": (plots.ratemap_sheet, SHEET),
    "plots.autocorrelogram_sheet": (
        plots.autocorrelogram_sheet,
        {"correlograms": MAPS, "bin_m": 0.04},
    ),
}
LENGTH = [-0.05, math.nan, "wide"]
COUNT = [-1, 1.5, "6"]
WRONG = {
    "train": {
        "config": ["configs/quick.py", {"seed": 0}, None, sicjax.default_config,
                   ml_collections.FrozenConfigDict({"seed": 0})],
        "workdir": [3],
        "method": ["paper", lambda v: v],
    },
    "load_config": {"name": [None, "quik", ".", 5000 * "q"]},
    "load_run": {"workdir": [3, None], "network": ["0"], "method": [3]},
    "load_runs": {"workdir": [3]},
    "load_weights": {"path": [3]},
    "Run.save": {"path": [3]},
    "load_pretrained": {"name": [None, "none", ["quick"]]},
    "Method": {
        "transition": [lambda v: v, SimpleNamespace],
        "velocities": [np.zeros((3, 2))],
        "terms": [[len], {"own": 3.0}, {3: len}],
    },
    "sample_batch": {
        "key": [0, jax.random.split(KEY)],
        "num_trajectories": COUNT,
        "trajectory_length": [*COUNT, 10**10],
        "max_velocity": [-1, "fast", math.inf, math.nan],
    },
    "norm_relu": {"x": [RAGGED, None, STATES > 0]},
    "separation_loss": {
        "states": ["a", RAGGED, STATES[0], *NOT_FLOAT],
        "positions": [None, PLACES[:, :2], PLACES > 0],
        "sigma_x": LENGTH,
        "sigma_g": [0, -0.4, math.inf, jnp.float32(-1), np.ones(3)],
    },
    "invariance_loss": {
        "states": NOT_FLOAT,
        "positions": [PLACES[..., :1], PLACES > 0],
        "sigma_x": LENGTH,
        "reduction": ["max"],
    },
    "capacity_loss": {"states": [STATES[0], RAGGED, *NOT_FLOAT]},
    "conformal_isometry_loss": {
        "states": NOT_FLOAT,
        "initial_state": [None, np.ones(5, np.float32)],
        "max_step": LENGTH,
        "min_step": LENGTH,
    },
    "rollout": {"velocities": [np.zeros(2), np.zeros((5, 3)), "north"]},
    "Run.rollout": {
        "velocities": [np.zeros(2), np.zeros((5, 3)), "north", np.full((5, 2), np.nan)],
    },
    "Run.ratemaps": {
        "box_m": [(2, 3), "2m", None, 0.0],
        "walk_steps": [3, 10, 99.5],
        "mean_speed": ["fast", 0.0],
        "key": [0],
    },
    "analyze_ratemaps": {
        "ratemaps": [MAPS[0], "maps", (MAPS, MAPS[0]), MAPS[:, 2:]],
        "box_m": [(2, 3), "2"],
        "key": [0],
        "num_shuffles": [0, 2.5],
    },
    "find_modules": {"analysis": [MAPS, None]},
    "fold_ratemaps": {
        "ratemaps": [MAPS[0], "maps", MAPS[:, 1:]],
        "box_m": [*LENGTH, 0],
        "axes": [1.2, np.ones((2, 2)), np.ones((3, 2)), "L"],
        "bins": [*COUNT, 9],
    },
    "lattice_indices": {
        "analysis": [MAPS, None],
        "coarsest": [1.2, np.ones((2, 2)), np.ones((3, 2)), "L"],
        "min_units": [2, "3"],
        "tolerance": [0, -1, "8 %"],
    },
    "torus_test": {
        "ratemaps_of_one_module": [MAPS[0], "maps"],
        "num_shuffles": [-1, math.nan],
        "num_landmarks": [-5, 6, 80.5],  # no torus has a triangulation of six vertices
        "null_landmarks": [6],
        "variance": [0.0, -0.5, 1.01, math.nan],
        "key": [7],
    },
    "bin_activity": {
        "positions": ["path", np.zeros((2, 3, 3)), PLACES + np.inf],
        "activity": [STATES[:, :2], 3, STATES + np.nan],
        "box_m": [(1, 2), math.nan],
        "bins": [4.5, 0],
        "min_visits": ["x", 0],
    },
    "score_recording": {
        "times": ["t", TIMES],
        "positions": [PATH[:, 0]],
        "spike_times": [3, None],
        "units": ["feet"],
        "arena": ["L"],
        "bin_m": ["2"],
        "key": [3],
    },
    "linear_ratemaps": {"times": ["t"], "spike_times": [3, None], "bin_m": ["2"]},
    "report_recording": {"cells": [MAPS, None]},
    "report_activity": {
        "states": ["states", None, np.zeros((100, 0)), np.zeros(100), np.full((100, 3), np.nan)],
        "positions": [PATH[:4], PATH.T, PATH + np.nan, "path", 0 * PATH],
        "folder": [3],
        "name": [3],
        "units": ["feet"],
        "box_m": [(1, 2), "1"],
        "min_visits": [0],
        "torus_rolls": [-1],
    },
    "report_activity, in a box": {"centre_m": [3], "bin_m": [0, 0.5]},
    "plots.ratemap_sheet": {
        "ratemaps": [MAPS[0], SimpleNamespace()],
        "box_m": [(2, 3)],
        "order": [[99]],
        "titles": [["a"]],
    },
    "plots.autocorrelogram_sheet": {"correlograms": [MAPS[0]]},
}  # fmt: skip
# What stands for the argument in a message: its value, or the function that was called.
SAID = {
    "load_config": ("load_config", "config="),
    "load_pretrained": ("load_pretrained",),
    "torus_test": ("ratemaps", "_landmarks", "num_shuffles", "variance", "key"),
}


def problem(call, arguments, *names):
    """Return what is wrong with the end of a wrong call; "" if nothing is."""
    try:
        call(**arguments)
    except (ValueError, TypeError) as error:
        said = str(error)
        good = "\n" not in said and len(said) < 500 and any(name in said for name in names)
        return "" if good else said
    return "taken"


@pytest.mark.filterwarnings("ignore")  # warnings about assumptions before the error
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_one_line_that_names_the_argument(name):
    call, sound = SOUND[name]
    found = {
        f"{argument}={value!r}": problem(
            call, sound | {argument: value}, *SAID.get(name, (argument,))
        )
        for argument, values in WRONG[name].items()
        for value in values
    }
    assert not {wrong: said for wrong, said in found.items() if said}


def test_every_public_name_is_called_wrongly():
    assert {name.partition(".")[0].partition(",")[0] for name in WRONG} == {*sicjax.__all__} - {
        "default_config"  # takes nothing
    }


def test_other_wrong_calls_are_one_line():
    fields = {"num_steps": "9", "seed": np.arange(2), "lr": 1.0, "data": 3, "variants": ["a"],
              "stages": None}  # fmt: skip
    found = {
        name: problem(sicjax.train, {"config": with_field(name, value)}, name)
        for name, value in fields.items()
    }
    found["Method(len)"] = problem(lambda: sicjax.Method(len), {}, "positional")
    lengths = {"analysis": modules(lattice=np.ones((2, 3, 2)), spacing_m=[1])}
    found["find_modules"] = problem(sicjax.find_modules, lengths, "lattice")
    assert not {wrong: said for wrong, said in found.items() if said}


@pytest.mark.parametrize("name", ["separation_loss", "invariance_loss", "norm_relu"])
def test_the_same_numbers_in_another_layout_give_the_same(name):
    """Lists, strides, Fortran's order and another precision are the same numbers."""
    arrays = [k for k, v in strange_calls.sound()[name][1].items() if isinstance(v, np.ndarray)]
    calls = [(name, argument, layout) for argument in arrays for layout in strange_calls.SAME]
    assert not {call: said for call in calls if (said := strange_calls.problem(*call))}
