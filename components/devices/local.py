"""This machine as a device: measures and runs .tflite files in fresh child processes.

A crash, a hang or a leak in the child never reaches the pipeline: it becomes a `DeviceError` that says what happened.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.measurement import Measurement
from tfx_edge.devices.runner import processor
from tfx_edge.errors import ConfigError, DataError, DeviceError, EdgeError, ModelError

Batch = Mapping[str, np.ndarray]

RUNNER = (sys.executable, "-m", "tfx_edge.devices.runner")
# One child runs a chunk of batches: large enough to make its start (about 0.5 s) cheap, small enough for any disk.
CHUNK_BYTES = 32 * 1024**2
CHUNK_EXAMPLES = 8192


def measure(
    model_path: str | os.PathLike[str],
    *,
    runs: int = 200,
    warmup: int = 20,
    processes: int = 3,
    num_threads: int = 1,
    timeout_s: float = 120,
    sample: Batch | None = None,
) -> Measurement:
    """Times a model on this machine, one example at a time, in several fresh processes one after another.

    Args:
      model_path: a .tflite file.
      runs: timed invocations in each process; a slow model gets fewer, as many as half of ``timeout_s`` allows.
      warmup: invocations before them that are not timed.
      processes: how many processes to measure in.
      num_threads: threads of the interpreter; with one, each process is pinned to a core.
      timeout_s: seconds that one process may take.
      sample: a batch whose first example is the input; by default inputs are random, and integers that are not
        quantized are 0 or 1.

    Raises:
      ModelError: the model cannot be loaded or run.
      DataError: the sample does not fit the model.
      DeviceError: a process crashed, hung or answered nonsense.
      ConfigError: an argument is out of range.
    """
    if min(runs, processes, num_threads) < 1 or warmup < 0 or timeout_s <= 0:
        raise ConfigError(
            "runs, processes and num_threads must be at least 1, warmup at least 0 and timeout_s above 0, but they are "
            f"{runs}, {processes}, {num_threads}, {warmup} and {timeout_s:g}"
        )
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as workdir:
        request = {
            "job": "latency",
            "model": _existing(model_path),
            "num_threads": num_threads,
            "runs": runs,
            "warmup": warmup,
            "max_seconds": timeout_s / 2,
            "seed": 0,
            "sample": None if sample is None else _SavedBatch.write(Path(workdir, "sample.npz"), sample).to_request(),
        }
        results = [_run(request, Path(workdir), timeout_s) for _ in range(processes)]
    return Measurement.from_results(results)


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
    model = _existing(model_path)
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as workdir:
        chunk: list[_SavedBatch] = []
        for number, batch in enumerate(batches):
            chunk.append(_SavedBatch.write(Path(workdir, f"batch-{number}.npz"), batch))
            if (
                sum(saved.bytes for saved in chunk) >= CHUNK_BYTES
                or sum(saved.examples for saved in chunk) >= CHUNK_EXAMPLES
            ):
                yield from _infer_chunk(model, chunk, Path(workdir), timeout_s)
                chunk = []
        if chunk:
            yield from _infer_chunk(model, chunk, Path(workdir), timeout_s)


def fingerprint() -> str:
    """What figures measured here depend on, as one short line: processor, architecture, cores, interpreter."""
    return f"{processor()}, {platform.machine()}, {os.cpu_count()} cores, ai_edge_litert {version('ai-edge-litert')}"


@dataclass(frozen=True)
class _SavedBatch:
    """A batch in a file, in the form that the runner reads."""

    path: Path
    names: tuple[str, ...]
    examples: int
    bytes: int

    @classmethod
    def write(cls, path: Path, batch: Batch) -> _SavedBatch:
        features = {name: np.asarray(values) for name, values in batch.items()}
        for name, values in features.items():
            if values.dtype.kind not in "biuf" or values.ndim == 0:
                raise DataError(
                    f"feature {name!r} is of type {values.dtype} and shape {values.shape}, but a model takes numbers "
                    "of shape (examples, ...); encode it in Transform, or choose features in the input function"
                )
        np.savez(path, *features.values())
        examples = len(next(iter(features.values()), ()))
        return cls(path, tuple(features), examples, sum(values.nbytes for values in features.values()))

    def to_request(self) -> dict[str, Any]:
        return {"file": str(self.path), "names": self.names}


def _infer_chunk(
    model: str, chunk: Sequence[_SavedBatch], workdir: Path, timeout_s: float
) -> Iterator[dict[str, np.ndarray]]:
    outputs = [saved.path.with_suffix(".out.npz") for saved in chunk]
    request = {
        "job": "infer",
        "model": model,
        "num_threads": 1,
        "batches": [
            {"input": saved.to_request(), "output": str(output)} for saved, output in zip(chunk, outputs, strict=True)
        ],
    }
    names = _run(request, workdir, timeout_s).get("outputs", ())
    for saved, output in zip(chunk, outputs, strict=True):
        try:
            with np.load(output) as arrays:
                batch = {name: arrays[f"arr_{i}"] for i, name in enumerate(names)}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DeviceError(f"{model} was run, but its outputs cannot be read: {error!r}") from error
        lengths = {name: values.shape[:1] for name, values in batch.items()}
        if not batch or set(lengths.values()) != {(saved.examples,)}:
            raise DeviceError(f"{model} was given {saved.examples} examples, but answered {lengths}")
        saved.path.unlink()
        output.unlink()
        yield batch


def _existing(model_path: str | os.PathLike[str]) -> str:
    path = Path(model_path).resolve()
    if not path.is_file():
        raise ModelError(f"there is no model file at {path}")
    return str(path)


def _run(request: Mapping[str, Any], workdir: Path, timeout_s: float) -> dict[str, Any]:
    """Runs one request in a fresh child and returns its result, or raises what went wrong there."""
    request_path, result_path = workdir / "request.json", workdir / "result.json"
    request_path.write_text(json.dumps({**request, "result": str(result_path)}))
    result_path.unlink(missing_ok=True)
    model = request["model"]
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
            f"the interpreter did not finish {request['job']} of {model} within {timeout_s:g} s; "
            "raise timeout_s if the model is just slow"
        ) from None
    said = child.stderr.strip()[-1000:]
    if child.returncode < 0:
        how = _signal(-child.returncode)
        raise DeviceError(f"the interpreter crashed ({how}) while running {model}; it said: {said}")
    try:
        result = json.loads(result_path.read_text())
    except (OSError, ValueError):
        result = None
    if not isinstance(result, dict):
        raise DeviceError(
            f"the runner of {model} answered nonsense or nothing and ended with exit code {child.returncode}; "
            f"it said: {said}"
        )
    if "error" in result:
        raise _ERRORS.get(result.get("error_type"), DeviceError)(result["error"])
    return result


_ERRORS: dict[Any, type[EdgeError]] = {"DataError": DataError, "ModelError": ModelError}


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}, as the kernel does when memory runs out" if number == signal.SIGKILL else name
