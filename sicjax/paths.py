"""The one place where a user's text becomes a path, on a disk or in a bucket."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sicjax.errors import ConfigError, brief, one_line

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two letters at least: C:/ is a drive
_BUCKET = re.compile(r"gs:/{1,2}([a-z0-9][a-z0-9._-]+[a-z0-9])((?:/[^/]+)+)/?")
_RETRIES = {"max_retries": 5}  # of a request, after 1, 2, 4 ... s; a run must not wait for ever


def path(name: str, value: Any, *, bucket: bool = False) -> Path:
    """Return an absolute path, so a change of the working folder does not matter.

    Args:
        name: name of the argument, for messages.
        value: text or any path; ~ is the home folder.
        bucket: gs://BUCKET/FOLDER is allowed, too; it becomes a `BucketPath`.

    Raises:
        TypeError: the value is neither text nor a path.
        ConfigError: the value is empty, a URL, or names the home of an unknown user.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} is {brief(value)}: must be a path")
    text = os.fsdecode(value)
    if not text.strip() or "\0" in text:
        raise ConfigError(f"{name}={text!r}: must be a path")
    if scheme := _SCHEME.match(text):
        if scheme[0] == "gs:/" and bucket:
            return _in_bucket(name, text)
        takes = "; only sicjax.main, and what reads a run, take a bucket" * (scheme[0] == "gs:/")
        raise ConfigError(
            f"{name}={text}: paths that begin with {scheme[0]}/ are not supported here{takes}"
        )
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no such user, or the working folder was removed
        raise ConfigError(f"{name}={text}: can't be found ({error})") from None


def _in_bucket(name: str, text: str) -> "BucketPath":
    match = _BUCKET.fullmatch(text)
    if not match or {".", ".."} & {*match[2].split("/")}:
        raise ConfigError(f"{name}={text}: must be gs://BUCKET/FOLDER")
    if odd := re.search(r"[*?\[\]{}#\\\s]|[^ -~]", match[2]):
        # Libraries that delete a checkpoint there would read such a path as a pattern.
        raise ConfigError(f"{name}={text}: a path in a bucket must not contain {odd[0]!r}")
    return BucketPath(f"gs://{match[1]}{match[2]}")


ABSENT = b"\2"  # TensorStore's generation of a missing object

# The type checker sees a Path, because it has the methods that a run uses. At run time it is not a
# Path: methods that it lacks would then look into a local folder.
if TYPE_CHECKING:
    from pathlib import Path as _Base
else:
    _Base = PurePosixPath


class BucketPath(_Base):
    """A path gs://BUCKET/NAME, whose files are the objects of a Google Cloud Storage bucket.

    A folder exists as long as an object is below it. A file is written completely or not at all.
    All methods raise OSError, as those of `Path` do.
    """

    def __str__(self) -> str:
        """Return the URL, whose two slashes Python joins; a relative path has none."""
        whole = "gs://" if self.parts[:1] == ("gs:",) else ""
        return whole + "/".join(self.parts[1:] if whole else self.parts)

    def __fspath__(self) -> str:
        """Return the URL."""
        return str(self)

    def absolute(self) -> "BucketPath":
        """Return the same path."""
        return self

    def kvstore(self) -> dict[str, Any]:
        """Return TensorStore's description of the objects below this path."""
        return {
            "driver": "gcs", "bucket": self.parts[1], "path": f"{self._key}/",
            "gcs_request_retries": _RETRIES,
        }  # fmt: skip

    @property
    def _key(self) -> str:
        return "/".join(self.parts[2:])

    def _keys(self, first: str, last: str) -> list[str]:
        """Return the names of the bucket's objects that sort from `first` to before `last`."""
        import tensorstore

        with self._errors():
            found = _store(self.parts[1]).list(tensorstore.KvStore.KeyRange(first, last)).result()
        # An emulated bucket may list more than requested.
        return [name for key in found if first <= (name := key.decode()) < last]

    def _below(self) -> list[str]:
        """Return the names of all objects below this path, relative to it."""
        folder = f"{self._key}/"
        # "New folder" in a web console makes an object whose name ends with a slash.
        return [key.removeprefix(folder) for key in self._keys(f"{folder}\1", f"{self._key}0")]

    def is_file(self) -> bool:
        """Return whether an object has this name."""
        return bool(self._keys(self._key, f"{self._key}\0"))

    def is_dir(self) -> bool:
        """Return whether any object is below this path."""
        return bool(self._below())

    def exists(self) -> bool:
        """Return whether it is a file or a folder."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator["BucketPath"]:  # type: ignore[override]
        """Yield the files and folders directly below this path."""
        yield from (self / name for name in sorted({key.split("/")[0] for key in self._below()}))

    def files(self) -> list["BucketPath"]:
        """Return all files below this path, at any depth."""
        return [self / key for key in self._below()]

    def read(self) -> tuple[bytes, bytes]:
        """Return the content of the file and its generation.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        with self._errors():
            found = _store(self.parts[1]).read(self._key).result()
        if found.state != "value":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return found.value, found.stamp.generation

    def read_bytes(self) -> bytes:
        """Return the content of the file."""
        return self.read()[0]

    def write(self, content: bytes | None, *, if_equal: bytes | None = None) -> bytes:
        """Write the file, or remove it if `content` is None; return its new generation.

        Args:
            content: the whole content.
            if_equal: the generation that the file must still have; `ABSENT` if it must not exist.
                Otherwise nothing is written and the result is b"".
        """
        with self._errors():
            done = _store(self.parts[1]).write(self._key, content, if_equal=if_equal).result()
        return done.generation

    def write_bytes(self, content: bytes) -> int:  # type: ignore[override]
        """Write the file."""
        self.write(content)
        return len(content)

    def write_text(self, text: str) -> int:  # type: ignore[override]
        """Write the file."""
        return self.write_bytes(text.encode())

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file; a missing file is not an error."""
        self.write(None)

    def mkdir(self, mode: int = 0, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists if a file in it does."""

    def rmdir(self) -> None:
        """Do nothing: a folder disappears with its last file."""

    def rmtree(self) -> None:
        """Remove all files below this path."""
        with self._errors():
            store, folder = _store(self.parts[1]), f"{self._key}/"
            for removal in [store.write(folder + key, None) for key in self._below()]:
                removal.result()

    def rename(self, target: Path) -> Any:  # type: ignore[override]
        """Copy all files below this path to another path, then remove them here."""
        for file in self.files():
            (target / file.relative_to(self)).write_bytes(file.read_bytes())
        self.rmtree()
        return target

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn TensorStore's errors into short errors of a file system."""
        try:
            yield
        except (ValueError, RuntimeError, NotImplementedError, TimeoutError) as error:
            text = str(error)
            status = text.partition(":")[0]
            known = {
                "NOT_FOUND": (errno.ENOENT, "there is no such bucket"),
                "PERMISSION_DENIED": (errno.EACCES, "no permission for this bucket"),
                "UNAUTHENTICATED": (errno.EACCES, "no credentials for this bucket"),
            }
            number, why = known.get(status, (errno.EIO, one_line(error)))
            raise OSError(number, why) from None


@cache
def _store(bucket: str) -> Any:
    """Open a bucket; this sends no request."""
    import tensorstore  # slow to load, and --help must be fast

    spec = {"driver": "gcs", "bucket": bucket, "gcs_request_retries": _RETRIES}
    return tensorstore.KvStore.open(spec).result()
