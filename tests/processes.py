"""Processes as /proc shows them. One may end at any moment, also between opening its file and reading it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_ENDED = (FileNotFoundError, ProcessLookupError)


def below(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    children = [int(child) for thread in _threads(pid) for child in _read(thread / "children").split()]
    return [each for child in children for each in (child, *below(child))]


def runs(pid: int) -> bool:
    """Whether a process is there and does something; one that ended may wait for somebody to ask for its status."""
    state = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return bool(state) and state[0] != "Z"


def command_line(pid: int) -> str:
    """The words that a process was started with."""
    return _read(Path(f"/proc/{pid}/cmdline"))


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Waits for something to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except _ENDED:
        return []


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except _ENDED:
        return ""
