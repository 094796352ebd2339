"""Reports on all networks of a run, which continue after an interruption; or scores alone."""

import contextlib
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from sicjax.analysis.indices import lattice_indices
from sicjax.config import flatten
from sicjax.errors import ConfigError, one_line
from sicjax.network.trajectories import Walk, load_recorded_walk
from sicjax.progress import track
from sicjax.report import snapshots
from sicjax.report.index import write_index
from sicjax.report.judge import SHUFFLES, judge_units
from sicjax.report.measure import map_verdict
from sicjax.report.network import write_report
from sicjax.report.tables import as_csv, index_numbers
from sicjax.run import Run
from sicjax.training import workdir as workdir_module
from sicjax.training.bucket import REPORTS, Desk, desk
from sicjax.training.files import write_whole
from sicjax.training.metrics import duration, read_metrics

PENDING = ".pending.json"  # in report/: networks that still need a report
SCORES = "scores.csv"  # in report/


def write_reports(runs: Sequence[Run], workdir: Path) -> None:
    """Write the reports of some networks of a run, and the index of all reports.

    Args:
        runs: some of the workdir's networks.
        workdir: folder of the run.

    Raises:
        ConfigError: a recorded path that can't be used.
        OSError: the folder can't be written.
    """
    with desk(workdir, REPORTS) as here:
        for run in runs:
            page = _write_report(run, here)
            here.upload()
            print(f"report: {here.shown(page)}", flush=True)
        _write_index(here)
        here.upload()


def report_left(workdir: Path, runs: Sequence[Run]) -> None:
    """Write a report on every network; after an interruption, only on the remaining ones.

    Raises:
        ConfigError: the folder can't be written.
    """
    try:
        with desk(workdir, REPORTS) as here:
            _report_left(here, runs)
    except OSError as error:
        raise workdir_module.cannot_write(workdir, error) from None


def _report_left(here: Desk, runs: Sequence[Run]) -> None:
    place = here.folder / "report"
    pending = place / PENDING
    step, left = runs[0].step, list(range(len(runs)))
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(pending.read_text())
        if isinstance(found, dict) and found.get("step") == step:
            rests = (left[done:] for done in left)  # they are done in order
            left = next((rest for rest in rests if rest == found.get("left")), left)
    began, done = time.monotonic(), 0
    place.mkdir(exist_ok=True)
    while left:
        workdir_module.sign(place, {PENDING: json.dumps({"step": step, "left": left})})
        here.upload()
        page = here.shown(_write_report(runs[left.pop(0)], here))
        done += 1
        rest = duration((time.monotonic() - began) / done * len(left))
        print(f"report: {page}" + (f" ({rest} left)" if left else ""), flush=True)
    _write_index(here)
    here.upload()
    pending.unlink(missing_ok=True)
    here.upload()


def score_networks(runs: Sequence[Run], workdir: Path, *, progress: bool = True) -> Path:
    """Count the grid cells and modules of networks, without reports: one table for all.

    The verdicts are those of a report: the same maps, shuffles and modules.

    Args:
        runs: networks of the workdir.
        workdir: folder of the run.
        progress: show a bar after two seconds.

    Returns:
        Path of report/scores.csv: network, variant, seed, step, active units, grid cells, modules
        and their periods in metres, and grid cells per index.

    Raises:
        ConfigError: the folder can't be written.
    """
    # Verdicts need only the maps of one box, their shuffles and the modules.
    rows = []
    for run in track(runs, "scores", show=progress):
        units, modules = judge_units(map_verdict(run).maps, SHUFFLES)
        rows.append(
            {
                "network": run.network,
                "variant": run.variant,
                "seed": run.seed,
                "step": run.step,
                "active_units": int((units.kind != "silent").sum()),
                "grid_cells": int(units.is_grid.sum()),
                "modules": len(modules.members),
                "periods_m": " ".join(f"{period:.3f}" for period in modules.period_m),
                "failure": run.failure or "",
            }
            | flatten(index_numbers(lattice_indices(units)))
        )
    # Written after all networks are scored, so an old table stays until the new one is complete.
    table = workdir / "report" / SCORES
    try:
        table.parent.mkdir(exist_ok=True)
        write_whole(table, as_csv(list(rows[0]), rows).encode())
    except OSError as error:
        raise workdir_module.cannot_write(workdir, error) from None
    print("network  modules  grid cells  periods (m)  variant")
    for row in rows:
        print(
            f"{row['network']:7}  {row['modules']:7}  {row['grid_cells']:10}"
            f"  {row['periods_m'] or '-':11}  {row['variant']}"
        )
    print(f"scores: {table}", flush=True)
    return table


def recorded_walk(config: ConfigDict) -> tuple[Walk | None, str | None]:
    """Return the recorded path that drives the network in the report, and one line about it.

    If there is no path, the line says why; it is None if the config names none.

    Raises:
        ConfigError: a path that can't be used.
    """
    name, every = config.evaluation.recorded_path, config.evaluation.recorded_path_every
    try:
        return load_recorded_walk(name, every=every), name or None
    except ModuleNotFoundError as error:
        return None, str(error)
    except (OSError, ValueError) as error:
        raise ConfigError(f"evaluation.recorded_path={name}: {error}") from None


def _write_report(run: Run, here: Desk) -> Path:
    recorded, note = recorded_walk(run.config)
    workdir, report = here.folder, here.folder / "report"
    return write_report(
        run,
        report / f"network_{run.network:03d}",
        first=partial(_write_first_picture, here, run.network),
        metrics=read_metrics(workdir / "metrics.jsonl", network=run.network),
        frames=snapshots.load(workdir, run.network),
        recorded_path=recorded,
        recorded_note=note,
        variant=run.variant,
        torus_rolls=run.config.evaluation.torus_rolls,
        animations=run.config.evaluation.animations,
        figures=run.config.evaluation.figures,
    )


def _write_first_picture(here: Desk, network: int, picture: bytes) -> None:
    """Write a network's first picture, and print where it is."""
    path = here.folder / "report" / f"first_picture_{network:03d}.png"
    path.parent.mkdir(exist_ok=True)
    write_whole(path, picture)
    here.upload()
    print(f"first picture: {here.shown(path)}", flush=True)


def _write_index(here: Desk) -> None:
    place = here.folder / "report"
    if len(list(place.glob("network_*"))) > 1:
        try:
            write_index(place)
            print(f"all networks: {here.shown(place / 'index.html')}", flush=True)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{here.shown(place)}: a network_*/summary.json can't be read"
                f" ({one_line(error)}); move that folder away, then run the command again"
            ) from None
