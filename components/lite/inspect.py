"""What is inside a ``.tflite``: how it computes, what it takes and gives, what it weighs. Needs no TensorFlow.

The answers come from the file itself and not from the recipe that made it, because converters and quantizers may leave
parts in float, or quantize nothing at all, without an error.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_edge.errors import ModelError
from tfx_edge.lite import compute, flatbuffer, weights
from tfx_edge.lite.compute import FloatIsland, OpGroup
from tfx_edge.lite.weights import WeightTensor

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the model.

    Attributes:
      name: its name in the signature, else the name of the tensor.
      tensor_name: the name of the tensor in the file.
      shape: the shape that memory is planned for.
      shape_signature: the same with -1 where a dimension may vary.
      dtype: "float32", "int8", …
      scale: real = scale * (stored - zero_point); None if it is not quantized as a whole.
      zero_point: None if it is not quantized as a whole.
    """

    name: str
    tensor_name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    @property
    def shape_text(self) -> str:
        """The shape for people, with ``?`` where a dimension may vary."""
        return " x ".join("?" if size < 0 else str(size) for size in self.shape_signature) if self.shape else "scalar"


@dataclass(frozen=True)
class Signature:
    """A named entry point; inputs and outputs are in the order in which the signature lists them."""

    name: str
    subgraph: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class Subgraph:
    """The operators of one subgraph, grouped."""

    name: str
    ops: tuple[OpGroup, ...]


@dataclass(frozen=True)
class LiteModel:
    """An inspected ``.tflite``.

    Attributes:
      path: the file that was read.
      sha256: hex digest of the file.
      size_bytes: bytes of the file.
      gzip_bytes: its bytes after gzip at level 9: what a download costs, and where pruning shows.
      schema_version: version of the TFLite schema, 3 today.
      description: free text by the converter.
      precision: one label, as ``compute.precision`` explains.
      inputs: inputs of the first subgraph, in the order of an interpreter's input details.
      outputs: outputs of the first subgraph, likewise.
      signatures: the entry points.
      subgraphs: their operators.
      float_ops: operators that compute in float (``compute.op_kind``), of all subgraphs.
      hybrid_ops: operators with float activations and quantized weights.
      float_islands: float operators inside a model that is integer elsewhere.
      flex_ops: operators that need TensorFlow's kernels.
      custom_ops: other custom operators.
      weight_bytes_by_dtype: bytes of all constants, biases and shapes included.
      weights: the weight tensors (``weights.weight_tensors`` has the rule).
      metadata: names of the metadata entries.
    """

    path: str
    sha256: str
    size_bytes: int
    gzip_bytes: int
    schema_version: int
    description: str
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    signatures: tuple[Signature, ...]
    subgraphs: tuple[Subgraph, ...]
    float_ops: tuple[OpGroup, ...]
    hybrid_ops: tuple[OpGroup, ...]
    float_islands: tuple[FloatIsland, ...]
    flex_ops: tuple[OpGroup, ...]
    custom_ops: tuple[OpGroup, ...]
    weight_bytes_by_dtype: Mapping[str, int]
    weights: tuple[WeightTensor, ...]
    metadata: tuple[str, ...]

    @property
    def quantized_weights(self) -> tuple[WeightTensor, ...]:
        """The weight tensors that are stored as quantized integers."""
        return tuple(weight for weight in self.weights if weight.quantized)

    @property
    def float_weights(self) -> tuple[WeightTensor, ...]:
        """The weight tensors that are stored in a float type."""
        return tuple(weight for weight in self.weights if not weight.quantized)

    @property
    def sparsity(self) -> float:
        """Share of all weights that are exactly zero, 0 to 1; 0 without weights."""
        elements = sum(weight.elements for weight in self.weights)
        return sum(weight.zeros for weight in self.weights) / elements if elements else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything above as values that JSON can carry."""
        fields = dataclasses.asdict(self)
        for entry, weight in zip(fields["weights"], self.weights, strict=True):
            entry["sparsity"] = weight.sparsity
        return {**fields, "sparsity": self.sparsity}


def inspect(path: str | Path) -> LiteModel:
    """Reads a ``.tflite`` file.

    Raises:
      ModelError: the file is missing, empty, truncated, damaged or no TFLite model.
    """
    content = _content(Path(path))
    try:
        return _inspect(str(path), content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}; give a whole .tflite file") from error.__cause__


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise ModelError(
            f"{path} is a folder; give the .tflite file itself (in a Model artifact: Format-Serving/tflite)"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); give an existing .tflite file") from error


def _inspect(path: str, content: bytes) -> LiteModel:
    raw = flatbuffer.parse(content)
    weight_tensors = weights.weight_tensors(raw)
    ops = compute.group_ops(raw.subgraphs)
    return LiteModel(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        gzip_bytes=_gzip_bytes(content),
        schema_version=raw.version,
        description=raw.description,
        precision=compute.precision(raw, weight_tensors),
        inputs=_edge(raw, 0, raw.subgraphs[0].inputs, "inputs"),
        outputs=_edge(raw, 0, raw.subgraphs[0].outputs, "outputs"),
        signatures=tuple(
            Signature(item.name, item.subgraph, _named(raw, item, "inputs"), _named(raw, item, "outputs"))
            for item in raw.signatures
        ),
        subgraphs=tuple(Subgraph(graph.name, compute.group_ops([graph])) for graph in raw.subgraphs),
        float_ops=tuple(op for op in ops if op.kind == compute.FLOAT),
        hybrid_ops=tuple(op for op in ops if op.kind == compute.HYBRID),
        float_islands=compute.float_islands(raw),
        flex_ops=tuple(op for op in ops if op.custom and op.name.startswith("Flex")),
        custom_ops=tuple(op for op in ops if op.custom and not op.name.startswith("Flex")),
        weight_bytes_by_dtype=weights.constant_bytes(raw),
        weights=weight_tensors,
        metadata=raw.metadata,
    )


def _edge(raw: flatbuffer.RawModel, subgraph: int, indices: Iterable[int], side: str) -> tuple[TensorInfo, ...]:
    names: dict[int, str] = {}
    for signature in raw.signatures:
        if signature.subgraph == subgraph:
            for name, index in getattr(signature, side):
                names.setdefault(index, name)
    tensors = raw.subgraphs[subgraph].tensors
    return tuple(_tensor_info(tensors[index], names.get(index, tensors[index].name)) for index in indices)


def _named(raw: flatbuffer.RawModel, signature: flatbuffer.RawSignature, side: str) -> tuple[TensorInfo, ...]:
    tensors = raw.subgraphs[signature.subgraph].tensors
    return tuple(_tensor_info(tensors[index], name) for name, index in getattr(signature, side))


def _tensor_info(tensor: flatbuffer.RawTensor, name: str) -> TensorInfo:
    scale = zero_point = None
    if tensor.scales.size == 1:
        scale = float(tensor.scales[0])
        zero_point = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
        if not math.isfinite(scale):
            raise ModelError(f"a damaged TFLite model: {name!r} has a quantization scale of {scale}")
    return TensorInfo(name, tensor.name, tensor.shape, tensor.shape_signature, tensor.dtype, scale, zero_point)


def _gzip_bytes(content: bytes) -> int:
    compressor = zlib.compressobj(9, zlib.DEFLATED, _GZIP_WINDOW)
    view = memoryview(content)
    chunk = 1 << 20
    size = sum(len(compressor.compress(view[start : start + chunk])) for start in range(0, len(view), chunk))
    return size + len(compressor.flush())
