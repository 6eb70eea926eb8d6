"""Builds the smaller model: the same graph of layers with smaller sizes, and the weights of the channels that stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras

from tfx_edge.models.graph_copy import remade
from tfx_edge.pruning.structured.channels import Track
from tfx_edge.pruning.structured.dependencies import Structure
from tfx_edge.pruning.structured.tracks import Layer


def without(model: tf_keras.Model, structure: Structure, removed: np.ndarray) -> tf_keras.Model:
    """A copy of a model that lacks some channels; what stays has the weights that it had.

    Args:
      model: Functional or Sequential, without models inside it; is not changed.
      structure: of the model.
      removed: numbers of the groups that go.

    Raises:
      ModelError: a layer cannot be made anew from its configuration.
    """
    gone = np.zeros(structure.groups, bool)
    gone[removed] = True

    def kept(track: Track) -> np.ndarray:
        return np.flatnonzero(~gone[structure.group_of[track]])

    smaller = tf_keras.models.clone_model(model, clone_function=lambda layer: _resized(layer, structure, kept))
    along: dict[tuple[str, int], list[tuple[int, Track]]] = {}
    for part in structure.slices:
        along.setdefault((part.layer, part.weight), []).append((part.axis, part.track))
    for layer in model.layers:
        values = layer.get_weights()
        for index in range(len(values)):
            for axis, track in along.get((layer.name, index), []):
                values[index] = values[index].take(kept(track), axis)
        smaller.get_layer(layer.name).set_weights(values)
    return smaller


def _resized(layer: Layer, structure: Structure, kept: Any) -> Layer:
    changes: dict[str, Any] = {}
    for entry, track in structure.sizes.get(layer.name, {}).items():
        length = len(kept(track))
        changes[entry] = (*layer.target_shape[:-1], length) if entry == "target_shape" else length
    constants = [
        name
        for name, value in layer.get_config().items()
        if name.endswith("_initializer") and isinstance(value, dict) and value["class_name"] == "Constant"
    ]
    return remade(layer, **changes, **dict.fromkeys(constants, "zeros"))
