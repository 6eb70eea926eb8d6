"""Types and configuration of training, importable without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from tfx_edge.config import Config

Progress = Callable[[str], None]


class FitConfig(Config):
    """How long and how fast to train.

    Attributes:
      epochs: passes over the training split.
      batch_size: examples a step.
      learning_rate: of Adam; unused where the module's ``compile_fn`` compiles the model.
      seed: of initial weights, shuffling and dropout.
    """

    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    seed: int = 0
