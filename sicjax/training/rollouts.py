"""`rollout`: run a network along velocities.

Letters: N units, T steps.
"""

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from sicjax.devices.compilation import large_programs
from sicjax.network.model import norm_relu
from sicjax.network.rollout import rollout as roll_out
from sicjax.training.method import (
    PAPER,
    Method,
    Parameters,
    TransitionNetwork,
    make_hypernetwork,
)


def rollout(
    parameters: Parameters, velocities: ArrayLike, config: ConfigDict, *, method: Method = PAPER
) -> Array:
    """Run a network along velocities, from its initial state.

    It works inside `jax.jit`, `jax.vmap` and `jax.grad`, also with respect to the parameters.

    Args:
        parameters: parameters of the network, such as `Run.parameters`.
        velocities: [..., T, 2] metres per step.
        config: config of the network, such as `Run.config`.
        method: your own parts with which it was trained.

    Returns:
        States [..., T, N]; state t is the one after step t.

    Raises:
        TypeError: velocities that are not numbers.
        ValueError: velocities that are not [..., T, 2] or not finite (inside a transformation
            only the shape can be checked).
        RuntimeError: this process was forked from one in which JAX was running.

    Source: Schaeffer et al. 2023, section 3.

    Example:
        >>> import jax, jax.numpy as jnp, sicjax
        >>> run = sicjax.load_pretrained("quick")
        >>> velocities = jnp.array([[0.1, 0.0], [0.0, 0.1]])
        >>> def last_sum(parameters):
        ...     return sicjax.rollout(parameters, velocities, run.config)[-1].sum()
        >>> jax.grad(last_sum)(run.parameters).initial_direction.shape
        (64,)
    """
    given = checked_velocities(velocities)
    with large_programs():
        return _rollout(make_hypernetwork(config, method), parameters, given)


def checked_velocities(velocities: ArrayLike) -> Any:
    """Return velocities [..., T, 2] in float32; inside a transformation only shapes are checked."""
    check_not_forked()
    given: Any
    if isinstance(velocities, jax.core.Tracer):
        given = velocities.astype(jnp.float32)
    else:
        try:
            given = np.asarray(velocities, np.float32)
        except (TypeError, ValueError):
            raise TypeError("velocities: must be numbers [..., T, 2]") from None
    if given.ndim < 2 or given.shape[-1] != 2:
        raise ValueError(f"velocities {given.shape}: must be [..., T, 2]")
    if isinstance(given, np.ndarray) and not np.isfinite(given).all():
        raise ValueError("velocities: must be finite")
    return given


def check_not_forked() -> None:
    """Raise in a forked process: it has JAX's locks but not the threads that release them."""
    if fork.child_of_jax:
        raise RuntimeError(
            "this process was forked from one in which JAX was running, so it can't compute; start"
            ' workers with multiprocessing.get_context("spawn")'
        )


class _Fork:
    """The part of a parent's state that a forked child needs."""

    jax_runs = False  # whether a `Run`, which holds arrays, was made in this process
    child_of_jax = False

    def __init__(self) -> None:
        if hasattr(os, "register_at_fork"):  # Windows has no forks
            os.register_at_fork(after_in_child=self._note)

    def _note(self) -> None:
        self.child_of_jax |= self.jax_runs


fork = _Fork()


@partial(jax.jit, static_argnums=0)
def _rollout(network: TransitionNetwork, parameters: Parameters, velocities: Array) -> Array:
    """Return states [..., T, N] along velocities [..., T, 2]; compiled per network and shape."""
    start = norm_relu(parameters.initial_direction)

    def transition(velocity: Array) -> Array:
        return jnp.asarray(network.apply(parameters.hypernetwork, velocity))

    return roll_out(transition, start, velocities)
