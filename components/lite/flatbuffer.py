"""Reads a ``.tflite`` flatbuffer into plain values, and never trusts it.

The accessors generated from TFLite's schema verify nothing: in a damaged file offsets lead anywhere, and lengths may be
anything. So every index is checked here, and the amount that is read is bounded by the size of the file, which keeps
damage from costing time or memory. Field meanings: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfx_edge.errors import ModelError

IDENTIFIER = b"TFL3"
_TYPES_BY_BITS = {
    2: "int2",
    4: "int4",
    8: "int8 uint8 bool",
    16: "int16 uint16 float16 bfloat16",
    32: "int32 uint32 float32",
    64: "int64 uint64 float64 complex64",
    128: "complex128",
}
BITS = {dtype: bits for bits, dtypes in _TYPES_BY_BITS.items() for dtype in dtypes.split()}
FLOAT_TYPES = frozenset({"float16", "bfloat16", "float32", "float64", "complex64", "complex128"})
CONTROL_FLOW = frozenset({"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE"})  # these only run other subgraphs
_TYPE_NAMES = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
_OP_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_FIRST_OUTSIDE_OFFSET = 2  # the schema: an offset is "only valid if > 1"


@dataclass(frozen=True)
class RawTensor:
    """One tensor of a subgraph; ``scales`` is empty where it is not quantized, or blockwise."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    buffer: int
    constant: bool
    variable: bool
    sparse: bool
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    blockwise: bool

    @property
    def quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return self.blockwise or self.scales.size > 0


@dataclass(frozen=True)
class RawOp:
    """One operator: its name (of a custom operator, the custom code) and tensor indices; -1 is an absent input."""

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class RawSubgraph:
    """A subgraph: operators in the order they run, and tensor indices of its inputs and outputs."""

    name: str
    tensors: tuple[RawTensor, ...]
    ops: tuple[RawOp, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class RawSignature:
    """A signature: pairs of public name and tensor index in the subgraph."""

    name: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class RawModel:
    """A whole file; ``buffers`` are uint8 views into it, empty where a tensor has no constant content."""

    version: int
    description: str
    subgraphs: tuple[RawSubgraph, ...]
    signatures: tuple[RawSignature, ...]
    metadata: tuple[str, ...]
    buffers: tuple[np.ndarray, ...]


def parse(content: bytes) -> RawModel:
    """Reads the content of a ``.tflite`` file.

    Raises:
      ModelError: saying in one line why this is not a whole TFLite model.
    """
    if not content:
        raise ModelError("the file is empty, not a TFLite model")
    if content[4:8] != IDENTIFIER:
        raise ModelError(f"not a TFLite model: bytes 4 to 8 are {content[4:8]!r} instead of {IDENTIFIER!r}")
    try:
        return _Reader(content).model()
    except ModelError:
        raise
    except Exception as error:  # the generated accessors fail in whatever way the damage leads to
        raise ModelError(f"a damaged or truncated TFLite model ({type(error).__name__}: {error})") from error


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._budget = 4 * len(content)  # strings and vectors may be shared within a file, but not without end

    def model(self) -> RawModel:
        model = schema.Model.GetRootAs(self._content, 0)
        buffers = tuple(self._buffer(buffer) for buffer in self._tables(model, "Buffers"))
        codes = [self._op_code(code) for code in self._tables(model, "OperatorCodes")]
        subgraphs = tuple(self._subgraph(graph, codes, buffers) for graph in self._tables(model, "Subgraphs"))
        if not subgraphs:
            raise ModelError("a TFLite model without any subgraph: the file is damaged")
        return RawModel(
            version=model.Version(),
            description=self._text(model.Description()),
            subgraphs=subgraphs,
            signatures=tuple(self._signature(item, subgraphs) for item in self._tables(model, "SignatureDefs")),
            metadata=tuple(self._text(item.Name()) for item in self._tables(model, "Metadata")),
            buffers=buffers,
        )

    def _buffer(self, buffer: Any) -> np.ndarray:
        offset, size = buffer.Offset(), buffer.Size()
        if offset < _FIRST_OUTSIDE_OFFSET:
            return self._array(buffer, "Data")
        self._spend(size)
        if offset + size > len(self._content):
            raise ModelError(
                f"a truncated TFLite model: a buffer ends at byte {offset + size}, the file at {len(self._content)}"
            )
        return np.frombuffer(self._content, np.uint8, count=size, offset=offset)

    def _op_code(self, code: Any) -> tuple[str, bool]:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # files before schema 3a have the latter only
        if number == schema.BuiltinOperator.CUSTOM:
            return self._text(code.CustomCode()) or "CUSTOM", True
        return _OP_NAMES.get(number, f"BUILTIN_{number}"), False

    def _subgraph(self, graph: Any, codes: list[tuple[str, bool]], buffers: tuple[np.ndarray, ...]) -> RawSubgraph:
        tensors = tuple(self._tensor(tensor, buffers) for tensor in self._tables(graph, "Tensors"))
        known = range(len(tensors))

        def op(operator: Any) -> RawOp:
            name, custom = codes[_checked(operator.OpcodeIndex(), range(len(codes)), "operator code")]
            inputs = self._indices(operator, "Inputs", range(-1, len(tensors)))
            return RawOp(name, custom, inputs, self._indices(operator, "Outputs", known))

        return RawSubgraph(
            name=self._text(graph.Name()),
            tensors=tensors,
            ops=tuple(op(operator) for operator in self._tables(graph, "Operators")),
            inputs=self._indices(graph, "Inputs", known),
            outputs=self._indices(graph, "Outputs", known),
        )

    def _tensor(self, tensor: Any, buffers: tuple[np.ndarray, ...]) -> RawTensor:
        shape = self._array(tensor, "Shape").tolist()
        if any(size < 0 for size in shape):
            raise ModelError(f"a damaged TFLite model: a tensor has the shape {shape}")
        buffer = _checked(tensor.Buffer(), range(len(buffers)), "buffer")
        quantization = tensor.Quantization()
        scales, zero_points = (
            (self._array(quantization, "Scale"), self._array(quantization, "ZeroPoint"))
            if quantization
            else (np.zeros(0), np.zeros(0))
        )
        details = quantization.DetailsType() if quantization else schema.QuantizationDetails.NONE
        return RawTensor(
            name=self._text(tensor.Name()),
            dtype=_TYPE_NAMES.get(tensor.Type(), f"type{tensor.Type()}"),
            shape=tuple(shape),
            shape_signature=tuple(self._array(tensor, "ShapeSignature").tolist() or shape),
            buffer=buffer,
            constant=buffers[buffer].size > 0,
            variable=tensor.IsVariable(),
            sparse=tensor.Sparsity() is not None,
            scales=scales,
            zero_points=zero_points,
            axis=quantization.QuantizedDimension() if quantization else 0,
            blockwise=details == schema.QuantizationDetails.BlockwiseQuantization,
        )

    def _signature(self, item: Any, subgraphs: tuple[RawSubgraph, ...]) -> RawSignature:
        subgraph = _checked(item.SubgraphIndex(), range(len(subgraphs)), "subgraph")
        known = range(len(subgraphs[subgraph].tensors))

        def pairs(field: str) -> tuple[tuple[str, int], ...]:
            maps = self._tables(item, field)
            return tuple((self._text(pair.Name()), _checked(pair.TensorIndex(), known, "tensor")) for pair in maps)

        return RawSignature(self._text(item.SignatureKey()), subgraph, pairs("Inputs"), pairs("Outputs"))

    def _tables(self, table: Any, field: str) -> Iterator[Any]:
        length = getattr(table, f"{field}Length")()
        self._spend(4 * length)
        return (getattr(table, field)(index) for index in range(length))

    def _array(self, table: Any, field: str) -> np.ndarray:
        if getattr(table, f"{field}IsNone")():
            return np.zeros(0)
        array = getattr(table, f"{field}AsNumpy")()
        self._spend(array.nbytes)
        return array

    def _indices(self, table: Any, field: str, known: range) -> tuple[int, ...]:
        return tuple(_checked(index, known, "tensor") for index in self._array(table, field).tolist())

    def _text(self, text: bytes | None) -> str:
        text = text or b""
        self._spend(len(text))
        return text.decode("utf-8", errors="replace")

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise ModelError("a damaged TFLite model: it claims more elements than the file has room for")


def _checked(index: int, known: range, what: str) -> int:
    if index not in known:
        raise ModelError(f"a damaged TFLite model: it refers to {what} {index} of {known.stop}")
    return index
