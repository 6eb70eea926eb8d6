"""Works out where everything in a plot goes; the templates draw it.

Horizontal places are in percent of the plot's width and vertical ones in pixels, so a plot fills a page of any width
while its texts keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfx_edge.gate.estimate import Estimate
from tfx_edge.report.axis import Axis
from tfx_edge.report.labels import Label, Point, place
from tfx_edge.report.numbers import amount, short

PREFIX = "EdgeEvaluator."
"""What the ids of evaluators begin with; it says nothing about a model."""
WIDTHS = (300.0, 640.0)
"""The least and the greatest width in pixels at which a plot with labels is shown."""
_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 300, 16, 268, 14, 97
_BINS, _RIDGE = 48, 22
_SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16  # clocks tick in coarse steps, which would look like gaps
_SHOWN_QUANTILE = 0.98


@dataclass(frozen=True)
class Tick:
    """A marked value of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Variant:
    """A model in the plot of variants; ``state`` is ``"baseline"`` or the outcome of its verdict."""

    name: str
    state: str
    x: Estimate
    y: Estimate


@dataclass(frozen=True)
class Mark:
    """A model as drawn."""

    variant: Variant
    point: Point
    label: Label | None
    text: str


@dataclass(frozen=True)
class Pareto:
    """Models by two metrics; ``frontier`` is a path, its x in percent: no model is better in both than one on it."""

    x_metric: str
    y_metric: str
    height: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    frontier: str


@dataclass(frozen=True)
class Ridge:
    """The samples of one process: a path over 100 by `Latency.height` units, and its figures in milliseconds."""

    label: str
    path: str
    median_at: float
    least: float
    median: float
    p90: float
    samples: int


@dataclass(frozen=True)
class Latency:
    """The distribution of a model's latency in each process."""

    role: str
    ridges: tuple[Ridge, ...]
    ticks: tuple[Tick, ...]
    height: int
    hidden: int
    beyond: float


@dataclass(frozen=True)
class Interval:
    """An interval beside a limit; ``allowed`` is the stretch that the limit allows, from and to in percent."""

    value: float
    low: float
    high: float
    limit: float | None
    allowed: tuple[float, float] | None


def pareto(x_metric: str, y_metric: str, variants: Sequence[Variant], y_better: str) -> Pareto:
    """Places models by a metric of cost, the less the better, and one of quality.

    Args:
      x_metric: the cost: bytes or milliseconds.
      y_metric: the quality.
      variants: two or more models.
      y_better: ``"higher"`` or ``"lower"``.
    """
    xs = [value for each in variants for value in (each.x.value, each.x.low, each.x.high)]
    ys = [value for each in variants for value in (each.y.value, each.y.low, each.y.high)]
    x_axis = Axis.around(xs, _LEFT, _RIGHT, may_be_log=True, margin=0.1)
    y_axis = Axis.around(ys, _BOTTOM, _TOP, margin=0.1)
    points = [
        Point(
            *(x_axis.at(each.x.value), y_axis.at(each.y.value), x_axis.at(each.x.low), x_axis.at(each.x.high)),
            *(y_axis.at(each.y.high), y_axis.at(each.y.low)),
        )
        for each in variants
    ]
    labels = place(points, [each.name.removeprefix(PREFIX) for each in variants], WIDTHS, _BOTTOM)
    marks = [
        Mark(each, point, label, f"{each.name}: {amount(x_metric, each.x.value)}, {amount(y_metric, each.y.value)}")
        for each, point, label in zip(variants, points, labels, strict=True)
    ]
    best = _frontier([(each.x.value, each.y.value if y_better == "higher" else -each.y.value) for each in variants])
    return Pareto(
        x_metric=x_metric,
        y_metric=y_metric,
        height=_HEIGHT,
        bottom=_BOTTOM,
        x_ticks=ticks(x_axis, x_metric),
        y_ticks=ticks(y_axis, y_metric),
        marks=tuple(marks),
        frontier=_steps([(points[index].x, points[index].y) for index in best]),
    )


def latency(samples: Mapping[str, Sequence[Sequence[float]]], most: int = 16) -> list[Latency]:
    """Draws how the times of each process are spread.

    Args:
      samples: nanoseconds of every call, by process, by the model's role. Models whose medians are within a factor of
        two share an axis; others have one each, or nothing of their spread could be seen.
      most: processes to draw of each.
    """
    drawn = {role: [np.asarray(run, float) / 1e6 for run in runs if len(run)] for role, runs in samples.items()}
    whole = {role: np.concatenate(runs) for role, runs in drawn.items() if runs}
    medians = [float(np.median(each)) for each in whole.values()]
    shared = [np.concatenate(list(whole.values()))] if medians and max(medians) < 2 * min(medians) else None
    plots = []
    for role, times in whole.items():
        seen = shared or [times]
        axis = Axis.around((float(seen[0].min()), float(np.quantile(seen[0], _SHOWN_QUANTILE))), 9, 98)
        ridges = [_ridge(f"{index}", run, axis) for index, run in enumerate(drawn[role][:most], start=1)]
        plots.append(
            Latency(
                role=role,
                ridges=tuple(ridges),
                ticks=ticks(axis, "latency_ms"),
                height=_RIDGE,
                hidden=len(drawn[role]) - len(ridges),
                beyond=float(np.mean(times > axis.high)),
            )
        )
    return plots


def against_limit(value: float, low: float, high: float, limit: float | None, kind: str) -> Interval:
    """Draws one interval, and the limit of a check of some kind where there is one, on an axis of their own."""
    axis = Axis.around([value, low, high, *([] if limit is None else [limit])], 0, 100, margin=0.15)
    return interval(axis, value, low, high, limit, kind)


def interval(axis: Axis, value: float, low: float, high: float, limit: float | None, kind: str) -> Interval:
    """Draws one interval on a given axis."""
    if limit is None:
        return Interval(axis.at(value), axis.at(low), axis.at(high), None, None)
    at = axis.at(limit)
    allowed = (at, axis.end) if kind == "min" else (axis.start, at)
    return Interval(axis.at(value), axis.at(low), axis.at(high), at, allowed)


def ticks(axis: Axis, metric: str, most: int = 5) -> tuple[Tick, ...]:
    """The marked values of an axis."""
    return tuple(Tick(axis.at(value), short(amount(metric, value))) for value in axis.ticks(most))


def _ridge(label: str, times: np.ndarray, axis: Axis) -> Ridge:
    counts, edges = np.histogram(times, bins=_BINS, range=(axis.low, axis.high))
    heights = np.convolve(counts, _SMOOTHING, mode="same")
    tops = _RIDGE - heights / max(heights.max(), 1) * (_RIDGE - 2)
    places = [axis.at(float(edge)) for edge in edges]
    steps = [f"V{top:.3g}H{right:.4g}" for top, right in zip(tops, places[1:], strict=True)]
    return Ridge(
        label=label,
        path=f"M{places[0]:.4g} {_RIDGE}{''.join(steps)}V{_RIDGE}Z",
        median_at=axis.at(float(np.median(times))),
        least=float(times.min()),
        median=float(np.median(times)),
        p90=float(np.quantile(times, 0.9)),
        samples=len(times),
    )


def _frontier(costs_and_gains: Sequence[tuple[float, float]]) -> list[int]:
    """Those that no other one beats in cost and in gain, cheapest first."""
    order = sorted(
        range(len(costs_and_gains)), key=lambda index: (costs_and_gains[index][0], -costs_and_gains[index][1])
    )
    best, reached = [], -math.inf
    for index in order:
        if costs_and_gains[index][1] > reached:
            best.append(index)
            reached = costs_and_gains[index][1]
    return best


def _steps(places: Sequence[tuple[float, float]]) -> str:
    if len(places) < 2:
        return ""
    steps = [f"H{x:.4g}V{y:.4g}" for x, y in places[1:]]
    return f"M{places[0][0]:.4g} {places[0][1]:.4g}{''.join(steps)}"
