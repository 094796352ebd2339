"""What a run says while it trains: metrics.jsonl, TensorBoard events, a progress bar.

Letters: P networks. Knows names and numbers, not what they mean.
"""

import contextlib
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TextIO

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0  # of plain progress, where there is no terminal to draw a bar in

_BAD_ROWS = "metrics.bad.jsonl"  # where rows that can't be read are moved
_EVENTS = "events.out.tfevents."  # how TensorBoard's files begin

Row = Mapping[str, Any]


def read_metrics(path: Path, *, network: int | None = None) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, all or one network's; those that can't be read are left out."""
    rows = [row for _, _, row in _lines(path.read_bytes()) if row] if path.exists() else []
    return [row for row in rows if network is None or row["network"] == network]


class Monitor:
    """Writes metrics and shows progress; a context manager.

    Args:
        workdir: where metrics.jsonl and the TensorBoard events go; None writes nothing.
        first_step: the step the run (re)starts from; rows after it are cut off, so that a
            restart leaves neither gap nor duplicate. What was damaged meanwhile is set aside,
            what is missing is named.
        num_steps: the step it runs to.
        log_every: steps between two rows of a network; 0 if it isn't known.
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
        log_every: int = 0,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._first_step, self._num_steps, self._shown = first_step, num_steps, shown
        self._note = ""
        self._file: TextIO | None = None
        self._events: EventsWriter | None = None
        notes: list[str] = []
        if workdir is not None:
            path = workdir / "metrics.jsonl"
            notes += _cut_after(path, first_step, log_every)
            self._file = path.open("a")
            notes += _keep_events(workdir, first_step)
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
        for note in notes:
            self.say(note)

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
            row: dict[str, Any] = {"step": step, "network": network, **_without_nan(values)}
            row["timing"] = {**timing, "crc32": _checksum(row)}
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
            os.fsync(self._file.fileno())
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


def _lines(content: bytes) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """The lines of a metrics.jsonl: number, text and row, which is None if it can't be read.

    Empty lines and a torn last one, which say nothing, are left out.
    """
    *whole, rest = content.split(b"\n")
    for number, line in enumerate(whole, start=1):
        if line.strip():
            yield number, line + b"\n", _row(line)
    if row := _row(rest):
        yield len(whole) + 1, rest + b"\n", row


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    values = (value for name, value in row.items() if name != "timing")
    known = all(type(row.get(name)) is int for name in ("step", "network"))
    known &= all(isinstance(value, int | float | None) for value in values)
    timing = row.get("timing")
    written = timing.get("crc32") if isinstance(timing, dict) else None  # once, there was none
    return row if known and written in (None, _checksum(row)) else None


def _checksum(row: Row) -> int:
    """CRC-32 of a row but its timing: a digit that has flipped is a number like any other."""
    return zlib.crc32(json.dumps({k: v for k, v in row.items() if k != "timing"}).encode())


def _cut_after(path: Path, step: int, log_every: int) -> list[str]:
    """Drop the rows after a step, and set aside what can't be read; atomically.

    Returns:
        What was set aside, and what is missing up to the step, a line each.
    """
    before = path.read_bytes() if path.exists() else b""
    lines = list(_lines(before))
    kept = [(line, row) for _, line, row in lines if row and row["step"] <= step]
    bad = [(number, line) for number, line, row in lines if row is None]
    notes = _missing([row for _, row in kept], step, log_every)
    if bad:
        with path.with_name(_BAD_ROWS).open("ab") as file:
            _write_through(file, b"".join(line for _, line in bad))
        notes.append(
            f"{len(bad)} row(s) can't be read, the first in line {bad[0][0]}; moved to {_BAD_ROWS}"
        )
    after = b"".join(line for line, _ in kept)
    if after != before:
        rest = path.with_suffix(".tmp")
        with rest.open("wb") as file:
            _write_through(file, after)
        rest.replace(path)
    return [f"{path.name}: {note}" for note in notes]


def _missing(rows: Sequence[Row], step: int, log_every: int) -> list[str]:
    """A line on the steps, up to this one, of which some network has no row; if there are any."""
    networks: dict[int, set[int]] = {}
    for row in rows:
        networks.setdefault(row["step"], set()).add(row["network"])
    most = max(map(len, networks.values()), default=1)
    wanted = range(log_every, step + 1, log_every) if log_every else range(0)
    missing = [one for one in wanted if len(networks.get(one, ())) < most]
    if not missing:
        return []
    return [
        f"lacks rows of {len(missing)} step(s) up to {step}, the first {missing[0]}; they were"
        " lost, or log_every was another"
    ]


def _write_through(file: BinaryIO, content: bytes) -> None:
    """Write, and wait until it is on disk."""
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def read_events(workdir: Path) -> list[tuple[str, int, float]]:
    """Tag, step and value of every number in TensorBoard's files, file by file."""
    return [
        (value.tag, event.step, value.simple_value)
        for path in sorted(workdir.glob(f"{_EVENTS}*"))
        for event in map(_event, _records(path.read_bytes())[0])
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def _keep_events(workdir: Path, step: int) -> list[str]:
    """Put TensorBoard's events up to a step into one file, each once, and drop the rest.

    TensorBoard would do so by the order of the files, which hangs on the clock.

    Returns:
        In which files something was damaged, a line each.
    """
    found = sorted(workdir.glob(f"{_EVENTS}*"))
    kept, seen, notes = workdir / f"{_EVENTS}0.kept", set(), []
    if not found:
        return []
    temporary = workdir / ".events.tmp"
    with temporary.open("wb") as file:
        for path in found:
            records, damaged = _records(path.read_bytes())
            if damaged:
                notes.append(f"{path.name}: damaged; {damaged} bytes of it are left out")
            for record in records:
                event = _event(record)
                tags = [value.tag for value in event.summary.value] or [event.file_version]
                key = (event.step, *tags)
                if key not in seen and event.step <= step:
                    seen.add(key)
                    file.write(record)
        _write_through(file, b"")
    temporary.replace(kept)
    for path in found:
        if path != kept:
            path.unlink()
    return notes


def _records(content: bytes) -> tuple[list[bytes], int]:
    """The sound records of a TensorBoard file, and how many bytes of it are damaged.

    Each is the length of its data (8 bytes), a checksum (4), the data, another checksum (4). A
    damaged length hides where the next one begins: all that follows is lost. A torn last record,
    of a run that was killed, isn't counted.
    """
    records: list[bytes] = []
    place = damaged = 0
    while place + 12 <= len(content):
        if not _sound(content[place : place + 12]):
            return records, damaged + len(content) - place
        end = place + 16 + int.from_bytes(content[place : place + 8], "little")
        if end > len(content):
            break
        if _sound(content[place + 12 : end]):
            records.append(content[place:end])
        else:
            damaged += end - place
        place = end
    return records, damaged


def _sound(checked: bytes) -> bool:
    """Whether bytes fit the checksum behind them."""
    return masked_crc32c(checked[:-4]) == int.from_bytes(checked[-4:], "little")


def _event(record: bytes) -> Event:
    return Event.FromString(record[12:-4])


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: null stands for it."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _finite_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
