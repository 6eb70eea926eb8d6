"""Configuration of Pruner."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from tfx_edge.models.training_types import FitConfig


class PrunerConfig(FitConfig):
    """How many weights are zeroed, and where.

    Attributes:
      final_sparsity: share of zeros at the end.
      initial_sparsity: share of zeros at the start.
      layers: regular expression that the whole name of a layer must match to be pruned.
    """

    final_sparsity: float = Field(default=0.5, gt=0, lt=1)
    initial_sparsity: float = Field(default=0.0, ge=0, lt=1)
    layers: str = ".*"

    @field_validator("layers")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _grows(self) -> PrunerConfig:
        if self.initial_sparsity >= self.final_sparsity:
            raise ValueError(
                f"initial_sparsity {self.initial_sparsity} must be below final_sparsity {self.final_sparsity}: "
                f"pruning only adds zeros"
            )
        return self
