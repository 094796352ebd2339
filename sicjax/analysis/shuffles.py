"""Nulls of a map: its own fields at random places, and noise with its own spectrum.

Letters: N units; S shuffles; K fields; y, x bins of a map.
"""

from typing import Any

import numpy as np
from scipy import fft

from sicjax.analysis.firing_fields import find_fields
from sicjax.analysis.grid_score import score_chunks
from sicjax.errors import brief
from sicjax.progress import track

CANDIDATES = 12  # places tried for each field; the first free one is used


def generator(key: Any = None, seed: Any = 0) -> np.random.Generator:
    """Return the NumPy generator of a JAX key or of a seed.

    Args:
        key: typed, or the older pair of uint32; None uses the seed.
        seed: a whole number from 0; `jax.random.key(seed)` gives the same generator.

    Raises:
        ValueError: the key is not a JAX key, or the seed is not a whole number from 0.
    """
    if key is None:
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not (whole and 0 <= seed < 2**32):
            raise ValueError(f"seed is {brief(seed)}; it must be a whole number below 2**32")
        # These are the two words of jax.random.key(seed).
        return np.random.default_rng(np.array([0, seed], np.uint32))
    import jax

    if jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    words = np.asarray(key)
    if words.dtype != np.uint32 or words.ndim != 1:
        raise ValueError(
            f"key is {brief(key)}; it must be one JAX key, such as jax.random.key(0), or give seed="
        )
    return np.random.default_rng(words)


def field_shuffles(ratemap: np.ndarray, num_shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle a map by moving each field as a whole to a random place (Barry & Burgess 2017).

    A field is the part of its basin that is higher than half-way between the map's floor (5th
    percentile) and the field's peak. Peaks are placed in the box at random; a few tries look for a
    place without overlap. The other bins get random rates from outside all fields. Fields keep
    their shape and number but lose their arrangement.

    Args:
        ratemap: [y, x], NaN where unvisited.
        num_shuffles: S.
        rng: the random generator.

    Returns:
        [S, y, x] float32, NaN where the map is unvisited.
    """
    patches, outside = _cut_fields(ratemap)
    rows, columns = ratemap.shape
    floor = rng.choice(outside, size=(num_shuffles, rows * columns)).astype(np.float32)
    painted = np.full((num_shuffles, rows * columns), -np.inf, dtype=np.float32)
    places = _scatter(patches, np.isfinite(ratemap), num_shuffles, rng)
    for (offsets, rates), place in zip(patches, places, strict=True):
        y, x = (place[:, axis, None] + offsets[None, :, axis] for axis in (0, 1))
        inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        shuffle = np.broadcast_to(np.arange(num_shuffles)[:, None], y.shape)[inside]
        value = np.broadcast_to(rates, y.shape)[inside]
        np.maximum.at(painted, (shuffle, (y * columns + x)[inside]), value)
    shuffled = np.where(np.isfinite(painted), painted, floor).reshape(-1, rows, columns)
    return np.where(np.isfinite(ratemap), shuffled, np.float32(np.nan))


def _cut_fields(ratemap: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Return offsets [B, 2] (y, x) and rates [B] of each field, and rates outside the fields."""
    fields = find_fields(ratemap)
    floor = np.nanpercentile(ratemap, 5)
    free = np.isfinite(ratemap)
    patches = []
    for field in range(1, len(fields.peaks) + 1):
        basin = fields.basins == field
        level = (ratemap[basin].max() + floor) / 2
        inside = basin & (ratemap > level)
        bins = np.argwhere(inside)
        rates = ratemap[inside].astype(np.float32)
        patches.append((bins - bins[np.argmax(rates)], rates))
        free &= ~inside
    return patches, ratemap[free] if free.any() else np.array([floor])


def _scatter(
    patches: list[tuple[np.ndarray, np.ndarray]],
    visited: np.ndarray,
    num_shuffles: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw peaks [K, S, 2] (y, x) in visited bins, without overlap where a try succeeds."""
    radius = np.array([np.sqrt(len(rates) / np.pi) for _, rates in patches])
    places = np.empty((len(patches), num_shuffles, 2), dtype=int)
    for field in range(len(patches)):
        tries = rng.integers(0, visited.shape, size=(CANDIDATES, num_shuffles, 2))
        placed = np.zeros(num_shuffles, dtype=bool)
        places[field] = tries[-1]
        for spot in tries:
            seen = visited[spot[:, 0], spot[:, 1]] & ~placed
            gap = np.linalg.norm(spot - places[:field], axis=-1) - radius[:field, None]
            places[field, seen] = spot[seen]
            placed |= seen & (gap.min(axis=0, initial=np.inf) >= radius[field])
            if placed.all():
                break
    return places


def shuffled_scores(
    ratemaps: np.ndarray, num_shuffles: int, rng: np.random.Generator, *, progress: bool = False
) -> np.ndarray:
    """Score field shuffles of every map exactly as the maps themselves are scored.

    Args:
        ratemaps: [N, y, x], each with at least one field.
        num_shuffles: S.
        rng: the random generator.
        progress: whether to show a bar.

    Returns:
        [N, S, 3]: grid score, corrected grid score, square score. A shuffle without a lattice gets
        the lowest score, -2.
    """
    scores = np.empty((len(ratemaps), num_shuffles, 3))
    for n, ratemap in enumerate(track(ratemaps, "field shuffles", show=progress)):
        scores[n] = score_chunks(field_shuffles(ratemap, num_shuffles, rng))[1]
    return np.nan_to_num(scores, nan=-2.0)


def random_signs(num_shuffles: int, bins: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the signs [S, bins, bins] float32, 1 or -1, for `spectral_noise`."""
    return np.where(rng.integers(0, 2, (num_shuffles, bins, bins), dtype=np.int8), 1, -1).astype(
        np.float32
    )


def spectral_noise(deviations: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Draw noise with the power spectrum of one map: its cosine series with random signs.

    Random phases of a Fourier series (Theiler et al. 1992) would treat opposite walls as adjacent.
    If a map rises from wall to wall, the jump between them would become noise of all wavelengths. A
    cosine series mirrors the map at its walls instead.

    Args:
        deviations: [y, x] float32, deviations from the mean; 0 where unvisited.
        signs: [S, y, x], from `random_signs`.

    Returns:
        [S, y, x] float32.
    """
    series = fft.dctn(deviations, norm="ortho")
    return fft.idctn(series * signs, axes=(1, 2), norm="ortho")
