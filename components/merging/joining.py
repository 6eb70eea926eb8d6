"""Kernels that read different tensors and are added, as one kernel that reads the tensors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tf_keras

from tfx_edge.merging.graph import Node, Unit, Value, call
from tfx_edge.merging.kernels import Kernel
from tfx_edge.merging.parts import parts_of

KL = tf_keras.layers
Terms = Sequence[tuple[Value, Kernel]]
Joined = tuple[Value, Kernel]


def joined(terms: Terms) -> Joined | None:
    """The tensor to read and the kernel, for kernels of one geometry and one group.

    Dense layers always; convolutions where they read all parts of one tensor, which then needs no joining.

    Args:
      terms: what the kernels give, each with its kernel.
    """
    sources = [_source(value) for value, _ in terms]
    whole = parts_of(sources)
    if whole:
        source, order = whole.value, whole.order
    elif terms[0][1].rank == 0 and len({value.shape[:-1] for value in sources}) == 1:
        shape = (*sources[0].shape[:-1], sum(int(value.shape[-1] or 0) for value in sources))
        (source,) = call(Unit(KL.Concatenate, {"axis": -1}), "joined", sources, shapes=[shape])
        order = tuple(range(len(terms)))
    else:
        return None
    return source, _kernel(terms, np.concatenate([terms[position][1].weights for position in order], axis=-2))


def flattened(terms: Terms) -> Joined | None:
    """The same for dense layers on flattened parts of one tensor: that is flattened, and the rows go into its order."""
    flat = [_source(value) for value, _ in terms]
    if terms[0][1].rank or not all(_flattens(value.node) for value in flat):
        return None
    parts = [_source(value) for value in flat]
    whole = parts_of(parts)
    if not whole or None in whole.value.shape[1:]:
        return None
    outputs = terms[0][1].outputs
    rows = [
        terms[position][1].weights.reshape(-1, int(parts[position].shape[-1] or 0), outputs) for position in whole.order
    ]
    weights = np.concatenate(rows, axis=1).reshape(-1, outputs)
    (source,) = call(Unit(KL.Flatten), "flatten", whole.value, shapes=[(whole.value.shape[0], len(weights))])
    return source, _kernel(terms, weights)


def _kernel(terms: Terms, weights: np.ndarray) -> Kernel:
    return replace(terms[0][1], weights=weights, bias=np.sum([kernel.bias for _, kernel in terms], axis=0))


def _source(value: Value) -> Value:
    assert value.node
    return value.node.values()[0]


def _flattens(node: Node | None) -> bool:
    if node is None or node.unit.cls is not KL.Flatten:
        return False
    return node.unit.config.get("data_format", "channels_last") == "channels_last"
