"""How the operators of a ``.tflite`` compute: in float, in integers, or in float with quantized weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tfx_edge.lite.flatbuffer import BITS, CONTROL_FLOW, FLOAT_TYPES, RawModel, RawOp, RawSubgraph, RawTensor
from tfx_edge.lite.weights import WeightTensor

FLOAT, HYBRID, INTEGER, CONVERT, OTHER = "float", "hybrid", "integer", "convert", "other"

_CONVERT = frozenset({"QUANTIZE", "DEQUANTIZE"})
_VALUE_FREE = CONTROL_FLOW | {"SHAPE", "RANK"}
_LEFT_IN_FLOAT = 1024  # TFLite's dynamic range quantization leaves weights with fewer elements in float


@dataclass(frozen=True)
class OpGroup:
    """Operators of the same name, dtypes and kind.

    Attributes:
      name: builtin name such as "CONV_2D", or the custom code of a custom operator.
      count: how many there are.
      inputs: distinct dtypes of its inputs, constants included, in order of appearance.
      outputs: distinct dtypes of its outputs.
      kind: "float", "hybrid", "integer", "convert" (QUANTIZE, DEQUANTIZE) or "other" (shapes, indices, control flow).
      custom: whether it is a custom operator (Flex included).
    """

    name: str
    count: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kind: str
    custom: bool

    def __str__(self) -> str:
        return self.name if self.count == 1 else f"{self.name} x{self.count}"


@dataclass(frozen=True)
class FloatIsland:
    """Connected float operators inside an otherwise integer model.

    Attributes:
      subgraph: index of the subgraph they lie in.
      ops: their names, in the order they run.
      positions: their indices among the operators of the subgraph.
    """

    subgraph: int
    ops: tuple[str, ...]
    positions: tuple[int, ...]

    def __str__(self) -> str:
        return " + ".join(self.ops)


def op_kind(op: RawOp, tensors: tuple[RawTensor, ...]) -> str:
    """Says how an operator computes.

    - convert: QUANTIZE and DEQUANTIZE.
    - hybrid: float activations with a quantized constant input (dynamic range).
    - float: any other operator with a float activation, be it input or output, also one that only moves data.
    - integer: at least one quantized activation and no float one.
    - other: everything else, and the operators that read no values (SHAPE, RANK) or only call another subgraph, whose
      own operators count.
    """
    if op.name in _CONVERT:
        return CONVERT
    if op.name in _VALUE_FREE:
        return OTHER
    inputs = [tensors[index] for index in op.inputs if index >= 0]
    activations = [tensor for tensor in inputs if not tensor.constant] + [tensors[index] for index in op.outputs]
    if any(tensor.dtype in FLOAT_TYPES for tensor in activations):
        hybrid = any(t.constant and t.quantized and t.dtype not in FLOAT_TYPES for t in inputs)
        return HYBRID if hybrid else FLOAT
    return INTEGER if any(tensor.quantized for tensor in activations) else OTHER


def group_ops(subgraphs: Iterable[RawSubgraph]) -> tuple[OpGroup, ...]:
    """The operators of the subgraphs, counted by name, dtypes and kind, in order of first appearance."""
    counts = Counter(_signature(op, graph.tensors) for graph in subgraphs for op in graph.ops)
    return tuple(
        OpGroup(name, count, inputs, outputs, kind, custom)
        for (name, inputs, outputs, kind, custom), count in counts.items()
    )


def float_islands(model: RawModel) -> tuple[FloatIsland, ...]:
    """The largest groups of float operators that share activations, if the model computes in integers elsewhere.

    Operators are taken as connected when they touch the same float activation. QUANTIZE and DEQUANTIZE bound an island
    and belong to none; hybrid operators are none either. A float tail before the output is an island.
    """
    kinds = [[op_kind(op, graph.tensors) for op in graph.ops] for graph in model.subgraphs]
    if not any(kind == INTEGER for graph in kinds for kind in graph):
        return ()
    islands = []
    for number, graph in enumerate(model.subgraphs):
        floats = [position for position, kind in enumerate(kinds[number]) if kind == FLOAT]
        for positions in _connected({position: _float_activations(graph, position) for position in floats}):
            islands.append(FloatIsland(number, tuple(graph.ops[p].name for p in positions), positions))
    return tuple(islands)


def precision(model: RawModel, weights: Iterable[WeightTensor]) -> str:
    """One label for the whole model, from what its operators and weights really are.

    With integer operators: "mixed" if any operator is float or hybrid, or if activations or weights differ in dtype;
    else the dtype of the activations ("int8", "uint8"), with the width of the weights where it differs ("int16x8",
    "int8x4"). Without: "float32" if no weight is compressed; "dynamic int8" for hybrid 8-bit operators; "int4 weights",
    "float16 weights", "int8 weights" for one kind of compressed weight; "mixed" if there are several kinds, or float32
    weights of 1,024 elements or more beside them (smaller ones are commonly left in float). "other" if nothing computes
    with real numbers at all. Variable tensors (the state of an LSTM) are not counted as activations; a table whose rows
    GATHER passes on may be of the activations' dtype instead of the weights'.
    """
    weights = list(weights)
    kinds, activations = set(), set()
    for graph in model.subgraphs:
        for op in graph.ops:
            kind = op_kind(op, graph.tensors)
            kinds.add(kind)
            if kind == INTEGER:
                touched = (graph.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0)
                activations |= {t.dtype for t in touched if t.quantized and not t.constant and not t.variable}
    if INTEGER in kinds:
        rows = {
            graph.tensors[op.inputs[0]].name for graph in model.subgraphs for op in graph.ops if op.name == "GATHER"
        }
        passed_on = {weight for weight in weights if weight.name in rows and weight.dtype in activations}
        stored = {weight.dtype for weight in weights if weight not in passed_on} or activations
        if kinds & {FLOAT, HYBRID} or len(activations) != 1 or len(stored) != 1:
            return "mixed"
        (activation,), (weight_type,) = activations, stored
        return activation if weight_type == activation else f"{activation}x{BITS[weight_type]}"
    return _float_label(kinds, weights)


def _float_label(kinds: set[str], weights: list[WeightTensor]) -> str:
    if not kinds & {FLOAT, HYBRID}:
        return "other"
    compressed = {weight.dtype for weight in weights if weight.dtype != "float32"}
    if not compressed:
        return "float32"
    if len(compressed) > 1 or any(w.dtype == "float32" and w.elements >= _LEFT_IN_FLOAT for w in weights):
        return "mixed"
    (dtype,) = compressed
    return f"dynamic {dtype}" if HYBRID in kinds and BITS[dtype] == 8 else f"{dtype} weights"


def _signature(op: RawOp, tensors: tuple[RawTensor, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...], str, bool]:
    inputs = tuple(dict.fromkeys(tensors[index].dtype for index in op.inputs if index >= 0))
    outputs = tuple(dict.fromkeys(tensors[index].dtype for index in op.outputs))
    return op.name, inputs, outputs, op_kind(op, tensors), op.custom


def _float_activations(graph: RawSubgraph, position: int) -> set[int]:
    op = graph.ops[position]
    touched = {index for index in (*op.inputs, *op.outputs) if index >= 0}
    return {
        index for index in touched if graph.tensors[index].dtype in FLOAT_TYPES and not graph.tensors[index].constant
    }


def _connected(touched: dict[int, set[int]]) -> list[tuple[int, ...]]:
    leader = {position: position for position in touched}

    def find(position: int) -> int:
        while leader[position] != position:
            leader[position] = position = leader[leader[position]]
        return position

    first_to_touch: dict[int, int] = {}
    for position, tensors in touched.items():
        for tensor in tensors:
            leader[find(position)] = find(first_to_touch.setdefault(tensor, position))
    groups: dict[int, list[int]] = {}
    for position in touched:
        groups.setdefault(find(position), []).append(position)
    return [tuple(group) for group in groups.values()]
