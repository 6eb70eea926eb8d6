"""Judges a candidate: from model files and examples to a report."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices import local, profile
from tfx_edge.errors import ConfigError, EdgeError
from tfx_edge.gate import policy
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.gate.judging import Case, Models, Progress, inputs, judge
from tfx_edge.gate.metric_kinds import QualityMetric
from tfx_edge.gate.metrics import Metric
from tfx_edge.gate.parity import first_examples
from tfx_edge.gate.quality import Batches, Quality, QualityOptions, evaluate_quality
from tfx_edge.gate.remedy import remedy
from tfx_edge.gate.settings import GateSettings
from tfx_edge.gate.thresholds import Thresholds
from tfx_edge.gate.verdict import interrupts
from tfx_edge.report.document import SCHEMA_VERSION


@dataclass(frozen=True)
class OnBeam:
    """A Beam job that scores the examples.

    Attributes:
      files: the eval split.
      pipeline_args: Beam's arguments.
      folder: where workers put what they keep of the examples; everyone must reach it.
    """

    files: ExampleFiles
    pipeline_args: Sequence[str]
    folder: str

    def examples(self, models: Models, settings: GateSettings) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """The examples one by one, read here as Beam's workers read them."""
        needed = [
            tuple(tensor.name for tensor in model.inputs) for model in filter(None, (models.candidate, models.baseline))
        ]
        reader = self.files.reader(needed, settings.slice_features, batch_size=1)
        for file in self.files.files:
            for _, features, labels in reader.batches(file):
                yield features, labels


def evaluate(
    candidate_uri: str | Path,
    baseline_uri: str | Path | None,
    examples: Batches | None,
    settings: GateSettings,
    progress: Progress,
    *,
    label_key: str | None = None,
    on_beam: OnBeam | None = None,
    own: Mapping[str, QualityMetric] | None = None,
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
      label_key: the name by which slices can be made of the labels.
      on_beam: how Beam reads the same examples, where it shall score them; else this process does.
      own: the metrics that the user's module defines.
      name: what the report calls the candidate.

    Returns:
      The report, as docs/report.md describes it.
    """
    try:
        models = Models.read(candidate_uri, baseline_uri)
        metrics = _metrics(settings, own or {})
        for target in settings.targets:
            settings.bounds_on(target, metrics)
        Thresholds.parse(settings.slice_thresholds, metrics)
    except EdgeError as error:
        return unevaluated(f"the candidate could not be evaluated: {error}", name, interrupts(error))
    quality, problem, interrupted = _quality(models, examples, on_beam, settings, own or {}, label_key)
    if quality:
        progress(_quality_line(quality))
    case = Case(models, examples, settings, metrics, quality, problem)
    judged = {target: judge(case, target, progress) for target in settings.targets}
    verdicts = {target: part.verdict for target, part in judged.items()}
    if models.changed:
        return unevaluated(f"{models.changed} was changed while it was measured: leave it alone, and run again", name)
    described = models.candidate.to_dict()
    if any(part.timing for part in judged.values()):
        operators = profile.profile(models.paths[0])
    else:
        operators = profile.Profile((), "default", "the model was not timed on any target")
    verdict = policy.overall(verdicts, settings.policy)
    checks = [check.to_dict() for each in verdicts.values() for check in each.checks]
    return {
        **_head(name),
        "sha256": models.candidate.sha256,
        "verdict": {
            "blessed": verdict.blessed,
            "outcome": verdict.outcome,
            "interrupted": interrupted or any(part.interrupted for part in judged.values()),
            "reason": verdict.reason,
            "remedy": None if verdict.blessed else remedy(checks, described, models.steps, operators.to_list()),
            "policy": settings.policy if isinstance(settings.policy, str) else list(settings.policy),
            "binding": policy.binding(verdicts, settings.policy),
        },
        "targets": {target: part.to_dict() for target, part in judged.items()},
        "quality": quality.to_dict() if quality else {"problem": problem} if problem else None,
        "inspection": {
            "candidate": described,
            "baseline": models.baseline.to_dict() if models.baseline else None,
        },
        "operators": {"candidate": operators.to_list(), "baseline": None, "problem": operators.reason},
        "steps": models.steps,
        "config": settings.model_dump(mode="json"),
    }


def unevaluated(reason: str, name: str = "", interrupted: bool = True) -> dict[str, Any]:
    """The report when the evaluation itself did not come to an end: no figures, not blessed.

    Args:
      reason: why.
      name: what the report calls the candidate.
      interrupted: whether another evaluation of the same may end otherwise.
    """
    verdict = {
        "blessed": False,
        "outcome": "fail",
        "interrupted": interrupted,
        "reason": reason,
        "remedy": None,
        "policy": "all",
        "binding": None,
    }
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
    examples: Batches | None,
    on_beam: OnBeam | None,
    settings: GateSettings,
    own: Mapping[str, QualityMetric],
    label_key: str | None,
) -> tuple[Quality | None, str, bool]:
    """The quality, or None, why it is not known, and whether it may be another time."""
    if not settings.quality_metrics:
        return None, "", False
    if examples is None:
        return None, "there are no examples", True
    options = QualityOptions(
        metrics=settings.quality_metrics,
        own=own,
        slices=settings.slices,
        min_slice_size=settings.min_slice_size,
        confidence=settings.target_confidence,
        output=settings.output,
        scores=settings.scores,
        batch_size=settings.batch_size,
        label_key=label_key,
    )
    try:
        _try_out(models, examples, on_beam, settings)
        if on_beam is None:
            return evaluate_quality(*models.paths, examples, options), "", False
        found = evaluate_quality(
            *models.paths, on_beam.files, options, pipeline_args=on_beam.pipeline_args, folder=on_beam.folder
        )
        return found, "", False
    except EdgeError as error:
        # TFX's cache knows nothing of Beam's arguments, so what is wrong with them may be mended.
        mendable = on_beam is not None and isinstance(error, ConfigError)
        return None, str(error), interrupts(error) or mendable


def _try_out(models: Models, examples: Batches, on_beam: OnBeam | None, settings: GateSettings) -> None:
    """Runs each model once in a process of its own: one that crashes or hangs would take this process with it."""
    timeout_s = max(target.timeout_s for target in settings.targets.values())
    source = functools.partial(on_beam.examples, models, settings) if on_beam else examples
    for model in filter(None, (models.candidate, models.baseline)):
        features = first_examples(inputs(model, source, settings), 1)
        for _ in local.infer(model.path, features, timeout_s=timeout_s):
            pass


def _quality_line(quality: Quality) -> str:
    figures = [
        f"{name} {each.candidate.value:.4f} ({each.candidate.low:.4f} to {each.candidate.high:.4f})"
        for name, each in quality.metrics.items()
        if each.candidate
    ]
    return f"{quality.examples:,} examples: {', '.join(figures) or 'no figures'}"
