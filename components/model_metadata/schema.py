"""The flatbuffer of TFLite's model metadata, version 1.5.0 of its schema, from and to plain values.

Written after ``metadata_schema.fbs`` (identifier ``M001``) of tflite-support and MediaPipe, so that their readers and
Android's ``MetadataExtractor`` understand it. tflite-support has no package for Python 3.12 and later, and MediaPipe
brings a runtime of 128 MB.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import flatbuffers

from tfx_edge.errors import ModelError

IDENTIFIER = b"M001"
ROOT = "ModelMetadata"

_UNIONS = {
    "ContentProperties": ("FeatureProperties", "ImageProperties", "BoundingBoxProperties", "AudioProperties"),
    "ProcessUnitOptions": (
        "NormalizationOptions",
        "ScoreCalibrationOptions",
        "ScoreThresholdingOptions",
        "BertTokenizerOptions",
        "SentencePieceTokenizerOptions",
        "RegexTokenizerOptions",
    ),
}
_SCALARS = {"byte": "<b", "ubyte": "<B", "int": "<i", "uint": "<I", "float": "<f"}
_TABLES = {  # fields in the order of their ids; a union takes two ids, the first for its type
    "AssociatedFile": "name:string description:string type:byte locale:string version:string",
    "FeatureProperties": "",
    "ImageSize": "width:uint height:uint",
    "ImageProperties": "color_space:byte default_size:ImageSize",
    "AudioProperties": "sample_rate:uint channels:uint",
    "BoundingBoxProperties": "index:[uint] type:byte coordinate_type:byte",
    "ValueRange": "min:int max:int",
    "Content": "content_properties:ContentProperties range:ValueRange",
    "NormalizationOptions": "mean:[float] std:[float]",
    "ScoreCalibrationOptions": "score_transformation:byte default_score:float",
    "ScoreThresholdingOptions": "global_score_threshold:float",
    "BertTokenizerOptions": "vocab_file:[AssociatedFile]",
    "SentencePieceTokenizerOptions": "sentencePiece_model:[AssociatedFile] vocab_file:[AssociatedFile]",
    "RegexTokenizerOptions": "delim_regex_pattern:string vocab_file:[AssociatedFile]",
    "ProcessUnit": "options:ProcessUnitOptions",
    "Stats": "max:[float] min:[float]",
    "TensorGroup": "name:string tensor_names:[string]",
    "TensorMetadata": "name:string description:string dimension_names:[string] content:Content "
    "process_units:[ProcessUnit] stats:Stats associated_files:[AssociatedFile]",
    "CustomMetadata": "name:string data:[ubyte]",
    "SubGraphMetadata": "name:string description:string input_tensor_metadata:[TensorMetadata] "
    "output_tensor_metadata:[TensorMetadata] associated_files:[AssociatedFile] input_process_units:[ProcessUnit] "
    "output_process_units:[ProcessUnit] input_tensor_groups:[TensorGroup] output_tensor_groups:[TensorGroup] "
    "custom_metadata:[CustomMetadata]",
    ROOT: "name:string description:string version:string subgraph_metadata:[SubGraphMetadata] author:string "
    "license:string associated_files:[AssociatedFile] min_parser_version:string",
}
_ALIGNED = 16  # of CustomMetadata.data, as the schema demands


def encode(metadata: Mapping[str, Any]) -> bytes:
    """The flatbuffer of a ``ModelMetadata``.

    Args:
      metadata: fields by name: tables as dicts, vectors as lists, a union as a dict with the name of its member under
        ``type``. What is missing, None or empty is left out.
    """
    builder = flatbuffers.Builder()
    builder.Finish(_Writer(builder).table(ROOT, metadata), IDENTIFIER)
    return bytes(builder.Output())


def decode(content: bytes) -> dict[str, Any]:
    """The fields of a ``ModelMetadata``, as `encode` takes them.

    Raises:
      ModelError: the content is no such flatbuffer, or a damaged one.
    """
    if content[4:8] != IDENTIFIER:
        raise ModelError(f"the model's metadata begin with {content[4:8]!r} instead of {IDENTIFIER!r}: write them anew")
    try:
        return _Reader(content).root()
    except (struct.error, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"the model's metadata are damaged ({error}): write them anew") from error


def _fields(table: str) -> list[tuple[int, str, str]]:
    """Id, name and type of each field; of a union, the id of its value."""
    found, slot = [], 0
    for field in _TABLES[table].split():
        name, _, kind = field.partition(":")
        slot += kind in _UNIONS
        found.append((slot, name, kind))
        slot += 1
    return found


class _Writer:
    def __init__(self, builder: flatbuffers.Builder) -> None:
        self._builder = builder

    def table(self, kind: str, value: Mapping[str, Any]) -> int:
        builder = self._builder
        fields = [(slot, name, of) for slot, name, of in _fields(kind) if value.get(name) not in (None, "", [], ())]
        made = {name: self._offset(of, value[name]) for _, name, of in fields if of not in _SCALARS}
        builder.StartObject(_fields(kind)[-1][0] + 1 if _fields(kind) else 0)
        for slot, name, of in fields:
            if of in _SCALARS:
                add = {
                    "byte": builder.PrependInt8Slot,
                    "uint": builder.PrependUint32Slot,
                    "int": builder.PrependInt32Slot,
                }
                add.get(of, builder.PrependFloat32Slot)(slot, value[name], 0)
                continue
            if of in _UNIONS:
                builder.PrependUint8Slot(slot - 1, 1 + _UNIONS[of].index(value[name]["type"]), 0)
            builder.PrependUOffsetTRelativeSlot(slot, made[name], 0)
        return builder.EndObject()

    def _offset(self, kind: str, value: Any) -> int:
        if kind == "string":
            return self._builder.CreateString(value)
        if kind in _UNIONS:
            return self.table(value["type"], value)
        return self._vector(kind[1:-1], value) if kind.startswith("[") else self.table(kind, value)

    def _vector(self, kind: str, values: Any) -> int:
        if kind == "ubyte":
            self._builder.StartVector(1, len(values), _ALIGNED)
            add = self._builder.PrependByte
        elif kind in _SCALARS:
            self._builder.StartVector(4, len(values), 4)
            add = self._builder.PrependFloat32 if kind == "float" else self._builder.PrependUint32
        else:
            values = [self._offset(kind, value) for value in values]
            self._builder.StartVector(4, len(values), 4)
            add = self._builder.PrependUOffsetTRelative
        for value in reversed(values):
            add(value)
        return self._builder.EndVector()


class _Reader:
    """Reads what may be damaged: every position is checked, and the amount is bounded by the size."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._budget = 16 * len(content)

    def root(self) -> dict[str, Any]:
        return self._table(ROOT, self._follow(0))

    def _get(self, form: str, position: int) -> Any:
        self._budget -= 1
        if position < 0 or self._budget < 0:
            raise IndexError(f"position {position} of {len(self._content)}")
        return struct.unpack_from(form, self._content, position)[0]

    def _follow(self, position: int) -> int:
        return position + self._get("<I", position)

    def _table(self, kind: str, start: int) -> dict[str, Any]:
        layout = start - self._get("<i", start)
        size = self._get("<H", layout)

        def place(slot: int) -> int:
            inside = 4 + 2 * slot
            offset = self._get("<H", layout + inside) if inside < size else 0
            return start + offset if offset else 0

        found: dict[str, Any] = {}
        for slot, name, of in _fields(kind):
            if of in _UNIONS and place(slot):
                member = self._get("<B", place(slot - 1)) if place(slot - 1) else 0
                if 1 <= member <= len(_UNIONS[of]):
                    chosen = _UNIONS[of][member - 1]
                    found[name] = {"type": chosen, **self._table(chosen, self._follow(place(slot)))}
            elif place(slot):
                found[name] = self._value(of, place(slot))
        return found

    def _value(self, kind: str, position: int) -> Any:
        if kind in _SCALARS:
            return self._get(_SCALARS[kind], position)
        start = self._follow(position)
        if kind == "string":
            return self._bytes(start).decode()
        if kind == "[ubyte]":
            return list(self._bytes(start))
        if not kind.startswith("["):
            return self._table(kind, start)
        count = self._get("<I", start)
        self._budget -= count
        if self._budget < 0:
            raise IndexError(f"a vector of {count}")
        return [self._value(kind[1:-1], start + 4 + 4 * number) for number in range(count)]

    def _bytes(self, start: int) -> bytes:
        length = self._get("<I", start)
        self._budget -= length
        if self._budget < 0 or start + 4 + length > len(self._content):
            raise IndexError(f"a text of {length} bytes")
        return self._content[start + 4 : start + 4 + length]
