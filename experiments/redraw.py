"""Draw committed figures again from what is committed, after a change of how figures look.

    python -m experiments.redraw [NAME ...]

NAME is one of these; all are drawn if none is named:

- a file of rows (claims_quick, phase_capacity_sigma_g, scaling): seconds for all;
- a trained network (quick, full, modules): a report each, half a minute or more;
- clearest, isometry: figures that a command of its own draws of a trained network;
- indices: grid cells per index, from the finished claims of three recipes;
- other_networks, compare: the code of these pages, which simulates networks and cells.

Figures whose networks or recordings are not in the repository stay as they are.
"""

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sicjax
from experiments import claims, clearest, indices, isometry, phase_diagram, scaling
from sicjax import command
from sicjax.errors import ConfigError
from sicjax.report.network import write_report

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
GALLERY = DOCS / "gallery"
PHASES = {  # file -> fields along y and x
    "phase_capacity_sigma_g": ("loss.sigma_g", "loss.capacity"),
    "phase_isometry_invariance": ("loss.invariance", "loss.conformal_isometry"),
}
REPORTED = {  # network -> figure -> the file of the report on it
    "quick": {
        RESULTS / "quick_ratemaps_3m_seed0.png": "ratemaps_3m.png",
        RESULTS / "quick_walk_seed0.gif": "walk.gif",
        GALLERY / "attractor_return.png": "attractor_return.png",
        GALLERY / "compared_periods.png": "compared_periods.png",
        GALLERY / "distance_map.png": "distance_map.png",
        GALLERY / "generalisation.png": "generalisation.png",
        GALLERY / "period_orientation.png": "period_orientation.png",
        GALLERY / "torus.png": "torus_0.png",
    },
    "full": {
        RESULTS / "full_attractor_shift_seed5002.png": "attractor_shift.png",
        RESULTS / "full_generalisation_seed5002.png": "generalisation.png",
        RESULTS / "full_ratemaps_6m_seed5002.png": "ratemaps_6m.png",
        RESULTS / "full_relation_seed5002.png": "module_relation.png",
        RESULTS / "full_torus_seed5002.png": "torus_2.png",
    },
    "modules": {
        RESULTS / "modules_ratemaps_6m_seed1505.png": "ratemaps_6m.png",
        RESULTS / "modules_relation_seed1505.png": "module_relation.png",
        RESULTS / "modules_torus_seed1505.png": "torus_2.png",
    },
}


def draw_rows(source: Path, target: Path) -> None:
    """Draw the figure of a file of rows.

    Args:
        source: claims_*.json, scaling.json or one of `PHASES`.
        target: file of the figure.
    """
    rows = json.loads(source.read_text())
    if source.stem in PHASES:
        axes = {name: sorted({row[name] for row in rows}) for name in PHASES[source.stem]}
        figure = phase_diagram.draw(rows, axes)
    else:
        figure = (scaling if source.stem == "scaling" else claims).draw(rows)
    figure.savefig(target, dpi=150)


def draw_reported(name: str) -> None:
    """Write a report on a trained network, and take its figures from there."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report"
        moves = any(file.endswith(".gif") for file in REPORTED[name].values())
        write_report(sicjax.load_pretrained(name), report, metrics=(), animations=moves)
        for target, file in REPORTED[name].items():
            shutil.copy(report / file, target)


def draw_clearest() -> None:
    """Draw the clearest cells of both networks of three modules."""
    for name in ("modules", "full"):
        clearest.main([f"--network={name}", f"--folder={RESULTS}"])


def draw_indices() -> None:
    """Draw the grid cells of each index in the networks of recipes of two and three modules."""
    indices.main(["--claims=quick,modules,full", f"--workdir={RESULTS}"])


def draw_isometry() -> None:
    """Draw the tail of the conformal isometry term; the table of the same numbers stays."""
    with tempfile.TemporaryDirectory() as scratch:
        isometry.main([f"--folder={scratch}"])
        shutil.copy(Path(scratch) / "isometry_tail.png", RESULTS)


def draw_other_networks() -> None:
    """Run the page's code, and take the maps of its two reports."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        _run_code("other_networks")
        for name, target in [("three_tori", "three_tori"), ("twisted", "twisted_torus")]:
            (sheet,) = (Path("runs") / name).glob("ratemaps_*.png")
            shutil.copy(sheet, DOCS / f"{target}.png")


def draw_compare() -> None:
    """Run the page's code, and take the figure of recorded and trained modules."""
    _run_code("compare")["figure"].savefig(GALLERY / "compare.png", dpi=110)


def _run_code(page: str) -> dict[str, Any]:
    """Run all Python of a page; returns its names."""
    names: dict[str, Any] = {}
    text = (DOCS / f"{page}.md").read_text()
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(code, names)
    return names


COMMANDS: Mapping[str, Callable[[], None]] = {
    "clearest": draw_clearest,
    "compare": draw_compare,
    "indices": draw_indices,
    "isometry": draw_isometry,
    "other_networks": draw_other_networks,
}


def main(arguments: Sequence[str]) -> None:
    """Draw the named figures again.

    Raises:
        ConfigError: an unknown flag or name.
    """
    parser = command.Parser(__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="what to draw (all)")
    options = parser.read(arguments)
    sources = [*RESULTS.glob("claims_*.json"), *(RESULTS / f"{name}.json" for name in PHASES)]
    rows = {path.stem: path for path in [*sorted(sources), RESULTS / "scaling.json"]}
    known = [*rows, *REPORTED, *COMMANDS]
    if unknown := [name for name in options.names if name not in known]:
        raise ConfigError(f"{unknown[0]}: nothing to draw; there are {', '.join(known)}")
    for name in options.names or known:
        if name in rows:
            draw_rows(rows[name], RESULTS / f"{name}.png")
        elif name in COMMANDS:
            COMMANDS[name]()
        else:
            draw_reported(name)
        print(f"drawn: {name}", flush=True)


if __name__ == "__main__":
    command.run(main)
