"""Which layers quantization-aware training reaches, and why it does not reach the others.

tensorflow-model-optimization supports a list of layers. Some more are reached by computing the same in supported ones
(`rewrite`). What is left stays in float. The answers were proven on the ``.tflite`` of a model for
each of them: no operator of theirs computes in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.models.graph_copy import Layer
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantize_aware.scheme import Registry

KL = tf_keras.layers
FUSED = frozenset({"linear", "relu", "softmax", "sigmoid", "tanh", "gelu"})
"""Activations that a layer with weights may end in; after others (swish), it would compute in float."""
APART = FUSED | {"swish", "relu6"}
"""Activations that have integer kernels as layers of their own."""
ONE_ROW = (KL.Conv1D, KL.SeparableConv1D)
"""Convolutions over steps."""
_INTO_CONVOLUTIONS = (KL.Conv2D, KL.DepthwiseConv2D, KL.SeparableConv2D)
_INTO_OTHERS = (KL.Dense, KL.Conv2DTranspose, *ONE_ROW)


@dataclass(frozen=True)
class Plan:
    """What becomes of a layer.

    Attributes:
      layer: the layer.
      outcome: ``int8``, or ``float32`` where it stays as it is.
      why: how it becomes int8 where that is not plain, or why it stays.
      into: the layer that takes this batch normalization in before training.
      folds: whether the convolution before this batch normalization takes it in on conversion.
      fenced: it stays in float, but the converter would make it integer, unprepared, if it knew the output's range.
    """

    layer: Layer
    outcome: Literal["int8", "float32"]
    why: str = ""
    into: str | None = None
    folds: bool = False
    fenced: bool = False

    @property
    def quantized(self) -> bool:
        """Whether it becomes int8."""
        return self.outcome == "int8"

    @property
    def takes_indices(self) -> bool:
        """Whether it takes numbers of things, which must not be rounded, even if they come as floats."""
        return isinstance(self.layer, KL.Embedding)


def decide(model: tf_keras.Model, recipe: Recipe) -> dict[str, Plan]:
    """Decides for every layer but the inputs.

    Args:
      model: a Functional model without models inside it, whose layers belong to it alone.
      recipe: its overrides name layers that stay in float.

    Returns:
      Plans by the name of the layer, producers before consumers.

    Raises:
      ModelError: an override names no layer, or nothing with weights is left to quantize.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, KL.InputLayer)]
    for override in recipe.overrides:
        if not any(override.matches(layer.name) for layer in layers):
            raise ModelError(
                f"the override {override.layers!r} names no layer; the layers are "
                f"{', '.join(layer.name for layer in layers)}"
            )
    ends = {id(tensor) for tensor in model.outputs}
    plans: dict[str, Plan] = {}
    for layer in layers:
        plans[layer.name] = _plan(layer, recipe, plans, ends)
    if not any(plan.quantized and plan.layer.weights for plan in plans.values()):
        left = ", ".join(f"{name} ({plan.why})" for name, plan in plans.items() if plan.layer.weights)
        raise ModelError(
            f"quantization-aware training supports none of the layers with weights: {left}. "
            "Quantize the converted model instead (a Quantizer with a post-training recipe after LiteConverter)"
        )
    return plans


def _plan(layer: Layer, recipe: Recipe, plans: Mapping[str, Plan], ends: set[int]) -> Plan:
    def stays(why: str) -> Plan:
        return Plan(layer, "float32", why, fenced=True)

    if recipe.precision_of(layer.name) == "float32":
        return stays("the recipe keeps it in float")
    if any(getattr(tensor, "_keras_mask", None) is not None for tensor in tensors_of(layer)):
        return stays("it takes or gives a mask, which layers with simulated rounding do not pass on")
    if isinstance(layer, KL.BatchNormalization) and len(layer.inbound_nodes) == 1:
        return _plan_normalization(layer, plans, ends)
    reason = refusal(layer)
    return Plan(layer, "float32", reason, fenced=bool(layer.weights)) if reason else Plan(layer, "int8", _how(layer))


def _plan_normalization(layer: Layer, plans: Mapping[str, Plan], ends: set[int]) -> Plan:
    if list(layer.axis) != [len(layer.input.shape) - 1]:
        return Plan(layer, "float32", f"it normalizes axis {list(layer.axis)}, not the last", fenced=True)
    producer = producers_of(layer)[0]
    alone = (
        type(producer) in (*_INTO_CONVOLUTIONS, *_INTO_OTHERS)
        and producer.activation is tf_keras.activations.linear
        and len(producer.outbound_nodes) == 1
        and id(producer.output) not in ends
    )
    if alone and not plans[producer.name].quantized:
        return Plan(layer, "float32", f"it belongs to {producer.name!r}, which stays in float", fenced=True)
    if alone and isinstance(producer, _INTO_OTHERS):
        return Plan(layer, "int8", f"merged into {producer.name!r}", into=producer.name)
    if alone:
        return Plan(layer, "int8", f"folds into {producer.name!r} on conversion", folds=True)
    if len(layer.input.shape) > 4:
        return Plan(layer, "float32", "only convolutions of up to two dimensions can take its place", fenced=True)
    return Plan(layer, "int8", "computed as a 1x1 depthwise convolution")


def refusal(layer: Layer) -> str:
    """Why a layer cannot be quantized by itself; empty if it can."""
    kind = type(layer)
    if isinstance(layer, (KL.RNN, KL.Bidirectional)):
        return "recurrent layers have no quantization-aware form"
    if isinstance(layer, KL.Activation):
        name = getattr(layer.activation, "__name__", str(layer.activation))
        return "" if name in APART else f"activation {name!r} has no integer form here"
    if kind is KL.ReLU and (layer.threshold or layer.max_value not in (None, 6)):
        return "a threshold, or a greatest value other than 6, has no integer form here"
    if kind in ONE_ROW:
        fits = len(layer.input_shape) == 3 and layer.data_format == "channels_last"
        return "" if fits else "only inputs of shape (batch, steps, channels) are supported"
    if kind is KL.Rescaling:
        fits = isinstance(layer.scale, (int, float)) and isinstance(layer.offset, (int, float))
        return "" if fits else "it has a factor for each channel"
    if kind is KL.TimeDistributed and type(layer.layer) is KL.Dense:
        return ""
    if kind in (KL.BatchNormalization, KL.Embedding) and len(layer.inbound_nodes) > 1:
        return f"it is used {len(layer.inbound_nodes)} times"
    if kind is KL.SeparableConv2D or Registry().supports(layer):
        return ""
    return f"tensorflow-model-optimization has no quantization-aware form of {kind.__name__}"


def sloping(layer: Layer) -> bool:
    """Whether it is a ReLU that does not fuse into the layer before it, as it has a slope below zero."""
    return type(layer) is KL.ReLU and bool(layer.negative_slope)


def producers_of(layer: Layer) -> list[Layer]:
    """The layers whose outputs a layer takes, over all its uses."""
    return [producer for node in layer.inbound_nodes for producer in tf.nest.flatten(node.inbound_layers)]


def tensors_of(layer: Layer) -> list[Any]:
    """All that a layer takes and gives, over all its uses."""
    return tf.nest.flatten([(node.input_tensors, node.outputs) for node in layer.inbound_nodes])


def _how(layer: Layer) -> str:
    if type(layer) in ONE_ROW:
        return "computed as a convolution over one row"
    if isinstance(layer, KL.TimeDistributed):
        return "computed as a Dense layer, which is the same"
    if sloping(layer):
        return "computed as a LeakyReLU layer, which is the same"
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if layer.weights and activation not in FUSED:
        rest = "" if activation in APART else ", which stays in float"
        return f"its activation {activation!r} becomes a layer of its own{rest}"
    return ""
