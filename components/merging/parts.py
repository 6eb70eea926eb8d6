"""A wide tensor and the parts of its channels that it was put together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tf_keras.src.layers.core.tf_op_layer import TFOpLambda

from tfx_edge.merging.graph import Node, Unit, Value


@dataclass(frozen=True)
class Whole:
    """A tensor whose parts were looked for.

    Attributes:
      value: the tensor.
      order: positions of its parts, in its order, among the values that were given.
    """

    value: Value
    order: tuple[int, ...]


def split(value: Value, sizes: Sequence[int], name: str) -> list[Value]:
    """The parts of a tensor's channels, by their sizes."""
    # parts of one size become SPLIT, which quantizers know, unlike SPLIT_V
    wanted = len(sizes) if len(set(sizes)) == 1 else list(sizes)
    node = Node(Unit(TFOpLambda, {"function": "split"}), name, (value, wanted), {"axis": -1})
    node.outputs = [Value((*value.shape[:-1], size), value.dtype, node=node) for size in sizes]
    return node.outputs


def is_split(node: Node | None) -> bool:
    """Whether a node splits the channels of a tensor."""
    if node is None or node.unit.cls is not TFOpLambda or node.unit.config["function"] != "split":
        return False
    return node.kwargs == {"axis": -1} and len(node.values()) == 1


def part_of(value: Value) -> tuple[Node, int] | None:
    """The split that a value is a part of, and its position there."""
    node = value.node
    return (node, node.outputs.index(value)) if node is not None and is_split(node) else None


def parts_of(values: Sequence[Value]) -> Whole | None:
    """The tensor that the values are exactly the parts of, in any order."""
    first = part_of(values[0]) if values else None
    if not first or len(values) != len(first[0].outputs) or set(values) != set(first[0].outputs):
        return None
    return Whole(first[0].values()[0], tuple(values.index(part) for part in first[0].outputs))
