"""The figures that a gate can bound: what each is called, its unit, and which way is better.

Sizes, times and memory are measured elsewhere. Quality metrics are computed here: to add one, write a function of
``(labels, scores)`` and decorate it with ``@quality_metric``; thresholds accept its name from then on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tfx_edge.errors import DataError

QualityFunction = Callable[[npt.ArrayLike, npt.ArrayLike], float]


@dataclass(frozen=True)
class Metric:
    """One figure of a model.

    Attributes:
      name: the key in a thresholds configuration and in reports.
      unit: ``"bytes"``, ``"ms"``, or empty for a plain fraction.
      better: the direction of improvement.
      low: the least possible value.
      high: the greatest possible value.
      compute: computes the figure from labels and scores; None for figures that are measured.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    low: float = 0.0
    high: float = math.inf
    compute: QualityFunction | None = None


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("size_bytes", "bytes", "lower"),
        Metric("gzip_bytes", "bytes", "lower"),
        Metric("latency_min_ms", "ms", "lower"),
        Metric("latency_p50_ms", "ms", "lower"),
        Metric("latency_p90_ms", "ms", "lower"),
        Metric("peak_memory_bytes", "bytes", "lower"),
    )
}


def quality_metric(
    *, better: Literal["lower", "higher"], low: float, high: float, unit: str = ""
) -> Callable[[QualityFunction], QualityFunction]:
    """Registers the decorated function under its own name as a metric that thresholds can bound."""

    def register(function: QualityFunction) -> QualityFunction:
        METRICS[function.__name__] = Metric(function.__name__, unit, better, low, high, function)
        return function

    return register


@quality_metric(better="higher", low=0.0, high=1.0)
def accuracy(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The share of examples whose highest score is at their label; among equal scores the first class counts.

    Args:
      labels: class numbers of shape (n,) or (n, 1), or one-hot rows of shape (n, classes).
      scores: logits or probabilities of shape (n, classes).

    Raises:
      DataError: no examples, lengths that differ, labels that name no class, or scores that are not finite.
    """
    scores = _class_scores(scores)
    classes = _class_numbers(labels, *scores.shape)
    return float(np.mean(np.argmax(scores, axis=1) == classes))


def _class_scores(scores: npt.ArrayLike) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.size == 0:
        raise DataError("there are no examples to score; check the split and the examples that it holds")
    if scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1):
        raise DataError(
            f"scores have the shape {scores.shape}: one score per example. Metrics of binary models with a single "
            "output are not offered yet; give two class scores, for example by a softmax over two units"
        )
    if scores.ndim != 2:
        raise DataError(f"scores have the shape {scores.shape}, but (examples, classes) is needed")
    rows = int(np.sum(~np.isfinite(scores).all(axis=1)))
    if rows:
        raise DataError(f"{rows} of {len(scores)} rows of scores hold NaN or infinity; the model's output is broken")
    return scores


def _class_numbers(labels: npt.ArrayLike, examples: int, classes: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iufb":
        raise DataError(f"labels are of type {labels.dtype}, but class numbers are needed; encode them in Transform")
    if labels.ndim == 0 or len(labels) != examples:
        raise DataError(f"there are {len(labels) if labels.ndim else 0} labels but {examples} rows of scores")
    if labels.shape == (examples, classes):
        one_hot = np.isin(labels, (0, 1)).all(axis=1) & (labels.sum(axis=1) == 1)
        if not one_hot.all():
            raise DataError(
                f"{int(np.sum(~one_hot))} of {examples} label rows of shape {labels.shape} are not one-hot; "
                "give class numbers or rows with a single 1"
            )
        return np.argmax(labels, axis=1)
    if labels.shape not in ((examples,), (examples, 1)):
        raise DataError(
            f"labels have the shape {labels.shape}, but ({examples},), ({examples}, 1) or "
            f"({examples}, {classes}) is needed for scores of {classes} classes"
        )
    numbers = labels.reshape(examples)
    wrong = ~np.isin(numbers, np.arange(classes))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {examples} labels name no class, for example {numbers[wrong][0]}; "
            f"the model gives {classes} scores, so labels are whole numbers from 0 to {classes - 1}"
        )
    return numbers
