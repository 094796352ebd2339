"""A network's weights as one NumPy archive that any program can read.

The archive holds `Dense_0.kernel` [2, H], `Dense_0.bias` [H], ... of the hypernetwork, each kernel
input by output; `initial_direction` [N]; and two texts of JSON, `config` and `about`.

Letters: N units; H hidden width.
"""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sicjax.config.check import validate
from sicjax.config.files import from_json, to_json
from sicjax.errors import ConfigError, one_line
from sicjax.training.method import Parameters
from sicjax.training.workdir import write_whole

DIRECTION, CONFIG, ABOUT = "initial_direction", "config", "about"
KNOWN = ("network", "step", "variant")  # names in `about`


def named_arrays(parameters: Parameters) -> dict[str, np.ndarray]:
    """Return the parameters by name: `initial_direction`, `Dense_0.kernel`, `Dense_0.bias`, ..."""
    arrays = {DIRECTION: np.asarray(parameters.initial_direction)}
    for layer, leaves in parameters.hypernetwork["params"].items():
        arrays |= {f"{layer}.{leaf}": np.asarray(array) for leaf, array in leaves.items()}
    return arrays


def from_named_arrays(arrays: Mapping[str, np.ndarray], names: Iterable[str]) -> Parameters:
    """Return the parameters from the arrays of `named_arrays`, in float32."""
    layers: dict[str, dict[str, Any]] = {}
    for name in {*names} - {DIRECTION}:
        layer, _, leaf = name.partition(".")
        layers.setdefault(layer, {})[leaf] = jnp.asarray(arrays[name], jnp.float32)
    direction = jnp.asarray(arrays[DIRECTION], jnp.float32)
    return Parameters({"params": layers}, direction)


def write_weights(
    path: Path, config: ConfigDict, parameters: Parameters, about: Mapping[str, Any]
) -> None:
    """Write the archive, whole or not at all."""
    entries: dict[str, Any] = {CONFIG: to_json(config), ABOUT: json.dumps(about)}
    entries |= named_arrays(parameters)
    file = io.BytesIO()
    np.savez(file, **entries)
    write_whole(path, file.getvalue())


def read_weights(path: Path) -> tuple[ConfigDict, Parameters, dict[str, Any]]:
    """Return the config, the parameters and the `about` of an archive.

    Raises:
        FileNotFoundError: the archive does not exist.
        ConfigError: the archive is damaged, or `write_weights` did not write it.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = dict(file)
        config = from_json(str(arrays.pop(CONFIG)))
        about = json.loads(str(arrays.pop(ABOUT)))
        validate(config)
        if missing := [name for name in KNOWN if name not in about]:
            raise ValueError(f"`about` doesn't hold {missing[0]}")
        shapes = _shapes(config)
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"{name} is {arrays[name].shape}: must be {shape}")
    except FileNotFoundError:
        raise
    except KeyError as error:
        raise ConfigError(f"{path}: not a file of saved weights: it has no {error}") from None
    except (OSError, ValueError, TypeError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: not a file of saved weights: {one_line(error)}") from None
    return config, from_named_arrays(arrays, shapes), about


def _shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its name."""
    model = config.model
    widths = [2, *[model.hidden_width] * (model.num_layers - 1), model.num_units**2]
    shapes: dict[str, tuple[int, ...]] = {DIRECTION: (model.num_units,)}
    for k in range(model.num_layers):
        shapes[f"Dense_{k}.kernel"] = widths[k], widths[k + 1]
        shapes[f"Dense_{k}.bias"] = (widths[k + 1],)
    return shapes
