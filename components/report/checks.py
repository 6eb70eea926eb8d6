"""Verdicts and checks of a report as text, and each check's interval beside its limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_edge.report import numbers, plots
from tfx_edge.report.document import number

Report = Mapping[str, Any]
_MOST = 120
_SYMBOLS = {"pass": "✓", "fail": "✕", "inconclusive": "?"}


@dataclass(frozen=True)
class Check:
    """One check as text, and its interval beside the limit where it has numbers."""

    label: str
    slice: str
    outcome: str
    symbol: str
    value: str
    interval: str
    limit: str
    reason: str
    plot: plots.Interval | None


def outcome(verdict: Mapping[str, Any]) -> str:
    """``"pass"``, ``"fail"`` or ``"inconclusive"``; whatever is not blessed and says nothing else has failed."""
    if verdict.get("blessed") is True:
        return "pass"
    return "inconclusive" if verdict.get("outcome") == "inconclusive" else "fail"


def checks(data: Sequence[Report]) -> tuple[list[Check], int]:
    """The checks in their order, and how many are left out where there are too many for a page: passed ones first."""
    every = [check(row) for row in data]
    room = max(0, _MOST - sum(each.outcome != "pass" for each in every))
    passed = [each for each in every if each.outcome == "pass"]
    dropped = {id(each) for each in passed[room:]}
    return [each for each in every if id(each) not in dropped][:_MOST], max(len(dropped), len(every) - _MOST)


def check(data: Report) -> Check:
    """A check of the report."""
    metric, kind = str(data.get("metric")), str(data.get("kind"))
    value, low, high, limit = (number(data.get(key)) for key in ("value", "low", "high", "limit"))
    found = data.get("outcome")
    state = found if isinstance(found, str) and found in _SYMBOLS else "fail"
    plot = None
    if value is not None and limit is not None:
        exact = low is None and high is None
        lowest = value if exact else -math.inf if low is None else low
        highest = value if exact else math.inf if high is None else high
        plot = plots.against_limit(value, lowest, highest, limit, kind)
    if value is not None:
        shown = numbers.compared(metric, kind, value)
    elif data.get("value") is not None:
        shown = numbers.plain(data["value"])
    else:
        shown = "" if kind == "contract" else "not known"
    return Check(
        label=numbers.check_title(metric, kind),
        slice=numbers.slice_name(data.get("slice")) if data.get("slice") else "",
        outcome=state,
        symbol=_SYMBOLS[state],
        value=shown,
        interval="" if value is None else numbers.between(metric, kind, low, high),
        limit=numbers.bound(kind, metric, data.get("limit")),
        reason=str(data.get("reason") or ""),
        plot=plot,
    )
