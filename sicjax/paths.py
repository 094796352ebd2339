"""The one place where a user's text becomes a path."""

import os
import re
from pathlib import Path
from typing import Any

from sicjax.errors import ConfigError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two letters at least: C:/ is a drive


def path(name: str, value: Any) -> Path:
    """Return an absolute path, which stays the same when the working folder changes.

    Args:
        name: of the argument, for messages.
        value: text or any path; ~ is the home folder.

    Raises:
        TypeError: it is neither text nor a path.
        ConfigError: it is empty, a URL, or names the home of an unknown user.
    """
    if not isinstance(value, str | os.PathLike):
        shown = " ".join(repr(value).split())[:80]
        raise TypeError(f"{name} is {shown}: must be a path")
    text = os.fsdecode(value)
    if not text.strip() or "\0" in text:
        raise ConfigError(f"{name}={text!r}: must be a path")
    if scheme := _SCHEME.match(text):
        what = "not supported"
        if scheme[0] == "gs:/":
            what = "not supported yet: mount the bucket as a folder (docs/pods.md)"
        raise ConfigError(f"{name}={text}: paths that begin with {scheme[0]}/ are {what}")
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no such user, or the working folder is gone
        raise ConfigError(f"{name}={text}: can't be found ({error})") from None
