"""One metric on some examples: the candidate's figure, the baseline's, and how they differ, each with bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfx_edge.errors import DataError, EdgeError
from tfx_edge.gate import intervals
from tfx_edge.gate.estimate import Estimate
from tfx_edge.gate.metric_kinds import Columns, QualityMetric


@dataclass(frozen=True)
class Comparison:
    """What is known of one metric.

    Attributes:
      candidate: the candidate's figure; None where there is a problem.
      baseline: the baseline's.
      drop: baseline - candidate on the same examples, where higher is better.
      ratio: candidate / baseline on the same examples, where lower is better.
      problem: why a figure that should be here is not.
    """

    candidate: Estimate | None = None
    baseline: Estimate | None = None
    drop: Estimate | None = None
    ratio: Estimate | None = None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON types."""
        figures = {name: getattr(self, name) for name in ("candidate", "baseline", "drop", "ratio")}
        return {name: figure and figure.to_dict() for name, figure in figures.items()} | {"problem": self.problem}


def compare(
    metric: QualityMetric, candidate: Columns, baseline: Columns | None, confidence: float, seed: int
) -> Comparison:
    """Estimates a metric of both models and the paired difference; a figure that cannot be had becomes a problem.

    Args:
      metric: what to compute.
      candidate: the columns that it keeps of the candidate.
      baseline: those of the baseline for the same examples in the same order, or None.
      confidence: of each bound.
      seed: of bootstraps.
    """
    figures: dict[str, Estimate] = {}
    problem = None
    try:
        figures["candidate"] = _level(metric, candidate, confidence, seed)
        if baseline is not None:
            figures["baseline"] = _level(metric, baseline, confidence, seed)
            name, change = ("drop", _drop) if metric.better == "higher" else ("ratio", _ratio)
            figures[name] = change(metric, candidate, baseline, confidence, seed)
    except EdgeError as error:
        missing = "candidate" if not figures else "baseline" if len(figures) == 1 else "comparison"
        problem = f"{metric.name} of the {missing} cannot be estimated: {error}"
    return Comparison(
        figures.get("candidate"), figures.get("baseline"), figures.get("drop"), figures.get("ratio"), problem
    )


def _level(metric: QualityMetric, columns: Columns, confidence: float, seed: int) -> Estimate:
    if metric.hits is not None:
        hits = metric.hits(columns)
        return intervals.proportion(int(hits.sum()), len(hits), confidence)
    if metric.influences is None or metric.reach is None:
        return _bootstrap(metric, (columns,), lambda value: value, confidence, seed, (metric.low, metric.high))
    return intervals.from_influences(
        metric.value(columns),
        metric.influences(columns),
        confidence,
        reach=metric.reach(columns),
        low=metric.low,
        high=metric.high,
    )


def _drop(metric: QualityMetric, candidate: Columns, baseline: Columns, confidence: float, seed: int) -> Estimate:
    limits = (metric.low - metric.high, metric.high - metric.low)
    if metric.hits is not None:
        hits, reference = metric.hits(candidate), metric.hits(baseline)
        lost, won = int(np.sum(reference & ~hits)), int(np.sum(hits & ~reference))
        return intervals.paired_difference(lost, won, len(hits), confidence)
    if metric.influences is None or metric.reach is None:
        return _bootstrap(metric, (candidate, baseline), lambda mine, base: base - mine, confidence, seed, limits)
    return intervals.from_influences(
        metric.value(baseline) - metric.value(candidate),
        metric.influences(baseline) - metric.influences(candidate),
        confidence,
        reach=max(metric.reach(candidate), metric.reach(baseline)),
        low=limits[0],
        high=limits[1],
    )


def _ratio(metric: QualityMetric, candidate: Columns, baseline: Columns, confidence: float, seed: int) -> Estimate:
    mine, base = metric.value(candidate), metric.value(baseline)
    if metric.low < 0 or base <= 0:
        raise DataError(f"the baseline's figure is {base:g}, and a ratio takes figures that are above 0")
    if metric.influences is None or metric.reach is None:
        limits = (0.0, float("inf"))
        return _bootstrap(metric, (candidate, baseline), lambda a, b: a / b, confidence, seed, limits)
    return intervals.from_influences(
        mine / base,
        (metric.influences(candidate) - mine / base * metric.influences(baseline)) / base,
        confidence,
        reach=max(metric.reach(candidate), metric.reach(baseline)) / base,
        low=0.0,
        high=float("inf"),
    )


def _bootstrap(
    metric: QualityMetric,
    models: tuple[Columns, ...],
    combine: Callable[..., float],
    confidence: float,
    seed: int,
    limits: tuple[float, float],
) -> Estimate:
    def statistic(indices: np.ndarray) -> float:
        return combine(*(metric.value({name: array[indices] for name, array in m.items()}) for m in models))

    examples = len(next(iter(models[0].values())))
    reach = max(metric.reach(columns) for columns in models) if metric.reach else 0.0
    return intervals.bootstrap(statistic, examples, confidence, seed=seed, reach=reach, low=limits[0], high=limits[1])
