"""Validate arguments of public functions, and promote arrays to at least float32."""

import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sicjax.paths import path as path  # a check of an argument, too, which needs no JAX

F = TypeVar("F", bound=Callable)


class Rule(NamedTuple):
    """A condition on a scalar argument, and its description."""

    kind: Callable[[Any], Any]  # to a float or an int; raises on other kinds
    holds: Callable[[Any], bool]
    says: str


def number(value: Any) -> float:
    """Convert to a float; refuse text, which Python would convert and JAX would not."""
    if isinstance(value, str | bytes):
        raise TypeError(value)
    return float(value)


POSITIVE = Rule(number, lambda value: 0 < value < math.inf, "positive and finite")
SHARE = Rule(number, lambda value: 0 < value <= 1, "in (0, 1]")
NOT_NEGATIVE = Rule(number, lambda value: value >= 0, "at least 0")
BOUNDED = Rule(number, lambda value: 0 <= value < math.inf, "finite and at least 0")


def at_least(smallest: int) -> Rule:
    """Integers from `smallest` to the largest that JAX counts with."""
    return Rule(
        operator.index,
        lambda value: smallest <= value < 2**31,
        f"an integer from {smallest}, and below 2**31",
    )


def check(name: str, value: Any, rule: Rule) -> None:
    """Check a scalar; a traced one passes, because it has no value yet.

    Raises:
        ValueError: naming the argument, its value and what would be right.
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        right = np.ndim(value) == 0 and rule.holds(rule.kind(value))
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise ValueError(f"{name}={_brief(value)}: must be {rule.says}")


def checked(**rules: Rule) -> Callable[[F], F]:
    """Check keyword scalars before a jitted function is called; inside it they have no value.

    Also check that the other arguments are arrays, or text where text is meant; JAX's own messages
    on this are long.
    """

    def decorate(jitted: F) -> F:
        parameters = inspect.signature(jitted).parameters

        def right(name: str, value: Any) -> Any:
            if name in rules:
                check(name, value, rules[name])
                # Beyond 64 bits JAX takes no int.
                return float(value) if type(value) is int and rules[name].kind is number else value
            if name in parameters and not isinstance(parameters[name].default, str):
                return _array(name, value)
            if not isinstance(value, str):
                raise TypeError(f"{name} is {_brief(value)}: must be text")
            return value

        @functools.wraps(jitted)
        def function(*args: Any, **kwargs: Any) -> Any:
            given = [right(*pair) for pair in zip(parameters, args, strict=False)]
            known = {n: right(n, v) if n in parameters else v for n, v in kwargs.items()}
            return jitted(*given, *args[len(given) :], **known)

        for name in ("lower", "trace", "eval_shape", "clear_cache"):  # as of any jitted function
            setattr(function, name, getattr(jitted, name))
        return cast(F, function)

    return decorate


def _array(name: str, value: Any) -> Any:
    """Convert to an array in this machine's byte order; JAX misreads other byte orders."""
    if isinstance(value, jax.Array | jax.ShapeDtypeStruct):
        return value
    if isinstance(value, list | tuple) and any(
        isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)
    ):
        return value  # traced ones perhaps
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind in "OUSMm":
        raise TypeError(f"{name} is {_brief(value)}: must be an array")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_key(name: str, value: Any) -> None:
    """Check that this is one JAX key: typed, or an older pair of uint32; a traced one passes.

    Raises:
        TypeError: it isn't.
    """
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not (
        (typed and shape == ()) or (dtype == np.uint32 and shape is not None and len(shape) == 1)
    ):
        raise TypeError(f"{name} is {_brief(value)}: must be one key, such as jax.random.key(0)")


def _brief(value: Any) -> str:
    """Format a value on one line of bounded length."""
    return " ".join(repr(value).split())[:80]


def floating(name: str, array: ArrayLike) -> Array:
    """Convert to the type to compute in: float32, or float64 for a float64 array.

    Half precision can hold neither a sum of thousands of terms nor differences of near states.

    Raises:
        TypeError: the array isn't floating point.
    """
    return _widened(name, array, "floating point", jnp.floating)


def real(name: str, array: ArrayLike) -> Array:
    """Convert as `floating` does, and accept integers, too.

    Raises:
        TypeError: the array holds something else.
    """
    return _widened(name, array, "real numbers", jnp.floating, jnp.integer)


def _widened(name: str, array: ArrayLike, right: str, *kinds: type) -> Array:
    try:
        array = jnp.asarray(array)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {_brief(array)}: must be an array of {right}") from None
    dtype = array.dtype
    if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
        raise TypeError(f"{name} is {dtype}: must be {right}, such as float32")
    return array.astype(jnp.float64 if dtype == jnp.float64 else jnp.float32)
