"""Checks of the arguments that describe a recording, and warnings about them."""

import sys
import warnings
from typing import Any

import numpy as np

from sicjax.errors import brief as brief


def check_number(
    name: str, value: Any, unit: str, *, least: float = -np.inf, above: float = -np.inf
) -> None:
    """Raise a ValueError unless a value is one finite number in its range."""
    try:
        right = np.ndim(value) == 0 and np.isfinite(value) and value >= least and value > above
    except TypeError:
        right = False
    if not right:
        bound = f"above {above:g}" if np.isfinite(above) else f"at least {least:g}"
        raise ValueError(f"{name} is {brief(value)}; it must be a number of {unit}, {bound}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise a ValueError unless a value is one of the choices, or None."""
    if value is not None and value not in choices:
        raise ValueError(
            f"{name} is {brief(value)}; it must be one of {', '.join(choices)}, or None"
        )


def check_shuffles(value: Any) -> None:
    """Raise a ValueError unless a number of shuffles is an integer from 1."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"num_shuffles is {brief(value)}; it must be at least 1 (100 is usual)")


def numbers(name: str, values: Any) -> np.ndarray:
    """Return real numbers as float64, with NaN where an array is masked; else raise a TypeError."""
    try:
        array = np.ma.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError
        return np.ma.filled(array.astype(np.float64), np.nan)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {kind_of(values)}; it must be an array of numbers") from None


def flat(array: np.ndarray) -> np.ndarray:
    """Return an array [S], also for the shapes [S, 1] and [1, S] that MATLAB gives a vector.

    Any other shape is returned unchanged.
    """
    return array.ravel() if array.size == max(array.shape, default=1) else array


def kind_of(values: Any) -> str:
    """Return a short description of a value: its type, or the type of an array's elements."""
    dtype = getattr(values, "dtype", None)
    return type(values).__name__ if dtype is None else f"an array of {dtype}"


def warn(message: str) -> None:
    """Warn at the line outside of sicjax that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("sicjax."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
