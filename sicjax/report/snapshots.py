"""Snapshots: quick maps of a network while it trains, kept for the film strip.

Letters: N units. The maps are of the 2 m box, from a few walks of 250 steps, so a snapshot takes
a second or two. Counts on them show where a training is heading, but are not verdicts.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from sicjax import plots
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.grid_score import Scores, score_ratemaps
from sicjax.analysis.kinds import active_units, lattices_at_a_glance
from sicjax.analysis.modules import find_modules
from sicjax.network.trajectories import smooth_walks
from sicjax.run import BIN_M, MEAN_SPEED, Run
from sicjax.training.files import write_whole

BOX_M = 2.0
WALKS, STEPS = 64, 250  # about six visits per bin
SHOWN = 24  # units in the picture


@dataclass(frozen=True)
class Snapshot:
    """Maps of one network at one update of its training, and two counts on them."""

    step: int
    ratemaps: np.ndarray  # [N, 50, 50], NaN where unvisited; half precision when read from disk
    lattice_fraction: float  # share of active units with a lattice; NaN where none is active
    modules: int  # number of groups of at least 10 hexagonal units


def take(run: Run) -> tuple[Snapshot, np.ndarray]:
    """Take a snapshot of a network.

    Returns:
        The snapshot, and a picture [height, width, 3] of the best units: their maps with grid
        scores, and their autocorrelograms.
    """
    largest = run.config.data.max_velocity
    walk = smooth_walks(
        jax.random.key(0), num_walks=WALKS, num_steps=STEPS, box_m=BOX_M, max_velocity=largest,
        mean_speed=MEAN_SPEED * largest,
    )  # fmt: skip
    maps = run.map_walks([walk], BOX_M).ratemaps
    active = np.flatnonzero(active_units(maps))
    scores = score_ratemaps(maps[active], BOX_M)
    kinds = lattices_at_a_glance(scores, np.ones(len(active), dtype=bool))
    hexagonal = SimpleNamespace(
        is_grid=kinds == "hexagonal", lattice=scores.axes_m, spacing_m=scores.spacing_m
    )
    snapshot = Snapshot(
        step=run.step,
        ratemaps=maps,
        lattice_fraction=float(np.mean(kinds != "")) if active.size else np.nan,
        modules=len(find_modules(hexagonal).members),
    )
    return snapshot, _picture(maps, scores, active)


def save(workdir: Path, network: int, snapshot: Snapshot) -> None:
    """Write a snapshot into a run's folder, completely or not at all."""
    path = _folder(workdir, network) / f"{snapshot.step:09d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez_compressed(
        packed, step=snapshot.step, ratemaps=snapshot.ratemaps.astype(np.float16),
        lattice_fraction=snapshot.lattice_fraction, modules=snapshot.modules,
    )  # fmt: skip
    write_whole(path, packed.getvalue())


def load(workdir: Path, network: int) -> list[Snapshot]:
    """Read a network's snapshots, by rising update, without damaged ones."""
    paths = _folder(workdir, network).glob("*.npz")
    return [found for path in sorted(paths) if (found := _read(path))]


def _read(path: Path) -> Snapshot | None:
    """Read a snapshot; None if its file is damaged: the film strip then leaves it out."""
    try:
        with path.open("rb") as file, np.load(file) as found:
            maps = found["ratemaps"]
            snapshot = Snapshot(
                int(found["step"]), maps, float(found["lattice_fraction"]), int(found["modules"])
            )
    except Exception:  # a flipped byte makes NumPy and zipfile raise errors of many classes
        return None
    return snapshot if maps.ndim == 3 else None


def cut_after(workdir: Path, step: int) -> None:
    """Remove the snapshots after an update, because a run that resumes there takes them again.

    Files that no run wrote stay.
    """
    for path in workdir.glob("snapshots/network_*/*"):
        ours = path.stem.isdecimal() and path.suffix == ".npz"
        if ours and int(path.stem) > step:
            path.unlink()


def _folder(workdir: Path, network: int) -> Path:
    return workdir / "snapshots" / f"network_{network:03d}"


def _picture(maps: np.ndarray, scores: Scores, active: np.ndarray) -> np.ndarray:
    if not active.size:  # otherwise show silent maps
        active, scores = np.arange(len(maps)), score_ratemaps(maps, BOX_M)
    best = np.argsort(-np.nan_to_num(scores.grid_score, nan=-9), kind="stable")[:SHOWN]
    titles = [f"u{active[n]} {scores.grid_score[n]:.2f}" for n in best]
    shown = maps[active[best]]
    correlograms = autocorrelogram(shown.astype(np.float32))
    quarter = correlograms.shape[-1] // 4
    sheets = [
        plots.ratemap_sheet(shown, BOX_M, titles=titles, fig=plots.blank_figure()),
        plots.autocorrelogram_sheet(
            correlograms[:, quarter:-quarter, quarter:-quarter], BIN_M,
            axes_m=scores.axes_m[best], fig=plots.blank_figure(),
        ),
    ]  # fmt: skip
    pictures = [plots.as_picture(sheet) for sheet in sheets]
    widest = max(picture.shape[1] for picture in pictures)
    padded = [
        np.pad(p, ((0, 0), (0, widest - p.shape[1]), (0, 0)), constant_values=255) for p in pictures
    ]
    return np.concatenate(padded)
