"""The training loop: updates, logs and checkpoints of a population.

Letters: P networks, D devices, K networks per device.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sicjax.config.files import to_json
from sicjax.devices import hardware, memory, processes
from sicjax.devices.layout import Layout
from sicjax.errors import CheckpointError, ConfigError, NonFiniteError
from sicjax.network.losses import TERMS
from sicjax.paths import BucketPath
from sicjax.training import workdir as workdir_module
from sicjax.training.bucket import Desk, check_owned
from sicjax.training.checkpoint import Checkpoints, restore
from sicjax.training.costs import check_memory, describe_cost
from sicjax.training.method import Parameters, record
from sicjax.training.metrics import Monitor, duration
from sicjax.training.population import Population
from sicjax.training.signals import Signals, caused_by_another
from sicjax.training.step import Dispatch, TrainState, failure_of, start

Look = Callable[[Sequence[TrainState], Monitor], None]


class Fitted(NamedTuple):
    """The outcome of `fit`."""

    states: TrainState  # leaves [D, K, ...]
    step: int  # updates done
    signal: int  # signal that stopped the training early; 0 for none


def fit(
    population: Population, layout: Layout, signals: Signals, *, first_step: int = 0,
    folder: Path | None = None, desk: Desk | None = None, parameters: Parameters | None = None,
    look: Look | None = None,
) -> Fitted:  # fmt: skip
    """Train a population from `first_step` to its config's last update, stage by stage.

    Args:
        population: the networks.
        layout: the devices that they are spread over.
        signals: asked after every dispatch whether to stop.
        first_step: updates already made; above 0, its checkpoint in `folder` is restored.
        folder: the run's folder, for checkpoints; None keeps everything in memory.
        desk: where process 0 writes the run's metrics and events.
        parameters: start from these instead of fresh networks, leaves [P, ...]; ignored if
            `first_step` is above 0.
        look: called on process 0 every `evaluation.snapshot_every` updates with the state of every
            network (without the optimiser's) and the monitor.

    Raises:
        ConfigError: too little memory, or a folder that can't be read or written.
        NonFiniteError: no network is left that is finite.
    """
    config, method = population.config, population.method
    log_every, save_every = config.log_every, config.checkpoint_every
    look_every, last = config.evaluation.snapshot_every, config.num_steps
    step, stop = first_step, 0
    stages = [stage for stage in population.stages if stage.end > first_step]
    if not stages:
        rest = "only report/ is written again" if config.report else "raise num_steps to train on"
        states = _load_or_start(population, layout, folder, first_step, parameters)
        say(f"finished: all {first_step} updates are done; {rest}")
        return Fitted(states, first_step, 0)

    # Compile every stage before the first update: a stage that doesn't fit must fail now, not after
    # hours.
    began = time.monotonic()
    with _interruptible_until_the_steps(signals, folder, first_step):
        programs = [Dispatch(stage.config, layout, method, stage.first) for stage in stages]
    compiled = duration(time.monotonic() - began)
    _check_and_describe(population, layout, first_step, programs)
    states = _load_or_start(population, layout, folder, first_step, parameters)

    frozen: set[int] = set()  # networks already reported as non-finite
    with (
        _checkpoints(population, folder) as checkpoints,
        _monitor(population, desk, first_step) as monitor,
    ):
        monitor.say(f"compiled in {compiled}")
        for stage, program in zip(stages, programs, strict=True):
            if stage.name:
                monitor.say(f"stage {stage.name}: updates {step} to {stage.end}")
            settings, dispatches = layout.rows(population.settings(stage)), 0
            while step < stage.end and not stop:
                # Make several updates in one call: the device doesn't wait for the host in between.
                to_next = [
                    every - step % every for every in (log_every, save_every, look_every) if every
                ]
                number = min(config.steps_per_dispatch, stage.end - step, *to_next)
                began = time.monotonic()
                states, measured = program(states, settings, number)
                metrics, failed_step = layout.to_host((measured, states.failed_step))
                step, dispatches = step + number, dispatches + 1
                if dispatches == 2:  # the first call also loads the program, so it is not timed
                    left = (time.monotonic() - began) * (stage.end - step) / number
                    what = "left of this stage" if stage.name else "left"
                    monitor.say(f"about {duration(left)} {what}")

                # All processes take part in reading the states; only the first writes and shows.
                seen = _networks(layout, states) if _is_due(step, look_every, last) else []
                with signals.shared():  # an error in one process must end the others, too
                    monitor.progress(step, metrics)
                    if _is_due(step, log_every, last):
                        monitor.log(step, metrics)
                    if look and seen and processes.is_first():
                        look(seen, monitor)
                stop = signals.agreed()

                # Metrics must be on disk before their checkpoint, because a restart continues from
                # it.
                broken = failed_step >= 0
                if checkpoints and (_is_due(step, save_every, last) or stop or broken.all()):
                    monitor.flush()
                    _check_still_there(folder)
                    if desk:
                        desk.upload()
                    checkpoints.save(step, layout.population(states))
                for network in sorted({*np.flatnonzero(broken).tolist()} - frozen):
                    frozen.add(network)
                    failure = failure_of(_network(layout, states, network), network, method)
                    monitor.say(f"{failure}; frozen at its last finite state")
                if broken.all():
                    failure = failure_of(_network(layout, states, 0), 0, method)
                    raise NonFiniteError(f"no network is left: {failure}")
            if stop:
                break
    return Fitted(states, step, stop if step < last else 0)


def _interruptible_until_the_steps(
    signals: Signals, folder: Path | None, step: int
) -> contextlib.AbstractContextManager[None]:
    """Let a signal stop the compilation at once if nothing is lost by it."""
    if folder is None or not processes.is_alone():
        # Without a folder the network would be lost; other processes would wait for this one.
        return signals.noted("compiling and the first dispatch")
    return signals.at_once(step)


def _check_and_describe(
    population: Population, layout: Layout, step: int, programs: Sequence[Dispatch]
) -> None:
    """Print the cost of the run, and check that the devices have enough memory."""
    need = max(memory.device_bytes(program.program) for program in programs)
    for line in describe_cost(population, layout, step, need):
        say(line)
    check_memory(population, layout, need)
    if processes.is_first() and (hint := hardware.unseen_accelerator()):
        print(f"hint: {hint}", file=sys.stderr, flush=True)


def _load_or_start(
    population: Population, layout: Layout, folder: Path | None, step: int,
    parameters: Parameters | None,
) -> TrainState:  # fmt: skip
    """Return the states [D, K, ...] at the update to start from."""
    processes.line_up()
    if folder is None or step == 0:
        states = start(population.config, population.seeds, layout, population.method)
        if parameters is not None:
            states = states._replace(parameters=layout.rows(parameters))
        return states
    try:
        states = restore(folder / "checkpoints", step, layout.shapes(population.shapes))
    except CheckpointError as error:
        raise ConfigError(str(error)) from None
    say(f"resumed at step {step} (number of updates done)")
    return layout.rows(states)


def _is_due(step: int, every: int, last: int) -> bool:
    """Return whether something is due that happens every `every` updates and after the last one."""
    return every > 0 and (step % every == 0 or step == last)


def _network(layout: Layout, states: TrainState, network: int) -> TrainState:
    """Return one network's state on the host, without the optimiser's state."""
    return layout.network(states._replace(optimizer=()), network)


def _networks(layout: Layout, states: TrainState) -> list[TrainState]:
    return [_network(layout, states, network) for network in range(layout.num_networks)]


def _check_still_there(folder: Path | None) -> None:
    """Raise if the folder has been removed: Orbax would make a new one without a config.

    Raise, too, if it is in a bucket and another run has taken it over.
    """
    if isinstance(folder, BucketPath) and processes.is_first():
        check_owned(folder)
    if folder is not None and not (folder / "config.json").exists():
        raise ConfigError(f"workdir={folder}: was removed while the run was writing to it")


@contextlib.contextmanager
def _monitor(population: Population, desk: Desk | None, step: int) -> Iterator[Monitor]:
    """Open the run's logs and its progress line; only process 0 writes and shows."""
    config, first = population.config, processes.is_first()
    shown = ("loss", *TERMS, *sorted(population.method.terms))
    with contextlib.ExitStack() as stack:
        stream = sys.stderr if first else stack.enter_context(open(os.devnull, "w"))
        yield stack.enter_context(
            Monitor(
                desk.folder if desk else None, first_step=step, num_steps=config.num_steps,
                log_every=config.log_every, shown=shown, stream=stream,
            )
        )  # fmt: skip


@contextlib.contextmanager
def _checkpoints(population: Population, folder: Path | None) -> Iterator[Checkpoints | None]:
    """Sign the folder as this run's and open its checkpoints; a disk error counts as bad input."""
    config = population.config
    if folder is None:
        yield None
        return
    files = {"config.json": to_json(config)}
    if recorded := record(population.method):
        files["method.json"] = json.dumps(recorded, indent=2) + "\n"
    with _disk_errors(folder):
        if processes.is_first():
            workdir_module.sign(folder, files)
        with Checkpoints(
            folder / "checkpoints", about={"config": config.to_dict()},
            keep=config.keep_checkpoints, keep_every=config.keep_checkpoints_every,
        ) as checkpoints:  # fmt: skip
            try:
                with _disk_errors(folder):
                    yield checkpoints
                    checkpoints.wait()
            except ConfigError as raised:
                error = caused_by_another(raised)
                # Closing may wait for other processes, which may wait for this one's part of the
                # save.
                processes.announce(getattr(error, "exit_code", 1), str(error))
                raise error from None


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turn disk errors into bad input (exit code 2)."""
    try:
        yield
    except CheckpointError as error:
        raise ConfigError(f"workdir={folder}: {error}") from None
    except OSError as error:
        raise workdir_module.cannot_write(folder, error) from None


def say(text: str) -> None:
    """Print a line, only in process 0."""
    if processes.is_first():
        print(text, flush=True)
