"""Quality by slice, the worst first, on one axis with the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_edge.gate.estimate import Estimate
from tfx_edge.report import numbers, plots
from tfx_edge.report.axis import Axis
from tfx_edge.report.document import estimate, number, rows, table
from tfx_edge.report.figures import better

Report = Mapping[str, Any]
_MOST = 40


@dataclass(frozen=True)
class Slice:
    """One row of the table of slices; ``value`` is the drop, or without a baseline the candidate's figure."""

    name: str
    examples: str
    candidate: str
    baseline: str
    value: str
    interval: str
    plot: plots.Interval | None
    skipped: str


@dataclass(frozen=True)
class Slices:
    """The slices by one metric, the worst first; ``hidden`` more are only in the JSON."""

    metric: str
    drops: bool
    rows: tuple[Slice, ...]
    ticks: tuple[plots.Tick, ...]
    zero: float | None
    hidden: int


def slices(report: Report) -> list[Slices]:
    """Each quality metric by slice: its drop where there is a baseline, else the metric itself."""
    data = rows(report, "quality", "slices")
    if not data:
        return []
    whole = {
        "slice": None,
        "examples": table(report, "quality").get("examples"),
        "metrics": table(report, "quality", "metrics"),
    }
    limits = _slice_limits(report)
    return [
        _slices(metric, better(report, metric) == "higher", [whole, *data], limits)
        for metric in table(report, "quality", "metrics")
    ]


def _slices(metric: str, higher: bool, data: Sequence[Report], limits: Mapping[tuple[str, str, str], float]) -> Slices:
    drops = any(estimate(table(row, "metrics", metric).get("drop")) for row in data)
    kind = "max_drop" if drops else "min" if higher else "max"
    shown = {id(row): estimate(table(row, "metrics", metric).get("drop" if drops else "candidate")) for row in data}

    def badness(row: Report) -> tuple[bool, float]:
        found = shown[id(row)]
        sign = -1 if drops or not higher else 1
        return found is None, 0 if found is None else sign * found.value

    ordered = [data[0], *sorted(data[1:], key=badness)]
    kept = ordered[: _MOST + 1]
    bounds = {id(row): limits.get((metric, kind, numbers.slice_name(row.get("slice")))) for row in kept}
    values = [value for row in kept if (each := shown[id(row)]) for value in (each.value, each.low, each.high)]
    values += [each for each in bounds.values() if each is not None] + ([0.0] if drops else [])
    axis = Axis.around(values, 2, 98)
    rows_shown = []
    for row in kept:
        found, limit = shown[id(row)], bounds[id(row)]
        plot = plots.interval(axis, found.value, found.low, found.high, limit, kind) if found else None
        rows_shown.append(_slice(metric, row, found, plot))
    zero = axis.at(0.0) if drops else None
    return Slices(metric, drops, tuple(rows_shown), plots.ticks(axis, metric, most=3), zero, len(ordered) - len(kept))


def _slice(metric: str, row: Report, found: Estimate | None, plot: plots.Interval | None) -> Slice:
    roles = {role: estimate(table(row, "metrics", metric).get(role)) for role in ("candidate", "baseline")}
    texts = {role: numbers.amount(metric, each.value) if each else "" for role, each in roles.items()}
    return Slice(
        name=numbers.slice_name(row.get("slice")),
        examples=f"{row['examples']:,}" if isinstance(row.get("examples"), int) else "",
        candidate=texts["candidate"],
        baseline=texts["baseline"],
        value=numbers.amount(metric, found.value) if found else "",
        interval=numbers.spread(metric, found) if found else "",
        plot=plot,
        skipped=str(row.get("skipped") or ""),
    )


def _slice_limits(report: Report) -> dict[tuple[str, str, str], float]:
    """The tightest limit by metric, kind and slice."""
    limits: dict[tuple[str, str, str], float] = {}
    for target in table(report, "targets"):
        for row in rows(report, "targets", target, "verdict", "checks"):
            key = (str(row.get("metric")), str(row.get("kind")), numbers.slice_name(row.get("slice")))
            limit = number(row.get("limit"))
            if limit is not None:
                tightest = max if key[1] == "min" else min
                limits[key] = tightest(limits.get(key, limit), limit)
    return limits
