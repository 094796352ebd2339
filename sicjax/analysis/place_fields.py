"""Place fields: the share of a map that one compact field explains, compared with noise.

Letters: N units; S surrogates; y, x bins of a map; j, i centres of a field along y and x.

The fit uses square roots of rates. The noise of a count grows with the rate, but the noise of its
root does not, so a bin with few visits has little influence. A field is a Gaussian; its root is a
Gaussian, too, wider by the root of 2. The highest correlation of the map with any single Gaussian
separates a field from smooth noise. A surrogate with the map's spectrum has several bumps of the
same width and roughness, so no single bump explains as much.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sicjax.analysis.kinds import PLACE_AREA, is_single, spatial_share
from sicjax.analysis.shuffles import random_signs, spectral_noise
from sicjax.progress import track

SURROGATES = 99  # surrogates; the map must exceed all, which 1 in 100 maps of noise does
MOST_BINS = 50  # most bins a side; finer maps are averaged over squares of bins
SMALLEST, LARGEST = 2.0, 0.5  # standard deviations tried: in bins of the map; of its side
PER_OCTAVE, SPACING = 4, 0.75  # sizes tried; distance of centres tried, in standard deviations
LEAST_SEEN = 0.5  # least visited share of a field that is tried
NOISE_ERRORS = 2  # standard errors by which neighbouring bins must agree beyond white noise


class Templates(NamedTuple):
    """Gaussian fields of one size; in two dimensions they are products of two of `along`."""

    area: float  # share of the box above half its height, if the field were all inside
    along: np.ndarray  # [j, y], the same along x
    scale: np.ndarray  # [j, i] 1 over the norm of the deviations in visited bins; 0: not tried


class Field(NamedTuple):
    """The one Gaussian field that fits the roots of a map best."""

    share: float  # share of their variance that it explains
    next_share: float  # share that the best second field explains
    area: float  # the area of its template


def place_units(
    ratemaps: np.ndarray, rng: np.random.Generator, *, progress: bool = False
) -> np.ndarray:
    """Return which maps [N] hold one place field and nothing else.

    The best field explains at least 60 % of the variance that position explains, and the next one
    at most a quarter of that. At half its height it fills less than a third of the box; the part
    beyond the walls counts, too. It fits better than the best field in each of 99 surrogates.

    Args:
        ratemaps: [N, bins, bins], NaN where unvisited; none constant.
        rng: random generator. All maps share its draws, so that the verdict on one map does not
            depend on the others.
        progress: whether a bar is shown.
    """
    bins = ratemaps.shape[1]
    square = -(-bins // MOST_BINS)
    signs = random_signs(SURROGATES, -(-bins // square), rng)
    found = np.zeros(len(ratemaps), dtype=bool)
    for n, ratemap in enumerate(track(ratemaps, "place fields", show=progress)):
        roots = _coarse_roots(ratemap, square)
        visited = np.isfinite(roots)
        templates = _templates(visited.tobytes(), len(roots), SMALLEST / square)
        deviations = np.where(visited, roots - roots[visited].mean(), 0).astype(np.float32)
        spatial, field = spatial_share(roots), fit_field(deviations, visited, templates)
        found[n] = (
            spatial > NOISE_ERRORS / np.sqrt(2 * visited.sum())
            and is_single(field.share, field.next_share, spatial)
            and field.area < PLACE_AREA
            and _exceeds_noise(deviations, visited, templates, signs)
        )
    return found


def fit_field(
    deviations: np.ndarray, visited: np.ndarray, templates: tuple[Templates, ...]
) -> Field:
    """Fit the best single Gaussian field, and a second one to the remainder.

    Args:
        deviations: [y, x] of the roots of rates from their mean; 0 where unvisited.
        visited: [y, x] bool.
        templates: the fields to try.
    """
    total = (deviations**2).sum()
    area, first = _best(deviations, visited, templates)
    _, following = _best(deviations - first, visited, templates)
    return Field(
        share=float((first**2).sum() / total),
        next_share=float((following**2).sum() / total),
        area=area,
    )


def _best(
    deviations: np.ndarray, visited: np.ndarray, templates: tuple[Templates, ...]
) -> tuple[float, np.ndarray]:
    """Return the area of the best field, and the deviations [y, x] that it explains."""
    fits = [_projections(deviations, size) for size in templates]
    size = int(np.argmax([fit.max() for fit in fits]))
    j, i = np.unravel_index(np.argmax(fits[size]), fits[size].shape)
    area, along, scale = templates[size]
    gaussian = np.outer(along[j], along[i])
    explained = np.where(visited, gaussian - gaussian[visited].mean(), np.float32(0))
    return area, fits[size][j, i] * scale[j, i] * explained


def _projections(deviations: np.ndarray, templates: Templates) -> np.ndarray:
    """Return the products [..., j, i] of deviations [..., y, x] with fields of norm 1."""
    return templates.along @ deviations @ templates.along.T * templates.scale


def _exceeds_noise(
    deviations: np.ndarray,
    visited: np.ndarray,
    templates: tuple[Templates, ...],
    signs: np.ndarray,
) -> bool:
    """Return whether a map's best field fits better than the best field of every surrogate."""
    noise = spectral_noise(deviations, signs) * visited
    noise = (noise - noise.sum(axis=(1, 2), keepdims=True) / visited.sum()) * visited
    maps = np.concatenate([deviations[None], noise])
    # Half of the sizes are enough for this comparison, in half of the time.
    fits = [_projections(maps, size).max(axis=(1, 2)) for size in templates[::2]]
    correlation = np.max(fits, axis=0) / np.linalg.norm(maps, axis=(1, 2))
    return bool(correlation[0] > correlation[1:].max())


def _coarse_roots(ratemap: np.ndarray, square: int) -> np.ndarray:
    """Return roots of rates [y, x], averaged over the visited bins of squares; NaN without any.

    If some rates are negative, the lowest counts as 0: such maps are not of spikes.
    """
    edge = -len(ratemap) % square
    roots = np.sqrt(ratemap - min(np.nanmin(ratemap), 0.0))
    padded = np.pad(roots, (0, edge), constant_values=np.nan)
    side = len(padded) // square
    bins = padded.reshape(side, square, side, square).swapaxes(1, 2).reshape(side, side, -1)
    count = np.isfinite(bins).sum(axis=-1)
    return np.where(count, np.nansum(bins, axis=-1) / np.maximum(count, 1), np.nan)


@lru_cache(maxsize=4)
def _templates(visited: bytes, bins: int, smallest: float) -> tuple[Templates, ...]:
    """Return the fields to try, from small to large, in maps with one mask (given as bytes)."""
    mask = np.frombuffer(visited, dtype=bool).reshape(bins, bins).astype(np.float32)
    octaves = np.log2(max(LARGEST * bins / smallest, 1))
    # Counted from the largest, so that the largest allowed size does not depend on the bins.
    widths = LARGEST * bins / 2 ** (np.arange(int(PER_OCTAVE * octaves) + 1) / PER_OCTAVE)
    return tuple(_of_one_width(mask, width) for width in widths[::-1])


def _of_one_width(mask: np.ndarray, width: float) -> Templates:
    bins = len(mask)
    centres = np.linspace(0, bins - 1, int(np.ceil((bins - 1) / (SPACING * width))) + 1)
    along = np.exp(-((np.arange(bins) - centres[:, None]) ** 2) / (2 * width**2)).astype(np.float32)
    total, square = along @ mask @ along.T, along**2 @ mask @ (along**2).T
    energy = (along**2).sum(axis=1)
    tried = square > LEAST_SEEN * energy.min() ** 2
    norm = np.sqrt(np.maximum(square - total**2 / mask.sum(), np.finfo(np.float32).tiny))
    area = np.pi * np.log(2) * (width / bins) ** 2  # the rate's width is smaller by the root of 2
    return Templates(area, along, np.where(tried, 1 / norm, 0).astype(np.float32))
