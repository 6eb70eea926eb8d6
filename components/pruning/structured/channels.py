"""Which channels of which tensors are the same one, so that they can only be removed together.

A *channel* is one output of the layer that makes it: a filter, a unit. The positions along the last dimension of a
tensor are channels, each maybe many times (``Flatten`` repeats them for every pixel), so a tensor is described by a
*track*: an array of as many channel numbers as that dimension is long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

Track: TypeAlias = np.ndarray
"""Channel numbers along the last dimension of a tensor, of shape (length,)."""


class Channels:
    """All channels of a model: who makes them, which are tied, and which must stay.

    Attributes:
      makers: for each channel the name of the layer that makes it.
    """

    def __init__(self) -> None:
        self.makers: list[str] = []
        self._parents: list[int] = []
        self._pins: list[tuple[np.ndarray, str]] = []

    def make(self, layer: str, number: int) -> Track:
        """New channels of a layer."""
        first = len(self.makers)
        self.makers.extend([layer] * number)
        self._parents.extend(range(first, first + number))
        return np.arange(first, first + number)

    def tie(self, tracks: Sequence[Track]) -> Track:
        """Ties tracks of the same length position by position; returns the first."""
        first, *others = tracks
        for other in others:
            for left, right in zip(first.tolist(), other.tolist(), strict=True):
                self._parents[self._root(left)] = self._root(right)
        return first

    def pin(self, track: Track, why: str) -> None:
        """Makes channels stay, and all that are tied to them now or later."""
        self._pins.append((track, why))

    def roots(self) -> np.ndarray:
        """For each channel the number that stands for it and all that are tied to it."""
        return np.array([self._root(channel) for channel in range(len(self._parents))], np.int64)

    def pinned(self) -> dict[int, str]:
        """Why channels stay, by the number that stands for them; the first reason of each."""
        found: dict[int, str] = {}
        for track, why in self._pins:
            for channel in track.tolist():
                found.setdefault(self._root(channel), why)
        return found

    def _root(self, channel: int) -> int:
        parents = self._parents
        while parents[channel] != channel:
            parents[channel] = channel = parents[parents[channel]]
        return channel
