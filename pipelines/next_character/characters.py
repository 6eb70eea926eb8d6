"""Characters as numbers: what the device does with what was typed before it asks the model for the next one."""

from __future__ import annotations

import unicodedata

import numpy as np

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz0123456789.,'\"-?!:;()&$/"
"""The id of a character is its place. The first one stands before the text and after it."""
CONTEXT = 16
"""Characters that the model sees. A model of this size trained on this much text does worse with more of them."""

_ALIKE = str.maketrans({"’": "'", "‘": "'", "`": "'", "–": "-", "—": "-", "[": "(", "]": ")"})
_IDS = {character: number for number, character in enumerate(ALPHABET)}


def clean(text: str) -> str:
    """The text in characters of ``ALPHABET``: small letters without accents, single spaces, no other characters."""
    folded = unicodedata.normalize("NFKD", text).lower().translate(_ALIKE)
    known = "".join(character for character in folded if character in _IDS or character.isspace())
    return " ".join(known.split()).replace("''", '"')


def ids(text: str) -> np.ndarray:
    """The ids of a clean text's characters and of its end, int64 of shape (characters + 1,)."""
    return np.array([_IDS[character] for character in f"{text}{ALPHABET[0]}"], np.int64)


def context(numbers: np.ndarray, position: int) -> np.ndarray:
    """The ids that come before a position, zeros where that is before the text, of shape (``CONTEXT``,)."""
    before = numbers[max(0, position - CONTEXT) : position]
    return np.pad(before, (CONTEXT - len(before), 0))
