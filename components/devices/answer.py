"""What a runner in a process of its own answered, and what became of that process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfx_edge.errors import DataError, DeviceError, EdgeError, ModelError

_ERRORS: dict[Any, type[EdgeError]] = {"DataError": DataError, "ModelError": ModelError}


def existing(model: str | os.PathLike[str]) -> str:
    """The absolute path of a model file.

    Raises:
      ModelError: there is none.
    """
    path = Path(model).resolve()
    if not path.is_file():
        raise ModelError(f"there is no model file at {path}")
    return str(path)


def read_answer(path: Path, runner: str, code: int, said: str, describe: Callable[[str], str] = str) -> dict[str, Any]:
    """The JSON object that a runner left.

    Args:
      path: the file of its result.
      runner: what messages call it.
      code: the exit code that it ended with.
      said: what it wrote to its error stream.
      describe: makes the message for people of the error that it answered.

    Raises:
      DeviceError: it left something else or nothing, or failed.
      DataError: it answered that the examples do not fit the model.
      ModelError: it answered that the model cannot be loaded or run.
    """
    try:
        answer = json.loads(path.read_text())
    except (OSError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        raise DeviceError(f"{runner} answered nonsense or nothing and ended with exit code {code}; it said: {said}")
    if "error" in answer:
        raise _ERRORS.get(answer.get("error_type"), DeviceError)(describe(str(answer["error"])))
    return answer


def signal_name(number: int) -> str:
    """A signal's name, with what sends it where that says something."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}, as the kernel does when memory runs out" if number == signal.SIGKILL else name
