"""Grid modules: groups of units that share one lattice up to a shift.

Letters: N units; K modules; D features.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.cluster import hierarchy
from sklearn.mixture import GaussianMixture

from sicjax.analysis.lattice import ellipse, orientation_deg
from sicjax.analysis.ratemaps import as_numbers
from sicjax.analysis.tables import Table
from sicjax.arguments import at_least, check

MIN_UNITS = 10  # default of the fewest units of a module
FEWEST_UNITS = 3  # smallest allowed value of min_units: two points have no spread
MAX_MODULES = 6
# Features are scaled so that 1 is the spread expected within a module: 4 % of period, 4 degrees of
# orientation, 0.08 of (log) ellipse aspect; so no component is narrower than 1.
PERIOD_SCALE, ORIENTATION_SCALE, SHAPE_SCALE = 0.04, np.deg2rad(6 * 4), 0.08
# Two groups stay apart only if units spread evenly over one range so rarely look as split.
SPLIT_LEVEL = 0.01
OUTLIER_LEVEL = 1e-4  # a unit this unlikely in its module belongs to no module
# Scaled features of two units of one module rarely differ by more: 3 standard deviations of the
# difference of two draws in 5 dimensions.
SAME_GROUP = 3 * np.sqrt(2)
MOST_GROUPS = 4  # how many small groups are listed


class Lattices(Protocol):
    """The fields of a `UnitAnalysis` of N units that grouping needs."""

    @property
    def is_grid(self) -> np.ndarray:
        """Grid cells among the units, [N] bool."""

    @property
    def lattice(self) -> np.ndarray:
        """The three axes of each lattice, [N, 3, 2], metres."""

    @property
    def spacing_m(self) -> np.ndarray:
        """The mean length of the axes, [N], metres."""


@dataclass(frozen=True, repr=False)
class Modules(Table):
    """K modules in order of rising period; all arrays are empty if there is none."""

    labels: np.ndarray  # [N] int, -1 for none
    members: tuple[np.ndarray, ...]  # K arrays of unit indices
    period_m: np.ndarray  # [K] median spacing
    period_interval_m: np.ndarray  # [K, 2] 95 % interval of that median
    ratios: np.ndarray  # [K - 1] of neighbouring periods
    orientation_deg: np.ndarray  # [K] circular mean mod 60
    lattice: np.ndarray  # [K, 3, 2] mean axes, metres, by angle
    bic_gain: float  # BIC of one cluster minus BIC of the chosen mixture; NaN with too few units
    split_p: np.ndarray  # [K - 1] p that evenly spread units look as split as two neighbours
    min_units: int = MIN_UNITS  # fewest units of a module
    # Groups of other grid cells, too small for a module: (units, median period in metres), the
    # largest first, at most four.
    small_groups: tuple[tuple[int, float], ...] = ()
    num_grid_cells: int = 0  # number of grid cells that were grouped

    @property
    def summary(self) -> str:
        """A sentence that lists the modules and the largest smaller groups."""
        left = self.num_grid_cells - sum(len(members) for members in self.members)
        sizes = list(zip(map(len, self.members), self.period_m, strict=True))
        parts = []
        if sizes:
            count = f"{len(sizes)} module" + "s" * (len(sizes) > 1)
            parts = [f"{count}: {_listed(sizes)}"]
        if left or not sizes:
            other = "other " if sizes else ""
            cells = f"{left} {other}grid cell" + "s" * (left != 1)
            nearest = f"; nearest: {_listed(self.small_groups)}" if self.small_groups else ""
            parts.append(f"{cells}, no group of {self.min_units}{nearest}")
        return "; ".join(parts)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the table's columns by name, one row per module, as a report's modules.csv."""
        between = np.full((2, len(self.members)), np.nan)
        between[0, 1:], between[1, 1:] = self.ratios, self.split_p
        return {
            "module": np.arange(len(self.members)),
            "units": np.array([len(units) for units in self.members], dtype=int),
            "period_m": self.period_m,
            "period_low_m": self.period_interval_m[:, 0],
            "period_high_m": self.period_interval_m[:, 1],
            "ratio": between[0],
            "orientation_deg": self.orientation_deg,
            "split_p": between[1],
        }

    def _title(self) -> str:
        return f"Modules: {self.summary}"


def _listed(groups: Iterable[tuple[int, float]]) -> str:
    """Return the sizes and periods of groups as text: "9 at 0.30 m, 6 at 0.45 m"."""
    return ", ".join(f"{units} at {period:.2f} m" for units, period in groups)


def check_min_units(value: int) -> None:
    """Raise a ValueError unless the fewest units of a module are an integer from 3."""
    check("min_units", value, at_least(FEWEST_UNITS))


def find_modules(analysis: Lattices, *, min_units: int = MIN_UNITS) -> Modules:
    """Group grid cells by period, orientation and shape of their lattices.

    A Gaussian mixture proposes groups; the number of components is the one with the lowest BIC.
    Groups are joined if units spread evenly over one range could look as split. Groups of fewer
    than `min_units` are dropped. (Stensola et al. 2012 cluster by the same three features; the test
    against one broad cluster is ours.)

    Args:
        analysis: N units, from `analyze_ratemaps` or `score_recording`; units with `is_grid` are
            grouped.
        min_units: fewest units of a module, from 3. A small number gives more modules by chance:
            look at `split_p`.

    Returns:
        `Modules` by rising period, in metres; empty if no group has `min_units` units.
        `small_groups` holds the largest smaller groups; `summary` says both in one sentence.

    Raises:
        TypeError: the input is not an analysis of units (maps, for example).
        ValueError: arrays whose lengths differ, or a `min_units` below 3.

    Source: after Stensola et al. 2012.

    Example:
        >>> import numpy as np, sicjax
        >>> from types import SimpleNamespace
        >>> angles = np.deg2rad([0, 60, 120])
        >>> periods = np.repeat([0.5, 0.85], 12)  # two modules of 12 units
        >>> axes = periods[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        >>> units = SimpleNamespace(is_grid=periods > 0, lattice=axes, spacing_m=periods)
        >>> modules = sicjax.find_modules(units)
        >>> modules.period_m.tolist(), modules.ratios.tolist()
        ([0.5, 0.85], [1.7])
        >>> modules.summary
        '2 modules: 12 at 0.50 m, 12 at 0.85 m'
    """
    check_min_units(min_units)
    found = check_lattices(analysis)
    num_units = len(found.is_grid)
    units = np.nonzero(found.is_grid & np.isfinite(found.spacing_m))[0]
    labels, bic_gain = np.full(num_units, -1), np.nan
    if len(units) >= min_units:
        features = _features(found.lattice[units])
        groups, bic_gain = _mixture(features, min_units)
        groups = _join_what_one_spread_imitates(features, groups, min_units)
        labels[units] = _drop_strangers(features, groups, min_units)
    return dataclasses.replace(
        _describe(found, labels, bic_gain),
        min_units=int(min_units),
        small_groups=_small_groups(found, units[labels[units] < 0]),
        num_grid_cells=len(units),
    )


def check_lattices(analysis: Lattices) -> Lattices:
    """Return the fields as arrays of matching shapes; raise an error that names a wrong one."""
    for name in ("is_grid", "lattice", "spacing_m"):
        if not hasattr(analysis, name):
            raise TypeError(
                f"analysis: a {type(analysis).__name__} without `{name}`; must be what"
                " analyze_ratemaps or score_recording returns"
            )
    is_grid = np.asarray(analysis.is_grid, dtype=bool)
    lattice = as_numbers("lattice", analysis.lattice)
    spacing_m = as_numbers("spacing_m", analysis.spacing_m)
    if is_grid.ndim != 1:
        raise ValueError(f"is_grid has shape {is_grid.shape}; it must be [N]")
    for name, array, shape in (("lattice", lattice, (3, 2)), ("spacing_m", spacing_m, ())):
        if array.shape != (len(is_grid), *shape):
            raise ValueError(
                f"{name} has shape {array.shape}; to match is_grid it must be"
                f" {(len(is_grid), *shape)}"
            )
    lengths = np.hypot(lattice[..., 0], lattice[..., 1])[is_grid & np.isfinite(spacing_m)]
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("lattice: units with is_grid must have axes of finite, positive length")
    return SimpleNamespace(is_grid=is_grid, lattice=lattice, spacing_m=spacing_m)


def _features(axes: np.ndarray) -> np.ndarray:
    """Return scaled features [N, 5]: log period, orientation (2, on a circle), ellipse (2)."""
    period = np.log(np.linalg.norm(axes, axis=-1).mean(axis=-1))
    turn = np.deg2rad(6 * orientation_deg(axes))
    aspect, tilt = ellipse(axes)
    double = np.deg2rad(2 * tilt)
    return np.stack(
        [
            period / PERIOD_SCALE,
            np.cos(turn) / ORIENTATION_SCALE,
            np.sin(turn) / ORIENTATION_SCALE,
            np.log(aspect) * np.cos(double) / SHAPE_SCALE,
            np.log(aspect) * np.sin(double) / SHAPE_SCALE,
        ],
        axis=-1,
    )


def _mixture(features: np.ndarray, min_units: int) -> tuple[np.ndarray, float]:
    """Return labels [N] of the mixture with the lowest BIC, and its BIC gain over one component."""
    most = min(MAX_MODULES, max(1, len(features) // min_units))
    fits = []
    for count in range(1, most + 1):
        mixture = GaussianMixture(
            count, covariance_type="diag", reg_covar=1.0, n_init=4, max_iter=500, random_state=0
        )
        mixture.fit(features)
        fits.append((mixture.bic(features), mixture.predict(features)))
    best = min(range(most), key=lambda k: fits[k][0])
    return fits[best][1], float(fits[0][0] - fits[best][0])


def _join_what_one_spread_imitates(
    features: np.ndarray, groups: np.ndarray, min_units: int
) -> np.ndarray:
    """Join the least separated pair of groups until every pair is more split than by chance.

    Two groups of fewer than `min_units` together stay apart: neither can be a module alone.
    """
    groups = groups.copy()
    while True:
        names = np.unique(groups)
        pairs = [
            (a, b)
            for a, b in combinations(names, 2)
            if np.sum((groups == a) | (groups == b)) >= min_units
        ]
        tests = [split_test(features[groups == a], features[groups == b]) for a, b in pairs]
        if not tests or max(tests) < SPLIT_LEVEL:
            return groups
        a, b = pairs[int(np.argmax(tests))]
        groups[groups == b] = a


def split_test(first: np.ndarray, second: np.ndarray, *, num_draws: int = 2000) -> float:
    """Return the probability that evenly spread units, cut in two, look as separated as two groups.

    The groups are projected on the line that separates them best (Fisher's discriminant). Their
    separation is Ashman's D (Ashman et al. 1994). The null is units spread evenly and cut where D
    is largest: of all distributions with one peak, the even one looks most split.

    Args:
        first, second: [n, D], scaled features (a spread of 1 is measurement noise).
        num_draws: number of draws in the null.

    Returns:
        the probability, at least 1 / (num_draws + 1).
    """
    gap = first.mean(axis=0) - second.mean(axis=0)
    within = np.eye(first.shape[1])
    for group in (first, second):
        centred = group - group.mean(axis=0)
        within = within + centred.T @ centred / (len(first) + len(second))
    line = np.linalg.solve(within, gap)
    one, two = first @ line, second @ line
    floor = float(line @ line)  # the projected measurement noise
    observed = _ashman(one.mean() - two.mean(), one.var() + floor, two.var() + floor)
    rng = np.random.default_rng(0)
    draws = np.sort(rng.random((num_draws, len(first) + len(second))), axis=1)
    null = _best_cut(draws)
    return float((np.sum(null >= observed) + 1) / (num_draws + 1))


def _ashman(gap: ArrayLike, first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Return Ashman's D from a gap of means and two variances."""
    return np.sqrt(2.0) * np.abs(gap) / np.sqrt(np.maximum(np.add(first, second), 1e-12))


def _best_cut(sorted_draws: np.ndarray) -> np.ndarray:
    """Return the largest D [draws] over the cuts of sorted values [draws, n].

    Each cut leaves at least 5 values on either side, or half of them if there are fewer than 10.
    """
    n = sorted_draws.shape[1]
    least = min(5, n // 2)
    cut = np.arange(least, n - least + 1)
    sums, squares = np.cumsum(sorted_draws, axis=1), np.cumsum(sorted_draws**2, axis=1)
    low, high = sums[:, cut - 1] / cut, (sums[:, -1:] - sums[:, cut - 1]) / (n - cut)
    low_variance = squares[:, cut - 1] / cut - low**2
    high_variance = (squares[:, -1:] - squares[:, cut - 1]) / (n - cut) - high**2
    return _ashman(high - low, low_variance, high_variance).max(axis=1)


def _drop_strangers(features: np.ndarray, groups: np.ndarray, min_units: int) -> np.ndarray:
    """Return labels [N], -1 for outliers of a group and for groups that are too small."""
    limit = stats.chi2.isf(OUTLIER_LEVEL, df=features.shape[1])
    labels = np.full(len(groups), -1)
    for group in np.unique(groups):
        inside = np.nonzero(groups == group)[0]
        centre = np.median(features[inside], axis=0)
        spread = 1.4826 * np.median(np.abs(features[inside] - centre), axis=0)
        distance = (((features[inside] - centre) / np.maximum(spread, 1.0)) ** 2).sum(axis=1)
        near = inside[distance <= limit]
        if len(near) >= min_units:
            labels[near] = group
    return labels


def _small_groups(analysis: Lattices, units: np.ndarray) -> tuple[tuple[int, float], ...]:
    """Return the size and median period of groups of two or more of these units, largest first."""
    if len(units) < 2:
        return ()
    tree = hierarchy.linkage(_features(analysis.lattice[units]), "average")
    groups = hierarchy.fcluster(tree, SAME_GROUP, "distance")
    periods = [analysis.spacing_m[units[groups == group]] for group in np.unique(groups)]
    found = [(len(p), float(np.median(p))) for p in periods if len(p) > 1]
    return tuple(sorted(found, key=lambda group: (-group[0], group[1]))[:MOST_GROUPS])


def _describe(analysis: Lattices, labels: np.ndarray, bic_gain: float) -> Modules:
    """Return the modules, numbered by rising period, with their statistics."""
    names = [name for name in np.unique(labels) if name >= 0]
    names.sort(key=lambda name: np.median(analysis.spacing_m[labels == name]))
    members = tuple(np.nonzero(labels == name)[0] for name in names)
    ordered = np.full(len(labels), -1)
    for k, units in enumerate(members):
        ordered[units] = k
    period = np.array([np.median(analysis.spacing_m[units]) for units in members])
    interval = [median_interval(analysis.spacing_m[units]) for units in members]
    axes = np.array([mean_axes(analysis.lattice[units]) for units in members]).reshape(-1, 3, 2)
    features = [_features(analysis.lattice[units]) for units in members]
    return Modules(
        labels=ordered,
        members=members,
        period_m=period,
        period_interval_m=np.array(interval).reshape(-1, 2),
        ratios=period[1:] / period[:-1],
        orientation_deg=orientation_deg(axes),
        lattice=axes,
        bic_gain=bic_gain,
        split_p=np.array([split_test(*pair) for pair in pairwise(features)]),
    )


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a median from order statistics, for any distribution."""
    ordered = np.sort(values)
    below = int(stats.binom.ppf(0.025, len(values), 0.5))
    return float(ordered[max(below - 1, 0)]), float(
        ordered[min(len(values) - below, len(values) - 1)]
    )


def mean_axes(axes: np.ndarray) -> np.ndarray:
    """Return the mean axes [3, 2] of units [N, 3, 2], each matched to the nearest axis of unit 0.

    (By angle alone, an axis near 0 degrees would be averaged with one near 180.)
    """
    reference = axes[0]
    both = np.concatenate([axes, -axes], axis=1)  # [N, 6, 2]
    gap = np.linalg.norm(both[:, :, None] - reference, axis=-1)
    matched = np.take_along_axis(both, gap.argmin(axis=1)[..., None], axis=1).mean(axis=0)
    angle = np.mod(np.arctan2(matched[:, 1], matched[:, 0]), np.pi)
    order = np.argsort(angle)
    length = np.linalg.norm(matched, axis=-1)[order]
    angle = angle[order]
    return length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
