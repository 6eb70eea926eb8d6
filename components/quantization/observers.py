"""What is kept of a tensor's values while examples pass: enough for a range, whatever their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW = 1000
"""Values of which extremes are averaged, at least."""
SMOOTHING = 0.95
"""The weight of what was seen before against that of the next window, as in litert-quantizer."""


@dataclass
class Extremes:
    """The least and the greatest value."""

    low: float = np.inf
    high: float = -np.inf

    def merge(self, other: Extremes) -> None:
        """Takes the values of the other for its own."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def range(self) -> tuple[float, float]:
        """From the least to the greatest."""
        return self.low, self.high


class MovingAverage:
    """The extremes of windows of examples, averaged with more weight on later ones.

    A window is as many examples as it takes to hold 1,000 values: mostly one. Averaging the extremes of fewer values
    shrinks the range; of a single number, to a point. Values that do not fill a window count by their share of it.
    """

    def __init__(self, values: np.ndarray | None = None):
        self._average: tuple[float, float] | None = None
        self._window = Extremes()
        self._count = 0
        if values is not None:
            self._window = Extremes(float(values.min()), float(values.max()))
            self._count = values.size

    def merge(self, other: MovingAverage) -> None:
        """Adds the one example that the other was made of."""
        self._window.merge(other._window)
        self._count += other._count
        if self._count >= WINDOW:
            self._average = self.range()
            self._window, self._count = Extremes(), 0

    def range(self) -> tuple[float, float]:
        """The averaged extremes."""
        if self._average is None or not self._count:
            return self._average or self._window.range()
        old = 1 - (1 - SMOOTHING) * min(1.0, self._count / WINDOW)
        (low, high), new = self._average, self._window
        return old * low + (1 - old) * new.low, old * high + (1 - old) * new.high
