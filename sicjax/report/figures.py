"""The figures of a report, from what was evaluated.

Letters: N units; K units shown. Lengths in metres.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from sicjax import plots
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.kinds import (
    GLANCE_HEXAGONAL,
    GLANCE_SQUARE,
    SILENT_PEAK,
    active_units,
)
from sicjax.analysis.relations import ModuleDrifts, ModuleRelations
from sicjax.analysis.waves import mean_power
from sicjax.devices.compilation import jit_once
from sicjax.report import snapshots
from sicjax.report.dynamics import Dynamics
from sicjax.report.evaluate import BOXES_M, SHORT_BOXES_M, Evaluation, Judged, Mapped, PathMapped
from sicjax.report.snapshots import Snapshot
from sicjax.report.summary import bin_middles, explained
from sicjax.run import SHORT_WALK_STEPS, WALK_STEPS, Run
from sicjax.training.method import draw_batch, make_settings

SHOWN = 8  # units in the figures that compare maps
FRAMES = 8  # of the film strip, at most
PERMUTATIONS = 6  # trajectories in the figure of a batch
SHEETS = ("ratemaps", "autocorrelograms", "generalisation", "film_strip")


def draw(
    run: Run,
    evaluation: Evaluation,
    metrics: Sequence[Mapping[str, Any]],
    frames: Sequence[Snapshot] = (),
) -> dict[str, Figure]:
    """Draw every figure of the report but `module_figures`, by the name of its file."""
    order = display_order(evaluation)
    count = max(int(evaluation.active.sum()), 1)
    best = examples(evaluation, min(SHOWN, count))
    short = evaluation.short[SHORT_BOXES_M[0]]
    by_module, verdict = module_order(evaluation)[:count], evaluation.verdict
    figures = {
        "ratemaps_2m": rate_sheet(evaluation.first, evaluation, order),
        "ratemaps_2m_short": rate_sheet(short, evaluation, order[:count]),
        f"ratemaps_{verdict.name}": rate_sheet(
            verdict, evaluation, by_module, module_groups(evaluation, by_module)
        ),
        f"autocorrelograms_{verdict.name}": correlogram_sheet(evaluation, by_module),
        **score_figures(evaluation),
        "generalisation": plots.generalisation(
            [(box, mapped.maps.ratemaps[best]) for box, mapped in evaluation.long.items()],
            titles=[_titles(evaluation.verdict, evaluation)[n] for n in best],
            training_range_m=evaluation.training_range_m,
            fig=plots.blank_figure(),
        ),
        **_comparison_figures(evaluation),
        **_path_integration_figures(evaluation),
        **_attractor_figures(evaluation.dynamics),
        **relation_figures(evaluation),
    }
    if evaluation.path is not None:
        figures["recorded_path"] = _path_figure(evaluation, evaluation.path, best)
    if frames:
        shown = sorted({*np.linspace(0, len(frames) - 1, FRAMES).astype(int)})
        figures["film_strip"] = plots.film_strip(
            [(frames[k].step, frames[k].ratemaps[best]) for k in shown],
            snapshots.BOX_M,
            titles=[f"u{n}" for n in best],
            fig=plots.blank_figure(),
        )
    if metrics:
        figures["losses"] = plots.losses(metrics, fig=plots.blank_figure())
    figures["batch"] = _batch_figure(run)
    return figures


def first_picture(mapped: Mapped) -> Figure:
    """Draw the active units of the maps that decide, by falling 60-degree score."""
    score, active = mapped.scores.grid_score, active_units(mapped.maps.ratemaps)
    order = np.lexsort((-np.nan_to_num(score, nan=-9), ~active))[: max(int(active.sum()), 1)]
    return plots.ratemap_sheet(
        mapped.maps.ratemaps, mapped.maps.box_m, order=order, titles=_labels(score),
        tops=_tops(mapped), title=mapped.title[0].upper() + mapped.title[1:],
        fig=plots.blank_figure(),
    )  # fmt: skip


def display_order(evaluation: Judged) -> np.ndarray:
    """Order units [N]: hexagonal, square, other active, inactive; by falling score within each."""
    scores, kinds = evaluation.first.scores, evaluation.lattice
    group = np.select([kinds == "hexagonal", kinds == "square", evaluation.active], [0, 1, 2], 3)
    score = np.where(kinds == "square", scores.square_score, scores.grid_score)
    return np.lexsort((-np.nan_to_num(score, nan=-9), group))


def examples(evaluation: Judged, count: int) -> np.ndarray:
    """Return units to stand for the rest: the best of each module, as many of each.

    The best by the box that modules come from: in a smaller one a coarse lattice has few fields.
    """
    order, module = display_order(evaluation), evaluation.units.module
    score = np.where(module >= 0, evaluation.verdict.scores.grid_score, -np.inf)[order]
    return in_turn(order[np.argsort(-score, kind="stable")], module, count)


def in_turn(order: np.ndarray, module: np.ndarray, count: int) -> np.ndarray:
    """Choose units from each module in turn, and return them module by module.

    Args:
        order: the units, the best first.
        module: [N] of every unit; -1 for none, which are chosen when the modules have run out.
        count: how many to choose.
    """
    ranked = module[order]
    place = np.array([(ranked[:k] == ranked[k]).sum() for k in range(len(ranked))])
    chosen = order[np.lexsort((ranked, place, ranked < 0))[:count]]
    return chosen[np.lexsort((module[chosen], module[chosen] < 0))]


def module_order(evaluation: Judged) -> np.ndarray:
    """Order units [N] by module, then phase; other grid cells, active and inactive units follow."""
    units = evaluation.units
    group = np.select(
        [units.module >= 0, units.is_grid, evaluation.active], [units.module, 1000, 1001], 1002
    )
    phase = np.nan_to_num(units.phase, nan=2)
    return np.lexsort((phase[:, 1], np.floor(6 * phase[:, 0]), ~evaluation.active, group))


def module_groups(evaluation: Judged, order: np.ndarray) -> list[tuple[str, int]]:
    """Return the headings of units sorted by `module_order`, and how many come under each."""
    units, modules = evaluation.units, evaluation.modules
    groups = [
        (f"Module {k}: {len(members)} grid cells, period {modules.period_m[k]:.2f} m", len(members))
        for k, members in enumerate(modules.members)
    ]
    alone = int(np.sum((units.module < 0) & units.is_grid))
    rest = len(order) - sum(count for _, count in groups) - alone
    named = [
        ("Grid cells of no module", alone),
        ("Active units, none a grid cell" if rest == len(order) else "Other active units", rest),
    ]
    return [(name, count) for name, count in [*groups, *named] if count > 0]


def rate_sheet(
    mapped: Mapped, evaluation: Judged, order: np.ndarray,
    groups: Sequence[tuple[str, int]] | None = None,
) -> Figure:  # fmt: skip
    """Draw the maps of units, in an order and under headings."""
    return plots.ratemap_sheet(
        mapped.maps.ratemaps,
        mapped.maps.box_m,
        order=order,
        titles=_titles(mapped, evaluation),
        tops=_tops(mapped),
        groups=groups,
        title=mapped.title[0].upper() + mapped.title[1:],
        fig=plots.blank_figure(),
    )


def _tops(mapped: Mapped) -> np.ndarray:
    """Return the rate [N] of the brightest colour of each map."""
    return np.maximum(np.nanmax(mapped.maps.ratemaps, axis=(1, 2)), SILENT_PEAK)


def correlogram_sheet(evaluation: Judged, units: np.ndarray) -> Figure:
    """Draw autocorrelograms up to lags of half the box: further out few bins overlap."""
    mapped = evaluation.verdict
    correlograms = autocorrelogram(mapped.maps.ratemaps[units].astype(np.float32))
    quarter = correlograms.shape[-1] // 4
    return plots.autocorrelogram_sheet(
        correlograms[:, quarter:-quarter, quarter:-quarter],
        mapped.maps.box_m / mapped.maps.ratemaps.shape[-1],
        titles=[_titles(mapped, evaluation)[n] for n in units],
        axes_m=mapped.scores.axes_m[units],
        title=f"Autocorrelograms: {mapped.title}",
        fig=plots.blank_figure(),
    )


def _titles(mapped: Mapped, evaluation: Judged) -> list[str]:
    """Return the unit and its score: s, the 90-degree score, of a square unit; g of any other."""
    square = evaluation.lattice == "square"
    return _labels(np.where(square, mapped.scores.square_score, mapped.scores.grid_score), square)


def _labels(scores: np.ndarray, square: np.ndarray | None = None) -> list[str]:
    """Return each unit and its score [N]; s for those that are square, g for any other."""
    letters = np.where(np.zeros(len(scores), bool) if square is None else square, "s", "g")
    texts = np.where(np.isfinite(scores), [f" {score:.2f}" for score in scores], "")
    return [
        f"u{n}" + (f"  {letters[n]}{text}".replace("-", "−") if text else "")
        for n, text in enumerate(texts)
    ]


def score_figures(evaluation: Judged) -> dict[str, Figure]:
    """Draw scores, their null, and the periods of the units that pass."""
    scores, active, units = evaluation.first.scores, evaluation.active, evaluation.units
    names = ("scores", "scores_null", "periods", "period_orientation")
    figures = {name: plots.blank_figure() for name in names}
    panels = {name: figure.subplots() for name, figure in figures.items()}
    plots.score_histogram(
        {"60° score": scores.grid_score[active], "90° score": scores.square_score[active]},
        {"60° score": GLANCE_HEXAGONAL, "90° score": GLANCE_SQUARE},
        ax=panels["scores"],
    )
    plots.score_against_null(
        units.grid_score, units.null_threshold, list(units.kind), ax=panels["scores_null"]
    )
    shown = units.is_grid | (units.kind == "square")
    labels = _module_labels(evaluation)[shown]
    plots.period_histogram(units.spacing_m[shown], labels, ax=panels["periods"])
    plots.period_orientation(
        units.spacing_m[shown], units.orientation_deg[shown], labels,
        ax=panels["period_orientation"],
    )  # fmt: skip
    return figures


def _module_labels(evaluation: Judged) -> np.ndarray:
    """Return the group [N] of each unit in figures of periods; ratios are to the module before."""
    modules, units = evaluation.modules, evaluation.units
    labels = np.where(units.is_grid, "no module", units.kind).astype("<U40")
    for k, members in enumerate(modules.members):
        ratio = f", ratio {modules.ratios[k - 1]:.2f}" if k else ""
        labels[members] = f"module {k}: {modules.period_m[k]:.2f} m{ratio}"
    return labels


def module_figures(evaluation: Judged) -> dict[str, Figure]:
    """Draw the spectrum, the phases and the torus of each module."""
    maps, units, figures = evaluation.verdict.maps, evaluation.units, {}
    for k, (members, torus) in enumerate(
        zip(evaluation.modules.members, evaluation.tori, strict=True)
    ):
        waves = torus.waves / (maps.box_m / maps.ratemaps.shape[-1])
        frequencies, power = mean_power(maps.ratemaps[members], maps.box_m)
        figures[f"fourier_{k}"] = figure = plots.blank_figure()
        plots.fourier_power(power, frequencies, waves, ax=figure.subplots())
        figures[f"phases_{k}"] = figure = plots.blank_figure()
        lattice = evaluation.modules.lattice[k]
        plots.phase_tiling(units.phase[members], lattice, ax=figure.subplots())
        figures[f"torus_{k}"] = plots.torus(
            torus.embedding,
            torus.circular_coordinates[torus.embedding_points, 0],
            torus.rings,
            torus.ring_phases,
            torus.diagrams,
            fig=plots.blank_figure(),
        )
    return figures


def _comparison_figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Draw each lattice unit's period and score in other boxes and at other speeds."""
    first, shown = evaluation.first, evaluation.lattice != ""
    others = [m for m in evaluation.mapped if m is not first and m.walk_steps == WALK_STEPS]
    names = [f"{m.suffix} walks" if m.suffix else f"{m.maps.box_m:g} m box" for m in others]
    figures = {name: plots.blank_figure() for name in ("compared_periods", "compared_scores")}
    for figure, quantity, score in zip(
        figures.values(), ("period (m)", "60° score"), ("spacing_m", "grid_score"), strict=True
    ):
        plots.compared(
            getattr(first.scores, score)[shown],
            {n: getattr(m.scores, score)[shown] for n, m in zip(names, others, strict=True)},
            quantity=quantity,
            of="2 m box",
            ax=figure.subplots(),
        )
    return figures


def _path_integration_figures(evaluation: Evaluation) -> dict[str, Figure]:
    found = evaluation.path_integration
    apart, same, gone, speeds = found.separation, found.same_place, found.drift, found.conformality
    names = ("explained", "neural_distance", "distance_map", "drift", "decoding")
    figures = {name: plots.blank_figure() for name in names}
    panels = {name: figure.subplots() for name, figure in figures.items()}
    places = evaluation.dynamics.places
    plots.against_steps(
        {"grid cells" if evaluation.units.is_grid.any() else "active units":
            (bin_middles(gone.edges), np.maximum(explained(evaluation), 0))},
        y="variance explained by position", level=0.5, ax=panels["explained"],
    )  # fmt: skip
    plots.distance_map(
        places.distance, places.bin_m, dips_m=places.dips_m, range_m=places.range_m,
        ax=panels["distance_map"],
    )  # fmt: skip
    plots.neural_distance(
        apart.edges, apart.mean, apart.std,
        training_range_m=evaluation.training_range_m, ax=panels["neural_distance"],
    )  # fmt: skip
    plots.against_steps(
        {
            "to the short walks' map": (bin_middles(gone.edges), gone.distance),
            "same place, another path": (bin_middles(same.edges), same.mean),
        },
        y="neural distance |g − g′|", chance=gone.chance_distance, ax=panels["drift"],
    )  # fmt: skip
    plots.against_steps(
        {"decoded position": (bin_middles(gone.edges), gone.error_m)},
        y="median error (m)", chance=gone.chance_error_m, ax=panels["decoding"],
    )  # fmt: skip
    figures["conformality"] = plots.conformality(
        speeds.by_place, BOXES_M[-1], speeds.directions_deg, speeds.by_direction,
        fig=plots.blank_figure(),
    )  # fmt: skip
    return figures


def _attractor_figures(dynamics: Dynamics) -> dict[str, Figure]:
    """Draw what perturbed states do, by what steps scale displacements, and what noise does."""
    found, null = dynamics.attractor, dynamics.untrained
    if found is None:
        return {}
    names = ("attractor_shift", "attractor_gains", "noise_drift")
    figures = {"attractor_return": plots.blank_figure(9.4, 3.6)}
    figures |= {name: plots.blank_figure() for name in names}
    panels = figures["attractor_return"].subplots(1, 2, sharey=True)
    for ax, where, kind in zip(panels, ("walking", "resting"), ("_walking", ""), strict=True):
        name = f"across{kind}"
        orbit, across = getattr(found, name).distance, found.across
        other = None if null is None else getattr(null, name).distance
        plots.attractor_return(across.steps, orbit, across.amplitudes, null=other, ax=ax)
        ax.set_xlabel(f"steps since the perturbation, {where}")
    panels[0].set_ylim(bottom=0.01)  # below, differences are the noise of the floor
    panels[1].set_ylabel("")
    shifts = found.along
    plots.attractor_shift(
        shifts.steps, shifts.shift_left, shifts.shift_m[:, 0],
        null=None if null is None else null.along.shift_left,
        ax=figures["attractor_shift"].subplots(),
    )  # fmt: skip
    gains = {"along": found.gains.along, "across": found.gains.across}
    if null is not None:
        gains |= {"along, untrained": null.gains.along, "across, untrained": null.gains.across}
    ax = figures["attractor_gains"].subplots()
    plots.jacobian_gains(found.gains.lengths, gains, ax=ax)
    noise = found.noise
    plots.noise_drift(
        noise.steps, noise.shift_m, noise.amplitudes, noise.diffusion,
        ax=figures["noise_drift"].subplots(),
    )  # fmt: skip
    return figures


def relation_figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Draw the lattice that modules have in common, their drifts, and what displacing one does."""
    found, periods = evaluation.dynamics, evaluation.modules.period_m
    if found.relations is None or found.drifts is None or found.coupling is None:
        return {}
    steps, shift_m = found.coupling.steps, found.coupling.shift_m
    return {
        **lattice_and_drift_figures(found.relations, found.drifts, periods),
        "module_coupling": plots.module_coupling(
            steps, shift_m, names=_module_names(periods), fig=plots.blank_figure()
        ),
    }


def lattice_and_drift_figures(
    relations: ModuleRelations | None, drifts: ModuleDrifts | None, periods_m: np.ndarray
) -> dict[str, Figure]:
    """Draw the lattice that modules have in common and how they drift, as far as it is known."""
    names, figures = _module_names(periods_m), {}
    if relations is not None:
        whole = relations.whole
        assert whole is not None  # there are two modules
        figures["module_relation"] = figure = plots.blank_figure(5.2, 4.6)
        plots.module_relation(
            whole.bases_m, whole.basis_m, index=whole.index, error=whole.error, p=whole.p,
            names=names, ax=figure.subplots(),
        )  # fmt: skip
    if drifts is not None:
        figures["module_drift"] = plots.module_drift(
            drifts.steps, drifts.rms_m, drifts.pairs, drifts.difference_m, drifts.correlation,
            drifts.null, names=names, fig=plots.blank_figure(),
        )  # fmt: skip
    return figures


def _module_names(periods_m: np.ndarray) -> list[str]:
    return [f"module {k}, {period:.2f} m" for k, period in enumerate(periods_m)]


def _path_figure(evaluation: Evaluation, path: PathMapped, units: np.ndarray) -> Figure:
    compared = evaluation.long[path.whole.box_m]
    rows = [
        ("path,\nin one go", path.whole.ratemaps[units]),
        (f"path, pieces of\n{SHORT_WALK_STEPS} steps", path.pieces.ratemaps[units]),
        (f"smooth walks of\n{WALK_STEPS:,} steps", compared.maps.ratemaps[units]),
    ]
    titles = [_titles(evaluation.first, evaluation)[n] for n in units]
    return plots.recorded_path(
        path.positions, rows, path.whole.box_m, titles=titles, fig=plots.blank_figure()
    )


def _batch_figure(run: Run) -> Figure:
    config = run.config.copy_and_resolve_references()
    config.data.num_trajectories = PERMUTATIONS
    draw = jit_once(lambda key: draw_batch(config, key, make_settings(config), run.method))
    batch = draw(jax.random.key(run.seed))
    figure = plots.blank_figure()
    plots.permuted_batch(np.asarray(batch.positions), ax=figure.subplots())
    return figure
