"""Devices that JAX doesn't see are pointed out, unless that was asked for."""

import jax
import pytest

from sicjax.parallel import unseen_accelerator


@pytest.fixture
def no_choice_of_platform(monkeypatch):
    """As for a user who has chosen no platform; JAX itself stays on the CPU."""
    chosen = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", None)
    yield
    jax.config.update("jax_platforms", chosen)


@pytest.mark.parametrize(
    ("files", "environment", "extra"),
    [
        (["nvidia0", "nvidiactl"], {}, "cuda13"),
        (["nvidia0"], {"CUDA_VISIBLE_DEVICES": "0"}, "cuda13"),
        (["nvidia0"], {"CUDA_VISIBLE_DEVICES": ""}, None),
        (["nvidia0"], {"JAX_PLATFORMS": "cpu"}, None),
        (["accel0"], {}, "tpu"),
        ([], {"TPU_ACCELERATOR_TYPE": "v5litepod-4"}, "tpu"),
        (["null", "tty0"], {}, None),
    ],
)
def test_unseen_accelerator(no_choice_of_platform, tmp_path, files, environment, extra):
    for name in files:
        (tmp_path / name).touch()
    hint = unseen_accelerator(tmp_path, environment)
    if extra is None:
        assert hint is None
    else:
        assert hint.endswith(f'python -m pip install "jax[{extra}]=={jax.__version__}"')
