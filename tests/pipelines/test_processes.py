"""Processes that end while tests look at them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import below, command_line, runs, until

PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']).wait()"


def test_a_process_and_what_it_started_are_seen_until_they_end() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE) as parent:
        until(lambda: any("input()" in command_line(pid) for pid in below(parent.pid)))
        (child,) = below(parent.pid)
        assert child in below(os.getpid())
        assert runs(parent.pid)
        assert runs(child)
        assert parent.stdin
        parent.stdin.close()
        until(lambda: not runs(parent.pid))
        assert parent.returncode is None, "nobody has asked for its status, so it is still there"
    assert not runs(child)
    assert below(parent.pid) == []


@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError])
def test_a_process_that_ends_while_it_is_looked_at_has_ended(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def ended(*_: Any) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", ended)
    assert not runs(os.getpid())
    assert below(os.getpid()) == []
    assert command_line(os.getpid()) == ""
