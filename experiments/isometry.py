"""Measure whether the conformal isometry term has a finite mean, from its values over batches.

    python -m experiments.isometry [--network=quick] [--batches=3000] [--folder=experiments/results]

Runs batches of 8 trajectories through a network that comes with sicjax, and computes the term of
each batch for several smallest steps. Writes isometry_tail.md and isometry_tail.png, which shows
the share of batches above a value, on logarithmic axes. A tail that falls as 1 / value has no
finite mean.
Exit codes: 0 done, 2 bad input.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

import sicjax
from sicjax import command, plots
from sicjax.errors import ConfigError
from sicjax.network.losses import conformal_isometry_loss
from sicjax.network.rollout import rollout_permuted
from sicjax.paths import path
from sicjax.run import Run

MIN_STEPS_M = (0.0, 0.003, 0.0067, 0.01, 0.02)
TRAJECTORIES = 8


def terms_of_batches(run: Run, number: int) -> np.ndarray:
    """Return the term of each batch with each smallest step, [number, len(MIN_STEPS_M)].

    Args:
        run: the network.
        number: of batches, keys 0 to number - 1.
    """
    data, loss = run.config.data, run.config.loss

    @jax.jit
    def terms(key: jax.Array) -> jax.Array:
        batch = sicjax.sample_batch(
            key, num_trajectories=TRAJECTORIES, trajectory_length=data.trajectory_length,
            max_velocity=data.max_velocity,
        )  # fmt: skip
        start = run.initial_state
        states = rollout_permuted(run.transition(batch.velocities), batch.order, start)
        found = [
            conformal_isometry_loss(
                states, start, batch.steps, max_step=loss.sigma_x, min_step=min_step
            )
            for min_step in MIN_STEPS_M
        ]
        return jnp.stack(found)

    return np.stack([np.asarray(terms(jax.random.key(k))) for k in range(number)])


def as_table(found: np.ndarray, name: str) -> str:
    """Quantiles, means and the share of the largest hundredth in the sum, as Markdown."""
    lines = [
        "# The tail of conformal isometry",
        "",
        f"The conformal isometry term of {len(found):,} batches of {TRAJECTORIES} trajectories."
        " A mean that a few batches determine shows a tail without a finite mean."
        f" `python -m experiments.isometry --network={name} --batches={len(found)}`",
        "",
        "| only steps longer than | median | mean | 99th percentile | largest |"
        " share of the sum in the largest 1 % of batches |",
        "|---|---|---|---|---|---|",
    ]
    for min_step, values in zip(MIN_STEPS_M, found.T, strict=True):
        rising = np.sort(values)
        share = rising[-len(rising) // 100 :].sum() / rising.sum()
        numbers = (np.median(values), values.mean(), np.percentile(values, 99), rising[-1])
        cells = [
            f"{min_step * 1000:g} mm",
            *(f"{number:.3g}" for number in numbers),
            f"{share:.0%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Measure, and write the table and the figure.

    Raises:
        ConfigError: an unknown flag or network, or a wrong number of batches.
    """
    parser = command.Parser(__doc__)
    parser.add_argument(
        "--network", metavar="NAME", default="quick", help="bundled network; default: quick"
    )
    parser.add_argument(
        "--batches", type=command.whole_number(100), default=3000, help="default: 3000"
    )
    parser.add_argument(
        "--folder", metavar="DIR", default="experiments/results", help="folder of the results"
    )
    options = parser.read(arguments)
    command.join_processes(options)
    name, folder = options.network, path("--folder", options.folder)
    try:
        run = sicjax.load_pretrained(name)
    except ValueError as error:
        raise ConfigError(f"--network={name}: {error}") from None
    # The tail of this distribution is the point, so the table keeps extremes, not only means.
    found = terms_of_batches(run, options.batches)
    folder.mkdir(parents=True, exist_ok=True)
    table = as_table(found, name)
    (folder / "isometry_tail.md").write_text(table)
    labels = [f"longer than {1000 * step:g} mm" for step in MIN_STEPS_M]
    figure = plots.blank_figure()
    plots.tails(dict(zip(labels, found.T, strict=True)), x="conformal isometry of a batch",
                y="share of batches above", ax=figure.subplots())  # fmt: skip
    figure.savefig(folder / "isometry_tail.png", dpi=150)
    print(table, end="")


if __name__ == "__main__":
    command.run(main)
