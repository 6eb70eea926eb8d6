"""Runs the Beam job that scores pieces: in this process, or in one of its own that is watched and ended.

An engine with workers may wait forever for one that died or hangs, and its threads may keep a process from ending. So
the job runs in a process group of its own, which is ended when the job is over, when nothing has been heard of a worker
for too long, or when the process that started it dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.io.filesystems import FileSystems
from apache_beam.runners.runner import PipelineState

from tfx_edge import process_group
from tfx_edge.errors import DeviceError, EdgeError
from tfx_edge.gate.beam_engine import START_TIMEOUT, Engine
from tfx_edge.gate.beam_parts import Piece
from tfx_edge.gate.beam_worker import ScorePiece

SIGNS_EVERY_S = 5.0
CANCEL_S = 20.0
_TOLD = 1500
_FRAMES = re.compile(r'.*^\s*File "[^\n]*\n(?:[ \t]+[^\n]*\n)*', re.DOTALL | re.MULTILINE)


def run_here(pieces: Sequence[Piece], engine: Engine, folder: str) -> None:
    """Runs the job in this process, which waits for it.

    Raises:
      EdgeError: as raised by the job.
      DeviceError: the job failed.
    """
    try:
        _start(pieces, engine, folder).wait_until_finish()
    except EdgeError:
        raise
    except Exception as error:
        raise DeviceError(f"the Beam job that scores the examples failed: {_reason(error)}") from error


def run_watched(pieces: Sequence[Piece], engine: Engine, folder: str) -> None:
    """Runs the job in a process group of its own.

    Raises:
      DeviceError: the job failed, or no worker gets on.
    """
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        request, log, failure = (Path(scratch, name) for name in ("request.json", "log", "failure"))
        request.write_text(json.dumps([pieces, engine.arguments, engine.settings, folder]))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(request), str(failure)],
                stdin=subprocess.PIPE,  # never written to: it ends with this process, and then so does the job
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        try:
            _watch(process, engine, folder)
        finally:
            status = _end(process)
        if status:
            words = failure.read_text() if failure.is_file() else last_exception(log.read_text(errors="replace"))
            raise DeviceError(f"the Beam job that scores the examples failed: {words or f'exit status {status}'}")


def _start(pieces: Sequence[Piece], engine: Engine, folder: str) -> Any:
    pipeline = beam.Pipeline(argv=engine.beam_arguments)
    # Create spreads the pieces over the workers by itself.
    scorer = ScorePiece(folder, min(SIGNS_EVERY_S, engine.batch_timeout_s / 4))
    _ = pipeline | "Pieces" >> beam.Create([tuple(piece) for piece in pieces]) | "Score" >> beam.ParDo(scorer)
    return pipeline.run()


def _watch(process: subprocess.Popen[bytes], engine: Engine, folder: str) -> None:
    """Waits for the job's end.

    Raises:
      DeviceError: nothing changed in the folder for too long.
    """
    every_s = min(SIGNS_EVERY_S, engine.batch_timeout_s / 4)
    before = _names(folder)
    begun, changed = False, time.monotonic()
    while not process_group.wait_for_leader(process, every_s):
        names = _names(folder) or before
        if names != before:
            before, begun, changed = names, True, time.monotonic()
        # A sign may be as old as the time between two, and so may the look at it.
        limit = engine.batch_timeout_s + 2 * every_s if begun else engine.start_timeout_s
        if time.monotonic() - changed > limit:
            raise DeviceError(_silence(engine, names, begun))


def _silence(engine: Engine, names: set[str], begun: bool) -> str:
    if begun:
        done = sum(name.endswith(".npz") for name in names)
        return (
            f"no worker of the Beam job finished a batch within {engine.batch_timeout_s:g} s ({done} pieces of the "
            "examples are done): the model or a worker hangs, or a worker died; raise batch_timeout_s if batches take "
            "longer"
        )
    return (
        f"no worker of the Beam job read a batch of examples within {engine.start_timeout_s:g} s: none was started, or "
        f"none reaches the examples or the folder of the results; raise {START_TIMEOUT} if that takes longer"
    )


def _names(folder: str) -> set[str]:
    """The files in the folder; none where one vanishes while they are listed."""
    try:
        found = FileSystems.match([FileSystems.join(folder, "*")])[0].metadata_list
    except Exception:
        return set()
    return {entry.path for entry in found}


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ends the whole group and gives the exit status; the job is cancelled first, for it may run on other machines."""
    if not process_group.wait_for_leader(process, 0):
        os.kill(process.pid, signal.SIGTERM)
        process_group.wait_for_leader(process, CANCEL_S)
    return process_group.end(process)


def _reason(error: BaseException) -> str:
    return last_exception(str(error)) or repr(error)


def last_exception(text: str) -> str:
    """What the last traceback in a text ends with, since engines tell of a worker's error by its whole traceback."""
    return " ".join(_FRAMES.sub("", text).split())[-_TOLD:]


def _main(request: str, failure: str) -> None:
    job: Any = None

    def stop(*_: Any) -> None:
        if job is not None:
            with contextlib.suppress(Exception):
                job.cancel()
        os.killpg(0, signal.SIGKILL)

    def stop_without_worker(ended: threading.ExceptHookArgs) -> None:
        sys.__excepthook__(ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
        if ended.thread and ended.thread.name == "run_worker":
            Path(failure).write_text(f"a worker died: {ended.exc_value}")
            os._exit(1)

    threading.excepthook = stop_without_worker  # Beam's local runner would wait for the worker
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    pieces, arguments, settings, folder = json.loads(Path(request).read_text())
    status = 0
    try:
        engine = Engine(tuple(arguments), settings)
        _require_job_service(engine)
        job = _start([Piece(*piece) for piece in pieces], engine, folder)
        state = job.wait_until_finish()
        if state in (PipelineState.FAILED, PipelineState.CANCELLED):
            raise DeviceError(f"it ended as {state}")
    except BaseException as error:
        Path(failure).write_text(_reason(error))
        status = 1
    os._exit(status)  # an engine's threads may never end


def _require_job_service(engine: Engine) -> None:
    if engine.job_service:
        try:
            with grpc.insecure_channel(engine.job_service) as channel:
                grpc.channel_ready_future(channel).result(timeout=engine.job_service_timeout_s)
        except grpc.FutureTimeoutError:
            raise DeviceError(
                f"no job service answers at {engine.job_service} within {engine.job_service_timeout_s:g} s "
                "(--job_server_timeout)"
            ) from None


def _stop_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(CANCEL_S)  # an engine may never answer that the job is cancelled
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _main(*sys.argv[1:])
