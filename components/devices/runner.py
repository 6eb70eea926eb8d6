"""Runs one request on .tflite files in a process of its own: ``python -m tfx_edge.devices.runner REQUEST.json``.

A broken model can crash the interpreter, and a process's history changes its timings and memory; so every measurement
happens in a fresh child. It imports NumPy, ai_edge_litert and a few light modules of this package, and nothing else:
`tfx_edge.devices.workplace` sends them to other machines.

A request is a JSON object with ``job``, ``num_threads``, ``result`` (path of the JSON to write), and for each job:

- ``"latency"``: times the invocations of one random example. ``model`` (path), ``runs``, ``warmup``, ``max_seconds``,
  ``kernel`` (``"default"`` or ``"builtin"``) and ``integers`` (the range of each input of plain integers).
- ``"compare"``: the same for two models in turns, ``candidate`` and ``baseline`` (paths) in place of ``model``; the
  result holds what ``"latency"`` gives under each of the two names, and one ``environment``.
- ``"infer"``: computes outputs. ``model`` and ``batches``, a list of ``{"input": batch, "output": path}``.

A batch is ``{"file": path, "names": [feature, ...]}``: an .npz file whose ``arr_i`` is the i-th feature. Outputs are
written in the same form. On failure the result holds ``error`` and ``error_type``, and the exit code is 1.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.errors import DataError, ModelError

# Timed calls of one model before it is the other's turn: long enough to warm the caches, short enough for both to meet
# the same disturbances.
BLOCK = 10
# The runs of a fast model are spread over this long by untimed ones: a few milliseconds are a matter of luck.
SPREAD_NS = 300_000_000
# Two models take turns at least this often, however slow they are.
ROUNDS = 5
# Where a model happens to lie in memory changes its time by a percent or two, so two models are loaded so often for a
# comparison, unless that would take longer than this in all.
COPIES = 3
COPYING_NS = 200_000_000
# What boards tell of themselves: the model, and who sets a core's clock.
BOARD = "/proc/device-tree/model"
GOVERNOR = "/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"


def latency(request: Mapping[str, Any]) -> dict[str, Any]:
    """Times the invocations of one example (``job`` = ``"latency"``); warm-up and timed runs share ``max_seconds``."""
    (run,), (kernel,) = _measure(request, [request["model"]], copies=1)
    return {**run, "environment": {**environment(), "kernel": kernel, "num_threads": request["num_threads"]}}


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Times two models in turns (``job`` = ``"compare"``); memory figures are those of the process that holds both."""
    runs, kernels = _measure(request, [request["candidate"], request["baseline"]], copies=COPIES)
    kernel = {"kernel": kernels[0], "baseline_kernel": kernels[1], "num_threads": request["num_threads"]}
    return {"candidate": runs[0], "baseline": runs[1], "environment": {**environment(), **kernel}}


@dataclass
class _Timed:
    """A model in memory; copies of one model share their samples."""

    model: LoadedModel
    load_ns: int
    samples_ns: list[int]
    first_invoke_ns: int = 0
    expected_ns: int = 0

    @property
    def invoke(self) -> Callable[[], None]:
        return self.model.interpreter.invoke


def _measure(request: Mapping[str, Any], paths: Sequence[str], copies: int) -> tuple[list[dict[str, Any]], list[str]]:
    import ai_edge_litert.interpreter  # noqa: F401  (its memory is not the model's)

    import_memory = _memory_bytes("VmRSS")
    if request["num_threads"] == 1:
        os.sched_setaffinity(0, {_current_core()})
    samples: list[list[int]] = [[] for _ in paths]
    begin = time.perf_counter_ns()
    sets = [_load_models(request, paths, samples)]
    each = time.perf_counter_ns() - begin
    sets += [_load_models(request, paths, samples) for _ in range(min(copies - 1, COPYING_NS // each))]
    budget_ns = int(request["max_seconds"] * 1e9)
    deadline = time.perf_counter_ns() + budget_ns
    gc.disable()
    try:
        for one in itertools.chain(*sets):
            (one.first_invoke_ns,) = _time(one.invoke, 1, deadline)
            until = time.perf_counter_ns() + budget_ns // (4 * len(paths) * len(sets))
            one.expected_ns = min(_time(one.invoke, request["warmup"], until) or [one.first_invoke_ns])
        _take_turns(sets, request["runs"], budget_ns, deadline)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{' or '.join(paths)} does not run: {error}") from error
    shared = {
        "peak_memory_bytes": _memory_bytes("VmHWM"),
        "import_memory_bytes": import_memory,
        "cores": sorted(os.sched_getaffinity(0)),
    }
    runs = [
        {"samples_ns": one.samples_ns, "first_invoke_ns": one.first_invoke_ns, "load_ns": one.load_ns, **shared}
        for one in sets[0]
    ]
    return runs, [one.model.kernel for one in sets[0]]


def _load_models(request: Mapping[str, Any], paths: Sequence[str], samples: Sequence[list[int]]) -> list[_Timed]:
    """Loads the models in random order, since the second finds the memory laid out otherwise, and feeds them."""
    timed: dict[int, _Timed] = {}
    for number in random.sample(range(len(paths)), len(paths)):
        start = time.perf_counter_ns()
        model = LoadedModel(paths[number], request["num_threads"], request["kernel"])
        timed[number] = _Timed(model, time.perf_counter_ns() - start, samples[number])
        try:
            model.feed(model.random_batch(request["integers"]))
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{paths[number]} does not run: {error}") from error
    return [timed[number] for number in range(len(paths))]


def _take_turns(sets: Sequence[Sequence[_Timed]], runs: int, budget_ns: int, deadline: int) -> None:
    """Times the models block by block, in an order that turns round each time, until the runs or the time are done."""
    once_ns = max(1, sum(one.expected_ns for one in sets[0]))
    block = max(1, min(BLOCK, budget_ns // (ROUNDS * once_ns)))
    rounds = -(-runs // block)
    untimed = max(0, min(SPREAD_NS, budget_ns // 2) // (rounds * once_ns) - block)
    if len(sets[0]) > 1 and block == BLOCK:
        untimed = max(1, untimed)
    for number in range(rounds):
        if number and time.perf_counter_ns() > deadline:
            break
        models = sets[number // 2 % len(sets)]
        for one in models if number % 2 else reversed(models):
            for _ in range(untimed):
                one.invoke()
            one.samples_ns += _time(one.invoke, min(block, runs - number * block), deadline)


def infer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Computes the outputs of every batch (``job`` = ``"infer"``)."""
    model = LoadedModel(request["model"], request["num_threads"])
    for batch in request["batches"]:
        outputs = model.run(_load(batch["input"]))
        np.savez(batch["output"], *outputs.values())
    return {"outputs": list(model.outputs)}


def environment() -> dict[str, Any]:
    """What figures and outputs of this process depend on, beside the model.

    ``board`` (its name) and ``governor`` (of the first core that this process may run on) are there where the kernel
    tells them.
    """
    told = {"board": _told(BOARD), "governor": _told(GOVERNOR.format(core=min(os.sched_getaffinity(0))))}
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "ai_edge_litert": version("ai-edge-litert"),
        **{name: text for name, text in told.items() if text},
    }


def processor() -> str:
    """The processor's name as the kernel tells it; on ARM, which has no name, its implementer and part numbers."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    if "model name" in facts:
        return facts["model name"]
    return " ".join(f"{key} {facts[key]}" for key in ("CPU implementer", "CPU part") if key in facts) or "unknown"


def _told(path: str) -> str:
    """What a file of the kernel says, or nothing where there is none."""
    try:
        return Path(path).read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


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


JOBS = {"latency": latency, "compare": compare, "infer": infer}


def main(request_path: str) -> int:
    """Runs the request and writes its result, as a whole or not at all; returns the exit code."""
    request = json.loads(Path(request_path).read_text())
    try:
        result, code = JOBS[request["job"]](request), 0
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
