"""The command's stderr: XLA's false alarm is dropped, every other line arrives."""

import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from sicjax import stderr

ALARM = (
    "E1124 09:49:23.164858   10823 cpu_aot_loader.cc:195] Loading XLA:CPU AOT result. Target "
    "machine feature +prefer-no-{} is not  supported on the host machine. Machine type used for "
    "XLA:CPU compilation doesn't match the machine type for execution. Compile machine features: "
    "[+avx512f,+prefer-no-gather,+prefer-no-scatter] vs host machine features: [+avx512f]. This "
    "could lead to execution errors such as SIGILL.\n"
)
QUIET = f"""
import os, signal, sys, time
from sicjax import stderr

alarm = {ALARM!r}.format("gather")
stderr.start_filter()
"""


def said(script, code=0, **more):
    """Return the stderr of a process whose C++ code writes to descriptor 2."""
    done = subprocess.run(
        [sys.executable, "-c", QUIET + script],
        stderr=subprocess.PIPE, text=True, timeout=60, check=False, **more,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr


def test_that_line_alone_is_dropped():
    other = [
        ALARM.format("gather").replace("+prefer-no-gather is", "+avx512f is"),  # a true mismatch
        ALARM.format("gather").replace("cpu_aot_loader", "cpu_compiler"),
        "note: " + ALARM.format("scatter"),  # a line that only mentions it
        "W1124 09:49:23.164858   10823 cpu_aot_loader.cc:195] something else\n",
        "\x1b[31mred\x1b[0m é \\udcff 10 %\r50 %\r\n",
        "no end of the line",
    ]
    lines = [ALARM.format("gather"), *other[:3], ALARM.format("scatter"), *other[3:]]
    text = "".join(lines).encode()
    # In pieces of 500 bytes, which end in the middle of lines.
    script = f"""
for k in range(0, {len(text)}, 500):
    os.write(2, {text!r}[k : k + 500])
"""
    assert said(script) == "".join(other).replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("first", [0, 1])
def test_the_abort_of_jax_when_another_process_is_gone_is_one_line(first):
    dump = [
        "E1128 23:17:16.357988   17648 coordination_service_agent.cc:289] Polled an error from"
        " coordination service (this can be an error from this or another task).",
        "F1128 23:17:16.358056   17648 client.h:80] Terminating process because the JAX distributed"
        " service detected fatal errors. This most likely indicates that another task died",
        "Additional GRPC error information from remote target coordination_service:",
        "*** Check failure stack trace: ***",
        "    @     0x7f4903772104  absl::lts_20260107::log_internal::LogMessage::SendToLog()",
        "    @     0x7f490b4a71f5  (unknown)",
    ][first:]
    text = "\n".join(["before", *dump]).encode()
    before, line = said(f"os.write(2, {text!r}); os.abort()", -signal.SIGABRT).splitlines()
    assert before == "before"
    assert line.startswith("sicjax: another process of this run has stopped")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("os.abort()", -signal.SIGABRT),
        ("os._exit(130)", 130),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.killpg(0, signal.SIGTERM)", -signal.SIGTERM),
        ("sys.exit(3)", 3),
    ],
)
def test_last_words_arrive_however_the_process_ends(end, code):
    script = f"""
os.write(2, alarm.encode() + b"F1124 fatal\\n")
print("python", file=sys.stderr)
os.write(2, b"last")
{end}
"""
    heard = said(script, code, start_new_session=True)
    assert sorted(re.findall("F1124 fatal|python|last", heard)) == ["F1124 fatal", "last", "python"]
    assert "SIGILL" not in heard


def test_a_terminal_stays_one_and_ctrl_c_reaches_the_command_alone():
    script = """
try:
    print(sys.stderr.isatty(), file=sys.stderr)
    time.sleep(30)
except KeyboardInterrupt:
    os.write(2, alarm.encode() + b"after Ctrl-C\\n")
    os.write(2, b"unfinished")
    time.sleep(0.5)
    print("|done", file=sys.stderr)
"""
    terminal, inside = pty.openpty()
    # Its own by TIOCSCTTY: a fork of this process, whose JAX has threads, is warned of.
    owned = "import fcntl, signal, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    # Which a shell's background job, and all below it, is born to ignore.
    owned += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    child = subprocess.Popen(
        [sys.executable, "-c", owned + QUIET + script],
        stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
    )  # fmt: skip
    os.close(inside)
    heard = b""
    try:
        while b"done" not in heard:
            heard += os.read(terminal, 4096)
            if heard.endswith(b"True\r\n"):
                os.write(terminal, b"\x03")
    finally:
        child.wait()
        os.close(terminal)
    assert heard.replace(b"^C", b"") == b"True\r\nafter Ctrl-C\r\nunfinished|done\r\n"


def test_without_a_stderr_nothing_is_done():
    done = subprocess.run(
        [
            "bash", "-c", '"$0" -c "$1" 2>&-', sys.executable,
            QUIET + "print('went on', sys.stderr)",
        ],
        stdout=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "went on None\n"


COMMAND = """
import os, sys, time
import sicjax.runs
from sicjax import main

def train(config, workdir):
    import jax

    jax.config.update("jax_compilation_cache_dir", os.fspath(workdir))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    for turn in range(3):  # compiles a program; has it from the cache; again, past the filter
        jax.jit(lambda x: x + 1)(1.0)
        jax.clear_caches()
        if turn == 1:
            os.write(2, b"another line\\n")
            time.sleep(0.3)  # lines that passed the filter are there
            os.dup2(sys.stderr.fileno(), 2)
            os.write(2, b"unfiltered\\n")

sicjax.runs.train = train
sys.argv[1:] = ["--config=quick", "--workdir=compiled"]
main.command()
"""


def test_a_cached_run_of_the_command_is_silent(tmp_path):
    environment = {n: v for n, v in os.environ.items() if n != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=tmp_path, env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alarms = [line for line in done.stderr.splitlines(keepends=True) if "SIGILL" in line]
    rest = [line for line in done.stderr.splitlines() if "SIGILL" not in line]
    assert sorted(rest) == ["another line", "unfiltered"]
    if alarms:  # they need AVX-512, and a later XLA may know better
        assert "SIGILL" not in done.stderr.partition("unfiltered\n")[0]
        assert all(stderr._FALSE_ALARM.match(line.encode()) for line in alarms)


def test_importing_sicjax_changes_no_log_level():
    script = """
import logging, os, sys
before = dict(os.environ), logging.root.level, os.fstat(2), sys.stderr
import sicjax
sicjax.norm_relu, sicjax.load_config("quick")
assert before == (dict(os.environ), logging.root.level, os.fstat(2), sys.stderr)
assert not logging.Logger.manager.disable
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
