"""Runs functions in processes that may be killed. TFX is imported once, by the process that they are forked from."""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TIMEOUT_S = 240


@dataclass(frozen=True)
class Forked:
    """A process.

    Attributes:
      pid: its number.
      log: what it and its children printed.
    """

    pid: int
    log: Path
    server: Server

    def wait(self) -> int:
        """Its exit status, or the negative number of the signal that killed it."""
        return self.server.status(self.pid)


class Server:
    """The process that others are forked from.

    Args:
      preload: modules that it imports.
      folder: of logs, and of temporary files, in ``tmp``.
    """

    def __init__(self, preload: Sequence[str], folder: Path) -> None:
        self._folder, self.temporary = folder, folder / "tmp"
        self.temporary.mkdir()
        with (folder / "server.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )
        self._count = 0
        self._ended: dict[int, int] = {}

    def start(self, function: str, **arguments: Any) -> Forked:
        """Calls ``package.module:function`` with JSON arguments in a new process."""
        self._count += 1
        log = self._folder / f"{self._count}.log"
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([function, arguments, str(log)]) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._answer()["pid"]), log, self)

    def status(self, pid: int) -> int:
        while pid not in self._ended:
            answer = self._answer()
            self._ended[answer["pid"]] = answer["status"]
        return self._ended[pid]

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _serve(preload: Sequence[str]) -> None:
    for name in preload:
        importlib.import_module(name)
    for line in sys.stdin:
        function, arguments, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(log)
            os._exit(_call(function, arguments))
        print(json.dumps({"pid": pid}), flush=True)
        print(json.dumps({"pid": pid, "status": _ended(pid)}), flush=True)


def _ended(pid: int) -> int:
    """Waits for a process, within limits."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, 9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _become(log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)


def _call(function: str, arguments: dict[str, Any]) -> int:
    module, _, name = function.partition(":")
    try:
        getattr(importlib.import_module(module), name)(**arguments)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1:])
