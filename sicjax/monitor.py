"""What a run says while it trains: metrics.jsonl, TensorBoard events, a progress bar.

Letters: P networks. Knows names and numbers, not what they mean.
"""

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0  # of plain progress, where there is no terminal to draw a bar in

_EVENTS = "events.out.tfevents."  # how TensorBoard's files begin

Row = Mapping[str, Any]


def read_metrics(path: Path, *, network: int | None = None) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, all or one network's; a torn last line is left out."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if network is None or row["network"] == network:
                rows.append(row)
    return rows


class Monitor:
    """Writes metrics and shows progress; a context manager.

    Args:
        workdir: where metrics.jsonl and the TensorBoard events go; None writes nothing.
        first_step: the step the run (re)starts from; rows after it are cut off, so that a
            restart leaves neither gap nor duplicate.
        num_steps: the step it runs to.
        shown: names of the metrics that the progress shows.
        stream: of the progress; a bar on a terminal, else plain lines.
    """

    def __init__(
        self,
        workdir: Path | None,
        *,
        first_step: int,
        num_steps: int,
        shown: Sequence[str],
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._first_step, self._num_steps, self._shown = first_step, num_steps, shown
        self._note = ""
        self._file: TextIO | None = None
        self._events: EventsWriter | None = None
        if workdir is not None:
            path = workdir / "metrics.jsonl"
            _cut_after(path, first_step)
            self._file = path.open("a")
            _keep_events(workdir, first_step)
            # Written by this thread: what a checkpoint stands for is on disk before it, and a disk
            # that is full is noticed here.
            self._events = EventsWriter(str(workdir / "events"))
        self._started = self._last_line = time.monotonic()
        self._bar: tqdm | None = None
        if self._stream.isatty():
            self._bar = tqdm(
                initial=first_step, total=num_steps, unit="step", file=self._stream,
                dynamic_ncols=True,
            )  # fmt: skip

    def progress(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Show that `step` is done, with the mean over networks of metrics [P]."""
        text = " ".join(f"{name} {_finite_mean(metrics[name]):.3g}" for name in self._shown)
        text = f"{text}  {self._note}" if self._note else text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES and step < self._num_steps:
            return
        self._last_line = now
        rate = self.steps_per_second(step)
        left = duration((self._num_steps - step) / rate) if rate > 0 else "?"
        print(
            f"step {step}/{self._num_steps}  {rate:.3g} steps/s  {left} left  {text}",
            file=self._stream, flush=True,
        )  # fmt: skip

    def log(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Write one row per network; metrics [P] each."""
        if self._file is None or self._events is None:
            return
        timing = {
            "elapsed_s": round(time.monotonic() - self._started, 3),
            "steps_per_s": round(self.steps_per_second(step), 3),
        }
        num_networks = len(next(iter(metrics.values())))
        for network in range(num_networks):
            values = {name: float(column[network]) for name, column in metrics.items()}
            row = {"step": step, "network": network, **_without_nan(values), "timing": timing}
            self._file.write(json.dumps(row) + "\n")
            for name, value in values.items():
                self._add(step, summary.scalar(f"network_{network:03d}/{name}", value))
        self._file.flush()

    def _add(self, step: int, content: Any) -> None:
        """Put a summary into TensorBoard's file."""
        if self._events is not None:
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=content))

    def look(
        self, step: int, network: int, picture: np.ndarray, found: Mapping[str, float]
    ) -> None:
        """Write a picture [height, width, 3] and what was found on it to TensorBoard."""
        place = f"network_{network:03d}"
        self._add(step, summary.image(f"{place}/maps", picture, dataformats="HWC"))
        for name, value in found.items():
            self._add(step, summary.scalar(f"{place}/{name}", value))

    def note(self, text: str) -> None:
        """Show this at the end of the progress, until the next note."""
        self._note = text

    def flush(self) -> None:
        """Put all that was logged on disk, before a checkpoint that stands for it."""
        if self._file is not None and self._events is not None:
            self._file.flush()
            self._events.flush()

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def steps_per_second(self, step: int) -> float:
        """Mean speed since this run (re)started."""
        return (step - self._first_step) / max(time.monotonic() - self._started, 1e-9)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._file is not None and self._events is not None:
            # What can't be written on the way out hides nothing that was raised before.
            with contextlib.suppress(*[OSError] if error else []):
                self._file.close()
            with contextlib.suppress(*[OSError] if error else []):
                self._events.close()


def duration(seconds: float) -> str:
    """Seconds as "12 s", "3 min 20 s" or "5 h 10 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _cut_after(path: Path, step: int) -> None:
    """Drop the rows after a step, and a torn last line; atomically."""
    if not path.exists():
        return
    rows = [row for row in read_metrics(path) if row["step"] <= step]
    rest = path.with_suffix(".tmp")
    rest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rest.replace(path)


def read_events(workdir: Path) -> list[tuple[str, int, float]]:
    """Tag, step and value of every number in TensorBoard's files, file by file."""
    return [
        (value.tag, event.step, value.simple_value)
        for path in sorted(workdir.glob(f"{_EVENTS}*"))
        for event in map(_event, _records(path.read_bytes()))
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def _keep_events(workdir: Path, step: int) -> None:
    """Put TensorBoard's events up to a step into one file, each once, and drop the rest.

    TensorBoard would do so by the order of the files, which hangs on the clock.
    """
    found = sorted(workdir.glob(f"{_EVENTS}*"))
    kept, seen = workdir / f"{_EVENTS}0.kept", set()
    if not found:
        return
    temporary = workdir / ".events.tmp"
    with temporary.open("wb") as file:
        for path in found:
            for record in _records(path.read_bytes()):
                event = _event(record)
                tags = [value.tag for value in event.summary.value] or [event.file_version]
                key = (event.step, *tags)
                if key not in seen and event.step <= step:
                    seen.add(key)
                    file.write(record)
    temporary.replace(kept)
    for path in found:
        if path != kept:
            path.unlink()


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a TensorBoard file, a torn last one left out.

    Each is the length of its data (8 bytes), a checksum (4), the data, another checksum (4).
    """
    place = 0
    while place + 12 <= len(content):
        end = place + 16 + int.from_bytes(content[place : place + 8], "little")
        if end > len(content):
            return
        yield content[place:end]
        place = end


def _event(record: bytes) -> Event:
    return Event.FromString(record[12:-4])


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: null stands for it."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _finite_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
