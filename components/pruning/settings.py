"""How a model is made smaller by the methods that keep its shape: what is zeroed, or shared, and in which layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from tfx_edge.config import Config


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


Pattern = Annotated[str, AfterValidator(_compiles)]
"""A regular expression that the whole name of a layer must match."""


class SparsityOverride(Config):
    """Another share of zeros for some layers.

    Attributes:
      layers: which; the last override that matches counts.
      final_sparsity: their share of zeros at the end; 0 leaves them whole.
    """

    layers: Pattern
    final_sparsity: float = Field(ge=0, lt=1)


class Magnitude(Config):
    """The smallest weights become zero; the shape of the model stays.

    Attributes:
      final_sparsity: share of zeros at the end.
      initial_sparsity: share of zeros that ``polynomial`` starts from.
      schedule: ``"polynomial"`` adds zeros step by step while training goes on, fewer and fewer of them;
        ``"constant"`` sets them all before the first step.
      ramp: share of the training in which ``polynomial`` adds zeros; the rest fine-tunes.
      ranking: which weights are the smallest: those of each ``"layer"``, so that all have the same share of zeros, or
        those of all layers together (``"global"``).
      pattern: ``"2:4"`` zeroes the two smallest of every four weights along the input; ``"block"`` whole blocks.
      block_size: inputs and outputs of a block of pattern ``"block"``.
      layers: which layers are pruned.
      overrides: other shares for some of them; under ``"global"`` those layers are ranked apart from the rest.
    """

    kind: Literal["magnitude"] = "magnitude"
    final_sparsity: float = Field(default=0.5, gt=0, lt=1)
    initial_sparsity: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["polynomial", "constant"] = "polynomial"
    ramp: float = Field(default=2 / 3, gt=0, le=1)
    ranking: Literal["layer", "global"] = "layer"
    pattern: Literal["2:4", "block"] | None = None
    block_size: tuple[int, int] | None = None
    layers: Pattern = ".*"
    overrides: tuple[SparsityOverride, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_pattern(cls, value: Any) -> Any:
        """2:4 goes in at once, and a block must be more than one weight."""
        if isinstance(value, dict) and value.get("pattern") == "2:4":
            return {"schedule": "constant", **value}
        if isinstance(value, dict) and value.get("pattern") == "block" and value.get("block_size") is None:
            return {**value, "block_size": (4, 1)}
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Magnitude:
        if self.initial_sparsity and self.schedule == "constant":
            raise ValueError("initial_sparsity belongs to schedule 'polynomial': leave it out")
        if self.ramp != type(self).model_fields["ramp"].default and self.schedule == "constant":
            raise ValueError(
                f"ramp {self.ramp} belongs to schedule 'polynomial', not to 'constant', which sets all zeros before "
                "the first step: leave it out"
            )
        if self.initial_sparsity >= self.final_sparsity:
            raise ValueError(
                f"initial_sparsity {self.initial_sparsity} must be below final_sparsity {self.final_sparsity}: "
                "pruning only adds zeros"
            )
        if self.block_size and self.pattern != "block":
            raise ValueError("block_size belongs to pattern 'block': give pattern 'block', or leave block_size out")
        if self.block_size and (min(self.block_size) < 1 or max(self.block_size) < 2):
            raise ValueError(f"block_size {self.block_size} is no block: give two sizes such as (4, 1)")
        if self.pattern == "2:4":
            self._is_two_of_four()
        return self

    def _is_two_of_four(self) -> None:
        if self.final_sparsity != 0.5 or any(other.final_sparsity not in (0, 0.5) for other in self.overrides):
            raise ValueError("pattern '2:4' is a sparsity of 0.5: leave final_sparsity out, or 0 in an override")
        if self.schedule != "constant":
            raise ValueError("pattern '2:4' is set before the first step: schedule must be 'constant'")
        if self.ranking != "layer":
            raise ValueError("pattern '2:4' ranks four weights at a time: leave ranking out")

    def sparsity_of(self, layer: str) -> float:
        """The share of zeros that a layer is to have in the end; 0 where it is not pruned."""
        if not re.fullmatch(self.layers, layer):
            return 0.0
        return next(
            (other.final_sparsity for other in reversed(self.overrides) if re.fullmatch(other.layers, layer)),
            self.final_sparsity,
        )

    def is_overridden(self, layer: str) -> bool:
        """Whether a layer has a share of its own."""
        return _any_matches(self.overrides, layer)


class ClustersOverride(Config):
    """Another number of values for some layers.

    Attributes:
      layers: which; the last override that matches counts.
      number: of distinct values; None leaves the layers as they are.
    """

    layers: Pattern
    number: int | None = Field(ge=2, le=65536)


class Clusters(Config):
    """The weights of a kernel share few values; the shape of the model stays.

    Attributes:
      number: distinct values in each kernel, zero included.
      preserve_sparsity: zeros that an earlier step left stay zeros, where a kernel has at least 5 % of them.
      layers: which layers are clustered.
      overrides: other numbers for some of them.
    """

    kind: Literal["clusters"]
    number: int = Field(default=16, ge=2, le=65536)
    preserve_sparsity: bool = True
    layers: Pattern = ".*"
    overrides: tuple[ClustersOverride, ...] = ()

    def number_of(self, layer: str) -> int | None:
        """The number of distinct values that a layer's kernels are to have; None where it is left alone."""
        if not re.fullmatch(self.layers, layer):
            return None
        return next(
            (other.number for other in reversed(self.overrides) if re.fullmatch(other.layers, layer)), self.number
        )

    def is_overridden(self, layer: str) -> bool:
        """Whether a layer has a number of its own."""
        return _any_matches(self.overrides, layer)


def _any_matches(overrides: Iterable[SparsityOverride | ClustersOverride], layer: str) -> bool:
    return any(re.fullmatch(other.layers, layer) for other in overrides)
