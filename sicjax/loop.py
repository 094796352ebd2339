"""`train`: start or resume a run, take its steps, log, save; then report.

Letters: P networks, D devices, K networks per device.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sicjax import parallel
from sicjax import workdir as workdir_module
from sicjax.arguments import path
from sicjax.checkpoint import (
    CheckpointError,
    Checkpoints,
    end_removals,
    latest_intact,
    one_line,
    restore,
    set_aside,
)
from sicjax.compilation import use_cache
from sicjax.config import ConfigError, check_kind, flatten, validate
from sicjax.costs import check_memory, check_sizes, describe_cost
from sicjax.method import PAPER, Method, check_is, check_method, check_recorded, record
from sicjax.monitor import Monitor, duration
from sicjax.pairs import most_shares
from sicjax.parallel import Layout
from sicjax.population import Population, Stage
from sicjax.recipes import to_json
from sicjax.report import phase, snapshots
from sicjax.run import Run, failure_of
from sicjax.signals import RunInterruptedError, Signals
from sicjax.training import Dispatch, TrainState, start
from sicjax.weights import starting_parameters

_TURN = threading.RLock()
SHOWN = ("loss", "separation", "invariance", "capacity", "conformal_isometry")


class NonFiniteError(ArithmeticError):
    """Every network went non-finite; the message names network, step and term."""

    exit_code = 3


def train(
    config: ConfigDict, workdir: str | os.PathLike | None = None, *, method: Method = PAPER
) -> Run:
    """Train a population of networks, or take an interrupted training up again.

    Args:
        config: from `sicjax.load_config` or `sicjax.default_config`.
        workdir: folder of the run: config.json, checkpoints/, metrics.jsonl, TensorBoard events
            and report/. A folder that holds a run of the same config is resumed from its last
            checkpoint; one that is finished only gets its report anew. None keeps all in memory.
        method: parts of your own: transition, velocities, terms of the loss.

    Returns:
        The first network, as a `Run`; `load_run(workdir, network=k)` gives the others. Calls from
        several threads of a process take turns.

    Raises:
        ConfigError: a wrong value, another experiment's workdir, num_steps below the step
            reached, a workdir that can't be written, or a recorded path that can't be used.
        NonFiniteError: no network is left that is finite.
        RunInterruptedError: SIGTERM or Ctrl-C came; everything up to this dispatch is saved or,
            without a workdir, the error's `run`.

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
    check_sizes(flatten(config), own_transition=method.transition is not None)
    check_method(config, method)
    if config.compilation_cache:
        use_cache()
    folder = None if workdir is None else path("workdir", workdir)
    reported = config.report and folder is not None
    if reported:
        phase.recorded_walk(config)  # which is refused now rather than after the training
    with _turn(), Signals() as signals, contextlib.ExitStack() as held:
        if folder is not None:
            _claim(folder, config, method, held)
        config = workdir_module.settled(config, folder)
        population = Population(config, method)
        most = max(
            most_shares(data.num_trajectories * data.trajectory_length)
            for data in (stage.config.data for stage in population.stages)
        )
        layout = parallel.make_layout(len(population), config.parallel, most=most)
        training = _Training(
            population, layout, folder, signals, _step_to_start_from(folder, config)
        )
        training.run()
        runs = training.runs(len(population) if reported else 1)
        if reported and folder is not None:
            parallel.leave_processes()
            if parallel.is_first():
                with signals.at_once(config.num_steps):
                    phase.report_left(folder, runs)
        elif folder is not None:
            _say(f"trained, without a report: {folder}")
    return runs[0]


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Wait until no other thread trains: Orbax counts the saves of a whole process."""
    if not _TURN.acquire(blocking=False):
        _say("waiting for another thread of this process, which is training")
        _TURN.acquire()
    try:
        yield
    finally:
        _TURN.release()


def _claim(folder: Path, config: ConfigDict, method: Method, held: contextlib.ExitStack) -> None:
    """Take the folder for this run alone until `held` ends, if it is free or this experiment's."""
    with parallel.on_first() as first:
        if first:
            workdir_module.check(folder, config)
            held.enter_context(workdir_module.locked(folder))
            workdir_module.check(folder, config)  # nobody came between
            if (folder / "config.json").exists():
                check_recorded(folder, workdir_module.recorded_method(folder), method)


def _step_to_start_from(folder: Path | None, config: ConfigDict) -> int:
    """The step of the last good checkpoint, 0 without one, as process 0 finds it."""
    step = 0
    if folder is not None:
        with parallel.on_first() as first:
            if first:
                step = _latest_intact(folder / "checkpoints")
                if step:
                    workdir_module.check_as_written(folder, step)
                end_removals(
                    folder / "checkpoints", keep=config.keep_checkpoints,
                    keep_every=config.keep_checkpoints_every,
                )  # fmt: skip
    return parallel.from_first(step)


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


@dataclass
class _Training:
    """A population on its way from one step to the last."""

    population: Population
    layout: Layout
    folder: Path | None
    signals: Signals
    step: int  # reached
    rows: TrainState = field(init=False)  # leaves [D, K, ...]
    named: set[int] = field(default_factory=set)  # networks that were said to have failed

    def run(self) -> None:
        """Train to the end, stage by stage.

        Raises:
            NonFiniteError: no network is left.
            RunInterruptedError: a signal came.
        """
        config, first = self.population.config, self.step
        left = [stage for stage in self.population.stages if stage.end > first]
        if not left:
            self.rows = self.load_or_start()
            rest = (
                "only the report is made anew" if config.report else "more need a larger num_steps"
            )
            _say(f"finished: all {first} steps are done; {rest}")
            return
        began = time.monotonic()
        with self.until_the_steps():
            programs = [
                Dispatch(stage.config, self.layout, self.population.method, stage.first)
                for stage in left
            ]
        compiled = duration(time.monotonic() - began)
        need = max(parallel.device_bytes(program.program) for program in programs)
        for line in describe_cost(self.population, self.layout, first, need):
            _say(line)
        check_memory(self.population, self.layout, need)
        if parallel.is_first() and (hint := parallel.unseen_accelerator()):
            print(f"hint: {hint}", file=sys.stderr, flush=True)
        self.rows = self.load_or_start()
        stop = 0
        with self.checkpoints() as checkpoints, self.monitor() as monitor:
            monitor.say(f"compiled in {compiled}")
            for stage, program in zip(left, programs, strict=True):
                stop = stop or self.take(stage, program, monitor, checkpoints)
        if stop and self.step < config.num_steps:
            kept = self.runs(1)[0] if self.folder is None else None
            raise RunInterruptedError(stop, self.step, kept)

    def until_the_steps(self) -> contextlib.AbstractContextManager[None]:
        """Where a signal stops a run that is in a folder, and in one process, at once."""
        if self.folder is None or not parallel.is_alone():
            # Else a network would be lost, or other processes would wait for this one.
            return self.signals.noted("compiling and the first dispatch")
        return self.signals.at_once(self.step)

    def take(
        self, stage: Stage, program: Dispatch, monitor: Monitor, checkpoints: Checkpoints | None
    ) -> int:
        """Take a stage's steps, dispatch by dispatch; returns the signal that came, 0 for none."""
        if stage.name:
            monitor.say(f"stage {stage.name}: steps {self.step} to {stage.end}")
        settings = self.layout.rows(self.population.settings(stage))
        stop = dispatches = 0
        while self.step < stage.end and not stop:
            began = time.monotonic()
            number = self.steps_at_once(stage)
            self.rows, measured = program(self.rows, settings, number)
            self.step += number
            metrics, failed_step = self.layout.to_host((measured, self.rows.failed_step))
            dispatches += 1
            if dispatches == 2:  # the first one also loads the program
                rest = (time.monotonic() - began) * (stage.end - self.step) / number
                what = "this stage" if stage.name else "the rest"
                monitor.say(f"by the last {number} steps, {what} takes about {duration(rest)}")
            seen = self.runs(len(self.population)) if self.is_time_to_look() else []
            with self.signals.shared():
                self.tell(metrics, seen, monitor)
            stop = self.signals.agreed()
            self.save(failed_step >= 0, bool(stop), monitor, checkpoints)
        return stop

    def steps_at_once(self, stage: Stage) -> int:
        """Steps to the next line of the log, checkpoint, look or end, at most as many as wished."""
        config = self.population.config
        looks = config.evaluation.snapshot_every
        every = (config.log_every, config.checkpoint_every, *([looks] if looks else []))
        to_next = [number - self.step % number for number in every]
        return min(config.steps_per_dispatch, stage.end - self.step, *to_next)

    def save(
        self, broken: np.ndarray, stops: bool, monitor: Monitor, checkpoints: Checkpoints | None
    ) -> None:
        """Begin to save all networks where it is time, and name those that have broken, [P].

        Raises:
            NonFiniteError: all have.
        """
        config = self.population.config
        ends = self.step == config.num_steps or stops or broken.all()
        if checkpoints and (self.step % config.checkpoint_every == 0 or ends):
            monitor.flush()
            if self.folder is not None and not (self.folder / "config.json").exists():
                raise ConfigError(
                    f"workdir={self.folder}: was removed while the run was writing to it"
                )
            checkpoints.save(self.step, self.layout.population(self.rows))
        for network in sorted({*np.flatnonzero(broken).tolist()} - self.named):
            self.named.add(network)
            monitor.say(f"{self.failure(network)}; frozen at its last finite state")
        if broken.all():
            raise NonFiniteError(f"no network is left: {self.failure(0)}")

    def is_time_to_look(self) -> bool:
        """Whether the maps are looked at after this step."""
        looks = self.population.config.evaluation.snapshot_every
        return bool(looks) and (
            self.step % looks == 0 or self.step == self.population.config.num_steps
        )

    def tell(
        self, metrics: Mapping[str, np.ndarray], seen: Sequence[Run], monitor: Monitor
    ) -> None:
        """Show and log what a dispatch has measured, and the maps of the networks given."""
        config = self.population.config
        monitor.progress(self.step, metrics)
        if self.step % config.log_every == 0 or self.step == config.num_steps:
            monitor.log(self.step, metrics)
        if seen and parallel.is_first():
            _look(seen, self.folder, monitor)

    def load_or_start(self) -> TrainState:
        """Rows [D, K, ...] at the step reached."""
        population, layout = self.population, self.layout
        if self.folder is None or self.step == 0:
            rows = start(population.config, population.seeds, layout, population.method)
            if source := population.config.start_from:
                rows = rows._replace(parameters=layout.rows(starting_parameters(population)))
                _say(f"started from {source}")
            return rows
        like = layout.shapes(population.shapes)
        try:
            states = restore(self.folder / "checkpoints", self.step, like)
        except CheckpointError as error:
            raise ConfigError(str(error)) from None
        _say(f"resumed at step {self.step}")
        return layout.rows(states)

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Monitor]:
        """What this process says and logs from here on; process 0 alone writes and shows."""
        folder = self.folder if parallel.is_first() else None
        if folder is not None:
            snapshots.cut_after(folder, self.step)
        with contextlib.ExitStack() as stack:
            stream = sys.stderr
            if not parallel.is_first():
                stream = stack.enter_context(open(os.devnull, "w"))
            config = self.population.config
            yield stack.enter_context(
                Monitor(
                    folder, first_step=self.step, num_steps=config.num_steps,
                    log_every=config.log_every, shown=SHOWN, stream=stream,
                )
            )  # fmt: skip

    @contextlib.contextmanager
    def checkpoints(self) -> Iterator[Checkpoints | None]:
        """Sign the folder as this run's, open its checkpoints; a disk that fails is bad input."""
        folder, config = self.folder, self.population.config
        if folder is None:
            yield None
            return
        files = {"config.json": to_json(config)}
        if recorded := record(self.population.method):
            files["method.json"] = json.dumps(recorded, indent=2) + "\n"
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

    def failure(self, network: int) -> str | None:
        """One line on a network that went non-finite."""
        return failure_of(self.light(network), network, self.population.method)

    def runs(self, number: int) -> list[Run]:
        """The first networks."""
        return [Run.from_state(self.population, self.light(k), k) for k in range(number)]

    def light(self, network: int) -> TrainState:
        """One network's state, on the host, without the optimiser's."""
        return self.layout.network(self.rows._replace(optimizer=()), network)


def _look(runs: Sequence[Run], folder: Path | None, monitor: Monitor) -> None:
    """Take a snapshot of every network; show their mean. One that fails costs no training."""
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


def _say(text: str) -> None:
    if parallel.is_first():
        print(text, flush=True)
