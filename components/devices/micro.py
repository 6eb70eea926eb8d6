"""Runs one .tflite file in TensorFlow Lite Micro: ``python -m tfx_edge.devices.micro REQUEST.json``.

It is the interpreter that runs on microcontrollers, built for this host by the package ``tflite-micro``. It aborts or
crashes on some models, so it gets a process of its own. What it says goes to the process's error stream, and must be
read back from there: the parent makes that a file and names it in the request.

A request is a JSON object with ``job``, ``model`` (path), ``result`` (path of the JSON to write) and ``said`` (path of
the file that the error stream goes to):

- ``"job": "arena"``: finds the smallest tensor arena that the model runs in.
- ``"job": "infer"`` with ``batches``, as `tfx_edge.devices.runner` takes them: computes outputs.

On failure the result holds ``error`` and ``error_type``, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.micro_interpreter import LARGEST_ARENA, PACKAGE, MicroInterpreter, MicroModel
from tfx_edge.errors import DataError, DeviceError, ModelError

ALIGNMENT = 16


def arena(request: Mapping[str, Any], said: Callable[[], str]) -> dict[str, Any]:
    """Finds the smallest arena (``job`` = ``"arena"``).

    The sum that the interpreter prints is what it holds in the end. While it plans, it needs more for a moment, and on
    a device the arena must have that; so the arena is shrunk until the model no longer runs, in a fork each time.
    """
    micro = MicroInterpreter(request["model"], LARGEST_ARENA, said)
    micro.run_zeros()
    allocations = micro.allocations()

    def fits(size: int) -> bool:
        return _survives(lambda: MicroInterpreter(request["model"], size).run_zeros())

    return {
        "arena_bytes": smallest(fits, allocations["total"]),
        "environment": {**environment(), "allocations": allocations},
    }


def infer(request: Mapping[str, Any], said: Callable[[], str]) -> dict[str, Any]:
    """Computes the outputs of every batch (``job`` = ``"infer"``)."""
    model = MicroModel(request["model"], said)
    for batch in request["batches"]:
        with np.load(batch["input"]["file"]) as arrays:
            features = {name: arrays[f"arr_{i}"] for i, name in enumerate(batch["input"]["names"])}
        np.savez(batch["output"], *model.run(features).values())
    return {"outputs": list(model.outputs)}


def smallest(fits: Callable[[int], bool], at_least: int) -> int:
    """The smallest multiple of 16, from ``at_least`` on, that fits; whatever is larger is taken to fit too."""
    low, high = at_least // ALIGNMENT - 1, at_least // ALIGNMENT
    while high * ALIGNMENT < LARGEST_ARENA and not fits(high * ALIGNMENT):
        low, high = high, min(high + 2 * (high - low), LARGEST_ARENA // ALIGNMENT)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle * ALIGNMENT) else (middle, high)
    return high * ALIGNMENT


def environment() -> dict[str, Any]:
    """What arena and outputs depend on, beside the model."""
    return {
        "tflite_micro": installed() or "not installed",
        "kernel": "reference",
        "machine": platform.machine(),
        "pointer_bits": 8 * np.dtype(np.intp).itemsize,
    }


def installed() -> str | None:
    """The version of the package, or None without it."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def _survives(action: Callable[[], Any]) -> bool:
    """Whether an action ends without an exception, crash or abort, in a fork whose error stream goes nowhere."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main(request_path: str) -> int:
    """Runs the request and writes its result, as a whole or not at all; returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.loads(Path(request_path).read_text())
    jobs = {"arena": arena, "infer": infer}
    code = 0
    try:
        result = jobs[request["job"]](request, lambda: Path(request["said"]).read_text(errors="replace")[-20_000:])
    except (DataError, DeviceError, ModelError) as error:
        result, code = {"error": str(error), "error_type": type(error).__name__}, 1
    unfinished = Path(request["result"] + ".part")
    unfinished.write_text(json.dumps(result))
    unfinished.replace(request["result"])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
