"""The layers of a ``.tflite``, and in which precision each of them computes.

A layer is an operator that takes or gives real numbers. It is called after its first output: the name that converters
derive from the layer of the trained model, and by which overrides of a recipe choose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tfx_edge.errors import ModelError
from tfx_edge.lite import compute, flatbuffer
from tfx_edge.lite.flatbuffer import BITS, RawModel, RawOp, RawSubgraph, RawTensor
from tfx_edge.lite.weights import is_weight

_WEIGHTS_UNDER_FLOAT = {"float32": "float32", "float16": "float16", "int8": "dynamic_int8", "int4": "int4_weights"}
_INTEGERS = {("int8", 8): "int8", ("int16", 8): "int16x8", ("int16", 16): "int16x8"}


@dataclass(frozen=True)
class LayerWeight:
    """A constant that a layer reads as its weights.

    Attributes:
      name: of the tensor that holds it in the file.
      dtype: stored dtype, such as "float32" or "int4".
      shape: dense shape.
      blockwise: whether blocks of a row have scales of their own.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    blockwise: bool

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layer:
    """One operator that computes.

    Attributes:
      name: name of its first output tensor.
      op: operator, such as "CONV_2D".
      subgraph: index of the subgraph.
      index: position among the operators of the subgraph.
      outputs: names of all its outputs.
      kind: "float", "hybrid" or "integer", as ``compute.op_kind`` says.
      precision: a precision of the recipe language, or a plain description where it has no word for it.
      weights: the constants it reads as weights, also behind a DEQUANTIZE.
    """

    name: str
    op: str
    subgraph: int
    index: int
    outputs: tuple[str, ...]
    kind: str
    precision: str
    weights: tuple[LayerWeight, ...]

    @property
    def elements(self) -> int:
        """Number of its weights."""
        return sum(weight.elements for weight in self.weights)

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}"


def layers(path: str | Path) -> tuple[Layer, ...]:
    """The layers of a file, in the order they run, subgraph by subgraph.

    Raises:
      ModelError: the file is missing, damaged or no TFLite model.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); give an existing .tflite file") from error
    try:
        return layers_of(flatbuffer.parse(content))
    except ModelError as error:
        raise ModelError(f"{path}: {error}; give a whole .tflite file") from error.__cause__


def layers_of(model: RawModel) -> tuple[Layer, ...]:
    """The layers of a parsed file."""
    return tuple(layer for number, graph in enumerate(model.subgraphs) for layer in _layers(number, graph))


def _layers(number: int, graph: RawSubgraph) -> Iterable[Layer]:
    dequantized = {
        op.outputs[0]: op.inputs[0] for op in graph.ops if op.name == "DEQUANTIZE" and op.inputs and op.outputs
    }
    for index, op in enumerate(graph.ops):
        kind = compute.op_kind(op, graph.tensors)
        if kind not in {compute.FLOAT, compute.HYBRID, compute.INTEGER} or not op.outputs:
            continue
        read = (graph.tensors[dequantized.get(source, source)] for source in op.inputs if source >= 0)
        stored = [tensor for tensor in read if is_weight(tensor, op.name)]
        outputs = tuple(graph.tensors[output].name for output in op.outputs)
        yield Layer(
            name=outputs[0],
            op=op.name,
            subgraph=number,
            index=index,
            outputs=outputs,
            kind=kind,
            precision=_precision(op, kind, graph.tensors, stored),
            weights=tuple(LayerWeight(tensor.name, tensor.dtype, tensor.shape, tensor.blockwise) for tensor in stored),
        )


def _precision(op: RawOp, kind: str, tensors: tuple[RawTensor, ...], weights: list[RawTensor]) -> str:
    stored = {tensor.dtype for tensor in weights}
    if kind != compute.INTEGER:
        if any(tensor.blockwise for tensor in weights) and stored == {"int4"}:
            return "int4_blockwise"
        known = _WEIGHTS_UNDER_FLOAT.get(*stored) if len(stored) == 1 else None
        return known or (f"{' and '.join(sorted(stored))} weights" if stored else "float32")
    touched = (tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0)
    activations = {t.dtype for t in touched if t.quantized and not t.constant and not t.variable}
    if len(activations) != 1 or len(stored) > 1:
        return f"{' and '.join(sorted(activations | stored))} integers"
    (activation,) = activations
    bits = BITS[next(iter(stored))] if stored else 8
    return _INTEGERS.get((activation, bits), activation if bits == BITS[activation] else f"{activation}x{bits}")
