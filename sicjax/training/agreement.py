"""Check, before anything else, that all processes of a run were started for the same run."""

import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from sicjax.config.check import flatten
from sicjax.devices import processes
from sicjax.devices.hardware import all_devices
from sicjax.errors import ConfigError, brief
from sicjax.training.fingerprint import package_digest
from sicjax.training.method import Method, record
from sicjax.training.provenance import versions
from sicjax.training.workdir import cannot_write

# Versions and settings of JAX that change numbers or the communication between processes.
_PACKAGES = ("jax", "jaxlib", "flax", "optax")
_SETTINGS = (
    "jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl",
    "jax_threefry_partitionable",
)  # fmt: skip
_VISIBLE_S = 10.0  # seconds until a new file is visible to the other hosts of a network file system


def check_same(config: ConfigDict, method: Method, folder: Path | None) -> None:
    """Check that every process has the same config, method, code, devices and workdir as process 0.

    Otherwise they would train a mixture of runs, or wait for each other for ever.

    Raises:
        ConfigError: in all processes alike; names the first process that differs, and how.
    """
    all_devices()  # a missing backend must fail first, with its own one-line error
    if processes.is_alone():
        return
    facts = json.loads(json.dumps(_facts(config, method)))
    if not processes.is_first():
        complaint = processes.agree("", lambda offer: _complaint(json.loads(offer), facts, folder))
    else:
        with _token(folder) as (token, problem):
            offer = {"facts": facts, "token": token, "problem": problem}
            complaint = processes.agree(json.dumps(offer), lambda _: "")
    if complaint:
        raise ConfigError(complaint)


def _facts(config: ConfigDict, method: Method) -> dict[str, Any]:
    """Return everything that must not differ between processes, by its name in messages."""
    installed = versions()
    devices = all_devices()
    return {
        **flatten(config),
        "method": record(method),
        **{f"version of {name}": installed[name] for name in _PACKAGES},
        "source code of sicjax (SHA-256)": package_digest(),
        **{name: str(jax.config.values.get(name)) for name in _SETTINGS},
        "kind of devices": devices[0].platform,
        "number of local devices": jax.local_device_count(),
    }


def _complaint(offer: Mapping[str, Any], facts: Mapping[str, Any], folder: Path | None) -> str:
    """Return what differs between this process and process 0; "" if nothing does."""
    if offer["problem"]:
        return offer["problem"]
    who, first = f"process {jax.process_index()}", offer["facts"]
    for name in {**first, **facts}:
        if first.get(name) != facts.get(name):
            return (
                f"{who} differs from process 0: {name} is {brief(facts.get(name))} there,"
                f" {brief(first.get(name))} in process 0; start all with the same command and"
                " code, or separate runs with --num_processes=1 each"
            )
    if (folder is None) != (offer["token"] is None):
        return f"{who} differs from process 0: one of them has no workdir"
    if folder is not None and not _sees(folder / offer["token"]):
        return (
            f"workdir={folder}: {who} doesn't see what process 0 writes there; it must be one"
            " folder on a file system that all processes share"
        )
    return ""


@contextlib.contextmanager
def _token(folder: Path | None) -> Iterator[tuple[str | None, str]]:
    """Yield the name of a new file in the workdir while it exists, and why it couldn't be made."""
    if folder is None:
        yield None, ""
        return
    name, is_new, problem = f".seen-{secrets.token_hex(8)}", not folder.exists(), ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("Process 0 was here; the other processes look for this file.\n")
    except OSError as error:
        problem = str(cannot_write(folder, error))
    try:
        yield name, problem
    finally:
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
            if is_new:
                folder.rmdir()  # the run creates the folder again when it claims it


def _sees(path: Path) -> bool:
    deadline = time.monotonic() + _VISIBLE_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
