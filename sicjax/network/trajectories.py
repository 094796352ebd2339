"""Trajectories: training batches, and walks on which a trained network is evaluated.

Letters: B trajectories, T steps. Lengths in metres, velocities in metres per step. Every trajectory
starts at the origin, the place of the network's initial state.
"""

import importlib.util
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from sicjax.arguments import BOUNDED, at_least, checked

FARTHEST_M = 1e6  # largest distance of a recorded path from its start
PERSISTENCE_STEPS = 10.0  # correlation time of the velocity of smooth walks
DRAWN = 320_000  # random numbers, drawn in multiples of this; smooth walks use as many as they need


class Batch(NamedTuple):
    """One sequence of velocities, walked in B different orders (the paper's augmentation)."""

    velocities: Array  # [T, 2] metres per step
    order: Array  # [B, T] int32, each row a permutation of range(T)
    steps: Array  # [B, T, 2] = velocities[order]
    positions: Array  # [B, T, 2] = cumulative sum of steps


class Walk(NamedTuple):
    """A path to evaluate a network on; `positions` are relative to its start."""

    steps: Array  # [..., T, 2] metres per step
    positions: Array  # [..., T, 2] = cumulative sum of steps


@checked(num_trajectories=at_least(0), trajectory_length=at_least(0), max_velocity=BOUNDED)
@partial(jax.jit, static_argnames=("num_trajectories", "trajectory_length"))
def sample_batch(
    key: Array,
    *,
    num_trajectories: int = 130,
    trajectory_length: int = 60,
    max_velocity: ArrayLike = 0.15,
    permute: ArrayLike = True,
) -> Batch:
    """Draw T velocities and B independent permutations of them.

    Args:
        key: a JAX random key, consumed.
        num_trajectories: B.
        trajectory_length: T.
        max_velocity: each velocity component is uniform in ± this, metres per step.
        permute: False leaves every trajectory in the drawn order (an ablation).

    Returns:
        A `Batch`. All trajectories end at the same point, up to rounding.

    Raises:
        ValueError: a size that is not an integer from 0, or a max_velocity that is negative or
            not finite.

    Source: Schaeffer et al. 2023, section 3 (data distribution and augmentation).

    Example:
        >>> import jax, sicjax
        >>> batch = sicjax.sample_batch(jax.random.key(0), num_trajectories=4)
        >>> batch.positions.shape
        (4, 60, 2)
    """
    velocity_key, order_key = jax.random.split(key)
    velocities = jax.random.uniform(
        velocity_key, (trajectory_length, 2), minval=-jnp.asarray(max_velocity), maxval=max_velocity
    )
    return permuted_batch(order_key, velocities, num_trajectories=num_trajectories, permute=permute)


def permuted_batch(
    key: Array, velocities: Array, *, num_trajectories: int, permute: ArrayLike = True
) -> Batch:
    """Permute given velocities [T, 2] into B trajectories, as `sample_batch` does."""
    length = velocities.shape[0]
    drawn = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (num_trajectories, length))
    permuted = jax.random.permutation(key, drawn, axis=1, independent=True)
    order = jnp.where(permute, permuted, drawn)
    steps = velocities[order]
    return Batch(velocities, order, steps, jnp.cumsum(steps, axis=1))


def smooth_walks(
    key: Array,
    *,
    num_walks: int,
    num_steps: int,
    box_m: ArrayLike,
    max_velocity: ArrayLike = 0.15,
    mean_speed: ArrayLike = 0.06,
) -> Walk:
    """Draw smooth random walks in a square box from its centre; they are unlike the training data.

    Velocity is an Ornstein–Uhlenbeck process (Rayleigh-distributed speed, as rats move), each
    component clipped to ±`max_velocity`. Walls reflect: the unbounded path is folded into the
    box, which makes the stationary density uniform.

    Args:
        key: a JAX random key, consumed.
        num_walks: number of walks.
        num_steps: T, steps of each walk.
        box_m: side of the box, metres; the box is centred on the start.
        max_velocity: largest velocity component, metres per step.
        mean_speed: mean speed before clipping, metres per step.

    Returns:
        A `Walk` with leaves [num_walks, T, 2]; steps are the differences of the positions.
    """
    first_key, noise_key = jax.random.split(key)
    firsts, kicks = num_walks * 2, num_steps * num_walks * 2
    return _walk_along(
        _draw(first_key, mean_speed, None, -(-firsts // DRAWN) * DRAWN),
        _draw(noise_key, mean_speed, PERSISTENCE_STEPS, -(-kicks // DRAWN) * DRAWN),
        box_m, max_velocity, PERSISTENCE_STEPS, num_walks=num_walks, num_steps=num_steps,
    )  # fmt: skip


@partial(jax.jit, static_argnums=(2, 3))
def _draw(key: Array, mean_speed: ArrayLike, persistence_steps: float | None, count: int) -> Array:
    """Draw the random change of velocity components [count] in one step (all of it, if None).

    JAX's n-th random number does not depend on how many are drawn. So walks of all lengths can
    share one program, whose compilation takes longer than all other work on them.
    """
    std = mean_speed * np.sqrt(2 / np.pi)
    if persistence_steps is not None:
        keep = jnp.exp(-1.0 / persistence_steps)
        std = std * jnp.sqrt(1 - keep**2)
    return std * jax.random.normal(key, (count,))


@partial(jax.jit, static_argnums=4, static_argnames=("num_walks", "num_steps"))
def _walk_along(
    first: Array, kicks: Array, box_m: ArrayLike, max_velocity: ArrayLike,
    persistence_steps: float, *, num_walks: int, num_steps: int,
) -> Walk:  # fmt: skip
    """Build walks from the components of their first velocities and of each step's change."""
    keep = jnp.exp(-1.0 / persistence_steps)
    kicks = kicks[: num_steps * num_walks * 2].reshape(num_steps, num_walks, 2)

    def advance(velocity, kick):
        velocity = keep * velocity + kick
        return velocity, velocity

    start = first[: num_walks * 2].reshape(num_walks, 2)
    fastest = jnp.asarray(max_velocity)
    velocities = jnp.clip(lax.scan(advance, start, kicks)[1], -fastest, fastest)
    free = jnp.cumsum(jnp.moveaxis(velocities, 0, 1), axis=1)
    # A triangle wave folds the plane into the box.
    phase = jnp.mod(free + box_m / 2, 2 * box_m)
    positions = jnp.where(phase > box_m, 2 * box_m - phase, phase) - box_m / 2
    origin = jnp.zeros((num_walks, 1, 2), positions.dtype)
    return Walk(jnp.diff(positions, axis=1, prepend=origin), positions)


def recorded_walk(positions: ArrayLike, *, every: int = 1) -> Walk:
    """Turn recorded positions into a walk that can drive a network.

    Args:
        positions: [T + 1, 2] metres, finite, within 1,000 km of the first one, which becomes the
            origin.
        every: keep one sample in this many.

    Returns:
        A `Walk` with leaves [T // every, 2].

    Raises:
        ValueError: a wrong shape, fewer than two samples, NaN or infinity, or a place too far away.
    """
    path = np.asarray(positions)
    if path.ndim != 2 or path.shape[1] != 2 or path.dtype.kind not in "iuf":
        raise ValueError(
            f"recorded path: shape {path.shape}, {path.dtype}; must be numbers [samples, 2]"
        )
    if not np.isfinite(path).all():
        bad = int(np.flatnonzero(~np.isfinite(path).all(axis=1))[0])
        raise ValueError(
            f"recorded path: sample {bad} is {path[bad].tolist()}; every position must be finite"
            " (interpolate tracking losses first)"
        )
    if every < 1 or len(path) <= every:
        raise ValueError(
            f"recorded path: {len(path)} samples, every={every}; need every >= 1 and at least"
            " every + 1 samples"
        )
    kept = path[::every].astype(np.float64)
    far = np.flatnonzero((np.abs(kept - kept[0]) > FARTHEST_M).any(axis=1))
    if len(far):
        raise ValueError(
            f"recorded path: sample {far[0] * every} is {kept[far[0]].tolist()}; positions must be"
            f" metres, within {FARTHEST_M:.0f} of the first"
        )
    steps = np.diff(kept, axis=0)
    return Walk(jnp.asarray(steps, jnp.float32), jnp.asarray(kept[1:] - kept[0], jnp.float32))


def load_recorded_walk(name: str, *, every: int = 1) -> Walk | None:
    """Read a recorded path by name.

    Args:
        name: "sargolini" (a rat in a 1 m box, 600 s at 50 Hz, Sargolini et al. 2006, from the
            package `ratinabox`); or a .npy file of positions [samples, 2] in metres, or a .npz
            file with such an array `positions` or `pos`; "" for none.
        every: keep one sample in this many.

    Raises:
        ModuleNotFoundError: "sargolini" without `ratinabox`.
        OSError: the file can't be read.
        ValueError: the file has no such array, or an unusable one (see `recorded_walk`).
    """
    if not name:
        return None
    path = _sargolini_file() if name == "sargolini" else Path(name).expanduser()
    return recorded_walk(_read_positions(path), every=every)


def _read_positions(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                return np.load(path, mmap_mode="r")  # a false size in the header costs nothing
            file.seek(0)
            with np.load(file) as found:
                for key in ("positions", "pos"):
                    if key in found:
                        return found[key]
                arrays = ", ".join(found)
    except OSError:
        raise
    except Exception as error:  # damage makes NumPy, zipfile or zlib raise errors of many types
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"can't be read ({what})") from None
    raise ValueError(f"has arrays {arrays}; must have `positions` [samples, 2]")


def _sargolini_file() -> Path:
    found = importlib.util.find_spec("ratinabox")  # only its data are needed, so it is not imported
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "the recorded rat path comes with a package: python -m pip install ratinabox"
        )
    return Path(found.origin).parent / "data" / "sargolini.npz"
