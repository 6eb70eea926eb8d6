"""The figures that a gate can bound: what each is called, its unit, which way is better, and where it comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tfx_edge.gate.quality_metrics import QUALITY_METRICS

Source = Literal["file", "latency", "memory", "arena", "infer", "quality"]


@dataclass(frozen=True)
class Metric:
    """One figure of a model.

    Attributes:
      name: the key in a thresholds configuration and in reports.
      unit: ``"bytes"``, ``"ms"``, or empty for a plain number.
      better: the direction of improvement; None where only the user's module knows.
      source: the file itself, what a target must offer to give the figure, or the eval split.
      low: the least possible value.
      high: the greatest possible value.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"] | None
    source: Source
    low: float = 0.0
    high: float = math.inf


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("size_bytes", "bytes", "lower", "file"),
        Metric("gzip_bytes", "bytes", "lower", "file"),
        Metric("latency_min_ms", "ms", "lower", "latency"),
        Metric("latency_p50_ms", "ms", "lower", "latency"),
        Metric("latency_p90_ms", "ms", "lower", "latency"),
        Metric("latency_p99_ms", "ms", "lower", "latency"),
        Metric("model_memory_bytes", "bytes", "lower", "memory"),
        Metric("peak_memory_bytes", "bytes", "lower", "memory"),
        Metric("arena_bytes", "bytes", "lower", "arena"),
        Metric("output_difference", "", "lower", "infer"),
        *(Metric(each.name, "", each.better, "quality", each.low, each.high) for each in QUALITY_METRICS.values()),
    )
}


def own_metric(name: str) -> Metric:
    """A metric that the user's module defines; what it says about itself is known at run time."""
    return Metric(name, "", None, "quality", -math.inf, math.inf)
