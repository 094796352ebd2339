"""The loop: take a population from one step to the last; log and save.

Letters: P networks, D devices, K networks per device.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sicjax.config.files import to_json
from sicjax.devices import hardware, memory, processes
from sicjax.devices.layout import Layout
from sicjax.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteError,
    RunInterruptedError,
    one_line,
)
from sicjax.pretrained import starting_parameters
from sicjax.report import snapshots
from sicjax.run import Run, failure_of
from sicjax.training import workdir as workdir_module
from sicjax.training.checkpoint import Checkpoints, restore
from sicjax.training.costs import check_memory, describe_cost
from sicjax.training.method import record
from sicjax.training.metrics import Monitor, duration
from sicjax.training.population import Population, Stage
from sicjax.training.signals import Signals
from sicjax.training.step import Dispatch, TrainState, start

SHOWN = ("loss", "separation", "invariance", "capacity", "conformal_isometry")


@dataclass
class Training:
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
            say(f"finished: all {first} steps are done; {rest}")
            return
        began = time.monotonic()
        with self.until_the_steps():
            programs = [
                Dispatch(stage.config, self.layout, self.population.method, stage.first)
                for stage in left
            ]
        compiled = duration(time.monotonic() - began)
        need = max(memory.device_bytes(program.program) for program in programs)
        for line in describe_cost(self.population, self.layout, first, need):
            say(line)
        check_memory(self.population, self.layout, need)
        if processes.is_first() and (hint := hardware.unseen_accelerator()):
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
        if self.folder is None or not processes.is_alone():
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
        if seen and processes.is_first():
            _look(seen, self.folder, monitor)

    def load_or_start(self) -> TrainState:
        """Rows [D, K, ...] at the step reached."""
        population, layout = self.population, self.layout
        if self.folder is None or self.step == 0:
            rows = start(population.config, population.seeds, layout, population.method)
            if source := population.config.start_from:
                rows = rows._replace(parameters=layout.rows(starting_parameters(population)))
                say(f"started from {source}")
            return rows
        like = layout.shapes(population.shapes)
        try:
            states = restore(self.folder / "checkpoints", self.step, like)
        except CheckpointError as error:
            raise ConfigError(str(error)) from None
        say(f"resumed at step {self.step}")
        return layout.rows(states)

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Monitor]:
        """What this process says and logs from here on; process 0 alone writes and shows."""
        folder = self.folder if processes.is_first() else None
        if folder is not None:
            snapshots.cut_after(folder, self.step)
        with contextlib.ExitStack() as stack:
            stream = sys.stderr
            if not processes.is_first():
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
            if processes.is_first():
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


def say(text: str) -> None:
    """Print a line, in process 0 alone."""
    if processes.is_first():
        print(text, flush=True)
