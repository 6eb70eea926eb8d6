"""Calls signatures of a ``.tflite`` by name, one after the other, in a process of their own.

Unlike `tfx_edge.devices.local.infer` this runs any signature, and a model may keep its state from call to call: that of
a fused LSTM lies in variable tensors, that of a ``tf.Variable`` in resource variables. A state begins anew with the
process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.answer import existing, read_answer, signal_name
from tfx_edge.devices.loaded_model import rows
from tfx_edge.errors import DataError, DeviceError, ModelError
from tfx_edge.lite.tensors import dequantize, quantize

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Call:
    """One call, or as many as the examples fill where the signature has a fixed batch.

    Attributes:
      signature: its name.
      inputs: real numbers by input name; quantized inputs get the nearest integers.
    """

    signature: str
    inputs: Batch


def run(path: str | Path, calls: Sequence[Call], *, keep_state: bool = False, timeout_s: float = 600) -> list[Batch]:
    """The outputs of each call by name; quantized ones as the real numbers that they stand for.

    Args:
      path: the ``.tflite``.
      calls: what to call, in this order.
      keep_state: let fused LSTMs keep their state from call to call, as resource variables always do.
      timeout_s: seconds that all of it may take.

    Raises:
      DataError: inputs that a call lacks, or values that a quantized input cannot hold.
      DeviceError: the process crashed, hung or answered nonsense.
      ModelError: the file cannot be loaded or run, or has no such signature.
    """
    model = existing(path)
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        folder = Path(scratch)
        files = [folder / f"{number}.npz" for number in range(len(calls))]
        for file, call in zip(files, calls, strict=True):
            given: dict[str, Any] = {f"in_{name}": _portable(values) for name, values in call.inputs.items()}
            np.savez(file, **given)
        jobs = [{"signature": call.signature, "file": str(file)} for call, file in zip(calls, files, strict=True)]
        request = {"model": model, "calls": jobs, "keep_state": keep_state, "result": str(folder / "result.json")}
        _run_child(request, folder, timeout_s)
        outputs = []
        for file in files:
            with np.load(file) as arrays:
                outputs.append({name.removeprefix("out_"): arrays[name] for name in arrays.files})
    return outputs


def _portable(values: np.ndarray) -> np.ndarray:
    """Strings as bytes of a fixed length, which need no pickle."""
    return values.astype(np.bytes_) if values.dtype.kind in "OU" else values


def _run_child(request: Mapping[str, Any], folder: Path, timeout_s: float) -> None:
    request_path = folder / "request.json"
    request_path.write_text(json.dumps(request))
    command = [sys.executable, "-m", "tfx_edge.conversion.calls", str(request_path)]
    try:
        child = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"the interpreter did not finish running {request['model']} within {timeout_s:g} s") from None
    said = child.stderr.decode(errors="replace").strip()[-1000:]
    if child.returncode < 0:
        how = signal_name(-child.returncode)
        raise DeviceError(f"the interpreter crashed ({how}) while running {request['model']}; it said: {said}")
    read_answer(Path(request["result"]), f"the runner of {request['model']}", child.returncode, said)


def main(request_path: str) -> int:
    """Runs a request in the child and writes its result; returns the exit code."""
    request = json.loads(Path(request_path).read_text())
    try:
        _run_calls(request)
        answer, code = {}, 0
    except (DataError, ModelError) as error:
        answer, code = {"error": str(error), "error_type": type(error).__name__}, 1
    Path(request["result"]).write_text(json.dumps(answer))
    return code


def _run_calls(request: Mapping[str, Any]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = request["model"]
    try:
        interpreter = Interpreter(path, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the interpreter cannot load {path}: {error}") from error
    known = interpreter.get_signature_list()
    for job in request["calls"]:
        if job["signature"] not in known:
            raise ModelError(f"{path} has no signature {job['signature']!r}: it has {', '.join(known) or 'none'}")
        with np.load(job["file"]) as arrays:
            inputs = {name.removeprefix("in_"): arrays[name] for name in arrays.files}
        runner = interpreter.get_signature_runner(job["signature"])
        if not request["keep_state"]:
            interpreter.reset_all_variables()
        try:
            outputs = _call(runner, inputs, None if request["keep_state"] else interpreter)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"signature {job['signature']!r} of {path} does not run: {error}") from error
        found: dict[str, Any] = {f"out_{name}": values for name, values in outputs.items()}
        np.savez(job["file"], **found)


def _call(runner: Any, inputs: Batch, to_reset: Any) -> Batch:
    details = runner.get_input_details()
    lacking = [name for name in details if name not in inputs]
    if lacking:
        raise DataError(f"a call lacks the input {', '.join(map(repr, lacking))}: it has {', '.join(inputs) or 'none'}")
    fed = {name: _stored(inputs[name], detail) for name, detail in details.items()}
    fixed = {int(d["shape_signature"][0]) for d in details.values() if len(d["shape_signature"])} - {-1}
    examples = {len(values) for values in fed.values() if values.ndim}
    if len(fixed) != 1 or len(examples) != 1 or fixed == examples:
        return _real(runner, runner(**fed))
    (size,), (count,) = fixed, examples
    parts = []
    for start in range(0, count, size):
        if to_reset is not None and start:
            to_reset.reset_all_variables()
        parts.append(_real(runner, runner(**{name: rows(values, start, size) for name, values in fed.items()})))
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def _stored(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    if _is_quantized(details):
        return quantize(values, details["dtype"], *details["quantization"])
    return values.astype(details["dtype"], copy=False)


def _real(runner: Any, outputs: Batch) -> Batch:
    details = runner.get_output_details()
    return {
        name: dequantize(values, *details[name]["quantization"]) if _is_quantized(details[name]) else values
        for name, values in outputs.items()
    }


def _is_quantized(details: Mapping[str, Any]) -> bool:
    return np.dtype(details["dtype"]).kind in "iu" and details["quantization"][0] != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
