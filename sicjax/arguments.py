"""Validate arguments of public functions, and promote arrays to at least float32."""

import functools
import inspect
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sicjax.errors import brief
from sicjax.paths import path as path  # also checks an argument, but needs no JAX

F = TypeVar("F", bound=Callable)


class Rule(NamedTuple):
    """A condition on a scalar argument, and its description."""

    holds: Callable[[Any], bool]  # may raise on values of another kind, such as text
    says: str


POSITIVE = Rule(lambda value: 0 < value < math.inf, "positive and finite")
SHARE = Rule(lambda value: 0 < value <= 1, "in (0, 1]")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "at least 0")
BOUNDED = Rule(lambda value: 0 <= value < math.inf, "finite and at least 0")


def at_least(smallest: int) -> Rule:
    """Return the rule for integers from `smallest` to the largest that JAX can count."""
    return Rule(
        lambda value: smallest <= operator.index(value) < 2**31,
        f"an integer from {smallest}, and below 2**31",
    )


def check(name: str, value: Any, rule: Rule) -> None:
    """Check a scalar; a traced one passes, because it has no value yet.

    Raises:
        ValueError: the message names the argument, its value and what would be right.
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        # A Python scalar: inside a jitted function a comparison of a JAX array is traced.
        right = np.ndim(value) == 0 and rule.holds(np.asarray(value).item())
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(f"{name}={brief(value)}: must be {rule.says}")


def checked(**rules: Rule) -> Callable[[F], F]:
    """Check the arguments of a jitted function before it is called.

    Inside it, scalars have no value, and JAX's own message about an argument that is not an array
    is a page long. The function itself checks arguments whose default is text.
    """

    def decorate(jitted: F) -> F:
        parameters = inspect.signature(jitted).parameters

        def right(name: str, value: Any) -> Any:
            if name in rules:
                check(name, value, rules[name])
            elif name in parameters and not isinstance(parameters[name].default, str):
                try:
                    value = jnp.asarray(value) if isinstance(value, list | tuple) else value
                    jax.typeof(value)
                except (TypeError, ValueError, OverflowError):
                    raise TypeError(f"{name} is {brief(value)}: must be an array") from None
            return value

        @functools.wraps(jitted)
        def function(*args: Any, **kwargs: Any) -> Any:
            names = itertools.chain(parameters, itertools.repeat(""))  # JAX refuses too many
            given = [right(name, value) for name, value in zip(names, args, strict=False)]
            return jitted(*given, **{name: right(name, value) for name, value in kwargs.items()})

        for name in ("lower", "trace", "eval_shape", "clear_cache"):  # as for any jitted function
            setattr(function, name, getattr(jitted, name))
        return cast(F, function)

    return decorate


def check_key(name: str, value: Any) -> None:
    """Check that this is one JAX key: typed, or an older pair of uint32; a traced one passes.

    Raises:
        TypeError: the argument is something else.
    """
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not ((typed and shape == ()) or (dtype == np.uint32 and shape == (2,))):
        raise TypeError(f"{name} is {brief(value)}: must be one key, such as jax.random.key(0)")


def floating(name: str, array: ArrayLike) -> Array:
    """Convert to the type to compute in: float32, or float64 for a float64 array.

    Half precision is too coarse for sums of thousands of terms and for differences of close states.

    Raises:
        TypeError: the array isn't floating point.
    """
    return _widened(name, array, "floating point", jnp.floating)


def real(name: str, array: ArrayLike) -> Array:
    """Convert as `floating` does; integers are allowed, too.

    Raises:
        TypeError: the array holds something else.
    """
    return _widened(name, array, "real numbers", jnp.floating, jnp.integer)


def _widened(name: str, array: ArrayLike, right: str, *kinds: type) -> Array:
    try:
        array = jnp.asarray(array)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {brief(array)}: must be an array of {right}") from None
    dtype = array.dtype
    if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
        raise TypeError(f"{name} is {dtype}: must be {right}, such as float32")
    return array.astype(jnp.float64 if dtype == jnp.float64 else jnp.float32)
