"""What a Beam job leaves in its folder: the result of each piece of the examples, and signs of life."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tfx_edge import errors
from tfx_edge.errors import DataError, EdgeError
from tfx_edge.gate.scoring import Scores
from tfx_edge.gate.slices import Categories


class Piece(NamedTuple):
    """A shard, or every so many batches of it.

    Attributes:
      number: of the piece in the job.
      file: the shard.
      stripe: the first batch, counted from 0.
      stripes: how many pieces the file has: this one holds every batch whose number leaves ``stripe`` over.
    """

    number: int
    file: str
    stripe: int
    stripes: int


def work_path(folder: str) -> str:
    """Where workers find what they shall do."""
    return FileSystems.join(folder, "work.pickle")


def part_path(folder: str, number: int) -> str:
    """Where the result of a piece is."""
    return FileSystems.join(folder, f"{number}.npz")


def write(path: str, content: bytes) -> None:
    """Writes under another name first: an attempt that a runner repeats never leaves half a file."""
    partial = f"{path}.{uuid.uuid4().hex}"
    with FileSystems.create(partial, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(content)
    if FileSystems.get_scheme(path) is None:
        os.replace(partial, path)
    else:
        FileSystems.rename([partial], [path])


def read(path: str) -> bytes:
    """The whole of a file."""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read()


def encode(scores: Scores, error: EdgeError | None = None) -> bytes:
    """The result of a piece, or why there is none, as a file.

    Raises:
      DataError: a metric keeps objects that are no texts.
    """
    facts: dict[str, Any] = {
        "read": scores.read,
        "columns": [list(key) for key in scores.columns],
        "categories": {feature: scores.categories[feature].values for feature in scores.codes},
        "problems": scores.problems,
        "error": [type(error).__name__, str(error)] if error else None,
    }
    buffer = io.BytesIO()
    columns = [_without_objects(key[1], array) for key, array in scores.columns.items()]
    np.savez(buffer, *columns, *scores.codes.values(), facts=np.array(json.dumps(facts)))
    return buffer.getvalue()


def _without_objects(metric: str, array: np.ndarray) -> np.ndarray:
    """Texts as an array of one width, since objects would have to be pickled."""
    if not array.dtype.hasobject:
        return array
    for kind in "SU":
        with contextlib.suppress(UnicodeError):
            texts = array.astype(kind)
            if np.array_equal(_with_objects(texts), array):
                return texts
    raise DataError(
        f"the metric {metric} keeps objects that are no texts, or texts that end in a zero byte, and Beam's workers "
        "cannot send these: give it numbers for labels"
    )


def _with_objects(array: np.ndarray) -> np.ndarray:
    return array.astype(object) if array.dtype.kind in "SU" else array


def result(folder: str, piece: Piece) -> Scores:
    """Reads the result of a piece.

    Raises:
      DataError: it is missing or damaged.
      EdgeError: as raised by the scoring of the piece.
    """
    try:
        with np.load(io.BytesIO(read(part_path(folder, piece.number))), allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            count = len(facts["columns"])
            columns = {tuple(key): _with_objects(arrays[f"arr_{i}"]) for i, key in enumerate(facts["columns"])}
            codes = {feature: arrays[f"arr_{count + i}"] for i, feature in enumerate(facts["categories"])}
    except Exception as error:
        raise DataError(
            f"the Beam job ended, but the result of {piece.file} is missing or damaged ({error}): examples were lost"
        ) from error
    if facts["error"]:
        name, message = facts["error"]
        raise getattr(errors, name)(f"{message} (in {piece.file})")
    categories = {feature: Categories(values) for feature, values in facts["categories"].items()}
    return Scores(facts["read"], columns, codes, categories, facts["problems"])


def weave(stripes: Sequence[Scores], file: str, batch_size: int) -> Scores:
    """The scores of a file, in its order, from those of its stripes.

    Raises:
      DataError: the stripes do not make a whole file.
    """
    whole = Scores.join(stripes)
    positions = np.concatenate(
        [_positions(stripe, len(stripes), part.read, batch_size) for stripe, part in enumerate(stripes)]
    )
    order = np.argsort(positions)
    if not np.array_equal(positions[order], np.arange(whole.read)):
        counts = ", ".join(str(part.read) for part in stripes)
        raise DataError(
            f"{file} was read in stripes of {counts} examples, which make no whole file: examples were lost"
        )

    def in_order(array: np.ndarray) -> np.ndarray:
        return array[order] if len(array) == len(order) else array  # Scores.check tells of another length

    whole.columns = {key: in_order(array) for key, array in whole.columns.items()}
    whole.codes = {feature: in_order(codes) for feature, codes in whole.codes.items()}
    return whole


def _positions(stripe: int, stripes: int, count: int, batch_size: int) -> np.ndarray:
    batch, within = np.divmod(np.arange(count), batch_size)
    return (batch * stripes + stripe) * batch_size + within


class SignsOfLife:
    """Shows whoever watches the folder that a worker gets on: a file whose name changes.

    Args:
      folder: the job's.
      every_s: seconds between changes.
    """

    def __init__(self, folder: str, every_s: float) -> None:
        self._name = FileSystems.join(folder, f"alive-{uuid.uuid4().hex}")
        self._every_s = every_s
        self._count = 0
        self._last = 0.0

    def show(self) -> None:
        """Changes the name, unless that was done a short time ago."""
        if self._count and time.monotonic() - self._last < self._every_s:
            return
        self._last = time.monotonic()
        with FileSystems.create(self._path(self._count + 1)):
            pass
        self.end()
        self._count += 1

    def end(self) -> None:
        """Removes the file."""
        if self._count:
            FileSystems.delete([self._path(self._count)])

    def _path(self, count: int) -> str:
        return f"{self._name}-{count}"
