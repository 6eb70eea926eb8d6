"""The gate's decision: every bound is checked, and a model is blessed only when each one is known to hold.

The gate fails closed. A figure that is missing, not finite or impossible, a baseline that is not there, or any problem
met on the way withholds the blessing, with a reason that a person can act on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tfx_edge.gate.metrics import METRICS, Metric
from tfx_edge.gate.thresholds import Thresholds

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Check:
    """One bound, held against one figure.

    Attributes:
      metric: the metric's name.
      kind: ``"min"``, ``"max"``, ``"max_drop"`` or ``"max_ratio"``.
      value: what was compared with the limit (for ``max_drop`` the drop, for ``max_ratio`` the ratio), or None when
        there was nothing to compare.
      limit: the bound.
      passed: whether the bound is known to hold.
      reason: one sentence with the figures.
    """

    metric: str
    kind: str
    value: float | None
    limit: float
    passed: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Whether a model may pass, and why."""

    blessed: bool
    checks: tuple[Check, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON types."""
        return {"blessed": self.blessed, "reason": self.reason, "checks": [asdict(check) for check in self.checks]}


def judge(
    thresholds: Thresholds, candidate: Figures, baseline: Figures | None, problems: Sequence[str] = ()
) -> Verdict:
    """Holds a candidate's figures, and where a bound asks for it the baseline's, against the thresholds.

    Args:
      thresholds: the bounds; metrics without one are not looked at.
      candidate: the candidate's figures by metric name; None stands for one that could not be had.
      baseline: the baseline's figures, or None without a baseline.
      problems: what went wrong while the figures were gathered; any of them withholds the blessing.
    """
    checks = tuple(
        _check(METRICS[name], kind, limit, candidate, baseline)
        for name, bound in thresholds.bounds.items()
        for kind, limit in bound.limits.items()
    )
    failures = dict.fromkeys([*problems, *(check.reason for check in checks if not check.passed)])
    if failures:
        return Verdict(False, checks, "; ".join(failures))
    passes = "the only check" if len(checks) == 1 else f"all {len(checks)} checks"
    return Verdict(True, checks, f"{passes} passed: " + "; ".join(check.reason for check in checks))


def _check(metric: Metric, kind: str, limit: float, candidate: Figures, baseline: Figures | None) -> Check:
    figure, unusable = _figure(metric, candidate, "the candidate")
    if unusable:
        return Check(metric.name, kind, None, limit, False, unusable)
    if kind in ("min", "max"):
        return _check_level(metric, kind, limit, figure)
    if baseline is None:
        reason = f"{metric.name} cannot be held against {kind} {limit:g}: there is no baseline model"
        return Check(metric.name, kind, None, limit, False, reason)
    reference, unusable = _figure(metric, baseline, "the baseline")
    if unusable:
        return Check(metric.name, kind, None, limit, False, unusable)
    if kind == "max_drop":
        return _check_drop(metric, limit, figure, reference)
    return _check_ratio(metric, limit, figure, reference)


def _figure(metric: Metric, figures: Figures, whose: str) -> tuple[float, str]:
    """The figure and an empty text, or NaN and why the figure cannot be used."""
    value = figures.get(metric.name)
    if value is None:
        return math.nan, f"{whose} has no figure for {metric.name}: it was not measured or could not be"
    if not math.isfinite(value):
        return math.nan, f"{metric.name} of {whose} is {value}, which is no measurement"
    if not metric.low <= value <= metric.high:
        return math.nan, f"{metric.name} of {whose} is {value:g}, outside {metric.low:g} to {metric.high:g}"
    return float(value), ""


def _check_level(metric: Metric, kind: str, limit: float, figure: float) -> Check:
    passed = _at_most(limit, figure) if kind == "min" else _at_most(figure, limit)
    shown, bound, gap = _show(metric, figure, limit, abs(figure - limit))
    if passed:
        reason = f"{metric.name} {shown} is at {'least' if kind == 'min' else 'most'} the {kind}imum {bound}"
    elif kind == "min":
        reason = f"{metric.name} {shown} is below the minimum {bound} (short by {gap})"
    else:
        reason = f"{metric.name} {shown} is above the maximum {bound} (over by {gap})"
    return Check(metric.name, kind, figure, limit, passed, reason)


def _check_drop(metric: Metric, limit: float, figure: float, reference: float) -> Check:
    drop = reference - figure
    passed = _at_most(drop, limit)
    shown, base, lost, allowed = _show(metric, figure, reference, abs(drop), limit)
    moved = f"{lost} below" if drop > 0 else f"{lost} above" if drop < 0 else "equal to"
    verb = "within" if passed else "beyond"
    reason = f"{metric.name} {shown} is {moved} the baseline's {base}, {verb} the allowed drop of {allowed}"
    return Check(metric.name, "max_drop", drop, limit, passed, reason)


def _check_ratio(metric: Metric, limit: float, figure: float, reference: float) -> Check:
    if reference == 0:
        reason = f"{metric.name} of the baseline is 0, so no ratio to it can be bounded"
        return Check(metric.name, "max_ratio", None, limit, False, reason)
    ratio = figure / reference
    passed = _at_most(ratio, limit)
    shown, base = _show(metric, figure, reference)
    times, allowed = _digits(ratio, limit)
    verb = "within" if passed else "above"
    reason = f"{metric.name} {shown} is {times} times the baseline's {base}, {verb} the allowed {allowed}"
    return Check(metric.name, "max_ratio", ratio, limit, passed, reason)


def _at_most(value: float, limit: float) -> bool:
    """Whether value ≤ limit, forgiving what float arithmetic adds to an equal value (0.98 - 0.97 > 0.01)."""
    return value <= limit or math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12)


def _show(metric: Metric, *values: float) -> list[str]:
    if metric.unit == "bytes" and all(value == round(value) for value in values):
        return [f"{value:,.0f} bytes" for value in values]
    return [f"{text} {metric.unit}".rstrip() for text in _digits(*values)]


def _digits(*values: float) -> list[str]:
    """The values with three decimals, or with as many as it takes to tell the different ones apart."""
    for decimals in range(3, 9):
        texts = [f"{value:,.{decimals}f}" for value in values]
        if len(set(texts)) == len({round(value, 9) for value in values}):
            return texts
    return [f"{value:,.9g}" for value in values]
