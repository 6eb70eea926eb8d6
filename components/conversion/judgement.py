"""How much the outputs of a ``.tflite`` may differ from those of the model it was made of.

Measured on 32 random examples (TensorFlow 2.16, LiteRT 2.3 with XNNPACK, x86-64), as bounds for what is normal:

- Float models (MobileNetV2, EfficientNetB0, LSTM and GRU over 60 steps, a bidirectional LSTM, four attention blocks,
  20 dense layers): the outputs differ by at most 5e-6 of the largest one, from additions in another order.
- Quantization-aware models (MLP, CNN, depthwise separable CNN, residual CNN, dense layers around LSTM and GRU): by at
  most 4 steps of the quantized output, 0.5 on average; MobileNetV2, with 53 layers to round in, by 10, 1.8 on average.
  A value between two integers may be rounded either way.
- Models quantized after training (MLP, depthwise CNN, two LSTMs, attention), on 32 calibration examples where there are
  some: the outputs have 68 to 78 dB more power than their error in float16, 44 to 47 in dynamic_int8, 34 to 44 in int8,
  46 to 49 in int16x8, 21 to 28 in int4_weights. Nothing but a gross mismatch is refused: what is good enough is for
  EdgeEvaluator to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tfx_edge.errors import ModelError
from tfx_edge.lite import flatbuffer

Batch = dict[str, np.ndarray]
Kind = Literal["float", "quantization_aware", "post_training"]

FLOAT_TOLERANCE = 1e-3  # of the largest output; a wrong weight, layout or activation changes percents
STEPS_TOLERANCE = 64  # a quarter of what an int8 output holds; only a gross mismatch is beyond
SQNR_BOUND_DB = 0.0  # an error as large as the outputs themselves, which outputs that are all zero have
_NEGLIGIBLE = 1e-5
_LOWEST_NOISE = 1e-15  # 150 dB: no float32 is more exact


@dataclass(frozen=True)
class Agreement:
    """How the outputs of a ``.tflite`` compare with those of the model it was made of.

    Attributes:
      max_output_difference: the largest absolute difference, in the unit of the output; None if nothing was compared.
      max_output_steps: for a quantized model, the largest difference in steps of the quantized output.
      min_sqnr_db: for a model quantized after training, the power of an output over that of its error, in decibels, of
        the output where it is least.
      examples: how many examples were compared.
      not_compared: why nothing was.
    """

    max_output_difference: float | None = None
    max_output_steps: float | None = None
    min_sqnr_db: float | None = None
    examples: int = 0
    not_compared: str | None = None

    def __str__(self) -> str:
        if self.max_output_difference is None:
            return f"not compared with the model: {self.not_compared}"
        steps = "" if self.max_output_steps is None else f" ({self.max_output_steps:.1f} quantization steps)"
        ratio = "" if self.min_sqnr_db is None else f", signal to noise {self.min_sqnr_db:.1f} dB,"
        return (
            f"differs from the model by at most {self.max_output_difference:.3g}{steps}{ratio} on {self.examples} "
            "examples"
        )


def judge(path: Path, signature: str, expected: Batch, found: Batch, kind: Kind, examples: int) -> Agreement:
    """Compares outputs by name.

    Args:
      path: the ``.tflite``.
      signature: the one that was run.
      expected: outputs of the model.
      found: outputs of the ``.tflite``, as real numbers.
      kind: what the ``.tflite`` is, which decides what is normal.
      examples: how many were run.

    Raises:
      ModelError: the difference is beyond what is normal.
    """
    if set(expected) != set(found):
        raise ModelError(f"the .tflite has the outputs {sorted(found)}, the model {sorted(expected)}: name them apart")
    steps = _output_steps(path, signature) if kind != "float" else {}
    differences, in_steps, ratios = [], [], []
    for name, wanted in expected.items():
        if wanted.dtype.kind != "f":
            if kind == "float":
                _check_equal(name, wanted, found[name])
                differences.append(0.0)
            continue
        difference = _difference(name, wanted, found[name])
        if difference is None:
            continue
        largest = float(np.max(np.abs(wanted[np.isfinite(wanted)])))
        step = steps.get(name, largest / 127)
        ratio = _sqnr_db(wanted, found[name])
        _check(name, kind, difference, largest, step, ratio)
        differences.append(difference)
        in_steps.append(difference / step if step else 0.0)
        ratios.append(ratio)
    if not differences:
        return Agreement(not_compared="no output is a finite real number")
    return Agreement(
        max(differences),
        max(in_steps) if kind != "float" else None,
        min(ratios) if kind == "post_training" else None,
        examples,
    )


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


def _sqnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    finite = np.isfinite(wanted)
    signal = float(np.sum(np.square(wanted[finite], dtype=np.float64)))
    noise = float(np.sum(np.square(wanted[finite] - found[finite], dtype=np.float64)))
    if not signal:
        return 0.0 if noise else -10 * np.log10(_LOWEST_NOISE)
    return float(-10 * np.log10(max(noise / signal, _LOWEST_NOISE)))


def _check(name: str, kind: Kind, difference: float, largest: float, step: float, ratio: float) -> None:
    if kind == "float" and difference > FLOAT_TOLERANCE * largest + _NEGLIGIBLE:
        raise ModelError(
            f"output {name!r} of the .tflite differs from the model's by up to {difference:.3g}, where the largest "
            f"output is {largest:.3g}; {FLOAT_TOLERANCE:g} of that is allowed. Replace the layer that TFLite computes "
            "otherwise, or set allow_select_tf_ops to keep TensorFlow's operators"
        )
    if kind == "quantization_aware" and difference > STEPS_TOLERANCE * step + _NEGLIGIBLE:
        raise ModelError(
            f"output {name!r} of the .tflite differs from the quantization-aware model's by up to {difference:.3g}, "
            f"{difference / step if step else np.inf:.0f} steps of {step:.3g}; {STEPS_TOLERANCE} are allowed. Train "
            "longer, or quantize the converted float model instead (a Quantizer with recipe 'int8' after LiteConverter)"
        )
    if kind == "post_training" and difference > _NEGLIGIBLE and ratio <= SQNR_BOUND_DB:
        raise ModelError(
            f"output {name!r} of the quantized .tflite has nothing to do with the float model's: the error has "
            f"{-ratio:.1f} dB more power than the output. Calibrate on examples of the training split, keep sensitive "
            "layers in float by overrides, or train quantization-aware"
        )


def _output_steps(path: Path, name: str) -> dict[str, float]:
    """The size of an integer step of each output that is quantized, or dequantized as the last thing that happens."""
    model = flatbuffer.parse(path.read_bytes())
    signature = next(item for item in model.signatures if item.name == name)
    graph = model.subgraphs[signature.subgraph]
    source = {op.outputs[0]: op.inputs[0] for op in graph.ops if op.name == "DEQUANTIZE"}
    scales = {name: graph.tensors[source.get(index, index)].scales for name, index in signature.outputs}
    return {name: float(scale[0]) for name, scale in scales.items() if scale.size == 1}
