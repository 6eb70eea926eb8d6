"""Whether a model gives probabilities or what comes before them."""

from __future__ import annotations

from typing import Any

import tf_keras

_TRANSPARENT = (
    tf_keras.layers.Dropout,
    tf_keras.layers.Flatten,
    tf_keras.layers.Reshape,
    tf_keras.layers.Permute,
    tf_keras.layers.Masking,
)


def activation_of(tensor: Any) -> str:
    """``"softmax"``, ``"sigmoid"`` or ``"linear"``: how the tensor of a model's graph was made."""
    layer = tensor._keras_history.layer
    if isinstance(layer, tf_keras.Model):
        return activation_of(layer.outputs[tensor._keras_history.tensor_index])
    if isinstance(layer, tf_keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, _TRANSPARENT):
        return activation_of(layer.inbound_nodes[tensor._keras_history.node_index].keras_inputs[0])
    inner = layer.layer if isinstance(layer, tf_keras.layers.TimeDistributed) else layer
    activation = getattr(inner, "activation", None)
    known = {tf_keras.activations.softmax: "softmax", tf_keras.activations.sigmoid: "sigmoid"}
    return known.get(activation, "linear") if callable(activation) else "linear"


def ends_in_softmax(model: tf_keras.Model) -> bool:
    """Whether the model's only output, or its first one, is probabilities that a softmax made."""
    return activation_of(model.outputs[0]) == "softmax"
