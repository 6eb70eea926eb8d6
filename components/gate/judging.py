"""Judges a candidate on one target: measures there, and holds everything that is known against the bounds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.target import Target
from tfx_edge.errors import EdgeError, ModelError
from tfx_edge.gate import timing
from tfx_edge.gate.comparison import Comparison
from tfx_edge.gate.contract import Contract, check_baseline, check_contract, read_description
from tfx_edge.gate.estimate import Estimate
from tfx_edge.gate.metrics import Metric
from tfx_edge.gate.parity import output_difference
from tfx_edge.gate.quality import Batches, Quality
from tfx_edge.gate.sequential import Limit
from tfx_edge.gate.settings import GateSettings
from tfx_edge.gate.thresholds import Bound, Thresholds
from tfx_edge.gate.timed_inputs import Ranges, integer_ranges
from tfx_edge.gate.verdict import Check, Evidence, Verdict, check_bounds, interrupts
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.models import layout
from tfx_edge.models.features import inputs_of

Progress = Callable[[str], None]
_TIMED = ("latency", "memory")


@dataclass(frozen=True)
class Models:
    """The files that are judged."""

    candidate: LiteModel
    baseline: LiteModel | None
    description: Mapping[str, Any] | None

    @classmethod
    def read(cls, candidate_uri: str | Path, baseline_uri: str | Path | None) -> Models:
        """Inspects both.

        Raises:
          ModelError: one is not at the lite stage or cannot be read.
        """
        path = layout.require_lite_file(candidate_uri)
        baseline = inspect(layout.require_lite_file(baseline_uri)) if baseline_uri else None
        return cls(inspect(path), baseline, read_description(path))

    @property
    def paths(self) -> tuple[Path, Path | None]:
        """Where the candidate and the baseline lie."""
        return Path(self.candidate.path), Path(self.baseline.path) if self.baseline else None

    @property
    def changed(self) -> str:
        """The file that is no longer the one that was inspected, or empty."""
        for model in filter(None, (self.candidate, self.baseline)):
            try:
                content = Path(model.path).read_bytes()
            except OSError:
                content = b""
            if hashlib.sha256(content).hexdigest() != model.sha256:
                return model.path
        return ""

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps that made the candidate, as far as they are recorded."""
        steps = (self.description or {}).get("steps")
        return steps if isinstance(steps, list) else []


@dataclass(frozen=True)
class Case:
    """What all targets share.

    Attributes:
      models: the files.
      examples: makes one pass over the eval split, or None where no example is needed.
      settings: what is asked.
      metrics: every metric that may be bounded, by name.
      quality: what the eval split gave, or None.
      quality_problem: why there is no quality though it was asked for; empty otherwise.
    """

    models: Models
    examples: Batches | None
    settings: GateSettings
    metrics: Mapping[str, Metric]
    quality: Quality | None
    quality_problem: str

    @functools.cached_property
    def timed_inputs(self) -> tuple[Ranges, str]:
        """What is fed to inputs of integers, or why neither model can be timed."""
        roles = {"candidate": self.models.candidate, "baseline": self.models.baseline}
        try:
            return integer_ranges({role: model for role, model in roles.items() if model}, self._first_batch), ""
        except EdgeError as error:
            return {}, str(error)

    def _first_batch(self, model: LiteModel) -> Mapping[str, np.ndarray] | None:
        return next(inputs(model, self.examples, self.settings), None) if self.examples else None


@dataclass(frozen=True)
class Judged:
    """What one target gave; ``interrupted`` where it failed before all was measured, and not for the model's sake."""

    kind: str
    verdict: Verdict
    interrupted: bool
    evidence: Evidence
    environment: Mapping[str, Any]
    timing: timing.Timing | None

    def to_dict(self) -> dict[str, Any]:
        """The target's part of a report."""
        measured = self.timing
        latency = measured and {
            "candidate": [asdict(run) for run in measured.candidate_runs],
            "baseline": [asdict(run) for run in measured.baseline_runs],
            "paired": [asdict(pair) for pair in measured.pairs],
        }
        return {
            "kind": self.kind,
            "environment": dict(self.environment),
            "verdict": self.verdict.to_dict(),
            "candidate": _figures(self.evidence.candidate),
            "baseline": None if self.evidence.baseline is None else _figures(self.evidence.baseline),
            "relative": _figures(self.evidence.relative),
            "latency": latency,
        }


def _figures(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def judge(case: Case, name: str, progress: Progress) -> Judged:
    """Judges the candidate on the target of that name; what goes wrong there becomes a reason not to bless."""
    config, models = case.settings.targets[name], case.models
    thresholds = case.settings.bounds_on(name, case.metrics)
    problems: list[str] = []
    interrupted = False
    measured, environment = None, {}
    unknown: dict[str, str] = {}
    exact: dict[str, dict[str, Estimate]] = {"candidate": {}, "baseline": {}}
    with contextlib.ExitStack() as stack:
        try:
            target = stack.enter_context(config.connect())
            integers, untimed = case.timed_inputs if "latency" in target.OFFERS else ({}, "")
            unknown = {metric: untimed for metric, each in case.metrics.items() if untimed and each.source in _TIMED}
            if "latency" in target.OFFERS and not untimed:
                measured = timing.measure(
                    target,
                    *models.paths,
                    list(_timed_limits(thresholds, case.metrics)),
                    options=replace(config.run_options, integers=integers),
                    budget_s=case.settings.time_budget_s,
                    confidence=case.settings.target_confidence,
                    progress=lambda line: progress(f"{name}: {line}"),
                )
                environment = dict(measured.environment)
            if "arena" in target.OFFERS:
                exact, environment, unknown = _arenas(target, models, config.timeout_s)
            if "output_difference" in thresholds.bounds:
                difference = _difference(target, case, config.timeout_s)
                exact["candidate"]["output_difference"] = Estimate.exact(difference)
        except EdgeError as error:
            problems.append(f"target {name!r}: {error}")
            interrupted = interrupts(error)
        except Exception as error:
            interrupted = True
            problems.append(f"target {name!r} failed in a way that nobody foresaw: {error!r}")
    evidence = _evidence(case, measured, exact, unknown)
    checks = [
        *_contract_checks(models, config.contract or case.settings.contract),
        *check_bounds(thresholds.bounds, evidence, case.metrics),
        *_slice_checks(case),
    ]
    verdict = Verdict.of(checks, problems)
    return Judged(
        config.kind,
        verdict,
        interrupted,
        evidence,
        environment or {"target": config.connect().fingerprint()},
        measured,
    )


def _timed_limits(thresholds: Thresholds, metrics: Mapping[str, Metric]) -> Iterable[Limit]:
    for metric, bound in thresholds.bounds.items():
        if metrics[metric].source in _TIMED:
            yield from (Limit(metric, kind, limit) for kind, limit in bound.limits.items())


def _arenas(
    target: Target, models: Models, timeout_s: float
) -> tuple[dict[str, dict[str, Estimate]], dict[str, Any], dict[str, str]]:
    """The arenas of the candidate and, where a microcontroller can run it, of the baseline, or why not."""
    candidate, baseline = models.paths
    size, environment = target.arena_bytes(candidate, timeout_s)
    arenas = {"candidate": {"arena_bytes": Estimate.exact(float(size))}, "baseline": {}}
    try:
        if baseline:
            arenas["baseline"] = {"arena_bytes": Estimate.exact(float(target.arena_bytes(baseline, timeout_s)[0]))}
    except ModelError as error:
        return arenas, dict(environment), {"arena_bytes": str(error)}
    return arenas, dict(environment), {}


def inputs(model: LiteModel, examples: Batches, settings: GateSettings) -> Iterator[dict[str, np.ndarray]]:
    """What a model is fed of each batch, without what slices are made of."""
    names = [tensor.name for tensor in model.inputs]
    return (inputs_of(features, names, settings.slice_features) for features, _ in examples())


def _difference(target: Target, case: Case, timeout_s: float) -> float:
    candidate = case.models.candidate
    batches = inputs(candidate, case.examples, case.settings) if case.examples else iter(())
    return output_difference(target, Path(candidate.path), batches, timeout_s)


def _evidence(
    case: Case,
    measured: timing.Timing | None,
    exact: Mapping[str, Mapping[str, Estimate]],
    unknown: Mapping[str, str],
) -> Evidence:
    models, quality = case.models, case.quality

    def of_file(model: LiteModel) -> dict[str, Estimate]:
        sizes = {"size_bytes": model.size_bytes, "gzip_bytes": model.gzip_bytes}
        return {name: Estimate.exact(float(size)) for name, size in sizes.items()}

    found = _quality_evidence(quality.metrics if quality else {}, models.baseline is not None)
    unmeasured = dict.fromkeys(case.settings.quality_metrics, case.quality_problem) if case.quality_problem else {}
    candidate = {
        **of_file(models.candidate),
        **(measured.candidate if measured else {}),
        **exact["candidate"],
        **found.candidate,
    }
    baseline = None
    if models.baseline:
        timed = (measured.baseline or {}) if measured else {}
        baseline = {**of_file(models.baseline), **timed, **exact["baseline"], **(found.baseline or {})}
    relative = {**(measured.relative if measured else {}), **found.relative}
    shortfalls = {(gap.limit.metric, gap.limit.kind): str(gap) for gap in measured.shortfalls} if measured else {}
    return Evidence(candidate, baseline, relative, {**found.problems, **unmeasured, **unknown}, shortfalls)


def _quality_evidence(comparisons: Mapping[str, Comparison], with_baseline: bool) -> Evidence:
    def figures(role: str) -> dict[str, Estimate]:
        return {name: figure for name, each in comparisons.items() if (figure := getattr(each, role)) is not None}

    return Evidence(
        candidate=figures("candidate"),
        baseline=figures("baseline") if with_baseline else None,
        relative=figures("drop") | figures("ratio"),
        problems={name: each.problem for name, each in comparisons.items() if each.problem},
    )


def _slice_checks(case: Case) -> list[Check]:
    """Every slice against its bounds; a way of slicing that gives no slice to judge fails."""
    bounds = Thresholds.parse(case.settings.slice_thresholds, case.metrics).bounds
    if not bounds:
        return []
    if case.quality is None:
        return _failing(bounds, f"no slice is known: {case.quality_problem or 'quality was not measured'}")
    checks = []
    for spec in case.settings.slices:
        features = {spec} if isinstance(spec, str) else set(spec)
        parts = [part for part in case.quality.slices if set(part.slice) == features and not part.skipped]
        if not parts:
            checks += _failing(
                bounds,
                f"no slice by {', '.join(sorted(features))} has min_slice_size {case.settings.min_slice_size} "
                "examples, so slice_thresholds bound nothing: lower it, or give more examples",
            )
        for part in parts:
            evidence = _quality_evidence(part.metrics, case.models.baseline is not None)
            checks += check_bounds(bounds, evidence, case.metrics, where=part.slice)
    return checks


def _failing(bounds: Mapping[str, Bound], reason: str) -> list[Check]:
    return [
        Check(name, kind, "fail", reason, limit=limit)
        for name, bound in bounds.items()
        for kind, limit in bound.limits.items()
    ]


def _contract_checks(models: Models, contract: Contract) -> list[Check]:
    found = check_contract(models.candidate, contract, models.steps, models.description)
    if models.baseline:
        found += check_baseline(models.baseline, read_description(models.baseline.path))
    return [Check(each.rule, "contract", "pass" if each.passed else "fail", each.reason) for each in found]
