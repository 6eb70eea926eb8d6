"""Which weights of a kernel stay when the smallest ones go: one by one, two of four, or in blocks.

Everything here is arithmetic on arrays. A weight that is zero already is the smallest there is, so zeros stay zeros as
a mask is drawn again for a higher share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KEPT_BY_EACH = 0.01
"""The least share of its units that a kernel keeps when all kernels are ranked together."""


@dataclass(frozen=True)
class Blocks:
    """A kernel as a matrix, a column for each output, cut into blocks; those at the edges may be smaller.

    Attributes:
      shape: of the kernel.
      size: rows and columns of a block.
    """

    shape: tuple[int, ...]
    size: tuple[int, int]

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns of the kernel as a matrix."""
        return math.prod(self.shape[:-1]), self.shape[-1]

    def reduced(self, values: np.ndarray) -> np.ndarray:
        """The mean of each block, as an array (rows of blocks, columns of blocks)."""
        return _sums(values.reshape(self.matrix), self.size) / _sums(np.ones(self.matrix), self.size)

    def expanded(self, blocks: np.ndarray) -> np.ndarray:
        """One value for each weight from one for each block."""
        rows, columns = self.matrix
        tall = np.repeat(np.repeat(blocks, self.size[0], axis=0), self.size[1], axis=1)
        return tall[:rows, :columns].reshape(self.shape)


def _sums(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    for axis, step in enumerate(size):
        matrix = np.add.reduceat(matrix, np.arange(0, matrix.shape[axis], step), axis=axis)
    return matrix


def smallest_go(scores: np.ndarray, share: float) -> np.ndarray:
    """True where a unit stays: all but the smallest ``share`` of them, and one at least.

    Args:
      scores: of any shape; ties go in order.
      share: of the units that go, in [0, 1).
    """
    go = min(round(share * scores.size), scores.size - 1)
    kept = np.ones(scores.size, bool)
    kept[np.argsort(scores, axis=None, kind="stable")[:go]] = False
    return kept.reshape(scores.shape)


def smallest_of_all_go(scores: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """The same for several kernels together: those with many small units lose more, but each keeps its largest 1 %.

    Args:
      scores: of each kernel.
      share: of the units of all kernels that go, in [0, 1); fewer do where each keeps its least.
    """
    ranked = [_with_the_largest_last(part) for part in scores]
    kept = smallest_go(np.concatenate([part.ravel() for part in ranked]), share)
    kept |= np.isinf(np.concatenate([part.ravel() for part in ranked]))
    ends = np.cumsum([part.size for part in scores])[:-1]
    return [part.reshape(score.shape) for part, score in zip(np.split(kept, ends), scores, strict=True)]


def _with_the_largest_last(scores: np.ndarray) -> np.ndarray:
    least = max(1, math.ceil(KEPT_BY_EACH * scores.size))
    ranked = scores.astype(np.float64)
    ranked.ravel()[np.argsort(scores, axis=None, kind="stable")[-least:]] = np.inf
    return ranked


def two_of_four(scores: np.ndarray, axis: int) -> np.ndarray:
    """True for the two largest of every four neighbours along an axis; what is left over at its end keeps two.

    Args:
      scores: of any shape.
      axis: its length need not be a multiple of four.
    """
    moved = np.moveaxis(scores, axis, -1)
    padded = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(0, -moved.shape[-1] % 4)], constant_values=-1.0)
    groups = padded.reshape(*padded.shape[:-1], -1, 4)
    kept = np.argsort(np.argsort(-groups, axis=-1, kind="stable"), axis=-1) < 2
    return np.moveaxis(kept.reshape(padded.shape)[..., : moved.shape[-1]], -1, axis)
