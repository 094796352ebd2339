"""Every public function with one strange argument gives a result, or a refusal in one line.

There is a sound call of each name of `sicjax.__all__`. One argument at a time is replaced by
something of another kind, or by the same numbers in another type or layout. The losses and
`sample_batch` are jitted functions. What JAX can't even pass to them, JAX refuses in its own words,
which may take several lines.
"""

import random
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import sicjax
from sicjax import plots, runs
from sicjax.config.fields import FIELDS
from sicjax.errors import CheckpointError
from tests.walks import smooth_walk

KEY = jax.random.key(0)
QUICK = Path(sicjax.__file__).parent / "pretrained" / "quick"  # a config.json without checkpoints


JAX_REFUSES = (
    "An overflow was encountered while parsing an argument to a jitted computation",
    "Non-hashable static arguments are not supported",
)


class TrainedError(AssertionError):
    """A config was accepted: the training would begin now."""


def train(field: str, value: Any) -> None:
    """Call `train` with another value of one field, up to the moment when training would begin."""
    config = sicjax.default_config().unlock()
    section, _, leaf = field.rpartition(".")
    with config.ignore_type():
        (config[section] if section else config)[leaf] = value
    with mock.patch.object(runs, "make_layout", side_effect=TrainedError):
        sicjax.train(config)


def rollout(velocities: Any, exact: Any) -> Any:
    return _quick().rollout(velocities, exact=exact)


def ratemaps(**arguments: Any) -> Any:
    return _quick().ratemaps(**arguments)


@cache
def _quick() -> sicjax.Run:
    return sicjax.load_pretrained("quick")


@cache
def sound() -> Mapping[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """A sound call of each name: function and arguments."""
    rng = np.random.default_rng(0)
    states, places = rng.random((2, 3, 4), np.float32), rng.random((2, 3, 2), np.float32)
    maps = rng.random((12, 12, 12))
    times = np.arange(4000) * 0.02
    path = smooth_walk(times)
    scales = {"sigma_x": 0.3, "sigma_g": 0.4}
    found = {"is_grid": np.ones(12, bool), "lattice": rng.random((12, 3, 2)),
             "spacing_m": np.full(12, 0.5)}  # fmt: skip
    return {
        "Method": (sicjax.Method, {"transition": None, "velocities": None, "terms": {}}),
        "Run.ratemaps": (ratemaps, {"box_m": 0.2, "walk_steps": 40, "mean_speed": 0.05,
                                    "key": KEY}),
        "Run.rollout": (rollout, {"velocities": 0.1 * places, "exact": True}),
        "analyze_ratemaps": (sicjax.analyze_ratemaps, {"ratemaps": maps[:2], "box_m": 1.0,
                                                       "num_shuffles": 1, "key": KEY}),
        "bin_activity": (sicjax.bin_activity, {"positions": places - 0.5, "activity": states,
                                               "box_m": 1.0, "bins": 4, "min_visits": 1}),
        "capacity_loss": (sicjax.capacity_loss, {"states": states}),
        "conformal_isometry_loss": (
            sicjax.conformal_isometry_loss,
            {"states": states, "initial_state": states[0, 0], "steps": places, "max_step": 0.8},
        ),
        "default_config": (sicjax.default_config, {}),
        "find_modules": (lambda **own: sicjax.find_modules(SimpleNamespace(**own)), found),
        "fold_ratemaps": (sicjax.fold_ratemaps, {"ratemaps": maps, "box_m": 1.0,
                                                 "axes": found["lattice"][0], "bins": 10}),
        "invariance_loss": (sicjax.invariance_loss, {"states": states, "positions": places,
                                                     "sigma_x": 0.3, "reduction": "mean"}),
        "load_config": (sicjax.load_config, {"name": "quick"}),
        "load_pretrained": (sicjax.load_pretrained, {"name": "quick"}),
        "load_run": (sicjax.load_run, {"workdir": QUICK, "network": 0}),
        "load_runs": (sicjax.load_runs, {"workdir": QUICK}),
        "load_weights": (sicjax.load_weights, {"path": QUICK}),
        "norm_relu": (sicjax.norm_relu, {"x": states}),
        "plots.ratemap_sheet": (
            lambda **own: plots.ratemap_sheet(**own, box_m=1.0, fig=plots.blank_figure()),
            {"ratemaps": maps[:2]},
        ),
        "sample_batch": (sicjax.sample_batch, {"key": KEY, "num_trajectories": 2,
                                               "trajectory_length": 3, "max_velocity": 0.1}),
        "score_recording": (
            sicjax.score_recording,
            {"times": times, "positions": path, "spike_times": [times[::40]], "units": "m",
             "arena": "square", "box_m": 1.0, "centre_m": (0.0, 0.0), "bin_m": 0.1,
             "smoothing_m": 0.1, "min_occupancy_s": 0.0, "min_speed": 0.0, "max_gap_s": 0.5,
             "num_shuffles": 1, "min_shift_s": 10.0, "key": KEY},
        ),
        "separation_loss": (sicjax.separation_loss, {"states": states, "positions": places,
                                                     **scales, "reduction": "mean"}),
        "torus_test": (sicjax.torus_test, {"ratemaps_of_one_module": maps, "num_shuffles": 0,
                                           "key": KEY, "num_landmarks": 7,
                                           "variance": 0.9, "null_landmarks": 7}),
        "train": (train, {"field": "loss.sigma_x", "value": 0.05}),
    }  # fmt: skip


STRANGE: Mapping[str, Callable[[], Any]] = {
    "nothing": lambda: None, "text": lambda: "north", "bytes": lambda: b"7",
    "true": lambda: True, "-1": lambda: -1, "0": lambda: 0, "1": lambda: 1, "2.5": lambda: 2.5,
    "NaN": lambda: float("nan"), "inf": lambda: float("inf"), "1e300": lambda: 1e300,
    "10**30": lambda: 10**30, "complex": lambda: 3j, "an empty list": list, "a table": dict,
    "a ragged list": lambda: [[1.0], [2.0, 3.0]], "an object": object, "a function": lambda: len,
    "a class": lambda: dict, "an empty array": lambda: np.zeros(0), "a set": lambda: {1.0},
    "an empty batch": lambda: np.zeros((0, 3, 2)), "words": lambda: np.array(["a", "b"]),
    "objects": lambda: np.array([None, {}]), "dates": lambda: np.array(["2020"], "datetime64[D]"),
    "a key": lambda: KEY, "ones": lambda: np.ones((1, 1, 1)), "one": lambda: np.float64(1),
    "an array in an array": lambda: jnp.ones(()), "a masked array": lambda: np.ma.ones((2, 2)),
    "a range": lambda: range(3), "a generator": lambda: (k for k in range(3)),
    "a path": lambda: Path("/nowhere"),
}  # fmt: skip
# The same numbers, rounded where a type of 8 bits can't hold them.
SAME: Mapping[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda a: a.astype(np.float64), "strided": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "Fortran's order": np.asfortranarray, "read only": lambda a: _read_only(a),
    "a list": lambda a: a.tolist(), "jax": jnp.asarray,
}  # fmt: skip
OTHER: Mapping[str, Callable[[np.ndarray], Any]] = {
    "bfloat16": lambda a: jnp.asarray(a, jnp.bfloat16), "float16": lambda a: a.astype(np.float16),
    "integers": lambda a: (9 * a).astype(np.int16), "booleans": lambda a: a > 0.5,
    "all NaN": lambda a: np.full(a.shape, np.nan), "one inf": lambda a: _with(a, np.inf),
    "one NaN": lambda a: _with(a, np.nan), "zeros": np.zeros_like, "large": lambda a: a * 1e12,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "an axis more": lambda a: a[None], "an axis less": lambda a: a[0], "transposed": lambda a: a.T,
    "the first alone": lambda a: a[:1], "none of it": lambda a: a[:0],
    "a narrow last axis": lambda a: a[..., :1], "complex": lambda a: a + 1j,
    "as text": lambda a: a.astype(str),
}  # fmt: skip


def _read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _with(array: np.ndarray, entry: float) -> np.ndarray:
    copy = array.astype(float)
    copy.flat[0] = entry
    return copy


def calls() -> list[tuple[str, str, str]]:
    """Every (name, argument, strangeness); of `train` the argument is a config's field."""
    found = []
    for name, (_, arguments) in sound().items():
        for argument, value in arguments.items():
            if name == "train" and argument == "field":
                continue
            tables = [STRANGE, *([SAME, OTHER] if isinstance(value, np.ndarray) else [])]
            fields = FIELDS if name == "train" else [argument]
            found += [(name, field, what) for field in fields for table in tables for what in table]
    return found


def problem(name: str, argument: str, what: str) -> str:
    """Return what is wrong with the end of a strange call; "" if nothing is."""
    function, arguments = sound()[name]
    if name == "train":
        arguments, argument = {"field": argument, "value": None}, "value"
    before = arguments[argument]
    changed = STRANGE[what]() if what in STRANGE else {**SAME, **OTHER}[what](before)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for kind in (UserWarning, RuntimeWarning):  # ours, of one line; NumPy's, of numbers
                warnings.simplefilter("ignore", kind)
            result = function(**{**arguments, argument: changed})
    except TrainedError:
        return ""
    except (
        TypeError, ValueError, IndexError, OverflowError, FileNotFoundError, CheckpointError,
    ) as error:  # fmt: skip
        said = str(error)
        if said.startswith(JAX_REFUSES) and what not in SAME:
            return ""
        if isinstance(error, OverflowError):
            return f"OverflowError: {said[:300]}"
        if what in SAME:
            return f"refused: {said[:300]}"
        return "" if said and "\n" not in said and len(said) < 700 else f"said: {said[:300]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return "" if what not in SAME else _difference(result, _sound_result(name))


@cache
def _sound_result(name: str) -> Any:
    function, arguments = sound()[name]
    return function(**arguments)


def _difference(result: Any, right: Any) -> str:
    """Return where two results of the same numbers differ by more than a few roundings."""
    pairs = zip(_numbers(result), _numbers(right), strict=True)
    wrong = [k for k, (a, b) in enumerate(pairs) if not _close(a, b)]
    return f"another result, in array {wrong[0]}" if wrong else ""


def _numbers(result: Any) -> list[np.ndarray]:
    fields = vars(result) if hasattr(result, "__dataclass_fields__") else result
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(fields) if not hasattr(leaf, "savefig")]
    return [leaf.astype(float) for leaf in leaves if leaf.dtype.kind in "biuf"]


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    # Single precision, of values about 1; float64 maps come to the same in double.
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def sample(name: str, number: int) -> list[tuple[str, str, str]]:
    """Some of the calls of a name, the same ones each time."""
    own = [call for call in calls() if call[0] == name]
    return random.Random(name).sample(own, min(number, len(own)))
