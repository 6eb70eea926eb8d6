"""This machine as a device: measures and runs .tflite files in fresh child processes.

A crash, a hang or a leak in the child never reaches the pipeline: it becomes a `DeviceError` that says what happened.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tfx_edge.devices.answer import existing, read_answer, signal_name
from tfx_edge.devices.batches import infer_in_chunks
from tfx_edge.devices.measurement import ProcessRun
from tfx_edge.devices.runner import processor
from tfx_edge.devices.target import Batch, PairedRun, RunOptions, Target
from tfx_edge.errors import DeviceError

RUNNER = (sys.executable, "-m", "tfx_edge.devices.runner")


class Local(Target):
    """This machine. Each process has one core to itself when the interpreter has one thread."""

    OFFERS: ClassVar[frozenset[str]] = frozenset({"latency", "memory", "compare", "infer"})

    def fingerprint(self) -> str:
        """Processor, architecture, cores and interpreter."""
        return fingerprint()

    def latency(self, model: Path, options: RunOptions) -> tuple[ProcessRun, Mapping[str, Any]]:
        """Times a model in one process; returns the samples and the environment that they hold for."""
        answer = _time("latency", {"model": model}, options)
        return ProcessRun.from_dict(answer), _environment(answer)

    def compare(self, candidate: Path, baseline: Path, options: RunOptions) -> tuple[PairedRun, Mapping[str, Any]]:
        """Times two models in one process, in turns; memory figures are those of the process that holds both."""
        answer = _time("compare", {"candidate": candidate, "baseline": baseline}, options)
        runs = {role: ProcessRun.from_dict(answer.get(role, {})) for role in ("candidate", "baseline")}
        return PairedRun(**runs), _environment(answer)

    def infer(self, model: Path, batches: Iterable[Batch], timeout_s: float) -> Iterator[dict[str, np.ndarray]]:
        """The outputs for batches of features, as `tfx_edge.devices.local.infer` gives them."""
        return infer(model, batches, timeout_s=timeout_s)


def infer(
    model_path: str | os.PathLike[str], batches: Iterable[Batch], *, timeout_s: float = 600
) -> Iterator[dict[str, np.ndarray]]:
    """The outputs of a model for each batch of features, in order; batches are read as they are needed.

    Features are real numbers: they are quantized to the model's inputs with rounding and saturation, and quantized
    outputs come back as ``float32``. Outputs that are not finite are passed on as they are.

    Args:
      model_path: a .tflite file.
      batches: features by name, each of shape (examples, ...). A model with one input takes the one feature of a
        batch whatever its name; otherwise names must be those of the model's signature.
      timeout_s: seconds that one process may take, which runs up to 8192 examples or 32 MiB of them.

    Yields:
      For each batch, outputs by name, of as many examples.

    Raises:
      ModelError: the model cannot be loaded or run.
      DataError: a batch does not fit the model.
      DeviceError: a process crashed, hung, lost examples or answered nonsense.
    """
    model = existing(model_path)

    def ask(request: dict[str, Any], folder: Path) -> dict[str, Any]:
        return _run({**request, "num_threads": 1}, model, folder, timeout_s)

    yield from infer_in_chunks(batches, model, ask)


def fingerprint() -> str:
    """What figures measured here depend on, as one short line: processor, architecture, cores, interpreter."""
    return f"{processor()}, {platform.machine()}, {os.cpu_count()} cores, ai_edge_litert {version('ai-edge-litert')}"


def _time(job: str, models: Mapping[str, Path], options: RunOptions) -> dict[str, Any]:
    paths = {role: existing(path) for role, path in models.items()}
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as workdir:
        request = {"job": job, **paths, **options.to_request()}
        return _run(request, " and ".join(paths.values()), Path(workdir), options.timeout_s)


def _environment(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    environment = answer.get("environment")
    if not isinstance(environment, dict):
        raise DeviceError(f"the device answered nonsense: it did not say what it is, but {environment!r}")
    return environment


def _run(request: Mapping[str, Any], models: str, workdir: Path, timeout_s: float) -> dict[str, Any]:
    """Runs one request in a fresh child and returns its result, or raises what went wrong there."""
    request_path, result_path = workdir / "request.json", workdir / "result.json"
    request_path.write_text(json.dumps({**request, "result": str(result_path)}))
    result_path.unlink(missing_ok=True)
    try:
        child = subprocess.run(
            [*RUNNER, str(request_path)],
            cwd=workdir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"the interpreter did not finish {request['job']} of {models} within {timeout_s:g} s; "
            "raise timeout_s if the model is just slow"
        ) from None
    said = child.stderr.strip()[-1000:]
    if child.returncode < 0:
        how = signal_name(-child.returncode)
        raise DeviceError(f"the interpreter crashed ({how}) while running {models}; it said: {said}")
    return read_answer(result_path, f"the runner of {models}", child.returncode, said)
