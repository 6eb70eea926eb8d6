"""Scores pieces of the examples on a Beam worker, whatever the runner.

One element is one piece: it is read, batched and scored within ``process``, because some runners lose what
``finish_bundle`` emits, and others call neither ``setup`` nor ``start_bundle``. What is kept of a piece goes into a
file named after the piece's number.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import apache_beam as beam
import cloudpickle

from tfx_edge.errors import EdgeError
from tfx_edge.gate.beam_parts import Piece, SignsOfLife, encode, part_path, read, work_path, write
from tfx_edge.gate.example_files import ShardReader
from tfx_edge.gate.scoring import Plan, Scorer, Scores

# Of the last job, by thread: some runners unpickle a DoFn anew for every element, others share one between threads.
_LOADED = threading.local()


class ScorePiece(beam.DoFn):
    """Scores a `Piece` and writes what is kept to the job's folder.

    Args:
      folder: where the results go, and where the pickled `Plan` and `ShardReader` are.
      signs_every_s: seconds between the signs of life.
    """

    def __init__(self, folder: str, signs_every_s: float) -> None:
        self._folder = folder
        self._signs_every_s = signs_every_s

    def process(self, piece: tuple[int, str, int, int]) -> list[int]:
        """Yields the number of examples that were read."""
        number, file, stripe, stripes = Piece(*piece)
        signs = SignsOfLife(self._folder, self._signs_every_s)
        count = 0
        try:
            reader, scorer = _load(self._folder)
            scorer.start()
            for read_now, features, labels in reader.batches(file, stripe, stripes):
                signs.show()
                count += read_now
                scorer.add(features, labels)
            scores = scorer.scores()
            scores.read = count
            content = encode(scores)
            scorer.start()
        except EdgeError as error:
            content = encode(Scores(), error)
        write(part_path(self._folder, number), content)
        signs.end()
        return [count]


def _load(folder: str) -> tuple[ShardReader, Scorer]:
    if getattr(_LOADED, "folder", None) != folder:
        plan: Plan
        plan, _LOADED.reader = cloudpickle.loads(read(work_path(folder)))
        with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:

            def write_model(name: str, content: bytes) -> str:
                path = Path(scratch, f"{name}.tflite")
                path.write_bytes(content)
                return str(path)

            _LOADED.scorer = Scorer(plan, write_model)
        _LOADED.folder = folder
    return _LOADED.reader, _LOADED.scorer
