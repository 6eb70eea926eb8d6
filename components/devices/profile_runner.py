"""Runs one .tflite under LiteRT's profiler: ``python -m tfx_edge.devices.profile_runner REQUEST.json``.

The Python package has no profiling interface, but its wheel carries ``libLiteRt.so``, whose C functions have. They are
called here through ctypes, in a process of its own: a C interface called with the wrong arguments does not raise.
Signatures: litert/c/*.h of google-ai-edge/LiteRT, as tried with ai-edge-litert 2.3.

A request is a JSON object with ``model`` (path), ``result`` (path of the JSON to write), ``blocks``, ``runs`` (timed
invocations of each block, and untimed ones before the first), ``max_seconds`` after which no block starts,
``num_threads`` and ``kernel`` (``"default"`` or ``"builtin"``). The result holds ``summaries``, the profiler's text
after each block; its figures add up from the first block on. Inputs are zeros.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CPU = 1
FIRST_SIGNATURE = ctypes.c_size_t(0)
WRITE = 1
KERNEL_MODES = {"default": 0, "builtin": 2}
RANKED_TENSOR_TYPE_BYTES = 4096  # the structure is far smaller; it is only handed on


class _Runtime:
    """The functions of ``libLiteRt.so``: each returns a status, and gives its result through the last argument."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("ai_edge_litert")
        folders = package.submodule_search_locations if package else None
        self._library = ctypes.CDLL(str(Path(next(iter(folders or [""])), "libLiteRt.so")))

    def call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name)
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status:
            raise RuntimeError(f"{name} returned status {status}")

    def get(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result))
        return result

    def size(self, name: str, *arguments: Any) -> int:
        result = ctypes.c_size_t()
        self.call(name, *arguments, ctypes.byref(result))
        return result.value


class _ProfiledModel:
    """A compiled model with zeroed input buffers."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._runtime = _Runtime()
        get = self._runtime.get
        self._environment = get("LiteRtCreateEnvironment", ctypes.c_int(0), None)
        model = get("LiteRtCreateModelFromFile", self._environment, str(request["model"]).encode())
        self._model = get("LiteRtCreateCompiledModel", self._environment, model, self._options(request))
        signature = get("LiteRtGetModelSignature", model, FIRST_SIGNATURE)
        self._inputs = self._buffers(signature, "Input")
        self._outputs = self._buffers(signature, "Output")
        self._profiler = get("LiteRtCompiledModelGetProfiler", self._model)

    def run(self, times: int) -> None:
        for _ in range(times):
            self._runtime.call(
                "LiteRtRunCompiledModel",
                self._model,
                FIRST_SIGNATURE,
                ctypes.c_size_t(len(self._inputs)),
                self._inputs,
                ctypes.c_size_t(len(self._outputs)),
                self._outputs,
            )

    def profile(self, runs: int) -> str:
        call = self._runtime.call
        call("LiteRtResetProfiler", self._profiler)
        call("LiteRtStartProfiler", self._profiler)
        self.run(runs)
        call("LiteRtStopProfiler", self._profiler)
        summary = self._runtime.get("LiteRtGetProfileSummary", self._profiler, self._model)
        return ctypes.string_at(summary).decode("utf-8", errors="replace")

    def _options(self, request: Mapping[str, Any]) -> ctypes.c_void_p:
        options = self._runtime.get("LiteRtCreateOptions")
        self._runtime.call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(CPU))
        cpu = f"num_threads = {request['num_threads']}\nkernel_mode = {KERNEL_MODES[request['kernel']]}\n"
        for name, text in (("runtime_options_string", "enable_profiling = true\n"), ("xnnpack", cpu)):
            opaque = self._runtime.get("LiteRtCreateOpaqueOptions", name.encode(), *_c_string(text))
            self._runtime.call("LiteRtAddOpaqueOptions", options, opaque)
        return options

    def _buffers(self, signature: ctypes.c_void_p, side: str) -> ctypes.Array[ctypes.c_void_p]:
        get, call = self._runtime.get, self._runtime.call
        count = self._runtime.size(f"LiteRtGetNumSignature{side}s", signature)
        buffers = (ctypes.c_void_p * count)()
        for number in range(count):
            index = ctypes.c_size_t(number)
            tensor = get(f"LiteRtGetSignature{side}TensorByIndex", signature, index)
            kind = ctypes.create_string_buffer(RANKED_TENSOR_TYPE_BYTES)
            call("LiteRtGetRankedTensorType", tensor, kind)
            needs = get(f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, FIRST_SIGNATURE, index)
            buffer = get("LiteRtCreateManagedTensorBufferFromRequirements", self._environment, kind, needs)
            address = ctypes.c_void_p()
            call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), ctypes.c_int(WRITE))
            ctypes.memset(address, 0, self._runtime.size("LiteRtGetTensorBufferPackedSize", buffer))
            call("LiteRtUnlockTensorBuffer", buffer)
            buffers[number] = buffer.value
        return buffers


def _c_string(text: str) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    """A copy of the text that the C side owns, and the function by which it frees it."""
    libc = ctypes.CDLL(None)
    libc.strdup.restype = ctypes.c_void_p
    return ctypes.c_void_p(libc.strdup(text.encode())), ctypes.cast(libc.free, ctypes.c_void_p)


def profile(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the model in blocks and returns the summaries.

    Raises:
      OSError, AttributeError: there is no such library, or it lacks a function.
      RuntimeError: a function failed.
    """
    deadline = time.monotonic() + request["max_seconds"]
    model = _ProfiledModel(request)
    model.run(request["runs"])
    summaries = [model.profile(request["runs"])]
    while len(summaries) < request["blocks"] and time.monotonic() < deadline:
        summaries.append(model.profile(request["runs"]))
    return {"summaries": summaries}


def main(request_path: str) -> int:
    """Runs the request and writes its result; returns the exit code."""
    request = json.loads(Path(request_path).read_text())
    try:
        result, code = profile(request), 0
    except (OSError, AttributeError, RuntimeError) as error:
        result, code = {"error": str(error)}, 1
    Path(request["result"]).write_text(json.dumps(result))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
