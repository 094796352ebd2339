"""The folder of a report: written completely or not at all, and only where a report wrote before.

Every report keeps a list of its files. Files that are not in it belong to the user: they are
neither replaced nor removed.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PAGE, LIST = "report.html", ".files.json"
_NEW_LIST = f"{LIST}.new"
UNFINISHED = ".unfinished"  # where the next report's files are made
UNTOLD = (".DS_Store", "Thumbs.db", "desktop.ini")  # files that file managers leave in any folder


def refuse_others(folder: Path) -> None:
    """Check that a folder is new, empty, or holds nothing but the files of an earlier report.

    Raises:
        ValueError: the path is a file, or the folder holds something that no report wrote.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise ValueError(f"folder={folder} is not a folder; name a new folder for the report")
    ours = {*_written(folder), LIST, _NEW_LIST, *UNTOLD}
    if _is_ours(folder / UNFINISHED):
        ours.add(UNFINISHED)
    others = sorted({entry.name for entry in folder.iterdir()} - ours)
    if others:
        names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise ValueError(
            f"folder={folder} holds files that no report wrote ({names}); name a new folder for"
            " the report"
        )


@contextlib.contextmanager
def replacing(folder: Path, *, keep: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; on success, its files replace the report in `folder`.

    Files that no report wrote stay. A kill while the new files are made leaves the old report. A
    kill while they are moved leaves a folder without report.html, which does not count as a report.

    Args:
        folder: folder of the report.
        keep: whether the report's other files stay, too.

    Raises:
        FileExistsError: a user's file has the name of one of the report's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed, ours, new = (folder / LIST).exists(), _written(folder), folder / UNFINISHED
    if _is_ours(new):  # left by a kill
        shutil.rmtree(new)
    new.mkdir()
    (new / LIST).touch()
    try:
        yield new
        names = {path.name for path in new.iterdir()} - {LIST}
        # Only a report of an earlier version has no list: its files are replaced by their names.
        taken = sorted(name for name in names - ours if listed and (folder / name).exists())
        if taken:
            raise FileExistsError(f"{folder / taken[0]} was not written by a report; move it away")
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        with contextlib.suppress(OSError):  # the folder is not empty
            folder.rmdir()
        raise
    # A name is listed before its file exists, so files that a kill leaves are known as ours.
    _list(folder, ours | names)
    # Without report.html there is no report: it goes first and comes last.
    for name in sorted({PAGE} & names | (set() if keep else ours - names)):
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: (name == PAGE, name)):
        (new / name).replace(folder / name)
    shutil.rmtree(new)
    _list(folder, ours | names if keep else names)


def add(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write more files into a report's folder, or replace them.

    Raises:
        FileExistsError: a user's file has the name of one of them.
    """
    with replacing(folder, keep=True) as place:
        for name, content in files.items():
            (place / name).write_bytes(content)


def _written(folder: Path) -> set[str]:
    """Return the names of the files that reports wrote into a folder."""
    try:
        names = json.loads((folder / LIST).read_text())
    except (OSError, ValueError):
        return set()
    return {name for name in names if isinstance(name, str) and Path(name).name == name}


def _is_ours(unfinished: Path) -> bool:
    """Return whether a report made this folder: it is empty, or it holds a report's list."""
    return unfinished.is_dir() and ((unfinished / LIST).exists() or not any(unfinished.iterdir()))


def _list(folder: Path, names: Iterable[str]) -> None:
    """Write the list of a report's files; a kill leaves the old list or the new one."""
    (folder / _NEW_LIST).write_text(json.dumps(sorted(names), indent=0) + "\n")
    (folder / _NEW_LIST).replace(folder / LIST)
