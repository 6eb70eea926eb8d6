"""Axes of plots: where a value lies, and which round values are marked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 5)
_LOG_RATIOS = (4.0, 1e9)


@dataclass(frozen=True)
class Axis:
    """A stretch of values drawn from ``start`` to ``end``, in percent or pixels.

    Attributes:
      low: the value drawn at ``start``.
      high: the value drawn at ``end``.
      start: where the axis starts.
      end: where it ends; less than ``start`` for an axis that grows upwards.
      log: whether equal distances are equal ratios.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(
        cls, values: Iterable[float], start: float, end: float, *, may_be_log: bool = False, margin: float = 0.06
    ) -> Axis:
        """An axis that holds all finite values with a margin; logarithmic when they span much and it may be."""
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        log = may_be_log and low > 0 and _LOG_RATIOS[0] <= high / low <= _LOG_RATIOS[1]
        if log:
            room = (high / low) ** margin
            return cls(low / room, high * room, start, end, log)
        room = (high - low) * margin or abs(high) * 0.1 or 1.0
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """Where a value is drawn; values beyond the axis are drawn at its end."""
        low, high, inner = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, inner = math.log(low), math.log(high), math.log(inner)
        return round(self.start + (inner - low) / (high - low) * (self.end - self.start), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values, about ``most`` of them and never more than one above."""
        return self._log_ticks(most) if self.log else self._linear_ticks(most)

    def _linear_ticks(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(each * power for each in (*_STEPS, 10) if each * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in (_STEPS, (1, 3), (1,)):
            ticks = [step * 10.0**decade for decade in decades for step in steps]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) <= most:
                return inside
        return inside[:: math.ceil(len(inside) / most)]
