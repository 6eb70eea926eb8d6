"""Compiles and fits tf_keras models: stops early, goes on after a killed process, and tells how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tf_keras

from tfx_edge.errors import ConfigError, DataError, ModelError
from tfx_edge.models.activations import activation_of, ends_in_softmax
from tfx_edge.models.tracing import trace_as_it_is
from tfx_edge.training.checkpoints import Checkpoint, Progressed, State
from tfx_edge.training.data import TrainingData
from tfx_edge.training.lines import Lines
from tfx_edge.training.reproducible import RandomNumbers
from tfx_edge.training.types import FitConfig, Progress


def compile_for_labels(model: tf_keras.Model, labels: Any, learning_rate: float, classes: tf_keras.Model) -> None:
    """Compiles a classifier with Adam, cross-entropy and accuracy.

    Args:
      model: the model to compile.
      labels: spec of the labels: integers of shape (n,) or (n, 1).
      learning_rate: of Adam.
      classes: the model whose only output tells what it gives: scores or probabilities of several classes, or one
        probability made by a sigmoid.

    Raises:
      ConfigError: the labels are not class numbers, or the model is none of these; only the user knows the loss then.
    """
    outputs = classes.outputs
    several, probability = outputs[0].shape[-1] != 1, activation_of(outputs[0]) == "sigmoid"
    if not getattr(getattr(labels, "dtype", None), "is_integer", False) or len(outputs) > 1 or several == probability:
        raise ConfigError(
            f"no loss can be chosen for labels {labels} and the outputs "
            + ", ".join(f"{name} {output.shape}" for name, output in zip(classes.output_names, outputs, strict=True))
            + ": it is for whole numbers as labels, and one output of several classes or with one sigmoid. Define "
            "compile_fn(model, fn_args) in the module file"
        )
    loss: tf_keras.losses.Loss = tf_keras.losses.BinaryCrossentropy()
    if several:
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(classes))
    model.compile(optimizer=tf_keras.optimizers.Adam(learning_rate), loss=loss, metrics=["accuracy"])


def fit(
    model: tf_keras.Model,
    data: TrainingData,
    config: FitConfig,
    progress: Progress,
    *,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    checkpoint: Checkpoint | None = None,
    learner: tf_keras.Model | None = None,
    ripe_after: int = 0,
) -> dict[str, float]:
    """Trains a compiled model.

    What happens in an epoch depends on the configuration and the number of the epoch only: shuffling, dropout and
    whatever else is random start from a seed of its own in each. So a training that goes on from a checkpoint ends
    where it would have ended.

    Args:
      model: a compiled tf_keras model.
      data: what it is trained on, and watched on.
      config: epochs, seed and early stopping.
      progress: takes lines for people.
      callbacks: further callbacks; their state must be in the model or its optimizer.
      checkpoint: where the state is kept after each epoch, and taken from where there is one; None keeps nothing.
      learner: the part of ``model`` whose weights change; None for all of it.
      ripe_after: epochs before any can be the best one, as while weights are still being pruned.

    Returns:
      The figures of the epoch whose weights the model has in the end, by name, and with ``patience`` its number
      (``best_epoch``, counted from 1).

    Raises:
      ConfigError: ``monitor`` is not among the figures.
      DataError: early stopping is asked for, and the eval split is empty.
      ModelError: the loss is not a finite number, or a weight is not.
    """
    if config.patience is not None and data.validation is None:
        raise DataError(
            "patience watches a figure on the eval split, which has no examples: fill it, or leave patience out"
        )
    trace_as_it_is()
    training = _Training(model, learner or model, config, ripe_after)
    state = checkpoint.load() if checkpoint else None
    if state and training.resume(state):
        done = training.progressed.epochs
        progress(f"goes on after epoch {done}/{config.epochs}, from {checkpoint.path if checkpoint else ''}")
    elif state:
        progress("starts anew: what was kept is the state of another model or optimizer")
    numbers = RandomNumbers(model, config.seed)
    lines = Lines(config.epochs, data.steps, progress)
    while not training.finished:
        epoch = training.progressed.epochs
        numbers.start(epoch)
        history = model.fit(
            data.epoch(epoch),
            validation_data=data.validation,
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            callbacks=[*callbacks, lines],
        ).history
        training.take({name: float(values[-1]) for name, values in history.items()})
        if checkpoint:
            checkpoint.save(training.state())
    return training.finish(progress)


class _Training:
    """The epochs of a training so far."""

    def __init__(self, model: tf_keras.Model, learner: tf_keras.Model, config: FitConfig, ripe_after: int) -> None:
        self.model = model
        self.learner = learner
        self.config = config
        self.ripe_after = min(ripe_after, config.epochs - 1)
        self.progressed = Progressed()
        self.best_weights: Sequence[np.ndarray] = ()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        done, best = self.progressed.epochs, self.progressed.best
        waited = 0 if best is None else done - 1 - best
        return done >= self.config.epochs or (self.config.patience is not None and waited >= self.config.patience)

    def resume(self, state: State) -> bool:
        """Takes over a saved state; False, and nothing is changed, when it is not of this model and optimizer."""
        variables = _optimizer_variables(self.model)
        shapes = [tuple(weight.shape) for weight in (*self.learner.weights, *variables)]
        if shapes != [value.shape for value in (*state.weights, *state.optimizer)]:
            return False
        self.learner.set_weights(list(state.weights))
        for variable, value in zip(variables, state.optimizer, strict=True):
            variable.assign(value)
        self.progressed, self.best_weights = state.progressed, state.best_weights
        return True

    def state(self) -> State:
        """What the training needs to go on."""
        optimizer = [variable.numpy() for variable in _optimizer_variables(self.model)]
        return State(self.progressed, self.learner.get_weights(), optimizer, self.best_weights)

    def take(self, figures: dict[str, float]) -> None:
        """Takes note of an epoch."""
        if not np.isfinite(figures["loss"]):
            raise ModelError(f"training diverged (loss {figures['loss']}): lower learning_rate")
        if any(not np.all(np.isfinite(weight)) for weight in self.learner.get_weights()):
            raise ModelError("training left weights that are not finite numbers: lower learning_rate")
        done = self.progressed.epochs
        best = self.progressed.best
        if self.config.patience is not None:
            if self.config.monitor not in figures:
                raise ConfigError(
                    f"monitor {self.config.monitor!r} is none of the figures of this training, which are "
                    f"{', '.join(sorted(figures))}"
                )
            value = figures[self.config.monitor]
            known = None if best is None else self.progressed.figures[best][self.config.monitor]
            if done >= self.ripe_after and np.isfinite(value) and (known is None or self._better(value, known)):
                best, self.best_weights = done, self.learner.get_weights()
        self.progressed = Progressed(done + 1, (*self.progressed.figures, figures), best)

    def _better(self, value: float, known: float) -> bool:
        return value < known if self.config.lower_is_better else value > known

    def finish(self, progress: Progress) -> dict[str, float]:
        """Gives the model the weights that it is to keep, and returns the figures of their epoch."""
        done, best = self.progressed.epochs, self.progressed.best
        if best is None:
            return self.progressed.figures[-1]
        self.learner.set_weights(list(self.best_weights))
        figures = self.progressed.figures[best]
        end = "stopped" if done < self.config.epochs else "done"
        progress(
            f"{end} after epoch {done}/{self.config.epochs}; the weights of epoch {best + 1} are kept, whose "
            f"{self.config.monitor} is best: {figures[self.config.monitor]:.4f}"
        )
        return {**figures, "best_epoch": best + 1}


def _optimizer_variables(model: tf_keras.Model) -> list[Any]:
    optimizer = model.optimizer
    if isinstance(optimizer, tf_keras.optimizers.legacy.Optimizer):
        optimizer._create_all_weights(model.trainable_variables)
        return list(optimizer.weights)
    optimizer.build(model.trainable_variables)
    return list(optimizer.variables)
