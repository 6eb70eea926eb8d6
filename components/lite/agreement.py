"""Whether a ``.tflite`` computes what the model it was made of computes, found by running both.

Measured on 32 random examples (TensorFlow 2.16, LiteRT 2.3 with XNNPACK, x86-64), as bounds for what is normal:

- Float models (MobileNetV2, EfficientNetB0, LSTM and GRU over 60 steps, a bidirectional LSTM, four attention blocks,
  20 dense layers): the outputs differ by at most 5e-6 of the largest one, from additions in another order.
- Quantization-aware models (MLP, CNN, depthwise separable CNN, residual CNN, dense layers around LSTM and GRU): by at
  most 4 steps of the quantized output, 0.5 on average; MobileNetV2, with 53 layers to round in, by 10, 1.8 on average.
  A value between two integers may be rounded either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfx_edge.devices.local import infer
from tfx_edge.errors import ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.inspect import inspect

if TYPE_CHECKING:
    import tensorflow as tf

Batch = dict[str, np.ndarray]
Function = Callable[[Batch], Batch]

FLOAT_TOLERANCE = 1e-3  # of the largest output; a wrong weight, layout or activation changes percents
STEPS_TOLERANCE = 64  # a quarter of what an int8 output holds; only a gross mismatch is beyond
_NEGLIGIBLE = 1e-5
_EXAMPLES = 16


@dataclass(frozen=True)
class Agreement:
    """How the outputs of a ``.tflite`` compare with those of the model it was made of.

    Attributes:
      max_output_difference: the largest absolute difference, in the unit of the output; None if nothing was compared.
      max_output_steps: for a quantization-aware model, the largest difference in steps of the quantized output.
      examples: how many examples were compared.
      not_compared: why nothing was.
    """

    max_output_difference: float | None = None
    max_output_steps: float | None = None
    examples: int = 0
    not_compared: str | None = None

    def __str__(self) -> str:
        if self.max_output_difference is None:
            return f"not compared with the model: {self.not_compared}"
        steps = "" if self.max_output_steps is None else f" ({self.max_output_steps:.1f} quantization steps)"
        return f"differs from the model by at most {self.max_output_difference:.3g}{steps} on {self.examples} examples"


def compare(path: Path, model: Function, batches: Sequence[Batch], *, quantized: bool) -> Agreement:
    """Runs both and compares every output; what is no finite number in both is passed on.

    Args:
      path: the ``.tflite``.
      model: the model it was made of: inputs by name to outputs by name.
      batches: inputs for both, first dimension the examples.
      quantized: the model was trained quantization-aware, so that steps of the quantized outputs count. Outputs that
        are integers in the model itself (an index of a class) are not compared then; else they must be equal.

    Raises:
      ModelError: the file does not run, or the difference is beyond what is normal.
      DeviceError: the interpreter crashed.
    """
    flex = inspect(path).flex_ops
    if flex:
        operators = ", ".join(map(str, flex))
        return Agreement(not_compared=f"the interpreter here lacks TensorFlow's operators: {operators}")
    expected = _joined(_outputs(model, batch) for batch in batches)
    found = _joined(infer(path, batches))
    if set(expected) != set(found):
        raise ModelError(f"the .tflite has the outputs {sorted(found)}, the model {sorted(expected)}: name them apart")
    steps = _output_steps(path) if quantized else {}
    differences, in_steps = [], []
    for name, wanted in expected.items():
        if wanted.dtype.kind != "f":
            if not quantized:
                _check_equal(name, wanted, found[name])
                differences.append(0.0)
            continue
        difference = _difference(name, wanted, found[name])
        if difference is None:
            continue
        largest = float(np.max(np.abs(wanted[np.isfinite(wanted)])))
        step = steps.get(name, largest / 127)
        _check(name, difference, largest, step if quantized else None)
        differences.append(difference)
        in_steps.append(difference / step if step else 0.0)
    if not differences:
        return Agreement(not_compared="no output is a finite real number")
    examples = sum(len(next(iter(batch.values()))) for batch in batches)
    return Agreement(max(differences), max(in_steps) if quantized else None, examples)


def random_batches(specs: Mapping[str, tf.TensorSpec], model: Function) -> list[Batch]:
    """Seeded inputs: normal floats, then their magnitudes; integers, which may stand for words, are 0 or 1.

    Examples that the model has no finite outputs for (the logarithm of a negative number) are left out, unless there is
    no other.

    Args:
      specs: shape and type by input name; an open dimension becomes 8.
      model: inputs by name to outputs by name.
    """
    generator = np.random.default_rng(0)

    def noise(spec: tf.TensorSpec, *, negative: bool) -> np.ndarray:
        shape = [_EXAMPLES, *(size or 8 for size in spec.shape[1:])]
        values = generator.normal(size=shape) if spec.dtype.is_floating else generator.integers(0, 2, shape)
        return (values if negative else np.abs(values)).astype(spec.dtype.as_numpy_dtype)

    batches = [{name: noise(spec, negative=negative) for name, spec in specs.items()} for negative in (True, False)]
    return [kept for kept in (_finite_examples(batch, model) for batch in batches) if kept] or batches


def _finite_examples(batch: Batch, model: Function) -> Batch | None:
    finite = np.ones(_EXAMPLES, bool)
    for values in _outputs(model, batch).values():
        finite &= np.isfinite(values.reshape(_EXAMPLES, -1)).all(axis=1)
    return {name: values[finite] for name, values in batch.items()} if finite.any() else None


def _outputs(model: Function, batch: Batch) -> Batch:
    examples = len(next(iter(batch.values())))
    outputs = model(batch)
    for name, values in outputs.items():
        if values.shape[:1] != (examples,):
            raise ModelError(
                f"output {name!r} of the model has shape {values.shape} for {examples} examples: let it give one row "
                "for each example"
            )
    return outputs


def _joined(batches: Iterator[Batch]) -> Batch:
    parts = list(batches)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_equal(name: str, wanted: np.ndarray, found: np.ndarray) -> None:
    differing = int(np.sum(wanted != found))
    if differing:
        raise ModelError(
            f"output {name!r} of the .tflite differs from the model's in {differing} of {wanted.size} integers: "
            "replace the layer that computes it, or leave that to the code around the model"
        )


def _difference(name: str, wanted: np.ndarray, found: np.ndarray) -> float | None:
    finite = np.isfinite(wanted)
    torn = finite != np.isfinite(found)
    if torn.any():
        raise ModelError(
            f"output {name!r}: {int(torn.sum())} of {wanted.size} values are finite in one only of the .tflite and the "
            f"model (for example {found[torn][0]} and {wanted[torn][0]}): look for an overflow, a division by zero, or "
            "weights that are no numbers"
        )
    return float(np.max(np.abs(wanted[finite] - found[finite]))) if finite.any() else None


def _check(name: str, difference: float, largest: float, step: float | None) -> None:
    if step is None and difference > FLOAT_TOLERANCE * largest + _NEGLIGIBLE:
        raise ModelError(
            f"output {name!r} of the .tflite differs from the model's by up to {difference:.3g}, where the largest "
            f"output is {largest:.3g}; {FLOAT_TOLERANCE:g} of that is allowed. Replace the layer that TFLite computes "
            "otherwise, or set allow_select_tf_ops to keep TensorFlow's operators"
        )
    if step is not None and difference > STEPS_TOLERANCE * step + _NEGLIGIBLE:
        raise ModelError(
            f"output {name!r} of the .tflite differs from the quantization-aware model's by up to {difference:.3g}, "
            f"{difference / step if step else np.inf:.0f} steps of {step:.3g}; {STEPS_TOLERANCE} are allowed. Train "
            "longer, or quantize the converted float model instead (a Quantizer with mode 'int8' after LiteConverter)"
        )


def _output_steps(path: Path) -> dict[str, float]:
    """The size of an integer step of each output that is quantized, or dequantized as the last thing that happens."""
    model = flatbuffer.parse(path.read_bytes())
    signature = model.signatures[0]
    graph = model.subgraphs[signature.subgraph]
    source = {op.outputs[0]: op.inputs[0] for op in graph.ops if op.name == "DEQUANTIZE"}
    scales = {name: graph.tensors[source.get(index, index)].scales for name, index in signature.outputs}
    return {name: float(scale[0]) for name, scale in scales.items() if scale.size == 1}
