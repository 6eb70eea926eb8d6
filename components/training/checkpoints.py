"""The state of a training on disk, so that a killed one goes on where it was.

One file, replaced as a whole: a process that dies while writing leaves the state of the epoch before.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_VERSION = 1
_ARRAYS = ("weights", "optimizer", "best_weights")
_FORGOTTEN_AFTER = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Progressed:
    """How far a training is.

    Attributes:
      epochs: epochs that are done.
      figures: of each of them, by name.
      best: number of the best epoch, counted from 0; None as long as there is none.
    """

    epochs: int = 0
    figures: tuple[dict[str, float], ...] = ()
    best: int | None = None


@dataclass(frozen=True)
class State:
    """All that a training needs to go on.

    Attributes:
      progressed: how far it is.
      weights: of the model.
      optimizer: variables of the optimizer.
      best_weights: those of the best epoch; empty as long as there is none, or where nobody asks.
    """

    progressed: Progressed
    weights: Sequence[np.ndarray]
    optimizer: Sequence[np.ndarray]
    best_weights: Sequence[np.ndarray] = field(default_factory=tuple)


class Checkpoint:
    """One training's place on disk.

    Args:
      folder: holds the checkpoints of a pipeline's node.
      key: names the work: equal for equal work only.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.path = Path(folder, f"{key}.npz")

    def part(self, number: int) -> Checkpoint:
        """The place of one of several trainings that belong to the work; it goes when the work's own is removed."""
        return Checkpoint(self.path.parent, f"{self.path.stem}-{number}")

    def save(self, state: State) -> None:
        """Replaces what was saved before."""
        arrays = {f"{name}_{number}": value for name in _ARRAYS for number, value in enumerate(getattr(state, name))}
        about = {"version": _VERSION, "progressed": asdict(state.progressed)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            part.unlink(missing_ok=True)
            raise
        part.replace(self.path)

    def load(self) -> State | None:
        """What was saved; None when there is nothing, or nothing that can be read."""
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                if about["version"] != _VERSION:
                    return None
                progressed = Progressed(**{**about["progressed"], "figures": tuple(about["progressed"]["figures"])})
                return State(progressed, *(_numbered(arrays, name) for name in _ARRAYS))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def remove(self) -> None:
        """Forgets what was saved, parts too, and what trainings that never went on left in the folder a week ago."""
        for mine in (self.path, *self.path.parent.glob(f"{glob.escape(self.path.stem)}-*.npz")):
            mine.unlink(missing_ok=True)
        for other in self.path.parent.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # another training may finish what it writes
                if other.suffix in (".npz", ".part") and time.time() - other.stat().st_mtime > _FORGOTTEN_AFTER:
                    other.unlink()


def _numbered(arrays: Any, name: str) -> list[np.ndarray]:
    count = sum(key.rpartition("_")[0] == name for key in arrays.files)
    return [arrays[f"{name}_{number}"] for number in range(count)]
