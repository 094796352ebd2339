"""`train`: start or resume a run, take its steps, log, save, evaluate.

Letters: P networks, D devices, K networks per device.
"""

import contextlib
import dataclasses
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
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sicjax import config as config_module
from sicjax import parallel
from sicjax import workdir as workdir_module
from sicjax.analysis import snapshots
from sicjax.analysis.report import write_index, write_report
from sicjax.checkpoint import (
    CheckpointError,
    Checkpoints,
    latest_intact,
    one_line,
    restore,
    set_aside,
)
from sicjax.compilation import use_cache
from sicjax.config import ConfigError
from sicjax.monitor import Monitor, duration, read_metrics
from sicjax.parallel import Layout
from sicjax.run import Run, check_recorded_method, failure_of, state_shapes
from sicjax.training import (
    PAPER,
    Method,
    TrainState,
    check_method,
    compile_dispatch,
    population_settings,
    start,
)
from sicjax.trajectories import Walk, load_recorded_walk

SHOWN = ("loss", "separation", "invariance", "capacity", "conformal_isometry")
PENDING = ".pending.json"  # in report/: networks that a report phase has still to do


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
        signals = stack.enter_context(_Signals())
        if folder is not None:
            with _on_first() as first:
                if first:
                    _check_workdir(folder, config, method)
                    stack.enter_context(workdir_module.locked(folder))
                    _check_workdir(folder, config, method)  # nobody came between
        layout = parallel.make_layout(len(config_module.members(config)), config.parallel)
        step = _step_to_start_from(folder)
        if step == config.num_steps:
            rows = _load_or_start(config, folder, method, layout, step)
            rest = (
                "only the report is made anew" if config.report else "more need a larger num_steps"
            )
            _say(f"finished: all {step} steps are done; {rest}")
        else:
            rows = _run_steps(config, folder, method, layout, step, signals)
        reported = config.report and folder is not None
        runs = _as_runs(config, method, layout, rows, layout.num_networks if reported else 1)
        if folder is not None and not config.report:
            _say(f"trained, without a report: {folder}")
        if config.report and folder is not None:
            parallel.leave_processes()
            if parallel.is_first():
                with signals.at_once(config.num_steps):
                    _report(folder, runs)
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
        print(f"report: {_write_report(run, workdir)}", flush=True)
    _write_index(workdir)


def _write_report(run: Run, workdir: Path) -> Path:
    recorded, note = _recorded_walk(run.config)
    return write_report(
        run,
        workdir / "report" / f"network_{run.network:03d}",
        metrics=read_metrics(workdir / "metrics.jsonl", network=run.network),
        frames=snapshots.load(workdir, run.network),
        recorded_path=recorded,
        recorded_note=note,
        variant=run.variant,
        torus_rolls=run.config.evaluation.torus_rolls,
    )


def _write_index(workdir: Path) -> None:
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


@contextlib.contextmanager
def _on_first() -> Iterator[bool]:
    """Whether this is process 0; what it raises inside ends the others too."""
    error: ConfigError | None = None
    try:
        yield parallel.is_first()
    except ConfigError as raised:
        error = raised
    if parallel.from_first(int(error is not None)):
        raise error or ConfigError("process 0 refused to start; its output says why")


def _check_workdir(folder: Path, config: ConfigDict, method: Method) -> None:
    """See that the folder is free or holds this experiment."""
    workdir_module.check(folder, config)
    if (folder / "config.json").exists():
        check_recorded_method(folder, method)


def _step_to_start_from(folder: Path | None) -> int:
    """The step of the last good checkpoint, 0 without one, as process 0 finds it."""
    step = 0
    if folder is not None:
        with _on_first() as first:
            if first:
                step = _latest_intact(folder / "checkpoints")
    return parallel.from_first(step)


def _load_or_start(
    config: ConfigDict, folder: Path | None, method: Method, layout: Layout, step: int
) -> TrainState:
    """Rows [D, K, ...] at a step."""
    if folder is None or step == 0:
        return start(config, layout, method)
    like = layout.shapes(state_shapes(config, method))
    try:
        states = restore(folder / "checkpoints", step, like)
    except CheckpointError as error:
        raise ConfigError(str(error)) from None
    _say(f"resumed at step {step}")
    return layout.rows(states)


def _latest_intact(folder: Path) -> int:
    """The step to go on from, 0 without checkpoints; damaged ones are moved away."""
    step, damaged = latest_intact(folder)
    if damaged and step is None:
        problems = "; ".join(f"step {bad}: {problem}" for bad, problem in damaged.items())
        raise ConfigError(
            f"{folder}: no checkpoint is intact ({problems}); move the folder away to start anew"
        )
    for bad, problem in damaged.items():
        _say(f"the checkpoint of step {bad} is damaged: {problem}; moved to "
             f"{set_aside(folder, bad)}; going back to step {step}")  # fmt: skip
    return step or 0


def _run_steps(
    config: ConfigDict, folder: Path | None, method: Method, layout: Layout,
    step: int, signals: "_Signals",
) -> TrainState:  # fmt: skip
    """Train from a step to the end; returns rows [D, K, ...]."""
    per_dispatch = _steps_per_dispatch(config, step)
    began = time.monotonic()
    dispatch = compile_dispatch(config, layout, method, per_dispatch)
    compiled = duration(time.monotonic() - began)
    _say_cost(config, method, layout, step, parallel.device_bytes(dispatch))
    if parallel.is_first() and (hint := parallel.unseen_accelerator()):
        print(f"hint: {hint}", file=sys.stderr, flush=True)
    rows = _load_or_start(config, folder, method, layout, step)
    settings = layout.rows(population_settings(config))
    with contextlib.ExitStack() as stack:
        checkpoints = None
        if folder is not None:
            checkpoints = stack.enter_context(_opened(folder, config, method))
        first = parallel.is_first()
        if folder is not None and first:
            snapshots.cut_after(folder, step)
        monitor = stack.enter_context(
            Monitor(
                folder if first else None, first_step=step, num_steps=config.num_steps,
                shown=SHOWN,
                stream=sys.stderr if first else stack.enter_context(open(os.devnull, "w")),
            )
        )  # fmt: skip
        reported: set[int] = set()
        stop = 0
        dispatches = 0
        while step < config.num_steps and not stop:
            began = time.monotonic()
            rows, measured = dispatch(rows, settings)
            step += per_dispatch
            metrics, failed_step = layout.to_host((measured, rows.failed_step))
            dispatches += 1
            if dispatches == 2:  # the first one also loads the program
                rest = (time.monotonic() - began) * (config.num_steps - step) / per_dispatch
                monitor.say(
                    f"compiled in {compiled}; by the last {per_dispatch} steps, the rest takes"
                    f" about {duration(rest)}"
                )
            monitor.progress(step, metrics)
            if step % config.log_every == 0 or step == config.num_steps:
                monitor.log(step, metrics)
            looks = config.evaluation.snapshot_every
            if looks and (step % looks == 0 or step == config.num_steps):
                _look(_as_runs(config, method, layout, rows, layout.num_networks), folder, monitor)
            stop = signals.agreed()
            broken = failed_step >= 0
            ends = step == config.num_steps or bool(stop) or broken.all()
            if folder is not None and checkpoints and (step % config.checkpoint_every == 0 or ends):
                monitor.flush()
                _save(folder, checkpoints, step, layout.population(rows))
            for network in np.flatnonzero(broken):
                if network not in reported:
                    reported.add(int(network))
                    failure = failure_of(_light(layout, rows, int(network)), int(network), method)
                    monitor.say(f"{failure}; frozen at its last finite state")
            if broken.all():
                raise NonFiniteError(failure_of(_light(layout, rows, 0), 0, method))
    if stop and step < config.num_steps:
        raise RunInterruptedError(stop, step)
    return rows


def _look(runs: Sequence[Run], folder: Path | None, monitor: Monitor) -> None:
    """Take a snapshot of every network; show their mean. One that fails costs no training."""
    if not parallel.is_first():
        return
    taken = []
    for run in runs:
        try:
            snapshot, picture = snapshots.take(run)
        except Exception as error:
            what = f"{type(error).__name__}: {one_line(error)}"
            monitor.say(f"network {run.network}: no snapshot at step {run.step}: {what}")
            continue
        found = {"lattice_fraction": snapshot.lattice_fraction, "modules": snapshot.modules}
        monitor.look(snapshot.step, run.network, picture, found)
        if folder is not None:
            snapshots.save(folder, run.network, snapshot)
        taken.append([np.nan_to_num(snapshot.lattice_fraction), snapshot.modules])
    if not taken:
        return
    fraction, modules = np.mean(taken, axis=0)
    monitor.note(f"lattice {fraction:.2f} modules {modules:.3g}")


@contextlib.contextmanager
def _opened(folder: Path, config: ConfigDict, method: Method) -> Iterator[Checkpoints]:
    """Sign the folder as this run's and open its checkpoints; a disk that fails is bad input."""
    files = {"config.json": config_module.to_json(config)}
    if names := method.describe():
        files["method.json"] = json.dumps(names, indent=2) + "\n"
    try:
        if parallel.is_first():
            workdir_module.sign(folder, files)
        with Checkpoints(
            folder / "checkpoints", about={"config": config.to_dict()},
            keep=config.keep_checkpoints, keep_every=config.keep_checkpoints_every,
        ) as checkpoints:  # fmt: skip
            yield checkpoints
    except CheckpointError as error:
        raise ConfigError(f"workdir={folder}: {error}") from None
    except OSError as error:
        raise workdir_module.cannot_write(folder, error) from None


def _save(folder: Path, checkpoints: Checkpoints, step: int, states: TrainState) -> None:
    if not (folder / "config.json").exists():
        raise ConfigError(f"workdir={folder}: was removed while the run was writing to it")
    checkpoints.save(step, states)


def _report(folder: Path, runs: Sequence[Run]) -> None:
    """Report on every network; after an interruption, on those that are left."""
    place = folder / "report"
    pending = place / PENDING
    step, left = runs[0].step, list(range(len(runs)))
    with contextlib.suppress(OSError, ValueError, LookupError):
        found = json.loads(pending.read_text())
        left = found["left"] if found["step"] == step else left
    began, done = time.monotonic(), 0
    try:
        place.mkdir(exist_ok=True)
        while left:
            workdir_module.sign(place, {PENDING: json.dumps({"step": step, "left": left})})
            page = _write_report(runs[left.pop(0)], folder)
            done += 1
            rest = duration((time.monotonic() - began) / done * len(left))
            print(f"report: {page}" + (f" ({rest} left)" if left else ""), flush=True)
        _write_index(folder)
        pending.unlink(missing_ok=True)
    except OSError as error:
        raise workdir_module.cannot_write(folder, error) from None


def _steps_per_dispatch(config: ConfigDict, step: int) -> int:
    """The largest number that hits every log line, checkpoint and the end, up to the wish."""
    return math.gcd(
        config.steps_per_dispatch, config.log_every, config.checkpoint_every, config.num_steps,
        # The greatest common divisor with 0 is the other number.
        config.evaluation.snapshot_every, step,
    )  # fmt: skip


def _say_cost(config: ConfigDict, method: Method, layout: Layout, step: int, need: int) -> None:
    """What the run will cost, as far as it is known before the first step.

    Args:
        config: of the run.
        method: of the run.
        layout: of the population.
        step: the first.
        need: bytes that a device needs.

    Raises:
        ConfigError: the devices have less memory; says how many networks would fit.
    """
    leaves = jax.tree.leaves(state_shapes(config, method))
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / layout.num_networks
    disk = state * layout.num_networks * config.keep_checkpoints
    devices = layout.devices
    _say(
        f"{layout.num_networks} network(s) on {len(devices)} {devices[0].device_kind} device(s):"
        f" steps {step} to {config.num_steps}, {config.optimizer.accumulation} batch(es) of"
        f" {config.data.num_trajectories} x {config.data.trajectory_length} states each; memory"
        f" {_size(need / layout.per_device)} a network; checkpoints take up to {_size(disk)} of"
        f" disk, {_size(state)} a network each"
    )
    limit = parallel.device_limit(layout)
    if limit is not None and need > limit:
        _raise_too_large(config, method, layout, need, limit)


def _raise_too_large(
    config: ConfigDict, method: Method, layout: Layout, need: int, limit: float
) -> None:
    """Say how many networks fit in so many bytes a device, by what all and one of them take."""
    at_once = 1 if layout.batch else len(layout.devices)
    alone = dataclasses.replace(layout, num_networks=at_once)
    one = parallel.device_bytes(compile_dispatch(config, alone, method))
    each = (need - one) / max(layout.per_device - 1, 1)
    fit = at_once * (1 + int((limit - one) / max(each, 1))) if one <= limit else 0
    seeds = fit // max(len(config.variants), 1)
    asked = f"num_networks={config.num_networks}"
    if config.variants:
        asked += f" of each of {len(config.variants)} variants"
    raise ConfigError(
        f"{asked}: too much for {_size(limit)} on each of {len(layout.devices)} device(s); "
        + (f"{seeds} would fit" if seeds else f"a network takes {_size(one)}, so {fit} would fit")
    )


def _as_runs(
    config: ConfigDict, method: Method, layout: Layout, rows: TrainState, number: int
) -> list[Run]:
    return [Run.from_state(config, _light(layout, rows, k), k, method) for k in range(number)]


def _light(layout: Layout, rows: TrainState, network: int) -> TrainState:
    """One network's state, on the host, without the optimizer's."""
    return layout.network(rows._replace(optimizer=()), network)


def _size(number: float) -> str:
    """Bytes as "4.3 kB", "12.8 MB", "1.2 GB"."""
    unit = "kB"
    number /= 1e3
    for larger in ("MB", "GB", "TB"):
        if number >= 1e3:
            number, unit = number / 1e3, larger
    return f"{number:.3g} {unit}"


def _say(text: str) -> None:
    if parallel.is_first():
        print(text, flush=True)


class _Signals:
    """SIGTERM and Ctrl-C while it is entered: noted, and asked for; a second Ctrl-C stops at once.

    Signals reach Python between two instructions of the main thread; elsewhere there are none.
    """

    def __init__(self) -> None:
        self._number = 0
        self._step: int | None = None  # not None: stop at once, saying that this step was reached
        self._previous: dict[int, Any] = {}

    def agreed(self) -> int:
        """The signal that any process has received, 0 for none; all must ask."""
        return parallel.largest(self._number)

    @contextlib.contextmanager
    def at_once(self, step: int) -> Iterator[None]:
        """Where nothing need be saved a signal stops the run at once."""
        if self._number:
            raise RunInterruptedError(self._number, step)
        self._step = step
        yield
        self._step = None
        if self._number:  # what was raised has been caught on its way
            raise RunInterruptedError(self._number, step)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number
        if self._step is not None:
            raise RunInterruptedError(number, self._step)
        print("stopping after this dispatch; saving", file=sys.stderr, flush=True)

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
