"""Configuration of Quantizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tfx_edge.lite.quantize import CALIBRATED
from tfx_edge.models.training_types import FitConfig

Mode = Literal["qat", "float16", "dynamic_int8", "int8", "int16x8", "int4_weights"]


class QuantizerConfig(FitConfig):
    """Which precision, and how it is reached.

    Attributes:
      mode: ``qat`` trains a trainable model quantization-aware, before LiteConverter; the others quantize a ``.tflite``
        after it.
      preserve_sparsity: in ``qat``, keep zero weights at zero.
      calibration_examples: examples of the training split that ``int8`` and ``int16x8`` are calibrated on.
    """

    mode: Mode
    preserve_sparsity: bool = False
    calibration_examples: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> QuantizerConfig:
        training = {"epochs", "batch_size", "learning_rate", "seed", "preserve_sparsity"} & self.model_fields_set
        if self.mode != "qat" and training and not self.is_default(training):
            raise ValueError(
                f"{', '.join(sorted(training))} belong to mode 'qat', not to {self.mode!r}: leave them out"
            )
        if self.mode not in CALIBRATED and not self.is_default({"calibration_examples"}):
            raise ValueError(
                f"calibration_examples belongs to modes int8 and int16x8, not to {self.mode!r}: leave it out"
            )
        return self

    def is_default(self, names: set[str]) -> bool:
        """Whether the named fields have their default values."""
        return all(getattr(self, name) == type(self).model_fields[name].default for name in names)
