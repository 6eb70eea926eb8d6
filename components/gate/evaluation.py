"""Judges a candidate: from model files and examples to a report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfx_edge.devices import profile
from tfx_edge.devices.target import Target
from tfx_edge.errors import ConfigError, EdgeError
from tfx_edge.gate import timing
from tfx_edge.gate.comparison import Comparison
from tfx_edge.gate.contract import Contract, check_contract, read_description
from tfx_edge.gate.estimate import Estimate
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.gate.metric_kinds import QualityMetric
from tfx_edge.gate.metrics import Metric
from tfx_edge.gate.parity import output_difference
from tfx_edge.gate.quality import Batches, Quality, QualityOptions, evaluate_quality
from tfx_edge.gate.remedy import remedy
from tfx_edge.gate.sequential import Limit
from tfx_edge.gate.settings import GateSettings
from tfx_edge.gate.thresholds import Thresholds
from tfx_edge.gate.verdict import Check, Evidence, Outcome, Verdict, check_bounds
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.models import layout

SCHEMA_VERSION = 2

Progress = Callable[[str], None]


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
    def steps(self) -> list[dict[str, Any]]:
        """The steps that made the candidate, as far as they are recorded."""
        steps = (self.description or {}).get("steps")
        return steps if isinstance(steps, list) else []


def evaluate(
    candidate_uri: str | Path,
    baseline_uri: str | Path | None,
    examples: Batches | None,
    settings: GateSettings,
    progress: Progress,
    *,
    files: ExampleFiles | None = None,
    own: Mapping[str, QualityMetric] | None = None,
    pipeline_args: Sequence[str] = (),
    name: str = "",
) -> dict[str, Any]:
    """Evaluates a lite stage; whatever goes wrong becomes a reason not to bless.

    Args:
      candidate_uri: the candidate's Model artifact.
      baseline_uri: the baseline's, or None.
      examples: the eval split: a function that makes one pass over (features, labels) batches; None where neither
        quality nor outputs are asked for.
      settings: what is asked.
      progress: takes lines for people.
      files: the same examples as files, for Beam to read.
      own: the metrics that the user's module defines.
      pipeline_args: Beam's arguments, for files.
      name: what the report calls the candidate.

    Returns:
      The report, as docs/report.md describes it.
    """
    try:
        models = Models.read(candidate_uri, baseline_uri)
        metrics = _metrics(settings, own or {})
        bounds = {target: settings.bounds_on(target, metrics) for target in settings.targets}
    except EdgeError as error:
        return unevaluated(f"the candidate could not be evaluated: {error}", name)
    quality, problem = _quality(models, files or examples, settings, own or {}, pipeline_args)
    if quality:
        progress(_quality_line(quality))
    judged = {
        target: _judge_on(target, models, examples, bounds[target], metrics, quality, problem, settings, progress)
        for target in settings.targets
    }
    described, operators = models.candidate.to_dict(), profile.profile(models.paths[0])
    verdict = _overall(judged, settings.policy)
    binding = _binding(judged, settings.policy)
    checks = [check.to_dict() for part in judged.values() for check in part.verdict.checks]
    return {
        **_head(name),
        "sha256": models.candidate.sha256,
        "verdict": {
            "blessed": verdict.blessed,
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            "remedy": None if verdict.blessed else remedy(checks, described, models.steps, operators.to_list()),
            "policy": settings.policy if isinstance(settings.policy, str) else list(settings.policy),
            "binding": binding,
        },
        "targets": {target: part.to_dict() for target, part in judged.items()},
        "quality": quality.to_dict() if quality else None,
        "inspection": {
            "candidate": described,
            "baseline": models.baseline.to_dict() if models.baseline else None,
        },
        "operators": {"candidate": operators.to_list(), "baseline": None},
        "steps": models.steps,
        "config": settings.model_dump(mode="json"),
    }


def unevaluated(reason: str, name: str = "") -> dict[str, Any]:
    """The report when the evaluation itself did not come to an end: no figures, not blessed."""
    verdict = {"blessed": False, "outcome": "fail", "reason": reason, "remedy": None, "policy": "all", "binding": None}
    empty = dict.fromkeys(("sha256", "quality", "inspection", "operators"))
    return {**_head(name), **empty, "verdict": verdict, "targets": {}, "steps": [], "config": {}}


def _head(name: str) -> dict[str, Any]:
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"schema_version": SCHEMA_VERSION, "name": name, "created": created}


def _metrics(settings: GateSettings, own: Mapping[str, QualityMetric]) -> dict[str, Metric]:
    """Every metric that is known, with what the user's module says about its own."""
    missing = [name for name in settings.own_metrics if name not in own]
    if missing:
        raise ConfigError(f"own_metrics names {', '.join(missing)}, but the module's metric_fns does not define it")
    told = {name: Metric(name, "", each.better, "quality", each.low, each.high) for name, each in own.items()}
    return settings.known_metrics() | told


def _quality(
    models: Models,
    source: Batches | ExampleFiles | None,
    settings: GateSettings,
    own: Mapping[str, QualityMetric],
    pipeline_args: Sequence[str],
) -> tuple[Quality | None, str]:
    """The quality, or None and why it is not known."""
    if not settings.quality_metrics:
        return None, ""
    if source is None:
        return None, "there are no examples"
    options = QualityOptions(
        metrics=settings.quality_metrics,
        own=own,
        slices=settings.slices,
        min_slice_size=settings.min_slice_size,
        confidence=settings.confidence,
        output=settings.output,
        scores=settings.scores,
        batch_size=settings.batch_size,
    )
    try:
        return evaluate_quality(*models.paths, source, options, pipeline_args=pipeline_args), ""
    except EdgeError as error:
        return None, str(error)


@dataclass(frozen=True)
class Judged:
    """What one target gave."""

    kind: str
    verdict: Verdict
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


def _judge_on(
    name: str,
    models: Models,
    examples: Batches | None,
    thresholds: Thresholds,
    metrics: Mapping[str, Metric],
    quality: Quality | None,
    quality_problem: str,
    settings: GateSettings,
    progress: Progress,
) -> Judged:
    config = settings.targets[name]
    problems: list[str] = []
    measured, environment = None, {}
    exact: dict[str, dict[str, Estimate]] = {"candidate": {}, "baseline": {}}
    with contextlib.ExitStack() as stack:
        try:
            target = stack.enter_context(config.connect())
            if "latency" in target.OFFERS:
                measured = timing.measure(
                    target,
                    *models.paths,
                    list(_timed_limits(thresholds, metrics)),
                    options=config.run_options,
                    budget_s=settings.time_budget_s,
                    confidence=settings.confidence,
                    progress=lambda line: progress(f"{name}: {line}"),
                )
                environment = dict(measured.environment)
            if "arena" in target.OFFERS:
                exact, environment = _arenas(target, models, config.timeout_s)
            if "output_difference" in thresholds.bounds:
                difference = _difference(target, models, examples, config.timeout_s)
                exact["candidate"]["output_difference"] = Estimate.exact(difference)
        except EdgeError as error:
            problems.append(f"target {name!r}: {error}")
    evidence = _evidence(models, measured, exact, quality, quality_problem, settings)
    checks = [
        *_contract_checks(models, config.contract or settings.contract),
        *check_bounds(thresholds.bounds, evidence, metrics),
        *_slice_checks(quality, settings, metrics, models.baseline is not None),
    ]
    verdict = Verdict.of(checks, problems)
    return Judged(config.kind, verdict, evidence, environment or {"target": config.connect().fingerprint()}, measured)


def _timed_limits(thresholds: Thresholds, metrics: Mapping[str, Metric]) -> Iterable[Limit]:
    for metric, bound in thresholds.bounds.items():
        if metrics[metric].source in ("latency", "memory"):
            yield from (Limit(metric, kind, limit) for kind, limit in bound.limits.items())


def _arenas(target: Target, models: Models, timeout_s: float) -> tuple[dict[str, dict[str, Estimate]], dict[str, Any]]:
    """The arenas of the candidate and, where a microcontroller can run it, of the baseline."""
    candidate, baseline = models.paths
    size, environment = target.arena_bytes(candidate, timeout_s)
    arenas = {"candidate": {"arena_bytes": Estimate.exact(float(size))}, "baseline": {}}
    if baseline:
        with contextlib.suppress(EdgeError):
            arenas["baseline"] = {"arena_bytes": Estimate.exact(float(target.arena_bytes(baseline, timeout_s)[0]))}
    return arenas, dict(environment)


def _difference(target: Target, models: Models, examples: Batches | None, timeout_s: float) -> float:
    batches = (features for features, _ in examples()) if examples else iter(())
    return output_difference(target, models.paths[0], batches, timeout_s)


def _evidence(
    models: Models,
    measured: timing.Timing | None,
    exact: Mapping[str, Mapping[str, Estimate]],
    quality: Quality | None,
    quality_problem: str,
    settings: GateSettings,
) -> Evidence:
    def of_file(model: LiteModel) -> dict[str, Estimate]:
        sizes = {"size_bytes": model.size_bytes, "gzip_bytes": model.gzip_bytes}
        return {name: Estimate.exact(float(size)) for name, size in sizes.items()}

    found = _quality_evidence(quality.metrics if quality else {}, models.baseline is not None)
    unknown = dict.fromkeys(settings.quality_metrics, quality_problem) if quality_problem else {}
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
    return Evidence(candidate, baseline, relative, {**found.problems, **unknown}, shortfalls)


def _quality_evidence(comparisons: Mapping[str, Comparison], with_baseline: bool) -> Evidence:
    def figures(role: str) -> dict[str, Estimate]:
        return {name: figure for name, each in comparisons.items() if (figure := getattr(each, role)) is not None}

    return Evidence(
        candidate=figures("candidate"),
        baseline=figures("baseline") if with_baseline else None,
        relative=figures("drop") | figures("ratio"),
        problems={name: each.problem for name, each in comparisons.items() if each.problem},
    )


def _slice_checks(
    quality: Quality | None, settings: GateSettings, metrics: Mapping[str, Metric], with_baseline: bool
) -> list[Check]:
    bounds = Thresholds.parse(settings.slice_thresholds, metrics).bounds
    if not bounds or not quality:
        return []
    checks = [
        check
        for part in quality.slices
        if not part.skipped
        for check in check_bounds(bounds, _quality_evidence(part.metrics, with_baseline), metrics, where=part.slice)
    ]
    if checks:
        return checks
    reason = (
        f"no slice by {', '.join(map(str, settings.slices))} has min_slice_size {settings.min_slice_size} examples, so "
        "slice_thresholds bound nothing: lower it, or give more examples"
    )
    return [Check(name, kind, "fail", reason) for name, bound in bounds.items() for kind in bound.limits]


def _contract_checks(models: Models, contract: Contract) -> list[Check]:
    found = check_contract(models.candidate, contract, models.steps, models.description)
    return [Check(each.rule, "contract", "pass" if each.passed else "fail", each.reason) for each in found]


def _passing(judged: Mapping[str, Judged], policy: str | Sequence[str]) -> tuple[list[str], bool]:
    """The targets that the policy looks at, and whether one is enough."""
    if isinstance(policy, str):
        return list(judged), policy == "any"
    return list(policy), False


def _overall(judged: Mapping[str, Judged], policy: str | Sequence[str]) -> Verdict:
    names, one_is_enough = _passing(judged, policy)
    verdicts = {name: judged[name].verdict for name in names}
    passed = {name: verdict for name, verdict in verdicts.items() if verdict.blessed}
    if passed and (one_is_enough or len(passed) == len(verdicts)):
        return Verdict("pass", _reasons(passed, len(judged) > 1))
    others = {name: verdict for name, verdict in verdicts.items() if not verdict.blessed}
    outcome: Outcome = "fail" if any(verdict.outcome == "fail" for verdict in others.values()) else "inconclusive"
    return Verdict(outcome, _reasons(others, len(judged) > 1))


def _reasons(verdicts: Mapping[str, Verdict], named: bool) -> str:
    """The reasons of targets, those that several share said once."""
    targets: dict[str, list[str]] = {}
    for name, verdict in verdicts.items():
        targets.setdefault(verdict.reason, []).append(name)
    return "; ".join(f"on {' and '.join(names)}: {reason}" if named else reason for reason, names in targets.items())


def _binding(judged: Mapping[str, Judged], policy: str | Sequence[str]) -> dict[str, Any] | None:
    """The check that decided against the candidate, a failure before one that stayed open."""
    names, _ = _passing(judged, policy)
    found = [(name, check) for name in names if (check := judged[name].verdict.binding)]
    if not found:
        return None
    target, check = min(found, key=lambda item: item[1].outcome != "fail")
    return {"target": target, "check": check.to_dict()}


def _quality_line(quality: Quality) -> str:
    figures = [
        f"{name} {each.candidate.value:.4f} ({each.candidate.low:.4f} to {each.candidate.high:.4f})"
        for name, each in quality.metrics.items()
        if each.candidate
    ]
    return f"{quality.examples:,} examples: {', '.join(figures) or 'no figures'}"
