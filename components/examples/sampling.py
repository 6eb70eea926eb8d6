"""Draws examples of a split at random and evenly over its classes: in one pass, and in memory for those alone.

Every example gets a random number, and by these its rank in its class. The sample is the examples of the lowest ranks:
all the first of each class, then the second ones, and so on, until there are enough. So rare classes give all they
have, and the others share the rest. While examples pass, the rank of each only rises, and what once is out stays out
(reservoir sampling by sorting on random keys, Efraimidis and Spirakis 2006, within each class).
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tfx_edge.errors import DataError

Batch = tuple[Mapping[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Sample:
    """Examples of a split, in an order that goes round the classes.

    Attributes:
      examples: feature name to value, whose first dimension is 1.
      labels: of each, as it was in the batch, with a first dimension of 1; empty where the split has no labels.
      total: examples in the split.
      seen: how many examples of each class the split has; empty where labels are not single integers.
      taken: how many of each class are in the sample.
    """

    examples: list[dict[str, np.ndarray]]
    labels: list[np.ndarray]
    total: int
    seen: dict[int, int] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)

    def first(self, count: int) -> Sample:
        """A sample of the first examples alone, which are evenly spread over the classes too."""
        labels = self.labels[:count]
        taken = collections.Counter(int(label.item()) for label in labels) if self.taken else {}
        return Sample(self.examples[:count], labels, self.total, self.seen, dict(sorted(taken.items())))


class _Drawn(NamedTuple):
    key: float
    kind: int
    features: dict[str, np.ndarray]
    label: np.ndarray


def draw(batches: Iterable[Batch], count: int, seed: int) -> Sample:
    """Draws examples, evenly over the classes where labels are single integers and uniformly otherwise.

    The result depends on the seed and the order of the examples, and not on how they are batched.

    Args:
      batches: features and labels; the labels of a batch may be empty.
      count: how many to draw; all where there are fewer.
      seed: of the random numbers.

    Raises:
      DataError: there are no examples, or the features of a batch differ in their number of examples.
    """
    rng = np.random.default_rng(seed)
    seen: collections.Counter[int] = collections.Counter()
    bars: dict[int, float] = {}
    kept: list[_Drawn] = []
    total, stratified = 0, True
    for features, labels in batches:
        size = _length(features, labels)
        kinds = classes_of(labels, size)
        stratified = stratified and kinds is not None
        classes = kinds if kinds is not None else np.zeros(size, np.int64)
        total += size
        seen.update(classes.tolist())
        for row, (key, kind) in enumerate(zip(rng.random(size).tolist(), classes.tolist(), strict=True)):
            if key < bars.get(kind, np.inf):
                kept.append(_Drawn(key, kind, _row(features, row), np.array(labels[row : row + 1])))
        if len(kept) > 2 * count:
            kept = _best(kept, count, bars)
    if not total:
        raise DataError("no sample can be drawn of a split without examples")
    kept = _best(kept, count, bars)
    return Sample(
        [drawn.features for drawn in kept],
        [drawn.label for drawn in kept if drawn.label.size],
        total,
        dict(sorted(seen.items())) if stratified else {},
        dict(sorted(collections.Counter(drawn.kind for drawn in kept).items())) if stratified else {},
    )


def _best(drawn: list[_Drawn], count: int, bars: dict[int, float]) -> list[_Drawn]:
    """The examples of lowest rank; ``bars`` gets the key from which on those of a class are out."""
    ranked = sorted(_ranked(drawn), key=lambda item: (item[0], item[1].key))
    for _, out in reversed(ranked[count:]):
        bars[out.kind] = out.key
    return [best for _, best in ranked[:count]]


def _ranked(drawn: list[_Drawn]) -> Iterator[tuple[int, _Drawn]]:
    ranks: collections.Counter[int] = collections.Counter()
    for item in sorted(drawn, key=lambda item: item.key):
        yield ranks[item.kind], item
        ranks[item.kind] += 1


def _length(features: Mapping[str, np.ndarray], labels: np.ndarray) -> int:
    lengths = {name: len(values) for name, values in features.items()}
    if labels.size:
        lengths["the label"] = len(labels)
    if len(set(lengths.values())) != 1:
        raise DataError(f"the features of one batch must have the same length, but it is {lengths}")
    return next(iter(lengths.values()))


def classes_of(labels: np.ndarray, size: int) -> np.ndarray | None:
    """The class of each of ``size`` examples, or None where labels are not single integers."""
    return labels.reshape(-1).astype(np.int64) if labels.dtype.kind in "iub" and labels.size == size else None


def _row(features: Mapping[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    return {name: np.array(values[row : row + 1]) for name, values in features.items()}
