"""What a piece of a user's code says, as a short digest: its source and the values it holds."""

import functools
import hashlib
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_PLAIN = (int, float, complex, str, bytes, bool, type(None))


def fingerprint(part: Any) -> str:
    """SHA-256, 16 digits, of a function or object: source, defaults, and constants that it reads.

    Constants are what a function closes over and what it reads by name from its module: numbers,
    text, arrays, and other functions of that module with theirs. Of an object it is the source of
    its class and what its `repr` shows.

    Args:
        part: the function, `functools.partial` or object.
    """
    digest = hashlib.sha256()
    for text in _said(part, set()):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def _said(part: Any, seen: set[int]) -> Iterator[str]:
    """What a part says, text by text; each function once, as they may call each other."""
    if isinstance(part, functools.partial):
        yield from _said(part.func, seen)
        yield from _said([part.args, sorted(part.keywords.items())], seen)
    elif isinstance(part, types.FunctionType):
        if id(part) not in seen:
            seen.add(id(part))
            yield from _function_said(part, seen)
    elif isinstance(part, _PLAIN):
        yield repr(part)
    elif isinstance(part, list | tuple):
        for entry in part:
            yield from _said(entry, seen)
    elif hasattr(part, "__array__"):
        array = np.asarray(part)
        yield f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    else:
        kind = part if isinstance(part, type) else type(part)
        yield _source(kind) or kind.__qualname__
        yield re.sub(r" at 0x[0-9a-f]+", "", repr(part))


def _function_said(function: types.FunctionType, seen: set[int]) -> Iterator[str]:
    code = function.__code__
    yield _source(function) or repr((code.co_code, code.co_names))
    yield from _said([function.__defaults__, sorted((function.__kwdefaults__ or {}).items())], seen)
    for cell in function.__closure__ or ():
        yield from _said(cell.cell_contents, seen)
    for name in code.co_names:
        value = function.__globals__.get(name)
        ours = isinstance(value, types.FunctionType) and value.__module__ == function.__module__
        if ours or isinstance(value, (*_PLAIN[:-1], list, tuple, np.ndarray)):
            yield name
            yield from _said(value, seen)


def _source(part: Any) -> str:
    """The source of a function or class; nothing where it can't be had."""
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):
        return ""


@functools.cache
def package_digest() -> str:
    """Return the SHA-256, 16 digits, of the source of sicjax as it lies on this machine."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
