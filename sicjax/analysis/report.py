"""The report of a trained network: figures, tables and one page that needs nothing else.

Letters: N units; K units shown. Lengths in metres. The only place that saves figures.
"""

import base64
import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from sicjax import plots
from sicjax.analysis import snapshots
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.evaluation import (
    ACTIVE_PEAK,
    BOXES_M,
    HEXAGONAL_SCORE,
    SHORT_BOXES_M,
    SQUARE_SCORE,
    Evaluation,
    Mapped,
    PathMapped,
    active_units,
    evaluate,
    lattice_kinds,
    mean_power,
    median,
)
from sicjax.analysis.lattice import orientation_deg
from sicjax.analysis.ratemaps import RateMaps
from sicjax.analysis.snapshots import Snapshot
from sicjax.analysis.units import KINDS
from sicjax.run import BIN_M, SHORT_WALK_STEPS, WALK_STEPS, Run
from sicjax.training import draw_batch, make_settings
from sicjax.trajectories import Walk

SHOWN = 8  # units in the figures that compare maps
FRAMES = 8  # of the film strip, at most
PERMUTATIONS = 6  # trajectories in the figure of a batch
DPI = 120
SHEETS = ("ratemaps", "autocorrelograms", "generalisation", "film_strip")
WIDE = (*SHEETS, "torus", "recorded_path", "conformality", "losses")
SECTIONS = (
    ("Rate maps", ("ratemaps_2m", "ratemaps_2m_short", "ratemaps_3m")),
    ("Grid cells and modules", (
        "autocorrelograms_3m", "scores", "scores_null", "periods", "period_orientation",
    )),
    ("Other boxes and speeds", ("generalisation", "compared_periods", "compared_scores")),
    ("Path integration", (
        "neural_distance", "drift", "decoding", "conformality", "recorded_path",
    )),
    ("Training", ("film_strip", "losses", "batch")),
)  # fmt: skip
MODULE_COLUMNS = (
    "module", "units", "period_m", "period_low_m", "period_high_m", "ratio", "orientation_deg",
    "split_p", "betti_0", "betti_1", "betti_2", "is_torus", "variance_in_6_components",
)  # fmt: skip
_TEMPLATES = Path(__file__).parent


def write_report(
    run: Run,
    folder: str | os.PathLike,
    *,
    metrics: Sequence[Mapping[str, Any]],
    frames: Sequence[Snapshot] = (),
    recorded_path: Walk | None = None,
    recorded_note: str | None = None,
    variant: str = "default",
    torus_rolls: int = 0,
) -> Path:
    """Evaluate a network and write its report.

    Everything is written beside `folder` first and then takes its place, so that a kill leaves
    the old report or none, never half of one.

    Args:
        run: the network.
        folder: of the report; what it holds is replaced.
        metrics: the network's rows of metrics.jsonl, for the training curves.
        frames: the network's snapshots, for the film strip.
        recorded_path: a walk with leaves [T, 2] to drive the network along.
        recorded_note: one line: which path that is, or why there is none.
        variant: name of the settings that the network was trained with.
        torus_rolls: size of the null of each module's torus test, minutes for 20; 0 for none, and
            so no verdict.

    Returns:
        Path of report.html.

    Raises:
        OSError: the folder can't be written.
    """
    folder = Path(folder)
    evaluation = evaluate(run, recorded_path, torus_rolls=torus_rolls)
    summary = summarise(run, evaluation, variant)
    figures = draw(run, evaluation, metrics, frames)
    with replacing(folder) as place:
        for mapped in evaluation.mapped:
            _write_maps(place / f"ratemaps_{mapped.name}.npz", mapped.maps)
        text = json.dumps(_plain(summary), indent=2, allow_nan=False)
        (place / "summary.json").write_text(text + "\n")
        rows = unit_rows(evaluation)
        _write_csv(place / "units.csv", list(rows[0]), rows)
        _write_csv(place / "modules.csv", MODULE_COLUMNS, module_rows(evaluation))
        pictures = {name: _save(figure, place / f"{name}.png") for name, figure in figures.items()}
        page = render(summary, evaluation, pictures, recorded_note)
        (place / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` to fill; when that ends well it takes its place."""
    new, old = (folder.with_name(f".{folder.name}.{age}") for age in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def summarise(run: Run, evaluation: Evaluation, variant: str) -> dict[str, Any]:
    """Return the numbers of summary.json; NaN where there is nothing to measure."""
    active, kinds, first = evaluation.active, evaluation.lattice, evaluation.first
    hexagonal, square = kinds == "hexagonal", kinds == "square"
    path = evaluation.path
    return {
        "seed": run.seed,
        "variant": variant,
        "network": run.network,
        "step": run.step,
        "failure": run.failure,
        "num_units": len(active),
        "active_units": active.sum(),
        "hexagonal_units": hexagonal.sum(),
        "square_units": square.sum(),
        "lattice_fraction": (hexagonal | square).sum() / active.sum() if active.any() else np.nan,
        "constant_units": np.flatnonzero(evaluation.constant),
        "constant_units_with_lattice": (evaluation.constant & (kinds != "")).sum(),
        "constant_share": evaluation.constant_share,
        "median_period_hexagonal_m": median(first.scores.spacing_m[hexagonal]),
        "median_period_square_m": median(first.scores.spacing_m[square]),
        "median_grid_score_hexagonal": median(first.scores.grid_score[hexagonal]),
        "median_square_score_square": median(first.scores.square_score[square]),
        "variance_explained_long": median(first.maps.variance_explained[active]),
        "variance_explained_short": median(
            evaluation.short[SHORT_BOXES_M[0]].maps.variance_explained[active]
        ),
        "kinds": {kind: np.sum(evaluation.units.kind == kind) for kind in KINDS},
        "modules": module_rows(evaluation),
        "evidence_against_one_module_bic": evaluation.modules.bic_gain,
        "path_integration": _path_integration_summary(evaluation),
        "recorded_path_correlation": np.nan if path is None else path.correlation,
        "recorded_path_pieces_correlation": np.nan if path is None else path.pieces_correlation,
        "training_range_m": evaluation.training_range_m,
        "by_map": {
            mapped.name: _summary_of_maps(mapped, evaluation) for mapped in evaluation.mapped
        },
    }


def _summary_of_maps(mapped: Mapped, evaluation: Evaluation) -> dict[str, Any]:
    active, lattice = evaluation.active, evaluation.lattice != ""
    kinds = lattice_kinds(mapped.scores, active_units(mapped.maps.ratemaps))
    change = mapped.scores.spacing_m / evaluation.first.scores.spacing_m - 1
    return {
        "hexagonal_units": np.sum(kinds == "hexagonal"),
        "square_units": np.sum(kinds == "square"),
        "median_grid_score": median(mapped.scores.grid_score[active]),
        "median_square_score": median(mapped.scores.square_score[active]),
        "variance_explained": median(mapped.maps.variance_explained[active]),
        "mean_speed_m": mapped.mean_speed,
        "median_period_change": median(np.abs(change[lattice])),  # to the long walks' 2 m box
    }


def _path_integration_summary(evaluation: Evaluation) -> dict[str, Any]:
    found, speeds = evaluation.path_integration.drift, evaluation.path_integration.conformality
    summary: dict[str, Any] = {
        "chance_neural_distance": found.chance_distance,
        "chance_decoding_error_m": found.chance_error_m,
        "neural_speed_per_m": speeds.mean,
        "neural_speed_variation": speeds.variation,
        "neural_speed_anisotropy": speeds.anisotropy,
    }
    for steps in (100, 1000, 10_000):
        k = int(np.argmin(np.abs(np.log(_middles(found.edges) / steps))))
        summary[f"neural_distance_after_{steps}"] = found.distance[k]
        summary[f"decoding_error_m_after_{steps}"] = found.error_m[k]
    return summary


def _middles(edges: np.ndarray) -> np.ndarray:
    """Return the geometric middle [K] of each bin."""
    return np.sqrt(edges[:-1] * edges[1:])


def unit_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the rows of units.csv; kind, module and lattice come from the 3 m box."""
    units = evaluation.units
    columns: dict[str, np.ndarray] = {
        "unit": np.arange(len(evaluation.active)),
        "active": evaluation.active.astype(int),
        "lattice": evaluation.lattice,
        "constant": evaluation.constant.astype(int),
        "kind": units.kind,
        "is_grid": units.is_grid.astype(int),
        "module": units.module,
        "null_threshold": units.null_threshold,
        "ellipse_aspect": units.ellipse_aspect,
        "ellipse_tilt_deg": units.ellipse_tilt_deg,
        "phase_1": units.phase[:, 0],
        "phase_2": units.phase[:, 1],
        "spatial_information": units.spatial_information,
    }
    for mapped in evaluation.mapped:
        scores, name = mapped.scores, mapped.name
        columns |= {
            f"grid_score_{name}": scores.grid_score,
            f"grid_score_corrected_{name}": scores.grid_score_corrected,
            f"square_score_{name}": scores.square_score,
            f"num_fields_{name}": scores.num_fields,
            f"spacing_m_{name}": scores.spacing_m,
            f"orientation_deg_{name}": orientation_deg(scores.axes_m),
            f"variance_explained_{name}": mapped.maps.variance_explained,
        }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def module_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the rows of modules.csv."""
    modules, rows = evaluation.modules, []
    for k, (members, torus) in enumerate(zip(modules.members, evaluation.tori, strict=True)):
        betti = torus.betti or (None, None, None)
        values = (
            k, len(members), modules.period_m[k], *modules.period_interval_m[k],
            modules.ratios[k - 1] if k else np.nan, modules.orientation_deg[k],
            modules.split_p[k - 1] if k else np.nan, *betti, torus.is_torus, torus.explained,
        )  # fmt: skip
        rows.append(dict(zip(MODULE_COLUMNS, values, strict=True)))
    return rows


def draw(
    run: Run,
    evaluation: Evaluation,
    metrics: Sequence[Mapping[str, Any]],
    frames: Sequence[Snapshot] = (),
) -> dict[str, Figure]:
    """Draw every figure of the report, by the name of its file."""
    order = display_order(evaluation)
    count = max(int(evaluation.active.sum()), 1)
    best = examples(evaluation, min(SHOWN, count))
    short = evaluation.short[SHORT_BOXES_M[0]]
    by_module = module_order(evaluation)[:count]
    figures = {
        "ratemaps_2m": _rate_sheet(evaluation.first, evaluation, order),
        "ratemaps_2m_short": _rate_sheet(short, evaluation, order[:count]),
        "ratemaps_3m": _rate_sheet(evaluation.verdict, evaluation, by_module),
        "autocorrelograms_3m": _correlogram_sheet(evaluation, by_module),
        **_score_figures(evaluation),
        **_module_figures(evaluation),
        "generalisation": plots.generalisation(
            [(box, mapped.maps.ratemaps[best]) for box, mapped in evaluation.long.items()],
            titles=[_titles(evaluation.verdict, evaluation)[n] for n in best],
            training_range_m=evaluation.training_range_m,
            fig=plots.blank_figure(),
        ),
        **_comparison_figures(evaluation),
        **_path_integration_figures(evaluation),
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


def display_order(evaluation: Evaluation) -> np.ndarray:
    """Order units [N]: hexagonal, square, other active, inactive; by falling score within each."""
    scores, kinds = evaluation.first.scores, evaluation.lattice
    group = np.select([kinds == "hexagonal", kinds == "square", evaluation.active], [0, 1, 2], 3)
    score = np.where(kinds == "square", scores.square_score, scores.grid_score)
    return np.lexsort((-np.nan_to_num(score, nan=-9), group))


def examples(evaluation: Evaluation, count: int) -> np.ndarray:
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


def module_order(evaluation: Evaluation) -> np.ndarray:
    """Order units [N] by module, then phase; other grid cells, active and inactive units follow."""
    units = evaluation.units
    group = np.select(
        [units.module >= 0, units.is_grid, evaluation.active], [units.module, 1000, 1001], 1002
    )
    phase = np.nan_to_num(units.phase, nan=2)
    return np.lexsort((phase[:, 1], np.floor(6 * phase[:, 0]), ~evaluation.active, group))


def _rate_sheet(mapped: Mapped, evaluation: Evaluation, order: np.ndarray) -> Figure:
    peaks = np.nanmax(mapped.maps.ratemaps, axis=(1, 2))
    return plots.ratemap_sheet(
        mapped.maps.ratemaps,
        mapped.maps.box_m,
        order=order,
        titles=_titles(mapped, evaluation),
        tops=np.maximum(peaks, ACTIVE_PEAK),
        title=mapped.title[0].upper() + mapped.title[1:],
        fig=plots.blank_figure(),
    )


def _correlogram_sheet(evaluation: Evaluation, units: np.ndarray) -> Figure:
    """Draw autocorrelograms up to lags of half the box: further out few bins overlap."""
    mapped = evaluation.verdict
    correlograms = autocorrelogram(mapped.maps.ratemaps[units].astype(np.float32))
    quarter = correlograms.shape[-1] // 4
    return plots.autocorrelogram_sheet(
        correlograms[:, quarter:-quarter, quarter:-quarter],
        BIN_M,
        titles=[_titles(mapped, evaluation)[n] for n in units],
        axes_m=mapped.scores.axes_m[units],
        title=f"Autocorrelograms: {mapped.title}",
        fig=plots.blank_figure(),
    )


def _titles(mapped: Mapped, evaluation: Evaluation) -> list[str]:
    """Return the unit and its score: s, the 90-degree score, of a square unit; g of any other."""
    square = evaluation.lattice == "square"
    scores = np.where(square, mapped.scores.square_score, mapped.scores.grid_score)
    texts = np.where(np.isfinite(scores), [f" {score:.2f}" for score in scores], "")
    return [
        f"u{n}" + (f"  {'s' if square[n] else 'g'}{text}".replace("-", "−") if text else "")
        for n, text in enumerate(texts)
    ]


def _score_figures(evaluation: Evaluation) -> dict[str, Figure]:
    scores, active, units = evaluation.first.scores, evaluation.active, evaluation.units
    names = ("scores", "scores_null", "periods", "period_orientation")
    figures = {name: plots.blank_figure() for name in names}
    panels = {name: figure.subplots() for name, figure in figures.items()}
    plots.score_histogram(
        {"60° score": scores.grid_score[active], "90° score": scores.square_score[active]},
        {"60° score": HEXAGONAL_SCORE, "90° score": SQUARE_SCORE},
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


def _module_labels(evaluation: Evaluation) -> np.ndarray:
    """Return the group [N] of each unit in figures of periods; ratios are to the module before."""
    modules, units = evaluation.modules, evaluation.units
    labels = np.where(units.is_grid, "no module", units.kind).astype("<U40")
    for k, members in enumerate(modules.members):
        ratio = f", ratio {modules.ratios[k - 1]:.2f}" if k else ""
        labels[members] = f"module {k + 1}: {modules.period_m[k]:.2f} m{ratio}"
    return labels


def _module_figures(evaluation: Evaluation) -> dict[str, Figure]:
    maps, units, figures = evaluation.verdict.maps, evaluation.units, {}
    for k, (members, torus) in enumerate(
        zip(evaluation.modules.members, evaluation.tori, strict=True), 1
    ):
        waves = torus.waves / (maps.box_m / maps.ratemaps.shape[-1])
        frequencies, power = mean_power(maps.ratemaps[members], maps.box_m)
        figures[f"fourier_{k}"] = figure = plots.blank_figure()
        plots.fourier_power(power, frequencies, waves, ax=figure.subplots())
        figures[f"phases_{k}"] = figure = plots.blank_figure()
        lattice = evaluation.modules.lattice[k - 1]
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
    figures = {name: plots.blank_figure() for name in ("neural_distance", "drift", "decoding")}
    panels = {name: figure.subplots() for name, figure in figures.items()}
    plots.neural_distance(
        apart.edges, apart.mean, apart.std,
        training_range_m=evaluation.training_range_m, ax=panels["neural_distance"],
    )  # fmt: skip
    plots.against_steps(
        {
            "to the short walks' map": (_middles(gone.edges), gone.distance),
            "same place, another path": (_middles(same.edges), same.mean),
        },
        y="neural distance |g − g′|", chance=gone.chance_distance, ax=panels["drift"],
    )  # fmt: skip
    plots.against_steps(
        {"decoded position": (_middles(gone.edges), gone.error_m)},
        y="median error (m)", chance=gone.chance_error_m, ax=panels["decoding"],
    )  # fmt: skip
    figures["conformality"] = plots.conformality(
        speeds.by_place, BOXES_M[-1], speeds.directions_deg, speeds.by_direction,
        fig=plots.blank_figure(),
    )  # fmt: skip
    return figures


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
    batch = draw_batch(config, jax.random.key(run.seed), make_settings(config), run.method)
    figure = plots.blank_figure()
    plots.permuted_batch(np.asarray(batch.positions), ax=figure.subplots())
    return figure


def render(
    summary: Mapping[str, Any],
    evaluation: Evaluation,
    pictures: Mapping[str, bytes],
    recorded_note: str | None,
) -> str:
    """Return the page: one HTML text with its pictures inside, no script, nothing from outside."""
    captions = _captions(evaluation, recorded_note)
    sections = [
        (title, [(name, captions[name], _data_uri(pictures[name])) for name in names])
        for title, given in _sections(evaluation)
        if (names := [name for name in given if name in pictures])
    ]
    facts = [*_facts(summary, evaluation), *_path_facts(summary, evaluation, recorded_note)]
    return _template("report.html.j2").render(
        summary=summary, facts=facts, sections=sections, wide=WIDE
    )


def write_index(folder: str | os.PathLike) -> Path:
    """Write index.html, a sortable table of the networks reported in a folder.

    Args:
        folder: holds network_000/, network_001/ ... as `write_report` wrote them.

    Returns:
        Path of index.html.

    Raises:
        FileNotFoundError: no network is reported there.
    """
    folder = Path(folder)
    summaries = [
        (path.parent.name, json.loads(path.read_text()))
        for path in sorted(folder.glob("network_*/summary.json"))
    ]
    if not summaries:
        raise FileNotFoundError(f"{folder}: holds no network_*/summary.json")
    rows = [_index_row(name, summary) for name, summary in summaries]
    page = _template("index.html.j2").render(rows=rows, columns=list(rows[0]))
    temporary = folder / ".index.html.new"
    temporary.write_text(page, encoding="utf-8")
    return temporary.replace(folder / "index.html")


def _index_row(name: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cells of one network: numbers, or texts, or None for what is not known."""
    modules, drift = summary["modules"], summary["path_integration"]
    return {
        "network": name,
        "variant": summary["variant"],
        "seed": summary["seed"],
        "step": summary["step"],
        "active units": summary["active_units"],
        "hexagonal, 2 m": summary["hexagonal_units"],
        "square, 2 m": summary["square_units"],
        "grid cells, 3 m": summary["kinds"]["grid"],
        "modules": len(modules),
        "periods (m)": ", ".join(f"{module['period_m']:.2f}" for module in modules),
        "60° score": summary["by_map"]["3m"]["median_grid_score"],
        "Betti": _betti_texts(modules),
        "place explains, long": summary["variance_explained_long"],
        "place explains, short": summary["variance_explained_short"],
        "drift at 1,000 steps": drift["neural_distance_after_1000"],
        "failure": summary["failure"] or "",
    }


def _betti_texts(modules: Sequence[Mapping[str, Any]]) -> str:
    """Return (1, 2, 1) for each module, or one dash for torus tests without their null."""
    numbers = [[module[f"betti_{k}"] for k in range(3)] for module in modules]
    if any(None in three for three in numbers):
        return "–"
    return "; ".join(f"({', '.join(map(str, three))})" for three in numbers)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def _sections(evaluation: Evaluation) -> list[tuple[str, tuple[str, ...]]]:
    """Return titles and figures of the page; each module has a section of its own."""
    modules = [
        (f"Module {k}", (f"fourier_{k}", f"phases_{k}", f"torus_{k}"))
        for k in range(1, len(evaluation.modules.members) + 1)
    ]
    return [*SECTIONS[:2], *modules, *SECTIONS[2:]]


def _facts(summary: Mapping[str, Any], evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return rows of the page's table: what, how much, measured on which map."""
    first, short = evaluation.first.title, evaluation.short[SHORT_BOXES_M[0]].title
    verdict = evaluation.verdict.title
    lattices = summary["hexagonal_units"] + summary["square_units"]
    constants = ", ".join(f"u{n}" for n in summary["constant_units"]) or "none"
    ripples = summary["constant_units_with_lattice"]
    counted = f"; {ripples} of them counted as a lattice above" if ripples else ""
    kinds = [(kind, count) for kind, count in summary["kinds"].items() if count]
    return [
        ("Active units", f"{summary['active_units']} of {summary['num_units']}", first),
        ("… that carry a lattice", f"{lattices} ({_percent(summary['lattice_fraction'])})", first),
        ("… hexagonal: 60° score above 0.5", f"{summary['hexagonal_units']}", first),
        ("… square: 90° score above 0.7", f"{summary['square_units']}", first),
        ("60° score, median of hexagonal units",
         _number(summary["median_grid_score_hexagonal"]), first),
        ("90° score, median of square units",
         _number(summary["median_square_score_square"]), first),
        ("Units by kind, each against its own null of shuffled fields",
         ", ".join(f"{count} {kind}" for kind, count in kinds), verdict),
        ("Modules", _modules_text(summary["modules"]), verdict),
        ("Torus: Betti numbers by module",
         _betti_texts(summary["modules"]) or "–",
         verdict if any(torus.betti for torus in evaluation.tori) else "not tested: no null made"),
        ("Variance that place explains, median of active units",
         _number(summary["variance_explained_long"]), first),
        ("… on short walks", _number(summary["variance_explained_short"]), short),
        ("Constant units, active alike everywhere", constants + counted, first),
        ("… their share of |mean g|²", _percent(summary["constant_share"]), first),
    ]  # fmt: skip


def _modules_text(modules: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for module in modules:
        ratio = f", ratio {module['ratio']:.2f}" if np.isfinite(module["ratio"]) else ""
        texts.append(f"{module['units']} units at {module['period_m']:.2f} m{ratio}")
    return "; ".join(texts) or "none"


def _path_facts(
    summary: Mapping[str, Any], evaluation: Evaluation, recorded_note: str | None
) -> list[tuple[str, str, str]]:
    """Return the rows about path integration."""
    found = summary["path_integration"]
    walks = "2 m box, walks of 10,000 steps"
    errors = [_number(found[f"decoding_error_m_after_{n}"]) for n in (100, 1000, 10_000)]
    facts = [
        ("Error of the decoded position after 100 / 1,000 / 10,000 steps",
         f"{' / '.join(errors)} m (chance {_number(found['chance_decoding_error_m'])} m)", walks),
        ("Speed of the code: spread over places and directions, relative to its mean",
         _percent(found["neural_speed_variation"]), "4 m box, walks of 120 steps"),
    ]  # fmt: skip
    if evaluation.path is None:
        return [*facts, ("Recorded path", "none", recorded_note or "no path was given")]
    note = recorded_note or "the path given"
    return [
        *facts,
        ("Recorded path, in one go: r with the smooth walks' maps, median of lattice units",
         _number(summary["recorded_path_correlation"]), note),
        ("… in pieces of 120 steps", _number(summary["recorded_path_pieces_correlation"]), note),
    ]  # fmt: skip


def _captions(evaluation: Evaluation, recorded_note: str | None) -> dict[str, str]:
    """Return what stands under each figure."""
    captions = _map_captions(evaluation) | _path_captions(evaluation, recorded_note)
    for k in range(1, len(evaluation.modules.members) + 1):
        captions |= {
            f"fourier_{k}": f"Mean power spectrum of the units of module {k} (root of the power),"
            " with the three wave vectors of their lattice.",
            f"phases_{k}": "Where each unit fires within the lattice's unit cell.",
            f"torus_{k}": "The states at all places of the box: a spectral embedding of their first"
            " six principal components, coloured by a circular coordinate; the activity read along"
            " each wave vector, coloured by that wave's phase; the longest bars of persistent"
            " cohomology (a torus has one in H0, two in H1 and one in H2 that stand out).",
        }
    return captions


def _map_captions(evaluation: Evaluation) -> dict[str, str]:
    first, verdict = evaluation.first.title, evaluation.verdict.title
    usual = evaluation.first.mean_speed
    speeds = " and ".join(f"{m.mean_speed:.3g} m" for m in evaluation.speeds.values()) + " a step"
    sheet = "Mean activity by place, each unit on its own scale from 0 to its peak. "
    letters = " g is the 60° score, s the 90° score of a square unit, of the map shown."
    ranked = "Hexagonal units first, then square ones, other active ones"
    return {
        "ratemaps_2m": f"{sheet}{ranked} and inactive ones; by score within each.{letters}",
        "ratemaps_2m_short": f"{sheet}The same order, active units only. Short walks show the code"
        f" before it drifts.{letters}",
        "ratemaps_3m": f"{sheet}By module, then phase; then other grid cells and active units."
        + letters,
        "autocorrelograms_3m": "Correlation of each map with itself, shifted by up to half the box."
        " Lines are the three axes of the lattice as measured, dots the six nearest fields, the"
        " dotted ring their mean distance.",
        "scores": f"Scores of the active units ({first}); dashed, what counts as a lattice above.",
        "scores_null": "Each unit's 60° score against the 99th percentile of its own shuffled"
        f" fields ({verdict}). Units without enough fields have no null.",
        "periods": f"Period, the distance between neighbouring fields ({verdict}).",
        "period_orientation": f"Period and orientation of the same units ({verdict}).",
        "generalisation": "The best units of each module (of all, if there is none) in three"
        f" boxes, to one scale; scores: {verdict}. In training, 99 % of the positions are nearer to"
        f" the start than the dashed circle ({evaluation.training_range_m:.2f} m); beyond is"
        " outside the training range.",
        "compared_periods": "Period of each unit that carries a lattice, in other boxes and on"
        f" slower and faster walks in the 2 m box ({speeds}; usually {usual:.3g} m), against that"
        " on the long walks in the 2 m box.",
        "compared_scores": "The 60° scores of the same maps.",
        "film_strip": "The same units during training, each map on its own scale (2 m box,"
        f" quick maps from {snapshots.WALKS} walks of {snapshots.STEPS} steps;"
        " grey where none came).",
        "losses": "One batch per logged step. Conformal isometry and neural speed are over steps"
        " shorter than σx; silent units fire nowhere in a batch.",
        "batch": "Six trajectories of one training batch: the same steps in different orders, so"
        " that all end at the same point.",
    }


def _path_captions(evaluation: Evaluation, recorded_note: str | None) -> dict[str, str]:
    reach = f"{evaluation.training_range_m:.2f} m"
    return {
        "neural_distance": "Distance between the states at two places against the places' distance"
        " (mean and standard deviation over pairs; 4 m box, walks of 120 steps). 99 % of the"
        f" training positions are within {reach} of the start.",
        "drift": "How far the state is from the mean state that short walks have at its place, and"
        " from the state of another walk at the same place, against the steps taken (2 m box).",
        "decoding": "Error of the position decoded from the state with the short walks' maps (2 m"
        " box). A code that repeats itself can only be decoded up to its period.",
        "conformality": "How far the code moves per metre, for steps of 2 cm: by place (mean over"
        " twelve directions; 4 m box, walks of 120 steps) and by direction (mean over places). A"
        " conformal code moves equally fast everywhere.",
        "recorded_path": "The network driven along the recorded path"
        + (f" ({recorded_note})" if recorded_note else "")
        + ". Top, in one go from the initial state, so with all the drift of the walk; middle,"
        f" cut into overlapping pieces of {SHORT_WALK_STEPS} steps, each run from the initial state"
        " and placed at the start; bottom, the same units on smooth walks.",
    }


def _number(value: float, unit: str = "") -> str:
    return f"{value:.2f} {unit}".replace("-", "−").strip() if np.isfinite(value) else "–"


def _percent(share: float) -> str:
    return f"{share:.0%}" if np.isfinite(share) else "–"


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _plain(value: Any) -> Any:
    """Turn arrays into lists, NaN and infinities into None, for JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _write_maps(path: Path, maps: RateMaps) -> None:
    """Write maps in the single precision that the network computed them in."""
    single = maps._replace(ratemaps=maps.ratemaps.astype(np.float32))
    np.savez_compressed(path, **single._asdict())


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; NaN becomes an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return value


def _save(figure: Figure, path: Path) -> bytes:
    """Write a figure as PNG, and return the file; sheets get 256 colours, which halves them."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI, facecolor="white")
    picture = Image.open(raw).convert("RGB")
    if path.name.startswith(SHEETS):
        picture = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True)
    path.write_bytes(packed.getvalue())
    return packed.getvalue()
