"""Metrics of a training: metrics.jsonl, TensorBoard events, a progress bar.

Letters: P networks. This file knows names and numbers of metrics, not their meaning.
"""

import contextlib
import json
import math
import os
import re
import socket
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0  # seconds between lines of plain progress, without a terminal

_LONGEST_ROW = 2**20  # bytes; a longer line is damaged, and is read in pieces
_EVENTS = "events.out.tfevents."  # TensorBoard finds its files by this beginning

_OURS = ".sicjax"  # we find our files by this ending, and never touch those of other tools

Row = Mapping[str, Any]


def read_metrics(path: Path, *, network: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl, of all networks or of one, without unreadable rows.

    The file is read line by line; rows of other networks are not parsed.
    """
    if not path.exists():
        return []
    wanted = None if network is None else re.compile(rb'"network": *%d\b' % network)
    return [row for _, _, row in _lines(path, wanted) if row]


class Monitor:
    """Writes metrics and shows progress; a context manager.

    Args:
        workdir: where metrics.jsonl and the TensorBoard events go; None writes nothing.
        first_step: the number of updates from which the run (re)starts. Rows after it are cut off,
            so a restart leaves neither gaps nor repeats; rows that are damaged or missing are
            named.
        num_steps: the number of updates at its end.
        log_every: updates between two rows of a network; 0 if it isn't known.
        shown: names of the metrics in the progress.
        stream: where progress goes; a bar on a terminal, else plain lines.
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
        self._events: _Events | None = None
        notes: list[str] = []
        if workdir is not None:
            path = workdir / "metrics.jsonl"
            notes += _cut_after(path, first_step, log_every)
            self._file = path.open("a")
            self._events = _Events(workdir, first_step)
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
            f"update {step}/{self._num_steps}  {rate:.3g} updates/s  {left} left  {text}",
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
                self._events.add(step, summary.scalar(f"network_{network:03d}/{name}", value))
        self._file.flush()

    def look(
        self, step: int, network: int, picture: np.ndarray, found: Mapping[str, float]
    ) -> None:
        """Write a picture [height, width, 3] and what was found on it to TensorBoard."""
        if self._events is None:
            return
        place = f"network_{network:03d}"
        self._events.add(step, summary.image(f"{place}/maps", picture, dataformats="HWC"))
        for name, value in found.items():
            self._events.add(step, summary.scalar(f"{place}/{name}", value))

    def note(self, text: str) -> None:
        """Show a note at the end of the progress, until the next one."""
        self._note = text

    def flush(self) -> None:
        """Put everything logged so far on disk, before the checkpoint that includes it."""
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
        """Mean updates per second since this run (re)started."""
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
            # An error while closing must not hide the error that was raised before.
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


class _Events:
    """TensorBoard's file of one start of a run.

    Its name sorts after those of earlier starts, even if the clock was set back. Its first record
    tells TensorBoard to forget what earlier starts wrote after the update from which this one
    continues. The calling thread writes the records, so they are on disk before their checkpoint,
    and a full disk raises an error here.
    """

    def __init__(self, workdir: Path, first_step: int) -> None:
        before = [path.name for path in workdir.glob(f"{_EVENTS}*")]
        stamps = [int(text) for name in before if (text := name.split(".")[3]).isdecimal()]
        stamp = max([int(time.time()), *(one + 1 for one in stamps if one < 10**10 - 1)])
        name = f"{_EVENTS}{stamp:010d}.{socket.gethostname()}{_OURS}"
        self._writer = RecordWriter(str(workdir / name))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if first_step or any(name.endswith(_OURS) for name in before):
            log = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=first_step + 1, session_log=log))

    def add(self, step: int, content: Any) -> None:
        """Write a summary."""
        self._write(Event(wall_time=time.time(), step=step, summary=content))

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())

    def flush(self) -> None:
        """Put everything on disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.flush()
        self._writer.close()


def _lines(
    path: Path, wanted: re.Pattern[bytes] | None = None
) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """Yield each line of a metrics.jsonl: where it begins, its text, and its row if readable.

    Args:
        path: the file.
        wanted: lines without this are skipped; empty lines always are.
    """
    place = 0
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_ROW):
            if line.strip() and (wanted is None or wanted.search(line)):
                yield place, line, _row(line)
            place += len(line)


def _row(line: bytes) -> dict[str, Any] | None:
    """Return the row of a line; None if it is damaged or not a row of ours."""
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
    written = timing.get("crc32") if isinstance(timing, dict) else None  # early files have none
    return row if known and written in (None, _checksum(row)) else None


def _checksum(row: Row) -> int:
    """Return the CRC-32 of a row without its timing: a flipped digit would still be a number."""
    return zlib.crc32(json.dumps({k: v for k, v in row.items() if k != "timing"}).encode())


def _cut_after(path: Path, step: int, log_every: int) -> list[str]:
    """Remove, in place, the rows after an update and a last row that a kill cut short.

    Unreadable rows stay in the file; readers leave them out.

    Returns:
        A line on unreadable rows, and one on rows missing up to the update, if there are any.
    """
    rows: Counter[int] = Counter()  # by update, rising: a restart always cuts
    bad, first_bad, number, end = 0, 0, 0, None
    for number, (place, line, row) in enumerate(_lines(path) if path.exists() else (), start=1):
        if row is None and (line.endswith(b"\n") or len(line) == _LONGEST_ROW):
            bad, first_bad = bad + 1, first_bad or number
        elif row is None or row["step"] > step:
            end = place
            break
        else:
            rows[row["step"]] += 1
    if end is not None:
        with path.open("r+b") as file:
            file.truncate(end)
    elif path.exists() and number and not line.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
    notes = [f"{bad} row(s) can't be read, the first in line {first_bad}"] if bad else []
    # Every network has a row at each logged update.
    most = max(rows.values(), default=1)
    wanted = range(log_every, step + 1, log_every) if log_every else range(0)
    if missing := [one for one in wanted if rows[one] < most]:
        notes.append(
            f"lacks rows of {len(missing)} update(s) up to {step}, the first {missing[0]}: they"
            " were lost, or log_every was different then"
        )
    return [f"{path.name}: {note}" for note in notes]


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return values with None for NaN: JSON has no NaN, but null."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _finite_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
