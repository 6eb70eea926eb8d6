"""Sampling until it is known on which side of every limit the figures are, or until the time is over.

To look at the data again and again, and to stop once they please, makes errors likelier than the confidence of one look
says. So looks are few (each at 1.5 times as many samples as the last), and share the allowed error: by the time that a
part of the budget has passed, that part of it may have been spent, the rest at the last look. This is an alpha-spending
function (Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 1983; the linear one of Kim
and DeMets, 1987), with the looks' errors just added up, which needs no assumption on how looks depend on each other. So
the chance that a figure is ever put on the wrong side of a limit stays within ``1 - confidence``.

Several limits need no further correction: a model passes only when it keeps to each of them, so it passes wrongly no
more often than it passes the one that it breaks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tfx_edge.gate.estimate import Estimate, Outcome

Sample = TypeVar("Sample")
Estimates = Mapping[str, "Estimate | None"]

GROWTH = 1.5
# A look so late in the budget would leave hardly any samples, and little of the error, to the last one.
LAST_EARLY_LOOK = 0.8


@dataclass(frozen=True)
class Limit:
    """A bound on one figure.

    Attributes:
      metric: the figure's name.
      kind: ``"min"``: at least ``value``; ``"max"``, ``"max_drop"`` (baseline - candidate) or ``"max_ratio"``
        (candidate / baseline): at most.
      value: the limit.
    """

    metric: str
    kind: str
    value: float

    def outcome(self, estimate: Estimate) -> Outcome:
        """``"pass"`` or ``"fail"`` when both bounds of the estimate are on that side of the limit."""
        return estimate.outcome(self.value, at_least=self.kind == "min")


@dataclass(frozen=True)
class Shortfall:
    """What it would about have taken to decide a limit that stayed open.

    Attributes:
      limit: the limit.
      samples: how many more; None for a figure at the limit itself, which no number of samples can tell from it.
      seconds: what they would have taken.
    """

    limit: Limit
    samples: int | None
    seconds: float | None

    def __str__(self) -> str:
        if self.samples is None:
            return "no number of processes could tell it from the limit"
        return f"about {self.samples} more processes ({self.seconds:.0f} s) would tell it from the limit"


@dataclass(frozen=True)
class Sampled(Generic[Sample]):
    """What sampling gave.

    Attributes:
      samples: all of them, in order.
      estimates: the figures. One with limits is that of the look at which they were decided, else of the last look.
      seconds: what it took.
      shortfalls: one for each limit that stayed open.
    """

    samples: tuple[Sample, ...]
    estimates: dict[str, Estimate]
    seconds: float
    shortfalls: tuple[Shortfall, ...]


def sample(
    take: Callable[[], Sample],
    estimate: Callable[[Sequence[Sample], float], Estimates],
    limits: Sequence[Limit],
    *,
    budget_s: float,
    confidence: float,
    at_least: int,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[str], None] = lambda line: None,
) -> Sampled[Sample]:
    """Takes samples until every limit is decided or the next one would not fit the budget.

    Args:
      take: takes one sample; they are independent of each other.
      estimate: makes the figures, by metric, from all samples so far, with a confidence for each bound. A figure that
        is None is one that more samples would not give either.
      limits: on figures that ``estimate`` gives.
      budget_s: seconds for all samples.
      confidence: that no limit is ever decided wrongly, however many looks it takes.
      at_least: the first look is at so many samples, which are taken whatever the budget.
      clock: seconds that only grow.
      progress: takes a line for people at each look, unless there are no limits to tell of.
    """
    begin = clock()
    samples: list[Sample] = []
    decided: dict[str, Estimate] = {}
    next_look, longest, spent = at_least, 0.0, 0.0
    while True:
        start = clock()
        samples.append(take())
        longest = max(longest, clock() - start)
        elapsed = clock() - begin
        last = len(samples) >= at_least and (elapsed >= budget_s or elapsed + longest > budget_s)
        if not last and (len(samples) < next_look or elapsed > LAST_EARLY_LOOK * budget_s):
            continue
        passed = 1.0 if last else elapsed / budget_s
        found = estimate(samples, 1 - (1 - confidence) * (passed - spent))
        known = {metric: value for metric, value in found.items() if value is not None} | decided
        undecided = {limit.metric for limit in limits if _is_undecided(limit, known)}
        decided = {limit.metric: known[limit.metric] for limit in limits if limit.metric in known.keys() - undecided}
        if limits:
            progress(f"{len(samples)} processes, {elapsed:.1f} s: {_line(limits, known)}")
        if last or not undecided:
            missing = [_shortfall(limit, known[limit.metric], elapsed) for limit in limits if limit.metric in undecided]
            return Sampled(tuple(samples), known, elapsed, tuple(missing))
        spent, next_look = passed, math.ceil(GROWTH * len(samples))


def _is_undecided(limit: Limit, known: Mapping[str, Estimate]) -> bool:
    return limit.metric in known and limit.outcome(known[limit.metric]) == "inconclusive"


def _shortfall(limit: Limit, estimate: Estimate, seconds: float) -> Shortfall:
    wanted = estimate.samples_to_tell_from(limit.value)
    if wanted is None:
        return Shortfall(limit, None, None)
    more = max(1, wanted - estimate.samples)
    return Shortfall(limit, more, more * seconds / estimate.samples)


def _line(limits: Sequence[Limit], known: Mapping[str, Estimate]) -> str:
    parts = []
    for metric in dict.fromkeys(limit.metric for limit in limits):
        figure = known.get(metric)
        shown = "unknown" if figure is None else f"{figure.value:.4g} ({figure.low:.4g} to {figure.high:.4g})"
        parts.append(f"{metric} {shown}")
    return "; ".join(parts)
