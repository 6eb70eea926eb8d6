"""Batches of examples as files between this process and the runner, in chunks that one process there takes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import DataError, DeviceError

Batch = Mapping[str, np.ndarray]

# Large enough to make the start of a process (about 0.5 s) cheap, small enough for any disk.
CHUNK_BYTES = 32 * 1024**2
CHUNK_EXAMPLES = 8192


@dataclass(frozen=True)
class SavedBatch:
    """A batch in an .npz file whose ``arr_i`` is the i-th feature."""

    path: Path
    names: tuple[str, ...]
    examples: int
    bytes: int

    @classmethod
    def write(cls, path: Path, batch: Batch) -> SavedBatch:
        """Saves a batch.

        Raises:
          DataError: a feature is not an array of numbers or byte strings with a row for each example.
        """
        features = {name: _plain(np.asarray(values)) for name, values in batch.items()}
        for name, values in features.items():
            if values.dtype.kind not in "biufS" or values.ndim == 0:
                raise DataError(
                    f"feature {name!r} is of type {values.dtype} and shape {values.shape}, but a model takes numbers "
                    "of shape (examples, ...) or byte strings; encode it in Transform, or choose features in the input "
                    "function"
                )
        np.savez(path, *features.values())
        examples = len(next(iter(features.values()), ()))
        return cls(path, tuple(features), examples, sum(values.nbytes for values in features.values()))


def _plain(values: np.ndarray) -> np.ndarray:
    """Byte strings as an array that needs no pickling; other values as they are."""
    strings = values.dtype.kind == "O" and all(isinstance(value, bytes) for value in values.flat)
    return values.astype(np.bytes_) if strings else values


def save_in_chunks(batches: Iterable[Batch], folder: Path) -> Iterator[list[SavedBatch]]:
    """Saves batches as ``0.npz``, ``1.npz``, ... and gives them in chunks; drawing the next chunk removes the last."""
    chunk: list[SavedBatch] = []
    for number, batch in enumerate(batches):
        chunk.append(SavedBatch.write(folder / f"{number}.npz", batch))
        if sum(saved.bytes for saved in chunk) >= CHUNK_BYTES or sum(s.examples for s in chunk) >= CHUNK_EXAMPLES:
            yield chunk
            for saved in chunk:
                saved.path.unlink()
            chunk = []
    if chunk:
        yield chunk


def infer_in_chunks(
    batches: Iterable[Batch], model: str, ask: Callable[[dict[str, Any], Path], Mapping[str, Any]]
) -> Iterator[dict[str, np.ndarray]]:
    """The outputs for each batch, from a runner that takes a request for each chunk.

    Args:
      batches: features by name, each of shape (examples, ...).
      model: path of the model.
      ask: runs a request in a process that may use the folder it is given, and returns the answer.

    Raises:
      DataError: a feature is not an array of numbers.
      DeviceError: examples were lost, or an answer is nonsense.
    """
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as name:
        folder = Path(name)
        for chunk in save_in_chunks(batches, folder):
            outputs = [saved.path.with_suffix(".out.npz") for saved in chunk]
            jobs = [
                {"input": {"file": str(saved.path), "names": saved.names}, "output": str(output)}
                for saved, output in zip(chunk, outputs, strict=True)
            ]
            names = ask({"job": "infer", "model": model, "batches": jobs}, folder).get("outputs", ())
            for saved, output in zip(chunk, outputs, strict=True):
                yield read_outputs(output, names, saved.examples, model)
                output.unlink()


def read_outputs(path: Path, names: Sequence[str], examples: int, model: str) -> dict[str, np.ndarray]:
    """The outputs of one batch, by name, from the file that the runner wrote.

    Raises:
      DeviceError: the file cannot be read, or an output does not have one row for each example.
    """
    try:
        with np.load(path) as arrays:
            outputs = {name: arrays[f"arr_{i}"] for i, name in enumerate(names)}
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise DeviceError(f"{model} was run, but its outputs cannot be read: {error!r}") from error
    lengths = {name: values.shape[:1] for name, values in outputs.items()}
    if not outputs or set(lengths.values()) != {(examples,)}:
        raise DeviceError(f"{model} was given {examples} examples, but answered {lengths}")
    return outputs
