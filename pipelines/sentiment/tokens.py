"""Token ids: what the device computes from a text before it asks the model.

The model takes no text: TFLite's operators for strings are not on every device. There is no vocabulary that would have
to be shipped either. A token is hashed to its id, and tokens that collide share one, the hashing trick of K. Weinberger
et al., "Feature Hashing for Large Scale Multitask Learning" (ICML, 2009). This file states all that a device must do.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

LENGTH = 48
"""Tokens that the model takes. Of a longer text the rest is not read."""
IDS = 8192
"""How many ids there are: 0 where there is no token, 1 to ``IDS`` - 1 for tokens."""

_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[^\sa-z0-9]+")


def split(text: str) -> list[str]:
    """The tokens of a text in small letters: words, with what follows an apostrophe, and runs of other marks.

    So an emoticon such as ``:)`` is a token.
    """
    return _TOKEN.findall(text.lower())


def ids(text: str) -> np.ndarray:
    """The ids of the first tokens, int64 of shape (``LENGTH``,), with zeros after the last.

    The id of a token is 1 + CRC-32 (that of zlib) of its UTF-8 bytes modulo ``IDS`` - 1.
    """
    found = [1 + zlib.crc32(token.encode()) % (IDS - 1) for token in split(text)[:LENGTH]]
    return np.pad(np.array(found, np.int64), (0, LENGTH - len(found)))
