"""Changes constants of a ``.tflite`` and leaves all else as it is: signatures, names, metadata."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfx_edge.errors import ModelError
from tfx_edge.lite.flatbuffer import IDENTIFIER
from tfx_edge.lite.inspect import inspect

_TYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.INT16: np.dtype(np.int16),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT64: np.dtype(np.int64),
}
_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


class Rewriter:
    """A model as a tree of the schema's objects.

    Attributes:
      model: the tree (``ModelT``); operators may be read freely, constants are read and set by the methods.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads a file.

        Raises:
          ModelError: it is missing, damaged or no TFLite model.
        """
        from ai_edge_litert.tools import flatbuffer_utils

        inspect(path)
        self.model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(Path(path).read_bytes()))
        self._tensors_of = Counter(tensor.buffer for graph in self.model.subgraphs for tensor in graph.tensors)

    def operator(self, op: Any) -> str:
        """The builtin name of an operator, such as ``"CONV_2D"``."""
        code = self.model.operatorCodes[op.opcodeIndex]
        number = max(code.builtinCode or 0, code.deprecatedBuiltinCode or 0)
        return _OPERATORS.get(number, f"BUILTIN_{number}")

    def constant(self, tensor: Any) -> np.ndarray | None:
        """The stored numbers of a constant, unpacked, in the tensor's shape; None if it is no constant.

        A type that is not stored in whole bytes of its own comes as int8 (int4, int2); other types as None.
        """
        content = self.model.buffers[tensor.buffer].data
        if content is None or len(content) == 0 or tensor.sparsity is not None:
            return None
        raw = np.frombuffer(bytes(content), np.uint8)
        shape = tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()
        if tensor.type == schema.TensorType.INT4:
            pairs = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[: math.prod(shape)].astype(np.int8)
            return np.where(pairs > 7, pairs - 16, pairs).astype(np.int8).reshape(shape)
        if tensor.type not in _TYPES:
            return None
        return raw.view(_TYPES[tensor.type]).reshape(shape)

    def shared(self, tensor: Any) -> bool:
        """Whether other tensors have the same content, so that it cannot be changed for this one alone."""
        return self._tensors_of[tensor.buffer] > 1

    def set_constant(self, tensor: Any, values: np.ndarray) -> None:
        """Puts other numbers in the place of a constant's.

        Raises:
          ModelError: the constant has another shape or type, or shares its content with another tensor.
        """
        old = self.constant(tensor)
        if old is None or old.shape != values.shape or self.shared(tensor):
            raise ModelError(f"the content of {tensor.name!r} cannot be replaced by an array of shape {values.shape}")
        content = np.ascontiguousarray(values, dtype=_TYPES[tensor.type])
        self.model.buffers[tensor.buffer].data = np.frombuffer(content.tobytes(), np.uint8)

    def content(self) -> bytes:
        """The flatbuffer of the model as it is now."""
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())


def text(name: bytes | str | None) -> str:
    """The name of a tensor as the schema's objects hold it."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""
