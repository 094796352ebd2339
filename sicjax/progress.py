"""A progress bar for work that takes longer than two seconds."""

import warnings
from collections.abc import Collection, Iterable
from typing import TypeVar

T = TypeVar("T")


def track(items: Collection[T], what: str, *, show: bool = True) -> Iterable[T]:
    """Yield items; show a bar with an estimate if they take more than two seconds.

    Args:
        items: the pieces of work, in order.
        what: the name of the work, shown before the bar.
        show: False for no bar.
    """
    if not show:  # even for no bar tqdm makes a lock between processes; a killed worker leaks it
        return items
    with warnings.catch_warnings():  # without ipywidgets: a text bar, and no warning of it
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm(items, desc=what, delay=2, leave=False)
