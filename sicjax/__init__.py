"""sicjax: grid cells from self-supervised learning (Schaeffer et al. 2023) in JAX.

Lengths are in metres, angles in degrees, velocities in metres per step.
"""

__version__ = "0.1.0"

from sicjax import plots
from sicjax.analysis.modules import find_modules
from sicjax.analysis.ratemaps import bin_activity
from sicjax.analysis.recordings import score_recording
from sicjax.analysis.torus import torus_test
from sicjax.analysis.units import analyze_ratemaps
from sicjax.config import default as default_config
from sicjax.loop import train
from sicjax.losses import (
    capacity_loss,
    conformal_isometry_loss,
    invariance_loss,
    separation_loss,
)
from sicjax.model import norm_relu
from sicjax.run import Run, load_run
from sicjax.training import Method
from sicjax.trajectories import sample_batch
from sicjax.weights import load_pretrained

__all__ = [
    "Method",
    "Run",
    "analyze_ratemaps",
    "bin_activity",
    "capacity_loss",
    "conformal_isometry_loss",
    "default_config",
    "find_modules",
    "invariance_loss",
    "load_pretrained",
    "load_run",
    "norm_relu",
    "plots",
    "sample_batch",
    "score_recording",
    "separation_loss",
    "torus_test",
    "train",
]
