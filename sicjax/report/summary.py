"""The numbers of a report: summary.json, units.csv, modules.csv.

Letters: N units. Lengths in metres.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sicjax.analysis.ambiguity import DistanceMap
from sicjax.analysis.attractor import QUANTILES, Attractor
from sicjax.analysis.kinds import KINDS, active_units, lattices_at_a_glance
from sicjax.analysis.lattice import orientation_deg
from sicjax.analysis.relations import ModuleDrifts, ModuleRelations
from sicjax.report.dynamics import Dynamics
from sicjax.report.evaluate import SHORT_BOXES_M, Evaluation, Judged, Mapped, median
from sicjax.run import Run

SAME_PERIOD = 0.05  # relative difference between boxes
MODULE_COLUMNS = (
    "module", "units", "period_m", "period_low_m", "period_high_m", "ratio", "orientation_deg",
    "split_p", "betti_0", "betti_1", "betti_2", "is_torus", "variance_in_6_components",
)  # fmt: skip


def summarise(run: Run, evaluation: Evaluation, variant: str) -> dict[str, Any]:
    """Return the numbers of summary.json; NaN where there is nothing to measure."""
    active, first, path = evaluation.active, evaluation.first, evaluation.path
    short = evaluation.short[SHORT_BOXES_M[0]]
    return {
        "seed": run.seed,
        "variant": variant,
        "network": run.network,
        "step": run.step,
        "failure": run.failure,
        **units_summary(evaluation),
        "variance_explained_long": median(first.maps.variance_explained[active]),
        "variance_explained_short": median(short.maps.variance_explained[active]),
        **modules_summary(evaluation),
        "path_integration": _path_integration_summary(evaluation),
        "steps_position_holds": steps_position_holds(evaluation),
        "grid_cells_of_same_period": _same_period(evaluation),
        "place": place_summary(evaluation.dynamics.places),
        "attractor": attractor_summary(evaluation.dynamics.attractor),
        "attractor_untrained": attractor_summary(evaluation.dynamics.untrained),
        "module_relation": relation_summary(evaluation.dynamics),
        "recorded_path_correlation": np.nan if path is None else path.correlation,
        "recorded_path_pieces_correlation": np.nan if path is None else path.pieces_correlation,
        "training_range_m": evaluation.training_range_m,
        "verdict_box_m": evaluation.verdict_box_m,
        "by_map": {
            mapped.name: summary_of_maps(mapped, evaluation) for mapped in evaluation.mapped
        },
    }


def units_summary(judged: Judged) -> dict[str, Any]:
    """Return how many units are active, seem to carry a lattice or are constant."""
    active, kinds, scores = judged.active, judged.lattice, judged.first.scores
    hexagonal, square = kinds == "hexagonal", kinds == "square"
    return {
        "num_units": len(active),
        "active_units": active.sum(),
        "hexagonal_units": hexagonal.sum(),
        "square_units": square.sum(),
        "lattice_fraction": (hexagonal | square).sum() / active.sum() if active.any() else np.nan,
        "constant_units": np.flatnonzero(judged.constant),
        "constant_units_with_lattice": (judged.constant & (kinds != "")).sum(),
        "constant_share": judged.constant_share,
        "median_period_hexagonal_m": median(scores.spacing_m[hexagonal]),
        "median_period_square_m": median(scores.spacing_m[square]),
        "median_grid_score_hexagonal": median(scores.grid_score[hexagonal]),
        "median_square_score_square": median(scores.square_score[square]),
    }


def modules_summary(judged: Judged) -> dict[str, Any]:
    """Return the verdicts on units, and the modules that grid cells form."""
    return {
        "kinds": {kind: np.sum(judged.units.kind == kind) for kind in KINDS},
        "modules": module_rows(judged),
        "evidence_against_one_module_bic": judged.modules.bic_gain,
    }


def summary_of_maps(mapped: Mapped, evaluation: Judged) -> dict[str, Any]:
    """Return the numbers of one set of maps."""
    active, lattice = evaluation.active, evaluation.lattice != ""
    kinds = lattices_at_a_glance(mapped.scores, active_units(mapped.maps.ratemaps))
    change = mapped.scores.spacing_m / evaluation.first.scores.spacing_m - 1
    return {
        "hexagonal_units": np.sum(kinds == "hexagonal"),
        "square_units": np.sum(kinds == "square"),
        "median_grid_score": median(mapped.scores.grid_score[active]),
        "median_square_score": median(mapped.scores.square_score[active]),
        "variance_explained": median(mapped.maps.variance_explained[active]),
        "mean_speed_m": mapped.mean_speed,
        "median_period_change": median(np.abs(change[lattice])),  # to the long walks' 2 m box
    }


def _path_integration_summary(evaluation: Evaluation) -> dict[str, Any]:
    found, speeds = evaluation.path_integration.drift, evaluation.path_integration.conformality
    summary: dict[str, Any] = {
        "chance_neural_distance": found.chance_distance,
        "chance_decoding_error_m": found.chance_error_m,
        "neural_speed_per_m": speeds.mean,
        "neural_speed_variation": speeds.variation,
        "neural_speed_anisotropy": speeds.anisotropy,
    }
    for steps in (100, 1000, 10_000):
        k = int(np.argmin(np.abs(np.log(bin_middles(found.edges) / steps))))
        summary[f"neural_distance_after_{steps}"] = found.distance[k]
        summary[f"decoding_error_m_after_{steps}"] = found.error_m[k]
    return summary


def explained(evaluation: Evaluation) -> np.ndarray:
    """Return the share [K] of a unit's variance that its short-walk map explains along long walks.

    The median over grid cells, or over active units where there is no grid cell.
    """
    grid = evaluation.units.is_grid
    shares = evaluation.path_integration.explained[:, grid if grid.any() else evaluation.active]
    return np.array([median(share) for share in shares])


def steps_position_holds(evaluation: Evaluation) -> float:
    """Return the number of steps up to which position explains half of the variance or more.

    0 if it never does; the length of the walks if it does to their end; NaN where nothing varies.
    """
    edges, shares = evaluation.path_integration.drift.edges, explained(evaluation)
    if not np.isfinite(shares).any():
        return np.nan
    below = np.flatnonzero(~(shares >= 0.5))
    if not below.size:
        return float(edges[-1])
    k, middles = int(below[0]), np.log(bin_middles(edges))
    if k == 0:
        return 0.0
    if not np.isfinite(shares[k]):
        return float(np.exp(middles[k - 1]))
    part = (shares[k - 1] - 0.5) / (shares[k - 1] - shares[k])
    return float(np.exp(middles[k - 1] + part * (middles[k] - middles[k - 1])))


def _same_period(evaluation: Evaluation) -> dict[str, float]:
    """Return the share of grid cells whose period is the same within 5 %, by other box."""
    grid, verdict = evaluation.units.is_grid, evaluation.verdict
    return {
        mapped.name: np.mean(
            np.abs(mapped.scores.spacing_m / verdict.scores.spacing_m - 1)[grid] < SAME_PERIOD
        )
        if grid.any()
        else np.nan
        for mapped in evaluation.long.values()
        if mapped is not verdict
    }


def place_summary(found: DistanceMap) -> dict[str, Any]:
    """Return which places are told apart."""
    deepest = found.depths.argmax() if found.depths.size else None
    return {
        "distance_same_place": found.floor,
        "distance_plateau": found.plateau,
        "range_m": found.range_m,  # null: no displacement within reach is confused with none
        "deepest_dip_m": np.nan if deepest is None else np.linalg.norm(found.dips_m[deepest]),
        "deepest_dip": np.nan if deepest is None else found.depths[deepest],
    }


def attractor_summary(found: Attractor | None) -> dict[str, Any] | None:
    """Return the numbers of one network's attractor; None where there is none to measure."""
    if found is None:
        return None
    middle = QUANTILES.index(0.5)
    fifth = int(np.argmin(np.abs(found.across.amplitudes - 0.2)))
    return {
        "steps_to_return_at_rest": found.across.returned[fifth],
        "steps_to_return_walking": found.across_walking.returned[fifth],
        "shift_amplitudes": found.along.amplitudes,
        "shift_m": found.along.shift_m[:, 0],
        "shift_steps": found.along.steps[-1],
        "shift_left": found.along.shift_left[:, -1],
        "gain_steps": found.gains.lengths,
        "gain_along": found.gains.along[:, middle],
        "gain_across": found.gains.across[:, middle],
        "noise": found.noise.amplitudes,
        "diffusion_m2_per_step": found.noise.diffusion,
    }


def relation_summary(found: Dynamics) -> dict[str, Any] | None:
    """Return how modules are related; None for fewer than two."""
    if found.relations is None or found.drifts is None or found.coupling is None:
        return None
    coupling = found.coupling
    return {
        **lattice_summary(found.relations),
        **drift_summary(found.drifts),
        "displacement_m": coupling.displacement_m,
        "coupling_steps": coupling.steps[-1],
        "shift_after_displacement_m": coupling.shift_m[:, :, -1],
    }


def lattice_summary(relations: ModuleRelations) -> dict[str, Any]:
    """Return how the lattices of two modules or more are related."""
    whole = relations.whole
    assert whole is not None  # there are two modules
    return {
        "verdict": whole.verdict,
        "index": whole.index,
        "error": whole.error,
        "p": whole.p,
        "turn_deg": whole.turn_deg,
    }


def drift_summary(drifts: ModuleDrifts) -> dict[str, Any]:
    """Return how modules have drifted at the end of walks."""
    return {
        "drift_steps": drifts.steps[-1],
        "drift_m": drifts.rms_m[:, -1],
        "drift_pairs": drifts.pairs,
        "drift_difference_m": drifts.difference_m[:, -1],
        "drift_correlation": drifts.correlation[:, -1],
        "drift_p": drifts.p[:, -1],
    }


def bin_middles(edges: np.ndarray) -> np.ndarray:
    """Return the geometric middle [K] of each bin."""
    return np.sqrt(edges[:-1] * edges[1:])


def unit_rows(evaluation: Judged) -> list[dict[str, Any]]:
    """Return the rows of units.csv; kind and module come from the maps of the verdict."""
    units = evaluation.units
    columns: dict[str, np.ndarray] = {
        "unit": np.arange(len(evaluation.active)),
        "active": evaluation.active.astype(int),
        "lattice": evaluation.lattice,
        "constant": evaluation.constant.astype(int),
        "kind": units.kind,
        "is_grid": units.is_grid.astype(int),
        "module": units.module,
        "null_threshold": units.null_threshold,
        "ellipse_aspect": units.ellipse_aspect,
        "ellipse_tilt_deg": units.ellipse_tilt_deg,
        "phase_1": units.phase[:, 0],
        "phase_2": units.phase[:, 1],
        "spatial_information": units.spatial_information,
    }
    for mapped in evaluation.mapped:
        scores, name = mapped.scores, mapped.name
        columns |= {
            f"grid_score_{name}": scores.grid_score,
            f"grid_score_corrected_{name}": scores.grid_score_corrected,
            f"square_score_{name}": scores.square_score,
            f"num_fields_{name}": scores.num_fields,
            f"spacing_m_{name}": scores.spacing_m,
            f"orientation_deg_{name}": orientation_deg(scores.axes_m),
            f"variance_explained_{name}": mapped.maps.variance_explained,
        }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def module_rows(evaluation: Judged) -> list[dict[str, Any]]:
    """Return the rows of modules.csv."""
    modules, rows = evaluation.modules, []
    for k, (members, torus) in enumerate(zip(modules.members, evaluation.tori, strict=True)):
        betti = torus.betti or (None, None, None)
        values = (
            k, len(members), modules.period_m[k], *modules.period_interval_m[k],
            modules.ratios[k - 1] if k else np.nan, modules.orientation_deg[k],
            modules.split_p[k - 1] if k else np.nan, *betti, torus.is_torus, torus.explained,
        )  # fmt: skip
        rows.append(dict(zip(MODULE_COLUMNS, values, strict=True)))
    return rows


def as_json(summary: Mapping[str, Any]) -> str:
    """The text of summary.json."""
    return json.dumps(_plain(summary), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Turn arrays into lists, NaN and infinities into None, for JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; NaN becomes an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return value
