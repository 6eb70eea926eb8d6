"""The constants of a ``.tflite``: their bytes by dtype, which of them are weights, and how many weights are zero."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from tfx_edge.errors import ModelError
from tfx_edge.lite.flatbuffer import BITS, CONTROL_FLOW, FLOAT_TYPES, RawModel, RawTensor

_ELEMENTWISE = frozenset(
    {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD"}
    | {"EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "SELECT", "SELECT_V2", "PRELU"}
)


@dataclass(frozen=True)
class WeightTensor:
    """One weight tensor.

    Attributes:
      name: name of the tensor (of the first, where several share the buffer).
      dtype: stored dtype, such as "float32" or "int4".
      shape: dense shape.
      elements: number of elements of the dense tensor.
      size_bytes: bytes in the file; int4 and int2 are packed.
      quantized: whether integers stand for real numbers.
      zeros: elements that stand for exactly 0.0 (the zero point, where quantized).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    size_bytes: int
    quantized: bool
    zeros: int

    @property
    def sparsity(self) -> float:
        """Share of the elements that are exactly zero, 0 to 1."""
        return self.zeros / self.elements if self.elements else 0.0


def is_weight(tensor: RawTensor, op: str) -> bool:
    """Whether a tensor that an operator reads is its weight, by the rule of ``weight_tensors``."""
    return op not in _ELEMENTWISE | CONTROL_FLOW and _weight_like(tensor)


def constant_bytes(model: RawModel) -> dict[str, int]:
    """Bytes of all constant tensors by dtype, the largest first: weights, biases and shapes.

    A buffer that several tensors share counts once, for the first of them. Buffers of metadata do not count.
    """
    sizes: Counter[str] = Counter()
    for buffer, tensor in _owners(model).items():
        sizes[tensor.dtype] += model.buffers[buffer].size
    return dict(sizes.most_common())


def weight_tensors(model: RawModel) -> tuple[WeightTensor, ...]:
    """The weights of the model, each shared buffer once.

    A weight is a constant of a float type or of quantized integers up to 16 bits, with at least two dimensions, that is
    read by some operator other than elementwise arithmetic and control flow. This leaves out biases and batch-norm
    factors (one dimension, 32 or 64 bits, or read by ADD and MUL only), initial states of loops, and shapes, axes,
    paddings and indices (not quantized).

    Raises:
      ModelError: the size of a weight's buffer does not fit its shape.
    """
    read = {
        (number, index)
        for number, graph in enumerate(model.subgraphs)
        for op in graph.ops
        if op.name not in _ELEMENTWISE | CONTROL_FLOW
        for index in op.inputs
    }
    weights: dict[int, WeightTensor] = {}
    for number, graph in enumerate(model.subgraphs):
        for index, tensor in enumerate(graph.tensors):
            if tensor.buffer not in weights and (number, index) in read and _weight_like(tensor):
                weights[tensor.buffer] = _weight(tensor, model.buffers[tensor.buffer])
    return tuple(weights.values())


def _owners(model: RawModel) -> dict[int, RawTensor]:
    owners: dict[int, RawTensor] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.constant:
                owners.setdefault(tensor.buffer, tensor)
    return owners


def _weight_like(tensor: RawTensor) -> bool:
    return tensor.constant and len(tensor.shape) > 1 and (tensor.dtype in FLOAT_TYPES or _quantized(tensor))


def _quantized(tensor: RawTensor) -> bool:
    return tensor.quantized and tensor.dtype in {"int2", "int4", "int8", "uint8", "int16"}


def _weight(tensor: RawTensor, content: np.ndarray) -> WeightTensor:
    elements = math.prod(tensor.shape)
    expected = math.ceil(elements * BITS[tensor.dtype] / 8)
    if content.size > expected or (content.size < expected and not tensor.sparse):
        raise ModelError(
            f"a damaged TFLite model: {tensor.name!r} of shape {tensor.shape} and type {tensor.dtype} takes {expected} "
            f"bytes, its buffer has {content.size}"
        )
    try:
        zeros = elements - _nonzeros(tensor, content, elements)
    except ValueError as error:
        raise ModelError(f"a damaged TFLite model: {tensor.name!r} of shape {tensor.shape}: {error}") from error
    return WeightTensor(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        elements=elements,
        size_bytes=content.size,
        quantized=_quantized(tensor),
        zeros=zeros,
    )


def _nonzeros(tensor: RawTensor, content: np.ndarray, elements: int) -> int:
    """Counts the elements that do not stand for 0.0; a sparse tensor stores the others only in part."""
    stored = _elements(content, tensor.dtype)
    points = tensor.zero_points if tensor.dtype not in FLOAT_TYPES and tensor.zero_points.any() else np.zeros(1)
    if points.size > 1 and not tensor.sparse:
        if not 0 <= tensor.axis < len(tensor.shape) or points.size != tensor.shape[tensor.axis]:
            raise ValueError(f"{points.size} zero points along dimension {tensor.axis}")
        shape = [points.size if axis == tensor.axis else 1 for axis in range(len(tensor.shape))]
        return int(np.count_nonzero(stored[:elements].reshape(tensor.shape) != points.reshape(shape)))
    return int(np.count_nonzero(stored[:elements] != points[0]))


def _elements(content: np.ndarray, dtype: str) -> np.ndarray:
    """The stored numbers in order; bfloat16 as float32, a sub-byte type as int8 (low bits come first)."""
    bits = BITS[dtype]
    if bits < 8:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        raw = ((content[:, None] >> shifts) & (2**bits - 1)).astype(np.int8).reshape(-1)
        return np.where(raw >= 2 ** (bits - 1), raw - 2**bits, raw).astype(np.int8)
    if dtype == "bfloat16":
        return (content.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return content.view(dtype)
