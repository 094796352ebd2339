"""Attractor: whether the network corrects errors and keeps shifts of place."""

from collections.abc import Mapping
from typing import Any

from sicjax import plots
from sicjax.analysis.attractor import QUANTILES, Attractor
from sicjax.report.chapter import Chapter, Row, Shown, panel
from sicjax.report.results import Dynamics
from sicjax.report.tables import number, steps


def attractor(found: Dynamics) -> Chapter:
    """Return the chapter on perturbed states, compared with the network before training."""
    trained, null = attractor_numbers(found.attractor), attractor_numbers(found.untrained)
    numbers = {"attractor": trained, "attractor_untrained": null}
    if trained is None or found.attractor is None:
        return Chapter("Attractor", numbers, [], [])
    figures = _figures(found.attractor, found.untrained)
    return Chapter("Attractor", numbers, _rows(trained, null), figures)


def attractor_numbers(found: Attractor | None) -> dict[str, Any] | None:
    """Return the numbers of one network's attractor; None if it was not measured."""
    if found is None:
        return None
    middle = QUANTILES.index(0.5)
    fifth = min(range(len(found.across.amplitudes)),
                key=lambda k: abs(found.across.amplitudes[k] - 0.2))  # fmt: skip
    return {
        "steps_to_return_at_rest": found.across.returned[fifth],
        "steps_to_return_walking": found.across_walking.returned[fifth],
        "shift_amplitudes": found.along.amplitudes,
        "shift_m": found.along.shift_m[:, 0],
        "shift_steps": found.along.steps[-1],
        "shift_left": found.along.shift_left[:, -1],
        "gain_steps": found.gains.lengths,
        "gain_along": found.gains.along[:, middle],
        "gain_across": found.gains.across[:, middle],
        "noise": found.noise.amplitudes,
        "diffusion_m2_per_step": found.noise.diffusion,
    }


def _rows(found: Mapping[str, Any], null: Mapping[str, Any] | None) -> list[Row]:
    both = (found, null)
    walking = [steps(a["steps_to_return_walking"]) if a else "–" for a in both]
    left = [", ".join(map(number, a["shift_left"])) if a else "–" for a in both]
    shifts = ", ".join(f"{100 * shift:.1f}" for shift in found["shift_m"])
    gains = [f"{a['gain_along'][-1]:.2f}, {a['gain_across'][-1]:.2f}" if a else "–" for a in both]
    return [
        Row("Steps to return after a push of 20 % off the manifold",
            f"{walking[0]} (untrained {walking[1]})",
            "The manifold is the set of the states at all places. Steps until the state is within"
            " 2 % of it again, while walking. Few steps mean that errors are corrected. Usual:"
            " quick.py 12 to 25, full.py 4 or 5.", "walks in the 2 m box"),
        Row(f"Share left of shifts of {shifts} cm along the manifold",
            f"{left[0]} (untrained {left[1]})",
            f"After {found['shift_steps']} steps. A continuous attractor keeps a shift (1), because"
            " nothing pulls the memory of one place towards another. If the manifold has ripples,"
            " shifts smaller than the ripples are lost.", "at rest"),
        Row(f"Gain of {found['gain_steps'][-1]} steps, along and across the manifold",
            f"{gains[0]} (untrained {gains[1]})",
            "The share of the smallest displacement that is left. Across: 0 if errors are"
            " corrected. Along: 1 if the manifold is smooth, less if it has ripples of a centimetre"
            " or so.", "at rest"),
        Row("Diffusion with noise of 5 % in every step",
            f"{found['diffusion_m2_per_step'][-1]:.1e} m² per step",
            "A quarter of the growth per step of the squared shift along the manifold.", "at rest"),
    ]  # fmt: skip


def _figures(found: Attractor, null: Attractor | None) -> list[Shown]:
    """Draw the return after a push, shifts, gains, and drift by noise."""
    back = plots.blank_figure(9.4, 3.6)
    panels = back.subplots(1, 2, sharey=True)
    for ax, where, name in zip(
        panels, ("walking", "resting"), ("across_walking", "across"), strict=True
    ):
        # The same pushes before training show what the architecture alone corrects.
        other = None if null is None else getattr(null, name).distance
        plots.attractor_return(
            found.across.steps, getattr(found, name).distance, found.across.amplitudes,
            null=other, ax=ax,
        )  # fmt: skip
        ax.set_xlabel(f"steps since the perturbation, {where}")
    panels[0].set_ylim(bottom=0.01)  # below this, differences are noise of the floor
    panels[1].set_ylabel("")
    kept = panel(
        plots.attractor_shift, found.along.steps, found.along.shift_left, found.along.shift_m[:, 0],
        null=None if null is None else null.along.shift_left,
    )  # fmt: skip
    gains = {"along": found.gains.along, "across": found.gains.across}
    if null is not None:
        gains |= {"along, untrained": null.gains.along, "across, untrained": null.gains.across}
    scaled, noise = panel(plots.jacobian_gains, found.gains.lengths, gains), found.noise
    noisy = panel(plots.noise_drift, noise.steps, noise.shift_m, noise.amplitudes, noise.diffusion)
    return [
        Shown("attractor_return", back,
              "Distance of perturbed states from the manifold, in excess of the same states without"
              " the push. They were pushed at random by 10, 20 and 50 % of their norm. Lines that"
              " fall below the dotted one (2 %) are back. Dashed: the same network before training."
              " Gaps are differences of 0.", wide=True),
        Shown("attractor_shift", kept,
              "Share left, at rest, of a shift along the manifold towards the state of a"
              " neighbouring place. A memory of place must keep it (1), as a continuous attractor"
              " does. Dashed: the network before training, which forgets it."),
        Shown("attractor_gains", scaled,
              "Factor by which steps at rest scale the smallest displacements (median over states;"
              " bars from the 10th to the 90th percentile). Across the manifold an attractor"
              " shrinks them (orange falls). Along it, a smooth manifold keeps them (blue stays at"
              " 1); ripples of a centimetre or so spread the bars."),
        Shown("noise_drift", noisy,
              "Shift along the manifold caused by noise in every step, at rest. Nothing corrects"
              " it. Dashed: the fitted diffusion; the slower it is, the longer the network keeps"
              " its place."),
    ]  # fmt: skip
