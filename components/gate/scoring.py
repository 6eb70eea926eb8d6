"""One pass over examples: both models answer the same batch, and a few numbers of each example are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfx_edge.errors import DataError, EdgeError, ModelError
from tfx_edge.gate.batched_model import BatchedModel
from tfx_edge.gate.metric_kinds import Outputs, QualityMetric
from tfx_edge.gate.slices import Categories, SliceSpec
from tfx_edge.models.features import inputs_of

Features = Mapping[str, np.ndarray]
CANDIDATE, BASELINE = "candidate", "baseline"


@dataclass(frozen=True)
class ScoredModel:
    """A model, and what of it is scored.

    Attributes:
      content: the .tflite file.
      output: the name of its output.
      probabilities: whether that output holds probabilities (else logits); None where that is not known.
      classes: how many it would tell apart: as many as it has numbers, and two by one number.
    """

    content: bytes
    output: str
    probabilities: bool | None
    classes: int


@dataclass(frozen=True)
class Plan:
    """All that a worker needs to score examples, wherever it runs.

    Attributes:
      models: by role: ``candidate``, and ``baseline`` where there is one.
      metrics: what is kept for.
      slices: the features to slice by.
      label_key: the label among the features; it is no input.
      batch_size: examples in a batch.
    """

    models: Mapping[str, ScoredModel]
    metrics: Sequence[QualityMetric]
    slices: Sequence[SliceSpec]
    label_key: str | None
    batch_size: int

    @property
    def slice_features(self) -> list[str]:
        """The features that slices are made of, each once."""
        return list(dict.fromkeys(feature for spec in self.slices for feature in spec.features))

    @property
    def aside(self) -> set[str]:
        """The features that no input takes unless it has their name."""
        return {*self.slice_features, *filter(None, [self.label_key])}

    @property
    def kept_by(self) -> dict[str, str]:
        """By metric, the first of the metrics that keep the same columns: these are kept once."""
        first: dict[object, str] = {}
        return {metric.name: first.setdefault(metric.keep, metric.name) for metric in self.metrics}


@dataclass
class Scores:
    """What is kept of the examples of one shard, or of all.

    Attributes:
      read: the examples that were read.
      columns: kept arrays of shape (n, ...) by (role, metric that they are kept for, name).
      codes: shape (n,) by slice feature.
      categories: what the codes stand for.
      problems: by metric that columns are kept for, why they could not be.
    """

    read: int = 0
    columns: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    categories: dict[str, Categories] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def of(self, role: str, kept_by: str) -> dict[str, np.ndarray]:
        """The columns that are kept of one model for a metric."""
        return {
            name: array for (whose, which, name), array in self.columns.items() if (whose, which) == (role, kept_by)
        }

    def check(self, plan: Plan) -> None:
        """Raises DataError when anything was kept of more or fewer examples than were read, or nothing was read."""
        if self.read < 1:
            raise DataError("there are no examples to score; check the eval split")
        lengths = {f"slices by {feature}": {len(codes)} for feature, codes in self.codes.items()}
        for (role, kept_for, _), array in self.columns.items():
            lengths.setdefault(f"{kept_for} of {role}", set()).add(len(array))
        kept = set(plan.kept_by.values()) - self.problems.keys()
        expected = {f"{name} of {role}" for name in kept for role in plan.models}
        expected |= {f"slices by {feature}" for feature in plan.slice_features}
        for name in sorted(expected | lengths.keys()):
            for length in lengths.get(name, {0}) - {self.read}:
                raise DataError(
                    f"{self.read} examples were read, but {length} were kept for {name}: examples were lost or counted "
                    "twice, so no figure can be trusted"
                )

    @classmethod
    def join(cls, parts: Sequence[Scores]) -> Scores:
        """The scores of several shards as one."""
        whole = cls(sum(part.read for part in parts))
        for part in parts:
            whole.problems |= {name: why for name, why in part.problems.items() if name not in whole.problems}
        parts = [part for part in parts if part.read]
        for key in dict.fromkeys(key for part in parts for key in part.columns):
            if key[1] not in whole.problems:
                arrays = [part.columns[key] for part in parts if key in part.columns]
                if len({array.shape[1:] for array in arrays}) > 1:
                    raise DataError(f"what was kept for {key[1]} differs in shape between shards")
                whole.columns[key] = np.concatenate(arrays)
        for feature in dict.fromkeys(feature for part in parts for feature in part.codes):
            categories = whole.categories[feature] = Categories()
            whole.codes[feature] = np.concatenate(
                [
                    categories.merge(feature, part.categories[feature].values, part.codes[feature])
                    for part in parts
                    if feature in part.codes
                ]
            )
        return whole


class Scorer:
    """Feeds batches to both models and keeps what the metrics need.

    Args:
      plan: what to score.
      write: puts a model's content into a file of that name and gives its path.

    Raises:
      ModelError: a model cannot be loaded.
    """

    def __init__(self, plan: Plan, write: Callable[[str, bytes], str]) -> None:
        self._plan = plan
        self._models = {
            role: BatchedModel(write(role, model.content), plan.batch_size) for role, model in plan.models.items()
        }
        self._keepers = [metric for metric in plan.metrics if plan.kept_by[metric.name] == metric.name]
        self.start()

    def start(self) -> None:
        """Forgets all examples, to begin with a shard."""
        self._read = 0
        self._parts: dict[tuple[str, str, str], list[np.ndarray]] = {}
        self._codes: dict[str, list[np.ndarray]] = {feature: [] for feature in self._plan.slice_features}
        self._categories = {feature: Categories() for feature in self._plan.slice_features}
        self._problems: dict[str, str] = {}

    def add(self, features: Features, labels: np.ndarray) -> None:
        """Scores one batch.

        Args:
          features: arrays of shape (n, ...) by name; slice features among them, as masked arrays where some are
            missing.
          labels: shape (n, ...).

        Raises:
          DataError: the batch does not fit the models, or a slice feature is not there.
          ModelError: a model does not run, or gives an output of another length.
        """
        examples = len(labels)
        self._read += examples
        for feature, codes in self._codes.items():
            values = labels if feature == self._plan.label_key else features.get(feature)
            if values is None:
                raise DataError(
                    f"there is no feature {feature!r} to slice by; the examples have {', '.join(sorted(features))}. "
                    "Transform may have dropped it: keep it in preprocessing_fn"
                )
            codes.append(self._categories[feature].encode(feature, values))
        for role, model in self._models.items():
            inputs = inputs_of(features, model.inputs, self._plan.aside)
            outputs = model.run(inputs)
            scored = self._plan.models[role]
            values = outputs.get(scored.output)
            if values is None or len(values) != examples:
                raise ModelError(
                    f"the {role} was given {examples} examples, but its output {scored.output!r} has the shape "
                    f"{None if values is None else values.shape}"
                )
            self._keep(role, Outputs(labels, values, inputs, scored.probabilities))

    def scores(self) -> Scores:
        """What was kept since the start."""
        columns = {key: np.concatenate(arrays) for key, arrays in self._parts.items() if key[1] not in self._problems}
        codes = {feature: np.concatenate(codes) for feature, codes in self._codes.items() if codes}
        return Scores(self._read, columns, codes, self._categories, dict(self._problems))

    def _keep(self, role: str, outputs: Outputs) -> None:
        for metric in self._keepers:
            if metric.name in self._problems:
                continue
            try:
                kept = metric.keep(outputs)
            except EdgeError as error:
                self._problems[metric.name] = f"the {role} cannot be scored: {error}"
                continue
            for name, array in kept.items():
                self._parts.setdefault((role, metric.name, name), []).append(array)
