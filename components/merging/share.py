"""Equal parts of a graph are computed once, and equal weights are stored once (common subexpression elimination)."""

from __future__ import annotations

import tf_keras

from tfx_edge.merging.graph import Graph, Node, Unit, Value, arguments_key

KL = tf_keras.layers
_OF_ITSELF = (KL.Average, KL.Maximum, KL.Minimum)


def share_computations(graph: Graph) -> int:
    """Lets equal layers on equal inputs be computed once; a mean or maximum of one and the same tensor goes.

    Returns how many nodes went.
    """
    before = len(graph.nodes())
    numbers: dict[Value, int] = {}
    content: dict[Unit, str] = {}
    seen: dict[tuple[str, str], Node] = {}

    def number(value: Value) -> int:
        return numbers.setdefault(value, len(numbers))

    for node in graph.nodes():
        values = node.values()
        if node.unit.cls in _OF_ITSELF and len(set(values)) == 1:
            graph.substitute(node.outputs[0], values[0])
            continue
        if not _repeatable(node):
            continue
        key = (content.setdefault(node.unit, node.unit.content()), arguments_key(node, number))
        first = seen.setdefault(key, node)
        if first is not node:
            graph.substitute_all(dict(zip(node.outputs, first.outputs, strict=True)))
    return before - len(graph.nodes())


def share_weights(graph: Graph) -> int:
    """Lets equal layers on different inputs share their weights. Returns how many numbers need not be stored."""
    seen: dict[str, Unit] = {}
    done: set[Unit] = set()
    spared = 0
    for node in graph.nodes():
        unit = node.unit
        if not unit.weights or not _repeatable(node):
            continue
        first = seen.setdefault(unit.content() + str([value.shape for value in node.values()]), unit)
        if first is not unit:
            spared += 0 if unit in done else sum(array.size for array in unit.weights)
            done.add(unit)
            node.unit = first
    return spared


def _repeatable(node: Node) -> bool:
    """Whether it gives the same for the same input, whenever it is called."""
    config = node.unit.config
    random = str(config.get("function", "")).startswith("random.")
    return not config.get("stateful") and not random and not node.kwargs.get("training")
