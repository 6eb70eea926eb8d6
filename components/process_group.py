"""A process that was started with ``start_new_session``, and the processes that it starts: they end with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Any

_LOOK_EVERY_S = 0.02


def wait_for_leader(process: subprocess.Popen[Any], timeout_s: float = float("inf")) -> bool:
    """Waits until the first process has ended, and says whether it has; the group keeps its number until `end`."""
    end_s = time.monotonic() + timeout_s
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() >= end_s:
                return False
            time.sleep(_LOOK_EVERY_S)
    return True


def end(process: subprocess.Popen[Any]) -> int:
    """Ends whoever is left of the group, and gives the first process's exit status."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
