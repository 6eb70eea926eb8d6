"""Float ``.tflite`` models written operator by operator, without a converter: made in a millisecond, of any weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

NONE, RELU, RELU6 = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
)
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
_TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32, "bool": schema.TensorType.BOOL}


class Builder:
    """A graph with one input, ``features``, and one output, ``output``, that grows by an operator a call.

    Every method that adds an operator takes and gives indices of tensors; an operator's name is that of its output.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        """Starts with the input of a shape, batch included."""
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.name = b"main"
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.input = self.tensor("features", shape)

    def tensor(self, name: str, shape: Sequence[int], values: np.ndarray | None = None) -> int:
        """Adds a tensor, constant if it has values."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), [int(size) for size in shape]
        tensor.type = _TYPES["float32" if values is None else values.dtype.name]
        tensor.buffer = 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: Any, dtype: str = "float32") -> int:
        """Adds a constant."""
        array = np.asarray(values, dtype)
        return self.tensor(name, array.shape, array)

    def op(self, kind: str, name: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None) -> int:
        """Adds an operator with one output."""
        number = getattr(schema.BuiltinOperator, kind)
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        operator.inputs, operator.outputs = list(inputs), [self.tensor(name, shape)]
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
            operator.builtinOptions = options
        self.graph.operators.append(operator)
        return operator.outputs[0]

    def shape(self, tensor: int) -> list[int]:
        """The shape of a tensor."""
        return list(self.graph.tensors[tensor].shape)

    def conv(
        self,
        name: str,
        source: int,
        weights: np.ndarray,
        bias: np.ndarray | None = None,
        activation: int = RELU,
        padding: int = SAME,
        stride: int = 1,
        dilation: int = 1,
    ) -> int:
        """Adds a convolution; weights are (outputs, height, width, inputs)."""
        options = schema.Conv2DOptionsT()
        return self._conv("CONV_2D", name, source, weights, bias, activation, padding, stride, dilation, options)

    def depthwise(
        self,
        name: str,
        source: int,
        weights: np.ndarray,
        bias: np.ndarray | None = None,
        activation: int = RELU,
        padding: int = SAME,
        stride: int = 1,
        dilation: int = 1,
    ) -> int:
        """Adds a depthwise convolution; weights are (1, height, width, outputs)."""
        options = schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = weights.shape[3] // self.shape(source)[3]
        kind = "DEPTHWISE_CONV_2D"
        return self._conv(kind, name, source, weights, bias, activation, padding, stride, dilation, options)

    def _conv(
        self,
        kind: str,
        name: str,
        source: int,
        weights: np.ndarray,
        bias: np.ndarray | None,
        activation: int,
        padding: int,
        stride: int,
        dilation: int,
        options: Any,
    ) -> int:
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        options.padding, options.fusedActivationFunction = padding, activation
        batch, *sizes, _ = self.shape(source)
        reach = [(size - 1) * dilation + 1 for size in weights.shape[1:3]]
        room = sizes if padding == SAME else [size - r + 1 for size, r in zip(sizes, reach, strict=True)]
        outputs = weights.shape[0 if kind == "CONV_2D" else 3]
        bias = np.zeros(outputs, np.float32) if bias is None else bias  # the kernels want one
        shape = [batch, *(-(-size // stride) for size in room), outputs]
        return self.op(kind, name, self._with_constants(name, source, weights, bias), shape, options)

    def dense(
        self, name: str, source: int, weights: np.ndarray, bias: np.ndarray | None = None, activation: int = RELU
    ) -> int:
        """Adds a dense layer; weights are (outputs, inputs)."""
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = activation
        shape = [self.shape(source)[0], weights.shape[0]]
        return self.op("FULLY_CONNECTED", name, self._with_constants(name, source, weights, bias), shape, options)

    def _with_constants(self, name: str, source: int, weights: np.ndarray, bias: np.ndarray | None) -> list[int]:
        found = [source, self.constant(f"{name}/weights", weights)]
        return found if bias is None else [*found, self.constant(f"{name}/bias", bias)]

    def arithmetic(self, kind: str, name: str, left: int, right: int) -> int:
        """Adds ``ADD``, ``SUB`` or ``MUL``."""
        options = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT}[kind]()
        return self.op(kind, name, [left, right], self.shape(left), options)

    def softmax(self, name: str, source: int) -> int:
        """Adds a softmax over the last dimension."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self.op("SOFTMAX", name, [source], self.shape(source), options)

    def max_pool(self, name: str, source: int) -> int:
        """Adds 2x2 max pooling."""
        options = schema.Pool2DOptionsT()
        options.strideH = options.strideW = options.filterHeight = options.filterWidth = 2
        options.padding = SAME
        batch, *sizes, channels = self.shape(source)
        return self.op("MAX_POOL_2D", name, [source], [batch, *(-(-s // 2) for s in sizes), channels], options)

    def pad(self, name: str, source: int) -> int:
        """Adds one row and column of zeros on every side."""
        batch, height, width, channels = self.shape(source)
        amounts = self.constant(f"{name}/amounts", [[0, 0], [1, 1], [1, 1], [0, 0]], "int32")
        shape = [batch, height + 2, width + 2, channels]
        return self.op("PAD", name, [source, amounts], shape, schema.PadOptionsT())

    def mean(self, name: str, source: int) -> int:
        """Adds the mean over positions."""
        batch, _, _, channels = self.shape(source)
        axes = self.constant(f"{name}/axes", [1, 2], "int32")
        return self.op("MEAN", name, [source, axes], [batch, channels], schema.ReducerOptionsT())

    def flatten(self, name: str, source: int) -> int:
        """Adds a reshape to (batch, features)."""
        batch, *sizes = self.shape(source)
        shape = [batch, int(np.prod(sizes))]
        options = schema.ReshapeOptionsT()
        options.newShape = shape
        return self.op("RESHAPE", name, [source, self.constant(f"{name}/shape", shape, "int32")], shape, options)

    def finish(self, output: int) -> bytes:
        """The flatbuffer, with the signature ``serving_default``."""
        self.graph.inputs, self.graph.outputs = [self.input], [output]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = [_named("features", self.input)], [_named("output", output)]
        self.model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _named(name: str, index: int) -> Any:
    pair = schema.TensorMapT()
    pair.name, pair.tensorIndex = name.encode(), index
    return pair
