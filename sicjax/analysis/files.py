"""Read a session's file (.npz, .mat or .nwb) into the arguments of `score_recording`.

Letters: N cells; S samples of the tracker.
"""

import contextlib
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from sicjax.analysis.inputs import flat, numbers
from sicjax.errors import ConfigError, one_line

TIMES, POSITIONS, AXES = "times", "positions", ("x", "y")
SPIKES, PREFIX, TABLE = "spikes", "spikes_", ("unit", "time")
# What the series of positions is usually called in NWB, in lower case and without underscores.
NWB_POSITIONS = ("position", "positions", "spatialseries")


def read_recording(
    file: Path,
    *,
    times_name: str | None = None,
    position_name: str | None = None,
    spikes_name: str | None = None,
) -> dict[str, Any]:
    """Return the path and the spikes of a file, as arguments of `score_recording`.

    Args:
        file: .npz, .mat or .nwb.
        times_name: name of the array of times; `times` by default. NWB uses the positions' own
            times.
        position_name: name of the array [S, 2] of positions, or "X,Y", the names of two arrays [S].
            By default `positions`, or `x` and `y`.
        spikes_name: name of a dict, a cell array, a struct, or the times of one cell; or
            "UNIT,TIME", the names of two arrays with one value per spike. By default `spikes`, or
            an array `spikes_NAME` for each cell, or `unit` and `time`. In NWB `units`.

    Every name may be a field of a struct or dict, such as "session.t".

    Returns:
        A dict with times, positions, spike_times, unit and time.

    Raises:
        ConfigError: the file can't be read, or names are missing; one line says which.
    """
    try:
        open_file = OPENERS[file.suffix.lower()]
    except KeyError:
        raise ConfigError(f"{file}: must be one of {', '.join(OPENERS)}") from None
    if not file.is_file():
        raise ConfigError(f"{file}: no such file")
    try:
        with open_file(file) as contents:
            if file.suffix.lower() == ".nwb":
                position_name = position_name or _nwb_position(contents, file)
                spikes_name = spikes_name or "units"
            else:
                times_name = times_name or TIMES
            return _together(
                file,
                contents,
                lambda: {"times": times_name and _named(contents, times_name, "--times-name")},
                lambda: {"positions": _positions(contents, position_name, file)},
                lambda: _spikes(contents, spikes_name, file),
            )
    except ConfigError:
        raise
    except Exception as error:  # libraries raise errors of many classes for a damaged file
        kind = file.suffix.lower()
        raise ConfigError(f"{file}: can't be read as {kind}: {one_line(error)}") from None


class _MissingError(ConfigError):
    """A file lacks a name that a flag can set."""

    def __init__(self, name: str, flag: str) -> None:
        super().__init__(name, flag)
        self.name, self.flag = name, flag


def _together(
    file: Path, contents: Mapping[str, Any], *reads: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return everything that was read, or name everything that is missing in one error."""
    found: dict[str, Any] = {}
    missing: list[_MissingError] = []
    for read in reads:
        try:
            found |= read()
        except _MissingError as error:
            missing.append(error)
    if missing:
        names = " and no ".join(error.name for error in missing)
        flags = " ".join(f"{error.flag}=NAME" for error in missing)
        raise ConfigError(f"{file}: no {names}; it holds {_list(contents)}; choose by {flags}")
    return found


def _named(contents: Mapping[str, Any], name: str, flag: str) -> Any:
    """Return what a file holds by a name; "session.t" is the field t of the struct session."""
    value: Any = contents
    for part in [name] if name in contents else name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise _MissingError(name, flag)
        value = value[part]
        if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
            value = value.item()  # a dict in an .npz
    return value


def _list(contents: Mapping[str, Any]) -> str:
    """Return the first names in a file."""
    names = [name for name in contents if not name.startswith("__")]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "nothing"


def _positions(contents: Mapping[str, Any], name: str | None, file: Path) -> Any:
    """Return positions [S, 2] from one array or from two."""
    names = name.split(",") if name else [POSITIONS]
    if not name and POSITIONS not in contents and {*AXES} & {*contents}:
        names = list(AXES)
    found = [_named(contents, part, "--position-name") for part in names]
    if len(found) == 1:
        return found[0]
    columns = [flat(numbers(part, value)) for part, value in zip(names, found, strict=True)]
    shapes = {column.shape for column in columns}
    if len(columns) != 2 or len(shapes) > 1 or columns[0].ndim != 1:
        raise ConfigError(
            f"{file}: {', '.join(names)} have the shapes {', '.join(map(str, sorted(shapes)))};"
            " positions are one array [samples, 2], or two arrays [samples]"
        )
    return np.stack(columns, axis=-1)


def _spikes(contents: Mapping[str, Any], name: str | None, file: Path) -> dict[str, Any]:
    """Return spike_times, unit and time; the file has one of the forms."""
    cells = [key for key in contents if key.startswith(PREFIX) and key != PREFIX]
    if name is None:
        forms = [form for form, is_there in (
            (SPIKES, SPIKES in contents), (f"{PREFIX}...", bool(cells)),
            (",".join(TABLE), {*TABLE} <= {*contents}),
        ) if is_there]  # fmt: skip
        if len(forms) > 1:
            raise ConfigError(f"{file}: holds {' and '.join(forms)}; choose with --spikes-name")
        name = forms[0] if forms else SPIKES
        if cells:
            trains = {key.removeprefix(PREFIX): contents[key] for key in cells}
            return {"spike_times": trains, "unit": None, "time": None}
    if "," in name:
        unit, _, time = name.partition(",")
        table = {part: _named(contents, part, "--spikes-name") for part in (unit, time)}
        return {"spike_times": table, "unit": unit, "time": time}
    found = _named(contents, name, "--spikes-name")
    # Numbers alone are the spikes of one cell. (SciPy also unpacks a MATLAB cell array of one.)
    if isinstance(found, int | float) or (isinstance(found, np.ndarray) and found.dtype != object):
        found = {name: found}
    return {"spike_times": found, "unit": None, "time": None}


@contextlib.contextmanager
def _open_npz(file: Path) -> Iterator[Mapping[str, Any]]:
    with np.load(file, allow_pickle=False) as arrays:
        yield _Lazy(arrays.files, lambda name: _npz_array(arrays, file, name))


def _npz_array(arrays: Mapping[str, Any], file: Path, name: str) -> Any:
    """Return an array of an .npz; `_ArraysOnly` reads arrays of objects, which are pickles."""
    with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0) and np.lib.format.read_array_header_1_0(stream)[2].hasobject:
            return _ArraysOnly(stream).load()
    return arrays[name]


class _ArraysOnly(pickle.Unpickler):
    """Reads only arrays, dicts and lists, because a pickle in a file could run any code."""

    ALLOWED = ("_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype")

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of NumPy that arrays need; refuse all others."""
        if module.partition(".")[0] == "numpy" and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds a {module}.{name}; save arrays, dicts or lists")


@contextlib.contextmanager
def _open_mat(file: Path) -> Iterator[Mapping[str, Any]]:
    from scipy import io

    try:
        contents = io.loadmat(file, simplify_cells=True)  # structs become dicts
    except NotImplementedError:  # MATLAB 7.3: an HDF5 file
        pass
    else:
        yield contents
        return
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            f"{file}: a MATLAB 7.3 file needs h5py: python -m pip install h5py (or save it in"
            " MATLAB with -v7)"
        ) from None
    with h5py.File(file) as opened:
        yield _Lazy(
            [name for name in opened if not name.startswith("#")],
            lambda name: _matlab_value(opened, opened[name]),
        )


def _matlab_value(file: Any, item: Any) -> Any:
    """Return a variable of a MATLAB 7.3 file: an array, a text, or a dict for a struct."""
    if hasattr(item, "keys"):
        return {name: _matlab_value(file, item[name]) for name in item}
    if "MATLAB_empty" in item.attrs:
        return np.empty(0)
    values = item[()].T  # HDF5 keeps MATLAB's arrays with their axes in reverse
    if values.dtype == object:  # references to the cells of a cell array
        cells = np.empty(values.size, dtype=object)
        for k, reference in enumerate(values.ravel()):
            cells[k] = _matlab_value(file, file[reference])
        return cells
    if item.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, values.ravel()))
    return values


@contextlib.contextmanager
def _open_nwb(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pynapple
    except ImportError:
        raise ConfigError(
            f"{file}: NWB files need pynapple: python -m pip install -e '.[recordings]'"
        ) from None
    yield pynapple.load_file(str(file))  # stays open: its arrays are read when they are used


def _nwb_position(contents: Any, file: Path) -> str:
    """Return the name of the series of positions in an NWB file."""
    entries = contents.data.items()  # id and type of each series; nothing is read yet
    series = [name for name, entry in entries if entry["type"] == "TsdFrame"]
    found = [
        name for name in series
        if name.rpartition("/")[2].lower().replace("_", "") in NWB_POSITIONS
    ]  # fmt: skip
    if len(found) != 1:
        what = f"{len(found)} series" if found else "no series"
        raise ConfigError(
            f"{file}: {what} named position or SpatialSeries; choose one of"
            f" {', '.join(found or series) or 'none'} with --position-name"
        )
    return found[0]


class _Lazy(Mapping[str, Any]):
    """Reads an array only when it is used: a file may hold more than fits into memory."""

    def __init__(self, names: list[str], read: Callable[[str], Any]) -> None:
        self.names, self.read = names, read

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(name)
        return self.read(name)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


OPENERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Any]]] = {
    ".npz": _open_npz, ".mat": _open_mat, ".nwb": _open_nwb,
}  # fmt: skip
