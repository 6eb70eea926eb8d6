"""Scores shards of examples on Beam, whatever the runner.

The files that workers leave are the result: each must be there, once, with as many examples as were read.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence

import cloudpickle
from apache_beam.io.filesystems import FileSystems

from tfx_edge.errors import DataError
from tfx_edge.gate.beam_engine import ONE_PROCESS_RUNNER, Engine
from tfx_edge.gate.beam_job import run_here, run_watched
from tfx_edge.gate.beam_parts import Piece, result, weave, work_path, write
from tfx_edge.gate.example_files import ExampleFiles, ShardReader
from tfx_edge.gate.scoring import Plan, Scores

LOCAL_RUNNER = ONE_PROCESS_RUNNER


def score_files(
    plan: Plan, examples: ExampleFiles, inputs: Sequence[tuple[str, ...]], pipeline_args: Sequence[str], folder: str
) -> Scores:
    """Scores all shards and gathers what was kept.

    Args:
      plan: what to score.
      examples: the shards.
      inputs: the names of each model's inputs.
      pipeline_args: Beam's, as a TFX pipeline has them; without workers everything runs in this process.
      folder: where workers put their results; both they and this process must be able to reach it.

    Raises:
      EdgeError: as raised by the scoring of a shard.
      ConfigError: the engine is known not to work.
      DataError: a shard or some of its examples are missing from the results.
      DeviceError: the Beam job failed, or no worker gets on.
    """
    engine = Engine.parse(pipeline_args)
    engine.require_usable()
    reader = examples.reader(inputs, plan.slice_features, plan.batch_size)
    if not examples.files:
        raise DataError("the eval split has no files to score")
    stripes = engine.stripes(len(examples.files))
    pieces = [
        Piece(number * stripes + stripe, file, stripe, stripes)
        for number, file in enumerate(examples.files)
        for stripe in range(stripes)
    ]
    run = FileSystems.join(folder, f"scores-{uuid.uuid4().hex}")
    FileSystems.mkdirs(run)
    try:
        _run(plan, reader, pieces, engine, run)
        parts = [result(run, piece) for piece in pieces]
    finally:
        with contextlib.suppress(Exception):  # a worker that was given up may still write
            FileSystems.delete([run])
    starts = range(0, len(pieces), stripes)
    whole = [weave(parts[start : start + stripes], pieces[start].file, plan.batch_size) for start in starts]
    scores = Scores.join(whole)
    scores.check(plan)
    return scores


def _run(plan: Plan, reader: ShardReader, pieces: Sequence[Piece], engine: Engine, folder: str) -> None:
    write(work_path(folder), cloudpickle.dumps((plan, reader)))
    if engine.has_workers:
        run_watched(pieces, engine, folder)
    else:
        run_here(pieces, engine, folder)
