"""Files of a run: read with care, and written completely or not at all."""

import contextlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sicjax.paths import BucketPath

UNFINISHED = ".sicjax.tmp"  # end of the name of a file or folder that is still in the making
MOST_BYTES = 2**26  # largest JSON file that is read; those of a run have a few kilobytes


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader | io.BytesIO]:
    """Open a regular file for reading; refuse devices and pipes, which could block for ever.

    Raises:
        OSError: the file can't be opened, or is not a regular file.
    """
    if isinstance(path, BucketPath):
        yield io.BytesIO(path.read_bytes())
        return
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(f"{path.name} is not a regular file")
        yield file


def read_small(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        OSError: the file can't be read, is not regular, or is far larger than a run writes.
        UnicodeDecodeError: the file is not UTF-8.
    """
    with opened(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB")
    return content.decode()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file beside `path`; it replaces `path` once all of it is on disk.

    Its name is unused and no link is followed, so no other file can be overwritten. After an error
    `path` is unchanged.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut may leave the name without the content
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error matters more
            unfinished.unlink()
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill left unfinished in a folder; only where no other process writes."""
    for unfinished in folder.glob(f".*{UNFINISHED}"):
        if unfinished.is_dir() and not unfinished.is_symlink():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or, after an error, leave it as it was."""
    if isinstance(path, BucketPath):
        path.write_bytes(content)
        return
    with replacing(path) as file:
        file.write(content)
