"""Provenance: the code that computed a result."""

import importlib.metadata
import platform
from collections.abc import Mapping

from sicjax.training.fingerprint import package_digest
from sicjax.version import __version__

SOURCE = "sicjax source"  # the digest of the source, because many commits share a version
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Python, our source and the packages on which a result depends."""
    found = {
        "python": platform.python_version(),
        SOURCE: package_digest(),
        # Not from the metadata: in a clone installed with -e they are out of date after an update.
        "sicjax": __version__,
    }
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "(not installed)"  # run from a checkout
    return found


def changed(before: Mapping[str, str]) -> str:
    """Return the changes in versions on which numbers depend, as text; "" if there are none."""
    now = versions()
    names = [name for name in ("sicjax", SOURCE, "jax", "jaxlib") if name in before]
    differing = [name for name in names if before[name] != now[name]]
    return ", ".join(f"{name} was {before[name]}, is {now[name]}" for name in differing)
