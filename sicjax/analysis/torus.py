"""Test whether the activity of one module is a torus: cohomology, circular coordinates, rings.

Letters: N units; P points (visited bins); L landmarks; S shuffles; y, x bins of a map. After
Gardner et al. 2022 (Nature 602), applied to rate maps: one point per bin, and no noise over time to
remove. Smoothing and number of components follow the module's period. If fields are small compared
with the period, most of the variance lies beyond the six principal components of that paper, and a
perfect lattice then shows no torus. If bins are small compared with it, the sheet of states is too
rough for the landmarks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from ripser import ripser
from scipy import ndimage, sparse
from sklearn.manifold import spectral_embedding

from sicjax.analysis.autocorrelogram import autocorrelogram
from sicjax.analysis.cohomology import FIELD, persistence_diagrams
from sicjax.analysis.lattice import find_axes
from sicjax.analysis.ratemaps import check_ratemaps, smooth_ratemaps
from sicjax.analysis.shuffles import generator
from sicjax.analysis.waves import fit_waves_together, wave_vectors
from sicjax.arguments import SHARE, at_least, check
from sicjax.progress import track

MIN_UNITS = 10  # fewest units of a module
MIN_LANDMARKS = 7  # no torus can be triangulated with fewer vertices
MIN_COMPONENTS = 6  # of the PCA: three waves, a cosine and a sine each, as in Gardner et al.
VARIANCE = 0.9  # least share of the variance in the components kept
MIN_SMOOTHING = 1.5  # bins: removes noise that differs from bin to bin
SMOOTHING = 0.07  # of the period: small compared with any field
NULL_LANDMARKS, EMBEDDED = 150, 800
TORUS = (1, 2, 1)


@dataclass(frozen=True)
class TorusTest:
    """The shape of one module's activity."""

    diagrams: tuple[np.ndarray, np.ndarray, np.ndarray]  # H0, H1, H2: [bars, 2] birth and death
    # Lengths of the bars, longest first, H0 to H2, with the null's number of landmarks.
    lifetimes: tuple[np.ndarray, np.ndarray, np.ndarray]
    null_lifetimes: np.ndarray  # [S, 3], longest finite bar of each roll
    betti: (
        tuple[int, int, int] | None
    )  # number of bars longer than any of the null; None without one
    is_torus: bool | None  # whether `betti` is (1, 2, 1)
    bins: np.ndarray  # [P, 2] (iy, ix) of the points
    circular_coordinates: np.ndarray  # [P, 2] in [0, 1), of the two longest bars of H1, or NaN
    embedding: np.ndarray  # [E, 3] spectral embedding of the principal components kept
    embedding_points: np.ndarray  # [E] indices of the embedded points
    waves: np.ndarray  # [3, 2] the module's wave vectors (x, y), cycles per bin
    rings: np.ndarray  # [3, P, 2] cosine and sine of each wave, read from the activity
    ring_phases: np.ndarray  # [3, P] k.x mod 1 of each point
    explained: float  # share of the variance in the first six principal components
    num_components: int  # principal components kept
    smoothing_bins: float  # standard deviation of the Gaussian that smoothed the maps, bins


def torus_test(
    ratemaps_of_one_module: ArrayLike, *, num_shuffles: int = 20, seed: int = 0, key: Any = None,
    num_landmarks: int = 400, variance: float = VARIANCE, null_landmarks: int = NULL_LANDMARKS,
    progress: bool = True,
) -> TorusTest:  # fmt: skip
    """Test whether the population activity of one grid module is a torus.

    Every visited bin is a point. Maps are smoothed by 7 % of the module's period (at least 1.5
    bins) and z-scored. The principal components that hold 90 % of the variance are kept (at least
    six). Distances are cosine distances between landmarks, which are chosen greedily (150 for the
    null and the diagrams compared with it). The null rolls each unit's map by its own random shift.

    Args:
        ratemaps_of_one_module: [N, bins, bins], at least 10 units that vary; NaN where unvisited.
        num_shuffles: rolls of the null; with 20, the strongest possible statement is "one in 21".
            0 disables the null, so there is no verdict.
        seed: a whole number, for the rolls; the same as `key=jax.random.key(seed)`.
        key: a JAX key, instead of a seed.
        num_landmarks: landmarks of the diagrams, at least 7. H2 takes about 0.1 to 0.5 s for 150,
            0.5 to 2 s for 250 and 1 to 10 s for 400.
        variance: least share of the variance in the components kept. To test all modules together
            for one torus, keep all (1): the finer lattices are in the smaller components.
        null_landmarks: landmarks of the null and of the diagrams compared with it, at least 7. For
            modules tested together, 150 can be too few to find small loops; 250 find them.
        progress: whether to show a bar if the rolls take more than two seconds.

    Returns:
        A `TorusTest`.

    Raises:
        ValueError: maps that are not [N, bins, bins], fewer than 10 units that vary, fewer than
            100 bins visited for all units, or an impossible number of rolls or landmarks.

    Source: Gardner et al. 2022; de Silva et al. 2011 (circular coordinates). Smoothing and
        number of components by the module's period are ours.

    Example:
        >>> import numpy as np, sicjax
        >>> from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
        >>> lattice, phases = hexagonal_basis(0.8, 10), np.random.default_rng(0).random((40, 2))
        >>> maps = [lattice_map(lattice, box_m=2.4, bins=60, phase=phase) for phase in phases]
        >>> test = sicjax.torus_test(maps, num_shuffles=3, num_landmarks=80)
        >>> test.betti, test.embedding.shape
        ((1, 2, 1), (800, 3))
    """
    check("num_shuffles", num_shuffles, at_least(0))
    check("num_landmarks", num_landmarks, at_least(MIN_LANDMARKS))
    check("variance", variance, SHARE)
    check("null_landmarks", null_landmarks, at_least(MIN_LANDMARKS))
    maps = check_ratemaps(ratemaps_of_one_module)
    maps = maps[[np.isfinite(m).any() and np.nanstd(m) > 1e-9 for m in maps]]
    if len(maps) < MIN_UNITS:
        raise ValueError(
            f"ratemaps_of_one_module has {len(maps)} units that vary; needs {MIN_UNITS}"
        )
    bins = np.argwhere(np.isfinite(maps).all(axis=0))
    if len(bins) < 100:
        raise ValueError(f"ratemaps_of_one_module has {len(bins)} bins visited by all; needs 100")
    # Smoothing depends on the period, so the lattice is measured first, on barely smoothed maps.
    rng = generator(key, seed)
    axes = _common_axes(smooth_ratemaps(maps, MIN_SMOOTHING))
    smoothing = _smoothing(axes)
    maps = smooth_ratemaps(maps, smoothing)
    # Each bin is a point: its population vector, z-scored, reduced and scaled to length 1.
    points, shares = _directions(maps[:, bins[:, 0], bins[:, 1]].T, variance)
    kept = points.shape[1]
    landmarks = greedy_landmarks(points, num_landmarks)
    diagrams = _diagrams(points[landmarks])
    # Lengths of bars depend on the number of landmarks, so the null uses the same number.
    compared = diagrams
    if num_landmarks != null_landmarks:
        compared = _diagrams(points[greedy_landmarks(points, null_landmarks)])
    lifetimes = _lifetimes(compared[0]), _lifetimes(compared[1]), _lifetimes(compared[2])
    null = _roll_null(maps, bins, num_shuffles, kept, null_landmarks, rng, progress)
    betti = _betti(lifetimes, null) if num_shuffles else None
    # Landmarks are far apart, so a few of them also show the whole surface in the embedding.
    embedded = greedy_landmarks(points, EMBEDDED)
    waves, rings, ring_phases = _rings(maps, bins, axes)
    return TorusTest(
        diagrams=diagrams,
        lifetimes=lifetimes,
        null_lifetimes=null,
        betti=betti,
        is_torus=None if betti is None else betti == TORUS,
        bins=bins,
        circular_coordinates=circular_coordinates(points, landmarks),
        embedding=_embed(points[embedded]),
        embedding_points=embedded,
        waves=waves,
        rings=rings,
        ring_phases=ring_phases,
        explained=float(shares[:MIN_COMPONENTS].sum()),
        num_components=kept,
        smoothing_bins=smoothing,
    )


def _common_axes(maps: np.ndarray) -> np.ndarray:
    """Return axes [3, 2] in bins of the maps' mean autocorrelogram; NaN without a lattice."""
    correlograms = autocorrelogram(maps)
    seen = np.isfinite(correlograms)
    mean = np.where(seen, correlograms, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return find_axes(np.where(seen.any(axis=0), mean, np.nan)[None])[0]


def _smoothing(axes: np.ndarray) -> float:
    """Return the smoothing in bins for a module with these axes [3, 2]; the smallest if NaN."""
    period = float(np.linalg.norm(axes, axis=-1).mean())
    return max(MIN_SMOOTHING, SMOOTHING * period) if np.isfinite(period) else MIN_SMOOTHING


def _directions(
    activity: np.ndarray, variance: float = VARIANCE, num_components: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return PCA directions [P, D] of z-scored activity [P, N], and all variance shares.

    D is `num_components` if given, else the fewest components that hold `variance` (at least six).
    """
    scored = (activity - activity.mean(axis=0)) / activity.std(axis=0)
    left, values, _ = np.linalg.svd(scored, full_matrices=False)
    shares = values**2 / np.sum(values**2)
    enough = min(int(np.searchsorted(np.cumsum(shares), variance)) + 1, len(shares))
    kept = num_components or max(MIN_COMPONENTS, enough)
    reduced = left[:, :kept] * values[:kept]
    length = np.linalg.norm(reduced, axis=1, keepdims=True)
    return reduced / np.maximum(length, 1e-12), shares


def greedy_landmarks(points: np.ndarray, count: int) -> np.ndarray:
    """Pick indices [min(L, P)] of unit vectors [P, D], each the farthest from all earlier ones."""
    chosen = [0]
    nearest = points @ points[0]
    while len(chosen) < min(count, len(points)):
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, points @ points[chosen[-1]])
    return np.array(chosen)


def cosine_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return 1 - u.v for unit vectors [P, D] and [Q, D]; never below 0."""
    return np.maximum(1.0 - first @ second.T, 0.0)


def _distances(points: np.ndarray) -> np.ndarray:
    """Return symmetric cosine distances [P, P] with an exactly zero diagonal."""
    distance = cosine_distances(points, points)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0.0)
    return distance


def _diagrams(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return persistence diagrams H0 to H2 over Z/47 of unit vectors [L, D]."""
    return persistence_diagrams(_distances(points))


def _lifetimes(diagram: np.ndarray) -> np.ndarray:
    """Return the lengths of the bars, longest first; a bar that never ends is inf."""
    return np.sort(diagram[:, 1] - diagram[:, 0])[::-1]


def _roll_null(
    maps: np.ndarray, bins: np.ndarray, num_shuffles: int, num_components: int,
    num_landmarks: int, rng: np.random.Generator, progress: bool,
) -> np.ndarray:  # fmt: skip
    """Return the longest finite bars [S, 3] when each map is rolled by its own shift.

    The maps themselves set the number of components. Unvisited bins are first filled from their
    nearest visited bin: if they were rolled, too few common bins would remain.
    """
    whole = np.stack([_fill(m) for m in maps])
    longest = np.zeros((num_shuffles, 3))
    for s in track(range(num_shuffles), "rolled maps", show=progress):
        shifts = rng.integers(0, maps.shape[1:], size=(len(maps), 2))
        rolled = np.stack(
            [np.roll(m, shift, (0, 1)) for m, shift in zip(whole, shifts, strict=True)]
        )
        points, _ = _directions(rolled[:, bins[:, 0], bins[:, 1]].T, num_components=num_components)
        diagrams = _diagrams(points[greedy_landmarks(points, num_landmarks)])
        for k, diagram in enumerate(diagrams):
            lifetimes = _lifetimes(diagram)
            longest[s, k] = lifetimes[np.isfinite(lifetimes)].max(initial=0.0)
    return longest


def _fill(ratemap: np.ndarray) -> np.ndarray:
    """Return the map with every hole filled from its nearest visited bin."""
    nearest = ndimage.distance_transform_edt(
        ~np.isfinite(ratemap), return_distances=False, return_indices=True
    )
    return ratemap[tuple(nearest)]


def _betti(
    lifetimes: tuple[np.ndarray, np.ndarray, np.ndarray], null: np.ndarray
) -> tuple[int, int, int]:
    """Count the bars of each dimension that outlive every bar of the null."""
    h0, h1, h2 = (int(np.sum(bars > null[:, k].max())) for k, bars in enumerate(lifetimes))
    return h0, h1, h2


def circular_coordinates(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return angles along the two longest bars of H1 (de Silva et al. 2011).

    A cocycle over Z/47 is lifted to the integers. Least squares smooths it to a map from landmarks
    to the circle. The other points take the mean direction of their nearest landmarks.

    Args:
        points: [P, D], unit vectors.
        landmarks: [L], indices of points.

    Returns:
        [P, 2] in [0, 1); NaN if H1 has fewer than two bars.
    """
    distance = _distances(points[landmarks])
    result = ripser(distance, maxdim=1, coeff=FIELD, distance_matrix=True, do_cocycles=True)
    bars = result["dgms"][1]
    if len(bars) < 2:
        return np.full((len(points), 2), np.nan)
    gap = cosine_distances(points, points[landmarks])
    near = np.argpartition(gap, 5, axis=1)[:, :5]
    weight = 1.0 / (np.take_along_axis(gap, near, axis=1) + 1e-6)
    angles = []
    for bar in np.argsort(bars[:, 0] - bars[:, 1])[:2]:
        # Late in the bar's life many edges constrain the map, and the cocycle is not a boundary.
        scale = bars[bar, 0] + 0.9 * (bars[bar, 1] - bars[bar, 0])
        circle = np.exp(2j * np.pi * _smooth_cocycle(result["cocycles"][1][bar], distance, scale))
        angles.append(np.mod(np.angle((weight * circle[near]).sum(axis=1)) / (2 * np.pi), 1.0))
    return np.stack(angles, axis=-1) % 1.0


def _smooth_cocycle(cocycle: np.ndarray, distance: np.ndarray, scale: float) -> np.ndarray:
    """Return f [L] whose coboundary is closest to the lifted cocycle, on edges up to `scale`."""
    value = np.where(cocycle[:, 2] > FIELD // 2, cocycle[:, 2] - FIELD, cocycle[:, 2])
    alpha = np.zeros(distance.shape)
    alpha[cocycle[:, 0], cocycle[:, 1]] = value
    alpha[cocycle[:, 1], cocycle[:, 0]] = -value
    first, second = np.nonzero(np.triu(distance <= scale, 1))
    edge = np.arange(len(first))
    ones = np.ones(len(first))
    shape = (len(first), len(distance))
    coboundary = sparse.csr_array((ones, (edge, second)), shape=shape)
    coboundary -= sparse.csr_array((ones, (edge, first)), shape=shape)
    return sparse.linalg.lsqr(coboundary, alpha[first, second], atol=1e-8, btol=1e-8)[0]


def _embed(points: np.ndarray) -> np.ndarray:
    """Embed unit vectors [E, D] in 3-D by their spectrum; the tenth neighbour sets the kernel."""
    distance = _distances(points)
    tenth = np.median(np.sort(distance, axis=1)[:, min(10, len(points) - 1)])
    width = max(tenth, 0.05)  # distances are at most 2, so even the farthest points stay connected
    return spectral_embedding(np.exp(-distance / width), n_components=3, random_state=0)


def _rings(
    maps: np.ndarray, bins: np.ndarray, axes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read cosine and sine of the module's waves, of axes [3, 2], from the activity in each bin.

    Returns:
        wave vectors [3, 2] (x, y) in cycles per bin, rings [3, P, 2], phases k.x mod 1 [3, P]; NaN
        if the module's mean autocorrelogram has no lattice.
    """
    waves = wave_vectors(axes[None])[0]
    if not np.isfinite(waves).all():
        empty = np.full((3, len(bins)), np.nan)
        return np.full((3, 2), np.nan), np.repeat(empty[..., None], 2, axis=-1), empty
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in maps.shape[:0:-1])), axis=-1)
    amplitudes, _ = fit_waves_together(maps, waves, grid)
    third = 2 + int(np.argmax(np.abs(amplitudes[:, 2:]).mean(axis=0)))
    kept = [0, 1, third]
    activity = maps[:, bins[:, 0], bins[:, 1]]
    # Unit n is sum_j Re(c_nj) cos + Im(c_nj) sin: six patterns over units, fitted in each bin.
    patterns = np.concatenate([amplitudes[:, kept].real, amplitudes[:, kept].imag], axis=1)
    centred = activity - activity.mean(axis=1, keepdims=True)
    rings = np.linalg.lstsq(patterns, centred, rcond=None)[0].reshape(2, 3, -1).transpose(1, 2, 0)
    return waves[kept], rings, np.mod(bins[:, ::-1] @ waves[kept].T, 1.0).T
