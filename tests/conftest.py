"""Settings for all tests: two fake CPU devices, caches for the session, strict JAX."""

import ctypes
import gc
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
# Each core has a worker of its own; a second thread of BLAS would only wait for it, at full power.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# One folder for what the session's workers, and the programs that tests start, compile and draw
# with: each program is compiled once, and the developer's own ~/.cache is neither read nor filled.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sicjax-tests-")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.environ["XDG_CACHE_HOME"] + "/compiled")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import filelock
import jax
import pytest

# Tracing makes many objects that stay; looking through them for garbage took a seventh of the time.
gc.set_threshold(50_000, 20, 50)
# The package broadcasts only over axes that exist.
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Compile in a third of the time, except for slow tests: most run a program only once.

    The numbers are the same to rounding. `.ci/versions` compiles the losses as users do, and so do
    the slow tests, which train.
    """
    if "not slow" not in config.option.markexpr:
        return
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of programs that tests start
    fast = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0"
    jax.config.update("jax_disable_most_optimizations", fast)
    # The older emitters of loops compile faster. jax 0.12 has only the newer ones.
    option = "--xla_cpu_use_fusion_emitters=false"
    if fast and jax.__version_info__ < (0, 11) and option not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] += f" {option}"


# The longest files. A worker takes a file as a whole; one that began with such a file last would
# work alone at the end.
LONG = [f"test_{name}.py" for name in (
    "report", "losses", "training", "devices", "loop", "buckets", "drawing", "stages", "run",
    "method", "parallel",
)]  # fmt: skip


def pytest_collection_modifyitems(items):
    """Put the long files first; `--no-loadscope-reorder` keeps this order."""
    items.sort(key=lambda item: (*LONG, item.path.name).index(item.path.name))


def pytest_unconfigure(config):
    """Remove the session's caches, once its workers are done."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


# What compiled programs may take before they are dropped. Each maps memory, and Linux allows a
# process 65,530 maps.
MOST_BYTES, MOST_MAPS = 900e6, 20_000
_kept = 0.0  # bytes that stayed after the last time: libraries and their heaps


@pytest.fixture(autouse=True)
def memory_is_bounded():
    """Drop compiled programs if they use much memory; later tests compile theirs again."""
    yield
    if sys.platform != "linux":
        return
    global _kept
    # What stays does not count again; otherwise each test after the first such would clear.
    if _resident_bytes() > max(MOST_BYTES, _kept + 300e6) or _number_of_maps() > MOST_MAPS:
        jax.clear_caches()
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc keeps what is freed
            trim(0)
        _kept = _resident_bytes()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _number_of_maps() -> int:
    return Path("/proc/self/maps").read_bytes().count(b"\n")


@pytest.fixture
def x64():
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def strict_types():
    """Allow no promotion of types inside one test."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def as_jax_is():
    """JAX's own promotion of ranks and types, for code such as users write."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def tiny_config():
    """A config of one network that trains in a second."""
    from tests import tiny

    config = tiny.get_config()
    config.num_networks = 1
    return config


@pytest.fixture(scope="session")
def bucket_or_none():
    """A bucket on this machine, one for all tests: libraries keep their connection to it.

    None without what it needs. Its libraries read the environment when they are imported.
    """
    if not all(importlib.util.find_spec(name) for name in ("gcsfs", "gcp_storage_emulator")):
        yield None
        return
    from tests.bucket import Bucket

    with Bucket().serving() as served:
        yield served


@pytest.fixture
def bucket(bucket_or_none):
    """The same; a test is skipped without it."""
    if bucket_or_none is None:
        pytest.skip("needs gcsfs and gcp-storage-emulator")
    return bucket_or_none


@pytest.fixture(scope="module")
def small_reports():
    """Fewer shuffles, landmarks and steps than a real report takes."""
    from sicjax.report import dynamics, judge, measure, run_reports
    from sicjax.report.chapters import motion

    with pytest.MonkeyPatch.context() as patch:
        for room, sizes in (
            (judge, {"SHUFFLES": 10, "LANDMARKS": 60}),
            (measure, {"DRIFT_STEPS": 400, "SAMPLES": 500, "BATCH_STEPS": 6000}),
            (dynamics, {"PAIRED": 500, "PERTURBED": 8, "REFERENCES": 500}),
            (motion, {"STEPS": 24, "EVERY": 8}),
            (run_reports, {"SHUFFLES": 10}),
        ):
            for name, size in sizes.items():
                patch.setattr(room, name, size)
        yield


@pytest.fixture(scope="session")
def finished():
    """The folder of a finished run of `tests/tiny.py`: one for all workers, which only read it."""
    import sicjax
    from tests import tiny

    folder = Path(os.environ["XDG_CACHE_HOME"]) / "finished"
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.exists():
            sicjax.train(tiny.get_config(), folder.with_name("half"))
            folder.with_name("half").rename(folder)
    return folder
