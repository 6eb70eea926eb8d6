"""Configuration of Distiller."""

from __future__ import annotations

from pydantic import Field

from tfx_edge.models.training_types import FitConfig


class DistillerConfig(FitConfig):
    """How a student learns from a teacher.

    Attributes:
      temperature: softens both distributions; 1 leaves them as they are.
      alpha: weight of the loss on the labels; the rest weighs the loss on the teacher's scores.
    """

    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=0.3, ge=0, le=1)
