"""How a training goes, in lines that come often enough and not too often."""

from __future__ import annotations

import time
from typing import Any

import tf_keras

from tfx_edge.training.types import Progress

_SILENCE = 20.0
"""Seconds after which there is a line in the middle of an epoch."""
_BREATH = 1.0
"""Seconds between the lines of two epochs, the first and the last apart."""


class Lines(tf_keras.callbacks.Callback):
    """A line for each epoch that takes its time, and within those that take long, with the time that is left.

    The time left counts the epochs that were done here, the first one apart: it traces the model.

    Args:
      epochs: of the whole training.
      steps: in an epoch.
      progress: takes the lines.
    """

    def __init__(self, epochs: int, steps: int, progress: Progress) -> None:
        super().__init__()
        self.epochs = epochs
        self.steps = steps
        self.progress = progress
        self.epoch = 0
        self.durations: list[float] = []
        self.began = self.spoke = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self.epoch = epoch
        self.began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """A line after a long silence."""
        now = time.monotonic()
        if now - self.spoke < _SILENCE or batch + 1 >= self.steps:
            return
        share = (batch + 1) / self.steps
        left = self._left((now - self.began) / share, self.epochs - self.epoch - share)
        self._say(f"epoch {self.epoch + 1}/{self.epochs}, step {batch + 1}/{self.steps}: {_figures(logs)}", left)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """A line for the epoch."""
        now = time.monotonic()
        self.durations.append(now - self.began)
        last = epoch + 1 == self.epochs
        if len(self.durations) > 1 and not last and now - self.spoke < _BREATH:
            return
        left = self._left(self.durations[-1], self.epochs - epoch - 1)
        self._say(f"epoch {epoch + 1}/{self.epochs}: {_figures(logs)}", 0 if last else left)

    def _left(self, otherwise: float, epochs: float) -> float:
        known = self.durations[1:]
        return epochs * (sum(known) / len(known) if known else otherwise)

    def _say(self, line: str, left: float) -> None:
        self.spoke = time.monotonic()
        self.progress(f"{line}; {duration(left)} left" if left else line)


def duration(seconds: float) -> str:
    """A time as people say it, such as ``about 40 s`` or ``about 3 min``."""
    if seconds < 100:
        return f"about {max(1, round(seconds, -1) if seconds >= 20 else round(seconds)):.0f} s"
    if seconds < 6000:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def _figures(logs: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())
