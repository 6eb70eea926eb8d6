"""Metrics of regression: how far outputs are from the labels. Of several numbers an example, the mean counts."""

from __future__ import annotations

import math

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.gate.metric_kinds import Columns, Outputs, finite


def keep_absolute_errors(outputs: Outputs) -> dict[str, np.ndarray]:
    """The mean absolute error of each example."""
    return {"mean_absolute_error": np.abs(_errors(outputs)).mean(axis=1)}


def _errors(outputs: Outputs) -> np.ndarray:
    """Output minus label, of shape (n, numbers)."""
    values, labels = finite(outputs.values), outputs.labels
    if labels.dtype.kind not in "iufb":
        raise DataError(f"labels are of type {labels.dtype}, but numbers are needed")
    shapes = [tuple(size for size in array.shape[1:] if size != 1) for array in (labels, values)]
    flat = min(map(len, shapes)) < 2
    if len(labels) != len(values) or labels.size != values.size or (shapes[0] != shapes[1] and not flat):
        raise DataError(f"labels have the shape {labels.shape}, but the output {values.shape}; they must be alike")
    if not np.isfinite(labels).all():
        raise DataError(f"{int(np.sum(~np.isfinite(labels)))} of {labels.size} labels are NaN or infinite")
    return (values.astype(np.float64) - labels.reshape(values.shape)).reshape(len(values), -1)


def keep_squared_errors(outputs: Outputs) -> dict[str, np.ndarray]:
    """The mean squared error of each example."""
    return {"squared_error": (_errors(outputs) ** 2).mean(axis=1)}


def rmse(columns: Columns) -> float:
    """The root of the mean squared error."""
    return math.sqrt(float(np.mean(columns["squared_error"])))


def rmse_influences(columns: Columns) -> np.ndarray:
    """By the derivative of the root."""
    squares = columns["squared_error"]
    root = rmse(columns)
    return (squares - squares.mean()) / (2 * root) if root > 0 else np.zeros(len(squares))


def rmse_reach(columns: Columns) -> float:
    """The influence of the worst example seen."""
    root = rmse(columns)
    return float(columns["squared_error"].max()) / (2 * root) if root > 0 else 0.0


def keep_r2(outputs: Outputs) -> dict[str, np.ndarray]:
    """The label and the squared error of one number an example."""
    errors = _errors(outputs)
    if errors.shape[1] != 1:
        raise DataError(f"r2 takes one number an example, but the output has the shape {outputs.values.shape}")
    return {"target": outputs.labels.reshape(-1).astype(np.float64), "squared_error": errors[:, 0] ** 2}


def r2(columns: Columns) -> float:
    """The share of the labels' variance that is explained; below 0 where their mean would do better."""
    variance = float(np.var(columns["target"]))
    if variance <= 0:
        raise DataError("the labels are all the same, so r2 is not defined")
    return 1 - float(np.mean(columns["squared_error"])) / variance


def r2_influences(columns: Columns) -> np.ndarray:
    """By the derivatives with respect to the mean squared error and to the variance."""
    target, squares = columns["target"], columns["squared_error"]
    variance, error = np.var(target), np.mean(squares)
    return error * ((target - target.mean()) ** 2 - variance) / variance**2 - (squares - error) / variance


def r2_reach(columns: Columns) -> float:
    """The influence of the worst example seen, or of one with the worst error and an average label."""
    worst = float(columns["squared_error"].max() / np.var(columns["target"]))
    return max(worst, float(np.abs(r2_influences(columns)).max()))
