"""What quantization did to each layer, read from the file that came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfx_edge.errors import ModelError
from tfx_edge.lite.layers import Layer
from tfx_edge.quantization.recipe import CALIBRATED
from tfx_edge.quantization.rules import Plan


@dataclass(frozen=True)
class LayerOutcome:
    """One layer before and after.

    Attributes:
      name: of the layer, in the float model.
      op: its operator.
      elements: number of its weights.
      wanted: precision by the recipe.
      got: precision by the file.
      why: the reason when these differ, else "".
    """

    name: str
    op: str
    elements: int
    wanted: str
    got: str
    why: str

    @property
    def missed(self) -> bool:
        """Whether it did not get what was wanted, and could have had: a layer without weights has none to shrink."""
        return self.got != self.wanted and (self.elements > 0 or self.wanted in CALIBRATED)


@dataclass(frozen=True)
class QuantizationReport:
    """All layers, and the size of the file.

    Attributes:
      layers: in the order they run.
      size_bytes: of the quantized file.
      float_bytes: of the file it was made from.
    """

    layers: tuple[LayerOutcome, ...]
    size_bytes: int
    float_bytes: int

    @property
    def missed(self) -> tuple[LayerOutcome, ...]:
        """The layers that did not get what the recipe wanted."""
        return tuple(outcome for outcome in self.layers if outcome.missed)

    def to_dict(self) -> dict[str, Any]:
        """Everything above as values that JSON can carry."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """What a person wants to know, one sentence a line: the precisions that came out, then every layer missed."""
        weighty = [outcome for outcome in self.layers if outcome.elements]
        got = dict.fromkeys(outcome.got for outcome in weighty)
        counted = []
        for precision in got:
            sizes = [outcome.elements for outcome in weighty if outcome.got == precision]
            counted.append(f"{precision}: {len(sizes)} layer{'s'[: len(sizes) > 1]}, {sum(sizes):,} weights")
        share = f"{self.size_bytes:,} bytes, {self.size_bytes / self.float_bytes:.3f} of the float file"
        return [share, *counted, *(f"{o.op} {o.name!r} is {o.got}, not {o.wanted}: {o.why}" for o in self.missed)]


def compare(plans: Sequence[Plan], after: Sequence[Layer], size_bytes: int, float_bytes: int) -> QuantizationReport:
    """Finds every layer again in the quantized file, by its name.

    Raises:
      ModelError: a layer is not there.
    """
    found = {layer.name: layer for layer in after}
    outcomes = []
    for plan in plans:
        layer = found.get(plan.layer.name)
        if layer is None:
            raise ModelError(f"the quantized file lacks {plan.layer}")
        why = "" if layer.precision == plan.wanted else plan.why or f"litert-quantizer made it {layer.precision}"
        outcomes.append(LayerOutcome(layer.name, layer.op, plan.layer.elements, plan.wanted, layer.precision, why))
    return QuantizationReport(tuple(outcomes), size_bytes, float_bytes)
