"""Pairs of layers between which channels can be scaled: the first gives each channel smaller, the second makes up.

Scaling commutes with what lies between them when that is positively homogeneous, ``f(s * x) = s * f(x)`` for s > 0, and
keeps channels apart: ReLU, leaky ReLU, pooling, zero padding, the mean over positions, flattening.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType, TensorType

from tfx_edge.lite.rewrite import Rewriter, text

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_HOMOGENEOUS = {"RELU", "LEAKY_RELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "MEAN", "RESHAPE"}
_RELU6, _FREE = ActivationFunctionType.RELU6, (ActivationFunctionType.NONE, ActivationFunctionType.RELU)


@dataclass(frozen=True)
class Side:
    """How one layer of a pair holds the channels between them.

    Attributes:
      name: of the layer, that of its output.
      weights: the tensor of its weights.
      channel: for every slice of the weights along ``axis``, the channel that it belongs to.
      axis: of the weights.
      bias: the tensor of its bias, which has one number a slice; None without, and for the second layer.
    """

    name: str
    weights: Any
    channel: np.ndarray
    axis: int
    bias: Any = None


@dataclass(frozen=True)
class Pair:
    """Two layers and what lies between them.

    Attributes:
      first: gives the channels.
      second: takes them.
      output: index of the first layer's output tensor.
      clipped: whether the first layer's output is clipped at 6 (ReLU6).
      depthwise: whether the second layer keeps the channels apart.
    """

    first: Side
    second: Side
    output: int
    clipped: bool
    depthwise: bool

    def __str__(self) -> str:
        return f"{self.first.name} → {self.second.name}"


def find_pairs(model: Rewriter) -> tuple[tuple[Pair, ...], dict[str, str]]:
    """The pairs of the main graph in the order they run.

    Returns:
      The pairs, and for every other layer with weights why it is the first of none.
    """
    pairs, reasons = [], {}
    graph = model.model.subgraphs[0]
    for op in graph.operators:
        if model.operator(op) in WEIGHTED:
            found = _pair(model, graph, op)
            if isinstance(found, Pair):
                pairs.append(found)
            else:
                reasons[text(graph.tensors[op.outputs[0]].name)] = found
    return tuple(pairs), reasons


def _pair(model: Rewriter, graph: Any, op: Any) -> Pair | str:
    activation = op.builtinOptions.fusedActivationFunction
    if activation not in (*_FREE, _RELU6):
        return "its activation is not ReLU, ReLU6 or none"
    first = _first(model, graph, op)
    if isinstance(first, str):
        return first
    readers = Counter(index for other in graph.operators for index in set(other.inputs))
    tensor = op.outputs[0]
    channels = np.arange(graph.tensors[tensor].shape[-1])
    clipped = activation == _RELU6
    while True:
        if readers[tensor] != 1 or tensor in graph.outputs:
            return "its output is read in several places" if readers[tensor] else "its output leaves the model"
        (reader,) = (other for other in graph.operators if tensor in other.inputs)
        name = model.operator(reader)
        if name in WEIGHTED:
            second = _second(model, graph, reader, tensor, channels)
            if isinstance(second, str):
                return second
            return Pair(first, second, op.outputs[0], clipped, name == "DEPTHWISE_CONV_2D")
        if name == "RELU6":
            clipped = True
        elif name not in _HOMOGENEOUS or reader.inputs[0] != tensor:
            return f"{name} follows, which does not scale with its input"
        passed = _pass(model, name, graph, reader, channels)
        if isinstance(passed, str):
            return passed
        channels, tensor = passed, reader.outputs[0]


def _pass(model: Rewriter, name: str, graph: Any, op: Any, channels: np.ndarray) -> np.ndarray | str:
    """The channel of each place of the last dimension after an operator."""
    before, after = (graph.tensors[index].shape for index in (op.inputs[0], op.outputs[0]))
    if getattr(op.builtinOptions, "fusedActivationFunction", 0) not in _FREE:
        return f"{name} follows with an activation that is not ReLU"
    if name == "MEAN":
        axes = model.constant(graph.tensors[op.inputs[1]])
        if axes is None or any(int(axis) % len(before) == len(before) - 1 for axis in np.ravel(axes)):
            return "MEAN follows, over the channels"
        return channels
    if name == "PAD":
        amounts = model.constant(graph.tensors[op.inputs[1]])
        if amounts is None or np.any(amounts.reshape(-1, 2)[-1]):
            return "PAD follows, which adds channels"
        return channels
    if name == "RESHAPE":
        if after[-1] % len(channels):
            return "RESHAPE follows, which mixes channels"
        return np.tile(channels, after[-1] // len(channels))
    return channels


def _first(model: Rewriter, graph: Any, op: Any) -> Side | str:
    name, weights = text(graph.tensors[op.outputs[0]].name), graph.tensors[op.inputs[1]]
    bias = graph.tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    for tensor in filter(None, (weights, bias)):
        reason = _unfit(model, graph, tensor)
        if reason:
            return reason
    axis = 3 if model.operator(op) == "DEPTHWISE_CONV_2D" else 0
    return Side(name, weights, np.arange(weights.shape[axis]), axis, bias)


def _second(model: Rewriter, graph: Any, op: Any, tensor: int, channels: np.ndarray) -> Side | str:
    if op.inputs[0] != tensor:
        return "its output is taken as weights"
    name, weights = text(graph.tensors[op.outputs[0]].name), graph.tensors[op.inputs[1]]
    reason = _unfit(model, graph, weights)
    if reason:
        return f"the layer after it: {reason}"
    kind = model.operator(op)
    if kind == "DEPTHWISE_CONV_2D":
        return Side(name, weights, np.repeat(channels, weights.shape[3] // len(channels)), 3)
    axis = len(weights.shape) - 1
    if weights.shape[axis] % len(channels):
        return "the layer after it takes the channels in groups"
    return Side(name, weights, np.tile(channels, weights.shape[axis] // len(channels)), axis)


def _unfit(model: Rewriter, graph: Any, tensor: Any) -> str | None:
    """Why a constant cannot be scaled for one layer alone, or None if it can."""
    if tensor.type != TensorType.FLOAT32 or model.constant(tensor) is None:
        return "its weights are no float32 constants"
    index = graph.tensors.index(tensor)
    if model.shared(tensor) or sum(index in op.inputs for op in graph.operators) > 1:
        return "its weights are shared"
    return None
