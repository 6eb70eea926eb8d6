"""What the audit of calibration data has to know of the eval split, gathered in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfx_edge.examples.sampling import Batch, classes_of

Range = tuple[float, float]


@dataclass
class FeatureValues:
    """The values of one feature.

    Attributes:
      count: how many were finite.
      outside: how many of these were outside the range they are held against.
      magnitude: the sum of their absolute values.
      low: the least.
      high: the greatest.
      not_finite: how many were NaN or infinite.
    """

    count: int = 0
    outside: int = 0
    magnitude: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    not_finite: int = 0

    def add(self, values: np.ndarray, within: Range = (-np.inf, np.inf)) -> None:
        """Adds values, held against a range."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            finite = values[np.isfinite(values)]
            self.not_finite += values.size - finite.size
            self.add(finite, within)
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += values.size
        self.magnitude += float((values if low >= 0 else np.abs(values)).sum(dtype=np.float64))
        if low < within[0] or high > within[1]:
            self.outside += int(np.count_nonzero((values < within[0]) | (values > within[1])))

    @property
    def mean_magnitude(self) -> float:
        """The mean of the absolute values."""
        return self.magnitude / self.count if self.count else 0.0


@dataclass
class EvalSplit:
    """The eval split, or its beginning.

    Attributes:
      examples: how many were read.
      values: those of each feature of float numbers that has a range.
      classes: the labels, where they are single integers.
      repeated: fingerprint of each watched example that occurs, to whether it does with the label it was watched with.
    """

    examples: int
    values: dict[str, FeatureValues]
    classes: set[int]
    repeated: dict[bytes, bool]


def fingerprints(features: Mapping[str, np.ndarray], names: Sequence[str]) -> list[bytes]:
    """For each example 16 bytes that are the same when all values of the named features are."""
    columns = [np.ascontiguousarray(features[name]) for name in names]
    examples = []
    for row in range(len(columns[0])):
        digest = hashlib.blake2b(digest_size=16)
        for column in columns:
            digest.update(repr(column[row].tolist()).encode() if column.dtype == object else column[row].data)
        examples.append(digest.digest())
    return examples


def checksums(features: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """For each example a number that is the same when all values of the named features are; far faster than those."""
    total = np.zeros(len(features[names[0]]), np.uint64)
    for name in names:
        column = np.ascontiguousarray(features[name])
        if column.dtype.kind in "biuf":
            patterns = column.reshape(len(column), -1).view(f"u{column.dtype.itemsize}")
            total = total * np.uint64(31) + patterns.sum(axis=1, dtype=np.uint64)
    return total


def read(
    batches: Iterable[Batch],
    ranges: Mapping[str, Range],
    names: Sequence[str],
    watched: Mapping[bytes, bytes],
    known: np.ndarray,
    limit: int,
) -> EvalSplit:
    """Reads the eval split once.

    Args:
      batches: features and labels.
      ranges: by feature of float numbers, what its values are held against.
      names: the features that make examples the same.
      watched: fingerprints to look for, each with the bytes of the label.
      known: the checksums of these.
      limit: examples to read at most, rounded up to a batch.
    """
    split = EvalSplit(0, {name: FeatureValues() for name in ranges}, set(), {})
    for features, labels in batches:
        if split.examples >= limit:
            break
        found = checksums(features, names)
        split.examples += len(found)
        for name, within in ranges.items():
            split.values[name].add(np.asarray(features[name]), within)
        classes = classes_of(labels, len(found))
        if classes is not None:
            split.classes.update(np.unique(classes).tolist())
        for row in np.flatnonzero(np.isin(found, known)):
            (fingerprint,) = fingerprints({name: features[name][row : row + 1] for name in names}, names)
            if fingerprint in watched:
                same = labels[row : row + 1].tobytes() == watched[fingerprint]
                split.repeated[fingerprint] = split.repeated.get(fingerprint, False) or same
    return split
