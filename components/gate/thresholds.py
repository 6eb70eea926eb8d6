"""What a model must keep to before it is blessed: bounds on metrics, checked while the pipeline is built.

    {"accuracy": {"min": 0.95, "max_drop": 0.01}, "size_bytes": {"max": 60000, "max_ratio": 0.35}}

``min`` and ``max`` bound the figure itself. Two bounds compare with the baseline model: ``max_drop`` says how far a
higher-is-better metric may fall (baseline - candidate), ``max_ratio`` how large a lower-is-better one may be
(candidate / baseline).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, Field, StrictFloat, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tfx_edge.config import Config
from tfx_edge.gate.metrics import METRICS, Metric


class Bound(Config):
    """The bounds of one metric; at least one is given.

    Attributes:
      min: the least value that passes.
      max: the greatest value that passes.
      max_drop: how much lower than the baseline's a higher-is-better metric may be.
      max_ratio: how many times the baseline's a lower-is-better metric may be.
    """

    min: StrictFloat | None = None
    max: StrictFloat | None = None
    max_drop: StrictFloat | None = None
    max_ratio: StrictFloat | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_an_object_of_known_kinds(cls, value: Any) -> Any:
        if isinstance(value, Bound):
            return value
        if not isinstance(value, dict):
            raise ValueError(f'write an object such as {{"max": 5}}; {_KINDS}')
        for key in value:
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}{_did_you_mean(key, cls.model_fields)}; {_KINDS}")
        return value

    @property
    def limits(self) -> dict[str, float]:
        """The bounds that are given, by kind."""
        return {kind: limit for kind in type(self).model_fields if (limit := getattr(self, kind)) is not None}


# By which way is better: the bound that a model keeps by being worse, and those that it does not.
_DIRECTIONS: dict[str | None, tuple[str, str]] = {
    "higher": ("max", "min or max_drop"),
    "lower": ("min", "max or max_ratio"),
}
_KINDS = "a bound takes min, max, max_drop and max_ratio"


class Thresholds(Config):
    """Bounds by metric name.

    The keys of its JSON are names of `tfx_edge.gate.metrics.METRICS`, or of the metrics given as validation context.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Bound] = Field(init=False)

    @model_validator(mode="after")
    def _can_be_met(self, info: ValidationInfo) -> Thresholds:
        metrics = info.context or METRICS
        problems = [
            InitErrorDetails(
                type=PydanticCustomError("threshold", "{problem}", {"problem": problem}), loc=(name, *key), input=value
            )
            for name, bound in self.bounds.items()
            for key, value, problem in _problems(name, bound, metrics)
        ]
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bound of each metric, in the order in which they were given."""
        return dict(self.__pydantic_extra__)

    @property
    def relative(self) -> list[str]:
        """The metrics with a bound that compares with the baseline model."""
        return [name for name, bound in self.bounds.items() if {"max_drop", "max_ratio"} & bound.limits.keys()]


def _problems(name: str, bound: Bound, metrics: Mapping[str, Metric]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Yields the key below the metric's name, its value, and what is wrong with it."""
    metric = metrics.get(name)
    if metric is None:
        yield (), bound.limits, f"unknown metric{_did_you_mean(name, metrics)}; known metrics: {', '.join(metrics)}"
    elif not bound.limits:
        yield (), {}, f"no bound is given; {_KINDS}"
    else:
        for kind, limit in bound.limits.items():
            problem = _problem(metric, kind, limit)
            if problem:
                yield (kind,), limit, problem
        against, along = _DIRECTIONS.get(metric.better, ("", ""))
        if set(bound.limits) == {against}:
            yield (against,), bound.limits[against], f"a worse {name} keeps it, too; give {along} as well"
        if bound.min is not None and bound.max is not None and bound.min > bound.max:
            yield ("min",), bound.min, f"is above max {bound.max:g}, so no model could pass; swap or widen them"


def _problem(metric: Metric, kind: str, limit: float) -> str | None:
    if kind == "max_drop" and metric.better == "lower":
        return f"a lower {metric.name} is better, so a drop is welcome; bound its growth by max_ratio instead"
    if kind == "max_ratio" and metric.better == "higher":
        return f"a higher {metric.name} is better; bound its loss by max_drop instead"
    if kind == "max_ratio" and limit <= 0:
        return "must be above 0: it is the candidate's figure divided by the baseline's"
    if kind == "max_drop" and limit < 0:
        return "must not be negative: it is the baseline's figure minus the candidate's; use min to demand a level"
    if kind in ("min", "max") and limit < metric.low:
        return f"must be at least {metric.low:g}, the least value that {metric.name} can have"
    if kind in ("min", "max", "max_drop") and limit > metric.high:
        return f"must be at most {metric.high:g}, the greatest value that {metric.name} can have"
    widest = {"min": metric.low, "max": metric.high, "max_drop": metric.high - metric.low}.get(kind)
    if limit == widest:
        return f"would bless every model, since no {metric.name} breaks it; give a limit that some would"
    return None


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
