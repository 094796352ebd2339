"""Ask why position explains some activity of networks trained without permutations of the walks.

    python -m experiments.no_permutations [--config=quick] [--workdir=runs/no_permutations]
        [--config.num_networks=2] [--config.FIELD=VALUE ...]

The paper expects no spatial tuning there. The report's measure, the share of a unit's variance
between the bins of a 2 m box on walks of 120 steps, is 0.11. The command trains the config's
networks without permutations, and compares them with the whole method and with untrained networks.
For each it repeats the measure

- on the report's smooth walks from the centre;
- with the positions of another walk, which leaves only what chance and time explain;
- with velocities instead of positions, which shows how much the latest step explains;
- on walks whose steps are independent, as in training, where a walk has no direction.

It writes no_permutations.md and no_permutations.json into the workdir. You can stop the command
and start it again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import sicjax
from experiments import sweep
from sicjax import command
from sicjax.analysis.kinds import active_units
from sicjax.config import changed
from sicjax.errors import ConfigError
from sicjax.report.dynamics import untrained
from sicjax.report.walks import Walked, walk, walks_of
from sicjax.run import DROPPED_STEPS, SHORT_WALK_STEPS, Run, num_bins

Row = dict[str, Any]
BOX_M = 2.0
WALKS = 1000
MEASURES = {
    "explained": "position explains",
    "other_walk": "position on another walk",
    "velocity": "latest velocity explains",
    "independent": "position, independent steps",
}


def explained(places: np.ndarray, states: np.ndarray, box_m: float, bins: int) -> float:
    """Return the share of variance between bins, the median over the active units.

    Args:
        places: [W, T, 2]; those outside the box do not count.
        states: [W, T, N].
        box_m: side of the box around 0, in the units of the places.
        bins: along that side.
    """
    kept = places[:, DROPPED_STEPS:], states[:, DROPPED_STEPS:]
    inside = np.abs(kept[0]).max(axis=-1) <= box_m / 2
    maps = sicjax.bin_activity(kept[0][inside], kept[1][inside], box_m=box_m, bins=bins)
    active = active_units(maps.ratemaps)
    return float(np.median(maps.variance_explained[active])) if active.any() else float("nan")


def measure(run: Run) -> dict[str, float]:
    """Return the numbers of `MEASURES` for one network."""
    bins, largest = num_bins(BOX_M), run.config.data.max_velocity
    smooth = walk(run, BOX_M, WALKS, SHORT_WALK_STEPS)
    steps = np.random.default_rng(0).uniform(
        -largest, largest, (WALKS, SHORT_WALK_STEPS, 2)
    )  # as in training
    positions = np.asarray(walks_of(steps).positions)
    independent = Walked(steps, positions, np.asarray(run.rollout(steps, exact=False)))
    other = np.roll(smooth.positions, 1, axis=0)
    return {
        "explained": explained(smooth.positions, smooth.states, BOX_M, bins),
        "other_walk": explained(other, smooth.states, BOX_M, bins),
        "velocity": explained(smooth.steps, smooth.states, 2 * largest, bins),
        "independent": explained(independent.positions, independent.states, BOX_M, bins),
    }


def as_markdown(rows: Sequence[Row], provenance: Sequence[str]) -> str:
    """Format one line per network, then how the table was made."""
    heads = ["network", "seed", *MEASURES.values()]
    shares = {
        name: np.median([row["explained"] for row in rows if row["network"] == name])
        for name in dict.fromkeys(row["network"] for row in rows)
    }
    lines = [
        "# Without permutations: what position explains", "",
        f"**{'; '.join(f'{name}: {share:.2f}' for name, share in shares.items())}.**", "",
        f"Medians over the active units; {WALKS:,} walks of {SHORT_WALK_STEPS} steps in a box of"
        f" {BOX_M:g} m.", "",
        "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|",
    ]  # fmt: skip
    for row in rows:
        cells = [row["network"], str(row["seed"]), *(f"{row[name]:.3f}" for name in MEASURES)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "## How this table was made", "", *provenance]) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, measure, and write the table.

    Raises:
        ConfigError: an unknown flag or field, or a config with variants.
    """
    parser = command.Parser(__doc__, config="quick", trains=True)
    parser.set_defaults(workdir="runs/no_permutations")
    options = parser.read(arguments)
    command.join_processes(options)
    config, workdir = command.read_run(options)
    if config.variants:
        raise ConfigError("--config: has variants of its own; choose a config without")
    variants: dict[str, Mapping[str, Any]] = {
        "whole method": {"data.permute": True}, "no permutations": {"data.permute": False},
    }  # fmt: skip
    own = changed(config, {"report": False})
    own.variants = variants
    sweep.run(own, workdir)
    runs = sicjax.load_runs(workdir)
    trained = [(run.variant, run) for run in runs]
    start = [("untrained", untrained(run)) for run in runs if run.variant == "no permutations"]
    rows = [{"network": name, "seed": run.seed, **measure(run)} for name, run in [*trained, *start]]
    made = sweep.provenance("experiments.no_permutations", arguments, own, workdir)
    (workdir / "no_permutations.json").write_text(json.dumps(rows, indent=1))
    (workdir / "no_permutations.md").write_text(as_markdown(rows, [made]))
    print((workdir / "no_permutations.md").read_text(), end="")


if __name__ == "__main__":
    command.run(main)
