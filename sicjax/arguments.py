"""What users hand to the maths: checked in one line that names the argument, and widened."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

F = TypeVar("F", bound=Callable)


class Rule(NamedTuple):
    """What a scalar must satisfy, and how to say so."""

    kind: Callable[[Any], Any]  # to a float or an int; raises on other kinds
    holds: Callable[[Any], bool]
    says: str


POSITIVE = Rule(float, lambda value: 0 < value < math.inf, "positive and finite")
NOT_NEGATIVE = Rule(float, lambda value: value >= 0, "at least 0")
BOUNDED = Rule(float, lambda value: 0 <= value < math.inf, "finite and at least 0")


def at_least(smallest: int) -> Rule:
    """Integers from `smallest`."""
    return Rule(operator.index, lambda value: value >= smallest, f"an integer from {smallest}")


def check(name: str, value: Any, rule: Rule) -> None:
    """See that a scalar is right; a traced one passes, since it has no value yet.

    Raises:
        ValueError: naming the argument, its value and what would be right.
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        right = np.ndim(value) == 0 and rule.holds(rule.kind(value))
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(f"{name}={' '.join(repr(value).split())[:80]}: must be {rule.says}")


def checked(**rules: Rule) -> Callable[[F], F]:
    """Check keyword scalars before a jitted function is called: inside it, none has a value."""

    def decorate(jitted: F) -> F:
        @functools.wraps(jitted)
        def function(*args: Any, **kwargs: Any) -> Any:
            for name in rules.keys() & kwargs.keys():
                check(name, kwargs[name], rules[name])
            return jitted(*args, **kwargs)

        for name in ("lower", "trace", "eval_shape", "clear_cache"):  # as of any jitted function
            setattr(function, name, getattr(jitted, name))
        return cast(F, function)

    return decorate


def floating(name: str, array: ArrayLike) -> Array:
    """An array of floats, in the type to compute in: float32, or float64 if it is that.

    Half precision holds neither a sum of thousands of terms nor the differences of near states.

    Raises:
        TypeError: the array isn't floating point.
    """
    return _widened(name, array, "floating point", jnp.floating)


def real(name: str, array: ArrayLike) -> Array:
    """The same of an array that may also hold integers.

    Raises:
        TypeError: the array holds something else.
    """
    return _widened(name, array, "real numbers", jnp.floating, jnp.integer)


def _widened(name: str, array: ArrayLike, right: str, *kinds: type) -> Array:
    array = jnp.asarray(array)
    dtype = array.dtype
    if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
        raise TypeError(f"{name} is {dtype}: must be {right}, such as float32")
    return array.astype(jnp.float64 if dtype == jnp.float64 else jnp.float32)
