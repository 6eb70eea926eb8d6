"""What every method of Pruner takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tf_keras

from tfx_edge.pruner.spec import PrunerConfig
from tfx_edge.stages.context import StageContext
from tfx_edge.stages.savings import Cost
from tfx_edge.training import training
from tfx_edge.training.checkpoints import Checkpoint
from tfx_edge.training.data import TrainingData
from tfx_edge.training.types import Progress


@dataclass(frozen=True)
class Job:
    """A model to make smaller.

    Attributes:
      stage: examples and the user's module.
      config: what to do.
      model: of tf_keras, not compiled; its weights change.
      data: to train on.
      before: the cost of the model; None where it cannot be converted.
      folder: for files that are needed meanwhile.
      checkpoint: where the training is kept; None keeps nothing.
      progress: takes lines for people.
    """

    stage: StageContext
    config: PrunerConfig
    model: tf_keras.Model
    data: TrainingData
    before: Cost | None
    folder: Path
    checkpoint: Checkpoint | None
    progress: Progress

    def compiled(self, model: tf_keras.Model) -> tf_keras.Model:
        """A compiled model of the same layers, so that the model itself is not compiled."""
        made = tf_keras.models.clone_model(model, clone_function=lambda layer: layer)
        self.stage.compile(made, model, self.data.batches, self.config.learning_rate)
        return made

    def fit(
        self,
        model: tf_keras.Model,
        checkpoint: Checkpoint | None,
        callbacks: Sequence[tf_keras.callbacks.Callback] = (),
        ripe_after: int = 0,
    ) -> dict[str, float]:
        """Trains a model, which is itself not compiled, and returns the figures of the epoch that is kept."""
        return training.fit(
            self.compiled(model),
            self.data,
            self.config,
            self.progress,
            callbacks=callbacks,
            checkpoint=checkpoint,
            ripe_after=ripe_after,
        )


@dataclass(frozen=True)
class Outcome:
    """What a method made.

    Attributes:
      model: of tf_keras, not compiled.
      result: what it did, for the step.
      properties: what people query of it, for the artifact.
    """

    model: tf_keras.Model
    result: dict[str, Any]
    properties: dict[str, float] = field(default_factory=dict)
