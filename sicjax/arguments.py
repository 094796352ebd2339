"""What users hand to the maths: the types that are right, and the one to compute in."""

import jax.numpy as jnp
from jax import Array


def floating(name: str, array: Array) -> Array:
    """An array of floats, in the type to compute in: float32, or float64 if it is that.

    Half precision holds neither a sum of thousands of terms nor the differences of near states.

    Raises:
        TypeError: the array isn't floating point.
    """
    return _widened(name, array, "floating point", jnp.floating)


def real(name: str, array: Array) -> Array:
    """The same of an array that may also hold integers.

    Raises:
        TypeError: the array holds something else.
    """
    return _widened(name, array, "real numbers", jnp.floating, jnp.integer)


def _widened(name: str, array: Array, right: str, *kinds: type) -> Array:
    dtype = array.dtype
    if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
        raise TypeError(f"{name} is {dtype}: must be {right}, such as float32")
    return array.astype(jnp.float64 if dtype == jnp.float64 else jnp.float32)
