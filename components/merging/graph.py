"""The graph of a tf_keras model as plain values and nodes, which can be rewritten and built into a model again.

Keras ties a layer to every graph it was ever called in. Here a layer is a `Unit`, that is its class, configuration and
weights; a `Node` is one call of it, and a `Value` one tensor. Nodes exist as long as an output depends on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

Shape = tuple[int | None, ...]
_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")


@dataclass(eq=False)
class Value:
    """A tensor.

    Attributes:
      shape: batch first; None where a size is not known.
      dtype: by name.
      masked: whether Keras hands a mask on beside it.
      node: what computes it; None for an input of the graph.
    """

    shape: Shape
    dtype: str
    masked: bool = False
    node: Node | None = field(default=None, repr=False)


@dataclass(eq=False)
class Unit:
    """A layer to be made.

    Attributes:
      cls: its class.
      config: for ``cls.from_config``, without the name.
      weights: for ``set_weights``.
    """

    cls: Any
    config: dict[str, Any] = field(default_factory=dict)
    weights: list[np.ndarray] = field(default_factory=list)

    def content(self) -> str:
        """Text that is equal for units that compute the same at inference."""
        digest = hashlib.sha256()
        for array in self.weights:
            digest.update(f"{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        config = json.dumps(_computing(self.config), sort_keys=True, default=_text)
        return f"{self.cls.__module__}.{self.cls.__name__} {config} {digest.hexdigest()}"


@dataclass(eq=False)
class Node:
    """One call of a unit.

    Attributes:
      unit: what is called; nodes that share a layer share the unit.
      name: of the layer.
      args: positional arguments; values among them, at any depth.
      kwargs: keyword arguments, likewise.
      outputs: what comes out, flat.
    """

    unit: Unit
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    outputs: list[Value] = field(default_factory=list)

    def values(self) -> list[Value]:
        """The tensors that it reads, in the order of its arguments."""
        return [item for item in tf.nest.flatten((self.args, self.kwargs)) if isinstance(item, Value)]

    def substitute(self, other: Mapping[Value, Value]) -> None:
        """Reads other values from now on."""
        self.args, self.kwargs = tf.nest.map_structure(
            lambda item: other.get(item, item) if isinstance(item, Value) else item, (self.args, self.kwargs)
        )


def call(unit: Unit, name: str, *args: Any, shapes: Iterable[Shape], **kwargs: Any) -> list[Value]:
    """The outputs of a new node, of float32."""
    node = Node(unit, name, args, kwargs)
    node.outputs = [Value(shape, "float32", node=node) for shape in shapes]
    return node.outputs


class Graph:
    """A computation that can be rewritten.

    Args:
      inputs: in the order of the model's inputs.
      outputs: in the order of its outputs.
      model: that it was read from; has the names and structures of inputs and outputs.
    """

    def __init__(self, inputs: list[Value], outputs: list[Value], model: tf_keras.Model) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.model = model

    def nodes(self) -> list[Node]:
        """All nodes that the outputs depend on; each stands behind those it reads from."""
        found: dict[Node, None] = {}
        waiting = [(value.node, False) for value in reversed(self.outputs)]
        while waiting:
            node, ready = waiting.pop()
            if node is None or node in found:
                continue
            if ready:
                found[node] = None
            else:
                waiting.append((node, True))
                waiting.extend((value.node, False) for value in reversed(node.values()))
        return list(found)

    def uses(self) -> dict[Value, list[Node | None]]:
        """Who reads each value; None stands for an output of the graph."""
        found: dict[Value, list[Node | None]] = {}
        for node in self.nodes():
            for value in node.values():
                found.setdefault(value, []).append(node)
        for value in self.outputs:
            found.setdefault(value, []).append(None)
        return found

    def calls(self) -> dict[Unit, int]:
        """How often each unit is called."""
        found: dict[Unit, int] = {}
        for node in self.nodes():
            found[node.unit] = found.get(node.unit, 0) + 1
        return found

    def substitute(self, old: Value, new: Value) -> None:
        """Lets everybody who reads a value read another one."""
        self.substitute_all({old: new})

    def substitute_all(self, other: Mapping[Value, Value]) -> None:
        """Likewise for several values at once."""
        for node in self.nodes():
            node.substitute(other)
        self.outputs = [other.get(value, value) for value in self.outputs]


def _computing(config: Any) -> Any:
    """A configuration without what does not matter once the weights are given."""
    if isinstance(config, Mapping):
        return {
            key: _computing(value)
            for key, value in config.items()
            if key not in ("name", "trainable", "seed", "batch_input_shape") and not key.endswith(_TRAINING_ONLY)
        }
    if isinstance(config, (list, tuple)):
        return [_computing(item) for item in config]
    return config


def _text(item: Any) -> Any:
    if isinstance(item, (np.ndarray, tf.Tensor)):
        array = np.asarray(item)
        return [str(array.dtype), array.tolist()]
    return getattr(item, "__name__", None) or repr(item)


def arguments_key(node: Node, number: Callable[[Value], int]) -> str:
    """Text that is equal for nodes with equal arguments, values told apart by their numbers."""
    structure = tf.nest.map_structure(
        lambda item: f"<value {number(item)}>" if isinstance(item, Value) else item, (node.args, node.kwargs)
    )
    return json.dumps(structure, sort_keys=True, default=_text)


def each_call(graph: Graph) -> Iterator[Node]:
    """The nodes whose unit is called once, so that it can be replaced by another."""
    calls = graph.calls()
    return (node for node in graph.nodes() if calls[node.unit] == 1)
