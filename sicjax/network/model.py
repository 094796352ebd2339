"""The network of Schaeffer et al. 2023, section 3: g_t = Norm(ReLU(W(v_t) g_{t-1})), W = MLP.

Letters: B trajectories, W walks, T steps, N units, H hidden width. Velocities in metres per step.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from sicjax.arguments import checked, real

# JAX's default for float32 products is TF32 on recent GPUs and bfloat16 on TPUs: too coarse here.
PRECISION = lax.Precision.HIGHEST


# Below this largest entry a vector counts as zero: its inverse still fits in float32.
SMALLEST_ENTRY = 1e-19


def _rectify(x: Array) -> tuple[Array, Array]:
    """Return ReLU(x) scaled to unit length, and the inverse of its former length (0 if dead)."""
    positive = jax.nn.relu(x)
    # Dividing by the largest entry first keeps the squares from under- and overflowing. The
    # quotient is homogeneous of degree 0, so the gradient may ignore the scale.
    largest = lax.stop_gradient(jnp.max(positive, axis=-1, keepdims=True, initial=0))
    alive = ~(largest <= SMALLEST_ENTRY)  # NaN counts as alive, so that it shows in the result
    scaled = positive / jnp.where(alive, largest, 1)
    square = jnp.sum(scaled * scaled, axis=-1, keepdims=True)
    inverse = lax.rsqrt(jnp.where(alive, square, 1))  # clamped inside the root: finite gradient
    unit = jnp.where(alive, scaled * inverse, 0)
    return unit, jnp.where(alive, inverse / jnp.where(alive, largest, 1), 0)


@checked()
@jax.jit
def norm_relu(x: Array) -> Array:
    """Rectify, then scale to unit Euclidean length.

    Args:
        x: [..., N], real numbers.

    Returns:
        [..., N], non-negative, of norm 1. If no entry is positive, it is the zero vector with zero
        gradient (the paper leaves this case open). If an entry is NaN or +infinity, all are NaN.
        The type is that of x, or float32 for integers; the computation uses at least float32.

    Raises:
        TypeError: x doesn't hold real numbers.

    Source: Schaeffer et al. 2023, section 3 (architecture).

    Example:
        >>> import jax.numpy as jnp, sicjax
        >>> print(sicjax.norm_relu(jnp.array([3.0, 4.0, -5.0])).round(3))
        [0.6 0.8 0. ]
    """
    unit = _rectify(real("x", x))[0]
    dtype = jnp.asarray(x).dtype
    return unit.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else unit


def _torch_uniform(fan_in: int, scale: float = 1.0) -> Callable[..., Array]:
    """Return an initialiser, uniform in ±scale / sqrt(fan_in), PyTorch's default."""
    bound = scale / fan_in**0.5

    def init(key: Array, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Hypernetwork(nn.Module):
    """An MLP from a velocity to its transition matrix W(v).

    The last bias starts as the identity matrix (`identity_start`) and the last weights are small,
    so an untrained network keeps its state. From this start spatial codes form within thousands
    of updates; from a plain random start none formed.
    """

    num_units: int  # N
    hidden_width: int  # H
    num_layers: int  # linear layers, the last one included
    activation: str  # name of a function in jax.nn
    max_velocity: float  # metres per step; velocities enter the MLP divided by it
    last_layer_scale: float  # of the last layer's weights, relative to ±1/sqrt(H)
    identity_start: bool

    @nn.compact
    def __call__(self, velocities: Array, *, hidden_only: bool = False) -> Array:
        """Map velocities [..., 2], metres per step, to matrices [..., N, N] for column vectors.

        With `hidden_only`, return the input of the last linear layer, [..., H].
        """
        activation = getattr(jax.nn, self.activation)
        hidden = velocities / self.max_velocity
        for _ in range(self.num_layers - 1):
            init = _torch_uniform(hidden.shape[-1])
            hidden = activation(
                nn.Dense(self.hidden_width, kernel_init=init, bias_init=init, precision=PRECISION)(
                    hidden
                )
            )
        if hidden_only:
            return hidden
        last_init = _torch_uniform(hidden.shape[-1], self.last_layer_scale)
        entries = nn.Dense(
            self.num_units**2,
            kernel_init=last_init,
            bias_init=self._flat_identity if self.identity_start else last_init,
            precision=PRECISION,
        )(hidden)
        return entries.reshape(*velocities.shape[:-1], self.num_units, self.num_units)

    def _flat_identity(self, key: Array, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jnp.eye(self.num_units, dtype=dtype).reshape(shape)


def initial_direction(key: Array, num_units: int, *, positive: bool) -> Array:
    """Draw the parameter [N] of g_0 = norm_relu(parameter): normal, or its absolute value.

    With signs, about a third of the units stay silent for good; a positive start keeps all active.
    """
    direction = jax.random.normal(key, (num_units,))
    return jnp.abs(direction) if positive else direction
