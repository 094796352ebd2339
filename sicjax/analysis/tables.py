"""Tables of results: the rows of an analysis as a data frame, a CSV file, text and HTML.

Letters: N rows, one per unit or per module.
"""

import csv
import dataclasses
import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sicjax.paths import path as as_path

if TYPE_CHECKING:
    import pandas as pd

WIDEST = 3  # arrays [N, D] with more columns than this are left out of tables
ROWS_SHOWN = 30  # in a notebook


class Table:
    """Base class that shows a dataclass of arrays of N rows as a table, data frame or CSV."""

    def columns(self) -> dict[str, np.ndarray]:
        """Return the table's columns by name, each [N].

        An array [N, 2] or [N, 3] gives the columns NAME_1, NAME_2, ...; maps and lattices are left
        out.
        """
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        names = arrays.pop("names", None)
        arrays.pop("null", None)  # [N, S]: with three shuffles or fewer it would look like columns
        arrays = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
        rows = len(next(array for array in arrays.values() if array.ndim == 1))
        found: dict[str, np.ndarray] = {"unit": np.arange(rows)}
        if names is not None:
            found["name"] = np.array([str(name) for name in names], dtype=object)
        for name in ("kind", "module"):  # what readers look for comes first
            if name in arrays:
                found[name] = arrays.pop(name)
        for name, array in arrays.items():
            if array.shape[:1] != (rows,) or array.ndim > 2:
                continue
            if array.ndim == 1:
                found[name] = array
            elif array.shape[1] <= WIDEST:
                found |= {f"{name}_{k + 1}": array[:, k] for k in range(array.shape[1])}
        return found

    def to_dataframe(self) -> "pd.DataFrame":
        """Return the table as a pandas data frame, one row per unit or module.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_dataframe needs pandas: python -m pip install pandas") from None
        return pd.DataFrame(self.columns())

    def save_csv(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write the table as CSV; NaN is an empty cell, true and false are 1 and 0.

        Args:
            path: the file.
            overwrite: replace a file that exists.

        Returns:
            The path.

        Raises:
            FileExistsError: the file exists and `overwrite` is false.
            OSError: the file can't be written.
        """
        target = as_path("path", path)
        if target.exists() and not overwrite:
            raise FileExistsError(f"path={target} exists; overwrite=True replaces it")
        columns = self.columns()
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                writer.writerow(map(_cell, row))
        return target

    def _title(self) -> str:
        """Return one line about the whole table."""
        count = len(next(iter(self.columns().values())))
        return f"{type(self).__name__}: {count} unit{'s' * (count != 1)}"

    def __repr__(self) -> str:
        """Return two lines: what the table holds, and its columns."""
        return f"{self._title()}\n  columns: {', '.join(self.columns())}"

    def _repr_html_(self) -> str:
        """Return the first rows, for notebooks."""
        columns = self.columns()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        rows = list(zip(*columns.values(), strict=True))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_brief(value))}</td>" for value in row) + "</tr>"
            for row in rows[:ROWS_SHOWN]
        )
        more = f"<p>{len(rows) - ROWS_SHOWN} more rows</p>" if len(rows) > ROWS_SHOWN else ""
        return (
            f"<p>{html.escape(self._title())}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
        )


def _cell(value: Any) -> Any:
    """Return a value as a CSV cell, in the format of a report's units.csv."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return value


def _brief(value: Any) -> str:
    """Return a number with three significant digits."""
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if np.isfinite(value) else "–"
    return str(value)
