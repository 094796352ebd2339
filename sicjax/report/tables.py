"""Numbers as text: summary.json, units.csv, modules.csv, and cells of the page's tables.

Letters: N units. Lengths in metres.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sicjax.analysis.indices import LatticeIndices
from sicjax.analysis.lattice import orientation_deg
from sicjax.report.results import Judged

MODULE_COLUMNS = (
    "module", "units", "period_m", "period_low_m", "period_high_m", "ratio", "orientation_deg",
    "split_p", "betti_0", "betti_1", "betti_2", "is_torus", "variance_in_6_components",
)  # fmt: skip


def unit_rows(judged: Judged) -> list[dict[str, Any]]:
    """Return the rows of units.csv; kind and module come from the maps of the verdict."""
    # First the columns of the verdict; then a group of columns for each set of maps, whose names
    # end in its box and walks.
    units = judged.units
    columns: dict[str, np.ndarray] = {
        "unit": np.arange(len(judged.active)),
        "active": judged.active.astype(int),
        "lattice": judged.lattice,
        "constant": judged.constant.astype(int),
        "kind": units.kind,
        "is_grid": units.is_grid.astype(int),
        "module": units.module,
        "lattice_index": judged.indices.index,
        "fields_per_cell": (
            np.zeros(len(judged.active), int) if judged.folded is None else judged.folded.fields
        ),
        "null_threshold": units.null_threshold,
        "ellipse_aspect": units.ellipse_aspect,
        "ellipse_tilt_deg": units.ellipse_tilt_deg,
        "phase_1": units.phase[:, 0],
        "phase_2": units.phase[:, 1],
        "spatial_information": units.spatial_information,
    }
    for mapped in judged.mapped:
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
    # CSV wants rows, and every column has one entry per unit.
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def module_rows(judged: Judged) -> list[dict[str, Any]]:
    """Return the rows of modules.csv."""
    modules, rows = judged.modules, []
    for k, (members, torus) in enumerate(zip(modules.members, judged.tori, strict=True)):
        betti = torus.betti or (None, None, None)
        values = (
            k, len(members), modules.period_m[k], *modules.period_interval_m[k],
            modules.ratios[k - 1] if k else np.nan, modules.orientation_deg[k],
            modules.split_p[k - 1] if k else np.nan, *betti, torus.is_torus, torus.explained,
        )  # fmt: skip
        rows.append(dict(zip(MODULE_COLUMNS, values, strict=True)))
    return rows


def index_numbers(indices: LatticeIndices) -> dict[str, Any]:
    """Return a summary's numbers on the indices of grid cells."""
    return {
        "units_per_index": {str(index): count for index, count in indices.counts.items()},
        "grid_cells_without_index": without_index(indices),
        "coarsest_period_m": indices.coarsest_period_m,
    }


def fields_per_cell(judged: Judged) -> dict[int, int]:
    """Return the number of active units with each number of fields in the coarsest cell, from 0."""
    if judged.folded is None:
        return {}
    numbers, units = np.unique(judged.folded.fields[judged.fires], return_counts=True)
    return dict(zip(numbers.tolist(), units.tolist(), strict=True))


def without_index(indices: LatticeIndices) -> int:
    """Return the number of grid cells whose lattice is not a sublattice of the coarsest one."""
    return int(((indices.index == 0) & (indices.reason != "no grid cell")).sum())


def as_json(summary: Mapping[str, Any]) -> str:
    """Return the text of summary.json."""
    return json.dumps(_plain(summary), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Turn arrays into lists, and NaN and infinities into None, for JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a table; NaN becomes an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return value


def median(values: np.ndarray) -> float:
    """Return the median of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else np.nan


def bin_middles(edges: np.ndarray) -> np.ndarray:
    """Return the geometric middle [K] of each bin."""
    return np.sqrt(edges[:-1] * edges[1:])


def number(value: float) -> str:
    """Write a number with two decimals, never −0.00; a dash for NaN."""
    return f"{value:z.2f}".replace("-", "−") if np.isfinite(value) else "–"


def pair(one: float, two: float) -> str:
    """Write two numbers; a dash if both are NaN."""
    return f"{number(one)}, {number(two)}" if np.isfinite([one, two]).any() else "–"


def percent(share: float) -> str:
    """Write a share in percent; a dash for NaN."""
    return f"{share:.0%}" if np.isfinite(share) else "–"


def steps(count: float, longest: float = np.inf) -> str:
    """Write a number of steps, up to the longest walk; a dash for NaN."""
    if not np.isfinite(count):
        return "–"
    return f"{count:,.0f}" + (" or more" if count >= longest else "")


def listed(texts: Sequence[str]) -> str:
    """Join texts as in a sentence: a, b and c."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
