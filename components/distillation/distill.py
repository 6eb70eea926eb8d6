"""Trains a student on labels and on what its teachers say, together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_edge.distillation.lessons import Lesson
from tfx_edge.distillation.settings import AnySchedule
from tfx_edge.distillation.teaching import Teaching, call_model


class DistillationModel(tf_keras.Model):
    """Trains ``student`` on ``alpha * loss(labels) + (1 - alpha) * Σ weight * loss(teacher, student)``.

    It is fitted on batches of ((features, targets), labels), as `Teaching.attach` makes them. Its weights are those of
    the student and of the projections: what a training needs to go on. The figures of an epoch have ``loss``, the
    whole, and its parts ``label_loss`` and ``teacher_loss`` beside the student's metrics.

    Args:
      student: a Functional or Sequential model.
      lessons: what is compared.
      teaching: computes the targets where a batch has none.
    """

    def __init__(self, student: tf_keras.Model, lessons: Sequence[Lesson], teaching: Teaching) -> None:
        super().__init__()
        self.student = student
        self.projections = [lesson.projection for lesson in lessons if lesson.projection is not None]
        self.output_names = student.output_names
        self._aside = _Aside(student, lessons, teaching)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The student's outputs for (features, targets)."""
        features, _ = inputs
        return call_model(self.student, self.student, features, training=bool(training))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of the optimizer; returns the figures so far."""
        (features, targets), labels = data
        with tf.GradientTape() as tape:
            outputs, loss = self._loss(features, targets, labels, training=True)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return self.compute_metrics(features, labels, outputs, None)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The figures so far."""
        (features, targets), labels = data
        outputs, _ = self._loss(features, targets, labels, training=False)
        return self.compute_metrics(features, labels, outputs, None)

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        """Those that the model was compiled with, and the losses in place of tf_keras's own ``loss``."""
        trackers = self._aside.trackers
        return [*trackers, *(metric for metric in super().metrics if metric.name != "loss")]

    def set_epoch(self, temperature: float, alpha: float) -> None:
        """Sets what holds from now on."""
        self._aside.temperature.assign(temperature)
        self._aside.alpha.assign(alpha)

    def _loss(self, features: Any, targets: Any, labels: Any, *, training: bool) -> tuple[Any, tf.Tensor]:
        aside = self._aside
        outputs, *taps = call_model(self.student, aside.tapped, features, training=training)
        on_labels = tf.cast(self.compute_loss(features, labels, outputs), tf.float32)
        targets = targets or aside.teaching(features)
        of_teachers = tf.zeros(())
        for number, (lesson, value) in enumerate(zip(aside.lessons, taps, strict=True)):
            learned = lesson.projection(value) if lesson.projection is not None else value
            of_teachers += lesson.weight * lesson.loss(targets[str(number)], learned, aside.temperature)
        loss = aside.alpha * on_labels + (1.0 - aside.alpha) * of_teachers
        for tracker, value in zip(aside.trackers, (loss, on_labels, of_teachers), strict=True):
            tracker.update_state(value, sample_weight=tf.shape(tf.nest.flatten(features)[0])[0])
        return outputs, loss


class _Aside:
    """What belongs to the training and not to the weights: tf_keras does not look into it."""

    def __init__(self, student: tf_keras.Model, lessons: Sequence[Lesson], teaching: Teaching) -> None:
        self.lessons = lessons
        self.teaching = teaching
        self.tapped = tf_keras.Model(student.input, [student.output, *(each.student_tensor for each in lessons)])
        self.temperature = tf.Variable(1.0, trainable=False, name="temperature")
        self.alpha = tf.Variable(0.0, trainable=False, name="alpha")
        self.trackers = [tf_keras.metrics.Mean(name) for name in ("loss", "label_loss", "teacher_loss")]


class Schedules(tf_keras.callbacks.Callback):
    """Sets temperature and alpha by the number of the epoch alone, so that a training that goes on has the same.

    Args:
      temperature: over the epochs.
      alpha: likewise.
      epochs: of the whole training.
    """

    def __init__(self, temperature: AnySchedule, alpha: AnySchedule, epochs: int) -> None:
        super().__init__()
        self.temperature = temperature
        self.alpha = alpha
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets them for an epoch, counted from 0."""
        self.model.set_epoch(self.temperature.at(epoch, self.epochs), self.alpha.at(epoch, self.epochs))
