"""A process that dies between two epochs of a training, without one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tfx_edge.training.checkpoints import Checkpoint, State


class Killed(BaseException):
    """Stands for the end of a process."""


@contextlib.contextmanager
def dying_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> Iterator[None]:
    """Ends a training in this process right after the state of an epoch was saved."""
    save = Checkpoint.save

    def saved_last(checkpoint: Checkpoint, state: State) -> None:
        save(checkpoint, state)
        if state.progressed.epochs == epochs:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", saved_last)
        yield
