"""Relations of modules: their lattices, their common drift, and their coupling."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sicjax import plots
from sicjax.analysis.ambiguity import CodeRange, code_range
from sicjax.analysis.relations import Coupling, ModuleDrifts, ModuleRelations
from sicjax.report.chapter import Chapter, Row, Shown
from sicjax.report.measure_activity import FEWEST_WALKS, MOST_WALKS
from sicjax.report.results import Activity, Evaluation
from sicjax.report.tables import number


def relations(found: Evaluation | Activity) -> Chapter:
    """Return the chapter on two or more modules; coupling needs a network that can be run."""
    moved = found.dynamics if isinstance(found, Evaluation) else found
    coupling = found.dynamics.coupling if isinstance(found, Evaluation) else None
    walks = "walks in the 2 m box"
    if isinstance(found, Activity):
        walks = f"{min(found.num_walks, MOST_WALKS)} walks"
    chapter = relations_of(
        moved.relations, moved.drifts, coupling, found.modules.period_m, found.verdict.box, walks,
        _range(found),
    )  # fmt: skip
    if isinstance(found, Activity) and found.relations is not None and found.drifts is None:
        chapter.rows.append(
            Row("Correlation of the modules' drifts", "–", f"Needs at least {FEWEST_WALKS} walks.",
                found.samples.title)
        )  # fmt: skip
    return chapter


def _range(found: Evaluation | Activity) -> CodeRange | None:
    """Return the range of several modules; None if the box is smaller than their unit cells."""
    modules, maps = found.modules, found.verdict.maps
    if len(modules.members) < 2 or np.linalg.norm(modules.lattice, axis=-1).max() > maps.box_m:
        return None
    return code_range(maps.ratemaps, maps.box_m, modules.members, modules.lattice)


def relations_of(
    lattices: ModuleRelations | None, drifts: ModuleDrifts | None, coupling: Coupling | None,
    periods_m: np.ndarray, box: str, walks: str, reach: CodeRange | None = None,
) -> Chapter:  # fmt: skip
    """Return the chapter from the parts that were measured.

    Args:
        lattices: how the modules' lattices are related; None for fewer than two modules.
        drifts: how the modules' phases drift.
        coupling: what displacing one module does to the others.
        periods_m: periods of the modules.
        box: the box in which the lattices were found.
        walks: the walks along which the phases were read.
        reach: the range of all modules together.
    """
    names = [f"module {k}, {period:.2f} m" for k, period in enumerate(periods_m)]
    numbers: dict[str, Any] = {}
    rows: list[Row] = []
    figures: list[Shown] = []
    # With one module, or with activity alone, some measurements are missing and add nothing.
    if lattices is not None:
        numbers |= _lattice_numbers(lattices)
        rows.append(_lattice_row(numbers, box))
        figures.append(_lattice_figure(lattices, names))
    if reach is not None:
        numbers |= {"range_m": reach.range_m, "independent_range_m": reach.independent_m}
        rows.append(
            Row("Range of all modules; if they were independent",
                f"{number(reach.range_m)} m; {number(reach.independent_m)} m",
                "Distance between places that all modules together confuse, as the period of a"
                " lattice. Modules of one torus reach the coarsest period only.", box)
        )  # fmt: skip
    if drifts is not None:
        numbers |= _drift_numbers(drifts)
        rows.append(_drift_row(numbers, walks))
        figures.append(_drift_figure(drifts, names))
    if coupling is not None:
        numbers |= {
            "displacement_m": coupling.displacement_m,
            "coupling_steps": coupling.steps[-1],
            "shift_after_displacement_m": coupling.shift_m[:, :, -1],
        }
        figures.append(_coupling_figure(coupling, names))
    return Chapter("How the modules are related", {"module_relation": numbers or None},
                   rows, figures)  # fmt: skip


def _lattice_numbers(lattices: ModuleRelations) -> dict[str, Any]:
    whole = lattices.whole
    assert whole is not None  # there are two modules
    return {
        "verdict": whole.verdict,
        "index": whole.index,
        "error": whole.error,
        "p": whole.p,
        "turn_deg": whole.turn_deg,
    }


def _drift_numbers(drifts: ModuleDrifts) -> dict[str, Any]:
    """Return the drifts of the modules at the end of the walks."""
    return {
        "drift_steps": drifts.steps[-1],
        "drift_m": drifts.rms_m[:, -1],
        "drift_pairs": drifts.pairs,
        "drift_difference_m": drifts.difference_m[:, -1],
        "drift_correlation": drifts.correlation[:, -1],
        "drift_p": drifts.p[:, -1],
    }


def _lattice_row(numbers: Mapping[str, Any], box: str) -> Row:
    ratio = " : ".join(str(count) for count in numbers["index"])
    return Row(
        "Lattices of the modules", f"{numbers['verdict']}: {ratio} cells",
        "Nested: every field of the coarser lattice coincides with one of the finer. The lattices"
        f" differ from the ideal by {100 * numbers['error']:.1f} %; by chance they would be as"
        f" close with p = {numbers['p']:.2g}.", box,
    )  # fmt: skip


def _drift_row(numbers: Mapping[str, Any], walks: str) -> Row:
    together = ", ".join(number(r) for r in numbers["drift_correlation"])
    chance = ", ".join(f"{p:.2g}" if np.isfinite(p) else "–" for p in numbers["drift_p"])
    return Row(
        "Correlation of the modules' drifts", f"{together} (p = {chance})",
        f"Drifts of the modules' phases after {numbers['drift_steps']:,} steps, for each pair of"
        " modules. 1 if they are one torus, 0 if they are independent. A dash: a module of the pair"
        " is silent in parts of its unit cell, so its phase can't be read.", walks,
    )  # fmt: skip


def _lattice_figure(lattices: ModuleRelations, names: Sequence[str]) -> Shown:
    whole, figure = lattices.whole, plots.blank_figure(5.2, 4.6)
    assert whole is not None  # there are two modules
    plots.module_relation(
        whole.bases_m, whole.basis_m, index=whole.index, error=whole.error, p=whole.p,
        names=names, ax=figure.subplots(),
    )  # fmt: skip
    return Shown(
        "module_relation", figure,
        "Lattices of the modules, laid over each other, and the unit cell that they have in common."
        " If the fields of one fall on fields of another everywhere, both are sublattices of one"
        " torus: together they identify a place over no longer range than the coarser module"
        " alone. p is the probability of this for lattices of random periods and orientations.",
    )  # fmt: skip


def _drift_figure(drifts: ModuleDrifts, names: Sequence[str]) -> Shown:
    figure = plots.module_drift(
        drifts.steps, drifts.rms_m, drifts.pairs, drifts.difference_m, drifts.correlation,
        drifts.null, names=names, fig=plots.blank_figure(),
    )  # fmt: skip
    return Shown(
        "module_drift", figure,
        "Drift of each module's phase from the true place, the difference between modules, and the"
        " correlation of their drifts. Modules drift as one if the difference stays flat while both"
        " drift, and the correlation is far above chance (dashed). Independent modules would drift"
        " apart as fast as each drifts. A module of few units with narrow fields may be silent in"
        " parts of its unit cell; then its phase can't be read, and its lines are missing.",
        wide=True,
    )  # fmt: skip


def _coupling_figure(coupling: Coupling, names: Sequence[str]) -> Shown:
    figure = plots.module_coupling(
        coupling.steps, coupling.shift_m, names=names, fig=plots.blank_figure()
    )
    return Shown(
        "module_coupling", figure,
        "Shift of each module after one of them alone was displaced by a tenth of the finest"
        " period, while the network walks on. Modules pull each other if their lines meet between"
        " 0 and the displacement. They are independent if the lines stay apart.",
        wide=True,
    )  # fmt: skip
