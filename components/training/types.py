"""Types and configuration of training, importable without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from pydantic import Field, model_validator

from tfx_edge.config import Config, Seed

Progress = Callable[[str], None]

_GOALS = {
    "min": re.compile(r"(^|_)(loss|error|mse|mae|rmse|mape|crossentropy|divergence|perplexity)$"),
    "max": re.compile(r"(^|_)(acc|accuracy|auc|precision|recall|f1|iou)$"),
}


class FitConfig(Config):
    """How long and how fast to train.

    Attributes:
      epochs: passes over the training split, at most.
      batch_size: examples a step.
      learning_rate: of Adam; unused where the module's ``compile_fn`` compiles the model.
      seed: of initial weights, shuffling and dropout.
      patience: stop when ``monitor`` has not improved for so many epochs, and keep the weights of the best epoch; None
        trains all epochs and keeps the last.
      monitor: the figure that decides: a loss or metric on the eval split, as tf_keras names it.
      goal: whether the lowest or the highest value of ``monitor`` is best; None where its name tells.
    """

    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    seed: Seed = 0
    patience: int | None = Field(default=None, ge=1)
    monitor: str = Field(default="val_loss", pattern="^val_.")
    goal: Literal["min", "max"] | None = None

    @model_validator(mode="after")
    def _stops_early(self) -> FitConfig:
        fields = FitConfig.model_fields
        if self.patience is None and any(getattr(self, name) != fields[name].default for name in ("monitor", "goal")):
            raise ValueError("monitor and goal belong to patience: give patience, or leave them out")
        if self.goal is None and not any(pattern.search(self.monitor) for pattern in _GOALS.values()):
            raise ValueError(f"give goal 'min' or 'max': the name {self.monitor!r} does not tell which is better")
        return self

    @property
    def lower_is_better(self) -> bool:
        """Whether the best value of ``monitor`` is the lowest."""
        return (self.goal or ("min" if _GOALS["min"].search(self.monitor) else "max")) == "min"
