"""The gate's decision: every bound is checked, and a model is blessed only when each one is known to hold.

A check has three outcomes. It passes when the figure is on the right side of its limit with the gate's confidence,
fails when it is on the wrong side likewise, and is inconclusive in between, with what it would take to tell. The gate
fails closed: a figure that is missing, not finite or impossible, a baseline that is not there, an inconclusive check,
or any problem met on the way withholds the blessing, with a reason that a person can act on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tfx_edge.errors import ConfigError, ModelError, UserCodeError
from tfx_edge.gate.estimate import Estimate, Outcome
from tfx_edge.gate.metrics import METRICS, Metric
from tfx_edge.gate.thresholds import Bound

Slice = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What is known about a candidate.

    Attributes:
      candidate: its figures by metric name.
      baseline: the baseline's, or None without a baseline.
      relative: paired figures by metric name: candidate / baseline where lower is better, else baseline - candidate.
        Exact figures need none.
      problems: why a metric has no figure, by its name.
      shortfalls: what it would take to decide a limit that stayed open, by metric and kind.
    """

    candidate: Mapping[str, Estimate] = field(default_factory=dict)
    baseline: Mapping[str, Estimate] | None = None
    relative: Mapping[str, Estimate] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    shortfalls: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One rule, held against one figure.

    Attributes:
      metric: the metric's name, or the rule's of a contract.
      kind: ``"min"``, ``"max"``, ``"max_drop"``, ``"max_ratio"`` or ``"contract"``.
      outcome: ``"pass"``, ``"fail"`` or ``"inconclusive"``.
      reason: one sentence with the figures.
      value: what was compared with the limit (for ``max_drop`` the drop, for ``max_ratio`` the ratio), or None when
        there was nothing to compare.
      low: its lower confidence bound.
      high: its upper confidence bound.
      limit: the bound.
      slice: the values of the features that tell the slice apart, or None for all examples.
    """

    metric: str
    kind: str
    outcome: Outcome
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    slice: Slice | None = None

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON types; a bound that is not finite is left out."""
        found = asdict(self)
        for name in ("low", "high"):
            found[name] = found[name] if found[name] is not None and math.isfinite(found[name]) else None
        return found


@dataclass(frozen=True)
class Verdict:
    """Whether a model may pass, and why."""

    outcome: Outcome
    reason: str
    checks: tuple[Check, ...] = ()

    @property
    def blessed(self) -> bool:
        """Whether every check passed."""
        return self.outcome == "pass"

    @classmethod
    def of(cls, checks: Sequence[Check], problems: Iterable[str] = ()) -> Verdict:
        """Sums up checks; any problem withholds the blessing, and so does the absence of bounds that were checked."""
        bounded = any(check.kind != "contract" for check in checks)
        problems = [*problems] if bounded else [*problems, "no bound was checked"]
        failures = [check for check in checks if check.outcome == "fail"]
        open_ones = [check for check in checks if check.outcome == "inconclusive"]
        if problems or failures:
            reasons = dict.fromkeys([*problems, *(check.reason for check in (*failures, *open_ones))])
            return cls("fail", "; ".join(reasons), tuple(checks))
        if open_ones:
            return cls("inconclusive", "; ".join(dict.fromkeys(check.reason for check in open_ones)), tuple(checks))
        passes = "the only check" if len(checks) == 1 else f"all {len(checks)} checks"
        told = "; ".join(check.reason for check in checks if check.kind != "contract")
        return cls("pass", f"{passes} passed: {told}", tuple(checks))

    @property
    def binding(self) -> Check | None:
        """The check that decided: the first failure, else the first that stayed open."""
        for outcome in ("fail", "inconclusive"):
            found = next((check for check in self.checks if check.outcome == outcome), None)
            if found:
                return found
        return None

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON types."""
        return {
            "blessed": self.blessed,
            "outcome": self.outcome,
            "reason": self.reason,
            "checks": [check.to_dict() for check in self.checks],
        }


def interrupts(error: Exception) -> bool:
    """Whether an error tells nothing of the model, so that another evaluation of the same may end otherwise."""
    return not isinstance(error, (ConfigError, ModelError, UserCodeError))


def check_bounds(
    bounds: Mapping[str, Bound],
    evidence: Evidence,
    metrics: Mapping[str, Metric] = METRICS,
    where: Slice | None = None,
) -> list[Check]:
    """Holds what is known about a candidate against bounds.

    Args:
      bounds: by metric name; metrics without one are not looked at.
      evidence: the figures.
      metrics: what is known about each metric.
      where: the slice that the figures are of, or None for all examples.
    """
    return [
        _check(metrics[name], kind, limit, evidence, where)
        for name, bound in bounds.items()
        for kind, limit in bound.limits.items()
    ]


def _check(metric: Metric, kind: str, limit: float, evidence: Evidence, where: Slice | None) -> Check:
    place = f" of {', '.join(f'{key}={value}' for key, value in where.items())}" if where else ""
    try:
        figure = _figure(metric, evidence, "candidate")
        compared = figure if kind in ("min", "max") else _compared(metric, kind, evidence)
    except _UnknownError as unknown:
        return Check(metric.name, kind, "fail", f"{unknown}{place}", limit=limit, slice=where)
    outcome = compared.outcome(limit, at_least=kind == "min")
    reason = _sentence(metric, kind, limit, figure, compared, evidence.baseline, outcome, place)
    if outcome == "inconclusive":
        reason += f": {evidence.shortfalls.get((metric.name, kind)) or _shortfall(compared, limit)}"
    return Check(metric.name, kind, outcome, reason, compared.value, compared.low, compared.high, limit, where)


class _UnknownError(Exception):
    """There is no figure to compare."""


def _figure(metric: Metric, evidence: Evidence, whose: str) -> Estimate:
    figures = getattr(evidence, whose)
    if figures is None:
        raise _UnknownError(f"{metric.name} cannot be compared: there is no baseline model")
    estimate = figures.get(metric.name)
    if estimate is None:
        why = evidence.problems.get(metric.name, "it was not measured or could not be")
        raise _UnknownError(f"the {whose} has no figure for {metric.name}: {why}")
    if not math.isfinite(estimate.value) or math.isnan(estimate.low) or math.isnan(estimate.high):
        raise _UnknownError(f"{metric.name} of the {whose} is {estimate.value}, which is no measurement")
    if not metric.low <= estimate.value <= metric.high:
        raise _UnknownError(
            f"{metric.name} of the {whose} is {estimate.value:g}, outside {metric.low:g} to {metric.high:g}"
        )
    return estimate


def _compared(metric: Metric, kind: str, evidence: Evidence) -> Estimate:
    reference = _figure(metric, evidence, "baseline")
    paired = evidence.relative.get(metric.name)
    if paired is not None:
        if not math.isfinite(paired.value) or math.isnan(paired.low) or math.isnan(paired.high):
            raise _UnknownError(f"{metric.name} cannot be compared with the baseline: the comparison is {paired.value}")
        return paired
    figure = evidence.candidate[metric.name]
    if not (figure.is_exact and reference.is_exact):
        why = evidence.problems.get(metric.name, "they were not measured together")
        raise _UnknownError(f"{metric.name} of the candidate and the baseline cannot be compared: {why}")
    if kind == "max_drop":
        return Estimate.exact(reference.value - figure.value)
    if reference.value == 0:
        raise _UnknownError(f"{metric.name} of the baseline is 0, so no ratio to it can be bounded")
    return Estimate.exact(figure.value / reference.value)


def _sentence(
    metric: Metric,
    kind: str,
    limit: float,
    figure: Estimate,
    compared: Estimate,
    baseline: Mapping[str, Estimate] | None,
    outcome: Outcome,
    place: str,
) -> str:
    name = f"{metric.name}{place}"
    if kind in ("min", "max"):
        shown, bound, gap = _show(metric, figure.value, limit, abs(figure.value - limit))
        span = _span(metric, figure)
        if outcome == "inconclusive":
            return f"{name} {shown}{span} cannot be told from the {kind}imum {bound}"
        if outcome == "pass":
            return f"{name} {shown}{span} is at {'least' if kind == 'min' else 'most'} the {kind}imum {bound}"
        side, by = ("below", "short") if kind == "min" else ("above", "over")
        return f"{name} {shown}{span} is {side} the {kind}imum {bound} ({by} by {gap})"
    reference = baseline[metric.name].value if baseline else math.nan
    if kind == "max_drop":
        shown, base, lost, allowed = _show(metric, figure.value, reference, abs(compared.value), limit)
        moved = f"{lost} below" if compared.value > 0 else f"{lost} above" if compared.value < 0 else "equal to"
        verb = {"pass": "within", "fail": "beyond", "inconclusive": "which cannot be told from"}[outcome]
        span = "" if compared.is_exact else " (a drop of {} to {})".format(*_digits(compared.low, compared.high))
        return f"{name} {shown} is {moved} the baseline's {base}{span}, {verb} the allowed drop of {allowed}"
    shown, base = _show(metric, figure.value, reference)
    times, allowed = _digits(compared.value, limit)
    verb = {"pass": "within", "fail": "above", "inconclusive": "which cannot be told from"}[outcome]
    span = "" if compared.is_exact else " ({} to {})".format(*_digits(compared.low, compared.high))
    return f"{name} {shown} is {times}{span} times the baseline's {base}, {verb} the allowed {allowed}"


def _span(metric: Metric, estimate: Estimate) -> str:
    return "" if estimate.is_exact else " ({} to {})".format(*_show(metric, estimate.low, estimate.high))


def _shortfall(estimate: Estimate, limit: float) -> str:
    wanted = estimate.samples_to_tell_from(limit)
    if wanted is None:
        return "no number of samples could tell it from the limit; move the limit"
    more = max(1, wanted - estimate.samples)
    return f"about {more:,} more {estimate.sample_unit} beside the {estimate.samples:,} would tell"


def _show(metric: Metric, *values: float) -> list[str]:
    if metric.unit == "bytes":
        return [f"{value:,.0f} bytes" for value in values]
    least = min((abs(value) for value in values if value), default=1.0) if metric.unit == "ms" else 1.0
    return [f"{text} {metric.unit}".rstrip() for text in _digits(*values, least=least)]


def _digits(*values: float, least: float = 1.0) -> list[str]:
    """The values with three decimals, or with as many as it takes to tell them apart and show three of ``least``."""
    for decimals in range(max(3, 2 - math.floor(math.log10(least))), 9):
        texts = [f"{value:,.{decimals}f}" for value in values]
        if len(set(texts)) == len({round(value, 9) for value in values}):
            return texts
    return [f"{value:,.9g}" for value in values]
