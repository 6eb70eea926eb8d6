"""Keeps weights in a set, such as those with certain zeros, by putting them back into it after every training step.

So the model itself is trained, with no wrapper around any layer, and all state is in its weights and its optimizer: a
training that was killed goes on from them.
"""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf
import tf_keras


class Constraint(tf_keras.callbacks.Callback, abc.ABC):
    """Base of what is put back after every step.

    ``begin`` is called before the first epoch in this process, and may find the weights of any epoch, ``step`` after
    every step. At the start and after every step the weights become what ``project`` gives. Epochs and steps are
    counted here, since the optimizer counts one step more for an epoch that ends with its data.
    """

    def __init__(self, variables: list[Any]) -> None:
        super().__init__()
        self.variables = variables
        self._epoch: int | None = None
        self._assign = tf.function(self._assigned, autograph=False)

    @abc.abstractmethod
    def begin(self, epoch: int) -> None:
        """Finds out what holds at the start of an epoch, counted from 0."""

    def step(self, epoch: int, batch: int) -> None:
        """What may change after a step; both are counted from 0."""

    @abc.abstractmethod
    def project(self) -> list[tf.Tensor]:
        """The nearest weights in the set, in the order of ``variables``."""

    def apply(self) -> None:
        """Puts the weights back."""
        self._assign()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before the first one, whatever epoch it is that this process begins with."""
        if self._epoch is None:
            self.begin(epoch)
            if not epoch:  # later, the weights are in the set, and rounding must not move them
                self.apply()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After every step."""
        self.step(self._epoch or 0, batch)
        self.apply()

    def _assigned(self) -> None:
        for variable, values in zip(self.variables, self.project(), strict=True):
            variable.assign(values)
