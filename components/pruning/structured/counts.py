"""What a model costs with some of its channels removed, counted without building it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.pruning.structured.channels import Track
from tfx_edge.pruning.structured.dependencies import Structure
from tfx_edge.pruning.structured.tracks import Term


class Counts:
    """A cost as a sum of products of lengths of tracks.

    Args:
      structure: of the model.
      terms: the cost.
    """

    def __init__(self, structure: Structure, terms: Iterable[Term]) -> None:
        self._structure = structure
        self._columns: dict[bytes, int] = {}
        self._tracks: list[np.ndarray] = []
        rows = [(term.factor, *self._factors(term)) for term in terms]
        self._rows = np.array(rows, np.int64).reshape(-1, 3)
        self.positions = np.array(self._tracks, np.int64).reshape(-1, structure.groups)
        """How often each group is in each track, of shape (tracks, groups)."""

    def lengths(self, removed: np.ndarray) -> np.ndarray:
        """The length of each track without the groups of given numbers; a 1 at the end."""
        kept = self.positions.sum(axis=1) - self.positions[:, removed].sum(axis=1)
        return np.append(kept, 1)

    def total(self, lengths: np.ndarray) -> int:
        """The cost."""
        factors, left, right = self._rows.T
        return int(factors @ (lengths[left] * lengths[right]))

    def without(self, removed: np.ndarray) -> int:
        """The cost without the groups of given numbers."""
        return self.total(self.lengths(removed))

    def _factors(self, term: Term) -> tuple[int, int]:
        columns = [self._column(track) for track in term.tracks]
        left, right, *_ = (*columns, -1, -1)
        return left, right

    def _column(self, track: Track) -> int:
        groups = self._structure.group_of[track]
        key = groups.tobytes()
        if key not in self._columns:
            self._columns[key] = len(self._tracks)
            self._tracks.append(np.bincount(groups, minlength=self._structure.groups))
        return self._columns[key]


def macs(structure: Structure) -> Counts:
    """Multiply-accumulates of one example, counted as `tfx_edge.lite.macs` does.

    Raises:
      ModelError: the size of an input is not known.
    """
    if structure.unsized:
        raise ModelError(
            f"the multiply-accumulates of {', '.join(structure.unsized)} depend on the size of the input, which the "
            "model leaves open: fix it in tf_keras.Input, or let `of` be 'parameters'"
        )
    return Counts(structure, structure.macs)


def parameters(model: tf_keras.Model, structure: Structure) -> Counts:
    """Numbers that the model holds; a weight that layers share counts once."""
    along: dict[tuple[str, int], dict[int, Track]] = {}
    for part in structure.slices:
        along.setdefault((part.layer, part.weight), {})[part.axis] = part.track
    terms, seen = [], set()
    for layer in model.layers:
        for index, weight in enumerate(layer.weights):
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            tracks = along.get((layer.name, index), {})
            rest = (size for axis, size in enumerate(weight.shape) if axis not in tracks)
            terms.append(Term(math.prod(rest), tuple(tracks.values())))
    return Counts(structure, terms)
