"""The devices and cores of this machine."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import jax

from sicjax.errors import ConfigError
from sicjax.workers import available_cores


def all_devices() -> list[jax.Device]:
    """Return every device of every process.

    Raises:
        ConfigError: JAX has no backend that JAX_PLATFORMS names.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # "cuda" gives the latter, without a text
        said = " ".join(str(error).partition("(set JAX_PLATFORMS")[0].split())
        asked = jax.config.values.get("jax_platforms")
        accelerator = {"cuda": "cuda13", "gpu": "cuda13", "tpu": "tpu"}.get(str(asked))
        raise ConfigError(
            f"JAX_PLATFORMS={asked}: {said or 'JAX finds no such device'}; unset it"
            + (f', or python -m pip install "jax[{accelerator}]"' if accelerator else "")
        ) from None


def unseen_accelerator(
    devices: Path = Path("/dev"), environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return one line if this machine has a GPU or TPU that JAX doesn't use, otherwise None.

    Args:
        devices: folder of the device files.
        environment: variables; some exclude a device on purpose.
    """
    chosen = environment.get("JAX_PLATFORMS") or jax.config.values.get("jax_platforms")
    if jax.default_backend() != "cpu" or chosen:
        return None
    install = 'JAX runs on the CPU; to use it: python -m pip install "jax[{}]=={}"'
    if any(devices.glob("nvidia[0-9]*")) and environment.get("CUDA_VISIBLE_DEVICES", "0") not in (
        "", "-1",
    ):  # fmt: skip
        return "there is an NVIDIA GPU, but " + install.format("cuda13", jax.__version__)
    if any(devices.glob("accel[0-9]*")) or "TPU_ACCELERATOR_TYPE" in environment:
        return "there is a TPU, but " + install.format("tpu", jax.__version__)
    return None


def use_all_cores() -> None:
    """Make each CPU core a device, because a single device uses several cores badly.

    This works only before JAX's first computation. A number of devices set by the user stays.
    """
    set_by_user = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not set_by_user and jax.config.values["jax_num_cpu_devices"] < 1:
        with contextlib.suppress(RuntimeError):  # too late: JAX has already computed something
            jax.config.update("jax_num_cpu_devices", available_cores())
