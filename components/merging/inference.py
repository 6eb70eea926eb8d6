"""What a model's graph can do without at inference, and the activation that layers carry with them."""

from __future__ import annotations

import tf_keras

from tfx_edge.merging.graph import Graph, Node, Unit, call, each_call

KL = tf_keras.layers
_INERT = (
    KL.ActivityRegularization,
    KL.AlphaDropout,
    KL.Dropout,
    KL.GaussianDropout,
    KL.GaussianNoise,
    KL.SpatialDropout1D,
    KL.SpatialDropout2D,
    KL.SpatialDropout3D,
)
_CARRIERS = (KL.Conv1D, KL.Conv2D, KL.Conv3D, KL.Dense, KL.DepthwiseConv1D, KL.DepthwiseConv2D)


def drop_inert(graph: Graph) -> int:
    """Takes out what passes its input on at inference: dropout, noise and linear activations. Returns how many."""
    dropped = 0
    for node in graph.nodes():
        inert = node.unit.cls in _INERT or (node.unit.cls is KL.Activation and _activation(node.unit) == "linear")
        if inert and not node.kwargs and _same(node):
            graph.substitute(node.outputs[0], node.values()[0])
            dropped += 1
    return dropped


def peel_activations(graph: Graph) -> None:
    """Puts the activations of convolutions and dense layers behind them, as layers of their own."""
    for node in list(each_call(graph)):
        unit, activation = node.unit, _activation(node.unit)
        if unit.cls not in _CARRIERS or activation == "linear" or node.outputs[0].dtype != "float32":
            continue
        outer = node.outputs[0]
        node.unit = Unit(unit.cls, {**unit.config, "activation": "linear"}, unit.weights)
        (inner,) = call(
            Unit(KL.Activation, {"activation": activation}), f"{node.name}_activation", shapes=[outer.shape]
        )
        inner.masked = outer.masked
        graph.substitute(outer, inner)
        assert inner.node
        inner.node.args = (outer,)


def attach_activations(graph: Graph) -> None:
    """The reverse: a layer takes in the activation that alone reads its output."""
    uses, calls = graph.uses(), graph.calls()
    for node in graph.nodes():
        if node.unit.cls is not KL.Activation or node.kwargs or len(node.values()) != 1:
            continue
        carrier = node.values()[0].node
        if carrier is None or carrier.unit.cls not in _CARRIERS or _activation(carrier.unit) != "linear":
            continue
        if uses[carrier.outputs[0]] != [node] or calls[carrier.unit] > 1:
            continue
        config = {**carrier.unit.config, "activation": _activation(node.unit)}
        carrier.unit = Unit(carrier.unit.cls, config, carrier.unit.weights)
        graph.substitute(node.outputs[0], carrier.outputs[0])


def _activation(unit: Unit) -> object:
    """``linear``, another name, or the configuration of a function of one's own."""
    return unit.config.get("activation", "linear") or "linear"


def _same(node: Node) -> bool:
    values = node.values()
    return len(values) == 1 and values[0].dtype == node.outputs[0].dtype
