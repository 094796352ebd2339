"""Test whether runs survive faults with every bit of their result: kills, full disks, damage.

    python -m experiments.fault_storm [--kills=50] [--terminations=20] [--doubles=200]
        [--report_kills=5] [--damages=400] [--sizes=100] [--paths=200] [--io_scale=1]
        [--folder=DIR] [--only=NAME,...]

Trains a tiny population again and again as a user would, causes one fault in each run, starts the
same command again, and compares the result with an uninterrupted run. Prints a table. The faults
are in tests/storm/: signals.py (signals, disks), io_calls.py (every I/O call; --io_scale multiplies
their number), damage.py (damaged files), starts.py (sizes, recorded paths, backends) and
strange_calls.py (strange arguments of public functions); NAMEs are those of the functions there and
of `FAULTS`, `damages`, `sizes`, `paths`, `backends` and `strange_calls`. The whole table takes
three quarters of an hour on one core.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sicjax import command
from sicjax.paths import path
from tests.storm import damage, io_calls, signals, starts, strange_calls

COUNTED = {
    "kills": (signals.kills, 50),
    "terminations": (signals.terminations, 20),
    "doubles": (signals.doubles, 200),
    "report_kills": (signals.report_kills, 5),
}
ONCE = {
    fault.__name__: fault
    for fault in (
        signals.second_run, signals.truncation, signals.bit_flip, signals.full_disk,
        signals.read_only, signals.workdir_removed, signals.clock_set_back, signals.killed_peer,
    )
}  # fmt: skip
STARTS = {"sizes": 100, "paths": 200, "backends": 99}  # and how many; of backends at most all


def table(folder: Path, chosen: Sequence[str], flags: Mapping[str, Any]) -> Iterator[list[str]]:
    """Format the attacks and their outcomes, class by class."""
    # The undisturbed run is slow, so it is trained only if a chosen fault compares with it.
    if {*chosen} & {*ONCE, *COUNTED}:
        stage = signals.prepare(folder, seed=0)
        for name in chosen:
            if name in ONCE:
                yield [_about(ONCE[name]), ONCE[name](stage)]
            elif name in COUNTED:
                fault, _ = COUNTED[name]
                yield [_about(fault), fault(stage, flags[name])]
    io_names = [name for name in chosen if name in io_calls.FAULTS]
    for what, text in io_calls.io_calls(folder, io_names, flags["io_scale"]):
        yield [what, text]
    if "damages" in chosen:
        # Hundreds of refused runs would bury the table.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            damaged = damage.Damaged(folder / "damaged")
            cases = [damaged.case(number) for number in range(flags["damages"])]
        yield [
            "Any file of a run, stopped half-way, is flipped, cut, zeroed, swapped, filled with"
            " junk, removed, replaced by a folder, or gets a strange neighbour",
            damage.tried(cases),
        ]
    for name in STARTS:
        if name in chosen:
            about, text = starts.starts(folder / name, name, flags[name])
            yield [about, text]
    if "strange_calls" in chosen:
        calls = strange_calls.calls()
        wrong = [f"{call}: {said}" for call in calls if (said := strange_calls.problem(*call))]
        yield [
            "One argument of a public function is of a strange kind, size, type or layout",
            f"FAILED: {len(wrong)} of {len(calls)}: {wrong[0]}" if wrong else
            f"{len(calls)} calls of {len(strange_calls.sound())} functions: a result, the same"
            " where the numbers are, or a refusal in one line; 0 failed",
        ]  # fmt: skip


def _about(fault: object) -> str:
    return (fault.__doc__ or "").strip().rstrip(".")


def main(arguments: Sequence[str]) -> None:
    """Print the table, line by line."""
    parser = command.Parser(__doc__)
    for name, (_, number) in COUNTED.items():
        parser.add_argument(f"--{name}", type=command.whole_number(0), default=number)
    for name, number in {"damages": 400, **STARTS}.items():
        parser.add_argument(f"--{name}", type=command.whole_number(0), default=number)
    parser.add_argument(
        "--io_scale", type=float, default=1.0, help="factor on the number of I/O calls; default: 1"
    )
    parser.add_argument("--folder", metavar="DIR", help="folder of the runs; kept afterwards")
    parser.add_argument("--only", metavar="NAME,...", help="run only these faults")
    options = parser.read(arguments)
    command.join_processes(options)
    everything = [*ONCE, *COUNTED, *io_calls.FAULTS, "damages", *STARTS, "strange_calls"]
    chosen = options.only.split(",") if options.only else everything
    # Processor time of this process and its children, because the runs are subprocesses.
    began, failed = os.times(), False
    with tempfile.TemporaryDirectory() as scratch:
        folder = path("--folder", options.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print("| fault | what happened |\n|---|---|", flush=True)
        for what, text in table(folder, chosen, vars(options)):
            failed |= text.startswith("FAILED")
            print(f"| {what} | {text} |", flush=True)
    spent = sum(os.times()[:4]) - sum(began[:4])
    print(f"\n{spent / 60:.0f} minutes on one core in all", flush=True)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main)
