"""Spatial autocorrelograms of rate maps, with unvisited bins left out.

Letters: N units; y, x bins of a map; a lag is a displacement in bins.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft


def autocorrelogram(ratemaps: ArrayLike, *, min_overlap: int = 20) -> np.ndarray:
    """Return the Pearson correlation of each map with its own copy, shifted by every lag.

    At each lag the correlation runs over the bins that are visited in both copies (Sargolini et al.
    2006, equation in the supplement; the bound of 20 bins is theirs too).

    Args:
        ratemaps: [..., y, x], NaN where unvisited.
        min_overlap: lags with fewer common bins than this are NaN.

    Returns:
        [..., 2y - 1, 2x - 1] in [-1, 1], in the maps' own precision; lag 0 is at
        [..., y - 1, x - 1]. NaN where too few bins overlap, and where one copy is constant over the
        overlap. A constant map gives NaN everywhere.

    Raises:
        ValueError: fewer than two axes, or `min_overlap` below 2.
    """
    maps = np.asarray(ratemaps)
    maps = maps.astype(np.result_type(maps, np.float32), copy=False)
    if maps.ndim < 2:
        raise ValueError(f"ratemaps has shape {maps.shape}; it must be [..., y, x]")
    if min_overlap < 2:
        raise ValueError(f"min_overlap is {min_overlap}; a correlation needs at least 2 bins")
    visited = np.isfinite(maps)
    values = _standardise(maps, visited)

    # Wiener-Khinchin: a correlation at all lags is a product of spectra. Padding to twice the size
    # keeps opposite walls from meeting.
    rows, columns = maps.shape[-2:]
    padded = [fft.next_fast_len(2 * n - 1, real=True) for n in (rows, columns)]
    turn = _turn_to_the_middle(rows, columns, padded).astype(np.result_type(maps, np.complex64))

    def correlate(copy: np.ndarray, *shifted: np.ndarray) -> list[np.ndarray]:
        spectrum = fft.rfft2(copy, s=padded)
        conjugate = turn * np.conj(spectrum)
        products = (
            (spectrum if other is copy else fft.rfft2(other, s=padded)) * conjugate
            for other in shifted
        )
        window = (..., slice(2 * rows - 1), slice(2 * columns - 1))
        return [fft.irfft2(product, s=padded)[window] for product in products]

    (product,) = correlate(values, values)
    if visited.all():  # sums over rectangles
        count = np.outer(*(_overlaps(number, maps.dtype) for number in (rows, columns)))
        total, square = _rectangle_sums(np.stack([values, values**2]))
    else:
        weight = visited.astype(maps.dtype)
        count, total, square = correlate(weight, weight, values, values**2)
        count = np.rint(count)
    # An autocorrelogram is its own mirror image, so half of it is computed.
    half = _pearson(count, total, square, product, min_overlap)
    return np.concatenate([half[..., :0:-1, ::-1], half], axis=-2)


def _overlaps(number: int, dtype: np.dtype) -> np.ndarray:
    """Return how many of a row's bins overlap with its copy's at each lag [2 number - 1]."""
    return number - np.abs(np.arange(1 - number, number, dtype=dtype))


def _rectangle_sums(values: np.ndarray) -> np.ndarray:
    """Return the sum [..., 2y - 1, 2x - 1] over the overlap at each lag, of the copy at +lag.

    A copy at lag d < 0 overlaps with its first n + d bins, at d >= 0 with its last n - d.
    """
    down, across = (_overlapping(n).astype(values.dtype) for n in values.shape[-2:])
    return down @ (values @ across.T)


def _overlapping(number: int) -> np.ndarray:
    """Return whether a bin of a row overlaps with its copy at each lag, [2 number - 1, number]."""
    lag, place = np.arange(1 - number, number)[:, None], np.arange(number)
    return (place >= lag) & (place < number + lag)


def _standardise(maps: np.ndarray, visited: np.ndarray) -> np.ndarray:
    """Return zero mean and unit variance over the visited bins, and 0 in the others."""
    count = np.maximum(visited.sum(axis=(-2, -1), keepdims=True, dtype=maps.dtype), 1)
    mean = np.where(visited, maps, 0).sum(axis=(-2, -1), keepdims=True) / count
    centred = np.where(visited, maps - mean, 0)
    scale = np.sqrt((centred**2).sum(axis=(-2, -1), keepdims=True) / count)
    varies = scale > 16 * np.finfo(maps.dtype).eps * np.abs(mean)
    return np.where(varies, centred / np.where(varies, scale, 1), 0)


def _turn_to_the_middle(rows: int, columns: int, padded: list[int]) -> np.ndarray:
    """Return the phases [ky, kx] of a real FFT that move lag 0 to the bin (y - 1, x - 1)."""
    down = np.exp(-2j * np.pi * fft.fftfreq(padded[0]) * (rows - 1))
    return down[:, None] * np.exp(-2j * np.pi * fft.rfftfreq(padded[1]) * (columns - 1))


def _pearson(
    count: np.ndarray, total: np.ndarray, square: np.ndarray, product: np.ndarray, min_overlap: int
) -> np.ndarray:
    """Return Pearson r of the half plane y >= 0.

    The sums of the other copy are those of the opposite lag.

    Args:
        count, total, square, product: sums over the overlap [..., 2y - 1, 2x - 1], of the copy at
            +lag.
        min_overlap: lags with fewer common bins than this are NaN.
    """
    middle = product.shape[-2] // 2
    count, product = count[..., middle:, :], product[..., middle:, :]
    inverse = 1 / np.maximum(count, 1)
    here, opposite = total[..., middle:, :] * inverse, total[..., middle::-1, ::-1] * inverse
    variance = square[..., middle:, :] * inverse - here * here
    variance_opposite = square[..., middle::-1, ::-1] * inverse - opposite * opposite
    # A variance (in units of the whole map's) below the rounding of its sums counts as 0.
    smallest = 1e3 * np.finfo(count.dtype).eps
    defined = (count >= min_overlap) & (variance > smallest) & (variance_opposite > smallest)
    covariance = product * inverse - here * opposite
    with np.errstate(invalid="ignore", divide="ignore"):  # where it is not defined
        r = covariance / np.sqrt(variance * variance_opposite)
    return np.where(defined, np.clip(r, -1, 1), np.array(np.nan, r.dtype))
