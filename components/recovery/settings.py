"""Configuration of the recovery of accuracy after quantization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tfx_edge.config import Config

Method = Literal["equalize", "bias_correction", "mixed_precision"]
METHODS: tuple[Method, ...] = ("equalize", "bias_correction", "mixed_precision")
"""In the order in which they are tried: those that cost no bytes first."""


class RecoveryConfig(Config):
    """How much of its score a model may lose to quantization, and what may be done to win it back.

    Attributes:
      max_drop: how far the score may lie below the float model's, in the unit of the metric.
      metric: by name, of those that a gate knows; for one where less is better, the score is its negative. None
        compares the outputs with the float model's and needs no label: the share of their variance that is explained.
      methods: which may be used, in any order.
      spare: what layers of int8 get first that need more: ``int16x8`` keeps the model integer, for microcontrollers;
        ``float32`` is many times as fast on a CPU. Where int16x8 does not suffice, float32 follows.
      examples: of the training split, other than those for calibration, on which the score is taken.
      seconds: after which no further layer is measured or given back.
    """

    max_drop: float = Field(default=0.01, ge=0)
    metric: str | None = None
    methods: tuple[Method, ...] = METHODS
    spare: Literal["int16x8", "float32"] = "float32"
    examples: int = Field(default=1000, ge=50)
    seconds: float = Field(default=600, gt=0)

    @field_validator("methods")
    @classmethod
    def _some_once(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        if not methods or len(set(methods)) != len(methods):
            raise ValueError(f"name each method once, and at least one of {', '.join(METHODS)}")
        return methods
