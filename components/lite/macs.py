"""How many multiplications with additions one run of a ``.tflite`` takes, counted from its shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from tfx_edge.lite.flatbuffer import RawModel, RawOp, RawTensor

Shape = tuple[int, ...]


def macs(model: RawModel) -> int:
    """Multiply-accumulates of one run at the shapes in the file.

    Convolutions, fully connected layers, products of matrices and fused recurrent layers are counted; arithmetic by
    elements, pooling and activations are not, which is the custom of the field. Weights that are zero count like any
    other: kernels multiply with them too. The body of a loop counts once, since the file does not say how often it
    runs.
    """
    return sum(_of(op, graph.tensors) for graph in model.subgraphs for op in graph.ops)


def _of(op: RawOp, tensors: tuple[RawTensor, ...]) -> int:
    count = _COUNTS.get(op.name)
    if not count:
        return 0
    inputs = [tensors[index].shape if index >= 0 else () for index in op.inputs]
    return count(inputs, tensors[op.outputs[0]].shape)


def _convolution(inputs: list[Shape], output: Shape) -> int:
    return math.prod(output) * math.prod(inputs[1][1:])


def _depthwise(inputs: list[Shape], output: Shape) -> int:
    return math.prod(output) * math.prod(inputs[1][1:3])


def _transposed(inputs: list[Shape], output: Shape) -> int:
    return math.prod(inputs[2]) * math.prod(inputs[1][:3])


def _convolution_3d(inputs: list[Shape], output: Shape) -> int:
    return math.prod(output) * math.prod(inputs[1][:4])


def _matrices(inputs: list[Shape], output: Shape) -> int:
    left = inputs[0]
    return math.prod(output) * (left[-1] if left[-2] == output[-2] else left[-2])


def _each_step(inputs: list[Shape], output: Shape) -> int:
    """Every matrix is used once a step of each example."""
    return math.prod(inputs[0][:-1]) * _matrix_elements(inputs[1:])


def _matrix_elements(shapes: Iterable[Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes if len(shape) == 2)


def _recurrent(weights: int) -> Callable[[list[Shape], Shape], int]:
    """Of an operator whose matrices are among its first inputs, before its states, which may be matrices too."""
    return lambda inputs, output: _each_step(inputs[: weights + 1], output)


_COUNTS: Mapping[str, Callable[[list[Shape], Shape], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D": _convolution_3d,
    "FULLY_CONNECTED": _convolution,
    "BATCH_MATMUL": _matrices,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent(8),
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent(2),
}
