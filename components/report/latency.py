"""The latency of a report's target, process by process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfx_edge.report import numbers, plots
from tfx_edge.report.axis import Axis
from tfx_edge.report.document import estimate, number, rows, table

Report = Mapping[str, Any]
_NEAR = 4
_RATIOS = ("latency_p50_ms", "latency_min_ms")


@dataclass(frozen=True)
class Ratios:
    """Candidate divided by baseline in each process that held both: ``dots`` in percent, and the estimate over all.

    ``one`` is where both are equally fast; None where that is so far off that nothing else could be told apart.
    """

    metric: str
    dots: tuple[float, ...]
    interval: plots.Interval
    one: float | None
    ticks: tuple[plots.Tick, ...]
    text: str


def latencies(report: Report, target: str) -> list[plots.Latency]:
    """How the latency is spread in each process; of those that held both models where there are no others."""
    data = table(report, "targets", target, "latency")
    samples = {}
    for role in ("candidate", "baseline"):
        runs = rows(data, role) or [table(pair, role) for pair in rows(data, "paired")]
        samples[role] = [_samples(run) for run in runs]
    return plots.latency(samples)


def ratios(report: Report, target: str) -> Ratios | None:
    """The comparison in the processes that held both models; None without any."""
    data = table(report, "targets", target)
    metric = next((name for name in _RATIOS if estimate(table(data, "relative").get(name))), None)
    found = estimate(table(data, "relative").get(metric)) if metric else None
    pairs = [
        (_samples(table(pair, "candidate")), _samples(table(pair, "baseline")))
        for pair in rows(data, "latency", "paired")
    ]
    pairs = [pair for pair in pairs if all(pair)]
    if not metric or not found or not pairs:
        return None
    statistic = np.min if metric == "latency_min_ms" else np.median
    each = [float(statistic(candidate) / statistic(baseline)) for candidate, baseline in pairs]
    drawn = [*each, found.low, found.high]
    near = min(abs(ratio - 1) for ratio in drawn) <= _NEAR * (max(each) - min(each))
    axis = Axis.around([*drawn, 1.0] if near else drawn, 3, 97)
    return Ratios(
        metric=metric,
        dots=tuple(axis.at(ratio) for ratio in each),
        interval=plots.interval(axis, found.value, found.low, found.high, None, "max_ratio"),
        one=axis.at(1.0) if near else None,
        ticks=tuple(plots.Tick(axis.at(value), numbers.short(numbers.times(value))) for value in axis.ticks(4)),
        text=f"{numbers.times(found.value)} ({numbers.spread(metric, found, 'max_ratio')}), {len(each)} processes",
    )


def _samples(run: Report) -> list[float]:
    times = run.get("samples_ns")
    return [time for time in times if number(time)] if isinstance(times, list) else []
