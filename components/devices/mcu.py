"""A microcontroller as a target: the tensor arena that a model needs there, and the outputs of its kernels.

Nothing is measured on a board. The interpreter that boards run, TensorFlow Lite Micro, runs on this host with its
reference kernels (package ``tflite-micro``), in a fresh process each time, because it aborts on some models.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tfx_edge import process_group
from tfx_edge.devices.answer import existing, read_answer
from tfx_edge.devices.batches import infer_in_chunks
from tfx_edge.devices.micro import installed
from tfx_edge.devices.target import Batch, Target
from tfx_edge.errors import DeviceError

RUNNER = (sys.executable, "-m", "tfx_edge.devices.micro")


class Mcu(Target):
    """TensorFlow Lite Micro on this host.

    A model that it refuses would be refused on a microcontroller too, whatever the board, unless the board's firmware
    brings kernels of its own. Figures of time would say nothing about a board, so there are none.

    Attributes:
      OFFERS: arena bytes, and outputs.
    """

    OFFERS: ClassVar[frozenset[str]] = frozenset({"arena", "infer"})

    def fingerprint(self) -> str:
        """One short line on what figures depend on: the version of the interpreter and its kernels."""
        return f"TensorFlow Lite Micro, tflite-micro {installed() or 'not installed'}, reference kernels"

    def arena_bytes(self, model: Path, timeout_s: float) -> tuple[int, Mapping[str, Any]]:
        """Bytes of the smallest tensor arena that the model runs in, and what they hold for.

        The environment's ``allocations`` are the bytes in use after a run, in sum (``total``), for tensors (``head``)
        and for what stays (``tail``), which is split up further by purpose. The arena is often larger than their sum,
        because planning needs some memory for a moment.

        Raises:
          ModelError: the file cannot be read, or a microcontroller cannot run it; the message quotes why.
          DeviceError: the interpreter is not installed, crashed, hung or answered nonsense.
        """
        with tempfile.TemporaryDirectory(prefix="tfx-edge-") as folder:
            answer = _ask({"job": "arena", "model": existing(model)}, Path(folder), timeout_s)
        arena, environment = answer.get("arena_bytes"), answer.get("environment")
        if not isinstance(arena, int) or arena <= 0 or not isinstance(environment, dict):
            raise DeviceError(f"the runner of {model} answered nonsense: {str(answer)[:200]}")
        return arena, environment

    def infer(self, model: Path, batches: Iterable[Batch], timeout_s: float) -> Iterator[dict[str, np.ndarray]]:
        """The outputs for batches of features, as `tfx_edge.devices.local.infer` gives them."""
        return infer_in_chunks(batches, existing(model), lambda request, folder: _ask(request, folder, timeout_s))


def _ask(request: Mapping[str, Any], folder: Path, timeout_s: float) -> dict[str, Any]:
    """Runs one request in a fresh process and returns its answer, or raises what went wrong there."""
    request_path, result, said = folder / "request.json", folder / "result.json", folder / "said.txt"
    request_path.write_text(json.dumps({**request, "result": str(result), "said": str(said)}))
    result.unlink(missing_ok=True)
    with said.open("w") as error_stream:
        process = subprocess.Popen(
            [*RUNNER, str(request_path)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=error_stream,
            start_new_session=True,  # so that its forks can be ended with it
        )
        try:
            code = process.wait(timeout_s)
        except BaseException as error:
            process_group.end(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise DeviceError(
                f"TensorFlow Lite Micro did not finish {request['job']} of {request['model']} within {timeout_s:g} s; "
                "its reference kernels are slow: raise timeout_s"
            ) from None
    words = said.read_text(errors="replace").strip()[-1000:]
    if code < 0:
        hint = "; it aborts where calibration left a tensor no range: calibrate a trained model on real examples"
        raise DeviceError(
            f"TensorFlow Lite Micro crashed ({signal.strsignal(-code)}) on {request['model']}"
            f"{hint if code == -signal.SIGABRT else ''}; it said: {words or 'nothing'}"
        )
    return read_answer(result, f"the runner of {request['model']}", code, words)
