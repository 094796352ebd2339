"""Kill, fill, flip, remove: whether a run survives it, with every bit of its result.

    python -m experiments.fault_storm [--kills=50] [--terminations=20] [--doubles=200]
        [--report_kills=5] [--damages=400] [--sizes=100] [--paths=200] [--io_scale=1]
        [--folder=DIR] [--only=NAME,...]

Trains a tiny population again and again as a user would, does each harm to it, starts the same
command again, and compares the end with an uninterrupted run. Prints a table. The harms stand with
the tests, in tests/fault_storm.py (signals, disks), storm_io.py (every I/O call: --io_scale times
as many as it says), storm_damage.py (damaged files), storm_starts.py (sizes, recorded paths,
backends) and storm_api.py (strange arguments of public functions); NAMEs are those of the functions
there and of `FAULTS`, `damages`, `sizes`, `paths`, `backends` and `strange_calls`. Three quarters
of an hour of one core in all.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sicjax import command
from tests import fault_storm as storm
from tests import storm_api, storm_damage, storm_io, storm_starts

COUNTED = {
    "kills": (storm.kills, 50),
    "terminations": (storm.terminations, 20),
    "doubles": (storm.doubles, 200),
    "report_kills": (storm.report_kills, 5),
}
ONCE = {
    fault.__name__: fault
    for fault in (
        storm.second_run, storm.truncation, storm.bit_flip, storm.full_disk, storm.read_only,
        storm.workdir_removed, storm.clock_set_back, storm.killed_peer,
    )
}  # fmt: skip
STARTS = {"sizes": 100, "paths": 200, "backends": 99}  # and how many; of backends at most all


def table(folder: Path, chosen: Sequence[str], flags: Mapping[str, Any]) -> Iterator[list[str]]:
    """Format the attacks and their outcomes, class by class."""
    if {*chosen} & {*ONCE, *COUNTED}:
        stage = storm.prepare(folder, seed=0)
        for name in chosen:
            if name in ONCE:
                yield [_about(ONCE[name]), ONCE[name](stage)]
            elif name in COUNTED:
                fault, _ = COUNTED[name]
                yield [_about(fault), fault(stage, flags[name])]
    io_names = [name for name in chosen if name in storm_io.FAULTS]
    for what, text in storm_io.io_calls(folder, io_names, flags["io_scale"]):
        yield [what, text]
    if "damages" in chosen:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            damaged = storm_damage.Damaged(folder / "damaged")
            cases = [damaged.case(number) for number in range(flags["damages"])]
        yield [
            "Any file of a run, stopped half-way, is flipped, cut, zeroed, swapped, filled with"
            " junk, removed, replaced by a folder, or gets a strange neighbour",
            storm_damage.tried(cases),
        ]
    for name in STARTS:
        if name in chosen:
            about, text = storm_starts.starts(folder / name, name, flags[name])
            yield [about, text]
    if "strange_calls" in chosen:
        calls = storm_api.calls()
        wrong = [f"{call}: {said}" for call in calls if (said := storm_api.problem(*call))]
        yield [
            "One argument of a public function is of a strange kind, size, type or layout",
            f"FAILED: {len(wrong)} of {len(calls)}: {wrong[0]}" if wrong else
            f"{len(calls)} calls of {len(storm_api.sound())} functions: a result, the same where"
            " the numbers are, or a refusal in one line; 0 failed",
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
    parser.add_argument("--io_scale", type=float, default=1.0, help="times as many I/O calls")
    parser.add_argument("--folder", metavar="DIR", help="where to train; kept")
    parser.add_argument("--only", metavar="NAME,...", help="do these harms alone")
    options = parser.read(arguments)
    command.join_processes(options)
    everything = [*ONCE, *COUNTED, *storm_io.FAULTS, "damages", *STARTS, "strange_calls"]
    chosen = options.only.split(",") if options.only else everything
    began, failed = os.times(), False
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        print("| harm | what happened |\n|---|---|", flush=True)
        for what, text in table(folder, chosen, vars(options)):
            failed |= text.startswith("FAILED")
            print(f"| {what} | {text} |", flush=True)
    spent = sum(os.times()[:4]) - sum(began[:4])
    print(f"\n{spent / 60:.0f} minutes of one core in all", flush=True)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main)
