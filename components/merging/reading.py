"""Reads the graph of a tf_keras model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.merging.graph import Graph, Node, Unit, Value
from tfx_edge.models.graph_copy import is_graph, walk


def read(model: tf_keras.Model) -> Graph:
    """The graph of a Functional or Sequential model; models inside it are unfolded.

    Raises:
      ModelError: it is no such model, or holds something whose graph or configuration is not known.
    """
    inputs = [Value(tuple(tensor.shape), tensor.dtype.name) for tensor in model.inputs]
    return Graph(inputs, _Reader().read(model, inputs, None), model)


class _Reader:
    def __init__(self) -> None:
        self._units: dict[int, Unit] = {}

    def read(self, model: tf_keras.Model, inputs: list[Value], training: bool | None) -> list[Value]:
        """The outputs of a model on values."""
        if not is_graph(model):
            raise ModelError(
                f"{model.name!r} ({type(model).__name__}) is not a Functional or Sequential model, so its graph is not "
                "known: define build_model_fn(fn_args) in the module file, which returns one"
            )
        return walk(model, inputs, lambda node, args, kwargs: self._called(node, args, kwargs, training))

    def _called(self, called: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None) -> list[Value]:
        layer = called.layer
        mode = kwargs.get("training", training)
        if isinstance(layer, tf_keras.Model):
            inner = layer._flatten_to_reference_inputs(args[0]) if is_graph(layer) else []
            return self.read(layer, inner, mode)
        kwargs = {key: value for key, value in kwargs.items() if key != "training" or value is True}
        node = Node(self._unit(layer, mode), layer.name, args, kwargs)
        masked = any(value.masked for value in node.values())
        node.outputs = [
            Value(tuple(t.shape), t.dtype.name, masked or getattr(t, "_keras_mask", None) is not None, node)
            for t in tf.nest.flatten(called.outputs)
        ]
        return node.outputs

    def _unit(self, layer: Any, training: bool | None) -> Unit:
        if id(layer) not in self._units:
            try:
                config = layer.get_config()
            except NotImplementedError as error:
                raise ModelError(
                    f"layer {layer.name!r} ({type(layer).__name__}) cannot be made anew: give the class a get_config "
                    "that returns every argument of its constructor"
                ) from error
            config.pop("name", None)
            if training is False and isinstance(layer, tf_keras.layers.BatchNormalization):
                config["trainable"] = False
            self._units[id(layer)] = Unit(type(layer), config, layer.get_weights())
        return self._units[id(layer)]
