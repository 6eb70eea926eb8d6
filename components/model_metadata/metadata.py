"""What a ``.tflite`` says of itself to apps: names, normalisation, labels, by TFLite's standard metadata.

MediaPipe Tasks, Android's ``MetadataExtractor`` and tflite-support read them. They tell an app what to do around the
model, which computes the same with and without.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.tensors import quantize
from tfx_edge.model_metadata import container, schema
from tfx_edge.model_metadata.settings import Metadata, TensorMetadata

_AXIS_LABELS, _VALUE_LABELS, _AXIS_SCORE_CALIBRATION = 2, 3, 4  # AssociatedFileType
_COLORS = {"rgb": 1, "grayscale": 2}
_TRANSFORMATIONS = {"identity": 0, "log": 1, "inverse_logistic": 2}
_OLDEST, _WITH_AUDIO = "1.0.0", "1.3.0"  # versions of the schema that a reader must know


def with_metadata(content: bytes, metadata: Metadata) -> bytes:
    """The model with metadata in place of those that it had; equal arguments give equal bytes.

    All inputs and outputs of the main graph are named in the metadata, whether they are described or not.

    Args:
      content: a ``.tflite``.
      metadata: what it is to say.

    Raises:
      ConfigError: there is no input or output of a name, the labels are not as many as the classes, or a file cannot be
        read.
      ModelError: the content is no TFLite model.
    """
    files: dict[str, bytes] = {}
    inputs, outputs = _ends(content)
    subgraph = {
        "input_tensor_metadata": _described("input", inputs, metadata.inputs, files),
        "output_tensor_metadata": _described("output", outputs, metadata.outputs, files),
    }
    own = [{"name": _added(files, Path(path).name, _read(path))} for path in metadata.files]
    sounds = any(tensor.audio for tensor in (*metadata.inputs.values(), *metadata.outputs.values()))
    document = {
        **metadata.model_dump(include={"name", "description", "version", "author", "license"}),
        "subgraph_metadata": [subgraph],
        "associated_files": own,
        "min_parser_version": _WITH_AUDIO if sounds else _OLDEST,
    }
    return container.store(content, schema.encode(document), files)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a file by the schema's names, and under ``packed_files`` the names of its associated files.

    Empty where the model has none.

    Raises:
      ModelError: the file cannot be read, or is damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); give an existing .tflite file") from error
    found = container.stored(content)
    if found is None:
        return {}
    return {**schema.decode(found), "packed_files": sorted(container.associated_files(content))}


def carry_metadata(source: bytes, target: bytes) -> bytes:
    """The target with the metadata and associated files of the source, of which it was made.

    Quantizers keep the metadata as they are, and lose the associated files. Metadata follow their tensors where these
    changed places. Extremes of a tensor that became integer are given in its integers; normalisation is the same for
    float and quantized models, as the schema says.

    Args:
      source: a ``.tflite``, with or without metadata.
      target: a ``.tflite`` with the same inputs and outputs.

    Raises:
      ModelError: one of both is no TFLite model, or inputs and outputs are not the same.
    """
    found = container.stored(source)
    if found is None:
        return target
    document = schema.decode(found)
    for subgraph in document.get("subgraph_metadata", ())[:1]:
        for side, before, after in zip(("input", "output"), _ends(source), _ends(target), strict=True):
            key = f"{side}_tensor_metadata"
            if key in subgraph:
                subgraph[key] = _carried(side, subgraph[key], before, after)
    files = container.associated_files(source)
    return container.store(target, schema.encode(document), files)


_Ends = dict[str, flatbuffer.RawTensor]


def _ends(content: bytes) -> tuple[_Ends, _Ends]:
    """Inputs and outputs of the main graph by the names of its signature, in the order of the graph."""
    model = flatbuffer.parse(content)
    graph = model.subgraphs[0]
    signature = next((item for item in model.signatures if item.subgraph == 0), None)

    def named(indices: tuple[int, ...], pairs: tuple[tuple[str, int], ...]) -> _Ends:
        names = {index: name for name, index in pairs}
        return {names.get(index, graph.tensors[index].name): graph.tensors[index] for index in indices}

    return (
        named(graph.inputs, signature.inputs if signature else ()),
        named(graph.outputs, signature.outputs if signature else ()),
    )


def _described(
    side: str, ends: _Ends, wanted: Mapping[str, TensorMetadata], files: dict[str, bytes]
) -> list[dict[str, Any]]:
    unknown = [name for name in wanted if name not in ends]
    if unknown:
        raise ConfigError(
            f"metadata: the model has no {side} {', '.join(map(repr, unknown))}: it has {', '.join(map(repr, ends))}"
        )
    return [_tensor(name, tensor, wanted.get(name, TensorMetadata()), files) for name, tensor in ends.items()]


def _tensor(name: str, tensor: flatbuffer.RawTensor, wanted: TensorMetadata, files: dict[str, bytes]) -> dict[str, Any]:
    units: list[dict[str, Any]] = []
    attached: list[dict[str, Any]] = []
    stem = "".join(character if character.isalnum() else "_" for character in name)
    if wanted.mean:
        units.append({"type": "NormalizationOptions", "mean": wanted.mean, "std": wanted.std})
    if wanted.score_threshold is not None:
        units.append({"type": "ScoreThresholdingOptions", "global_score_threshold": wanted.score_threshold})
    labels = _labels(name, tensor, wanted.labels)
    if labels:
        kind = _VALUE_LABELS if _is_index(tensor) else _AXIS_LABELS
        text = "".join(f"{label}\n" for label in labels).encode()
        attached.append({"name": _added(files, f"{stem}_labels.txt", text), "type": kind})
    if wanted.score_calibration:
        chosen = wanted.score_calibration
        transformation = _TRANSFORMATIONS[chosen.transformation]
        units.append(
            {
                "type": "ScoreCalibrationOptions",
                "score_transformation": transformation,
                "default_score": chosen.default,
            }
        )
        file = _added(files, f"{stem}_score_calibration.csv", _read(chosen.file))
        attached.append({"name": file, "type": _AXIS_SCORE_CALIBRATION})
    return {
        "name": name,
        "description": wanted.description,
        "content": {"content_properties": _content(wanted)},
        "process_units": [{"options": unit} for unit in units],
        "stats": _stored_stats({"min": list(wanted.min), "max": list(wanted.max)}, None, tensor),
        "associated_files": attached,
    }


def _content(wanted: TensorMetadata) -> dict[str, Any]:
    if wanted.image:
        return {"type": "ImageProperties", "color_space": _COLORS[wanted.image]}
    if wanted.audio:
        return {"type": "AudioProperties", **wanted.audio.model_dump()}
    return {"type": "FeatureProperties"}


def _labels(name: str, tensor: flatbuffer.RawTensor, given: tuple[str, ...] | str) -> list[str]:
    labels = _read(given).decode().splitlines() if isinstance(given, str) and given else list(given)
    classes = tensor.shape[-1] if tensor.shape else 1
    if labels and not _is_index(tensor) and len(labels) != classes:
        raise ConfigError(
            f"metadata: {name!r} has {classes} classes, but there are {len(labels)} labels: give one each"
        )
    return labels


def _is_index(tensor: flatbuffer.RawTensor) -> bool:
    return tensor.dtype not in flatbuffer.FLOAT_TYPES and not tensor.quantized


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"metadata: {path} cannot be read ({error.strerror or error}): give a file that is there"
        ) from error


def _added(files: dict[str, bytes], name: str, content: bytes) -> str:
    if files.get(name, content) != content:
        raise ConfigError(f"metadata: two files are called {name!r}: rename one, or the tensor it is named after")
    files[name] = content
    return name


def _carried(side: str, described: list[dict[str, Any]], before: _Ends, after: _Ends) -> list[dict[str, Any]]:
    if before.keys() != after.keys() or len(described) != len(before):
        raise ModelError(
            f"metadata of {len(described)} {side}s ({', '.join(before)}) cannot be carried to a model with "
            f"{', '.join(after)}: describe it anew"
        )
    by_name = dict(zip(before, described, strict=True))
    carried = []
    for name, tensor in after.items():
        stats = _stored_stats(by_name[name].get("stats") or {}, before[name], tensor)
        carried.append({**by_name[name], "stats": stats})
    return carried


def _stored_stats(
    stats: dict[str, Any], before: flatbuffer.RawTensor | None, after: flatbuffer.RawTensor
) -> dict[str, Any] | None:
    """Extremes as the tensor stores them: real numbers become integers where it became quantized."""
    was_real = before is None or before.scales.size != 1
    if was_real and after.scales.size == 1:
        scale, zero_point = float(after.scales[0]), int(after.zero_points[0]) if after.zero_points.size else 0
        stats = {
            end: [float(value) for value in quantize(values, after.dtype, scale, zero_point)]
            for end, values in stats.items()
            if values
        }
    return {end: values for end, values in stats.items() if values} or None
