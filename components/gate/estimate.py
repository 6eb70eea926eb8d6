"""A figure together with how well it is known."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Estimate:
    """A measured figure with one-sided confidence bounds.

    Attributes:
      value: the point estimate.
      low: the lower bound; the true figure is above it with the gate's confidence.
      high: the upper bound, likewise.
      samples: how many independent samples the bounds rest on.
      sample_unit: what was sampled: ``"processes"`` or ``"examples"``; empty for an exact figure.
    """

    value: float
    low: float
    high: float
    samples: int = 1
    sample_unit: str = ""

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """A figure that has no uncertainty, such as the size of a file."""
        return cls(value, value, value)

    @property
    def is_exact(self) -> bool:
        """Whether the figure has no uncertainty."""
        return not self.sample_unit

    def outcome(self, limit: float, *, at_least: bool = False) -> Outcome:
        """On which side of a limit both bounds are: ``"pass"`` at most (or at least) the limit, ``"fail"`` beyond it.

        A bound that equals the limit but for what float arithmetic adds (0.98 - 0.97 > 0.01) keeps to it.
        """
        best, worst = (self.high, self.low) if at_least else (self.low, self.high)
        if _keeps_to(worst, limit, at_least):
            return "pass"
        return "inconclusive" if _keeps_to(best, limit, at_least) else "fail"

    def samples_to_tell_from(self, limit: float) -> int | None:
        """About how many samples in all it takes until the bounds lie on one side of a limit.

        The width of an interval shrinks with the square root of the number of samples, and that of a share of 0 or 1
        with the number itself. None when the figure is at the limit, which no number of samples can tell apart.
        """
        gap = abs(self.value - limit)
        width = self.high - self.value if self.value <= limit else self.value - self.low
        if gap == 0 or not math.isfinite(width / gap):
            return None
        power = 1 if self.sample_unit == "examples" and self.value in (0.0, 1.0) else 2
        return math.ceil(self.samples * (width / gap) ** power)

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON types; a number that is not finite is None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def _keeps_to(value: float, limit: float, at_least: bool) -> bool:
    keeps = value >= limit if at_least else value <= limit
    return keeps or math.isclose(value, limit, rel_tol=1e-9, abs_tol=0.0 if limit else 1e-12)
