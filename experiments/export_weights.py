"""Turn a network of a run into weights that come with the package.

    python -m experiments.export_weights --workdir=DIR --network=K --name=NAME [--origin=TEXT]

Writes the folder sicjax/pretrained/NAME/: weights.npz (float16), config.json, provenance.json (with
--origin: the command, hardware and time that made the run) and summary.json. The summary is
measured again on the float16 weights, with 20 rolls per torus test, and printed beside the run's
own. This takes about as long as a report with 20 rolls.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.claims import TORUS_ROLLS
from sicjax import command
from sicjax.errors import ConfigError
from sicjax.paths import path
from sicjax.pretrained import PRETRAINED, load_weights, save_weights
from sicjax.report.network import write_report
from sicjax.run import load_run

COMPARED = (
    "active_units", "hexagonal_units", "square_units", "median_grid_score_hexagonal",
    "median_period_hexagonal_m", "variance_explained_long", "variance_explained_short",
)  # fmt: skip


def export(workdir: Path, network: int, folder: Path, origin: str) -> None:
    """Write one network's folder, and print what rounding to float16 changed."""
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


def main(arguments: Sequence[str]) -> None:
    """Export."""
    parser = command.Parser(__doc__)
    parser.add_argument("--workdir", metavar="DIR", required=True, help="folder of the run")
    parser.add_argument("--network", metavar="K", type=command.whole_number(0), required=True)
    parser.add_argument("--name", metavar="NAME", required=True, help="name of the new network")
    parser.add_argument(
        "--origin", metavar="TEXT", default="", help="command, hardware and time that made the run"
    )
    options = parser.read(arguments)
    workdir = path("--workdir", options.workdir)
    try:
        export(workdir, options.network, PRETRAINED / options.name, options.origin)
    except (FileNotFoundError, IndexError, ValueError) as error:
        raise ConfigError(str(error)) from None


if __name__ == "__main__":
    command.run(main)
