"""What a quality metric is: what it keeps of each example, and what figure and uncertainty that gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfx_edge.errors import DataError

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Outputs:
    """What one model answered for a batch of examples.

    Attributes:
      labels: shape (n,), (n, 1), one-hot (n, classes), or for regression the shape of ``values``.
      values: shape (n, ...): the output that is scored, in real numbers.
      inputs: the features that went in, by the names of the model's inputs.
      probabilities: whether ``values`` are probabilities; False if they are logits, None if that is not known.
    """

    labels: np.ndarray
    values: np.ndarray
    inputs: Mapping[str, np.ndarray]
    probabilities: bool | None


@dataclass(frozen=True)
class QualityMetric:
    """One figure of how good a model's answers are.

    Attributes:
      name: the key in thresholds and reports.
      better: the direction of improvement.
      low: the least possible value.
      high: the greatest possible value.
      keep: what is kept of a batch: arrays of shape (n, ...) by name.
      value: the figure of kept columns.
      influences: by how much each example moves the figure, times n (mean 0); None: the interval is a bootstrap.
      reach: the most that an influence could be; needed with ``influences``, and None where it is not known.
      hits: which examples count, shape (n,) of bool, where the figure is their share; no interval is exacter.
    """

    name: str
    better: Literal["lower", "higher"]
    low: float
    high: float
    keep: Callable[[Outputs], dict[str, np.ndarray]]
    value: Callable[[Columns], float]
    influences: Callable[[Columns], np.ndarray] | None = None
    reach: Callable[[Columns], float] | None = None
    hits: Callable[[Columns], np.ndarray] | None = None


def mean_metric(
    name: str,
    better: Literal["lower", "higher"],
    keep: Callable[[Outputs], dict[str, np.ndarray]],
    low: float = 0.0,
    high: float = math.inf,
) -> QualityMetric:
    """A metric that is the mean of one number of each example, which is kept under the metric's name."""

    def values(columns: Columns) -> np.ndarray:
        return columns[name].astype(np.float64)

    def reach(columns: Columns) -> float:
        return high - low if math.isfinite(high - low) else float(np.max(np.abs(values(columns))))

    return QualityMetric(
        name,
        better,
        low,
        high,
        keep=keep,
        value=lambda columns: float(np.mean(values(columns))),
        influences=lambda columns: values(columns) - np.mean(values(columns)),
        reach=reach,
    )


def finite(values: np.ndarray) -> np.ndarray:
    """The values, of shape (n, ...).

    Raises:
      DataError: some are NaN or infinite.
    """
    rows = int(np.sum(~np.isfinite(values).reshape(len(values), -1).all(axis=1)))
    if rows:
        raise DataError(f"{rows} of {len(values)} rows of outputs hold NaN or infinity; the model's output is broken")
    return values
