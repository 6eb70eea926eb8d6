"""What the gate is asked: what must hold, where, and how well it must be known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from tfx_edge.config import Config
from tfx_edge.gate.contract import Contract
from tfx_edge.gate.metrics import METRICS, Metric, own_metric
from tfx_edge.gate.targets import AnyTarget, LocalConfig
from tfx_edge.gate.thresholds import Thresholds

_OFFERED = ("latency", "memory", "arena", "infer")


class GateSettings(Config):
    """What is measured, where, and what must hold.

    Attributes:
      thresholds: bounds by metric name that hold on every target, as `tfx_edge.gate.thresholds.Thresholds` takes them.
      slice_thresholds: bounds on quality metrics that hold for every slice.
      targets: where the model is measured, by names of your choice; by default this machine.
      policy: which targets must pass: ``"all"``, ``"any"``, or a list of names.
      contract: rules for the inside of the file on every target.
      metrics: quality metrics to report beside those that are bounded.
      own_metrics: names of metrics that the module's ``metric_fns`` defines.
      slices: features whose values tell slices apart, or lists of features to cross.
      min_slice_size: slices with fewer examples are reported and not judged.
      output: the output to score; needed when the model has several.
      scores: whether that output holds logits or probabilities; ``"auto"`` looks for a softmax or sigmoid.
      confidence: the probability with which each bound must be known to hold; policy ``"any"`` divides the error among
        the targets, since each is another chance to pass.
      time_budget_s: seconds of timing for each model on each target; a few processes always run.
      batch_size: examples read at a time.
      batch_timeout_s: seconds that scoring one of these may take.
    """

    thresholds: dict[str, Any] = Field(default_factory=dict)
    slice_thresholds: dict[str, Any] = Field(default_factory=dict)
    targets: dict[str, AnyTarget] = Field(default={"local": LocalConfig()}, min_length=1)
    policy: Literal["all", "any"] | tuple[str, ...] = "all"
    contract: Contract = Contract()
    metrics: tuple[str, ...] = ()
    own_metrics: tuple[str, ...] = ()
    slices: tuple[str | tuple[str, ...], ...] = ()
    min_slice_size: int = Field(default=100, ge=1)
    output: str | None = None
    scores: Literal["auto", "logits", "probabilities"] = "auto"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    time_budget_s: float = Field(default=10, gt=0)
    batch_size: int = Field(default=256, ge=1)
    batch_timeout_s: float = Field(default=600, gt=0)

    @model_validator(mode="after")
    def _can_work(self) -> GateSettings:
        known = self.known_metrics()
        sliced = Thresholds.parse(self.slice_thresholds, known)
        for name in sliced.bounds:
            if known[name].source != "quality":
                raise ValueError(f"slice_thresholds.{name}: only quality metrics are known for each slice")
        if sliced.bounds and not self.slices:
            raise ValueError("slice_thresholds bound slices, but slices names no feature to tell them apart")
        for name in self.own_metrics:
            if name in METRICS:
                raise ValueError(f"own_metrics: {name!r} is the name of a metric that is there already; choose another")
        for name in self.metrics:
            if name not in known or known[name].source != "quality":
                raise ValueError(f"metrics: {name!r} is no quality metric; name others in own_metrics")
        if isinstance(self.policy, tuple) and not (self.policy and set(self.policy) <= self.targets.keys()):
            raise ValueError(f"policy {list(self.policy)} must name targets; there are {', '.join(self.targets)}")
        if isinstance(self.policy, tuple) and len(set(self.policy)) < len(self.policy):
            raise ValueError(f"policy {list(self.policy)} names a target twice")
        for name in self.targets:
            self._check_target(name, known)
        return self

    def _check_target(self, name: str, known: Mapping[str, Metric]) -> None:
        target, bounds = self.targets[name], self.bounds_on(name, known).bounds
        offers = target.TARGET.OFFERS
        if not bounds and not self.slice_thresholds:
            where = f" on target {name!r}" if len(self.targets) > 1 else ""
            raise ValueError(
                f"no thresholds are given{where}, and a gate without any would bless every model; "
                f"bound at least one of {', '.join(known)}"
            )
        for metric in bounds:
            if known[metric].source in _OFFERED and known[metric].source not in offers:
                raise ValueError(
                    f"target {name!r} of kind {target.kind!r} cannot measure {metric}: bound it in the thresholds of a "
                    f"target that can; this one offers {', '.join(sorted(offers))}"
                )
        if offers == {"infer"} and "output_difference" not in bounds:
            raise ValueError(f"target {name!r} of kind {target.kind!r} gives outputs alone: bound output_difference")
        if "output_difference" in bounds and target.kind == "local":
            raise ValueError(f"output_difference on target {name!r} compares this machine with itself: leave it out")
        if "output_difference" in bounds and bounds["output_difference"].max_ratio is not None:
            raise ValueError(f"output_difference on target {name!r} takes max, since a baseline has none to compare")

    def known_metrics(self) -> dict[str, Metric]:
        """Every metric that may be named, the user's own included."""
        return METRICS | {name: own_metric(name) for name in self.own_metrics}

    def bounds_on(self, target: str, metrics: Mapping[str, Metric]) -> Thresholds:
        """The bounds that hold on a target: the general ones, and instead of each the target's own where it has one."""
        return Thresholds.parse(self.thresholds | self.targets[target].thresholds, metrics)

    @property
    def target_confidence(self) -> float:
        """The confidence of the bounds on each target: where any of them is enough, they share the error."""
        chances = len(self.targets) if self.policy == "any" else 1
        return 1 - (1 - self.confidence) / chances

    @property
    def relative(self) -> list[str]:
        """The metrics with a bound that compares with the baseline."""
        known = self.known_metrics()
        return list(dict.fromkeys(name for each in self._given for name in Thresholds.parse(each, known).relative))

    @property
    def quality_metrics(self) -> list[str]:
        """The quality metrics to compute: those that are bounded, then the others that are asked for."""
        known = self.known_metrics()
        bounded = [name for each in self._given for name in each if known[name].source == "quality"]
        return list(dict.fromkeys([*bounded, *self.metrics, *self.own_metrics]))

    @property
    def slice_features(self) -> list[str]:
        """The features that slices are made of, each once."""
        return list(dict.fromkeys(name for spec in self.slices for name in ([spec] if isinstance(spec, str) else spec)))

    @property
    def _given(self) -> list[dict[str, Any]]:
        return [self.thresholds, self.slice_thresholds, *(target.thresholds for target in self.targets.values())]
