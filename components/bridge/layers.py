"""Keras 3 layers rebuilt one by one as tf_keras layers, from their serialized configuration.

Every key of a configuration is either understood by the tf_keras class or at the value that changes nothing; anything
else is refused, because a key that is dropped silently makes a model that is silently wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tf_keras

from tfx_edge.bridge.registered import MultiHeadAttention, rebuild_activation

RebuildLayer = Callable[[keras.layers.Layer], tf_keras.layers.Layer]

# Keys that change nothing in what a trained layer computes.
_HARMLESS = frozenset({"autocast", "flash_attention", "input_axes", "lora_alpha", "output_axes", "seed", "use_cudnn"})
# Keyword arguments that tf_keras layers take without naming them in their signature.
_UNNAMED = frozenset({"activity_regularizer", "zero_output_for_mask"})
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
_ACTIVATIONS = frozenset({"activation", "recurrent_activation"})
# Configuration key -> attribute that holds the live layer.
_INNER_LAYERS = {
    "Bidirectional": {"layer": "forward_layer", "backward_layer": "backward_layer"},
    "RNN": {"cell": "cell"},
    "StackedRNNCells": {"cells": "cells"},
    "TimeDistributed": {"layer": "layer"},
}
_REFUSED = {
    "Lambda": "the Python code of a Lambda cannot be carried over",
    "SpectralNormalization": "its state is kept otherwise in tf_keras",
    "IntegerLookup": "its vocabulary table is not a weight; look values up in Transform instead",
    "StringLookup": "its vocabulary table is not a weight; look values up in Transform instead",
    "TextVectorization": "its vocabulary table is not a weight; vectorize text in Transform instead",
}
_OBJECT_MODULES = {
    "keras.constraints": tf_keras.constraints,
    "keras.initializers": tf_keras.initializers,
    "keras.regularizers": tf_keras.regularizers,
}


def rebuild_layer(layer: keras.layers.Layer, rebuild: RebuildLayer) -> tf_keras.layers.Layer:
    """Makes the tf_keras layer that is named and configured like `layer`; it is not built and has no weights yet.

    Args:
      layer: a layer of Keras 3, not a model.
      rebuild: rebuilds the layers that `layer` wraps.

    Raises:
      ValueError: the layer, or one of its options, has no counterpart in tf_keras; the message says which.
    """
    kind = type(layer).__name__
    if getattr(keras.layers, kind, None) is not type(layer):
        raise ValueError(f"it is a class of your own ({type(layer).__module__}.{kind}), unknown to tf_keras")
    if kind in _REFUSED:
        raise ValueError(_REFUSED[kind])
    target = _target(layer)
    known = _parameters(target)
    defaults = _parameters(type(layer))
    config: dict[str, Any] = {}
    for key, value in _config(layer).items():
        name = _RENAMED.get((kind, key), key)
        if name in known or name in _UNNAMED:
            config[name] = _rebuild_value(layer, key, value, rebuild)
        elif not _changes_nothing(key, value, defaults):
            raise ValueError(f"tf_keras does not know its option {key}={value!r}")
    return target(**config)


def _target(layer: keras.layers.Layer) -> type[tf_keras.layers.Layer]:
    if isinstance(layer, keras.layers.MultiHeadAttention):
        calls = [node.arguments.kwargs for node in layer._inbound_nodes]
        if layer.get_config()["dropout"] or any(call.get("return_attention_scores") for call in calls):
            return MultiHeadAttention
    target = getattr(tf_keras.layers, type(layer).__name__, None)
    if target is None:
        raise ValueError("tf_keras has no layer of this kind")
    return target


def _config(layer: keras.layers.Layer) -> dict[str, Any]:
    config = dict(layer.get_config())
    config["dtype"] = _dtype(layer)
    if isinstance(layer, keras.layers.Normalization) and layer.weights:
        # As constants they survive clone_model and set_weights, which leave an adapted tf_keras layer unnormalizing.
        config["mean"], config["variance"] = (keras.ops.convert_to_numpy(weight) for weight in layer.weights[:2])
    return config


def _dtype(layer: keras.layers.Layer) -> str:
    policy = layer.dtype_policy
    if getattr(policy, "quantization_mode", None):
        raise ValueError(f"it is quantized by Keras ({policy.name}); carry the float model over and quantize that")
    return policy.name


def _rebuild_value(layer: keras.layers.Layer, key: str, value: Any, rebuild: RebuildLayer) -> Any:
    inner = _INNER_LAYERS.get(type(layer).__name__, {})
    if key in inner:
        wrapped = getattr(layer, inner[key])
        return [rebuild(each) for each in wrapped] if isinstance(wrapped, list | tuple) else rebuild(wrapped)
    if key in _ACTIVATIONS:
        function = getattr(layer, key)
        return rebuild(function) if isinstance(function, keras.layers.Layer) else rebuild_activation(value)
    if isinstance(value, dict) and "class_name" in value:
        return _rebuild_object(key, value)
    return value


def _rebuild_object(key: str, serialized: dict[str, Any]) -> Any:
    module = _OBJECT_MODULES.get(serialized.get("module") or "")
    target = getattr(module, serialized["class_name"], None)
    if target is None:
        if key.endswith("_initializer"):
            return "zeros"  # every weight is carried over, so an initializer of the user's own is not missed
        if serialized["class_name"].startswith("__"):
            return keras.saving.deserialize_keras_object(serialized)
        raise ValueError(f"its {key} {serialized['class_name']} has no counterpart in tf_keras")
    known = inspect.signature(target).parameters
    options = {name: value for name, value in serialized["config"].items() if name in known}
    return target(**{name: value for name, value in options.items() if not isinstance(value, dict)})


def _changes_nothing(key: str, value: Any, defaults: dict[str, Any]) -> bool:
    if value is None or value is False or key in _HARMLESS or (key, value) == ("data_format", "channels_last"):
        return True
    return key in defaults and np.array_equal(defaults[key], value)


def _parameters(cls: type) -> dict[str, Any]:
    """The named parameters of a class's constructor and, where it takes ``**kwargs``, of its bases' constructors."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found
