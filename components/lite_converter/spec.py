"""Configuration of LiteConverter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tfx_edge.config import Config


class LiteConverterConfig(Config):
    """How a trainable model becomes a ``.tflite``.

    Attributes:
      batch_size: examples an invocation takes; null leaves it open, which costs shape arithmetic on the device.
      io_dtype: type of inputs and outputs; the integer types need a model trained quantization-aware.
      allow_select_tf_ops: accept operators that need TensorFlow's Flex runtime on the device.
    """

    batch_size: int | None = Field(default=1, ge=1)
    io_dtype: Literal["float32", "int8", "uint8"] = "float32"
    allow_select_tf_ops: bool = False
