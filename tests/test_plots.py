"""Every figure draws its input, on the given axes or figure, even if there is little to draw."""

import io
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from sicjax import plots
from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
from sicjax.plots import motion, pictures


@pytest.fixture(autouse=True)
def no_window():
    """Tests draw off screen and leave no figure open."""
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


@pytest.fixture
def maps():
    """Three maps: a lattice, one with a hole, one never visited."""
    basis = hexagonal_basis(0.6, 10.0)
    one = lattice_map(basis, box_m=2.0, bins=20)
    two = lattice_map(basis, box_m=2.0, bins=20, phase=(0.5, 0.3))
    two[:4, :4] = np.nan
    return np.stack([one, two, np.full((20, 20), np.nan)])


def ink(figure):
    """Return the picture of a figure, [height, width, 3] bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def texts(figure):
    found = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    return [text for text in found if text]


@pytest.fixture(autouse=True)
def no_figures():
    """Close the figures that other tests have left in pyplot."""
    plt.close("all")


def drawn(draw, *arguments, **keywords):
    """Draw on a figure that pyplot doesn't know, and render it."""
    figure = plots.blank_figure()
    returned = draw(*arguments, ax=figure.subplots(), **keywords)
    assert returned.figure is figure
    assert not plt.get_fignums()
    ink(figure)
    return returned


def test_sheet_shows_the_ordered_units_with_y_up(maps):
    maps[0] = 0
    maps[0, -1, 0] = 1  # top left: largest y, smallest x
    figure = plots.blank_figure()
    returned = plots.ratemap_sheet(
        maps, 2.0, order=[0, 1], titles=["first", "second", "third"], title="All", fig=figure
    )
    assert returned is figure
    assert not plt.get_fignums()
    assert {"first", "second", "All", "1 m", "not visited"} <= set(texts(figure))
    assert "third" not in texts(figure)
    picture = figure.axes[0].images[0].get_array()
    head = round(0.23 * 20)
    assert picture.shape[0] == head + 20
    peak = np.round(255 * np.array(mpl.colormaps[plots.CMAP](1.0)))
    np.testing.assert_allclose(picture[head, 0], peak, atol=1)  # colours are bytes
    grey = np.round(255 * np.array(mpl.colors.to_rgba(plots.UNVISITED)))
    second = 20 + round(0.08 * 20)
    np.testing.assert_allclose(picture[head + 19, second], grey, atol=1)  # bottom left
    assert ink(figure).std() > 0


def test_steps_are_drawn_where_nothing_is_known():
    figure = plots.blank_figure()
    ax = plots.against_steps({"gap": ([10, 1000], [np.nan] * 2)}, y="y", ax=figure.subplots())
    ink(figure)
    assert ax.get_xlim() == (10 / 1.3, 1300)


def test_groups_of_a_sheet_begin_rows_of_their_own(maps):
    maps[:] = np.arange(1, 4)[:, None, None]
    figure = plots.blank_figure()
    plots.ratemap_sheet(
        maps, 2.0, order=[2, 0, 1], tops=[4, 4, 4], groups=[("Alike", 2), ("Other", 1)], fig=figure
    )
    assert {"Alike", "Other"} <= set(texts(figure))
    picture = figure.axes[0].images[0].get_array()
    gap, room = round(0.08 * 20), round(0.36 * 20)
    assert picture.shape[0] == 2 * (room + gap + 20)
    colour = np.round(255 * np.array(mpl.colormaps[plots.CMAP]([0.25, 0.5, 0.75])))
    top, second = room + gap, 2 * (room + gap) + 20
    for y, x, unit in ((top, 0, 2), (top, 20 + gap, 0), (second, 0, 1)):
        np.testing.assert_allclose(picture[y, x], colour[unit], atol=1)  # colours are bytes
    assert (picture[second, 20 + gap] == 255).all()  # nothing beside it
    heights = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert 0 < heights["Alike"] < top < heights["Other"] < second


def test_sheet_takes_another_colour_map_and_scale(maps):
    jet = plots.ratemap_sheet(maps[:1], 2.0, tops=[2.0], cmap="jet", fig=plots.blank_figure())
    picture = jet.axes[0].images[0].get_array()
    half = np.round(255 * np.array(mpl.colormaps["jet"](0.5)))
    brightest = picture[round(0.08 * 20) :, :20].reshape(-1, 4)
    assert np.abs(brightest - half).sum(axis=1).min() < 60  # its peak, 1, is half of the scale


def test_without_a_figure_pyplot_opens_one(maps):
    figure = plots.ratemap_sheet(maps, 2.0)
    assert plt.get_fignums() == [figure.number]


def test_autocorrelograms_carry_their_axes(maps):
    correlograms = np.random.default_rng(0).uniform(-1, 1, (3, 39, 39))
    correlograms[:, 19, 19] = 1
    axes = np.full((3, 3, 2), 0.5)
    axes[2] = np.nan
    figure = plots.autocorrelogram_sheet(
        correlograms, 0.1, axes_m=axes, titles=["a", "b", "c"], fig=plots.blank_figure()
    )
    lines = figure.axes[0].collections[0].get_segments()
    # 0.5 m are 5 bins of 0.1 m, to the right and up (y counts downwards on a sheet).
    np.testing.assert_allclose(np.diff(lines[0], axis=0), [[5, -5]])
    ink(figure)


@pytest.mark.parametrize("scale", [0.5, 10])
def test_rate_maps_are_no_autocorrelograms(scale):
    """Rates below 1 on an odd number of bins look like correlations, except for the middle bin."""
    rates = scale * np.random.default_rng(0).random((2, 75, 75))
    with pytest.raises(ValueError, match="autocorrelogram"):
        plots.autocorrelogram_sheet(rates, 0.04, fig=plots.blank_figure())
    figure = plots.blank_figure()
    plots.autocorrelogram_sheet(autocorrelogram(rates.astype(np.float32)), 0.04, fig=figure)
    assert figure.axes


def test_losses_accept_missing_and_null_values():
    metrics = [
        {"step": 100, "loss": 0.1, "separation": 0.2, "gradient_norm": 1.0},
        {"step": 200, "loss": None, "separation": 0.1, "gradient_norm": 0.5},
    ]
    figure = plots.losses(metrics, fig=plots.blank_figure())
    assert len(figure.axes) == 9
    assert {"Separation", "Learning rate", "update"} <= set(texts(figure))
    ink(figure)


def test_terms_of_ones_own_are_drawn():
    metrics = [{"step": k, "loss": 0.2, "weighted_mine": 0.1, "mine": k, "y": 1} for k in (1, 2)]
    figure = plots.losses(metrics, fig=plots.blank_figure())
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    np.testing.assert_array_equal(panels["mine"].lines[0].get_ydata(), [1, 2])
    assert "mine" in texts(panels["Weighted terms"])
    assert "Separation" in panels
    named = plots.losses(metrics, terms=["y"], fig=plots.blank_figure())
    assert {ax.get_title(loc="left") for ax in named.axes} > {"y", "Neural speed"}
    assert "mine" not in texts(named)
    assert len(named.axes) == 6


def test_a_spike_of_the_loss_leaves_the_other_terms_apart_and_is_in_view():
    metrics = [{"step": k, "loss": 0.2, "weighted_separation": 0.1} for k in range(100)]
    metrics[3]["loss"] = 100.0
    figure = plots.losses(metrics, fig=plots.blank_figure())
    ink(figure)
    panel = figure.axes[0]
    place = panel.transAxes.inverted()
    low, high, spike = (
        place.transform(panel.transData.transform((0, y)))[1] for y in (0.1, 0.2, 100)
    )
    assert high - low > 0.05
    assert spike < 0.8  # below the legend


def test_histogram_counts_every_finite_score():
    ax = drawn(plots.score_histogram, {"60°": [0.1, 0.9, np.nan], "90°": [2.3]}, {"60°": 0.5})
    assert sum(patch.get_height() for patch in ax.patches) == 3
    assert "60° (n = 2)" in texts(ax.figure)


def test_period_histogram_stacks_groups_with_the_nameless_last():
    ax = drawn(
        plots.period_histogram, [0.51, 0.52, 1.2, np.nan], ["other", "other", "hexagonal", "other"]
    )
    assert sum(patch.get_height() for patch in ax.patches) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "hexagonal (n = 1)", "other (n = 2)",
    ]  # fmt: skip


@pytest.mark.parametrize("spacing", [[], [np.nan]])
def test_nothing_to_show_is_said(spacing):
    labels = ["other"] * len(spacing)
    assert "no unit" in texts(drawn(plots.period_histogram, spacing, labels).figure)
    assert "no unit" in texts(drawn(plots.period_orientation, spacing, spacing, labels).figure)


def test_a_module_around_0_and_60_degrees_is_one_cluster_above_units_of_none():
    spacing, degrees = [0.5, 0.5, 0.7, 0.6], [1.0, 59.0, 30.0, 59.0]
    labels = ["module 0", "module 0", "module 1", "no module"]
    ax = drawn(plots.period_orientation, spacing, degrees, labels)
    dots = {found.get_label().split(" (")[0]: found for found in ax.collections}
    assert np.ptp(dots["module 0"].get_offsets()[:, 0]) == 2
    assert all(dots[k].get_zorder() > dots["no module"].get_zorder() for k in labels[::2])
    low, high = ax.get_xlim()
    assert high - low == 60
    assert all(low <= x <= high for found in ax.collections for x in found.get_offsets()[:, 0])
    shown = dict(zip(ax.get_xticks(), [t.get_text() for t in ax.get_xticklabels()], strict=True))
    assert shown[60] == "0"
    usual = drawn(plots.period_orientation, [0.5, 0.6], [10, 50], ["module 0", "module 1"])
    assert usual.get_xlim() == (0, 60)
    assert [t.get_text() for t in usual.get_xticklabels()][-1] == "60"


def test_period_against_orientation_has_units():
    ax = drawn(plots.period_orientation, [0.5, 0.6], [10, 20], ["hexagonal", "square"])
    assert "(m)" in ax.get_ylabel()
    assert "degrees" in ax.get_xlabel()


def test_recorded_path_draws_every_row(maps):
    path = np.cumsum(np.full((50, 2), 0.01), axis=0)
    rows = [("one", maps), ("two", maps)]
    figure = plots.recorded_path(path, rows, 2.0, titles=list("abc"), fig=plots.blank_figure())
    assert len(figure.findobj(mpl.image.AxesImage)) == 6
    assert {"start", "x from the start (m)", "one", "two"} <= set(texts(figure))
    ink(figure)


def test_generalisation_draws_boxes_to_one_scale(maps):
    wide = np.full((3, 40, 40), 0.5)
    figure = plots.generalisation(
        [(2.0, maps), (4.0, wide)], titles=list("abc"), training_range_m=1.5,
        fig=plots.blank_figure(),
    )  # fmt: skip
    images = figure.findobj(mpl.image.AxesImage)
    ink(figure)
    widths = [image.get_window_extent().width for image in images]
    assert widths[-1] == pytest.approx(2 * widths[0], rel=0.02)


@pytest.mark.parametrize("name", ["generalisation", "recorded_path"])
def test_eight_units_fill_the_page_of_a_report_and_no_more(name):
    """The page is 76 rem wide with a margin of 1 rem on each side, 96 pixels to the inch."""
    figure, units = plots.blank_figure(), np.zeros((8, 9, 9))
    titles = [f"u{k}" for k in range(8)]
    if name == "generalisation":
        plots.generalisation([(2.0, units), (6.0, units)], titles=titles, fig=figure)
    else:
        plots.recorded_path(np.eye(9, 2), [("one", units)], 2.0, titles=titles, fig=figure)
    assert 1100 < 96 * figure.get_size_inches()[0] < 74 * 16


def test_compared_values_lie_on_the_line_where_equal():
    others = {"4 m box": [0.5, 0.7, np.nan], "slow walks": [0.4, 0.7, 0.2]}
    ax = drawn(plots.compared, [0.5, 0.6, np.nan], others, quantity="period (m)", of="2 m box")
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.5, 0.5], [0.6, 0.7]])
    assert {"4 m box (n = 2)", "period (m), 2 m box"} <= set(texts(ax.figure))
    legend = ax.get_legend().get_window_extent()
    assert legend.x0 >= ax.get_window_extent().x1  # hides no unit
    assert ax.get_xlim() == ax.get_ylim()
    drawn(plots.compared, [], {"4 m box": []}, quantity="score", of="2 m box")


def test_a_figure_becomes_a_picture(maps):
    figure = plots.ratemap_sheet(maps, 2.0, fig=plots.blank_figure())
    picture = plots.as_picture(figure, dpi=50)
    width, height = figure.get_size_inches()
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture.shape, [50 * height, 50 * width, 3], atol=1)
    assert picture.std() > 0


def test_film_strip_names_its_frames(maps):
    frames = [(1000, maps), (20_000, maps)]
    figure = plots.film_strip(frames, 2.0, titles=list("abc"), fig=plots.blank_figure())
    assert {"1,000\nupdates", "20,000\nupdates", "a"} <= set(texts(figure))
    ink(figure)


def test_scores_against_null_leaves_out_units_without_one():
    ax = drawn(
        plots.score_against_null, [1.0, 0.2, 0.3], [0.5, 0.6, np.nan], ["grid"] + 2 * ["other"]
    )
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 2


def test_curves_of_path_integration():
    edges, values = np.linspace(0, 3, 11), np.full(10, 0.8)
    values[2] = np.nan
    ax = drawn(plots.neural_distance, edges, values, 0.1 * values, training_range_m=1.8)
    assert "(m)" in ax.get_xlabel()
    assert " training range" in texts(ax.figure)
    ax = drawn(plots.against_steps, {"a": ([10, 100], [0.1, 0.2])}, y="error (m)", chance=1.0)
    assert ax.get_xscale() == "log"
    assert {"a", "chance", "error (m)"} <= set(texts(ax.figure))


def test_conformality_shows_place_and_direction():
    speeds = np.full((4, 4), 5.0)
    speeds[0, 0] = np.nan
    figure = plots.conformality(
        speeds, 2.0, [0, 90, 180, 270], [5, 5, 5, 5], fig=plots.blank_figure()
    )
    assert "speed by direction (1/m)" in texts(figure)
    ink(figure)


def test_module_figures():
    power = np.random.default_rng(0).random((9, 9))
    waves = np.array([[1.0, 0.0], [0.5, 0.8], [np.nan, np.nan]])
    ax = drawn(plots.fourier_power, power, np.linspace(-4, 4, 9), waves)
    assert {"k1", "k2"} <= set(texts(ax.figure))
    assert "k3" not in texts(ax.figure)
    axes = np.array([[0.5, 0.0], [0.25, 0.4], [-0.25, 0.4]])
    ax = drawn(plots.phase_tiling, [[0.5, 0.5], [np.nan, 0.1]], axes)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.375, 0.2]])


def test_torus_accepts_bars_without_end_and_no_bars():
    rng = np.random.default_rng(0)
    diagrams = [np.array([[0, 0.5], [0, np.inf]]), np.array([[0.2, 0.9]]), np.empty((0, 2))]
    figure = plots.torus(
        rng.random((30, 3)), rng.random(30), rng.random((3, 30, 2)), rng.random((3, 30)), diagrams,
        fig=plots.blank_figure(),
    )  # fmt: skip
    assert {"H0", "H1", "H2", "along k3"} <= set(texts(figure))
    ink(figure)


def test_batch_shows_that_all_end_at_one_point():
    steps = np.random.default_rng(0).normal(size=(3, 5, 2))
    ax = drawn(plots.permuted_batch, np.cumsum(steps, axis=1))
    assert {"start", "end of all"} <= set(texts(ax.figure))


def test_phase_diagram():
    values = np.array([[0.0, 1.0, np.nan], [2.0, 3.0, 4.0]])
    axes = {"x": "loss.capacity", "y": "loss.sigma_g", "label": "modules"}
    ax = drawn(plots.phase_diagram, values, [0.5, 1, 3], [0.2, 0.4], **axes)
    found = texts(ax.figure)
    assert {"0.5", "1", "3", "0.2", "0.4", "2", "loss.capacity", "loss.sigma_g", "modules"} <= set(
        found
    )
    assert "nan" not in found
    # The first row of values is at the bottom.
    (bottom,) = [text for text in ax.texts if text.get_text() == "0"]
    assert bottom.get_position() == (0, 0)
    assert "2.0" not in found  # counts have whole ticks
    fractions = drawn(plots.phase_diagram, values / 4, [0.5, 1, 3], [0.2, 0.4], **axes)
    assert {"0.8", "0.6"} <= set(texts(fractions.figure))


@pytest.mark.parametrize("groups", [7, 8, 20])
def test_bars_of_each_setting_have_a_colour_of_their_own(groups):
    counts, names = np.ones((groups, 3)), [f"{k}" for k in range(groups)]
    ax = drawn(plots.units_per_index, counts, [1, 3, 4], names=names)
    assert len({bars[0].get_facecolor() for bars in ax.containers}) == groups


def test_by_setting():
    ax = drawn(plots.by_setting, {"full": [1.0, 2.0, 3.0], "ablated": [np.nan]}, label="score")
    assert {"full (n = 3)", "ablated (n = 0)", "score (line: median)"} <= set(texts(ax.figure))
    (line,) = ax.lines
    assert list(line.get_xdata()) == [2.0, 2.0]


def test_module_relation_draws_each_lattice_and_the_common_cell():
    coarse, fine = hexagonal_basis(1.2, 10), hexagonal_basis(0.6, 10)
    ax = drawn(
        plots.module_relation, [fine, coarse], coarse, index=[4, 1], error=0.011, p=0.002,
        names=["fine", "coarse"],
    )  # fmt: skip
    below, above = ax.collections  # the coarse one is drawn first, and larger
    assert len(above.get_offsets()) > 3 * len(below.get_offsets()) > 0
    assert below.get_sizes()[0] > above.get_sizes()[0]
    assert {"fine: 4 in the cell", "coarse: 1 in the cell"} <= set(texts(ax.figure))
    assert "indices 4 : 1, error 1.1 %, p = 0.002" in texts(ax.figure)
    cell = ax.lines[0].get_xydata()
    assert np.abs(cell).max() < ax.get_xlim()[1]  # all of it is in view
    sides = np.linalg.solve(coarse.T, np.diff(cell, axis=0)[:2].T)
    np.testing.assert_allclose(np.abs(sides), np.eye(2), atol=1e-12)


def test_module_drift_and_coupling_name_their_modules():
    steps, lines = [1, 10, 100], np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.4]])
    figure = plots.module_drift(
        steps, lines, [(0, 1)], lines[:1], [[np.nan, 0.5, 0.9]], lines[:1], names=["a", "b"],
        fig=plots.blank_figure(),
    )  # fmt: skip
    assert {"a", "b", "a – b", "95 % of pairs of different walks"} <= set(texts(figure))
    ink(figure)
    figure = plots.module_coupling(
        steps, np.stack([lines, lines]), names=["a", "b"], fig=plots.blank_figure()
    )
    assert {"a displaced", "b displaced", "shift (m)"} <= set(texts(figure))
    ink(figure)


def test_a_module_that_cannot_be_read_has_no_line_and_no_name_in_the_legend():
    steps, line, none = [1, 10, 100], [0.1, 0.2, 0.3], [np.nan] * 3
    figure = plots.module_drift(
        steps, [none, line, line], [(0, 1), (0, 2), (1, 2)], [none, none, line],
        [none, none, line], [none, none, line], names=["a", "b", "c"], fig=plots.blank_figure(),
    )  # fmt: skip
    assert [len(ax.lines) for ax in figure.axes] == [3, 2]
    named = {"b", "c", "difference b – c", "b – c", "95 % of pairs of different walks"}
    assert named <= set(texts(figure))
    assert not {"a", "a – b", "difference a – b"} & set(texts(figure))
    figure = plots.module_drift(
        steps, [none, none], [(0, 1)], [none], [none], [none], names=["a", "b"],
        fig=plots.blank_figure(),
    )  # fmt: skip
    assert not any(ax.lines for ax in figure.axes)
    figure = plots.module_coupling(
        steps, [[none, line], [none, line]], names=["a", "b"], fig=plots.blank_figure()
    )
    assert [len(ax.lines) for ax in figure.axes] == [2, 2]  # one is zero


def test_distance_map_marks_dips_and_range():
    distance = np.full((11, 11), 0.8)
    distance[0, 0] = np.nan
    ax = drawn(plots.distance_map, distance, 0.1, dips_m=[[0.3, 0.1]], range_m=0.25)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.3, 0.1], [-0.3, -0.1]])
    assert [circle.radius for circle in ax.patches] == [0.25, 0.25]  # dashes on an outline
    assert "dashed circle: 0.25 m" in texts(ax.figure)
    ax = drawn(plots.distance_map, distance, 0.1, dips_m=np.empty((0, 2)), range_m=np.inf)
    assert not ax.patches


def test_attractor_return_dashes_the_null_and_leaves_out_zeros():
    lines = np.array([[0.1, 0.05, 0.0], [0.2, 0.1, 0.03]])
    ax = drawn(plots.attractor_return, [0, 1, 50], lines, [0.1, 0.2], null=2 * lines)
    assert {"10 %", "20 %", "untrained"} <= set(texts(ax.figure))
    styles = [line.get_linestyle() for line in ax.lines]
    assert styles[:4] == ["-", "--", "-", "--"]
    assert np.isnan(ax.lines[0].get_ydata()[2])
    without = drawn(plots.attractor_return, [0, 1, 50], lines, [0.1, 0.2], level=None)
    assert len(without.lines) == len(ax.lines) - 4  # no null, its key, and no level


def test_attractor_shift_names_sizes_and_dashes_the_null():
    left = np.array([[1.0, 0.9, 0.8], [1.0, 1.0, 1.0]])
    ax = drawn(plots.attractor_shift, [0, 1, 50], left, [0.02, 0.04], null=0 * left)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "2.0 cm", "4.0 cm", "untrained",
    ]  # fmt: skip
    assert [line.get_linestyle() for line in ax.lines[:4]] == ["-", "--", "-", "--"]
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), left[1])
    assert (
        len(drawn(plots.attractor_shift, [0, 1, 50], left, [0.02, 0.04]).lines) == len(ax.lines) - 3
    )


def test_a_change_from_a_linear_to_a_logarithmic_axis_is_said():
    lines = np.array([[0.1, 0.05, 0.04]])
    for draw in (plots.attractor_return, plots.attractor_shift):
        changes = drawn(draw, [0, 1, 50], lines, [0.1])
        assert " logarithmic" in texts(changes.figure)
        assert [10, 10] in [list(line.get_xdata()) for line in changes.lines]
        assert " logarithmic" not in texts(drawn(draw, [0, 1, 8], lines, [0.1]).figure)


def test_gains_and_noise():
    ax = drawn(plots.jacobian_gains, [1, 10], {"along": [[0.9, 1, 1.1], [0.8, 1, 1.2]]})
    assert {"along", "1", "10", "gain"} <= set(texts(ax.figure))
    ax = drawn(plots.noise_drift, [1, 10], [[0.01, 0.03], [0.1, 0.2]], [0.1, 0.2], [1e-5, np.nan])
    assert "noise 10 %: 1.0e-05 m² per step" in texts(ax.figure)
    assert "noise 20 %: no diffusion found" in texts(ax.figure)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), np.sqrt(4e-5 * np.array([1, 10])))
    assert len(ax.lines) == 3  # no fitted line where nothing was fitted


def test_names_that_are_no_mathematics_are_shown_as_text():
    """Names of variants are drawn after hours of training, so no `$` in them may be an error."""
    names = {r"$\frac$": [0.1], "a $ b": [0.2], r"$\sigma_x$": [0.3]}
    figure = plots.blank_figure()
    ax = plots.by_setting(names, label="score", ax=figure.subplots())
    figure.canvas.draw()
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown == [r"\$\frac\$ (n = 1)", "a $ b (n = 1)", r"$\sigma_x$ (n = 1)"]


def frames_of(animation):
    """Return pictures [frame, y, x, 3] of an animation, drawn as its writer draws them."""
    writer = pictures._Frames(fps=1)
    animation.save("frames", writer=writer, dpi=40)
    return np.stack(writer.frames)


def test_formation_shows_each_look_and_how_far_the_training_is():
    looks = np.stack([np.full((3, 10, 10), 0.0), np.full((3, 10, 10), 1.0)])
    film = plots.formation(
        [100, 200], looks, [("module 0", 2), ("module 1", 1)], share=[0, 0.5],
        fig=plots.blank_figure(),
    )  # fmt: skip
    first, last = frames_of(film)
    dark, bright = (np.array(mpl.colormaps["viridis"](v, bytes=True)[:3]) for v in (0, 255))
    assert (first == dark).all(axis=-1).sum() > 3 * 20**2
    assert (last == bright).all(axis=-1).sum() > 3 * 20**2
    assert film._fig.texts[0].get_text() == "after 200 updates"
    assert not list(Path.cwd().glob("frames*"))  # nothing is saved


def test_walking_puts_the_animal_on_its_path_and_lights_units_up():
    path = np.stack([np.linspace(-0.8, 0.8, 6), np.zeros(6)], axis=-1)
    rates = np.eye(6)[:, :4]
    axes = np.array([[1, 0], [0.5, 0.75**0.5], [-0.5, 0.75**0.5]])
    sheets = [("module 0", [0, 1, 2], [[0, 0], [0.9, 0.9], [0.5, 0]], axes, 1)]
    film = plots.walking(path, rates, 2.0, sheets=sheets, rest=[3], fig=plots.blank_figure())
    assert len(frames_of(film)) == 6
    box, _, cell, block = film._fig.axes
    _, animal, fired = box.lines
    np.testing.assert_array_equal(animal.get_xydata(), path[-1:])
    np.testing.assert_array_equal(fired.get_xydata(), path[1:2])  # where the ringed unit fires
    dots, ring = cell.collections
    np.testing.assert_array_equal(dots.get_array(), rates[-1, :3])
    places = dots.get_offsets()
    assert np.linalg.norm(places, axis=1).max() <= 1 / 3**0.5 + 1e-9  # all within the hexagon
    np.testing.assert_allclose(places[1], -0.1 * axes[:2].sum(axis=0))  # 0.9 is 0.1 before the next
    np.testing.assert_array_equal(ring.get_offsets()[0], places[1])
    assert block.images[0].get_array()[0, 0] == rates[-1, 3]


def test_the_point_goes_round_its_torus_and_faints_on_the_far_side():
    path = np.zeros((4, 2))
    phases = np.array([[0.75, 0.25], [0.75, 0.1], [0.25, 0.0], [0.25, 0.5]])
    film = plots.on_torus(path, [phases], 2.0, names=["module 0"], tail=2, fig=plots.blank_figure())
    assert len(frames_of(film)) == 4
    places, facing = motion._project(phases)
    assert (facing > 0).tolist() == [True, True, False, True]
    (point,) = film._fig.axes[1].lines
    np.testing.assert_allclose(point.get_xydata()[0], places[-1])
    assert point.get_alpha() == 1
    assert len(film._fig.axes[1].collections[0].get_offsets()) == 2


def test_training_range_is_named_inside_however_small_the_distances_are():
    """Distances are tiny in a network whose units have all become constant."""
    figure = plots.blank_figure()
    ax = plots.neural_distance(
        np.linspace(0, 3, 7), np.full(6, 1e-4), np.full(6, 1e-4), training_range_m=1.7,
        ax=figure.subplots(),
    )  # fmt: skip
    figure.canvas.draw()
    (text,) = ax.texts
    assert text.get_text() == " training range"
    assert ax.get_window_extent().contains(*text.get_window_extent().p0)
