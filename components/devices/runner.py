"""Runs one .tflite file in a process of its own: ``python -m tfx_edge.devices.runner REQUEST.json``.

A broken model can crash the interpreter, and a process's history changes its timings and memory; so every measurement
happens in a fresh child. It imports NumPy, ai_edge_litert and three light modules of this package, and nothing else.

A request is a JSON object with ``job``, ``model`` (path), ``result`` (path of the JSON to write) and ``num_threads``:

- ``"job": "latency"`` with ``runs``, ``warmup``, ``max_seconds``, ``seed`` and ``sample`` (a batch, or null for random
  inputs): times invocations.
- ``"job": "infer"`` with ``batches``, a list of ``{"input": batch, "output": path}``: computes outputs.

A batch is ``{"file": path, "names": [feature, ...]}``: an .npz file whose ``arr_i`` is the i-th feature. Outputs are
written in the same form. On failure the result holds ``error`` and ``error_type``, and the exit code is 1.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.errors import DataError, ModelError


def latency(request: Mapping[str, Any]) -> dict[str, Any]:
    """Times the invocations of one example (``job`` = ``"latency"``); warm-up and timed runs share ``max_seconds``."""
    import ai_edge_litert.interpreter  # noqa: F401  (its memory is not the model's)

    import_memory = _memory_bytes("VmRSS")
    num_threads = request["num_threads"]
    if num_threads == 1:
        os.sched_setaffinity(0, {_current_core()})
    start = time.perf_counter_ns()
    model = LoadedModel(request["model"], num_threads)
    load_ns = time.perf_counter_ns() - start

    batch = model.random_batch(request["seed"])
    if request["sample"]:
        batch = {name: values[:1] for name, values in model.prepare(_load(request["sample"])).items()}
    try:
        model.feed(batch)
        deadline = time.perf_counter_ns() + int(request["max_seconds"] * 1e9)
        warmup_deadline = time.perf_counter_ns() + int(request["max_seconds"] * 1e9) // 4
        gc.disable()
        invoke = model.interpreter.invoke
        first_invoke_ns = _time(invoke, 1, deadline)[0]
        _time(invoke, request["warmup"], warmup_deadline)
        samples_ns = _time(invoke, request["runs"], deadline)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{request['model']} does not run: {error}") from error
    return {
        "samples_ns": samples_ns,
        "first_invoke_ns": first_invoke_ns,
        "load_ns": load_ns,
        "peak_memory_bytes": _memory_bytes("VmHWM"),
        "import_memory_bytes": import_memory,
        "cores": sorted(os.sched_getaffinity(0)),
        "environment": {**environment(), "kernel": model.kernel, "num_threads": num_threads},
    }


def infer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Computes the outputs of every batch (``job`` = ``"infer"``)."""
    model = LoadedModel(request["model"], request["num_threads"])
    for batch in request["batches"]:
        outputs = model.run(_load(batch["input"]))
        np.savez(batch["output"], *outputs.values())
    return {"outputs": list(model.outputs)}


def environment() -> dict[str, Any]:
    """What figures and outputs of this process depend on, beside the model."""
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "ai_edge_litert": version("ai-edge-litert"),
    }


def processor() -> str:
    """The processor's name as the kernel tells it; on ARM, which has no name, its implementer and part numbers."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    if "model name" in facts:
        return facts["model name"]
    return " ".join(f"{key} {facts[key]}" for key in ("CPU implementer", "CPU part") if key in facts) or "unknown"


def _load(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
    with np.load(batch["file"]) as arrays:
        return {name: arrays[f"arr_{i}"] for i, name in enumerate(batch["names"])}


def _time(invoke: Callable[[], None], runs: int, deadline: int) -> list[int]:
    """The nanoseconds of up to ``runs`` calls; none starts after the deadline except the first."""
    clock = time.perf_counter_ns
    samples: list[int] = []
    while len(samples) < runs and (not samples or clock() < deadline):
        start = clock()
        invoke()
        samples.append(clock() - start)
    return samples


def _current_core() -> int:
    """The core that the scheduler chose for this process: field 39 of ``/proc/self/stat``, see proc(5)."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[36])


def _memory_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}; memory can only be measured on Linux")


def main(request_path: str) -> int:
    """Runs the request and writes its result, as a whole or not at all; returns the exit code."""
    request = json.loads(Path(request_path).read_text())
    try:
        result, code = {"latency": latency, "infer": infer}[request["job"]](request), 0
    except (DataError, ModelError) as error:
        result, code = {"error": str(error), "error_type": type(error).__name__}, 1
    except Exception as error:
        result, code = {"error": repr(error), "error_type": "DeviceError"}, 1
    partial = Path(request["result"] + ".partial")
    partial.write_text(json.dumps(result))
    partial.replace(request["result"])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
