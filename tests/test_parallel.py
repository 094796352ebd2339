"""Devices, cores and processes: how many there are, what is pointed out, who ends whom."""

import socket
import subprocess
import sys

import jax
import pytest

from sicjax.devices.hardware import available_cores, unseen_accelerator


@pytest.mark.parametrize(
    ("quota", "wanted"),
    [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1), ("1 2 3", None), ("", None)],
)
def test_cores_are_those_of_the_containers_quota(tmp_path, quota, wanted):
    (tmp_path / "cpu.max").write_text(quota)
    unlimited = available_cores(tmp_path / "none")
    assert available_cores(tmp_path) == (wanted or unlimited)
    assert unlimited >= 1


def test_what_process_0_raises_ends_its_peers_at_once():
    """Not by the heartbeat, which takes 20 s."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    script = f"""if True:
        import sys, time
        from sicjax import parallel
        from sicjax.main import guarded, leave
        from sicjax.signals import Signals

        def work(_):
            parallel.start_processes(
                coordinator_address="localhost:{port}", num_processes=2,
                process_id=int(sys.argv[1]),
            )
            signals = Signals()
            with signals.shared():
                if parallel.is_first() and sys.argv[2] == "shared":
                    raise OSError("no space")
            signals.agreed()
            with parallel.on_first() as first:
                if first:
                    raise OSError("no space")

        began = time.monotonic()
        try:
            code = guarded(work, [])
        except OSError as error:
            print("own", error)
            code = 4
        print(code, "after", time.monotonic() - began)
        parallel.leave_processes()
        leave(code)
    """
    for where in ("shared", "first"):
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(k), where], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )
            for k in (0, 1)
        ]  # fmt: skip
        said = [run.communicate(timeout=100) for run in runs]
        assert [run.returncode for run in runs] == [4, 1], said
        assert "own no space" in said[0][0]
        assert "another process of this run has stopped" in said[1][1]
        assert float(said[1][0].split()[-1]) < 15


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
