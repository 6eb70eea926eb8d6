"""Bias correction: the mean error that quantization gives each output channel of a layer, taken back in its bias.

Rounding a channel's weights all but never averages out, so every output of the channel is off by the same amount, and
layer by layer the amounts add up. Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction" (2019), in its empirical form.

A layer is linear up to its activation: the mean of what goes into the activation is what the layer makes of its mean
input. So one pass over the samples gives the mean input of a layer in the float model and in the quantized one, and its
error before the activation follows exactly, padding, stride and rounded weights included, though the file only holds
values after the activation. Layers are corrected in the order they run, each with those before it corrected, because
a correction changes what the next layer takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import Padding

from tfx_edge.lite.rewrite import Rewriter, text
from tfx_edge.recovery.layer_pairs import WEIGHTED
from tfx_edge.recovery.trials import Trials, sqnr_db

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Corrected:
    """A quantized model with other biases, or the same where they did not help.

    Attributes:
      content: the flatbuffer, the better of the two.
      layers: names of the layers whose bias was changed.
      skipped: layers with weights that were left, and why.
      kept: whether the correction is in ``content``.
      sqnr_before_db: outputs against the float model's on the held-out samples, without it.
      sqnr_after_db: the same with it.
    """

    content: bytes
    layers: tuple[str, ...]
    skipped: dict[str, str]
    kept: bool
    sqnr_before_db: float
    sqnr_after_db: float

    def to_dict(self) -> dict[str, Any]:
        """What was done, as values that JSON can carry."""
        return {name: value for name, value in vars(self).items() if name != "content"}


def correct_biases(
    float_path: str | Path, quantized: bytes, samples: Trials, held_out: Trials, progress: Progress = lambda line: None
) -> Corrected:
    """Corrects the biases of a quantized model, and keeps them if the outputs get closer to the float model's.

    Args:
      float_path: the model that was quantized.
      quantized: what came out.
      samples: calibration samples: the mean errors are measured on them.
      held_out: other samples, which decide whether the correction is kept.
      progress: is told the layers.

    Raises:
      ModelError: a model cannot be run.
      DataError: the samples do not fit the models.
      DeviceError: the interpreter crashed or hung.
    """
    reference = Rewriter(float_path)
    path = samples.folder / "corrected.tflite"
    path.write_bytes(quantized)
    model = Rewriter(path)
    graph, float_graph = model.model.subgraphs[0], reference.model.subgraphs[0]
    by_output = {text(float_graph.tensors[op.outputs[0]].name): op for op in float_graph.operators if op.outputs}
    pairs, skipped = [], {}
    for op in graph.operators:
        if model.operator(op) not in WEIGHTED:
            continue
        name = text(graph.tensors[op.outputs[0]].name)
        why = _obstacle(model, reference, op, by_output.get(name))
        if why:
            skipped[name] = why
        else:
            pairs.append((name, op, by_output[name]))
    float_means = samples.means(Path(float_path), sorted({op.inputs[0] for _, _, op in pairs}))
    for number, (name, op, float_op) in enumerate(pairs, 1):
        mean = samples.means(path, [op.inputs[0]])[op.inputs[0]]
        error = _mean_output(model, op, mean) - _mean_output(reference, float_op, float_means[float_op.inputs[0]])
        _subtract(model, graph.tensors[op.inputs[2]], error)
        path.write_bytes(model.content())
        progress(f"bias {number} of {len(pairs)}: {name}")
    content = path.read_bytes()
    expected = held_out.outputs(Path(float_path))
    before, after = (sqnr_db(expected, held_out.outputs(one)) for one in (quantized, content))
    kept = after > before and bool(pairs)
    names = tuple(name for name, _, _ in pairs)
    return Corrected(content if kept else quantized, names, skipped, kept, before, after)


def _obstacle(model: Rewriter, reference: Rewriter, op: Any, float_op: Any | None) -> str | None:
    """Why a layer cannot be corrected, or None if it can."""
    if float_op is None or reference.operator(float_op) != model.operator(op):
        return "the float model has no such layer"
    graph = model.model.subgraphs[0]
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return "it has no bias"
    bias = graph.tensors[op.inputs[2]]
    if model.shared(bias) or sum(op.inputs[2] in other.inputs for other in graph.operators) > 1:
        return "its bias is shared"
    if _weights(model, op) is None or model.constant(bias) is None:
        return "its weights or its bias are no constants"
    return None


def _mean_output(model: Rewriter, op: Any, mean_input: np.ndarray) -> np.ndarray:
    """The mean of each output channel before the activation, of shape (channels,), given the mean input."""
    weights, bias = _weights(model, op), _real_bias(model, op)
    assert weights is not None
    if model.operator(op) == "FULLY_CONNECTED":
        return mean_input.reshape(-1, weights.shape[1]).mean(axis=0) @ weights.T + bias
    taps = _taps(op, mean_input, weights.shape[1], weights.shape[2])
    if model.operator(op) == "CONV_2D":
        return np.einsum("ohwc,hwc->o", weights, taps) + bias
    return np.einsum("hwo,hwo->o", weights[0], np.repeat(taps, op.builtinOptions.depthMultiplier, axis=2)) + bias


def _taps(op: Any, mean_input: np.ndarray, height: int, width: int) -> np.ndarray:
    """What each place of a kernel sees on average over all positions: shape (height, width, input channels)."""
    options = op.builtinOptions
    values = mean_input
    spans = []
    for axis, size, stride, dilation in (
        (1, height, options.strideH, options.dilationHFactor),
        (2, width, options.strideW, options.dilationWFactor),
    ):
        reach, length = (size - 1) * dilation + 1, values.shape[axis]
        count = -(-length // stride) if options.padding == Padding.SAME else -(-(length - reach + 1) // stride)
        missing = max((count - 1) * stride + reach - length, 0)
        amounts = [(0, 0)] * values.ndim
        amounts[axis] = (missing // 2, missing - missing // 2)
        values = np.pad(values, amounts)
        spans.append([slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride) for tap in range(size)])
    return np.array([[values[:, rows, columns].mean(axis=(0, 1, 2)) for columns in spans[1]] for rows in spans[0]])


def _weights(model: Rewriter, op: Any) -> np.ndarray | None:
    """The weights as real numbers, float64; None if they are no constants of one scale a tensor or a channel."""
    return _real(model, model.model.subgraphs[0].tensors[op.inputs[1]])


def _real_bias(model: Rewriter, op: Any) -> np.ndarray:
    bias = (
        _real(model, model.model.subgraphs[0].tensors[op.inputs[2]])
        if len(op.inputs) > 2 and op.inputs[2] >= 0
        else None
    )
    return np.zeros(1) if bias is None else bias


def _real(model: Rewriter, tensor: Any) -> np.ndarray | None:
    stored = model.constant(tensor)
    if stored is None or stored.dtype == np.float32:
        return None if stored is None else stored.astype(np.float64)
    scales = _scales(tensor)
    if scales.size not in (1, stored.shape[tensor.quantization.quantizedDimension]):
        return None
    shape = [-1 if axis == tensor.quantization.quantizedDimension else 1 for axis in range(stored.ndim)]
    along = scales.reshape(shape) if scales.size > 1 else scales
    zeros = np.asarray(tensor.quantization.zeroPoint, np.float64)
    zeros = zeros.reshape(shape) if zeros.size > 1 else zeros
    return (stored - zeros) * along


def _scales(tensor: Any) -> np.ndarray:
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    return np.zeros(0) if scales is None else np.asarray(scales, np.float64)


def _subtract(model: Rewriter, bias: Any, error: np.ndarray) -> None:
    stored = model.constant(bias)
    assert stored is not None
    if stored.dtype == np.float32:
        model.set_constant(bias, stored - error)
        return
    limits = np.iinfo(stored.dtype)
    steps = np.rint(error / _scales(bias))
    model.set_constant(bias, np.clip(stored - steps, limits.min, limits.max).astype(stored.dtype))
