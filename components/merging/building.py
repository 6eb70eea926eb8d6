"""Makes a tf_keras model of a graph."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.merging.graph import Graph, Node, Unit, Value


def build(graph: Graph) -> tf_keras.Model:
    """A model of the graph, with the names and structures of inputs and outputs that it was read with.

    Raises:
      ModelError: a layer cannot be made anew from its configuration.
    """
    names = list(graph.model.output_names)
    _name_outputs(graph, names)
    layers = _Layers({*graph.model.input_names, *names}, {value.node for value in graph.outputs})
    tensors: dict[Value, Any] = {
        value: tf_keras.Input(batch_shape=value.shape, dtype=value.dtype, name=name)
        for value, name in zip(graph.inputs, graph.model.input_names, strict=True)
    }
    inputs = list(tensors.values())
    for node in graph.nodes():
        args, kwargs = tf.nest.map_structure(
            lambda item: tensors[item] if isinstance(item, Value) else item, (node.args, node.kwargs)
        )
        made = layers.called(node, args, kwargs)
        tensors.update(zip(node.outputs, tf.nest.flatten(made), strict=True))
    outputs = [tensors[value] for value in graph.outputs]
    return tf_keras.Model(
        tf.nest.pack_sequence_as(graph.model.input, inputs),
        tf.nest.pack_sequence_as(graph.model.output, outputs),
        name=graph.model.name,
    )


def _name_outputs(graph: Graph, names: list[str]) -> None:
    """Puts a layer of the output's name behind every output."""
    calls, taken = graph.calls(), set[Node | None]()
    for number, (value, name) in enumerate(zip(graph.outputs, names, strict=True)):
        node = value.node
        if node is None or node in taken or len(node.outputs) > 1 or calls[node.unit] > 1:
            unit = Unit(tf_keras.layers.Activation, {"activation": "linear", "dtype": value.dtype})
            node = Node(unit, name, (value,))
            node.outputs = [dataclasses.replace(value, node=node)]
            graph.outputs[number] = node.outputs[0]
        node.name = name
        taken.add(node)


class _Layers:
    """The layers of a model that is being built, by the units that they come from."""

    def __init__(self, names: set[str], named: set[Node | None]) -> None:
        self._made: dict[Unit, Any] = {}
        self._names = names
        self._named = named

    def called(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a node's layer gives for symbolic tensors."""
        unit = node.unit
        first = unit not in self._made
        if first:
            try:
                name = node.name if node in self._named else self._unique(node.name)
                self._made[unit] = unit.cls.from_config({**unit.config, "name": name})
            except (TypeError, ValueError) as error:
                raise ModelError(
                    f"layer {node.name!r} ({unit.cls.__name__}) cannot be made anew from its configuration: {error}"
                ) from error
        made = self._made[unit](*args, **kwargs)
        if first and unit.weights:
            self._made[unit].set_weights(unit.weights)
        return made

    def _unique(self, name: str) -> str:
        number, found = 1, name
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found
