"""sicjax: grid cells from self-supervised learning (Schaeffer et al. 2023) in JAX.

Lengths are in metres, angles in degrees, velocities in metres per step.

Names are imported when they are first used. So `import sicjax` itself takes no time, `norm_relu`
needs only JAX and Flax, and packages that score or draw maps are loaded only if you do that.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sicjax.version import __version__ as __version__

_HOMES = {
    "Method": "training.method",
    "Run": "run",
    "analyze_ratemaps": "analysis.units",
    "bin_activity": "analysis.ratemaps",
    "capacity_loss": "network.losses",
    "conformal_isometry_loss": "network.losses",
    "default_config": "config.check",
    "find_modules": "analysis.modules",
    "fold_ratemaps": "analysis.folding",
    "invariance_loss": "network.losses",
    "lattice_indices": "analysis.indices",
    "linear_ratemaps": "analysis.linear",
    "load_config": "config.files",
    "load_pretrained": "pretrained",
    "load_run": "run",
    "load_runs": "run",
    "load_weights": "pretrained",
    "norm_relu": "network.model",
    "plots": "",
    "report_activity": "report.activity",
    "report_recording": "report.recording",
    "rollout": "training.rollouts",
    "sample_batch": "network.trajectories",
    "score_recording": "analysis.recordings",
    "separation_loss": "network.losses",
    "torus_test": "analysis.torus",
    "train": "runs",
}
__all__ = [
    "Method",
    "Run",
    "analyze_ratemaps",
    "bin_activity",
    "capacity_loss",
    "conformal_isometry_loss",
    "default_config",
    "find_modules",
    "fold_ratemaps",
    "invariance_loss",
    "lattice_indices",
    "linear_ratemaps",
    "load_config",
    "load_pretrained",
    "load_run",
    "load_runs",
    "load_weights",
    "norm_relu",
    "plots",
    "report_activity",
    "report_recording",
    "rollout",
    "sample_batch",
    "score_recording",
    "separation_loss",
    "torus_test",
    "train",
]

if TYPE_CHECKING:  # for type checkers and editors
    from sicjax import plots
    from sicjax.analysis.folding import fold_ratemaps
    from sicjax.analysis.indices import lattice_indices
    from sicjax.analysis.linear import linear_ratemaps
    from sicjax.analysis.modules import find_modules
    from sicjax.analysis.ratemaps import bin_activity
    from sicjax.analysis.recordings import score_recording
    from sicjax.analysis.torus import torus_test
    from sicjax.analysis.units import analyze_ratemaps
    from sicjax.config.check import default as default_config
    from sicjax.config.files import load_config
    from sicjax.network.losses import (
        capacity_loss,
        conformal_isometry_loss,
        invariance_loss,
        separation_loss,
    )
    from sicjax.network.model import norm_relu
    from sicjax.network.trajectories import sample_batch
    from sicjax.pretrained import load_pretrained, load_weights
    from sicjax.report.activity import report_activity
    from sicjax.report.recording import report_recording
    from sicjax.run import Run, load_run, load_runs
    from sicjax.runs import train
    from sicjax.training.method import Method
    from sicjax.training.rollouts import rollout


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sicjax' has no attribute {name!r}")
    if not (home := _HOMES[name]):
        return importlib.import_module(f"sicjax.{name}")
    module = importlib.import_module(f"sicjax.{home}")
    value = getattr(module, "default" if name == "default_config" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
