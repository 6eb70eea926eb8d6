"""Metrics that a user's module brings: ``metric_fns(fn_args)``.

    def metric_fns(fn_args):
        return {
            "within_ten": {"function": within_ten, "better": "higher", "per_example": True, "low": 0.0, "high": 1.0},
            "median_error": {"function": median_error, "better": "lower"},
        }

``function(labels, outputs)`` takes the labels and the scored output, both arrays of shape (n, ...), which it must not
write to: other metrics see the same. Outputs that hold NaN or infinity do not get that far. With
``per_example`` it returns n numbers: it then runs where the examples are, and the figure is their mean. Without, it
returns one number for all examples: their labels and outputs are all kept and travel (4 bytes or more a number), and
intervals take a bootstrap of at least 1,000 calls.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import cloudpickle
import numpy as np
from pydantic import Field

from tfx_edge.config import Config
from tfx_edge.errors import DataError, EdgeError, UserCodeError
from tfx_edge.gate.metric_kinds import Columns, Outputs, QualityMetric, finite, mean_metric
from tfx_edge.gate.metrics import METRICS

HOOK = "metric_fns"
# Shares computed in float32 may leave their range by rounding.
_ROUNDING = 1e-6


class OwnMetric(Config):
    """What a user says of a metric, beside its function.

    Attributes:
      better: the direction of improvement.
      per_example: whether the function gives one number for each example.
      low: the least possible value.
      high: the greatest possible value.
    """

    better: Literal["lower", "higher"]
    per_example: bool = False
    low: float | None = Field(default=None)
    high: float | None = Field(default=None)


def own_metrics(found: Any) -> dict[str, QualityMetric]:
    """The metrics that ``metric_fns`` returned, ready to be sent to workers.

    Raises:
      UserCodeError: it returned something else than the module docstring shows, or a name that is taken.
    """
    if not isinstance(found, Mapping):
        raise UserCodeError(f"{HOOK} must return a dict of metrics by name, but returned a {type(found).__name__}")
    return {name: _metric(name, description) for name, description in found.items()}


def _metric(name: Any, description: Any) -> QualityMetric:
    if not isinstance(name, str) or not name.isidentifier() or name in METRICS:
        raise UserCodeError(f"{HOOK}: {name!r} is no name or is that of a built-in metric; choose another one")
    function = description.get("function") if isinstance(description, Mapping) else None
    if not callable(function):
        raise UserCodeError(f'{HOOK}: {name} must be {{"function": f, "better": "higher" or "lower"}}')
    try:
        settings = OwnMetric.parse({key: value for key, value in description.items() if key != "function"})
    except EdgeError as error:
        raise UserCodeError(f"{HOOK}: {name}: {error}") from error
    low = -math.inf if settings.low is None else settings.low
    high = math.inf if settings.high is None else settings.high
    if not low < high:
        raise UserCodeError(f"{HOOK}: {name}: low must be below high, but they are {low:g} and {high:g}")
    _pickle_by_value(function)

    def numbers(outputs: Outputs) -> dict[str, np.ndarray]:
        return {name: _within(name, _numbers(name, function, outputs), low, high)}

    def number(columns: Columns) -> float:
        return float(_within(name, _number(name, function, columns), low, high))

    if settings.per_example:
        return mean_metric(name, settings.better, numbers, low, high)
    return QualityMetric(name, settings.better, low, high, _keep_all, number)


def _pickle_by_value(function: Callable[..., Any]) -> None:
    """Sends the module's code along with the function: workers cannot import the user's module."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if module is not None and module.__name__.partition(".")[0] not in sys.stdlib_module_names | {"numpy", "sklearn"}:
        cloudpickle.register_pickle_by_value(module)


def _keep_all(outputs: Outputs) -> dict[str, np.ndarray]:
    return {"labels": np.asarray(outputs.labels), "outputs": finite(np.asarray(outputs.values))}


def _call(name: str, function: Callable[..., Any], labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(function(_read_only(labels), _read_only(values)), np.float64)
    except Exception as error:
        raise UserCodeError(f"the metric {name} failed: {error!r}") from error


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _within(name: str, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The values, of which rounding may have put some just beyond the limits that the user declares."""
    outside = (values < low - _ROUNDING * max(1.0, abs(low))) | (values > high + _ROUNDING * max(1.0, abs(high)))
    if outside.any():
        raise DataError(
            f"the metric {name} is said to lie between {low:g} and {high:g}, but gave {values[outside].flat[0]:g}; "
            "correct its low and high"
        )
    return np.clip(values, low, high)


def _numbers(name: str, function: Callable[..., Any], outputs: Outputs) -> np.ndarray:
    numbers = _call(name, function, outputs.labels, finite(outputs.values))
    if numbers.shape != (len(outputs.values),):
        raise UserCodeError(
            f"the metric {name} must give one number for each of {len(outputs.values)} examples, but gave the shape "
            f"{numbers.shape}; leave out per_example if it gives one for all"
        )
    if not np.isfinite(numbers).all():
        raise DataError(f"the metric {name} gave NaN or infinity for {int(np.sum(~np.isfinite(numbers)))} examples")
    return numbers


def _number(name: str, function: Callable[..., Any], columns: Columns) -> np.ndarray:
    number = _call(name, function, columns["labels"], columns["outputs"])
    if number.size != 1:
        raise UserCodeError(
            f"the metric {name} must give one number, but gave the shape {number.shape}; say per_example if it gives "
            "one for each example"
        )
    return number.reshape(())
