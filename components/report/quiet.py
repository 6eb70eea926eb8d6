"""Keeps the noise of TFX and TensorFlow away from people: it goes to a file, our lines to the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import absl.logging

_COMPONENT = re.compile(r"Component (\S+) is (running|finished)\.")


@contextlib.contextmanager
def quiet_output(log: Path | None) -> Iterator[Callable[[str], None]]:
    """Sends everything that this process and its children print to a file, except tfx-edge's own lines.

    Args:
      log: the file, or None to show everything.

    Yields:
      A function that shows one line, with the seconds since the start.
    """
    started = time.monotonic()
    terminal = os.fdopen(os.dup(2), "w", buffering=1)

    def say(line: str) -> None:
        terminal.write(f"{time.monotonic() - started:5.0f} s  {line}\n")

    handler = _Lines(say)
    logging.getLogger().addHandler(handler)
    # Through absl's own flag: TensorFlow sets and restores it around every SavedModel.
    absl.logging.set_verbosity(absl.logging.INFO)
    logging.getLogger("tfx_edge").setLevel(logging.DEBUG)
    saved = [os.dup(1), os.dup(2)]
    try:
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w") as stream:
                sys.stdout.flush()
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
        yield say
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)
        logging.getLogger().removeHandler(handler)
        terminal.close()


class _Lines(logging.Handler):
    """Shows tfx-edge's log lines, and which component runs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        component = _COMPONENT.search(message)
        if component and component[2] == "running":
            self.say(component[1])
        elif record.name.startswith("tfx_edge"):
            self.say(f"    {message}")
