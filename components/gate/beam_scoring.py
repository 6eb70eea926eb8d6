"""Scores shards of examples on Beam, whatever the runner.

One element is one shard: it is read, batched and scored within ``process``, because some runners lose what
``finish_bundle`` emits. What is kept of a shard goes into a file named after the shard's number; the files are the
result, and each must be there, once, with as many examples as were read.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import cloudpickle
import numpy as np
from apache_beam.io.filesystems import FileSystems

from tfx_edge import errors
from tfx_edge.errors import DataError, DeviceError, EdgeError
from tfx_edge.gate.example_files import ExampleFiles, ShardReader
from tfx_edge.gate.scoring import Plan, Scorer, Scores
from tfx_edge.gate.slices import Categories

LOCAL_RUNNER = "apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"


def score_files(
    plan: Plan, examples: ExampleFiles, inputs: Sequence[tuple[str, ...]], pipeline_args: Sequence[str], folder: str
) -> Scores:
    """Scores all shards and gathers what was kept.

    Args:
      plan: what to score.
      examples: the shards.
      inputs: the names of each model's inputs.
      pipeline_args: Beam's, as a TFX pipeline has them; without a ``--runner`` everything runs in this process.
      folder: where workers put their results; both they and this process must be able to reach it. Left empty.

    Raises:
      EdgeError: as raised by the scoring of a shard.
      DataError: a shard or some of its examples are missing from the results.
      DeviceError: the Beam job failed.
    """
    reader = examples.reader(inputs, plan.slice_features, plan.batch_size)
    if not examples.files:
        raise DataError("the eval split has no files to score")
    run = FileSystems.join(folder, f"scores-{uuid.uuid4().hex}")
    FileSystems.mkdirs(run)
    try:
        _run(plan, reader, examples.files, pipeline_args, run)
        parts = [_read(_part(run, number), file) for number, file in enumerate(examples.files)]
    finally:
        FileSystems.delete([run])
    scores = Scores.join(parts)
    scores.check(plan)
    return scores


def _run(plan: Plan, reader: ShardReader, files: Sequence[str], pipeline_args: Sequence[str], folder: str) -> None:
    arguments = list(pipeline_args)
    if not any(argument.split("=")[0] == "--runner" for argument in arguments):
        arguments.append(f"--runner={LOCAL_RUNNER}")
    _write(_work(folder), cloudpickle.dumps((plan, reader)))
    # Create spreads the shards over the workers by itself.
    try:
        with beam.Pipeline(argv=arguments) as pipeline:
            _ = pipeline | "Shards" >> beam.Create(list(enumerate(files))) | "Score" >> beam.ParDo(ScoreShard(folder))
    except EdgeError:
        raise
    except Exception as error:
        raise DeviceError(f"the Beam job that scores the examples failed: {str(error)[-1500:]}") from error


class ScoreShard(beam.DoFn):
    """Scores a shard, given as (number, file), and writes what is kept to ``<folder>/<number>.npz``.

    Args:
      folder: where the results go, and where the pickled `Plan` and `ShardReader` are.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._reader: ShardReader | None = None
        self._scorer: Scorer | None = None

    def process(self, shard: tuple[int, str]) -> list[int]:
        """Yields the number of examples that were read."""
        number, file = shard
        try:
            reader, scorer = self._load()
            scorer.start()
            read = 0
            for count, features, labels in reader.batches(file):
                read += count
                scorer.add(features, labels)
            scores = scorer.scores()
            scores.read = read
            content = _encode(scores)
        except EdgeError as error:
            read, content = 0, _encode(Scores(), error)
        _write(_part(self._folder, number), content)
        return [read]

    def _load(self) -> tuple[ShardReader, Scorer]:
        if self._reader is None or self._scorer is None:
            plan, self._reader = cloudpickle.loads(_content(_work(self._folder)))
            with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:

                def write(name: str, content: bytes) -> str:
                    path = Path(scratch, f"{name}.tflite")
                    path.write_bytes(content)
                    return str(path)

                self._scorer = Scorer(plan, write)
        return self._reader, self._scorer


def _work(folder: str) -> str:
    return FileSystems.join(folder, "work.pickle")


def _part(folder: str, number: int) -> str:
    return FileSystems.join(folder, f"{number}.npz")


def _write(path: str, content: bytes) -> None:
    """Writes under another name first: an attempt that a runner repeats never leaves half a file."""
    partial = f"{path}.{uuid.uuid4().hex}"
    with FileSystems.create(partial, compression_type=beam.io.filesystem.CompressionTypes.UNCOMPRESSED) as file:
        file.write(content)
    if FileSystems.get_scheme(path) is None:
        os.replace(partial, path)
    else:
        FileSystems.rename([partial], [path])


def _content(path: str) -> bytes:
    with FileSystems.open(path, compression_type=beam.io.filesystem.CompressionTypes.UNCOMPRESSED) as file:
        return file.read()


def _encode(scores: Scores, error: EdgeError | None = None) -> bytes:
    facts: dict[str, Any] = {
        "read": scores.read,
        "columns": [list(key) for key in scores.columns],
        "categories": {feature: scores.categories[feature].values for feature in scores.codes},
        "problems": scores.problems,
        "error": [type(error).__name__, str(error)] if error else None,
    }
    buffer = io.BytesIO()
    np.savez(buffer, *scores.columns.values(), *scores.codes.values(), facts=np.array(json.dumps(facts)))
    return buffer.getvalue()


def _read(path: str, shard: str) -> Scores:
    try:
        with np.load(io.BytesIO(_content(path)), allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            count = len(facts["columns"])
            columns = {tuple(key): arrays[f"arr_{i}"] for i, key in enumerate(facts["columns"])}
            codes = {feature: arrays[f"arr_{count + i}"] for i, feature in enumerate(facts["categories"])}
    except Exception as error:
        raise DataError(
            f"the Beam job ended, but the result of {shard} is missing or damaged ({error}): examples were lost"
        ) from error
    if facts["error"]:
        name, message = facts["error"]
        raise getattr(errors, name)(f"{message} (in {shard})")
    categories = {feature: Categories(values) for feature, values in facts["categories"].items()}
    return Scores(facts["read"], columns, codes, categories, facts["problems"])
