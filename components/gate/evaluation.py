"""Judges a candidate: from model files and examples to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfx_edge.devices import profile
from tfx_edge.errors import ConfigError, EdgeError
from tfx_edge.gate import policy
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.gate.judging import Case, Models, Progress, judge
from tfx_edge.gate.metric_kinds import QualityMetric
from tfx_edge.gate.metrics import Metric
from tfx_edge.gate.quality import Batches, Quality, QualityOptions, evaluate_quality
from tfx_edge.gate.remedy import remedy
from tfx_edge.gate.settings import GateSettings

SCHEMA_VERSION = 2


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
        for target in settings.targets:
            settings.bounds_on(target, metrics)
    except EdgeError as error:
        return unevaluated(f"the candidate could not be evaluated: {error}", name)
    quality, problem = _quality(models, files or examples, settings, own or {}, pipeline_args)
    if quality:
        progress(_quality_line(quality))
    case = Case(models, examples, settings, metrics, quality, problem)
    judged = {target: judge(case, target, progress) for target in settings.targets}
    verdicts = {target: part.verdict for target, part in judged.items()}
    described, operators = models.candidate.to_dict(), profile.profile(models.paths[0])
    verdict = policy.overall(verdicts, settings.policy)
    checks = [check.to_dict() for each in verdicts.values() for check in each.checks]
    return {
        **_head(name),
        "sha256": models.candidate.sha256,
        "verdict": {
            "blessed": verdict.blessed,
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            "remedy": None if verdict.blessed else remedy(checks, described, models.steps, operators.to_list()),
            "policy": settings.policy if isinstance(settings.policy, str) else list(settings.policy),
            "binding": policy.binding(verdicts, settings.policy),
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


def _quality_line(quality: Quality) -> str:
    figures = [
        f"{name} {each.candidate.value:.4f} ({each.candidate.low:.4f} to {each.candidate.high:.4f})"
        for name, each in quality.metrics.items()
        if each.candidate
    ]
    return f"{quality.examples:,} examples: {', '.join(figures) or 'no figures'}"
