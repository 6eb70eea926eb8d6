"""Targets that the runner is sent to: requests are put together and answers are read here, for each of them alike.

Models stay on the device under the hash of their content while the target is in use, so that each travels once however
many processes run it.
"""

from __future__ import annotations

import abc
import hashlib
import json
import math
import shutil
import signal
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.answer import read_answer, signal_name
from tfx_edge.devices.batches import read_outputs, save_in_chunks
from tfx_edge.devices.measurement import ProcessRun
from tfx_edge.devices.target import Batch, PairedRun, RunOptions, Target
from tfx_edge.devices.workplace import Ended, Workplace, write_runner
from tfx_edge.errors import DeviceError, ModelError

RUNNER = "runner.pyz"
# The device ends a process that takes too long by itself; its word on that is waited for a little longer.
GRACE_S = 5


class Remote(Target):
    """A target with a Python of its own that the runner is sent to.

    It keeps a workplace on the device between calls: use it in a ``with`` block, or call `close`. What is left then is
    removed when the object or this process ends. The call after one that lost the connection connects anew.
    """

    def __init__(self, name: str):
        """Does not reach for the device yet.

        Args:
          name: what messages call the device.
        """
        self._name = name
        self._workplace: Workplace | None = None

    @abc.abstractmethod
    def _open(self) -> Workplace:
        """Makes a workplace on the device."""

    def close(self) -> None:
        """Leaves the device, on which nothing stays."""
        if self._workplace:
            self._workplace.close()
            self._workplace = None

    def latency(self, model: Path, options: RunOptions) -> tuple[ProcessRun, Mapping[str, Any]]:
        """Times a model in one process there; returns the samples and the environment that they hold for."""
        if "latency" not in self.OFFERS:
            raise self._cannot("measure latency")
        answer = self._time("latency", {"model": model}, options)
        return ProcessRun.from_dict(answer), self._environment(answer)

    def compare(self, candidate: Path, baseline: Path, options: RunOptions) -> tuple[PairedRun, Mapping[str, Any]]:
        """Times two models in one process there, in turns; returns the samples and the environment they hold for."""
        if "compare" not in self.OFFERS:
            raise self._cannot("compare two models in one process")
        answer = self._time("compare", {"candidate": candidate, "baseline": baseline}, options)
        runs = {role: ProcessRun.from_dict(answer.get(role, {})) for role in ("candidate", "baseline")}
        return PairedRun(**runs), self._environment(answer)

    def infer(self, model: Path, batches: Iterable[Batch], timeout_s: float) -> Iterator[dict[str, np.ndarray]]:
        """The outputs for batches of features, as `tfx_edge.devices.local.infer` gives them."""
        with tempfile.TemporaryDirectory(prefix="tfx-edge-") as folder:
            for chunk in save_in_chunks(batches, Path(folder)):
                names = [saved.path.name for saved in chunk]
                request = {
                    "job": "infer",
                    "num_threads": 1,
                    "batches": [
                        {"input": {"file": f"in/{name}", "names": saved.names}, "output": f"out/{name}"}
                        for name, saved in zip(names, chunk, strict=True)
                    ],
                }
                results = Path(folder, "out")
                answer = self._run(request, {"model": model}, [saved.path for saved in chunk], results, timeout_s)
                for name, saved in zip(names, chunk, strict=True):
                    yield read_outputs(results / name, answer.get("outputs", ()), saved.examples, f"{model}")

    def _time(self, job: str, models: Mapping[str, Path], options: RunOptions) -> dict[str, Any]:
        request = {"job": job, **options.to_request()}
        with tempfile.TemporaryDirectory(prefix="tfx-edge-") as folder:
            return self._run(request, models, (), Path(folder, "out"), options.timeout_s)

    def _environment(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        environment = answer.get("environment")
        if not isinstance(environment, dict) or not environment.get("machine"):
            raise DeviceError(f"{self._name} answered nonsense: it did not say what it is, but {environment!r}")
        return environment

    def _run(
        self,
        request: Mapping[str, Any],
        models: Mapping[str, Path],
        inputs: Sequence[Path],
        results: Path,
        timeout_s: float,
    ) -> dict[str, Any]:
        """Runs one request there, in a process of its own, and gives its answer; other outputs go to ``results``."""
        task = f"{request['job']} of {' and '.join(map(str, models.values()))} on {self._name}"
        names = {role: f"{_digest(path)}.tflite" for role, path in models.items()}
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        try:
            ended = self._execute(
                {**request, **names, "result": "out/result.json"},
                {names[role]: path for role, path in models.items()},
                inputs,
                results,
                time.monotonic() + timeout_s,
            )
        except TimeoutError:
            ended = Ended(-signal.SIGALRM, "")
        if ended.code == -signal.SIGALRM:
            raise DeviceError(
                f"{task} did not finish within {timeout_s:g} s, transfer included; raise timeout_s if the model or the "
                "connection is just slow"
            )
        if ended.code < 0:
            raise DeviceError(f"{task}: the interpreter crashed ({signal_name(-ended.code)}); it said: {ended.said}")

        def describe(error: str) -> str:
            for role, name in names.items():
                error = error.replace(name, str(models[role]))
            return f"{self._name}: {error}"

        return read_answer(results / "result.json", f"{task}: the runner", ended.code, ended.said, describe)

    def _execute(
        self,
        request: Mapping[str, Any],
        models: Mapping[str, Path],
        inputs: Sequence[Path],
        results: Path,
        deadline: float,
    ) -> Ended:
        place = self._reach()
        with tempfile.TemporaryDirectory(prefix="tfx-edge-") as folder:
            written = {RUNNER: Path(folder, RUNNER), "in/request.json": Path(folder, "request.json")}
            write_runner(written[RUNNER])
            written["in/request.json"].write_text(json.dumps(request))
            files = {**written, **models, **{f"in/{path.name}": path for path in inputs}}
            files = {name: path for name, path in files.items() if name not in place.holds}
            place.put(files, deadline - time.monotonic())
        place.holds.update(name for name in files if not name.startswith("in/"))
        seconds = max(1, math.ceil(deadline - time.monotonic()))
        return place.run([RUNNER, "in/request.json", str(seconds)], results, seconds + GRACE_S)

    def _reach(self) -> Workplace:
        if self._workplace and not self._workplace.alive:
            self.close()
        if not self._workplace:
            self._workplace = self._open()
            weakref.finalize(self, self._workplace.close)
        return self._workplace


def _digest(model: Path) -> str:
    try:
        return hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"there is no model file to read at {model}: {error.strerror}") from error
