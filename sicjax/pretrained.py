"""Trained networks as plain NumPy archives: parameters only, float16, readable without JAX.

A folder holds `weights.npz` (`Dense_0.kernel` [2, H], `Dense_0.bias` [H], ... of the hypernetwork,
each kernel input by output, and `initial_direction` [N]), `config.json` and `provenance.json`.
Networks that come with the package also have `summary.json`, the report on exactly these weights.
"""

import json
import os
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sicjax.config.check import flatten
from sicjax.config.files import to_json
from sicjax.errors import CheckpointError, ConfigError, brief, one_line
from sicjax.paths import path
from sicjax.paths import path as as_path
from sicjax.run import Run, load_runs
from sicjax.training.method import Parameters
from sicjax.training.population import Population
from sicjax.training.weights import from_named_arrays, named_arrays, read_weights
from sicjax.training.workdir import read_config, read_json_table
from sicjax.version import __version__

PRETRAINED = Path(__file__).parent / "pretrained"
SAME_NETWORK = (
    "model.num_units", "model.hidden_width", "model.num_layers", "model.activation",
    "data.max_velocity",
)  # fmt: skip


def load_pretrained(name: str) -> Run:
    """Load a trained network that comes with the package.

    Args:
        name: a folder of sicjax/pretrained/.

    Returns:
        A `Run`, ready to roll out and map. Its parameters are float32, rounded to float16; the
        numbers in `summary.json` in its folder are measured on them.

    Raises:
        ValueError: no such network; the message lists those that exist.

    Source: ours; provenance.json in its folder names its config, seed and versions.

    Example:
        >>> import sicjax
        >>> run = sicjax.load_pretrained("quick")
        >>> run.rollout([[0.1, 0.0], [0.0, 0.1]]).shape
        (2, 64)
    """
    names = sorted(path.parent.name for path in PRETRAINED.glob("*/weights.npz"))
    if name not in names:
        raise ValueError(f"load_pretrained({brief(name)}): must be one of {', '.join(names)}")
    return load_weights(PRETRAINED / name)


def starting_parameters(population: Population) -> Parameters:
    """Return the parameters that the config's `start_from` names, leaves [P].

    Args:
        population: all its networks start from one source, or each from the source with its index.

    Raises:
        ConfigError: no such run or network, a number of networks that doesn't fit, a network that
            went non-finite, or one with other velocities or layers than this config.
    """
    config, name = population.config, population.config.start_from
    try:
        if (path("start_from", name, bucket=True) / "config.json").is_file():
            sources = load_runs(name, method=population.method)
        else:
            sources = [load_pretrained(name)]
    except (CheckpointError, OSError, ValueError) as error:
        raise ConfigError(f"start_from={name[:200]}: {one_line(error)}") from None
    if len(sources) not in (1, len(population)):
        raise ConfigError(
            f"start_from={name}: holds {len(sources)} networks; must be 1 or {len(population)}"
        )
    for source in sources:
        if source.failure is not None:
            raise ConfigError(f"start_from={name}: {source.failure}")
        there, here = flatten(source.config), flatten(config)
        for field in SAME_NETWORK:
            if there[field] != here[field]:
                raise ConfigError(
                    f"{field}={here[field]}: must be {there[field]}, that of start_from={name}"
                )
    given = sources * (len(population) // len(sources))
    parameters = [source.parameters for source in given]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parameters)


def load_weights(path: str | os.PathLike) -> Run:
    """Load a network from the file that `Run.save` wrote.

    Args:
        path: the .npz file; or a folder like those of the pretrained networks.

    Returns:
        A `Run`, ready to roll out and map.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ConfigError: the file is damaged, or does not hold weights.

    Source: ours.

    Example:
        >>> import sicjax
        >>> run = sicjax.load_pretrained("quick")
        >>> run.save("quick.npz")  # doctest: +SKIP
        >>> sicjax.load_weights("quick.npz").rollout([[0.1, 0.0]]).shape  # doctest: +SKIP
        (1, 64)
    """
    folder = as_path("path", path)
    if not folder.is_dir():
        config, parameters, about = read_weights(folder)
        return Run(config, parameters, about["network"], about["step"], variant=about["variant"])
    config = read_config(folder)
    origin = read_json_table(folder / "provenance.json")
    for name in ("network", "step", "variant"):
        if name not in origin:
            raise ConfigError(f"{folder / 'provenance.json'}: doesn't say the {name}")
    with np.load(folder / "weights.npz") as arrays:
        parameters = from_named_arrays(arrays, arrays)
    return Run(config, parameters, origin["network"], origin["step"], variant=origin["variant"])


def save_weights(run: Run, folder: Path, *, origin: str = "") -> None:
    """Write a network's parameters, config and provenance.

    Args:
        run: the network; its transition must be the package's own hypernetwork.
        folder: created if needed.
        origin: a line on its origin: the command, the hardware, the time it took.

    Raises:
        ValueError: a transition of the user's own, a network that went non-finite, or a parameter
            beyond the range of float16.
    """
    if run.method.transition is not None or run.failure is not None:
        raise ValueError("only finite networks with the package's own hypernetwork can be exported")
    with np.errstate(over="ignore"):
        halves: dict[str, Any] = {
            name: array.astype(np.float16) for name, array in named_arrays(run.parameters).items()
        }
    for name, half in halves.items():
        if not np.isfinite(half).all():
            raise ValueError(f"{name}: has entries beyond 65504, the largest number in float16")
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "weights.npz", **halves)
    (folder / "config.json").write_text(to_json(run.config))
    provenance = {
        "origin": origin,
        "seed": run.seed,
        "network": run.network,
        "step": run.step,
        "variant": run.variant,
        "parameters": int(sum(half.size for half in halves.values())),
        "exported_with": f"sicjax {__version__}, jax {jax.__version__}",
        "exported_on": f"{platform.machine()}, {jax.devices()[0].device_kind}",
    }
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
