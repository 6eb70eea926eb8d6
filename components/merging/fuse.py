"""Layers that lie side by side become one wider layer.

Layers that read one tensor are put side by side and their outputs are split; then the split moves down, past whatever
treats each channel by itself (activations, normalization, pooling, depthwise convolutions, sums) or each group of
channels (convolutions), as long as every part is treated alike. Where the parts are joined again, it goes altogether.
None of this multiplies or stores more than the layers did by themselves. A dense layer on each part would: as one layer
it would have to store zeros, so the split stays before it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tf_keras

from tfx_edge.merging.graph import Graph, Node, Unit, Value, call
from tfx_edge.merging.kernels import Kernel, kernel_of
from tfx_edge.merging.parts import is_split, part_of, parts_of, split

KL = tf_keras.layers
_BY_ELEMENT = {
    "elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu", "relu6", "selu", "sigmoid",
    "silu", "softplus", "softsign", "swish", "tanh",
}  # fmt: skip
_BY_CHANNEL = {
    KL.AveragePooling1D, KL.AveragePooling2D, KL.Cropping1D, KL.Cropping2D, KL.ELU, KL.GlobalAveragePooling1D,
    KL.GlobalAveragePooling2D, KL.GlobalMaxPooling1D, KL.GlobalMaxPooling2D, KL.LeakyReLU, KL.MaxPooling1D,
    KL.MaxPooling2D, KL.ReLU, KL.ThresholdedReLU, KL.UpSampling1D, KL.UpSampling2D, KL.ZeroPadding1D, KL.ZeroPadding2D,
}  # fmt: skip
_OF_SEVERAL = {KL.Add, KL.Average, KL.Maximum, KL.Minimum, KL.Multiply, KL.Subtract}


class Fuse:
    """One pass over a graph.

    Args:
      graph: it is changed.
      grouped: also let convolutions that read different parts of a wider tensor become one grouped convolution.

    Attributes:
      done: what was done, by kind: how many layers went into others.
    """

    def __init__(self, graph: Graph, *, grouped: bool = True) -> None:
        self._graph = graph
        self._grouped = grouped
        self.done: Counter[str] = Counter()

    def run(self) -> bool:
        """Does what can be done until nothing can; returns whether there was anything."""
        changed = False
        while self._side_by_side() or self._past_split() or self._rejoined():
            changed = True
        return changed

    def _side_by_side(self) -> bool:
        """Fuses the kernels that read one tensor."""
        calls = self._graph.calls()
        groups: dict[tuple[Value, str], list[tuple[Node, Kernel]]] = {}
        for node in self._graph.nodes():
            kernel = kernel_of(node) if calls[node.unit] == 1 else None
            if kernel and kernel.groups == 1:
                source = node.values()[0]
                groups.setdefault((source, f"{kernel.geometry}"), []).append((node, kernel))
        for (source, _), members in groups.items():
            if len(members) > 1:
                self._put_side_by_side(source, members)
                return True
        return False

    def _put_side_by_side(self, source: Value, members: list[tuple[Node, Kernel]]) -> None:
        kernels = [kernel for _, kernel in members]
        first = members[0][0]
        wide = Kernel(
            np.concatenate([kernel.weights for kernel in kernels], axis=-1),
            np.concatenate([kernel.bias for kernel in kernels]),
            *(kernels[0].strides, kernels[0].dilation, kernels[0].padding),
        )
        shape = (*first.outputs[0].shape[:-1], wide.outputs)
        (value,) = call(wide.unit(), first.name, source, shapes=[shape])
        self._split(value, [kernel.outputs for kernel in kernels], [node for node, _ in members])
        self.done["same input"] += len(members) - 1

    def _split(self, wide: Value, sizes: Sequence[int], nodes: Sequence[Node]) -> None:
        parts = split(wide, sizes, f"{nodes[0].name}_parts")
        old = [node.outputs[0] for node in nodes]
        self._graph.substitute_all(dict(zip(old, parts, strict=True)))

    def _past_split(self) -> bool:
        """Moves a split behind the layers that read its parts, where these are alike."""
        uses, calls = self._graph.uses(), self._graph.calls()
        for node in self._graph.nodes():
            places = [part_of(value) for value in node.values()]
            if not places or is_split(node) or any(place is None or place[1] != 0 for place in places):
                continue
            splits = [place[0] for place in places if place]
            mates = self._mates(node, splits, uses, calls)
            if mates and self._moved(mates, [item.values()[0] for item in splits]):
                self.done["side by side"] += len(mates) - 1
                return True
        return False

    def _mates(
        self, node: Node, splits: list[Node], uses: dict[Value, list[Node | None]], calls: dict[Unit, int]
    ) -> list[Node] | None:
        """The nodes that do to the other parts what a node does to the first ones."""
        sizes = [[value.shape for value in item.outputs] for item in splits]
        if any(each != sizes[0] for each in sizes):
            return None
        mates = [node]
        for position in range(1, len(splits[0].outputs)):
            wanted = [item.outputs[position] for item in splits]
            found = next(
                (
                    other
                    for other in uses.get(wanted[0], [])
                    if other and other.values() == wanted and other not in mates and _key(other) == _key(node)
                ),
                None,
            )
            if not found:
                return None
            mates.append(found)
        alone = all(calls[mate.unit] == 1 for mate in mates) or not node.unit.weights
        return mates if alone and _key(node) else None

    def _moved(self, mates: list[Node], wholes: list[Value]) -> bool:
        unit = _wide_unit(mates, grouped=self._grouped)
        if not unit:
            return False
        node, outputs = mates[0], [mate.outputs[0] for mate in mates]
        shape = (*outputs[0].shape[:-1], sum(int(value.shape[-1] or 0) for value in outputs))
        several = isinstance(node.args[0], (list, tuple))
        (value,) = call(unit, node.name, list(wholes) if several else wholes[0], shapes=[shape])
        self._split(value, [int(each.shape[-1] or 0) for each in outputs], mates)
        return True

    def _rejoined(self) -> bool:
        """Takes away a concatenation of all parts in their order."""
        for node in self._graph.nodes():
            if node.unit.cls is not KL.Concatenate or not _on_channels(node):
                continue
            values = node.values()
            for start, value in enumerate(values):
                place = part_of(value)
                parts = place[0].outputs if place and place[1] == 0 else []
                if len(parts) > 1 and values[start : start + len(parts)] == parts:
                    whole = parts_of(parts)
                    assert whole
                    rest = [*values[:start], whole.value, *values[start + len(parts) :]]
                    new = rest[0]
                    if len(rest) > 1:
                        (new,) = call(
                            Unit(KL.Concatenate, {"axis": -1}), node.name, rest, shapes=[node.outputs[0].shape]
                        )
                    self._graph.substitute(node.outputs[0], new)
                    return True
        return False


def _key(node: Node) -> str:
    """Equal for nodes that may lie side by side; empty for those that may not."""
    if any(value.masked or value.dtype != "float32" for value in (*node.values(), *node.outputs)) or node.kwargs:
        return ""
    cls, config = node.unit.cls, node.unit.config
    kernel = kernel_of(node)
    if kernel:
        if kernel.rank == 0:
            return ""
        if kernel.groups == kernel.inputs:
            return f"depthwise {kernel.geometry} {kernel.outputs // kernel.inputs}"
        return f"kernel {kernel.geometry} {kernel.groups} {kernel.weights.shape}"
    if cls is KL.BatchNormalization:
        return f"normalization {_plain(config, 'axis', 'epsilon', 'scale', 'center')}"
    if cls in _OF_SEVERAL and len({value.shape for value in node.values()}) == 1:
        return cls.__name__
    if cls is KL.Activation and config.get("activation") in _BY_ELEMENT:
        return f"activation {config['activation']}"
    if cls in _BY_CHANNEL and config.get("data_format", "channels_last") == "channels_last":
        return f"{cls.__name__} {_plain(config, *(key for key in config if key not in ('name', 'trainable', 'dtype')))}"
    return ""


def _wide_unit(mates: list[Node], *, grouped: bool) -> Unit | None:
    """The layer that does to a whole what each of several does to its part."""
    units = [mate.unit for mate in mates]
    kernels = [kernel for mate in mates if (kernel := kernel_of(mate))]
    if not kernels:
        if units[0].cls is KL.BatchNormalization and not _on_channels(mates[0]):
            return None
        weights = [np.concatenate(arrays, axis=0) for arrays in zip(*(unit.weights for unit in units), strict=True)]
        return Unit(units[0].cls, {**units[0].config}, weights)
    first = kernels[0]
    depthwise = first.groups == first.inputs
    if not (depthwise or (grouped and first.groups == 1)):
        return None
    groups = sum(kernel.groups for kernel in kernels)
    return Kernel(
        np.concatenate([kernel.weights for kernel in kernels], axis=-1),
        np.concatenate([kernel.bias for kernel in kernels]),
        *(first.strides, first.dilation, first.padding, groups),
    ).unit()


def _on_channels(node: Node) -> bool:
    axis = node.unit.config.get("axis", -1)
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    return axes in ([-1], [len(node.values()[0].shape) - 1])


def _plain(config: dict[str, Any], *keys: str) -> str:
    return json.dumps({key: config.get(key) for key in keys}, sort_keys=True, default=str)
