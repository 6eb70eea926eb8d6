"""The losses of distillation: of a batch of the student's tensors against a teacher's.

Sources: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network" (2015); A. Romero et al.,
"FitNets: Hints for Thin Deep Nets" (2015); S. Zagoruyko, N. Komodakis, "Paying More Attention to Attention" (2017);
W. Park et al., "Relational Knowledge Distillation" (2019).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfx_edge.distillation.settings import OutputKind

_EPSILON = 1e-12


def soft_loss(
    kind: OutputKind, teacher: tf.Tensor, student: tf.Tensor, temperature: Any, mask: Any = None
) -> tf.Tensor:
    """How far the student's scores are from the teacher's, the mean over the batch and the steps of a sequence.

    Classes: ``T² * KL(softmax(teacher / T) ‖ softmax(student / T))``. Binary: the same of each output's two sides, the
    mean over outputs. The factor T² keeps the gradient's scale independent of the temperature (Hinton, section 2).
    Regression: squared error, whatever the temperature.

    Args:
      kind: what the outputs are.
      teacher: scores before softmax or sigmoid, shape (n, …, size).
      student: likewise.
      temperature: T > 0.
      mask: shape (n, steps): which steps of a sequence count; None for all.
    """
    if kind == "regression":
        values = tf.square(teacher - student)
        values = tf.reduce_mean(values, axis=-1) if values.shape.rank > 1 else values
    elif kind == "classes":
        target = tf.nn.log_softmax(teacher / temperature)
        value = tf.nn.log_softmax(student / temperature)
        values = temperature**2 * tf.reduce_sum(tf.exp(target) * (target - value), axis=-1)
    else:
        target, value = teacher / temperature, student / temperature
        share = tf.sigmoid(target)
        each = share * (tf.math.log_sigmoid(target) - tf.math.log_sigmoid(value))
        each += (1 - share) * (tf.math.log_sigmoid(-target) - tf.math.log_sigmoid(-value))
        values = temperature**2 * (tf.reduce_mean(each, axis=-1) if each.shape.rank > 1 else each)
    if mask is None or values.shape.rank != mask.shape.rank:
        return tf.reduce_mean(values)
    weights = tf.cast(mask, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def feature_loss(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """The mean squared error of features of the same shape (Romero, equation 3)."""
    return tf.reduce_mean(tf.square(teacher - student))


def attention_map(features: tf.Tensor, size: tuple[int, int] | None = None) -> tf.Tensor:
    """Where a layer is strong: the mean square of its channels at each position, of length 1.

    Args:
      features: shape (n, positions…, channels).
      size: height and width to which a map of two dimensions is brought; None leaves it.

    Returns:
      Shape (n, positions).
    """
    strength = tf.reduce_mean(tf.square(features), axis=-1)
    if size:
        strength = tf.image.resize(strength[..., None], size)[..., 0]
    return tf.math.l2_normalize(flat(strength), axis=-1, epsilon=_EPSILON)


def attention_loss(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """The squared distance of two attention maps, the mean over the batch (Zagoruyko, equation 2)."""
    return tf.reduce_mean(tf.reduce_sum(tf.square(teacher - student), axis=-1))


def relational_loss(teacher: tf.Tensor, student: tf.Tensor, distance: float, angle: float) -> tf.Tensor:
    """How far the examples' distances and angles in the student are from those in the teacher.

    Args:
      teacher: shape (n, a).
      student: shape (n, b).
      distance: weight of the distances (Park, equations 6 to 8).
      angle: weight of the angles (equations 9 and 10).
    """
    loss = tf.zeros((), student.dtype)
    if distance:
        loss += distance * _huber(_distances(teacher), _distances(student))
    if angle:
        loss += angle * _huber(_angles(teacher), _angles(student))
    return loss


def flat(values: tf.Tensor) -> tf.Tensor:
    """All dimensions but the first as one."""
    return tf.reshape(values, [tf.shape(values)[0], -1])


def _distances(values: tf.Tensor) -> tf.Tensor:
    """Between all pairs, as multiples of their mean."""
    squares = tf.reduce_sum(tf.square(_differences(values)), axis=-1)
    between = tf.sqrt(tf.maximum(squares, _EPSILON))  # a square root has no gradient at zero
    between = tf.where(squares > _EPSILON, between, 0.0)
    others = tf.reduce_sum(tf.cast(between > 0, between.dtype))
    return tf.math.divide_no_nan(between, tf.math.divide_no_nan(tf.reduce_sum(between), others))


def _angles(values: tf.Tensor) -> tf.Tensor:
    """The cosine of the angle at each example between each two others."""
    directions = tf.math.l2_normalize(_differences(values), axis=-1, epsilon=_EPSILON)
    return tf.einsum("ijd,ikd->ijk", directions, directions)


def _differences(values: tf.Tensor) -> tf.Tensor:
    """Of all pairs."""
    return values[None, :] - values[:, None]


def _huber(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    error = tf.abs(teacher - student)
    return tf.reduce_mean(tf.where(error <= 1, 0.5 * tf.square(error), error - 0.5))
