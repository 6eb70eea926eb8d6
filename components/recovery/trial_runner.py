"""Runs one model after another on the same samples: ``python -m tfx_edge.recovery.trial_runner SAMPLES.json``.

``SAMPLES.json`` names the features and their ``.npz`` file. Every line of standard input is a JSON request
``{"model": path, "output": path}``, and for a statistic of inner tensors of the main graph also ``"statistic"``
(``"mean"`` or ``"channel_maximum"``) and ``"tensors"`` (their indices). Every answer is one line, ``{}`` or
``{"error": text, "error_type": name}``. Written is an ``.npz`` file of real numbers: the outputs by name, or the
statistic of each tensor by index.

Many short runs share one process because its start takes longer than most of them. A crash ends it, and
`tfx_edge.recovery.trials` starts another.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.loaded_model import LoadedModel, rows
from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite.tensors import dequantize


def outputs(model: str, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by name, real numbers, a row for each sample."""
    return LoadedModel(model, num_threads=1).run(batch)


def statistic(model: str, batch: Mapping[str, np.ndarray], kind: str, tensors: Sequence[int]) -> dict[str, np.ndarray]:
    """A statistic over all samples of tensors of the main graph, by index.

    Args:
      model: a .tflite file.
      batch: the samples.
      kind: ``"mean"``, of the tensor's shape; or ``"channel_maximum"``, the greatest magnitude for each place of the
        last dimension.
      tensors: their indices.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    loaded = LoadedModel(model, num_threads=1)
    ready = loaded.prepare(batch)
    examples = len(next(iter(ready.values())))
    step = loaded.batch_size or 1
    interpreter = Interpreter(
        model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    known = {details["index"]: details for details in interpreter.get_tensor_details()}
    found: dict[int, Any] = dict.fromkeys(tensors, 0.0)
    for start in range(0, examples, step):
        interpreter.reset_all_variables()
        for name, details in loaded.inputs.items():
            interpreter.set_tensor(details["index"], rows(ready[name], start, step))
        interpreter.invoke()
        for index in tensors:
            values = _real(interpreter.get_tensor(index), known[index]).astype(np.float64)
            if kind == "mean":
                found[index] = found[index] + values / math.ceil(examples / step)
            else:
                found[index] = np.maximum(found[index], np.max(np.abs(values.reshape(-1, values.shape[-1])), axis=0))
    return {str(index): values for index, values in found.items()}


def _real(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    scale, zero_point = details["quantization"]
    return dequantize(values, scale, zero_point) if scale and values.dtype.kind in "iu" else values


def main(samples: str) -> int:
    """Answers requests until standard input ends."""
    description = json.loads(Path(samples).read_text())
    with np.load(description["file"]) as arrays:
        batch = {name: arrays[f"arr_{number}"] for number, name in enumerate(description["names"])}
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        try:
            if "statistic" in request:
                found: Any = statistic(request["model"], batch, request["statistic"], request["tensors"])
            else:
                found = outputs(request["model"], batch)
            np.savez(request["output"], **found)
        except (DataError, ModelError) as error:
            answer = {"error": str(error), "error_type": type(error).__name__}
        except (ValueError, RuntimeError) as error:
            answer = {"error": f"{request['model']} does not run: {error}", "error_type": "ModelError"}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
