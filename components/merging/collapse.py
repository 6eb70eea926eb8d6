"""Linear layers that follow each other or are added become one layer.

Batch normalization goes into the layer before or behind it; branches that read one tensor and are added become one
kernel (RepVGG); a mean of linear layers becomes a sum; layers on different tensors that are added become one that reads
the tensors side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import tf_keras

from tfx_edge.merging.graph import Graph, Node, Unit, Value, call
from tfx_edge.merging.joining import flattened, joined
from tfx_edge.merging.kernels import Kernel, kernel_of, scaling_of
from tfx_edge.merging.reparameterization import added, followed, identity_like

KL = tf_keras.layers
Rule = Callable[[Node], bool]


class Collapse:
    """One pass over a graph.

    Args:
      graph: it is changed.
      joining: also let one kernel read several tensors. Best done when layers lie side by side as far as they can.

    Attributes:
      done: what was done, by kind: how many layers went into others.
    """

    def __init__(self, graph: Graph, *, joining: bool = False) -> None:
        self._graph = graph
        self._joining = joining
        self.done: Counter[str] = Counter()

    def run(self) -> bool:
        """Does what can be done until nothing can; returns whether there was anything."""
        rules: list[Rule] = [self._nested_sum, self._scaled, self._scaled_before, self._followed, self._mean, self._sum]
        if self._joining:
            rules.append(self._side)
        changed = False
        while self._once(rules):
            changed = True
        return changed

    def _once(self, rules: Sequence[Rule]) -> bool:
        self._uses, self._calls = self._graph.uses(), self._graph.calls()
        return any(rule(node) for node in self._graph.nodes() for rule in rules)

    def _alone(self, value: Value) -> bool:
        """Whether nothing but one node reads the value, and its unit is called nowhere else."""
        return len(self._uses[value]) == 1 and value.node is not None and self._calls[value.node.unit] == 1

    def _kernel(self, value: Value) -> Kernel | None:
        """Of the linear layer that gives the value, if it can be taken away."""
        return kernel_of(value.node) if self._alone(value) else None

    def _put(self, kind: str, old: Node, kernel: Kernel, source: Value, name: str) -> bool:
        (made,) = call(kernel.unit(), name, source, shapes=[old.outputs[0].shape])
        self._replace(kind, old, made)
        return True

    def _replace(self, kind: str, old: Node, new: Value, layers: int = 1) -> None:
        self._graph.substitute(old.outputs[0], new)
        self.done[kind] += layers

    def _scaled(self, node: Node) -> bool:
        """Scaling behind a kernel."""
        scaling = scaling_of(node)
        kernel = self._kernel(node.values()[0]) if scaling else None
        if not scaling or not kernel:
            return False
        inner = node.values()[0].node
        assert inner
        return self._put("scalings", node, kernel.scaled(*scaling), inner.values()[0], inner.name)

    def _scaled_before(self, node: Node) -> bool:
        """Scaling before a kernel."""
        kernel = kernel_of(node) if self._calls[node.unit] == 1 else None
        scaling = scaling_of(node.values()[0].node) if kernel else None
        inner = node.values()[0].node if scaling else None
        if not kernel or not scaling or not inner or not self._alone(node.values()[0]):
            return False
        made = kernel.after_scaling(*scaling)
        return made is not None and self._put("scalings", node, made, inner.values()[0], node.name)

    def _followed(self, node: Node) -> bool:
        """Two kernels in a row, where one alone multiplies and stores no more."""
        second = kernel_of(node) if self._calls[node.unit] == 1 else None
        first = self._kernel(node.values()[0]) if second else None
        inner = node.values()[0].node if first else None
        made = followed(first, second) if first and second else None
        if not made or not first or not second or not inner:
            return False
        output = node.outputs[0].shape
        if made.weights.size > first.weights.size + second.weights.size:
            return False
        if made.macs(output) > first.macs(inner.outputs[0].shape) + second.macs(output):
            return False
        return self._put("layers in a row", node, made, inner.values()[0], node.name)

    def _nested_sum(self, node: Node) -> bool:
        """A sum of sums."""
        terms = terms_of(node)
        for position, value in enumerate(terms):
            inner = terms_of(value.node) if value.node and self._alone(value) else []
            if inner:
                self._add(node, [*terms[:position], *inner, *terms[position + 1 :]])
                return True
        return False

    def _mean(self, node: Node) -> bool:
        """A mean of kernels."""
        values = node.values()
        if node.unit.cls is not KL.Average or not _alike(node) or len(set(values)) < len(values):
            return False
        kernels = [self._kernel(value) for value in values]
        if not all(kernels):
            return False
        scaled = []
        for value, kernel in zip(values, kernels, strict=True):
            assert kernel
            assert value.node
            share = np.full(kernel.outputs, 1 / len(values))
            unit = kernel.scaled(share, np.zeros(kernel.outputs)).unit()
            scaled += call(unit, value.node.name, *value.node.values(), shapes=[value.shape])
        self._add(node, scaled)
        self.done["means"] += 1
        return True

    def _sum(self, node: Node) -> bool:
        """Kernels, scalings and the tensor itself, that are added."""
        terms = terms_of(node)
        sources: dict[Value, list[tuple[Value, Kernel | None]]] = {}
        for value in terms:
            kernel = self._kernel(value)
            if kernel and value.node:
                sources.setdefault(value.node.values()[0], []).append((value, kernel))
            elif value.node and scaling_of(value.node) and self._alone(value):
                sources.setdefault(value.node.values()[0], []).append((value, None))
        for source, branches in sources.items():
            branches += [(value, None) for value in terms if value is source]
            made = self._added(source, branches, node)
            if made:
                name = next(value.node.name for value, kernel in branches if kernel and value.node)
                (sum_,) = call(made.unit(), name, source, shapes=[node.outputs[0].shape])
                gone = {value for value, _ in branches}
                self._add(node, [sum_, *(value for value in terms if value not in gone)])
                self.done["branches"] += len(branches) - 1
                return True
        return False

    def _added(self, source: Value, branches: list[tuple[Value, Kernel | None]], node: Node) -> Kernel | None:
        kernels = [kernel for _, kernel in branches if kernel]
        if len(branches) < 2 or not kernels:
            return None
        output = node.outputs[0].shape
        whole = list(kernels)
        for value, kernel in branches:
            if kernel:
                continue
            scaling = scaling_of(value.node) if value is not source else _ones(source)
            alike = identity_like(kernels[0], *scaling) if scaling else None
            if not alike:
                return None
            whole.append(alike)
        made = added(whole, source.shape, output)
        if made and made.macs(output) <= sum(kernel.macs(output) for kernel in whole):
            return made
        return None

    def _side(self, node: Node) -> bool:
        """Kernels on different tensors that are added: one kernel reads the tensors side by side.

        Dense layers always; others where they read all parts of one tensor, which then needs no joining.
        """
        terms = [(value, kernel) for value in terms_of(node) if (kernel := self._kernel(value))]
        for _, first in terms:
            alike = [
                (value, kernel) for value, kernel in terms if kernel.geometry == first.geometry and kernel.groups == 1
            ]
            if first.groups > 1 or len(alike) < 2:
                continue
            found = flattened(alike) or joined(alike)
            if not found:
                continue
            source, kernel = found
            inner = alike[0][0].node
            assert inner
            (made,) = call(kernel.unit(), inner.name, source, shapes=[node.outputs[0].shape])
            gone = {value for value, _ in alike}
            self._add(node, [made, *(value for value in terms_of(node) if value not in gone)])
            self.done["sums of layers"] += len(alike) - 1
            return True
        return False

    def _add(self, node: Node, terms: list[Value]) -> None:
        """Puts the sum of terms in a node's place."""
        new = terms[0]
        if len(terms) > 1:
            (new,) = call(Unit(KL.Add), node.name, terms, shapes=[node.outputs[0].shape])
        self._graph.substitute(node.outputs[0], new)


def terms_of(node: Node | None) -> list[Value]:
    """What a node adds up, all of one shape; empty when it is no sum."""
    if node is None or not _alike(node):
        return []
    values = node.values()
    function = str(node.unit.config.get("function", ""))
    is_sum = node.unit.cls is KL.Add or (function in ("__operators__.add", "math.add") and len(values) == 2)
    return values if is_sum and len(values) > 1 else []


def _alike(node: Node) -> bool:
    values = [*node.values(), *node.outputs]
    return len({(value.shape, value.dtype, value.masked) for value in values}) == 1 and values[0].dtype == "float32"


def _ones(source: Value) -> tuple[np.ndarray, np.ndarray] | None:
    channels = source.shape[-1]
    return (np.ones(channels), np.zeros(channels)) if channels else None
