"""The table of all networks of a run that have a report."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sicjax.report.chapters.modules import betti_texts
from sicjax.report.page import template
from sicjax.training.files import write_whole


def write_index(folder: str | os.PathLike) -> Path:
    """Write index.html, a sortable table of the networks reported in a folder.

    Args:
        folder: holds network_000/, network_001/ ... as `write_report` wrote them.

    Returns:
        Path of index.html.

    Raises:
        FileNotFoundError: no network is reported there.
    """
    folder = Path(folder)
    summaries = [
        (path.parent.name, json.loads(path.read_text()))
        for path in sorted(folder.glob("network_*/summary.json"))
    ]
    if not summaries:
        raise FileNotFoundError(f"{folder}: holds no network_*/summary.json")
    rows = [_index_row(name, summary) for name, summary in summaries]
    page = template("index.html.j2").render(rows=rows, columns=list(rows[0]))
    write_whole(folder / "index.html", page.encode())
    return folder / "index.html"


def _index_row(name: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of one network: numbers or texts, None for what is not known."""
    modules, drift = summary["modules"], summary["path_integration"]
    return {
        "network": name,
        "variant": summary["variant"],
        "seed": summary["seed"],
        "step": summary["step"],
        "active units": summary["active_units"],
        "hexagonal, 2 m": summary["hexagonal_units"],
        "square, 2 m": summary["square_units"],
        "grid cells": summary["kinds"]["grid"],
        "modules": len(modules),
        "periods (m)": ", ".join(f"{module['period_m']:.2f}" for module in modules),
        "grid score": summary["by_map"][f"{summary['verdict_box_m']:g}m"]["median_grid_score"],
        "Betti": betti_texts(modules),
        "position explains, long": summary["variance_explained_long"],
        "position explains, short": summary["variance_explained_short"],
        "drift at 1,000 steps": drift["neural_distance_after_1000"],
        "failure": summary["failure"] or "",
    }
