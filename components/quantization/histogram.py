"""Counts how often values occur, in memory that does not grow with their number.

A bin holds the floats that agree in sign, exponent and the first 7 bits of the mantissa, so that its width is at most
1/128 of the values in it. Bins of equal width would lose the bulk of a tensor in which one value is a thousand times
greater than the rest, which is where a histogram is needed. The bins never move: the order of the values makes no
difference, and two histograms add up exactly.
"""

from __future__ import annotations

import numpy as np

RELATIVE_WIDTH = 1 / 128
"""The width of a bin by the smallest magnitude in it, at most."""
_DROPPED_BITS = 16
_COARSE = 48
_MAGNITUDE = np.uint32(0x7FFFFFFF)


class Histogram:
    """How often float32 values occur.

    At most 0.5 MB; usually about 50 kB, since memory is taken for the magnitudes between the least and the greatest.

    Attributes:
      low: the least value; infinity when empty.
      high: the greatest value; minus infinity when empty.
      zeros: how many were 0, or nearer to it than 2**-132.
    """

    def __init__(self, values: np.ndarray | None = None):
        """Counts the values of an array of any shape; they must be finite.

        Args:
          values: of float32, or what converts to it; None makes an empty histogram.
        """
        self.low, self.high = np.inf, -np.inf
        self.zeros = 0
        self._first = 0
        self._counts = np.zeros((2, 0), np.int64)  # of positive, of negative values; by magnitude from the bin _first
        if values is not None and values.size:
            self.low, self.high = float(values.min()), float(values.max())
            self._count(np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32))

    def _count(self, patterns: np.ndarray) -> None:
        magnitudes = (patterns & _MAGNITUDE) >> _DROPPED_BITS
        nonzero = magnitudes > 0
        self.zeros = int(patterns.size - np.count_nonzero(nonzero))
        if self.zeros < patterns.size:
            magnitudes, negative = magnitudes[nonzero], patterns[nonzero] >> 31
            self._first = int(magnitudes.min())
            width = int(magnitudes.max()) - self._first + 1
            bins = magnitudes - np.uint32(self._first) + negative * np.uint32(width)
            self._counts = np.bincount(bins, minlength=2 * width).reshape(2, width)

    def __len__(self) -> int:
        return self.zeros + int(self._counts.sum())

    def merge(self, other: Histogram) -> None:
        """Adds the counts of another histogram."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.zeros += other.zeros
        if not other._counts.size:
            return
        if not self._counts.size:
            self._first, self._counts = other._first, other._counts.copy()
            return
        first = min(self._first, other._first)
        end = max(self._first + self._counts.shape[1], other._first + other._counts.shape[1])
        if (first, end) != (self._first, self._first + self._counts.shape[1]):
            wider = np.zeros((2, end - first), np.int64)
            wider[:, self._first - first :][:, : self._counts.shape[1]] = self._counts
            self._first, self._counts = first, wider
        self._counts[:, other._first - first :][:, : other._counts.shape[1]] += other._counts

    def central_range(self, percent: float) -> tuple[float, float]:
        """The least range that leaves as many values below it as above, and holds at least this share of them.

        Each end is off by less than the bin it is in, and never beyond the values that there are.

        Args:
          percent: share of the values, 0 to 100.
        """
        edges = self._edges()
        lower = np.concatenate([-edges[:0:-1], [0.0], edges[:-1]])
        upper = np.concatenate([-edges[-2::-1], [0.0], edges[1:]])
        reached = np.cumsum(np.concatenate([self._counts[1, ::-1], [self.zeros], self._counts[0]]))
        outside = (100 - percent) / 200 * (reached[-1] - 1)
        first = np.searchsorted(reached, np.floor(outside), side="right")
        last = np.searchsorted(reached, np.ceil(reached[-1] - 1 - outside), side="right")
        return max(float(lower[first]), self.low), min(float(upper[last]), self.high)

    def least_error_range(self, bits: int) -> tuple[float, float]:
        """The range, 0 included, that quantization to evenly spaced levels changes the values least by.

        That is the least sum of squares of what is clipped outside and of rounding inside: values of less than half a
        step become 0, and the errors of others are taken as evenly spread over a step. The best of a coarse grid of
        ends is improved one end at a time.

        Args:
          bits: the range is divided into ``2**bits - 1`` steps.
        """
        highs, above = self._clipping(0, max(self.high, 0.0))
        lows, below = self._clipping(1, max(-self.low, 0.0))

        def error(low: np.ndarray | int, high: np.ndarray | int) -> np.ndarray:
            return self._rounding((highs[high] + lows[low]) / (2**bits - 1)) + above[high] + below[low]

        every_low, every_high = np.arange(len(lows)), np.arange(len(highs))
        coarse = np.meshgrid(*(np.linspace(0, len(ends) - 1, _COARSE).astype(int) for ends in (lows, highs)))
        best = np.argmin(error(*coarse))
        low, high = (int(ends.flat[best]) for ends in coarse)
        before = None
        while before != (low, high):
            before = (low, high)
            high = int(np.argmin(error(low, every_high)))
            low = int(np.argmin(error(every_low, high)))
        return 0.0 - float(lows[low]), float(highs[high])

    def _rounding(self, steps: np.ndarray) -> np.ndarray:
        """The sum of squares of rounding errors, for each of some steps."""
        counts, edges = self._counts.sum(axis=0), self._edges()
        centres = (edges[1:] + edges[:-1]) / 2
        nulled = np.searchsorted(centres, steps / 2)
        number, squares = (np.append(0.0, np.cumsum(counts * centres**power)) for power in (0, 2))
        return squares[nulled] + (number[-1] - number[nulled]) * steps**2 / 12

    def _clipping(self, sign: int, extreme: float) -> tuple[np.ndarray, np.ndarray]:
        """Magnitudes to clip the values of one sign at, and the sum of squares that each would cut off."""
        counts, edges = self._counts[sign], self._edges()
        if not counts.any():
            return np.zeros(1), np.zeros(1)
        used = int(np.flatnonzero(counts)[-1]) + 1
        counts, ends = counts[:used], np.minimum(edges[1 : used + 1], extreme)
        centres = (edges[:used] + ends) / 2
        cut = [np.append(np.cumsum((counts * centres**power)[::-1])[::-1], 0.0) for power in range(3)]
        ends = np.append(0.0, ends)
        return ends, np.maximum(cut[2] - 2 * ends * cut[1] + ends**2 * cut[0], 0.0)

    def _edges(self) -> np.ndarray:
        """The ends of the bins of positive values, ascending, in float64."""
        numbers = np.arange(self._first, self._first + self._counts.shape[1] + 1, dtype=np.uint32)
        return (numbers << np.uint32(_DROPPED_BITS)).view(np.float32).astype(np.float64)
