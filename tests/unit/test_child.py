"""A stage's process ends with all that it started, and whatever it said itself is heard."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tfx_edge import process_group
from tfx_edge.errors import ModelError
from tfx_edge.stages import child


def dies_before_what_it_started(request: child.Request, progress: Any) -> None:
    outlives, leaves = request.properties["outlived"], request.properties["leaves"]
    started = subprocess.Popen(["sh", "-c", 'sleep 30; touch "$0"', outlives], start_new_session=leaves)
    Path(f"{outlives}.pid").write_text(str(started.pid))
    print(*range(100), sep="\n", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("leaves", [False, True], ids=["in its group", "in a session of its own"])
def test_nothing_waits_for_a_process_that_outlives_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """It holds the child's output open."""
    monkeypatch.setattr(child, "_LAST_WORDS_S", 1.0)
    outlived = tmp_path / "outlived"
    request = child.Request("Dying", {}, {}, {"outlived": str(outlived), "leaves": leaves})
    try:
        with pytest.raises(ModelError, match="was killed by SIGKILL") as caught:
            child.run(f"{__name__}:dies_before_what_it_started", request)
        assert not outlived.exists()
        assert str(caught.value).splitlines()[1:] == [str(number) for number in range(85, 100)]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(Path(f"{outlived}.pid").read_text()), signal.SIGKILL)


def test_the_number_of_a_group_is_kept_until_it_is_ended() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)"], stdin=-1, start_new_session=True
    )
    assert process.stdin
    assert not process_group.wait_for_leader(process, 0)
    process.stdin.close()
    assert process_group.wait_for_leader(process, 30)
    os.kill(process.pid, 0)
    assert process_group.end(process) == 3
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
