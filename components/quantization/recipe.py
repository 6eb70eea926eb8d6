"""How the numbers of a model are stored and computed: one language for Quantizer and LiteConverter.

A recipe is plain JSON: a preset, and what departs from it. ``"int8"`` alone is a recipe; so is ::

    {"preset": "int8", "overrides": [{"layers": "^conv_1/", "precision": "float32"}], "io_dtype": "uint8"}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tfx_edge.config import Config, Seed

Precision = Literal["float32", "float16", "dynamic_int8", "int8", "int16x8", "int4_weights", "int4_blockwise"]
IoDtype = Literal["float32", "int8", "uint8", "int16"]
PresetName = Literal[
    "float32",
    "float16",
    "dynamic_int8",
    "int8",
    "int8_float_io",
    "int16x8",
    "int4_weights",
    "int4_blockwise",
    "qat_int8",
]
CALIBRATED: frozenset[str] = frozenset({"int8", "int16x8"})
"""Precisions that fix the range of every activation beforehand, so that examples are needed."""


@dataclass(frozen=True)
class Preset:
    """What a preset stands for.

    Attributes:
      precision: of every layer that no override names.
      io_dtype: type of the inputs and outputs, unless the recipe has another one.
      io_dtypes: the types they may have.
      needs: ``"calibration"`` examples, ``"training"`` examples with labels, or None.
      targets: the kinds of `Target` that can run the result.
      summary: one line for people.
    """

    precision: Precision
    io_dtype: IoDtype
    io_dtypes: tuple[IoDtype, ...]
    needs: Literal["calibration", "training"] | None
    targets: tuple[str, ...]
    summary: str


_LITERT = ("local", "ssh", "adb", "qemu")
_ALL = (*_LITERT, "mcu")
_FLOAT_IO: tuple[IoDtype, ...] = ("float32",)
_BYTE_IO: tuple[IoDtype, ...] = ("float32", "int8", "uint8")

PRESETS: dict[str, Preset] = {
    "float32": Preset("float32", "float32", _FLOAT_IO, None, _ALL, "nothing is quantized"),
    "float16": Preset("float16", "float32", _FLOAT_IO, None, _LITERT, "weights in half precision, float computation"),
    "dynamic_int8": Preset(
        "dynamic_int8", "float32", _FLOAT_IO, None, _LITERT, "int8 weights; activations are quantized as they come"
    ),
    "int8": Preset("int8", "int8", _BYTE_IO, "calibration", _ALL, "integers throughout, inputs and outputs too"),
    "int8_float_io": Preset(
        "int8", "float32", _FLOAT_IO, "calibration", _ALL, "integers inside, float inputs and outputs"
    ),
    "int16x8": Preset(
        "int16x8", "float32", ("float32", "int16"), "calibration", _ALL, "int8 weights, int16 activations"
    ),
    "int4_weights": Preset(
        "int4_weights", "float32", _FLOAT_IO, None, _LITERT, "int4 weights, a scale for each channel"
    ),
    "int4_blockwise": Preset(
        "int4_blockwise", "float32", _FLOAT_IO, None, _LITERT, "int4 weights, a scale for each block of a channel"
    ),
    "qat_int8": Preset(
        "int8", "int8", _BYTE_IO, "training", _ALL, "trained with the rounding of int8, before LiteConverter"
    ),
}


class Override(Config):
    """Layers whose precision is not the preset's.

    Attributes:
      layers: regular expression, searched for in the names of layers (``tfx-edge inspect --layers`` lists them).
      precision: what they get instead.
    """

    layers: str
    precision: Precision

    @field_validator("layers")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    def matches(self, layer: str) -> bool:
        """Whether it names this layer."""
        return re.search(self.layers, layer) is not None


class Calibration(Config):
    """On what, and how, the ranges of activations are found.

    Attributes:
      examples: how many of the training split, drawn at random and evenly over the classes where there is a label.
      seed: of the draw.
      method: ``min_max`` covers every value seen; ``moving_average`` smooths the examples' extremes; ``percentile`` and
        ``mse`` clip rare values, the latter where the rounding error is least.
      percentile: share of the values inside the range, in percent; for method ``percentile`` only.
    """

    examples: int = Field(default=200, ge=1)
    seed: Seed = 0
    method: Literal["min_max", "moving_average", "percentile", "mse"] = "min_max"
    percentile: float = Field(default=99.99, gt=50, le=100)

    @model_validator(mode="after")
    def _fits_together(self) -> Calibration:
        if self.method != "percentile" and self.percentile != type(self).model_fields["percentile"].default:
            raise ValueError(f"percentile belongs to method 'percentile', not to {self.method!r}: leave it out")
        return self


class Recipe(Config):
    """A preset and what departs from it. A bare preset name stands for a recipe of it alone.

    Attributes:
      preset: one of ``PRESETS``.
      overrides: other precisions for some layers; the last one that names a layer counts.
      io_dtype: type of inputs and outputs; None takes the preset's.
      block_size: weights that share a scale, for ``int4_blockwise``.
      calibration: for presets and overrides that need examples.
    """

    preset: PresetName
    overrides: tuple[Override, ...] = ()
    io_dtype: IoDtype | None = None
    block_size: Literal[32, 64, 128, 256] = 32
    calibration: Calibration = Calibration()

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"preset": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        allowed = PRESETS[self.preset].io_dtypes
        if self.io_dtype not in (None, *allowed):
            raise ValueError(f"io_dtype {self.io_dtype!r} does not go with {self.preset!r}: use {' or '.join(allowed)}")
        if "int4_blockwise" not in self.precisions and self.block_size != type(self).model_fields["block_size"].default:
            raise ValueError("block_size belongs to precision 'int4_blockwise': leave it out")
        floats = self.precisions - {"int8"} <= {"float32"}
        if self.preset == "qat_int8" and not floats:
            raise ValueError(
                "'qat_int8' can keep layers in 'float32' by overrides, and knows no other precision for them"
            )
        if not self.calibrated and self.calibration != Calibration():
            raise ValueError(f"calibration belongs to precisions {' and '.join(sorted(CALIBRATED))}: leave it out")
        return self

    @property
    def precision(self) -> Precision:
        """The precision of every layer that no override names."""
        return PRESETS[self.preset].precision

    @property
    def precisions(self) -> frozenset[str]:
        """Every precision that occurs."""
        return frozenset({self.precision, *(override.precision for override in self.overrides)})

    @property
    def io(self) -> IoDtype:
        """The type of inputs and outputs."""
        return self.io_dtype or PRESETS[self.preset].io_dtype

    @property
    def calibrated(self) -> bool:
        """Whether ranges of activations are learnt from examples."""
        return self.preset != "qat_int8" and bool(self.precisions & CALIBRATED)

    @property
    def activation_bits(self) -> int:
        """For which number of bits the ranges of activations are chosen: the least that occurs."""
        return 8 if "int8" in self.precisions else 16

    def precision_of(self, layer: str) -> Precision:
        """The precision of a layer."""
        named = [override.precision for override in self.overrides if override.matches(layer)]
        return named[-1] if named else self.precision
