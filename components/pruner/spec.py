"""Configuration of Pruner."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from tfx_edge.pruning.settings import Clusters, Magnitude
from tfx_edge.pruning.structured.settings import Structured
from tfx_edge.training.types import FitConfig

Method = Annotated[Magnitude | Clusters | Structured, Field(discriminator="kind")]


class PrunerConfig(FitConfig):
    """What makes the model smaller, and how it is trained meanwhile or afterwards.

    Attributes:
      method: ``kind`` ``"magnitude"`` (the default) zeroes the smallest weights, ``"clusters"`` lets weights share
        values, ``"structured"`` removes whole filters, channels and units.
      measure_latency: also measure by how much one run gets shorter on the machine that Pruner runs on, which takes
        about 10 s.
    """

    method: Method = Magnitude()
    measure_latency: bool = False

    @field_validator("method", mode="before")
    @classmethod
    def _magnitude_is_the_default(cls, value: Any) -> Any:
        return {"kind": "magnitude", **value} if isinstance(value, dict) else value
