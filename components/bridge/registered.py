"""What Keras 3 computes and tf_keras lacks, or computes otherwise.

Most activations carry the same name and mean the same. ``hard_sigmoid`` does not: Keras 2 computes
``clip(0.2 x + 0.5, 0, 1)``, Keras 3 ``relu6(x + 3) / 6``. All that is defined here is registered as ``tfx_edge>name``:
a process that loads a model with it has to import this module first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

Activation = Callable[[Any], Any]

_SAME = frozenset(
    {
        "elu",
        "exponential",
        "gelu",
        "leaky_relu",
        "linear",
        "log_softmax",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "tanh",
    }
)
_registered = tf_keras.utils.register_keras_serializable(package="tfx_edge")


@_registered
def keras3_hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """A function named ``hard_sigmoid`` would be saved under that bare name, and come back as Keras 2's."""
    return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


@_registered
def hard_silu(x: tf.Tensor) -> tf.Tensor:
    """Also known as hard_swish."""
    return x * keras3_hard_sigmoid(x)


@_registered
def hard_tanh(x: tf.Tensor) -> tf.Tensor:
    """The identity between -1 and 1."""
    return tf.clip_by_value(x, -1.0, 1.0)


@_registered
def celu(x: tf.Tensor) -> tf.Tensor:
    """With its default alpha of 1, in which it is the same as ELU."""
    return tf.nn.elu(x)


@_registered
def log_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """The logarithm of the logistic function."""
    return tf.math.log_sigmoid(x)


@_registered
def tanh_shrink(x: tf.Tensor) -> tf.Tensor:
    """The distance of x from its hyperbolic tangent."""
    return x - tf.math.tanh(x)


@_registered
def squareplus(x: tf.Tensor) -> tf.Tensor:
    """With its default b of 4."""
    return (x + tf.sqrt(tf.square(x) + 4.0)) * 0.5


_OWN: dict[str, Activation] = {
    "celu": celu,
    "hard_sigmoid": keras3_hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_tanh": hard_tanh,
    "log_sigmoid": log_sigmoid,
    "squareplus": squareplus,
    "tanh_shrink": tanh_shrink,
}


def rebuild_activation(name: Any) -> Activation:
    """Finds the function that computes in tf_keras what `name` computes in Keras 3.

    Args:
      name: the activation as Keras 3 serializes it.

    Raises:
      ValueError: it is a function of the user's own, or one without a counterpart.
    """
    if isinstance(name, str) and name in _OWN:
        return _OWN[name]
    if isinstance(name, str) and name in _SAME:
        return tf_keras.activations.get(name)
    if isinstance(name, dict):
        name = name.get("config", name)
    raise ValueError(f"its activation {name!r} has no counterpart in tf_keras")


@_registered
class MultiHeadAttention(tf_keras.layers.MultiHeadAttention):
    """Attends to nothing where all is masked, as Keras 3 does in a layer that has dropout or returns its scores.

    In any other layer Keras 3, like tf_keras, spreads the attention of such a position (padding, mostly) evenly.
    """

    def _masked_softmax(self, attention_scores: tf.Tensor, attention_mask: tf.Tensor | None = None) -> tf.Tensor:
        probabilities = super()._masked_softmax(attention_scores, attention_mask)
        if attention_mask is None:
            return probabilities
        while len(attention_mask.shape) < len(probabilities.shape):
            attention_mask = tf.expand_dims(attention_mask, -2 * len(self._attention_axes) - 1)
        return probabilities * tf.cast(attention_mask, probabilities.dtype)
