"""A process that has imported everything a run needs, and forks one run for each line of input.

`python -m tests.storm.server PROGRAMS` with LD_PRELOAD=the shim of shim.c. A line of
input is JSON: instructions for the shim, the command's arguments, and a file for its output. A line
of output is the run's exit status, as `os.waitpid` gives it.

Before the fork there is no backend and no thread. A run outside the storm compiles the programs
once; all others read them. So the file operations of a run do not change.
"""

import ctypes
import hashlib
import json
import os
import pickle
import signal
import sys
import threading
from pathlib import Path

import jax
import jax.experimental.serialize_executable as programs
import jaxlib.mlir.dialects.mhlo  # noqa: F401 (else imported by each run)
import orbax.checkpoint  # noqa: F401 (likewise)

from sicjax import main
from sicjax.devices.layout import Layout

PATIENCE_S = 120  # for one run: then it hangs


def compile_once(folder: Path) -> None:
    """Make `Layout.compile` keep its programs in a folder, and read them from there."""
    compile_anew = Layout.compile

    def compile_or_load(self, function, *rows, donate=False):
        shapes = [(str(leaf.dtype), leaf.shape) for leaf in jax.tree.leaves(rows)]
        path = folder / hashlib.sha256(repr((shapes, donate)).encode()).hexdigest()[:16]
        if path.exists():
            return programs.deserialize_and_load(*pickle.loads(path.read_bytes()))
        # One that comes out of JAX's own cache can't be written again.
        jax.config.update("jax_enable_compilation_cache", False)
        compiled = compile_anew(self, function, *rows, donate=donate)
        jax.config.update("jax_enable_compilation_cache", True)
        path.write_bytes(pickle.dumps(programs.serialize(compiled)))
        return compiled

    Layout.compile = compile_or_load


def run(task: dict, shim: ctypes.CDLL) -> None:
    """In the fork: run the command as it would be by itself, with its filter of stderr."""
    output = os.open(task["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.alarm(PATIENCE_S)
    shim.storm_arm(
        task["folder"].encode(), task["journal"].encode(), task["kinds"], task["call"],
        task["fault"],
    )  # fmt: skip
    sys.argv = ["sicjax", *task["arguments"]]
    main.command()


def serve(folder: Path) -> None:
    """Fork a run for each line of the input."""
    compile_once(folder)
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.storm_arm.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_long,
                               ctypes.c_int]  # fmt: skip
    assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            run(json.loads(line), shim)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
