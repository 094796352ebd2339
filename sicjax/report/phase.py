"""The report phase of a run: every network's report, taken up again after an interruption."""

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from sicjax.errors import ConfigError, one_line
from sicjax.network.trajectories import Walk, load_recorded_walk
from sicjax.report import snapshots
from sicjax.report.folder import write_report
from sicjax.report.index import write_index
from sicjax.run import Run
from sicjax.training import workdir as workdir_module
from sicjax.training.metrics import duration, read_metrics

PENDING = ".pending.json"  # in report/: networks that a report phase has still to do


def write_reports(runs: Sequence[Run], workdir: Path) -> None:
    """Evaluate networks of a run, write their reports, and the index of all that are reported.

    Args:
        runs: some of the workdir's networks.
        workdir: folder of the run.

    Raises:
        ConfigError: a recorded path that can't be used.
        OSError: the folder can't be written.
    """
    for run in runs:
        print(f"report: {_write_report(run, workdir)}", flush=True)
    _write_index(workdir)


def report_left(workdir: Path, runs: Sequence[Run]) -> None:
    """Report on every network; after an interruption, on those that are left.

    Raises:
        ConfigError: the folder can't be written.
    """
    place = workdir / "report"
    pending = place / PENDING
    step, left = runs[0].step, list(range(len(runs)))
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(pending.read_text())
        if isinstance(found, dict) and found.get("step") == step:
            rests = (left[done:] for done in left)  # they are done in order
            left = next((rest for rest in rests if rest == found.get("left")), left)
    began, done = time.monotonic(), 0
    try:
        place.mkdir(exist_ok=True)
        while left:
            workdir_module.sign(place, {PENDING: json.dumps({"step": step, "left": left})})
            page = _write_report(runs[left.pop(0)], workdir)
            done += 1
            rest = duration((time.monotonic() - began) / done * len(left))
            print(f"report: {page}" + (f" ({rest} left)" if left else ""), flush=True)
        _write_index(workdir)
        pending.unlink(missing_ok=True)
    except OSError as error:
        raise workdir_module.cannot_write(workdir, error) from None


def recorded_walk(config: ConfigDict) -> tuple[Walk | None, str]:
    """The rat path that the report drives the network with, or one line why there is none.

    Raises:
        ConfigError: one that can't be used.
    """
    name, every = config.evaluation.recorded_path, config.evaluation.recorded_path_every
    try:
        return load_recorded_walk(name, every=every), name
    except ModuleNotFoundError as error:
        return None, str(error)
    except (OSError, ValueError) as error:
        raise ConfigError(f"evaluation.recorded_path={name}: {error}") from None


def _write_report(run: Run, workdir: Path) -> Path:
    recorded, note = recorded_walk(run.config)
    report = workdir / "report"
    return write_report(
        run,
        report / f"network_{run.network:03d}",
        first=report / f"first_picture_{run.network:03d}.png",
        metrics=read_metrics(workdir / "metrics.jsonl", network=run.network),
        frames=snapshots.load(workdir, run.network),
        recorded_path=recorded,
        recorded_note=note,
        variant=run.variant,
        torus_rolls=run.config.evaluation.torus_rolls,
        animations=run.config.evaluation.animations,
    )


def _write_index(workdir: Path) -> None:
    place = workdir / "report"
    if len(list(place.glob("network_*"))) > 1:
        try:
            print(f"all networks: {write_index(place)}", flush=True)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{place}: a network_*/summary.json can't be read ({one_line(error)}); remove what"
                " is no report, and start again"
            ) from None
