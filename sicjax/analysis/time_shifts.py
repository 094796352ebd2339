"""Time shifts of spikes against the path: the null model of recorded cells.

Letters: K steps of 20 ms that count; D dimensions of the position; S shifts.
"""

import numpy as np

from sicjax.analysis.inputs import warn
from sicjax.analysis.sessions import STEP_S

# A shift repeats the path if, along every axis, the position before it predicts the position after
# it with at least this correlation. Foraging animals and random walks of ten minutes stay below
# 0.4.
REPEATED = 0.8
# If more than this share of shifts repeats, the null's 99th percentile is the score of such a
# shift.
REPEATS = 0.01
LAG_STEP = 5  # every 0.1 s is enough: the correlation changes slowly


def draw_shifts(
    num_steps: int, num_shuffles: int, min_shift_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw time shifts [S, 1] in steps; ValueError if the session is too short."""
    least = round(min_shift_s / STEP_S)
    if 2 * least >= num_steps:
        raise ValueError(
            f"min_shift_s is {min_shift_s:g}; it must be less than half of the"
            f" {num_steps * STEP_S:.1f} s of usable time"
        )
    return rng.integers(least, num_steps - least, (num_shuffles, 1), endpoint=True)


def repeated_share(positions: np.ndarray, min_shift_s: float) -> float:
    """Return the share of time shifts that repeat the path [K, D].

    The score of a shift is the smallest canonical correlation of the positions before and after it.
    So a mirrored or turned path counts as a repeat, because it maps a lattice to a lattice.
    """
    path, num_steps = positions - positions.mean(axis=0), len(positions)
    waves = np.fft.rfft(path, axis=0)
    products = waves.conj()[:, :, None] * waves[:, None]
    # [K, D, D]: the covariance for every shift, wrapped around as in the null.
    covariance = np.fft.irfft(products, n=num_steps, axis=0) / num_steps
    white = np.linalg.inv(np.linalg.cholesky(covariance[0]))
    # A shift and its reverse have the same correlations, so half of the shifts are enough.
    lags = covariance[round(min_shift_s / STEP_S) : num_steps // 2 + 1 : LAG_STEP]
    correlations = np.linalg.svd(white @ lags @ white.T, compute_uv=False)[:, -1]
    return float(np.mean(correlations > REPEATED)) if len(correlations) else 0.0


def warn_of_repeats(positions: np.ndarray, min_shift_s: float, instead: str) -> None:
    """Warn if a path [K, D] is so regular that shifted spikes give the same map.

    Args:
        positions: of the steps that count.
        min_shift_s: least shift, seconds.
        instead: the consequence, or what the user can do; ends the message.
    """
    if (share := repeated_share(positions, min_shift_s)) > REPEATS:
        warn(
            f"positions: the path repeats itself: {share:.1%} of all time shifts give the same map"
            f" again, so the null is too strict, and {instead}"
        )
