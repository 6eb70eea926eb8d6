"""What a report measured, metric by metric, as text; and which metrics stand for a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfx_edge.gate.estimate import Estimate
from tfx_edge.report import numbers
from tfx_edge.report.document import estimate, figure, rows, table

Report = Mapping[str, Any]
_ERRORS = ("error", "loss", "mse", "mae")
_TILES = (
    ("size_bytes",),
    ("gzip_bytes",),
    ("latency_p50_ms", "latency_min_ms"),
    ("arena_bytes", "model_memory_bytes", "peak_memory_bytes"),
)


@dataclass(frozen=True)
class Figure:
    """One metric of the candidate, and of the baseline where there is one, as text."""

    metric: str
    value: str
    interval: str
    basis: str
    baseline: str
    relative: str


def figures(report: Report, target: str) -> list[Figure]:
    """What was measured on a target."""
    data = table(report, "targets", target)
    names = [
        *table(data, "candidate"),
        *(name for name in table(data, "baseline") if name not in table(data, "candidate")),
    ]
    return [_figure(report, name, target) for name in names]


def quality(report: Report) -> list[Figure]:
    """The quality metrics over all examples."""
    return [_figure(report, name, None) for name in table(report, "quality", "metrics")]


def tiles(report: Report) -> list[Figure]:
    """The few figures that a person looks for first."""
    target = main_target(report)
    shown = [next((name for name in names if figure(report, "candidate", name, target)), None) for names in _TILES]
    metric = main_quality(report)
    return [
        _figure(report, name, target) for name in (*shown, metric) if name and figure(report, "candidate", name, target)
    ]


def main_target(report: Report) -> str | None:
    """The target whose figures stand for the model: the first with a latency, else the first."""
    targets = table(report, "targets")
    timed = (name for name in targets if estimate(table(targets, name, "candidate").get("latency_p50_ms")))
    return next(timed, next(iter(targets), None))


def main_quality(report: Report) -> str | None:
    """The quality metric that stands for the model: the first that a check bounds, else the first."""
    names = list(table(report, "quality", "metrics"))
    bounded = [
        row.get("metric")
        for name in table(report, "targets")
        for row in rows(report, "targets", name, "verdict", "checks")
    ]
    return next((name for name in bounded if name in names), next(iter(names), None))


def better(report: Report, metric: str) -> str:
    """``"higher"`` or ``"lower"``, as the report says, or else as the name of a quality metric lets expect."""
    said = table(report, "quality", "metrics", metric).get("better")
    if said in ("higher", "lower"):
        return said
    return "lower" if any(word in metric for word in _ERRORS) else "higher"


def _figure(report: Report, metric: str, target: str | None) -> Figure:
    found, other = (figure(report, role, metric, target) for role in ("candidate", "baseline"))
    relative = estimate(table(report, "targets", target or "", "relative").get(metric))
    drop = estimate(table(report, "quality", "metrics", metric).get("drop"))
    if relative and not metric.endswith(("_bytes", "_ms")):
        drop, relative = relative, None
    if relative is None and metric.endswith("_bytes") and found and other and other.value:
        relative = Estimate.exact(found.value / other.value)
    change = ""
    if relative:
        change = " ".join((numbers.times(relative.value), _bracket(numbers.spread(metric, relative, "max_ratio"))))
    elif drop:
        change = " ".join((f"drop {numbers.amount(metric, drop.value)}", _bracket(numbers.spread(metric, drop))))
    return Figure(
        metric=metric,
        value=numbers.amount(metric, found.value) if found else "",
        interval=numbers.spread(metric, found) if found else "",
        basis=f"{found.samples:,} {found.sample_unit}" if found and found.sample_unit else "",
        baseline=numbers.amount(metric, other.value) if other else "",
        relative=change.strip(),
    )


def _bracket(text: str) -> str:
    return f"({text})" if text else ""
