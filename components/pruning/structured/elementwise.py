"""Functions that compute each channel from that channel alone: activations, and TensorFlow's in a Functional graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tf_keras.src.engine.keras_tensor import KerasTensor

from tfx_edge.pruning.structured.channels import Track
from tfx_edge.pruning.structured.tracks import Layer, Node, Tracks

_ACTIVATIONS = frozenset(
    (
        "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "keras3_hard_sigmoid",
        "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus",
        "softsign", "squareplus", "swish", "tanh", "tanh_shrink",
    )
)  # fmt: skip
_OWNERS = ("tf_keras.", "tensorflow.", "keras.", "tfx_edge.bridge.")
_SYMBOLS = frozenset(
    (
        "__operators__.add", "math.add", "math.subtract", "math.multiply", "math.divide", "math.truediv",
        "math.divide_no_nan", "math.maximum", "math.minimum", "math.squared_difference", "math.pow", "math.abs",
        "math.negative", "math.exp", "math.log", "math.log1p", "math.sqrt", "math.rsqrt", "math.square", "math.sign",
        "math.reciprocal", "math.sigmoid", "math.tanh", "math.softplus", "math.erf", "nn.relu", "nn.relu6", "nn.elu",
        "nn.selu", "nn.gelu", "nn.silu", "nn.swish", "nn.leaky_relu", "nn.softsign", "clip_by_value", "identity",
        "cast", "stop_gradient",
    )
)  # fmt: skip
_REDUCTIONS = frozenset(("math.reduce_mean", "math.reduce_max", "math.reduce_min", "math.reduce_sum"))


def is_elementwise(activation: Any) -> bool:
    """Whether an activation is a function of tf_keras, TensorFlow or the bridge that does not mix channels."""
    owner = f"{getattr(activation, '__module__', '')}."
    return getattr(activation, "__name__", "") in _ACTIVATIONS and owner.startswith(_OWNERS)


def lambda_rule(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    """The rule of what TensorFlow's functions become when they are called with symbolic tensors."""
    unknown = f"{layer.symbol}, whose effect on channels is not known"
    arguments = [*node.call_args, *(value for name, value in node.call_kwargs.items() if name != "name")]
    ranks = {tensor.shape.rank for tensor in node.keras_inputs}
    if layer.symbol in _SYMBOLS and len(ranks) == 1 and all(map(_is_plain, arguments)):
        lengths = {len(track) for track in tracks}
        return notes.same(layer, tracks) if len(lengths - {1}) < 2 else unknown
    if layer.symbol in _REDUCTIONS and len(tracks) == 1:
        axes = _argument(node, 1, "axis")
        rank = node.keras_inputs[0].shape.rank
        across = axes is None or rank - 1 in {int(axis) % rank for axis in np.ravel(axes)}
        return "which computes across channels" if across else tracks[0]
    if layer.symbol == "concat":
        rank = node.outputs.shape.rank
        axis = _argument(node, 1, "axis")
        if len(tracks) == len(tf.nest.flatten(node.call_args[0])) and axis is not None:
            return np.concatenate(tracks) if int(axis) % rank == rank - 1 else notes.same(layer, tracks)
    return unknown


def _argument(node: Node, position: int, name: str) -> Any:
    return node.call_args[position] if len(node.call_args) > position else node.call_kwargs.get(name)


def _is_plain(argument: Any) -> bool:
    """A symbolic tensor, or a constant that is the same for all channels."""
    if argument is None or isinstance(argument, (str, tf.DType, KerasTensor)):
        return True
    return not isinstance(argument, (list, tuple, dict)) and np.ndim(argument) == 0
