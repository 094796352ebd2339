"""Turn a network of a run into weights that come with the package.

    python -m experiments.export_weights --workdir=DIR --network=K --name=NAME [--origin=TEXT]

Writes sicjax/pretrained/NAME/: weights.npz (float16), config.json, provenance.json (with --origin:
the command, hardware and time that made the run) and summary.json, the report's, measured anew on
the float16 weights and with 20 rolls per torus test; prints it beside the run's own. Takes about as
long as such a report.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.claims import TORUS_ROLLS
from sicjax.errors import ConfigError
from sicjax.pretrained import PRETRAINED, load_weights, save_weights
from sicjax.report.folder import write_report
from sicjax.run import load_run

COMPARED = (
    "active_units", "hexagonal_units", "square_units", "median_grid_score_hexagonal",
    "median_period_hexagonal_m", "variance_explained_long", "variance_explained_short",
)  # fmt: skip


def export(workdir: Path, network: int, folder: Path, origin: str) -> None:
    """Write one network's folder and say what rounding to float16 changed."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        save_weights(load_run(workdir, network), made, origin=origin)
        report = Path(scratch) / "report"
        write_report(load_weights(made), report, metrics=(), torus_rolls=TORUS_ROLLS)
        shutil.copy(report / "summary.json", made)
        shutil.copytree(made, folder, dirs_exist_ok=True)
    rounded = json.loads((folder / "summary.json").read_text())
    whole = workdir / "report" / f"network_{network:03d}" / "summary.json"
    before = json.loads(whole.read_text()) if whole.exists() else {}
    for name in COMPARED:
        print(f"{name}: {before.get(name, 'no report')} in float32, {rounded[name]} in float16")
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: {size:.1f} MB")


def main(arguments: Sequence[str]) -> int:
    """Export; returns the exit code."""
    flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
    if not {"workdir", "network", "name"} <= set(flags) <= {"workdir", "network", "name", "origin"}:
        print((__doc__ or "").split("\n\n")[1].strip(), file=sys.stderr)
        return 2
    try:
        workdir, network = Path(flags["workdir"]), int(flags["network"])
        export(workdir, network, PRETRAINED / flags["name"], flags.get("origin", ""))
    except (ConfigError, FileNotFoundError, IndexError, ValueError) as error:
        print(f"export_weights: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
