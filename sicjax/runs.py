"""`train`: check, claim the folder, train, report."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sicjax.config.check import check_kind, validate
from sicjax.devices import processes
from sicjax.devices.layout import make_layout
from sicjax.errors import ConfigError, RunInterruptedError, one_line
from sicjax.network.pair_losses import most_shares
from sicjax.paths import path
from sicjax.pretrained import starting_parameters
from sicjax.run import Run
from sicjax.training import bucket
from sicjax.training import workdir as workdir_module
from sicjax.training.agreement import check_same
from sicjax.training.bucket import Desk, check_installed
from sicjax.training.checkpoint_files import about, end_removals, latest_intact, set_aside
from sicjax.training.costs import check_sizes, describe_reports
from sicjax.training.loop import Look, fit, say
from sicjax.training.method import (
    PAPER,
    Method,
    Parameters,
    check_is,
    check_method,
    check_recorded,
)
from sicjax.training.metrics import Monitor
from sicjax.training.population import Population
from sicjax.training.provenance import changed
from sicjax.training.signals import Signals
from sicjax.training.step import TrainState

_TURN = threading.RLock()


def train(
    config: ConfigDict, workdir: str | os.PathLike | None = None, *, method: Method = PAPER
) -> Run:
    """Train a population of networks, or resume an interrupted training.

    Args:
        config: from `sicjax.load_config` or `sicjax.default_config`.
        workdir: folder of the run, on a disk or gs://BUCKET/FOLDER: config.json, checkpoints/,
            metrics.jsonl, TensorBoard events and report/. If the folder holds a run of the same
            config, the run resumes from its last checkpoint. If that run has finished, only its
            report is written again. None keeps everything in memory.
        method: your own transition, velocities or terms of the loss.

    Returns:
        The first network, as a `Run`; `load_run(workdir, network=k)` loads the others. Calls from
        several threads of a process take turns.

    Raises:
        ConfigError: a wrong value, another experiment's workdir, num_steps below the number of
            updates reached, a workdir that can't be written, or a recorded path that can't be used.
        NonFiniteError: every network went non-finite.
        RunInterruptedError: SIGTERM or Ctrl-C came. Everything up to the last dispatch is saved;
            without a workdir it is the error's `run`.

    Source: ours; the method is that of Schaeffer et al. 2023, section 3.

    Example:
        >>> import sicjax
        >>> config = sicjax.load_config("quick")
        >>> config.num_steps, config.data.num_trajectories, config.model.hidden_width = 2, 4, 8
        >>> run = sicjax.train(config)  # doctest: +ELLIPSIS
        1 network(s) on ...
        >>> run.rollout([[0.1, 0.0], [0.0, 0.1]]).shape
        (2, 64)
    """
    check_kind(config)
    check_is(method)
    config = config.copy_and_resolve_references()
    validate(config)
    folder = None if workdir is None else path("workdir", workdir, bucket=True)
    check_installed(folder)
    check_same(config, method, folder)
    check_sizes(config, method)
    check_method(config, method)
    reported = config.report and folder is not None
    if reported:
        from sicjax.report import run_reports  # imports packages that score and draw maps

        if config.report != "scores":
            # An unusable path must fail now, not after the training.
            run_reports.recorded_walk(config)
    with _turn(), Signals() as signals, contextlib.ExitStack() as held:
        if folder is not None:
            _claim(folder, config, method, held)
        config = workdir_module.settled(config, folder)
        population = Population(config, method)
        most = max(
            most_shares(data.num_trajectories * data.trajectory_length)
            for data in (stage.config.data for stage in population.stages)
        )
        layout = make_layout(len(population), config.parallel, most=most)
        if config.parallel == "auto":  # recorded, so a restart on another machine keeps it
            config.parallel = "batch" if layout.batch else "networks"
        first_step = _step_to_start_from(folder)
        desk = _desk(folder, held)
        if reported and first_step < config.num_steps and (line := describe_reports(population)):
            say(line)
        fitted = fit(
            population, layout, signals, first_step=first_step, folder=folder, desk=desk,
            parameters=_parameters_to_start_from(population, first_step),
            look=_looker(population, desk, first_step),
        )  # fmt: skip
        light = fitted.states._replace(optimizer=())
        runs = [
            Run.from_state(population, layout.network(light, network), network)
            for network in range(len(population) if reported and not fitted.signal else 1)
        ]
        if fitted.signal:
            raise RunInterruptedError(fitted.signal, fitted.step, None if folder else runs[0])
        if reported and folder is not None:
            processes.leave_processes()
            if processes.is_first():
                with signals.at_once(config.num_steps):
                    if config.report == "scores":
                        run_reports.score_networks(runs, folder)
                    else:
                        run_reports.report_left(folder, runs)
        elif folder is not None:
            say(f"trained, without a report: {folder}")
    return runs[0]


def _parameters_to_start_from(population: Population, step: int) -> Parameters | None:
    """Return the parameters that the config's `start_from` names; None after the first update."""
    source = population.config.start_from
    if not source or step:
        return None
    parameters = starting_parameters(population)
    say(f"started from {source}")
    return parameters


def _desk(folder: Path | None, held: contextlib.ExitStack) -> Desk | None:
    """Return where this process writes logs until `held` ends; None if it writes none."""
    if folder is None or not processes.is_first():
        return None
    try:
        return held.enter_context(bucket.desk(folder, bucket.LOGS))
    except OSError as error:
        raise workdir_module.cannot_write(folder, error) from None


def _looker(population: Population, desk: Desk | None, step: int) -> Look | None:
    """Return a function that takes snapshots of the maps during training; None if not needed.

    It first removes snapshots that an interrupted run took after the update to start from.
    """
    folder = desk.folder if desk else None
    kept = folder is not None and (folder / "snapshots").exists()
    if not (population.config.evaluation.snapshot_every or kept):
        return None
    from sicjax.report import snapshots  # loads Matplotlib

    if folder is not None and step < population.config.num_steps:
        snapshots.cut_after(folder, step)

    def look(states: Sequence[TrainState], monitor: Monitor) -> None:
        taken = []
        for network, state in enumerate(states):
            try:
                snapshot, picture = snapshots.take(Run.from_state(population, state, network))
            except Exception as error:  # a failed snapshot must not end the training
                what = f"{type(error).__name__}: {one_line(error)}"
                monitor.say(f"network {network}: no snapshot at update {int(state.step)}: {what}")
                continue
            found = {"lattice_fraction": snapshot.lattice_fraction, "modules": snapshot.modules}
            monitor.look(snapshot.step, network, picture, found)
            if folder is not None:
                snapshots.save(folder, network, snapshot)
            taken.append([np.nan_to_num(snapshot.lattice_fraction), snapshot.modules])
        if taken:
            fraction, modules = np.mean(taken, axis=0)
            monitor.note(f"lattice {fraction:.2f} modules {modules:.3g}")

    return look


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Wait until no other thread trains: Orbax counts the saves of a whole process."""
    if not _TURN.acquire(blocking=False):
        say("waiting for another thread of this process, which is training")
        _TURN.acquire()
    try:
        yield
    finally:
        _TURN.release()


def _claim(folder: Path, config: ConfigDict, method: Method, held: contextlib.ExitStack) -> None:
    """Lock the folder until `held` ends; refuse it if it belongs to another run or experiment."""
    with processes.on_first() as first:
        if first:
            workdir_module.check(folder, config)
            held.enter_context(workdir_module.locked(folder))
            workdir_module.check(folder, config)  # another run may have signed it in the meantime
            if (folder / "config.json").exists():
                check_recorded(folder, workdir_module.recorded_method(folder), method)


def _step_to_start_from(folder: Path | None) -> int:
    """Return the updates of the last intact checkpoint that process 0 finds; 0 without one."""
    step = 0
    if folder is not None:
        with processes.on_first() as first:
            if first:
                step = _latest_intact(folder / "checkpoints")
                if step:
                    workdir_module.check_as_written(folder, step)
                    before = about(folder / "checkpoints", step).get("versions", {})
                    if note := changed(before):
                        say(f"resuming with other code: {note}; rounding may differ")
                end_removals(folder / "checkpoints")
    return processes.from_first(step)


def _latest_intact(folder: Path) -> int:
    """Return the update to resume after, 0 without checkpoints; move damaged checkpoints away."""
    step, damaged = latest_intact(folder)
    if damaged and step is None:
        problems = "; ".join(f"update {bad}: {problem}" for bad, problem in damaged.items())
        raise ConfigError(
            f"{folder}: no checkpoint is intact ({problems}); move the folder away to start again"
        )
    for bad, problem in damaged.items():
        say(f"the checkpoint of update {bad} is damaged: {problem}; moved to "
             f"{set_aside(folder, bad)}; going back to update {step}")  # fmt: skip
    return step or 0
