"""Figures ignore the user's matplotlib settings, do not change them, and are vector graphics."""

import contextlib
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest

from sicjax import plots
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map

RNG = np.random.default_rng(0)
AXES = np.array([[0.5, 0.0], [0.25, 0.433], [-0.25, 0.433]])
MAPS = np.stack(
    [lattice_map(hexagonal_basis(0.6, 10), box_m=2.0, bins=20, phase=(k / 3, 0)) for k in range(3)]
)
MAPS[1, :4, :4] = np.nan
CORRELOGRAMS = RNG.uniform(-1, 1, (3, 39, 39))
CORRELOGRAMS[:, 19, 19] = 1
PATH = np.cumsum(RNG.normal(0, 0.05, (40, 2)), axis=0)
TITLES = ["u0", "u1", "u2"]
LINES = np.array([[0.1, 0.05, 0.02], [0.2, 0.1, 0.03]])
KINDS = ["module 0", "module 1", "no module"]

# One call with small arrays for each public function that draws.
SHEETS = {
    "autocorrelogram_sheet": lambda fig: plots.autocorrelogram_sheet(
        CORRELOGRAMS, 0.1, axes_m=np.stack([AXES] * 3), titles=TITLES, fig=fig
    ),
    "conformality": lambda fig: plots.conformality(
        5 * MAPS[1], 2.0, [0, 90, 180, 270], [5, 6, 5, 6], fig=fig
    ),
    "film_strip": lambda fig: plots.film_strip([(1000, MAPS)], 2.0, titles=TITLES, fig=fig),
    "generalisation": lambda fig: plots.generalisation(
        [(2.0, MAPS), (3.0, MAPS)], titles=TITLES, training_range_m=1.2, fig=fig
    ),
    "losses": lambda fig: plots.losses(
        [{"step": k, "loss": 0.1 * k, "weighted_mine": 1 / k} for k in (1, 2, 3)], fig=fig
    ),
    "module_coupling": lambda fig: plots.module_coupling(
        [1, 10, 100], np.stack([LINES, LINES]), names=KINDS[:2], fig=fig
    ),
    "module_drift": lambda fig: plots.module_drift(
        [1, 10, 100], LINES, [(0, 1)], LINES[:1], LINES[:1], LINES[1:], names=KINDS, fig=fig
    ),
    "named_rows": lambda fig: plots.named_rows([("one", MAPS)], 2.0, titles=TITLES, fig=fig),
    "ratemap_sheet": lambda fig: plots.ratemap_sheet(
        MAPS, 2.0, titles=TITLES, title="All", groups=[("One", 1), ("Two", 2)], fig=fig
    ),
    "recorded_path": lambda fig: plots.recorded_path(
        PATH, [("one", MAPS)], 2.0, titles=TITLES, fig=fig
    ),
    "torus": lambda fig: plots.torus(
        RNG.random((9, 3)) * 0 + np.eye(9, 3), np.arange(9) / 9, np.ones((3, 9, 2)) * AXES[0, 0],
        np.ones((3, 9)) / 2, [[[0, 0.5], [0, np.inf]], [[0.2, 0.9]], []], fig=fig,
    ),
}  # fmt: skip
PANELS = {
    "against_steps": lambda ax: plots.against_steps(
        {"a": ([10, 1000], [0.1, 0.2])}, y="error (m)", chance=0.3, level=0.05, ax=ax
    ),
    "attractor_return": lambda ax: plots.attractor_return(
        [0, 1, 50], LINES, [0.1, 0.2], null=2 * LINES, ax=ax
    ),
    "attractor_shift": lambda ax: plots.attractor_shift([0, 1, 50], LINES, [0.02, 0.04], ax=ax),
    "by_setting": lambda ax: plots.by_setting({"full": [1.0, 2.0], "none": []}, label="s", ax=ax),
    "compared": lambda ax: plots.compared(
        [0.5, 0.6], {"4 m box": [0.5, 0.7]}, quantity="period (m)", of="2 m box", ax=ax
    ),
    "distance_map": lambda ax: plots.distance_map(
        MAPS[1], 0.1, dips_m=[[0.3, 0.1]], range_m=0.5, ax=ax
    ),
    "fourier_power": lambda ax: plots.fourier_power(
        MAPS[0], np.linspace(-4, 4, 20), 1 / (AXES + 1), ax=ax
    ),
    "jacobian_gains": lambda ax: plots.jacobian_gains(
        [1, 10], {"along": [[0.9, 1, 1.1], [0.8, 1, 1.2]]}, ax=ax
    ),
    "module_relation": lambda ax: plots.module_relation(
        [AXES[:2], 2 * AXES[:2]], 2 * AXES[:2], index=[4, 1], error=0.01, p=0.1, names=KINDS, ax=ax
    ),
    "neural_distance": lambda ax: plots.neural_distance(
        [0, 1, 2], [0.5, 0.8], [0.1, 0.1], training_range_m=1.8, ax=ax
    ),
    "noise_drift": lambda ax: plots.noise_drift(
        [1, 10, 100], LINES, [0.1, 0.2], [1e-5, np.nan], ax=ax
    ),
    "null_distributions": lambda ax: plots.null_distributions(
        [1.0, 0.2, np.nan], np.linspace(-0.5, 0.5, 30).reshape(3, 10), KINDS, ax=ax
    ),
    "period_histogram": lambda ax: plots.period_histogram([0.5, 0.9, 0.7], KINDS, ax=ax),
    "period_orientation": lambda ax: plots.period_orientation(
        [0.5, 0.9, 0.7], [1, 30, 59], KINDS, ax=ax
    ),
    "periods_against_range": lambda ax: plots.periods_against_range(
        [(1.0, [0.5, 0.8])], {"largest": 0.8}, ax=ax
    ),
    "permuted_batch": lambda ax: plots.permuted_batch(np.stack([PATH, PATH]), ax=ax),
    "phase_diagram": lambda ax: plots.phase_diagram(
        LINES, [1, 2, 3], [0.1, 0.2], x="a", y="b", label="score", ax=ax
    ),
    "phase_tiling": lambda ax: plots.phase_tiling([[0.5, 0.5], [0.1, 0.2]], AXES, ax=ax),
    "score_against_null": lambda ax: plots.score_against_null(
        [1.0, 0.2, 0.3], [0.5, 0.6, 0.4], KINDS, ax=ax
    ),
    "score_histogram": lambda ax: plots.score_histogram(
        {"grid score": [0.1, 0.9]}, {"grid score": 0.5}, ax=ax
    ),
    "units_per_index": lambda ax: plots.units_per_index(
        [[3, 1], [2, 4]], [1, 3], names=["a", "b"], rest=[0, 1], ax=ax
    ),
    "tails": lambda ax: plots.tails({"a": [1, 2, 3, 40]}, x="x", y="y", ax=ax),
}
FILMS = {
    "formation": lambda fig: plots.formation(
        [100, 200], np.stack([MAPS, MAPS]), [("module 0", 2), ("other", 1)], share=[0, 0.5], fig=fig
    ),
    "on_torus": lambda fig: plots.on_torus(
        PATH[:2], [PATH[:2] % 1], 2.0, names=["module 0"], fig=fig
    ),
    "walking": lambda fig: plots.walking(
        PATH[:2], np.eye(2, 4), 2.0, sheets=[("module 0", [0, 1], np.zeros((2, 2)), AXES, 1)],
        rest=[2, 3], fig=fig,
    ),
}  # fmt: skip
DRAWN = sorted([*SHEETS, *PANELS, *FILMS])

HOSTILE = {
    "image.origin": "lower", "savefig.bbox": "tight", "savefig.transparent": True,
    "savefig.facecolor": "green", "text.usetex": True, "font.size": 25, "font.family": "serif",
    "image.cmap": "jet", "axes.grid": True, "axes.unicode_minus": False, "legend.fontsize": 30,
    "image.interpolation": "bicubic", "figure.constrained_layout.use": True, "figure.dpi": 33,
    "axes.titlelocation": "right", "lines.linewidth": 9, "xtick.direction": "in",
    "axes.prop_cycle": mpl.cycler(color=["red"]), "svg.fonttype": "none", "axes.xmargin": 0.4,
}  # fmt: skip


def figure_of(name):
    """Draw a figure that pyplot doesn't know, or the first frame of an animation."""
    figure = plots.blank_figure()
    if name in PANELS:
        PANELS[name](figure.subplots())
    elif name in SHEETS:
        SHEETS[name](figure)
    else:
        FILMS[name](figure)._init_draw()
    return figure


def saved(figure, kind="png"):
    file = io.BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()


@contextlib.contextmanager
def hostile():
    with mpl.rc_context():
        mpl.style.use("dark_background")
        mpl.rcParams.update(HOSTILE)
        yield


def test_every_function_that_draws_has_a_case():
    functions = {name for name in plots.__all__ if callable(getattr(plots, name))}
    others = {"Figure", "as_picture", "blank_figure", "dress", "last_picture"}
    assert functions - others == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_ignore_the_users_settings_and_are_vector_art(name):
    """Images are for maps alone."""
    figure = figure_of(name)
    usual = saved(figure)
    holds_maps = {*SHEETS, *FILMS, "distance_map", "fourier_power", "phase_diagram"} - {"losses"}
    assert saved(figure, "svg").count(b"<image") <= (10 if name in holds_maps else 0)
    with hostile():
        before = dict(mpl.rcParams.copy())
        assert saved(figure_of(name)) == usual
        assert dict(mpl.rcParams.copy()) == before


EIGHT = np.stack([MAPS[0]] * 8)
NAMED = [f"u{120 + k}  g −0.3{k}" for k in range(8)]
METRICS = [
    {"step": k, "conformal_isometry": 0.009 + 0.0003 * k, "gradient_norm": 0.4 + 0.01 * k,
     "learning_rate": 1e-6 * k, "dead_units": 2 + k % 2, "loss": -0.01 * k}
    for k in range(5, 45, 5)
]  # fmt: skip
WIDE = {  # as wide as a report's
    "film_strip": lambda fig: plots.film_strip([(10_000, EIGHT)], 2.0, titles=NAMED, fig=fig),
    "generalisation": lambda fig: plots.generalisation(
        [(2.0, EIGHT), (3.0, EIGHT)], titles=NAMED, training_range_m=1.2, fig=fig
    ),
    "losses": lambda fig: plots.losses(METRICS, fig=fig),
    "recorded_path": lambda fig: plots.recorded_path(
        PATH, [("path,\nin one go", EIGHT)] * 3, 2.0, titles=NAMED, fig=fig
    ),
    "sheet": lambda fig: plots.ratemap_sheet(EIGHT, 2.0, titles=NAMED, title="All", fig=fig),
}


@pytest.mark.parametrize("name", [*DRAWN, *WIDE])
def test_text_is_whole_and_9_points_at_least(name):
    if name in WIDE:
        figure = plots.blank_figure()
        WIDE[name](figure)
    else:
        figure = figure_of(name)
    plots.as_picture(figure)
    ticks = {label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)
             for label in axis.get_ticklabels(which="both")}  # fmt: skip
    for text in figure.findobj(mpl.text.Text):
        if not text.get_text().strip() or not text.get_visible():
            continue
        assert text.get_fontsize() >= 9, text
        place = text.get_window_extent()
        if text not in ticks:  # those outside their axis aren't drawn
            assert figure.bbox.x0 - 1 <= place.x0 < place.x1 <= figure.bbox.x1 + 1, text
            assert figure.bbox.y0 - 1 <= place.y0 < place.y1 <= figure.bbox.y1 + 1, text


@pytest.mark.parametrize("name", ["ratemap_sheet", "torus", "walking"])
def test_figures_are_saved_as_pdf(name):
    drawn = saved(figure_of(name), "pdf")
    assert drawn.startswith(b"%PDF")
    assert b"/Type3" not in drawn  # fonts that editors of vector graphics can read


def test_a_backend_that_starts_with_the_first_figure_stays_interactive():
    """In a notebook, otherwise only the first figure would be shown."""
    with mpl.rc_context({"interactive": False}):
        with plots.style.own_settings():
            mpl.rcParams["interactive"] = True  # matplotlib_inline does so
        assert mpl.rcParams["interactive"]


def test_a_user_may_still_ask_for_another_size_when_saving():
    figure = figure_of("permuted_batch")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    assert len(file.getvalue()) > len(saved(figure))


def test_threads_that_draw_leave_the_settings_as_they_were():
    with hostile():
        before = dict(mpl.rcParams.copy())
        with ThreadPoolExecutor(4) as pool:
            pictures = list(pool.map(lambda _: saved(figure_of("tails")), range(4)))
        assert dict(mpl.rcParams.copy()) == before
    assert len(set(pictures)) == 1


def test_an_unknown_backend_does_not_matter():
    code = (
        "from sicjax import plots; import os, matplotlib, sys;"
        "f = plots.blank_figure(); plots.tails({'a': [1, 2]}, ax=f.subplots());"
        "assert plots.as_picture(f).std() > 0; assert 'matplotlib.pyplot' not in sys.modules;"
        "print(os.environ['MPLBACKEND'], matplotlib.rcParams._get_backend_or_none())"
    )
    for name, backend in (("nonsense", "None"), ("svg", "svg")):
        env = {**os.environ, "MPLBACKEND": name}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [name, backend]
