"""Makes of a ``.tflite`` what litert-quantizer can work on.

It knows operators by a field that old files lack, and quantizes nothing of these without an error. It tells tensors
apart by name, but converters name them alike in the bodies of loops. It takes weights behind a
DEQUANTIZE, as float16 ones are stored, for activations. And it leaves embeddings in float, which Keras' layer looks up
by GATHER; it can quantize EMBEDDING_LOOKUP, which does the same with a list of ids. And it leaves a SPLIT in float of
which a part is never read, as in the first step of an unrolled LSTM.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfx_edge.errors import ModelError
from tfx_edge.lite.rewrite import Rewriter, text


class QuantizationInput:
    """A float model that is being made ready.

    Attributes:
      renamed: new names to those in the file, of tensors whose name another one has as well.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads a file and gives every tensor a name of its own; the first one of a name keeps it.

        Raises:
          ModelError: the file is missing, damaged or no TFLite model, or stores weights in a way that cannot be read.
        """
        self._rewriter = Rewriter(path)
        self._graphs = self._rewriter.model.subgraphs
        for code in self._rewriter.model.operatorCodes:
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        self.renamed: dict[str, str] = {}
        names = {text(tensor.name) for graph in self._graphs for tensor in graph.tensors}
        seen = {""}
        for graph in self._graphs:
            for tensor in graph.tensors:
                if tensor.sparsity is not None:
                    raise ModelError(
                        f"{path} stores {text(tensor.name)!r} in TFLite's sparse encoding, which cannot be quantized: "
                        "convert the model without it; zeros are kept, and compress as well"
                    )
                name = text(tensor.name)
                if name in seen:
                    name = self._rename(tensor, names)
                seen.add(name)
        for graph in self._graphs:
            self._slice_where_parts_are_unread(graph)

    @property
    def content(self) -> bytes:
        """The flatbuffer as it is now."""
        return self._rewriter.content()

    def lookups(self) -> frozenset[str]:
        """Names of the GATHER layers that can become EMBEDDING_LOOKUP: whole rows of a constant by int32 ids."""
        gathers = ((graph, op) for graph in self._graphs for op in graph.operators if self._is_lookup(graph, op))
        return frozenset(text(graph.tensors[op.outputs[0]].name) for graph, op in gathers)

    def make_lookups(self, names: Collection[str]) -> None:
        """Turns these GATHER layers into EMBEDDING_LOOKUP of the same name, with reshaped ids and rows around it."""
        for graph in self._graphs:
            operators = []
            for op in graph.operators:
                wanted = self._is_lookup(graph, op) and text(graph.tensors[op.outputs[0]].name) in names
                operators += self._lookup(graph, op) if wanted else [op]
            graph.operators = operators

    def widen(self, names: Collection[str]) -> None:
        """Stores the float16 constants that these layers read as float32, without a DEQUANTIZE."""
        for graph in self._graphs:
            layers = (
                op for op in graph.operators if len(op.outputs) and text(graph.tensors[op.outputs[0]].name) in names
            )
            read = {index for op in layers for index in op.inputs}
            halves = [op for op in graph.operators if self._is_half(graph, op) and op.outputs[0] in read]
            for op in halves:
                source, target = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
                values = np.frombuffer(bytes(self._rewriter.model.buffers[source.buffer].data), np.float16)
                target.buffer = self._buffer(values.astype(np.float32))
            graph.operators = [op for op in graph.operators if not any(op is half for half in halves)]
        self._drop_unread_constants()

    def _drop_unread_constants(self) -> None:
        buffers = self._rewriter.model.buffers
        read = {
            graph.tensors[i].buffer for graph in self._graphs for op in graph.operators for i in op.inputs if i >= 0
        }
        for graph in self._graphs:
            ends = {graph.tensors[index].buffer for index in (*graph.inputs, *graph.outputs)}
            for tensor in graph.tensors:
                if tensor.buffer not in read | ends:
                    buffers[tensor.buffer].data = None

    def _is_half(self, graph: Any, op: Any) -> bool:
        if self._rewriter.operator(op) != "DEQUANTIZE":
            return False
        source = graph.tensors[op.inputs[0]]
        return source.type == schema.TensorType.FLOAT16 and self._rewriter.model.buffers[source.buffer].data is not None

    def _rename(self, tensor: Any, names: set[str]) -> str:
        old, number = text(tensor.name), 1
        while (name := f"{old or 'tensor'}_{number}") in names:
            number += 1
        names.add(name)
        tensor.name = name.encode()
        self.renamed[name] = old
        return name

    def _is_lookup(self, graph: Any, op: Any) -> bool:
        if self._rewriter.operator(op) != "GATHER" or len(op.inputs) != 2:
            return False
        table, ids = (graph.tensors[index] for index in op.inputs)
        options = op.builtinOptions
        whole_rows = options is None or (not options.axis and not options.batchDims)
        values = self._rewriter.constant(table)
        plain = values is not None and values.dtype == np.float32 and values.ndim == 2
        return whole_rows and plain and ids.type == schema.TensorType.INT32 and _sizes(ids).count(-1) <= 1

    def _slice_where_parts_are_unread(self, graph: Any) -> None:
        """Puts a SLICE for each part that is read in place of a SPLIT that has others, which have no range."""
        read = {int(index) for op in graph.operators for index in op.inputs} | {int(index) for index in graph.outputs}
        operators = []
        for op in graph.operators:
            parts = [(number, int(part)) for number, part in enumerate(op.outputs) if int(part) in read]
            if self._rewriter.operator(op) != "SPLIT" or len(parts) == len(op.outputs):
                operators.append(op)
                continue
            axis = int(np.asarray(self._rewriter.constant(graph.tensors[op.inputs[0]])))
            operators += [self._slice(graph, int(op.inputs[1]), part, number, axis) for number, part in parts]
        graph.operators = operators

    def _slice(self, graph: Any, source: int, target: int, number: int, axis: int) -> Any:
        sizes = np.array(_sizes(graph.tensors[target]), np.int32)
        begin = np.zeros_like(sizes)
        begin[axis] = number * sizes[axis]
        name, dimensions = text(graph.tensors[target].name), [len(sizes)]
        constants = [
            self._tensor(graph, f"{name}/{what}", schema.TensorType.INT32, dimensions, values)
            for what, values in (("begin", begin), ("size", sizes))
        ]
        cut = _operator(self._code(schema.BuiltinOperator.SLICE), [source, *constants], [target])
        cut.builtinOptionsType, cut.builtinOptions = schema.BuiltinOptions.SliceOptions, schema.SliceOptionsT()
        return cut

    def _lookup(self, graph: Any, op: Any) -> list[Any]:
        table, ids = op.inputs
        (rows,) = op.outputs
        shape = [*_sizes(graph.tensors[ids]), int(graph.tensors[table].shape[1])]
        lookup = _operator(self._code(schema.BuiltinOperator.EMBEDDING_LOOKUP), [ids, table], [rows])
        if len(shape) == 2:
            return [lookup]
        name = text(graph.tensors[rows].name)
        count = int(np.prod(list(graph.tensors[ids].shape)))
        flat_ids = self._tensor(graph, f"{name}/ids", graph.tensors[ids].type, [count])
        flat_rows = self._tensor(graph, f"{name}/rows", graph.tensors[rows].type, [count, shape[-1]])
        graph.tensors[rows].name, graph.tensors[flat_rows].name = graph.tensors[flat_rows].name, name.encode()
        lookup.inputs, lookup.outputs = [flat_ids, table], [flat_rows]
        self.renamed[f"{name}/rows"] = self.renamed.get(name, name)
        return [
            self._reshape(graph, ids, flat_ids, [-1]),
            lookup,
            self._reshape(graph, flat_rows, rows, shape),
        ]

    def _reshape(self, graph: Any, source: int, target: int, shape: list[int]) -> Any:
        values = np.array(shape, np.int32)
        name = f"{text(graph.tensors[target].name)}/shape"
        constant = self._tensor(graph, name, schema.TensorType.INT32, [len(shape)], values)
        options = schema.ReshapeOptionsT()
        options.newShape = shape
        reshape = _operator(self._code(schema.BuiltinOperator.RESHAPE), [source, constant], [target])
        reshape.builtinOptionsType, reshape.builtinOptions = schema.BuiltinOptions.ReshapeOptions, options
        return reshape

    def _tensor(self, graph: Any, name: str, kind: int, shape: list[int], values: np.ndarray | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.shape, tensor.buffer = name.encode(), kind, shape, self._buffer(values)
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def _buffer(self, values: np.ndarray | None) -> int:
        buffer = schema.BufferT()
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._rewriter.model.buffers.append(buffer)
        return len(self._rewriter.model.buffers) - 1

    def _code(self, builtin: int) -> int:
        codes = self._rewriter.model.operatorCodes
        for index, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = builtin
        code.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        code.version = 1
        codes.append(code)
        return len(codes) - 1


def _sizes(tensor: Any) -> list[int]:
    """The shape of a tensor, with -1 where a dimension may vary."""
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return [int(size) for size in shape] if shape is not None else []


def _operator(code: int, inputs: list[int], outputs: list[int]) -> Any:
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = code, inputs, outputs
    return op
