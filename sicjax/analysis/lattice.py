"""The lattice of a periodic map: sub-bin peaks, three axes, the ellipse through them, its shape.

Letters: N units; K peaks kept per unit; C pairs of peaks tried; L lattice points. Vectors are
(x, y); lags and the axes found from them are in bins, and what is computed from axes takes any unit
of length. Angles are in degrees counter-clockwise from +x.
"""

import numpy as np

PEAKS = 32  # nearest peaks kept per unit (half plane): four shells of a hexagonal lattice
BASIS_PEAKS = 10  # nearest peaks among which the basis is chosen: a few may be false
CENTRAL_RADIUS = 2.5  # bins; maxima this near to lag 0 are noise on the central peak

_PAIRS = np.stack(np.triu_indices(BASIS_PEAKS, 1), axis=-1)
_STEPS = np.array(
    [(i, j) for i in range(-3, 4) for j in range(-3, 4) if (j, i) > (0, 0)], dtype=float
)
_SQUARES = (_STEPS[:, :, None] * _STEPS[:, None]).reshape(-1, 4)


def smooth_half(correlograms: np.ndarray) -> np.ndarray:
    """Smooth the half plane y >= -1 of autocorrelograms by a binomial over 5 x 5 lags.

    The other half is its mirror image. The binomial's standard deviation is 1 bin; NaN spreads by
    2 lags.

    Args:
        correlograms: [N, 2y - 1, 2x - 1], lag 0 in the middle.

    Returns:
        [N, y + 1, 2x - 1]; lag 0 is in row 1.
    """
    middle = correlograms.shape[1] // 2
    wide = correlograms[:, max(middle - 3, 0) :]
    wide = np.pad(wide, [(0, 0), (max(3 - middle, 0), 2), (0, 0)], constant_values=np.nan)
    down = wide[:, 2:-2] * np.array(0.375, wide.dtype)
    down += (wide[:, 1:-3] + wide[:, 3:-1]) * np.array(0.25, wide.dtype)
    down += (wide[:, :-4] + wide[:, 4:]) * np.array(0.0625, wide.dtype)
    smooth = np.full_like(down, np.nan)
    across = down[..., 2:-2] * np.array(0.375, wide.dtype)
    across += (down[..., 1:-3] + down[..., 3:-1]) * np.array(0.25, wide.dtype)
    across += (down[..., :-4] + down[..., 4:]) * np.array(0.0625, wide.dtype)
    smooth[..., 2:-2] = across
    return smooth


def find_peaks(half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest local maxima of each autocorrelogram, to a fraction of a bin.

    Only one half plane is searched, because an autocorrelogram equals its own mirror image. A
    maximum counts if its weight is at least 0.35 of the unit's largest. The weight is the height
    times the root of the overlap.

    Args:
        half: [N, y + 1, 2x - 1], of `smooth_half`.

    Returns:
        peaks [N, K, 2] in bins from lag 0, nearest first, NaN where there are fewer; their weights
        [N, K], 0 where there is no peak.
    """
    rows, columns = half.shape[1] - 2, half.shape[2] // 2
    unit, y, x = np.nonzero(_maxima(half))
    lag = np.stack([x - (columns - 1), y], axis=-1)
    beyond = (np.hypot(*lag.T) > CENTRAL_RADIUS) & ((lag[:, 1] > 0) | (lag[:, 0] > 0))
    unit, y, x, lag = unit[beyond], y[beyond], x[beyond], lag[beyond]
    height = half[unit, y + 1, x + 1]
    overlap = np.prod(1 - np.abs(lag) / (columns + 1, rows + 1), axis=-1)
    weight = np.maximum(height, 0.0) * np.sqrt(overlap)

    largest = np.zeros(len(half))
    np.maximum.at(largest, unit, weight)
    keep = (weight > 0) & (weight >= 0.35 * largest[unit])
    unit, y, x, lag, weight = unit[keep], y[keep], x[keep], lag[keep], weight[keep]
    exact = lag + _parabola_tops(half, unit, y + 1, x + 1)
    return _nearest_first(unit, exact, weight, len(half))


def _maxima(half: np.ndarray) -> np.ndarray:
    """Return whether each inner lag [N, y - 1, 2x - 3] is a local maximum.

    Of neighbouring lags with equal values only the last one counts. A lag beside a NaN is not a
    maximum.
    """
    core = half[:, 1:-1, 1:-1]
    before = np.maximum(half[:, :-2], half[:, 1:-1])  # strict on one side: one of two equals stays
    highest = core >= before[..., :-2]
    highest &= core >= half[:, :-2, 1:-1]
    highest &= core >= half[:, :-2, 2:]
    after = np.maximum(half[:, 2:, 1:-1], half[:, 2:, 2:])
    after = np.maximum(after, half[:, 1:-1, 2:])
    highest &= core > after
    highest &= core > half[:, 2:, :-2]
    return highest


def _parabola_tops(maps: np.ndarray, unit: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return offsets (x, y) of the tops of parabolas through maxima and their neighbours, bins."""
    centre = maps[unit, y, x]
    tops = []
    for dy, dx in ((0, 1), (1, 0)):
        after, before = maps[unit, y + dy, x + dx], maps[unit, y - dy, x - dx]
        bend = np.maximum(2 * centre - after - before, 1e-12)
        tops.append(np.clip((after - before) / (2 * bend), -0.5, 0.5))
    return np.stack(tops, axis=-1)


def _nearest_first(
    unit: np.ndarray, peaks: np.ndarray, weight: np.ndarray, num_units: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pad a ragged list of peaks to arrays [N, K, 2] and [N, K], nearest first in each unit."""
    order = np.lexsort((np.hypot(*peaks.T), unit))
    unit, peaks, weight = unit[order], peaks[order], weight[order]
    rank = np.arange(len(unit)) - np.searchsorted(unit, unit)
    kept = rank < PEAKS
    padded = np.full((num_units, PEAKS, 2), np.nan)
    weights = np.zeros((num_units, PEAKS))
    padded[unit[kept], rank[kept]] = peaks[kept]
    weights[unit[kept], rank[kept]] = weight[kept]
    return padded, weights


def sample(maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate centred maps at lags, bilinearly.

    Args:
        maps: [N, 2y - 1, 2x - 1], lag 0 in the middle.
        points: [N, ..., 2], lags (x, y) in bins.

    Returns:
        [N, ...]; NaN outside the map and beside a NaN.
    """
    rows, columns = maps.shape[1:]
    return _bilinear(maps, points[..., 0] + columns // 2, points[..., 1] + rows // 2)


def _sample_half(half: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate maps that are their own mirror images at lags, from halves of `smooth_half`."""
    upper = np.where(points[..., 1:] < 0, -points, points)
    return _bilinear(half, upper[..., 0] + half.shape[2] // 2, upper[..., 1] + 1)


def _bilinear(maps: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate maps [N, y, x] at places [N, ...] in bins, bilinearly; NaN outside."""
    rows, columns = maps.shape[1:]
    inside = (x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1)
    x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
    left, below = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
    right, above = x - left, y - below
    start = np.arange(len(maps)).reshape((-1,) + (1,) * (x.ndim - 1)) * (rows * columns)
    corner = start + below * columns + left
    flat = maps.reshape(-1)
    value = (1 - above) * ((1 - right) * flat[corner] + right * flat[corner + 1])
    value += above * ((1 - right) * flat[corner + columns] + right * flat[corner + columns + 1])
    return np.where(inside, value, np.nan)


def cell_area(basis: np.ndarray) -> np.ndarray:
    """Return the area [...] of the cells of bases [..., 2, 2]; NaN for NaN, without a warning."""
    return np.abs(basis[..., 0, 0] * basis[..., 1, 1] - basis[..., 0, 1] * basis[..., 1, 0])


def find_axes(correlograms: np.ndarray) -> np.ndarray:
    """Find the three axes of the lattice in each autocorrelogram, in bins.

    Each pair of near peaks is a possible basis. Of the pairs whose lattice points are (nearly) as
    high as those of the best pair, the one with the smallest unit cell is taken. Least squares over
    the peaks of three shells then places it to a fraction of a bin.

    Args:
        correlograms: [N, 2y - 1, 2x - 1], lag 0 in the middle.

    Returns:
        [N, 3, 2], the three shortest lattice vectors (x, y), each in the upper half plane, by
        angle; NaN where fewer than two peaks stand in different directions.
    """
    return refine_axes(*first_basis(correlograms))


def first_basis(correlograms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pick a basis from the peaks of each autocorrelogram.

    Args:
        correlograms: [N, 2y - 1, 2x - 1], lag 0 in the middle.

    Returns:
        basis [N, 2, 2], NaN where there is no pair; peaks [N, K, 2] and weights [N, K] as of
        `find_peaks`.
    """
    half = smooth_half(correlograms)
    peaks, weights = find_peaks(half)
    return _choose_basis(half, peaks), peaks, weights


def refine_axes(basis: np.ndarray, peaks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Place the lattices of `first_basis` by all their peaks, and return their axes [N, 3, 2]."""
    for reach in (1.6, 2.4, 3.2):
        basis = reduce_basis(_fit_basis(basis, peaks, weights, reach))
    return three_axes(basis)


def _choose_basis(half: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return basis vectors [N, 2, 2] picked from the nearest peaks; NaN where there is no pair."""
    pairs = peaks[:, _PAIRS]  # [N, C, 2, 2]
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    points = np.stack([first, second, first - second, first + second], axis=2)
    heights = _sample_half(half, np.nan_to_num(points, nan=np.inf))  # [N, C, 4]
    seen = np.isfinite(heights)
    mean = np.where(seen, heights, 0.0).sum(-1) / np.maximum(seen.sum(-1), 1)
    area = cell_area(pairs)
    spread = area / np.maximum(np.prod(np.linalg.norm(pairs, axis=-1), axis=-1), 1e-12)
    valid = (seen.sum(-1) >= 3) & (spread > 0.35)  # at least 20 degrees apart
    mean = np.where(valid, mean, -np.inf)
    good = valid & (mean >= 0.75 * mean.max(axis=1, keepdims=True))
    best = np.argmin(np.where(good, area, np.inf), axis=1)
    chosen = pairs[np.arange(len(pairs)), best]
    return np.where(good.any(axis=1)[:, None, None], chosen, np.nan)


def _fit_basis(
    basis: np.ndarray, peaks: np.ndarray, weights: np.ndarray, reach: float
) -> np.ndarray:
    """Fit bases [N, 2, 2] by least squares to peaks within `reach` shortest vectors of lag 0."""
    known = max(int((weights > 0).sum(axis=1).max(initial=0)), 1)  # peaks, at most
    peaks, weights = peaks[:, :known], weights[:, :known]
    predicted = _STEPS @ basis  # [N, L, 2]
    square_length = (basis**2).sum(axis=-1).min(axis=-1)[:, None]
    both = np.concatenate([peaks, -peaks], axis=1)  # [N, 2K, 2]
    across, up = (both[:, None, :, k] - predicted[:, :, None, k] for k in (0, 1))  # [N, L, 2K]
    distance = np.nan_to_num(across**2 + up**2, nan=np.inf)
    nearest = distance.argmin(axis=-1)[..., None]
    gap = np.concatenate(
        [np.take_along_axis(part, nearest, axis=2) for part in (across, up)], axis=2
    )
    matched = np.take_along_axis(distance, nearest, axis=2)[..., 0] < 0.3**2 * square_length
    matched &= (predicted**2).sum(axis=-1) < reach**2 * square_length
    weight = np.where(matched, np.take_along_axis(weights, nearest[..., 0] % known, axis=1), 0.0)
    # A matrix product would round differently for another number of units.
    normal = (weight[..., None] * _SQUARES).sum(axis=1).reshape(-1, 2, 2)
    moment = _STEPS.T @ (weight[..., None] * np.where(matched[..., None], gap, 0.0))
    solvable = cell_area(normal) > 1e-6
    normal = np.where(solvable[:, None, None], normal, np.eye(2))
    return basis + np.where(solvable[:, None, None], np.linalg.solve(normal, moment), 0.0)


def reduce_basis(basis: np.ndarray) -> np.ndarray:
    """Reduce bases [N, 2, 2] to the two shortest vectors, shorter first (Lagrange and Gauss)."""
    first, second = _shorter_first(basis[:, 0], basis[:, 1])
    for _ in range(8):  # far more rounds than vectors of the first three shells need
        square = np.maximum((first**2).sum(-1, keepdims=True), 1e-12)
        turns = np.round((first * second).sum(-1, keepdims=True) / square)
        if not (np.abs(turns) > 0).any():
            break
        first, second = _shorter_first(first, second - turns * first)
    return np.stack([first, second], axis=1)


def _shorter_first(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Swap vectors [N, 2] where the second is shorter."""
    swap = ((first**2).sum(-1) > (second**2).sum(-1))[:, None]
    return np.where(swap, second, first), np.where(swap, first, second)


def three_axes(basis: np.ndarray) -> np.ndarray:
    """Return the three shortest vectors [N, 3, 2] of reduced bases: upper half plane, by angle."""
    first, second = basis[:, 0], basis[:, 1]
    acute = (first * second).sum(-1, keepdims=True) > 0
    third = np.where(acute, second - first, second + first)
    axes = np.stack([first, second, third], axis=1)
    angle = np.mod(np.arctan2(axes[..., 1], axes[..., 0]), np.pi)
    length = np.linalg.norm(axes, axis=-1)
    order = np.argsort(angle, axis=-1)
    angle, length = np.take_along_axis(angle, order, 1), np.take_along_axis(length, order, 1)
    return length[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def ellipse_form(axes: np.ndarray) -> np.ndarray:
    """Solve for the symmetric forms [N, 2, 2] with v'Mv = 1 on all three axes [N, 3, 2].

    In the basis (a, b) with the third axis b - a, that form is u^2 + uv + v^2 for every shape.
    """
    basis = axes[:, [0, 2]]  # by angle, the middle axis is the sum of the outer two
    hexagon = np.array([[1.0, -0.5], [-0.5, 1.0]])
    known = (cell_area(basis) > 1e-9)[:, None, None]
    inverse = np.linalg.inv(np.where(known, basis, np.eye(2)))
    return np.where(known, inverse @ hexagon @ np.swapaxes(inverse, 1, 2), np.nan)


def shortest_pair(axes: np.ndarray) -> np.ndarray:
    """Return the two shortest of three axes: basis vectors [N, 2, 2] of the lattice."""
    order = np.argsort(np.linalg.norm(axes, axis=-1), axis=-1, kind="stable")[:, :2]
    return np.take_along_axis(axes, order[..., None], axis=1)


def orientation_deg(axes: np.ndarray) -> np.ndarray:
    """Return the circular mean [N] of the three axes' angles mod 60, degrees in [0, 60)."""
    angle = np.arctan2(axes[..., 1], axes[..., 0])
    mean = np.exp(6j * angle).mean(axis=-1)
    return np.mod(np.rad2deg(np.angle(mean)) / 6, 60.0)


def ellipse(axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return aspect and tilt of the ellipse through the six nearest fields.

    Args:
        axes: [N, 3, 2], any unit of length.

    Returns:
        aspect [N], long over short semi-axis (1 for a regular hexagon); tilt [N], direction of the
        long one, degrees in [0, 180). NaN where the axes are.
    """
    form = ellipse_form(axes)
    known = np.isfinite(form).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(known[:, None, None], form, np.eye(2)))
    tilt = np.mod(np.rad2deg(np.arctan2(vectors[:, 1, 0], vectors[:, 0, 0])), 180.0)
    aspect = np.sqrt(values[:, 1] / values[:, 0])  # the long semi-axis has the small eigenvalue
    return np.where(known, aspect, np.nan), np.where(known, tilt, np.nan)


def relative_strain(candidates: np.ndarray, bases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write lattices [C, 2, 2] as integer matrices times bases [..., K, 2, 2], up to an error.

    F is the linear map from the rounded lattice to the given one. The error is the norm of F - 1:
    the largest displacement of a point, relative to its distance. It does not depend on the bases.

    Returns:
        matrices [..., C, K, 2, 2] (whole numbers) and errors [..., C, K]; inf where a matrix is
        singular.
    """
    fine = bases[..., None, :, :, :]
    target = candidates[:, None]
    matrices = np.rint(target @ np.linalg.inv(fine))
    rounded = matrices @ fine
    singular = cell_area(matrices) < 0.5
    rounded = np.where(singular[..., None, None], np.eye(2), rounded)
    strain = np.linalg.inv(rounded) @ target - np.eye(2)
    (a, b), (c, d) = np.moveaxis(strain, (-2, -1), (0, 1))
    largest = (np.hypot(a + d, b - c) + np.hypot(a - d, b + c)) / 2  # singular value of a 2 x 2
    return matrices, np.where(singular, np.inf, largest)


def squareness(axes: np.ndarray) -> np.ndarray:
    """Return how far a lattice's shape lies from a regular hexagon (0) towards a square (1).

    The shape is the ratio tau = b / a of the two shortest vectors as complex numbers: e^(i 60) for
    the hexagon, i for the square. Distances are hyperbolic, the natural ones between lattice
    shapes.

    Args:
        axes: [N, 3, 2], any unit of length.

    Returns:
        [N], d(tau, hexagon) / (d(tau, hexagon) + d(tau, square)).
    """
    pair = shortest_pair(axes)
    known = cell_area(pair) > 0
    pair = np.where(known[:, None, None], pair, np.eye(2))
    first, second = pair[:, 0], pair[:, 1]
    square_length = (first**2).sum(-1)
    # b / a = (a.b + i |a x b|) / |a|^2, up to mirror images and signs, which are the same shape.
    tau = (np.abs((first * second).sum(-1)) + 1j * cell_area(pair)) / square_length
    hexagon, square = (_hyperbolic(tau, point) for point in (np.exp(1j * np.pi / 3), 1j))
    return np.where(known, hexagon / (hexagon + square), np.nan)


def _hyperbolic(first: np.ndarray, second: complex) -> np.ndarray:
    """Return distances in the upper half plane."""
    height = np.maximum(2 * first.imag * second.imag, 1e-12)
    return np.arccosh(1 + np.abs(first - second) ** 2 / height)
