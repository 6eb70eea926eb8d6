"""Logit distillation of a student under a teacher.

Method: G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network" (2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tf_keras

from tfx_edge.errors import ModelError

if TYPE_CHECKING:
    import tensorflow as tf


class DistillationModel(tf_keras.Model):
    """Trains ``student`` on ``alpha * loss(labels) + (1 - alpha) * T² * KL(teacher / T ‖ student / T)``.

    Args:
      student: returns class scores of shape (n, classes): logits, or probabilities when it ends in a softmax.
      teacher: a model of the same inputs and classes; it is not trained.
      temperature: T > 0; higher shows the student more of how the teacher ranks the wrong classes.
      alpha: weight of the loss on the labels, in [0, 1].
    """

    def __init__(self, student: tf_keras.Model, teacher: tf_keras.Model, *, temperature: float, alpha: float) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.teacher.trainable = False
        self.temperature = temperature
        self.alpha = alpha
        check_same_classes(teacher, student)

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """The student's outputs."""
        return self.student(inputs, training=training)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> tf.Tensor:
        """The weighted sum of both losses."""
        hard = super().compute_loss(x, y, y_pred, sample_weight)
        soft = soft_loss(
            logits(self.teacher, self.teacher(x, training=False)), logits(self.student, y_pred), self.temperature
        )
        return self.alpha * hard + (1.0 - self.alpha) * soft


def soft_loss(teacher_logits: tf.Tensor, student_logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """``T² * KL(softmax(teacher / T) ‖ softmax(student / T))``, the mean over the batch.

    The factor T² keeps the gradient's scale independent of the temperature (section 2 of the paper).

    Args:
      teacher_logits: shape (n, classes).
      student_logits: shape (n, classes).
      temperature: T > 0.
    """
    import tensorflow as tf

    target = tf.nn.log_softmax(teacher_logits / temperature)
    value = tf.nn.log_softmax(student_logits / temperature)
    return temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(target) * (target - value), axis=-1))


def logits(model: tf_keras.Model, outputs: tf.Tensor) -> tf.Tensor:
    """Class scores before any softmax; the logarithm of probabilities is as good, for softmax ignores a constant."""
    import tensorflow as tf

    return tf.math.log(tf.maximum(outputs, 1e-7)) if ends_in_softmax(model) else outputs


def ends_in_softmax(model: tf_keras.Model) -> bool:
    """Whether the model's last layer turns logits into probabilities."""
    last = model.layers[-1]
    if isinstance(last, tf_keras.Model):
        return ends_in_softmax(last)
    return (
        isinstance(last, tf_keras.layers.Softmax) or getattr(last, "activation", None) is tf_keras.activations.softmax
    )


def check_same_classes(teacher: tf_keras.Model, student: tf_keras.Model) -> None:
    """Raises ModelError unless both return one tensor (n, classes) of the same number of classes."""
    shapes = {}
    for role, model in (("teacher", teacher), ("student", student)):
        shape = model.output_shape
        if not isinstance(shape, tuple) or len(shape) != 2:
            raise ModelError(
                f"the {role} returns {shape}; logit distillation needs one output of shape (batch, classes)"
            )
        shapes[role] = shape
    if shapes["teacher"][1] != shapes["student"][1]:
        raise ModelError(
            f"teacher and student differ in classes: teacher {shapes['teacher']}, student {shapes['student']}. "
            "Give build_student_fn's model the teacher's number of outputs"
        )
