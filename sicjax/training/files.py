"""Files of a run: read with care, and written completely or not at all."""

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sicjax.paths import BucketPath

MOST_BYTES = 2**26  # of a JSON file; those of a run take a few kilobytes


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader | io.BytesIO]:
    """Open a regular file for reading; a device or a pipe, which could block for ever, is refused.

    Raises:
        OSError: it can't be opened, or is no regular file.
    """
    if isinstance(path, BucketPath):
        yield io.BytesIO(path.read_bytes())
        return
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(f"{path.name} is no regular file")
        yield file


def read_small(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        OSError: it can't be read, is no regular file, or is far larger than a run writes.
        UnicodeDecodeError: it is not UTF-8.
    """
    with opened(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB")
    return content.decode()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file beside `path`, which takes its place when all of it is on disk.

    Its name is unused and is created here: no link of that name is followed, so nobody's file can
    be overwritten. After an error `path` is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the content
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error matters more
            unfinished.unlink()
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is complete or, after an error, as it was before."""
    if isinstance(path, BucketPath):
        path.write_bytes(content)
        return
    with replacing(path) as file:
        file.write(content)
