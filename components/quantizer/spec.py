"""Configuration of Quantizer."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tfx_edge.gate.quality_metrics import QUALITY_METRICS
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.recovery.settings import RecoveryConfig
from tfx_edge.training.types import FitConfig


class QuantizerConfig(FitConfig):
    """Which precision, and how it is reached.

    Attributes:
      recipe: ``qat_int8`` trains a trainable model quantization-aware, before LiteConverter; the others quantize a
        ``.tflite`` after it.
      recovery: how to win back what quantizing after training costs; None takes it as it comes.
      preserve: with ``qat_int8``, what a Pruner left in the weights and training must keep, where it is there.
    """

    recipe: Recipe
    recovery: RecoveryConfig | None = None
    preserve: tuple[Literal["sparsity", "clusters"], ...] = ("sparsity", "clusters")

    @property
    def trains(self) -> bool:
        """Whether the model is trained."""
        return self.recipe.preset == "qat_int8"

    @property
    def learns(self) -> bool:
        """Whether examples are needed."""
        return self.trains or self.recipe.calibrated or self.recovery is not None

    @model_validator(mode="after")
    def _fits_together(self) -> QuantizerConfig:
        preset = self.recipe.preset
        if self.recipe.precisions == {"float32"}:
            raise ValueError(
                "recipe 'float32' quantizes nothing: name another precision in an override, or leave the Quantizer out"
            )
        metric = self.recovery and self.recovery.metric
        if metric and metric not in QUALITY_METRICS:
            raise ValueError(f"recovery.metric {metric!r} is none of {', '.join(QUALITY_METRICS)}")
        if self.trains and self.recovery:
            raise ValueError("recovery works after training: leave it out with recipe 'qat_int8'")
        if self.recovery:
            _check_is_used(self.recovery)
        given = self.model_fields_set - {"recipe", "recovery"}
        wrong = sorted(name for name in given if getattr(self, name) != type(self).model_fields[name].default)
        if wrong and not self.trains:
            raise ValueError(f"{', '.join(wrong)} belong to recipe 'qat_int8', not to {preset!r}: leave them out")
        return self


def _check_is_used(recovery: RecoveryConfig) -> None:
    if "mixed_precision" in recovery.methods:
        return
    fields = RecoveryConfig.model_fields
    idle = [name for name in ("spare", "seconds") if getattr(recovery, name) != fields[name].default]
    if idle:
        named = ", ".join(f"recovery.{name} {getattr(recovery, name)!r}" for name in idle)
        raise ValueError(
            f"{named} belong to method 'mixed_precision', which recovery.methods lacks: leave them out, or add it"
        )
