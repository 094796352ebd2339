"""The nulls: a map's own fields put down at random, and noise that has a map's own spectrum.

Letters: N units; S shuffles; K fields; y, x bins of a map.
"""

from typing import Any

import numpy as np
from scipy import fft

from sicjax.analysis.firing_fields import find_fields
from sicjax.analysis.grid_score import score_chunks
from sicjax.progress import track

CANDIDATES = 12  # places tried for each field, the first free one is taken


def generator(key: Any = None, seed: Any = 0) -> np.random.Generator:
    """Return a NumPy generator that a JAX key or a seed determines.

    Args:
        key: typed, or the older pair of uint32; None takes the seed.
        seed: a whole number from 0; `jax.random.key(seed)` gives the same generator.

    Raises:
        ValueError: the key is no JAX key, or the seed no whole number.
    """
    if key is None:
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not (whole and 0 <= seed < 2**32):
            said = " ".join(repr(seed).split())[:80]
            raise ValueError(f"seed is {said}; it must be a whole number from 0 to 2**32 - 1")
        # These are the two words of jax.random.key(seed).
        return np.random.default_rng(np.array([0, seed], np.uint32))
    import jax

    if jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    words = np.asarray(key)
    if words.dtype != np.uint32 or words.ndim != 1:
        said = " ".join(repr(key).split())
        raise ValueError(
            f"key is {said}; it must be one JAX key, such as jax.random.key(0) (or give seed=)"
        )
    return np.random.default_rng(words)


def field_shuffles(ratemap: np.ndarray, num_shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle a map by moving each of its fields, whole, to a random place (Barry & Burgess 2017).

    A field is the part of its basin above the middle of its peak and the map's floor (5th
    percentile). Fields are put down in random order with their peaks in the box and, where one of a
    few tries finds such a place, without overlap; the rest of the map is filled with the rates that
    no field holds, in random order. Fields keep their shape and number; their arrangement is lost.

    Args:
        ratemap: [y, x], NaN where unvisited.
        num_shuffles: S.
        rng: the source of chance.

    Returns:
        [S, y, x] float32, with the holes of the map.
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
    """Return each field's offsets [B, 2] (y, x) and rates [B]; then the rates of no field."""
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
    """Draw peaks [K, S, 2] (y, x) in visited bins, fields apart wherever a try succeeds."""
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
        rng: the source of chance.
        progress: whether a bar is shown.

    Returns:
        [N, S, 3]: grid score, corrected grid score, square score; a shuffle without any lattice to
        score counts as the lowest score, -2.
    """
    scores = np.empty((len(ratemaps), num_shuffles, 3))
    for n, ratemap in enumerate(track(ratemaps, "field shuffles", show=progress)):
        scores[n] = score_chunks(field_shuffles(ratemap, num_shuffles, rng))[1]
    return np.nan_to_num(scores, nan=-2.0)


def random_signs(num_shuffles: int, bins: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the signs [S, bins, bins] float32, 1 or -1, that `spectral_noise` takes."""
    return np.where(rng.integers(0, 2, (num_shuffles, bins, bins), dtype=np.int8), 1, -1).astype(
        np.float32
    )


def spectral_noise(deviations: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Draw noise with the power spectrum of one map: its cosine series with random signs.

    The phases of a Fourier series can be drawn as well (Theiler et al. 1992), but that takes a map
    to go on beyond a wall at the opposite one: the step of a map that rises from wall to wall would
    become noise of all lengths. A cosine series goes on in a mirror.

    Args:
        deviations: [y, x] float32, from the mean; 0 where unvisited.
        signs: [S, y, x], of `random_signs`.

    Returns:
        [S, y, x] float32.
    """
    series = fft.dctn(deviations, norm="ortho")
    return fft.idctn(series * signs, axes=(1, 2), norm="ortho")
