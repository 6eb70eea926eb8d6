"""How much each layer of a model costs when it is quantized.

Each layer is quantized alone, all others in float, and the outputs are compared with the float model's on real samples
in the real interpreter. The measure is the signal to quantization noise of the outputs, in dB; docs/recovery.md has
what speaks for it: a score such as accuracy moves in steps of one sample and cannot tell most layers apart, and a layer
that alone is spared in a quantized model still takes and gives the rounded activations of its neighbours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import DeviceError, ModelError
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Override, Recipe
from tfx_edge.recovery.trials import Trials, sqnr_db

Progress = Callable[[str], None]
Score = Callable[[Mapping[str, np.ndarray]], float]


@dataclass(frozen=True)
class LayerCost:
    """What quantizing one layer alone does to the outputs.

    Attributes:
      name: of the layer.
      op: its operator.
      precision: what it gets by the recipe.
      elements: number of its weights.
      sqnr_db: of the outputs when it alone is quantized; None when that was not measured.
      score: of those outputs.
      why: the reason when nothing was measured, else "".
    """

    name: str
    op: str
    precision: str
    elements: int
    sqnr_db: float | None
    score: float | None
    why: str = ""


@dataclass(frozen=True)
class Sensitivity:
    """The layers that a recipe quantizes, the costliest first; those that were not measured come before all.

    Attributes:
      layers: the ranking.
      float_score: score of the float model on the same samples.
      seconds: how long it took.
    """

    layers: tuple[LayerCost, ...]
    float_score: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Everything above as values that JSON can carry."""
        return asdict(self)


def sensitivity(
    path: str | Path,
    recipe: Recipe,
    held_out: Trials,
    score: Score,
    statistics: Mapping[str, Any] | None = None,
    *,
    seconds: float = 600,
    progress: Progress = lambda line: None,
) -> Sensitivity:
    """Ranks the layers of a float model.

    Args:
      path: the float ``.tflite``.
      recipe: says which layers are quantized, and to what.
      held_out: the samples on which outputs are compared.
      score: of the outputs by name for these samples, higher is better.
      statistics: what ``calibrate`` found for this file; needed if the recipe is calibrated.
      seconds: after which no further layer is measured. Layers with the most weights are measured first.
      progress: is told every layer.

    Raises:
      ModelError: the float model cannot be run, or not quantized.
      DataError: the samples do not fit the model.
    """
    begin = time.monotonic()
    path = Path(path)
    expected = held_out.outputs(path)
    outcomes = quantize(path, recipe, statistics=statistics).report.layers
    changed = [layer for layer in outcomes if "float32" not in (layer.wanted, layer.got)]
    costs = []
    for number, layer in enumerate(sorted(changed, key=lambda one: -one.elements), 1):
        found: tuple[float, float] | None = None
        why = f"the {seconds:g} s for measuring were over"
        if time.monotonic() - begin < seconds:
            try:
                alone = quantize(path, only(recipe, layer.name), statistics=statistics)
                outputs = held_out.outputs(alone.content)
                found, why = (sqnr_db(expected, outputs), score(outputs)), ""
            except (ModelError, DeviceError) as error:
                why = str(error)
        decibels, figure = found or (None, None)
        costs.append(LayerCost(layer.name, layer.op, layer.got, layer.elements, decibels, figure, why))
        said = f"{decibels:.1f} dB, score {figure:.4g}" if found else why
        progress(f"sensitivity {number} of {len(changed)}: {layer.op} {layer.name}: {said}")
    ranking = sorted(costs, key=lambda cost: -np.inf if cost.sqnr_db is None else cost.sqnr_db)
    return Sensitivity(tuple(ranking), score(expected), time.monotonic() - begin)


def exactly(layer: str) -> str:
    """A pattern for overrides that names this layer and no other."""
    return f"^{re.escape(layer)}$"


def only(recipe: Recipe, layer: str) -> Recipe:
    """The recipe for this layer alone; all others in float, inputs and outputs too."""
    precision = recipe.precision_of(layer)
    overrides = (Override(layers=exactly(layer), precision=precision),)
    if precision == "int4_blockwise":
        return Recipe(preset="float32", overrides=overrides, block_size=recipe.block_size)
    return Recipe(preset="float32", overrides=overrides)
