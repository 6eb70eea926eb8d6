"""Configuration of LiteConverter."""

from __future__ import annotations

from pydantic import Field, model_validator

from tfx_edge.config import Config
from tfx_edge.model_metadata.settings import Metadata
from tfx_edge.quantization.recipe import Recipe


class LiteConverterConfig(Config):
    """How a trainable model becomes a ``.tflite``.

    Attributes:
      batch_size: examples an invocation takes; null leaves it open, which costs shape arithmetic on the device.
      recipe: how numbers are stored and computed; None keeps a float model float, and makes a model that was trained
        quantization-aware int8 with float inputs and outputs.
      signatures: signatures of the SavedModel that go into the file, the main one first; None takes the model as a
        whole.
      allow_select_tf_ops: accept operators that need TensorFlow's Flex runtime on the device.
      allow_custom_ops: names of custom operators that the device has kernels for.
      sparse: store float weights that are mostly zero without their zeros.
      metadata: what the file says of itself by the TFLite metadata schema: labels, normalisation, descriptions.
    """

    batch_size: int | None = Field(default=1, ge=1)
    recipe: Recipe | None = None
    signatures: tuple[str, ...] | None = Field(default=None, min_length=1)
    allow_select_tf_ops: bool = False
    allow_custom_ops: tuple[str, ...] = ()
    sparse: bool = False
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> LiteConverterConfig:
        if self.recipe and self.recipe.preset == "qat_int8":
            raise ValueError(
                "recipe 'qat_int8' trains, which is Quantizer's: give it to a Quantizer before LiteConverter, and "
                "'int8' here if inputs and outputs shall be integers too"
            )
        if self.sparse and self.recipe and self.recipe.precisions != {"float32"}:
            raise ValueError(
                "sparse is for float weights: kernels for quantized ones do not take them without their zeros, so "
                "leave out sparse or the recipe"
            )
        return self
