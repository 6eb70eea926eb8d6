"""Puts a part of one TensorFlow graph into the graph that is being built, with some operators replaced.

What depends on no input is computed here and now, so that only the rest is left for the device.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.preprocessing import portable_ops

if TYPE_CHECKING:
    import tensorflow as tf


class Splice:
    """The values that tensors of a graph have in the graph that is being built.

    Args:
      definition: the graph, without control inputs.
      known: what is given, by the name of the tensor: arrays for constants, else tensors of the graph that is being
        built.
      tables: the tables that the graph looks into.
    """

    def __init__(self, definition: Any, known: Mapping[str, Any], tables: portable_ops.Tables) -> None:
        self._definition = definition
        self._known = dict(known)
        self._tables = tables

    def replace(self, op: tf.Operation) -> None:
        """Finds a constant or an equal way to compute what an operator gives, if there is one.

        To be called for each operator in the order of computation.
        """
        rule = portable_ops.RULES.get(op.type)
        replaced = rule and rule(op, self.values, self._tables)
        if replaced is not None:
            self._known[op.outputs[0].name] = replaced
        elif op.type == "Const" or (op.inputs and all(self._constant(tensor) for tensor in op.inputs)):
            self._known |= _evaluated(op, [self._known[tensor.name] for tensor in op.inputs])

    def values(self, tensors: Iterable[tf.Tensor]) -> list[Any]:
        """The values of tensors."""
        import tensorflow as tf

        tensors = list(tensors)
        unknown = list({tensor.name: None for tensor in tensors if tensor.name not in self._known})
        if unknown:
            part, used = self._between(unknown)
            inputs = {name: tf.convert_to_tensor(self._known[name]) for name in sorted(used)}
            made = tf.graph_util.import_graph_def(part, inputs, unknown)
            self._known |= dict(zip(unknown, made, strict=True))
        return [self._known[tensor.name] for tensor in tensors]

    def _constant(self, tensor: tf.Tensor) -> bool:
        return isinstance(self._known.get(tensor.name), np.ndarray)

    def _between(self, wanted: Iterable[str]) -> tuple[Any, set[str]]:
        """The nodes from the known tensors (left out) to the wanted ones, and which of the known ones they take."""
        nodes = {node.name: node for node in self._definition.node}
        used: set[str] = set()
        kept: set[str] = set()
        waiting = [name.partition(":")[0] for name in wanted]
        while waiting:
            name = waiting.pop()
            if name in kept:
                continue
            kept.add(name)
            for source in nodes[name].input:
                tensor = source if ":" in source else f"{source}:0"
                if tensor in self._known:
                    used.add(tensor)
                else:
                    waiting.append(source.partition(":")[0])
        part = type(self._definition)(versions=self._definition.versions, library=self._definition.library)
        part.node.extend(node for node in self._definition.node if node.name in kept)
        return part, used


def _evaluated(op: tf.Operation, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What an operator gives for constant inputs, by the names of its tensors; nothing if it cannot run by itself."""
    import tensorflow as tf

    if op.op_def.is_stateful or any(value.HasField("func") for value in op.node_def.attr.values()):
        return {}
    if op.type == "Const":
        return {op.outputs[0].name: tf.make_ndarray(op.node_def.attr["value"].tensor)}
    function = getattr(tf.raw_ops, op.type)
    remaining = iter(inputs)
    arguments: dict[str, Any] = {}
    for argument in op.op_def.input_arg:
        several = argument.number_attr or argument.type_list_attr
        count = op.get_attr(argument.number_attr) if argument.number_attr else len(inputs)
        arguments[argument.name] = [next(remaining) for _ in range(count)] if several else next(remaining)
    parameters = inspect.signature(function).parameters
    if not arguments.keys() <= parameters.keys():
        return {}  # a few operators call an input otherwise in Python
    arguments |= {name: op.get_attr(name) for name in parameters.keys() - arguments if name in op.node_def.attr}
    with tf.init_scope():
        result = function(**arguments)
    parts = [result] if len(op.outputs) == 1 else list(result)
    return {tensor.name: part.numpy() for tensor, part in zip(op.outputs, parts, strict=True)}
