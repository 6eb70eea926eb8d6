"""Latency and memory of a candidate and its baseline on one target, measured until the limits on them are decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tfx_edge.devices.measurement import ProcessRun
from tfx_edge.devices.target import PairedRun, RunOptions, Target
from tfx_edge.gate.estimate import Estimate
from tfx_edge.gate.latency import MEMORY, METRICS, STATISTICS, absolute, memory, memory_ratio, relative
from tfx_edge.gate.sequential import Limit, Sampled, Shortfall, sample

PROCESSES = 4  # fewer tell too little about how much processes differ: a t interval of three is 1.7 times as wide
UNLIMITED = 2  # where no limit asks for more


@dataclass(frozen=True)
class Timing:
    """What was measured on one target.

    Attributes:
      candidate: figures by metric. Latencies are of processes that held the candidate alone where a limit is on them,
        else of those that compared it with the baseline; memory is always of the former.
      baseline: likewise; None without a baseline.
      relative: the candidate's figures divided by the baseline's.
      candidate_runs: processes that held the candidate alone.
      baseline_runs: processes that held the baseline alone.
      pairs: processes that compared the two.
      environment: what the figures hold for.
      shortfalls: for each limit that stayed open, what it would have taken.
      seconds: what all of it took.
    """

    candidate: Mapping[str, Estimate]
    baseline: Mapping[str, Estimate] | None
    relative: Mapping[str, Estimate]
    candidate_runs: tuple[ProcessRun, ...]
    baseline_runs: tuple[ProcessRun, ...]
    pairs: tuple[PairedRun, ...]
    environment: Mapping[str, Any]
    shortfalls: tuple[Shortfall, ...]
    seconds: float


def measure(
    target: Target,
    candidate: Path,
    baseline: Path | None,
    limits: Sequence[Limit],
    *,
    options: RunOptions,
    budget_s: float,
    confidence: float,
    progress: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> Timing:
    """Measures until all limits are decided or the time is over, whichever comes first.

    Figures that come with no estimate need more timings in a process than the budget leaves room for.

    Args:
      target: where.
      candidate: the model to judge.
      baseline: the model to compare it with, if any.
      limits: on latency and memory of the candidate, or on their ratios to the baseline's.
      options: how each process measures. ``runs`` is raised to what the limited statistics need, and ``max_seconds``
        lowered so that several processes fit the budget.
      budget_s: seconds for each of the models. Slow models and targets exceed it, since a few processes always run.
      confidence: that no limit is ever decided wrongly.
      progress: takes lines for people.
      clock: seconds that only grow.

    Raises:
      ModelError: a model cannot be loaded or run.
      DeviceError: the target is absent, died, hung or answered nonsense.
    """
    own = [limit for limit in limits if limit.kind != "max_ratio"]
    ratios = [limit for limit in limits if limit.kind == "max_ratio" and limit.metric in METRICS]
    timer = _Timer(target, _fitted(options, limits, budget_s), confidence, progress, clock)
    if baseline is None:
        return _of_one(timer.alone("candidate", candidate, own, budget_s, PROCESSES), timer.environment)
    at_least = PROCESSES if own or any(limit.metric in MEMORY for limit in limits) else UNLIMITED
    alone = timer.alone("candidate", candidate, own, budget_s / 2, at_least)
    other = timer.alone("baseline", baseline, [], 0, at_least)
    pairs = timer.paired(candidate, baseline, ratios, 2 * budget_s - alone.seconds - other.seconds)
    return _of_two(alone, other, pairs, any(limit.metric in METRICS for limit in own), confidence, timer.environment)


@dataclass
class _Timer:
    target: Target
    options: RunOptions
    confidence: float
    progress: Callable[[str], None]
    clock: Callable[[], float]
    environment: Mapping[str, Any] = field(default_factory=dict)
    turns: int = 0

    def alone(
        self, role: str, model: Path, limits: Sequence[Limit], budget_s: float, at_least: int
    ) -> Sampled[ProcessRun]:
        sampled = self._sample(role, lambda: self._latency(model), _alone, limits, budget_s, at_least)
        # Memory is the most of all processes, those included that came after its limit seemed decided.
        most = {metric: memory(sampled.samples, metric, self.confidence) for metric in MEMORY}
        return replace(sampled, estimates=sampled.estimates | _known(most))

    def paired(self, candidate: Path, baseline: Path, limits: Sequence[Limit], budget_s: float) -> Sampled[PairedRun]:
        both = "candidate / baseline"
        return self._sample(both, lambda: self._compare(candidate, baseline), _ratios, limits, budget_s, PROCESSES)

    def _sample(
        self,
        what: str,
        take: Callable[[], Any],
        estimate: Callable[[Sequence[Any], float], dict[str, Estimate | None]],
        limits: Sequence[Limit],
        budget_s: float,
        at_least: int,
    ) -> Sampled[Any]:
        return sample(
            take,
            estimate,
            limits,
            budget_s=budget_s,
            confidence=self.confidence,
            at_least=at_least,
            clock=self.clock,
            progress=lambda line: self.progress(f"{what}: {line}"),
        )

    def _latency(self, model: Path) -> ProcessRun:
        run, environment = self.target.latency(model, self.options)
        self.environment = self.environment or environment
        return run

    def _compare(self, candidate: Path, baseline: Path) -> PairedRun:
        """Both in one process; on a target that cannot, one process after the other in turns, which tells far less."""
        if "compare" in self.target.OFFERS:
            return self.target.compare(candidate, baseline, self.options)[0]
        self.turns += 1
        if self.turns % 2:
            return PairedRun(self._latency(candidate), self._latency(baseline))
        first = self._latency(baseline)
        return PairedRun(self._latency(candidate), first)


def _fitted(options: RunOptions, limits: Sequence[Limit], budget_s: float) -> RunOptions:
    """Runs enough for each limited statistic, in a time that lets several processes fit the budget."""
    needed = max((STATISTICS[METRICS[limit.metric]][1] for limit in limits if limit.metric in METRICS), default=1)
    share = budget_s / PROCESSES if needed > 1 else budget_s / PROCESSES / 2
    limit_s = options.timeout_s / 2 if options.max_seconds is None else options.max_seconds
    return replace(options, runs=max(options.runs, needed), max_seconds=min(limit_s, share))


def _alone(runs: Sequence[ProcessRun], confidence: float) -> dict[str, Estimate | None]:
    latency = {metric: absolute(runs, statistic, confidence) for metric, statistic in METRICS.items()}
    return latency | {metric: memory(runs, metric, confidence) for metric in MEMORY}


def _ratios(pairs: Sequence[PairedRun], confidence: float) -> dict[str, Estimate | None]:
    return {metric: relative(pairs, statistic, confidence) for metric, statistic in METRICS.items()}


def _of_one(alone: Sampled[ProcessRun], environment: Mapping[str, Any]) -> Timing:
    return Timing(alone.estimates, None, {}, alone.samples, (), (), environment, alone.shortfalls, alone.seconds)


def _of_two(
    alone: Sampled[ProcessRun],
    other: Sampled[ProcessRun],
    pairs: Sampled[PairedRun],
    latency_is_alone: bool,
    confidence: float,
    environment: Mapping[str, Any],
) -> Timing:
    candidate, baseline = alone.estimates, other.estimates
    if not latency_is_alone:
        together = [
            _known({metric: absolute(runs, statistic, confidence) for metric, statistic in METRICS.items()})
            for runs in ([pair.candidate for pair in pairs.samples], [pair.baseline for pair in pairs.samples])
        ]
        candidate, baseline = candidate | together[0], baseline | together[1]
    ratios = {metric: memory_ratio(alone.samples, other.samples, metric, confidence) for metric in MEMORY}
    return Timing(
        candidate,
        baseline,
        pairs.estimates | _known(ratios),
        alone.samples,
        other.samples,
        pairs.samples,
        environment,
        (*alone.shortfalls, *pairs.shortfalls),
        alone.seconds + other.seconds + pairs.seconds,
    )


def _known(estimates: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    return {metric: estimate for metric, estimate in estimates.items() if estimate is not None}
