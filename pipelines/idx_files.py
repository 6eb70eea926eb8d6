"""Reads IDX files, the format of MNIST and its successors."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np

from tfx_edge.errors import DataError

_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"


def parse(content: bytes) -> np.ndarray:
    """Parses a file of unsigned bytes, gzipped or not.

    Returns:
      uint8, of the shape that the file declares.

    Raises:
      DataError: it is no IDX file, holds other numbers, or is cut short.
    """
    try:
        data = gzip.decompress(content) if content.startswith(_GZIP) else content
        zeros, kind, rank = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{rank}I", data, 4)
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"not a whole IDX file ({error}): get the file anew") from error
    values = data[4 + 4 * rank :]
    if zeros or kind != _UNSIGNED_BYTE or len(values) != math.prod(shape):
        raise DataError(
            f"not an IDX file of unsigned bytes: type {kind}, shape {shape}, {len(values):,} bytes; get the file anew"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)
