"""Keeps the order of signatures through the converter, which sorts them by name.

The first signature becomes subgraph 0: what an interpreter, a microcontroller and every benchmark tool run when nobody
names a signature. So signatures are numbered before conversion, and lose their numbers in the file afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

_SIGNATURE_KEY, _SUBGRAPH_NAME, _TENSOR_NAME = 8, 12, 10  # offsets in the tables of TFLite's schema.fbs
_LENGTH_BYTES = 4


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Keys that sort in the order of the names: the names themselves where they do already."""
    if list(names) == sorted(names):
        return tuple(names)
    return tuple(f"s{number:02d}_{name}" for number, name in enumerate(names))


def restored(content: bytes, keys: Iterable[str], names: Iterable[str]) -> bytes:
    """Puts the names back in place of the numbered keys, also at the beginning of the names of subgraphs and tensors.

    A name is shorter than its key, so every string is changed where it lies, and nothing else moves.
    """
    renamed = {key: name for key, name in zip(keys, names, strict=True) if key != name}
    if not renamed:
        return content
    result = bytearray(content)
    for start, length in set(_strings(schema.Model.GetRootAs(content, 0))):
        text = content[start : start + length]
        for key, name in renamed.items():
            if text.startswith(key.encode()):
                shorter = name.encode() + text[len(key) :]
                result[start - _LENGTH_BYTES : start] = len(shorter).to_bytes(_LENGTH_BYTES, "little")
                result[start : start + length] = shorter.ljust(length, b"\0")
    return bytes(result)


def _strings(model: Any) -> Iterator[tuple[int, int]]:
    """Position and length of the names of all signatures, subgraphs and tensors."""
    for number in range(model.SignatureDefsLength()):
        yield _string(model.SignatureDefs(number), _SIGNATURE_KEY)
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        yield _string(graph, _SUBGRAPH_NAME)
        for index in range(graph.TensorsLength()):
            yield _string(graph.Tensors(index), _TENSOR_NAME)


def _string(table: Any, field: int) -> tuple[int, int]:
    offset = table._tab.Offset(field)
    if not offset:
        return 0, 0
    position = table._tab.Vector(offset)
    return position, table._tab.VectorLen(offset)
