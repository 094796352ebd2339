"""`train`: start or resume a run, take its steps, log, save, evaluate.

Letters: P networks, D devices, K networks per device.
"""

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import jax
import numpy as np
from ml_collections import ConfigDict

from sicjax import config as config_module
from sicjax import parallel
from sicjax.analysis import snapshots
from sicjax.analysis.report import write_index, write_report
from sicjax.checkpoint import Checkpoints
from sicjax.compilation import use_cache
from sicjax.config import ConfigError
from sicjax.monitor import Monitor, duration, read_metrics
from sicjax.run import Run, check_recorded_method, failure_of, state_shapes
from sicjax.training import (
    PAPER,
    Method,
    TrainState,
    check_method,
    make_dispatch,
    make_init,
    population_seeds,
    population_settings,
)
from sicjax.trajectories import Walk, load_recorded_walk

SHOWN = ("loss", "separation", "invariance", "capacity", "conformal_isometry")


class RunInterruptedError(Exception):
    """A signal asked the run to stop; all is saved. `exit_code` is 75 (SIGTERM) or 130 (Ctrl-C)."""

    def __init__(self, number: int, step: int) -> None:
        self.exit_code = 75 if number == signal.SIGTERM else 130
        super().__init__(f"stopped at step {step}; the same command goes on from there")


class NonFiniteError(ArithmeticError):
    """Every network went non-finite; the message names network, step and term."""


def train(
    config: ConfigDict, workdir: str | os.PathLike | None = None, *, method: Method = PAPER
) -> Run:
    """Train a population of networks, or take an interrupted training up again.

    Args:
        config: from `sicjax.default_config()` or a config file.
        workdir: folder of the run: config.json, checkpoints/, metrics.jsonl, TensorBoard events
            and report/. A folder that holds a run of the same config is resumed from its last
            checkpoint; one that is finished only gets its report anew. None keeps all in memory.
        method: parts of your own: transition, velocities, terms of the loss.

    Returns:
        The first network, as a `Run`; `load_run(workdir, network=k)` gives the others.

    Raises:
        ConfigError: a wrong value, another experiment's workdir, num_steps below the step
            reached, a workdir that can't be written, or a recorded path that can't be used.
        NonFiniteError: no network is left that is finite.
        RunInterruptedError: SIGTERM or Ctrl-C came; everything up to this dispatch is saved.

    Source: ours; the method is that of Schaeffer et al. 2023, section 3.

    Example:
        >>> import sicjax
        >>> config = sicjax.default_config()
        >>> config.num_steps, config.data.num_trajectories, config.model.hidden_width = 2, 4, 8
        >>> run = sicjax.train(config)  # doctest: +ELLIPSIS
        1 network(s) on ...
        >>> run.rollout([[0.1, 0.0], [0.0, 0.1]]).shape
        (2, 128)
    """
    config = config.copy_and_resolve_references()
    config_module.validate(config)
    check_method(config, method)
    if config.compilation_cache:
        use_cache()
    folder = None if workdir is None else Path(workdir)
    if config.report and folder is not None:
        _recorded_walk(config)  # which is refused now rather than after the training
    with contextlib.ExitStack() as stack:
        checkpoints = None
        if folder is not None:
            _claim(folder, config, method)
            checkpoints = stack.enter_context(
                Checkpoints(folder / "checkpoints", keep=config.keep_checkpoints, create=True)
            )
        states, step = _start_or_resume(config, checkpoints, method)
        if step < config.num_steps:
            states = _run_steps(config, folder, checkpoints, states, step, method)
        else:
            print(f"finished: all {step} steps are done; only the report is made anew")
    runs = _as_runs(config, states, method)
    if config.report and folder is not None:
        write_reports(runs, folder)
    return runs[0]


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
        recorded, note = _recorded_walk(run.config)
        page = write_report(
            run,
            workdir / "report" / f"network_{run.network:03d}",
            metrics=read_metrics(workdir / "metrics.jsonl", network=run.network),
            frames=snapshots.load(workdir, run.network),
            recorded_path=recorded,
            recorded_note=note,
            variant=run.variant,
            torus_rolls=run.config.evaluation.torus_rolls,
        )
        print(f"report: {page}", flush=True)
    if len(list((workdir / "report").glob("network_*"))) > 1:
        print(f"all networks: {write_index(workdir / 'report')}", flush=True)


def _recorded_walk(config: ConfigDict) -> tuple[Walk | None, str]:
    """The rat path that the report drives the network with, or one line why there is none."""
    name, every = config.evaluation.recorded_path, config.evaluation.recorded_path_every
    try:
        return load_recorded_walk(name, every=every), name
    except ModuleNotFoundError as error:
        return None, str(error)
    except (OSError, ValueError) as error:
        raise ConfigError(f"evaluation.recorded_path={name}: {error}") from None


def _claim(folder: Path, config: ConfigDict, method: Method) -> None:
    """Make the folder this experiment's, or see that it is."""
    path = folder / "config.json"
    try:
        if path.exists():
            found = config_module.from_json(path.read_text())
            if difference := config_module.difference(found, config):
                raise ConfigError(f"workdir={folder} belongs to another experiment: {difference}")
            check_recorded_method(folder, method)
            reached = _step_reached(folder)
            if config.num_steps < reached:
                raise ConfigError(
                    f"num_steps={config.num_steps}: must be at least {reached}, the step that"
                    f" {folder} has reached"
                )
        elif (folder / "checkpoints").exists():
            raise ConfigError(f"workdir={folder}: has checkpoints but no config.json; not a run")
        folder.mkdir(parents=True, exist_ok=True)
        if names := method.describe():
            (folder / "method.json").write_text(json.dumps(names, indent=2) + "\n")
        temporary = path.with_suffix(".tmp")
        temporary.write_text(config_module.to_json(config))
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"workdir={folder}: can't be written ({error.strerror})") from None


def _step_reached(folder: Path) -> int:
    if not (folder / "checkpoints").exists():
        return 0
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.latest_step or 0


def _start_or_resume(
    config: ConfigDict, checkpoints: Checkpoints | None, method: Method
) -> tuple[TrainState, int]:
    """States [P, ...] and the step they have reached."""
    if checkpoints is not None and (step := checkpoints.latest_step) is not None:
        states = checkpoints.restore(step, state_shapes(config, method))
        print(f"resumed at step {step}", flush=True)
        return states, step
    return jax.jit(jax.vmap(make_init(config, method)))(population_seeds(config)), 0


def _run_steps(
    config: ConfigDict,
    folder: Path | None,
    checkpoints: Checkpoints | None,
    states: TrainState,
    step: int,
    method: Method,
) -> TrainState:
    """Train to the end; returns states [P, ...] on the host."""
    per_dispatch = _steps_per_dispatch(config)
    settings = population_settings(config)
    number = len(settings.permute)
    devices = parallel.num_devices(number)
    _say_cost(config, states, step, devices)
    if hint := parallel.unseen_accelerator():
        print(f"hint: {hint}", file=sys.stderr, flush=True)
    rows, settings_rows = parallel.spread(states, devices), parallel.spread(settings, devices)
    began = time.monotonic()
    dispatch = (
        make_dispatch(config, devices, method).lower(rows, settings_rows, per_dispatch).compile()
    )
    compiled = time.monotonic()
    if folder is not None:
        snapshots.cut_after(folder, step)
    with (
        _signals() as received,
        Monitor(folder, first_step=step, num_steps=config.num_steps, shown=SHOWN) as monitor,
    ):
        reported: set[int] = set()
        while step < config.num_steps:
            rows, metrics_rows = dispatch(rows, settings_rows)
            step += per_dispatch
            metrics = parallel.gather(metrics_rows, number)
            if compiled:
                rest = (time.monotonic() - compiled) * (config.num_steps - step) / per_dispatch
                monitor.say(
                    f"compiled in {duration(compiled - began)}; by the first {per_dispatch} steps,"
                    f" the rest takes about {duration(rest)}"
                )
                compiled = 0.0
            monitor.progress(step, metrics)
            if step % config.log_every == 0 or step == config.num_steps:
                monitor.log(step, metrics)
            looks = config.evaluation.snapshot_every
            if looks and (step % looks == 0 or step == config.num_steps):
                _look(_as_runs(config, parallel.gather(rows, number), method), folder, monitor)
            broken = parallel.gather(rows.failed_step, number) >= 0
            ends = step == config.num_steps or bool(received) or broken.all()
            if checkpoints is not None and (step % config.checkpoint_every == 0 or ends):
                monitor.flush()
                checkpoints.save(step, parallel.gather(rows, number))
            if set(np.flatnonzero(broken)) - reported:
                _report_broken(monitor, number, rows, reported)
            if broken.all():
                states = parallel.gather(rows, number)
                raise NonFiniteError(failure_of(jax.tree.map(lambda leaf: leaf[0], states), 0))
            if received and step < config.num_steps:
                raise RunInterruptedError(received[0], step)
    return parallel.gather(rows, number)


def _look(runs: Sequence[Run], folder: Path | None, monitor: Monitor) -> None:
    """Take a snapshot of every network; show their mean."""
    taken = []
    for run in runs:
        snapshot, picture = snapshots.take(run)
        found = {"lattice_fraction": snapshot.lattice_fraction, "modules": snapshot.modules}
        monitor.look(snapshot.step, run.network, picture, found)
        if folder is not None:
            snapshots.save(folder, run.network, snapshot)
        taken.append([np.nan_to_num(snapshot.lattice_fraction), snapshot.modules])
    fraction, modules = np.mean(taken, axis=0)
    monitor.note(f"lattice {fraction:.2f} modules {modules:.3g}")


def _report_broken(monitor: Monitor, number: int, rows: TrainState, reported: set[int]) -> None:
    states = parallel.gather(rows, number)
    for network in np.flatnonzero(states.failed_step >= 0):
        if network not in reported:
            reported.add(int(network))
            one = jax.tree.map(lambda leaf, k=network: leaf[k], states)
            monitor.say(f"{failure_of(one, int(network))}; frozen at its last finite state")


def _steps_per_dispatch(config: ConfigDict) -> int:
    """The largest number that hits every log line, checkpoint and the end, up to the wish."""
    return math.gcd(
        config.steps_per_dispatch, config.log_every, config.checkpoint_every, config.num_steps,
        config.evaluation.snapshot_every,  # the greatest common divisor with 0 is the other number
    )  # fmt: skip


def _say_cost(config: ConfigDict, states: TrainState, step: int, devices: int) -> None:
    """What the run will cost, as far as it is known before the first step."""
    leaves = jax.tree.leaves(states)
    megabytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / 1e6
    device = jax.local_devices()[0]
    print(
        f"{len(states.step)} network(s) on {devices} {device.device_kind} device(s): steps"
        f" {step} to {config.num_steps}, {config.optimizer.accumulation} batch(es) of"
        f" {config.data.num_trajectories} x {config.data.trajectory_length} states each;"
        f" checkpoints take up to {megabytes * config.keep_checkpoints:.0f} MB of disk",
        flush=True,
    )


def _as_runs(config: ConfigDict, states: TrainState, method: Method) -> list[Run]:
    return [
        Run.from_state(config, jax.tree.map(lambda leaf, k=k: leaf[k], states), k, method)
        for k in range(len(states.step))
    ]


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """The list fills when SIGTERM or Ctrl-C comes; a second Ctrl-C stops at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        print("stopping after this dispatch; saving", file=sys.stderr, flush=True)

    previous = {n: signal.signal(n, receive) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
