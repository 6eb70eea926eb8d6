"""Where metadata lie in a ``.tflite``: a named buffer of the model, and a zip archive after it for associated files.

The model that is there stays byte for byte as it is, and so do signatures and everything that a newer schema may know:
a new root and new lists of buffers and metadata entries are put before it, whose offsets lead into it. (Offsets of a
flatbuffer lead forward only, so nothing can be put behind.) Readers take files from the archive as they lie in memory,
so it is not compressed.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfx_edge.errors import ModelError
from tfx_edge.lite.flatbuffer import IDENTIFIER, parse

NAME = "TFLITE_METADATA"

_BUFFERS, _METADATA, _SLOTS = 4, 6, 8  # ids of fields of the table Model in TFLite's schema.fbs
_ALIGNMENT = 64  # what is put before the model is a multiple of this, so that its tensors stay aligned
_OFFSET_SLOTS = {"buffer": 1, "operator": 9}  # Buffer.offset, Operator.large_custom_options_offset
_FIRST_OUTSIDE_OFFSET = 2
_YEAR_ZERO = (1980, 1, 1, 0, 0, 0)


def store(content: bytes, metadata: bytes, files: Mapping[str, bytes]) -> bytes:
    """The model with these metadata and associated files, in place of those that it had.

    Args:
      content: a ``.tflite``.
      metadata: the flatbuffer of the metadata.
      files: content of the associated files by name.

    Raises:
      ModelError: the content is no whole TFLite model.
    """
    parse(content)
    body = content[: _end_of_model(content)]
    head = _Head(body, metadata)
    result = io.BytesIO(head.content + head.moved_body())
    if files:
        with zipfile.ZipFile(result, "a", zipfile.ZIP_STORED) as archive:
            for name, data in files.items():
                entry = zipfile.ZipInfo(name, _YEAR_ZERO)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                archive.writestr(entry, data)
    return result.getvalue()


def stored(content: bytes) -> bytes | None:
    """The flatbuffer of the metadata, or None."""
    raw = parse(content)
    model = schema.Model.GetRootAs(content, 0)
    for number, name in enumerate(raw.metadata):
        if name == NAME:
            index = model.Metadata(number).Buffer()
            if index >= len(raw.buffers):
                raise ModelError(f"a damaged TFLite model: its metadata are in buffer {index} of {len(raw.buffers)}")
            return raw.buffers[index].tobytes()
    return None


def associated_files(content: bytes) -> dict[str, bytes]:
    """Content of the associated files by name.

    Raises:
      ModelError: the archive is damaged.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 1000 * len(content):
                raise ModelError("the associated files of the model are larger than any archive of its size can hold")
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"the associated files of the model cannot be read: {error}") from error


def _end_of_model(content: bytes) -> int:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return len(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return min((entry.header_offset for entry in archive.infolist()), default=archive.start_dir)


class _Head:
    """A root with its lists, and the metadata: what is put before the model."""

    def __init__(self, body: bytes, metadata: bytes) -> None:
        self._body = body
        self._model = schema.Model.GetRootAs(body, 0)
        entries, index, buffers = self._entries()
        slots = max(_SLOTS, (self._read("<H", self._layout) - 4) // 2)
        layout, root = 8, _aligned(8 + 4 + 2 * slots, 4)
        lists = root + 4 + 4 * slots
        entry_list = lists + 4 + 4 * len(buffers)
        entry = entry_list + 4 + 4 * (len(entries) + 1)
        buffer = entry + 12 + 8 + _aligned(4 + len(NAME) + 1, 4)
        data = _aligned(buffer + 8 + 8 + 4, 16)
        self._size = _aligned(data + len(metadata), _ALIGNMENT)
        self._out = bytearray(self._size)
        self._write("<I4s", 0, root, IDENTIFIER)
        self._write(f"<HH{slots}H", layout, 4 + 2 * slots, 4 + 4 * slots, *self._places(slots))
        self._write("<i", root, root - layout)
        for slot in range(slots):
            self._copy_field(slot, root + 4 + 4 * slot)
        self._write("<I", root + 4 + 4 * _BUFFERS, lists - (root + 4 + 4 * _BUFFERS))
        self._write("<I", root + 4 + 4 * _METADATA, entry_list - (root + 4 + 4 * _METADATA))
        targets = [self._size + target for target in buffers]
        targets[index] = buffer + 8
        self._vector(lists, targets)
        self._vector(entry_list, [*(self._size + target for target in entries), entry + 8])
        text = entry + 20
        self._write("<HHHH", entry, 8, 12, 4, 8)  # where the name and the index of the buffer are in the entry
        self._write("<iII", entry + 8, 8, text - (entry + 12), index)
        self._write(f"<I{len(NAME)}s", text, len(NAME), NAME.encode())
        self._write("<HHH", buffer, 6, 8, 4)
        self._write("<iI", buffer + 8, 8, data - 4 - (buffer + 12))
        self._write(f"<I{len(metadata)}s", data - 4, len(metadata), metadata)

    @property
    def content(self) -> bytes:
        return bytes(self._out)

    def moved_body(self) -> bytes:
        """The model itself, with positions counted from the start of the file moved on."""
        moved = bytearray(self._body)
        graphs = [self._model.Subgraphs(number) for number in range(self._model.SubgraphsLength())]
        operators = [graph.Operators(number) for graph in graphs for number in range(graph.OperatorsLength())]
        buffers = [self._model.Buffers(number) for number in range(self._model.BuffersLength())]
        tables = [("operator", table) for table in operators] + [("buffer", table) for table in buffers]
        for kind, table in tables:
            inside = table._tab.Offset(4 + 2 * _OFFSET_SLOTS[kind])
            if inside:
                position = table._tab.Pos + inside
                (offset,) = struct.unpack_from("<Q", moved, position)
                if offset >= _FIRST_OUTSIDE_OFFSET:
                    struct.pack_into("<Q", moved, position, offset + self._size)
        return bytes(moved)

    @property
    def _layout(self) -> int:
        root = self._model._tab.Pos
        return root - self._read("<i", root)

    def _entries(self) -> tuple[list[int], int, list[int]]:
        """Positions of the metadata entries that stay, the index of the buffer to use, positions of all buffers."""
        buffers = [self._model.Buffers(number)._tab.Pos for number in range(self._model.BuffersLength())]
        found = [self._model.Metadata(number) for number in range(self._model.MetadataLength())]
        replaced = [entry.Buffer() for entry in found if entry.Name() == NAME.encode()]
        kept = [entry._tab.Pos for entry in found if entry.Name() != NAME.encode()]
        if replaced and replaced[0] < len(buffers):
            return kept, replaced[0], buffers
        return kept, len(buffers), [*buffers, 0]

    def _places(self, slots: int) -> list[int]:
        there = [self._inside(slot) or slot in (_BUFFERS, _METADATA) for slot in range(slots)]
        return [4 + 4 * slot if present else 0 for slot, present in enumerate(there)]

    def _inside(self, slot: int) -> int:
        return self._model._tab.Offset(4 + 2 * slot)

    def _copy_field(self, slot: int, position: int) -> None:
        inside = self._inside(slot)
        if not inside:
            return
        old = self._model._tab.Pos + inside
        value = self._read("<I", old)
        self._write("<I", position, value if slot == 0 else self._size + old + value - position)

    def _vector(self, position: int, targets: list[int]) -> None:
        self._write("<I", position, len(targets))
        for number, target in enumerate(targets):
            place = position + 4 + 4 * number
            self._write("<I", place, target - place)

    def _read(self, form: str, position: int) -> Any:
        return struct.unpack_from(form, self._body, position)[0]

    def _write(self, form: str, position: int, *values: Any) -> None:
        struct.pack_into(form, self._out, position, *values)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
