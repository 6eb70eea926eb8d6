"""How good a candidate's answers are beside its baseline's: all metrics, overall and by slice, from one pass."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfx_edge.errors import ConfigError, DataError, EdgeError
from tfx_edge.gate.class_metrics import count_classes
from tfx_edge.gate.comparison import Comparison, compare
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.gate.metric_kinds import QualityMetric
from tfx_edge.gate.output_kind import choose_output, gives_probabilities
from tfx_edge.gate.quality_metrics import QUALITY_METRICS
from tfx_edge.gate.scoring import BASELINE, CANDIDATE, Plan, ScoredModel, Scorer, Scores
from tfx_edge.gate.slices import SliceSpec, SliceValue, group
from tfx_edge.lite.inspect import LiteModel, inspect

Batches = Callable[[], Iterator[tuple[Mapping[str, np.ndarray], np.ndarray]]]


@dataclass(frozen=True)
class QualityOptions:
    """How quality is measured.

    Attributes:
      metrics: names of built-in metrics or of ``own``.
      own: the user's metrics by name (`tfx_edge.gate.own_metrics`).
      slices: each a feature's name, or several to cross.
      min_slice_size: slices with fewer examples are reported and skipped.
      confidence: of each bound of the overall figures, and of all slices' bounds of a metric together.
      output: the output to score; the only one by default.
      scores: whether that output holds probabilities or logits; ``"auto"`` looks for the softmax, the
        sigmoid or the linear operator that makes it, and a metric that must know fails where it finds none.
      batch_size: examples in a batch.
      label_key: the name that plain batches' labels are sliced by, and that is no input; files know theirs.
      seed: of bootstraps.
    """

    metrics: Sequence[str]
    own: Mapping[str, QualityMetric] = field(default_factory=dict)
    slices: Sequence[str | Sequence[str]] = ()
    min_slice_size: int = 100
    confidence: float = 0.95
    output: str | None = None
    scores: Literal["auto", "logits", "probabilities"] = "auto"
    batch_size: int = 256
    label_key: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class SliceQuality:
    """The metrics of one slice.

    Attributes:
      slice: the value of each feature that tells it apart; None where examples lack the feature.
      examples: how many there are.
      metrics: by name; empty when skipped.
      skipped: why it was not looked at, or None.
    """

    slice: dict[str, SliceValue]
    examples: int
    metrics: dict[str, Comparison]
    skipped: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The slice as JSON types."""
        metrics = {name: comparison.to_dict() for name, comparison in self.metrics.items()}
        return {"slice": self.slice, "examples": self.examples, "metrics": metrics, "skipped": self.skipped}


@dataclass(frozen=True)
class Quality:
    """The metrics of all examples and of each slice."""

    examples: int
    metrics: dict[str, Comparison]
    slices: tuple[SliceQuality, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report's ``quality``."""
        return {
            "examples": self.examples,
            "metrics": {name: comparison.to_dict() for name, comparison in self.metrics.items()},
            "slices": [part.to_dict() for part in self.slices],
        }


def evaluate_quality(
    candidate: Path,
    baseline: Path | None,
    source: ExampleFiles | Batches,
    options: QualityOptions,
    *,
    pipeline_args: Sequence[str] = (),
    folder: str | None = None,
) -> Quality:
    """Runs both models on the same examples, in one read of them, and estimates every metric.

    A metric that cannot be estimated carries the problem in place of its figures. The interpreter runs in this process
    when the source is batches or Beam runs locally, and a broken model may crash it: call this in a child process.

    Args:
      candidate: a .tflite file.
      baseline: another, or None.
      source: shards, which are scored on Beam, or a function that makes one pass of (features, labels) batches.
      options: what to measure.
      pipeline_args: Beam's arguments.
      folder: where Beam's workers put what they keep; everyone must reach it. By default a temporary local folder.

    Raises:
      ConfigError: a metric, slice or output is named that is not there.
      DataError: the examples are missing, lost, damaged or do not fit.
      ModelError: a model cannot be loaded or run.
      DeviceError: the Beam job failed.
    """
    metrics = [_metric(name, options) for name in dict.fromkeys(options.metrics)]
    if not metrics or not 0.5 < options.confidence < 1 or options.min_slice_size < 1 or options.batch_size < 1:
        raise ConfigError(
            "it takes at least one metric, a confidence between 0.5 and 1, and a min_slice_size and batch_size of at "
            f"least 1, but they are {list(options.metrics)}, {options.confidence:g}, {options.min_slice_size} and "
            f"{options.batch_size}"
        )
    paths = {CANDIDATE: candidate} | ({BASELINE: baseline} if baseline is not None else {})
    inspected = {role: inspect(path) for role, path in paths.items()}
    plan = Plan(
        models={role: _scored(role, model, options) for role, model in inspected.items()},
        metrics=metrics,
        slices=[SliceSpec.parse(spec) for spec in options.slices],
        label_key=source.label_key if isinstance(source, ExampleFiles) else options.label_key,
        batch_size=options.batch_size,
    )
    inputs = [tuple(tensor.name for tensor in model.inputs) for model in inspected.values()]
    return summarize(_score(plan, source, inputs, pipeline_args, folder), plan, options)


def _score(
    plan: Plan,
    source: ExampleFiles | Batches,
    inputs: Sequence[tuple[str, ...]],
    pipeline_args: Sequence[str],
    folder: str | None,
) -> Scores:
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        if isinstance(source, ExampleFiles):
            from tfx_edge.gate.beam_scoring import score_files

            return score_files(plan, source, inputs, pipeline_args, folder or scratch)

        def write(name: str, content: bytes) -> str:
            path = Path(scratch, f"{name}.tflite")
            path.write_bytes(content)
            return str(path)

        scorer = Scorer(plan, write)
        for features, labels in source():
            scorer.add(features, np.asarray(labels))
        scores = Scores.join([scorer.scores()])
        scores.check(plan)
        return scores


def summarize(scores: Scores, plan: Plan, options: QualityOptions) -> Quality:
    """Estimates every metric from what was kept of the examples."""
    whole = {
        metric.name: _compare(metric, scores, plan, None, options.confidence, options.seed) for metric in plan.metrics
    }
    found = list(group(plan.slices, scores.codes, scores.categories))
    judged = sum(len(indices) >= options.min_slice_size for _, indices in found)
    shared = (1 - options.confidence) / max(judged, 1)
    parts = []
    for values, indices in found:
        if len(indices) < options.min_slice_size:
            reason = f"{len(indices)} examples are fewer than min_slice_size {options.min_slice_size}"
            parts.append(SliceQuality(values, len(indices), {}, reason))
            continue
        parts.append(SliceQuality(values, len(indices), _all(scores, plan, indices, 1 - shared, options.seed)))
    return Quality(scores.read, whole, tuple(parts))


def _all(scores: Scores, plan: Plan, indices: np.ndarray | None, confidence: float, seed: int) -> dict[str, Comparison]:
    return {metric.name: _compare(metric, scores, plan, indices, confidence, seed) for metric in plan.metrics}


def _compare(
    metric: QualityMetric, scores: Scores, plan: Plan, indices: np.ndarray | None, confidence: float, seed: int
) -> Comparison:
    kept_by = plan.kept_by[metric.name]
    if kept_by in scores.problems:
        return Comparison(problem=f"{metric.name}: {scores.problems[kept_by]}")

    columns = {role: scores.of(role, kept_by) for role in plan.models}
    if indices is not None:
        columns = {role: {name: array[indices] for name, array in kept.items()} for role, kept in columns.items()}
    elif "class" in columns[CANDIDATE]:
        # A slice may well hold one class, but a whole split of one class says nothing about the others.
        try:
            count_classes(columns[CANDIDATE], least=1)
        except DataError as error:
            return Comparison(problem=f"{metric.name} cannot be estimated: {error}")
    classes = {role: model.classes for role, model in plan.models.items()}
    if "class" in columns[CANDIDATE] and len(set(classes.values())) > 1:
        problem = (
            f"the candidate tells {classes[CANDIDATE]} classes apart and the baseline {classes[BASELINE]}, so a label "
            "means the same for one of them at most; give a baseline with the same classes"
        )
        alone = compare(metric, columns[CANDIDATE], None, confidence, seed)
        return dataclasses.replace(alone, problem=alone.problem or problem)
    return compare(metric, columns[CANDIDATE], columns.get(BASELINE), confidence, seed)


def _metric(name: str, options: QualityOptions) -> QualityMetric:
    known = {**options.own, **QUALITY_METRICS}
    if name not in known:
        raise ConfigError(f"there is no quality metric {name!r}; there are {', '.join(known)}")
    return known[name]


def _scored(role: str, model: LiteModel, options: QualityOptions) -> ScoredModel:
    content = Path(model.path).read_bytes()
    wanted = options.output
    if role == BASELINE and len(model.outputs) == 1:
        wanted = None
    try:
        output = choose_output(model, wanted)
    except EdgeError as error:
        raise ConfigError(f"the {role}: {error}") from error
    told = {"probabilities": True, "logits": False}
    computed = gives_probabilities(content, output)
    if options.scores == "logits" and computed:
        raise ConfigError(
            f"scores is 'logits', but the {role}'s output {output!r} comes out of a softmax or a sigmoid, so it holds "
            "probabilities; leave scores out, and each model's file tells"
        )
    known = computed if options.scores == "auto" else told[options.scores]
    (shape,) = (tensor.shape for tensor in model.outputs if tensor.name == output)
    return ScoredModel(content, output, known, max(2, shape[-1] if shape else 1))
