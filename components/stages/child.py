"""Runs a stage's work in a process of its own.

tensorflow-model-optimization changes what ``tf.keras`` means for the process that imports it, a converter may abort the
whole process, and TensorFlow never gives its memory back. None of that may reach the runner that the other components
share, so the work of every stage runs in a child; progress and errors come back as if it had run here.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from tfx_edge import errors, process_group

LOGGER = logging.getLogger("tfx_edge")
_PROGRESS = "@tfx-edge-progress "
_LAST_WORDS_S = 10.0  # a process that has left the group may keep the output open
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class Request:
    """What a stage has to do, as JSON types: the work needs nothing of TFX, whose import takes longer than most of it.

    Attributes:
      component: the component's name, for people.
      inputs: uris of the input artifacts by key.
      outputs: uris of the output artifacts by key.
      properties: execution properties.
      fn_args: keyword arguments of `tfx_edge.stages.fn_args.FnArgs`.
      payload_format: how the examples are written, by the name that TFX gives it; empty without examples.
      state_dir: a folder that the next execution of the same node finds again, or empty where there is none.
    """

    component: str
    inputs: dict[str, list[str]]
    outputs: dict[str, list[str]]
    properties: dict[str, Any]
    fn_args: dict[str, Any] = dataclasses.field(default_factory=dict)
    payload_format: str = ""
    state_dir: str = ""


def run(work: str, request: Request) -> dict[str, Any]:
    """Calls a function ``work(request, progress) -> dict`` in a child process.

    Args:
      work: the function as ``package.module:name``.
      request: passed on whole.

    Returns:
      The function's JSON-serializable result.

    Raises:
      EdgeError: as raised by the function, of the same class; also where there is no room for what it writes.
      ModelError: the child died; the message holds its signal or exit status and its last words.
    """
    with tempfile.TemporaryDirectory(prefix="tfx-edge-", ignore_cleanup_errors=True) as scratch:
        request_file, result_file = Path(scratch, "request.json"), Path(scratch, "result.json")
        request_file.write_text(json.dumps(dataclasses.asdict(request)))
        command = [sys.executable, "-m", __name__, work, str(request_file), str(result_file)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        environment["TMPDIR"] = scratch  # what a child that is killed leaves goes with it
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # never written to: it ends with this process, and then so does the child
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # so that what it starts, such as a measurement, can be ended with it
        )
        last_words = collections.deque[str](maxlen=15)
        reader = threading.Thread(target=_listen, args=(process.stdout, request.component, last_words), daemon=True)
        reader.start()
        try:
            process_group.wait_for_leader(process)
        finally:
            status = process_group.end(process)
        reader.join(_LAST_WORDS_S)
        if not result_file.is_file():
            raise errors.ModelError(
                f"{request.component}: the process {_ending(status)}. Its last words:\n" + "\n".join(last_words)
            )
        result = json.loads(result_file.read_text())
    if "error" in result:
        raise getattr(errors, result["error"], errors.EdgeError)(f"{request.component}: {result['message']}")
    return result["value"]


def _listen(output: IO[str], component: str, last_words: collections.deque[str]) -> None:
    for line in output:
        if line.startswith(_PROGRESS):
            LOGGER.info("%s: %s", component, line.removeprefix(_PROGRESS).rstrip())
        else:
            LOGGER.debug("%s", line.rstrip())
            last_words.append(line.rstrip())


def _ending(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        return f"was killed by {name}" + (", because it outlasted its time" if name == "SIGALRM" else "")
    return f"ended with exit status {status}"


def _main(work: str, request_file: str, result_file: str) -> None:
    threading.Thread(target=_end_with_parent, args=(Path(request_file).parent,), daemon=True).start()
    request = Request(**json.loads(Path(request_file).read_text()))
    module, name = work.split(":")
    try:
        result = {"value": getattr(importlib.import_module(module), name)(request, _report)}
    except errors.EdgeError as error:
        result = {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        if error.errno not in _FULL:
            raise
        file = repr(error.filename) if error.filename else "a file"
        result = {"error": "EdgeError", "message": f"cannot write {file} ({error.strerror}); make room and run again"}
    temporary = Path(result_file).with_suffix(".part")
    temporary.write_text(json.dumps(result))
    temporary.replace(result_file)


def _end_with_parent(scratch: Path) -> None:
    """Ends the process when the one that started it dies: nobody would take the result, and the next run may begin.

    What it started ends with it: a device that hangs would be left to nobody, and slow down what is measured next.
    """
    while os.read(0, 1):
        pass
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _report(line: str) -> None:
    print(f"{_PROGRESS}{line}", flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
