"""Lets a process of a pipeline die at a moment that the environment names; Python imports this module by itself.

``FAULT`` is JSON with ``program`` (a module that the process runs) and one of

- ``writes``: the end of a path; the process dies when it is about to write that file;
- ``starts``: the end of a module's name; it dies when it is about to start a process that runs that module;
- ``imports``: a module's name; it dies when it imports it;
- ``file_bytes``: it dies in the middle of the first file that grows beyond that size.

With ``parent`` the process that started it is killed first. With ``hangs`` it does not die: it does nothing, for long.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from typing import Any


def install(fault: dict[str, Any]) -> None:
    if "file_bytes" in fault:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["file_bytes"],) * 2)
        return

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if _due(fault, event, values):
            if fault.get("hangs"):
                time.sleep(600)
            if fault.get("parent"):
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _due(fault: dict[str, Any], event: str, values: tuple[Any, ...]) -> bool:
    if event == "open" and "writes" in fault:
        return bool(values[2] & (os.O_WRONLY | os.O_RDWR)) and str(values[0]).endswith(fault["writes"])
    if event == "subprocess.Popen" and "starts" in fault:
        return any(str(word).endswith(fault["starts"]) for word in values[1])
    return event == "import" and values[0] == fault.get("imports")


_asked = json.loads(os.environ.get("FAULT", "null"))
if _asked and sys.orig_argv[1:3] == ["-m", _asked["program"]]:
    install(_asked)
