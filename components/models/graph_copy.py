"""Copies the graph of a Functional or Sequential model node by node, with other layers where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError

Layer: TypeAlias = Any  # tf_keras.layers.Layer, of which a type checker knows nothing
Call = Callable[[Layer, tuple[Any, ...], dict[str, Any]], Any]
Visit = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Takes a node of tf_keras, which has ``layer`` and ``outputs``, and arguments in place of its own; returns outputs."""


def replay(model: tf_keras.Model, call: Call) -> tf_keras.Model:
    """Builds a Functional model by running another one's graph with a function of one's own in place of its layers.

    Args:
      model: a Functional model, or a Sequential one that is built.
      call: takes a layer of ``model`` and the arguments of one of its calls in the new graph; returns the outputs.

    Returns:
      A model of the same inputs and outputs, by name and structure.
    """
    inputs = [
        tf_keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]
    outputs = walk(model, inputs, lambda node, args, kwargs: call(node.layer, args, kwargs))
    return tf_keras.Model(
        tf.nest.pack_sequence_as(model.input, inputs), tf.nest.pack_sequence_as(model.output, outputs)
    )


def unfold(model: tf_keras.Model) -> tf_keras.Model:
    """Copies a model, weights included, with the layers of the models inside it in their place.

    A layer keeps its name unless it is taken: then the name of the model that it was in comes first. A batch
    normalization that is called with ``training=False``, by itself or with the model that it is in, is frozen instead.

    Raises:
      ModelError: a layer cannot be made anew from its configuration.
    """
    copies: dict[int, Layer] = {}
    names = set(model.input_names)

    def named(layer: Layer, owner: str) -> str:
        name = layer.name if layer.name not in names else f"{owner}_{layer.name}"
        names.add(name)
        return name

    def unfolding(owner: str, training: bool | None) -> Call:
        def call(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            mode = kwargs.get("training", training)
            if is_graph(layer):
                inner = unfolding(layer.name, mode)
                outputs = walk(
                    layer,
                    layer._flatten_to_reference_inputs(args[0]),
                    lambda node, args, kwargs: inner(node.layer, args, kwargs),
                )
                return tf.nest.pack_sequence_as(layer.output, outputs)
            first = id(layer) not in copies
            if first:
                frozen = mode is False and isinstance(layer, tf_keras.layers.BatchNormalization)
                copies[id(layer)] = remade(layer, name=named(layer, owner), **({"trainable": False} if frozen else {}))
            outputs = copies[id(layer)](*args, **kwargs)
            if first:
                copies[id(layer)].set_weights(layer.get_weights())
            return outputs

        return call

    return replay(model, unfolding(model.name, None))


def is_graph(layer: Layer) -> bool:
    """Whether the layer is a Functional or Sequential model whose graph is known."""
    return isinstance(layer, tf_keras.Model) and bool(getattr(layer, "_is_graph_network", False))


def remade(layer: Layer, /, **changes: Any) -> Layer:
    """A new layer of the same configuration but for ``changes``; it has no weights yet.

    Raises:
      ModelError: the layer's class does not describe itself.
    """
    try:
        return type(layer).from_config({**layer.get_config(), **changes})
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be made anew from its configuration: {error}. "
            "Give the class a get_config that returns every argument of its constructor"
        ) from error


def walk(graph: tf_keras.Model, inputs: Sequence[Any], visit: Visit) -> list[Any]:
    """The flat outputs of a graph for flat inputs, as tf_keras computes them in ``Functional._run_internal_graph``.

    Args:
      graph: a Functional or Sequential model.
      inputs: whatever stands for the tensors, in the order of ``graph.inputs``.
      visit: says what stands for the outputs of a node.
    """
    uses = graph._tensor_usage_count
    values = {
        str(id(tensor)): [value] * uses[str(id(tensor))] for tensor, value in zip(graph.inputs, inputs, strict=True)
    }
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.map_arguments(values)
            outputs = tf.nest.flatten(visit(node, args, kwargs))
            for key, value in zip(node.flat_output_ids, outputs, strict=True):
                values[key] = [value] * uses[key]
    return [values[str(id(tensor))].pop() for tensor in graph.outputs]
