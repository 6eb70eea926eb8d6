"""Configuration of Merger."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tfx_edge.config import Config, Seed

Weight = Annotated[float, Field(gt=0)]


class MergerConfig(Config):
    """How several models become one, and how that one is simplified. One model alone is only simplified.

    Attributes:
      function: what the merged model makes of the models' outputs: their ``"average"``, their sum (``"add"``), their
        largest value (``"maximum"``), all of them side by side on the last axis (``"concat"``), or with ``"module"``
        what ``merge_fn(outputs)`` of the user's module makes of them.
      weights: of the models in an average, in the order of the models; they need not add up to 1.
      share: compute equal parts once, and store equal weights once.
      linear: let linear layers that follow each other or are added become one, batch normalization among them.
      fuse: let layers that read the same tensor, and what follows them alike, become wider layers.
      grouped: among these convolutions that read different parts of a wider tensor, as grouped convolutions.
      tolerance: by how much outputs may differ from those of the models and their function, layer by layer as they
        were, as a share of the largest value of that output (of 1, where none is larger).
      measure_latency: also measure by how much one run gets shorter on the machine that Merger runs on, which takes
        about 10 s.
      seed: of the random inputs on which outputs are compared where there are no examples.
    """

    function: Literal["average", "add", "concat", "maximum", "module"] = "average"
    weights: tuple[Weight, ...] | None = None
    share: bool = True
    linear: bool = True
    fuse: bool = True
    grouped: bool = True
    tolerance: float = Field(default=1e-4, gt=0)
    measure_latency: bool = True
    seed: Seed = 0

    @model_validator(mode="after")
    def _weights_are_of_an_average(self) -> MergerConfig:
        if self.weights is not None and self.function != "average":
            raise ValueError(f"weights belong to function 'average', not to {self.function!r}")
        if self.weights is not None and len(self.weights) < 2:
            raise ValueError(
                f"weights {[*self.weights]} do not weigh models against each other: give one for each of two or more "
                "models, or leave weights out, and all count alike"
            )
        return self
