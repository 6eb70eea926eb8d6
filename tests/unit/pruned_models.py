"""Small tf_keras models with all kinds of kernels, a task to train them on, and the request that makes Pruner do it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
import training_module

from tfx_edge.training import training
from tfx_edge.training.checkpoints import Checkpoint
from tfx_edge.training.data import TrainingData
from tfx_edge.training.types import FitConfig

KL = tf_keras.layers
BATCH = 16
STEPS = 6


def network() -> tf_keras.Model:
    """A classifier of 6 numbers in 3 kinds: layers ``hidden`` (6 to 24), ``wide`` (24 to 32) and ``scores``."""
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((training_module.FEATURES,), name="x")
    x = KL.Dense(24, activation="relu", name="hidden")(inputs)
    x = KL.Dropout(0.2)(KL.Dense(32, activation="relu", name="wide")(x))
    return tf_keras.Model(inputs, KL.Dense(training_module.KINDS, name="scores")(x))


def zoo() -> tf_keras.Model:
    """Convolutions of every kind, a nested model, a recurrent layer, attention and an embedding."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((8, 8, 3), name="image")
    x = KL.Conv2D(8, 3, padding="same", name="first")(image)
    x = KL.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = KL.SeparableConv2D(8, 3, padding="same", name="separable")(x)
    x = KL.Conv2DTranspose(12, 2, name="transposed")(KL.BatchNormalization()(x))
    inner_input = tf_keras.Input((9, 9, 12))
    inner = tf_keras.Model(inner_input, KL.Conv2D(4, 3, name="inside")(inner_input), name="inner")
    x = KL.Reshape((7, 28))(inner(x))
    tokens = tf_keras.Input((7,), dtype=tf.int32, name="tokens")
    x = KL.Add()([KL.Dense(8, name="dense")(x), KL.Embedding(20, 8, name="table")(tokens)])
    x = KL.MultiHeadAttention(2, 4, name="attention")(x, x)
    return tf_keras.Model([image, tokens], KL.LSTM(8, name="memory")(x))


def compiled(model: tf_keras.Model, learning_rate: float = 0.01) -> tf_keras.Model:
    training.compile_for_labels(model, tf.TensorSpec((None,), tf.int64), learning_rate, model)
    return model


def fit(
    model: tf_keras.Model, epochs: int, callbacks: Iterable[Any] = (), checkpoint: Checkpoint | None = None
) -> list[str]:
    """Trains a model of `network`'s inputs and returns the lines."""
    lines: list[str] = []
    data = TrainingData(training_module.input_fn(["train"], None, BATCH), None, STEPS, BATCH, 0)
    if model.optimizer is None:
        compiled(model)
    training.fit(model, data, FitConfig(epochs=epochs), lines.append, callbacks=list(callbacks), checkpoint=checkpoint)
    return lines


def equal(one: tf_keras.Model, other: tf_keras.Model) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
