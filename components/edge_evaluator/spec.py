"""Configuration of EdgeEvaluator."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from tfx_edge.config import Config
from tfx_edge.gate.thresholds import Thresholds


class EdgeEvaluatorConfig(Config):
    """What is measured, how, and what must hold.

    Attributes:
      thresholds: bounds by metric name, as `tfx_edge.gate.thresholds.Thresholds` takes them.
      processes: fresh processes that latency is measured in.
      runs: timed invocations in each.
      warmup: untimed invocations before them.
      num_threads: threads of the interpreter.
      timeout_s: seconds that one process may take.
      batch_size: examples read at a time.
    """

    thresholds: dict[str, Any]
    processes: int = Field(default=3, ge=1)
    runs: int = Field(default=200, ge=1)
    warmup: int = Field(default=20, ge=0)
    num_threads: int = Field(default=1, ge=1)
    timeout_s: float = Field(default=120, gt=0)
    batch_size: int = Field(default=128, ge=1)

    @field_validator("thresholds")
    @classmethod
    def _are_possible(cls, value: dict[str, Any]) -> dict[str, Any]:
        Thresholds.parse(value)
        return value
