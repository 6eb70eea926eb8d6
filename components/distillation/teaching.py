"""What the teachers say of the examples: computed once for data that does not change, or step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_edge.distillation.lessons import Lesson
from tfx_edge.models.saving import pack_features
from tfx_edge.training.data import TrainingData
from tfx_edge.training.types import Progress

Targets = dict[str, tf.Tensor]
_MIB = 2**20


class Teaching:
    """Computes the targets of the lessons from features.

    Args:
      teachers: the teachers, in the order of their numbers.
      lessons: what is compared.
    """

    def __init__(self, teachers: Sequence[tf_keras.Model], lessons: Sequence[Lesson]) -> None:
        self._lessons = lessons
        self._feeds: list[Callable[[dict[str, tf.Tensor]], Targets]] = []
        for number, teacher in enumerate(teachers):
            wanted = {str(index): each for index, each in enumerate(lessons) if each.teacher == number}
            if wanted:
                tapped = tf_keras.Model(teacher.input, {key: each.teacher_tensor for key, each in wanted.items()})
                self._feeds.append(_feed(teacher, tapped))

    def __call__(self, features: dict[str, tf.Tensor]) -> Targets:
        """Targets by the number of the lesson, float32, the first dimension the batch."""
        found: Targets = {}
        for feed in self._feeds:
            for key, value in feed(features).items():
                found[key] = self._lessons[int(key)].target(tf.cast(value, tf.float32))
        return found

    def attach(self, data: TrainingData, limit_mb: float, progress: Progress) -> TrainingData:
        """Puts the targets beside the features: each batch becomes ((features, targets), labels).

        The order of the data is fixed before it is shuffled for each epoch, so the teachers see every example of both
        splits once, now. Where the targets would take more than ``limit_mb`` MiB, or an example has no fixed size,
        targets stay empty, and the teachers have to be asked at every step.
        """
        needed = self._megabytes(data)
        if needed > limit_mb:
            size = f"{needed:,.1f} MB" if math.isfinite(needed) else "an unknown size"
            progress(f"the teachers' targets have {size}, above cache_mb {limit_mb:g}: computed anew at every step")
            empty = _with_targets(data.batches, None), _with_targets(data.validation, None)
            return dataclasses.replace(data, batches=empty[0], validation=empty[1])
        train, seen = self._cached(data.batches)
        validation, more = self._cached(data.validation) if data.validation else (None, 0)
        progress(f"the teachers have seen {seen + more:,} examples once; their targets take {needed:,.1f} MB")
        return dataclasses.replace(data, batches=train, validation=validation)

    def _cached(self, batches: tf.data.Dataset) -> tuple[tf.data.Dataset, int]:
        targets = batches.map(lambda features, _: self(features), deterministic=True).cache()
        seen = sum(int(next(iter(batch.values())).shape[0]) for batch in targets)
        return _with_targets(batches, targets), seen

    def _megabytes(self, data: TrainingData) -> float:
        examples = data.steps * data.batch_size + sum(data.batch_size for _ in data.validation or ())
        spec = data.batches.element_spec[0]
        one = tf.nest.map_structure(lambda each: tf.TensorSpec([1, *each.shape[1:]], each.dtype), spec)
        shapes = tf.function(self.__call__, autograph=False).get_concrete_function(one).structured_outputs
        sizes = [math.prod(value.shape) if value.shape.is_fully_defined() else math.inf for value in shapes.values()]
        return examples * 4 * sum(sizes) / _MIB


def call_model(model: tf_keras.Model, tapped: Any, features: Any, *, training: bool) -> Any:
    """Calls a model made of another one's graph with the features that this one takes by name."""
    return tapped(pack_features(model, features), training=training)


def _feed(teacher: tf_keras.Model, tapped: tf_keras.Model) -> Callable[[dict[str, tf.Tensor]], Targets]:
    return lambda features: call_model(teacher, tapped, features, training=False)


def _with_targets(batches: tf.data.Dataset | None, targets: tf.data.Dataset | None) -> tf.data.Dataset | None:
    if batches is None:
        return None
    if targets is None:
        return batches.map(lambda features, labels: ((features, {}), labels))
    both = tf.data.Dataset.zip((batches, targets))
    return both.map(lambda batch, found: ((batch[0], found), batch[1]))
