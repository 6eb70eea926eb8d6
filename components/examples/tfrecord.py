"""Reads TFRecord files.

Each record is its length (8 bytes), a checksum of that, the data, and a checksum of the data; numbers are little-endian
and checksums masked CRC-32C. See https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

from __future__ import annotations

import glob
import gzip
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

import google_crc32c

from tfx_edge.errors import DataError

Open = Callable[[str], BinaryIO]

_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d+)-of-(?P<total>\d+)(?P<end>(\.[^/]*)?)", re.DOTALL)


def shards(patterns: Sequence[str]) -> list[str]:
    """The files that match any of the glob patterns, in order of their names.

    Raises:
      DataError: of files named ``…-00000-of-00005`` some are not there.
    """
    found = sorted({path for pattern in patterns for path in glob.glob(pattern)})
    check_complete(found)
    return found


def check_complete(files: Iterable[str]) -> None:
    """Raises DataError when shards are missing that the names of others count."""
    counted: dict[tuple[str, int, str], set[int]] = {}
    for file in files:
        if named := _SHARD.fullmatch(file):
            counted.setdefault((named["stem"], int(named["total"]), named["end"]), set()).add(int(named["number"]))
    for (stem, total, end), numbers in counted.items():
        wrong = [number for number in range(min(total, max(numbers) + 2)) if number not in numbers]
        wrong = wrong or [number for number in sorted(numbers) if number >= total]
        if wrong:
            raise DataError(
                f"of {total} shards {stem}-*-of-{total:05d}{end} there are {len(numbers)}, and number {wrong[0]} is "
                f"{'one too many' if wrong[0] in numbers else 'missing'}: examples were lost; make the split again"
            )


def read_records(path: str, open_file: Open | None = None) -> Iterator[bytes]:
    """The records of one file, in order.

    Args:
      path: an uncompressed TFRecord file, or a gzip of one when its name ends in ``.gz``.
      open_file: opens a path, decompressing it where needed, such as Beam's ``FileSystems.open``.

    Raises:
      DataError: the file ends within a record, or a checksum does not match.
    """
    with (open_file or _open)(path) as file:
        number = 0
        try:
            while header := file.read(12):
                length = _checked(header, 8)
                number += 1
                yield _checked(file.read(struct.unpack("<Q", length)[0] + 4), -4)
        except (EOFError, OSError, ValueError, struct.error, zlib.error) as error:
            raise DataError(f"{path} is damaged or no TFRecord file, at record {number}: {error}") from error


def _open(path: str) -> BinaryIO:
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _checked(data: bytes, end: int) -> bytes:
    """The part of ``data`` before ``end``, after which its checksum stands."""
    content = data[:end]
    crc = google_crc32c.value(content)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    if struct.unpack("<I", data[end:])[0] != masked:
        raise ValueError("a checksum does not match")
    return content
