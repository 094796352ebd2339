"""Digests of a user's function: one of the constants that it uses, one of its source.

Changed constants would silently change a run's numbers, so they are compared at a restart. Changed
source only prints a line, because it may be a comment.
"""

import functools
import hashlib
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_PLAIN = (int, float, complex, str, bytes, bool, list, tuple, np.ndarray)


class Fingerprint(NamedTuple):
    """Two digests of 16 hexadecimal digits."""

    constants: str  # digest of closures, defaults, and values read from its module
    source: str  # digest of its text, including comments


def fingerprint(part: Any) -> Fingerprint:
    """Return the digests of a function, `functools.partial` or object.

    An object's constants are what its `repr` shows; its source is that of its class. Functions of
    the same module that a function calls are included.
    """
    digests = {"constants": hashlib.sha256(), "source": hashlib.sha256()}
    for kind, text in _walk(part, set()):
        digests[kind].update(text.encode() + b"\0")
    return Fingerprint(**{kind: digest.hexdigest()[:16] for kind, digest in digests.items()})


def _walk(part: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Yield pairs ("constants" or "source", text)."""
    if isinstance(part, functools.partial):
        yield from _walk([part.func, part.args, sorted(part.keywords.items())], seen)
    elif isinstance(part, list | tuple):
        for entry in part:
            yield from _walk(entry, seen)
    elif isinstance(part, types.FunctionType):
        if id(part) not in seen:  # functions may call each other: visit each once
            seen.add(id(part))
            yield "source", _source(part)
            yield from _walk([part.__defaults__, *(part.__kwdefaults__ or {}).items()], seen)
            yield from _walk([cell.cell_contents for cell in part.__closure__ or ()], seen)
            for name in part.__code__.co_names:
                value = part.__globals__.get(name)
                own = isinstance(value, types.FunctionType) and value.__module__ == part.__module__
                if own or isinstance(value, _PLAIN):
                    yield from _walk([name, value], seen)
    elif hasattr(part, "__array__"):
        array = np.asarray(part)
        yield (
            "constants",
            f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}",
        )
    else:
        yield "constants", re.sub(r" at 0x[0-9a-f]+", "", repr(part))
        yield "source", _source(part if isinstance(part, type) else type(part))


def _source(part: Any) -> str:
    """Return the source of a function or class; "" if Python can't find it."""
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):
        return ""


@functools.cache
def package_digest() -> str:
    """Return the first 16 digits of the SHA-256 of the source of sicjax on this machine."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
