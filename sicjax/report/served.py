"""What the other process of `second_process` runs: functions that it is asked for, one by one."""

import os
import pickle
import queue
import signal
import sys
import threading
from typing import BinaryIO


def serve() -> None:
    """Answer what comes in on standard input; end when that does, as it does with the asker.

    An answer is whether the function returned, and what: where it raised, the asker calls it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the asker heeds it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what functions print is no answer
    asked: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, asked), daemon=True).start()
    from sicjax.report import cells  # noqa: F401  what will be asked for, while nothing is

    while True:
        function, args = asked.get()
        try:
            answer = True, function(*args)
        except Exception:
            answer = False, None
        pickle.dump(answer, answers)
        answers.flush()


def _listen(source: BinaryIO, asked: queue.SimpleQueue) -> None:
    while True:
        try:
            asked.put(pickle.load(source))
        except Exception:  # the asker is gone, or has died while it wrote
            os._exit(0)
