"""Many models tried on the same samples, in the real interpreter and in a process of its own.

The interpreter may crash on a model that a quantizer made. Such a trial fails with a `DeviceError`, and the next one
gets a new process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tfx_edge.devices.answer import signal_name
from tfx_edge.devices.batches import SavedBatch
from tfx_edge.errors import DataError, DeviceError, ModelError

RUNNER = (sys.executable, "-m", "tfx_edge.recovery.trial_runner")


class Trials:
    """Runs models on one batch of samples. A context manager: leaving it ends the process.

    Attributes:
      folder: a scratch folder that lives as long.
      samples: features by name, each of shape (samples, ...).
    """

    def __init__(self, samples: Mapping[str, np.ndarray], timeout_s: float = 600) -> None:
        """Keeps the samples; the process starts with the first trial.

        Args:
          samples: features by name, each of shape (samples, ...).
          timeout_s: seconds that one trial may take.

        Raises:
          DataError: there is no sample.
        """
        if not samples or not all(len(values) for values in samples.values()):
            raise DataError("models cannot be tried without samples: give at least one")
        self.samples = dict(samples)
        self.timeout_s = timeout_s
        self._scratch = tempfile.TemporaryDirectory(prefix="tfx-edge-")
        self.folder = Path(self._scratch.name)
        saved = SavedBatch.write(self.folder / "samples.npz", self.samples)
        self._description = self.folder / "samples.json"
        self._description.write_text(json.dumps({"file": str(saved.path), "names": saved.names}))
        self._process: subprocess.Popen[str] | None = None
        self._numbers = itertools.count()

    def __enter__(self) -> Trials:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._scratch.cleanup()

    def outputs(self, model: Path | bytes) -> dict[str, np.ndarray]:
        """The outputs of a model by name, real numbers of shape (samples, ...).

        Args:
          model: a .tflite file, or its content.

        Raises:
          ModelError: the model cannot be loaded or run.
          DataError: the samples do not fit the model.
          DeviceError: the interpreter crashed or hung.
        """
        return self._run(model, {})

    def means(self, model: Path | bytes, tensors: Sequence[int]) -> dict[int, np.ndarray]:
        """The mean over all samples of some tensors of the main graph, by index, as real numbers.

        Raises:
          ModelError, DataError, DeviceError: as ``outputs``.
        """
        return self._statistic(model, "mean", tensors)

    def channel_maxima(self, model: Path | bytes, tensors: Sequence[int]) -> dict[int, np.ndarray]:
        """The greatest magnitude of every channel (last dimension) of some tensors, over all samples, by index.

        Raises:
          ModelError, DataError, DeviceError: as ``outputs``.
        """
        return self._statistic(model, "channel_maximum", tensors)

    def _statistic(self, model: Path | bytes, statistic: str, tensors: Sequence[int]) -> dict[int, np.ndarray]:
        found = self._run(model, {"statistic": statistic, "tensors": list(tensors)})
        return {int(index): values for index, values in found.items()}

    def _run(self, model: Path | bytes, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
        number = next(self._numbers)
        path = model if isinstance(model, Path) else self.folder / f"{number}.tflite"
        output = self.folder / f"{number}.npz"
        try:
            if isinstance(model, bytes):
                path.write_bytes(model)
            answer = self._ask({"model": str(path), "output": str(output), **wanted})
            if "error" in answer:
                raise {"DataError": DataError}.get(answer["error_type"], ModelError)(answer["error"])
            with np.load(output) as arrays:
                return {name: arrays[name] for name in arrays.files}
        finally:
            output.unlink(missing_ok=True)
            if isinstance(model, bytes):
                path.unlink(missing_ok=True)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._log = (self.folder / "log").open("w+", errors="replace")
            self._process = subprocess.Popen(
                [*RUNNER, str(self._description)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=process.stdin, flush=True)
        deadline = time.monotonic() + self.timeout_s
        if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self._stop()
            raise DeviceError(
                f"the interpreter did not finish {request['model']} within {self.timeout_s:g} s; "
                "try fewer samples, or raise timeout_s if the model is just slow"
            )
        line = process.stdout.readline()
        if not line:
            raise self._crashed(process, request["model"])
        return json.loads(line)

    def _crashed(self, process: subprocess.Popen[str], model: str) -> DeviceError:
        code = process.wait()
        how = signal_name(-code) if code < 0 else f"exit code {code}"
        self._log.seek(0)
        said = self._log.read().strip()[-1000:]
        self._stop()
        return DeviceError(f"the interpreter crashed ({how}) while running {model}; it said: {said}")

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None
        self._log.close()


def sqnr_db(reference: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> float:
    """Signal to quantization noise of the outputs, in dB: the power of a reference over that of the difference to it.

    Every output counts alike: the ratios of several are averaged in dB. Equal outputs give 120, the least noise that
    is told apart; outputs that are not finite give -120.
    """
    ratios = []
    for name, expected in reference.items():
        signal = float(np.sum(np.square(expected, dtype=np.float64)))
        noise = float(np.sum(np.square(outputs[name].astype(np.float64) - expected)))
        if not np.isfinite(noise):
            return -120.0
        ratios.append(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-12 * max(signal, 1e-30))))
    return float(np.clip(np.mean(ratios), -120.0, 120.0))


def explained(expected: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> float:
    """The share of the variance of a model's outputs that another's explain: 1 when they are equal.

    It is R² with the expected outputs as truth, each output's channels about their own mean, averaged over outputs.
    """
    shares = []
    for name, values in expected.items():
        true = values.astype(np.float64)
        total = float(np.sum(np.square(true - true.mean(axis=0))))
        missed = float(np.sum(np.square(outputs[name] - true)))
        shares.append(1 - missed / total if total else float(missed == 0))
    return float(np.mean(shares))
