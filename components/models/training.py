"""Compiles and fits tf_keras models, with progress in readable lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tf_keras

from tfx_edge.errors import ConfigError, DataError, ModelError
from tfx_edge.models.distill import ends_in_softmax
from tfx_edge.models.tracing import trace_as_it_is
from tfx_edge.models.training_types import Progress

if TYPE_CHECKING:
    import tensorflow as tf


def compile_for_labels(
    model: tf_keras.Model, labels: tf.TensorSpec, learning_rate: float, classes: tf_keras.Model
) -> None:
    """Compiles a classifier with Adam, cross-entropy and accuracy.

    Args:
      model: the model to compile.
      labels: spec of the labels: integers of shape (n,) or (n, 1).
      learning_rate: of Adam.
      classes: the model whose last layer tells whether outputs are logits or probabilities.

    Raises:
      ConfigError: the labels are not class numbers; only the user knows the loss then.
    """
    if not labels.dtype.is_integer:
        raise ConfigError(
            f"labels are {labels.dtype.name}, so no loss can be chosen: define compile_fn(model, fn_args) in "
            f"the module file"
        )
    model.compile(
        optimizer=tf_keras.optimizers.Adam(learning_rate),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(classes)),
        metrics=["accuracy"],
    )


def fit(
    model: tf_keras.Model,
    train: tf.data.Dataset,
    validation: tf.data.Dataset | None,
    epochs: int,
    progress: Progress,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> dict[str, float]:
    """Trains a compiled model.

    Args:
      model: a compiled tf_keras model.
      train: one pass over the training split: (features, labels) batches.
      validation: likewise for the eval split, or None when it is empty.
      epochs: passes over ``train``.
      progress: takes a line for every fifth of the epochs.
      callbacks: further callbacks.

    Returns:
      The last epoch's figures by name.

    Raises:
      DataError: the training split is empty.
      ModelError: the loss is not a finite number, or a weight is not.
    """
    trace_as_it_is()
    history = model.fit(
        train,
        validation_data=validation,
        epochs=epochs,
        verbose=0,
        callbacks=[*callbacks, _EpochLines(epochs, progress)],
    ).history
    if not history.get("loss"):
        raise DataError("the training split has no examples: nothing can be trained on it")
    figures = {name: float(values[-1]) for name, values in history.items()}
    if not np.isfinite(figures["loss"]):
        raise ModelError(f"training diverged (loss {figures['loss']}): lower learning_rate")
    if any(not np.all(np.isfinite(weight)) for weight in model.get_weights()):
        raise ModelError("training left weights that are not finite numbers: lower learning_rate")
    return figures


class _EpochLines(tf_keras.callbacks.Callback):
    """A line for every fifth of the epochs."""

    def __init__(self, epochs: int, progress: Progress) -> None:
        super().__init__()
        self.epochs = epochs
        self.progress = progress

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % math.ceil(self.epochs / 5) and epoch + 1 != self.epochs:
            return
        shown = ", ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())
        self.progress(f"epoch {epoch + 1}/{self.epochs}: {shown}")
