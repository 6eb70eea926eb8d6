"""Automatic mixed precision: the fewest layers at a higher precision that keep a model's score.

Layers are ranked by what quantizing each alone costs (`tfx_edge.recovery.sensitivity`). The score grows nearly steadily
with the number of spared layers, so bisection finds how many of the costliest are needed; then each of them is given
back in turn, the cheapest first, and stays so where the score holds. The result is a recipe: quantizing by it again
gives the same file. It is the fewest along that ranking, not proven to be the fewest of all subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import ModelError
from tfx_edge.quantization.quantize import Quantized
from tfx_edge.quantization.recipe import Precision, Recipe
from tfx_edge.recovery.precision_search import Attempt, Search, Tried
from tfx_edge.recovery.sensitivity import LayerCost, Sensitivity, sensitivity
from tfx_edge.recovery.trials import Trials

Progress = Callable[[str], None]
Score = Callable[[Mapping[str, np.ndarray]], float]

LADDERS: dict[str, tuple[Precision, ...]] = {
    "int8": ("int16x8", "float32"),
    "int16x8": ("float32",),
    "dynamic_int8": ("float32",),
    "int4_weights": ("dynamic_int8", "float32"),
    "int4_blockwise": ("dynamic_int8", "float32"),
    "float16": ("float32",),
}
"""For each precision, the higher ones in the order in which they are tried."""


@dataclass(frozen=True)
class MixedPrecision:
    """The outcome of a search.

    Attributes:
      met: whether the score is within the drop that was allowed.
      recipe: the recipe with an override for each layer at a higher precision; where nothing met the bar, the recipe
        that scored best.
      quantized: what it gives, finished.
      spared: the layers at a higher precision, and which.
      float_score: score of the float model.
      plain_score: score by the recipe that was given.
      score: score of the result.
      max_drop: what was allowed.
      attempts: everything that was tried, in order.
      sensitivity: the ranking; None when the recipe needed no help.
      seconds: how long it took.
    """

    met: bool
    recipe: Recipe
    quantized: Quantized
    spared: Mapping[str, str]
    float_score: float
    plain_score: float
    score: float
    max_drop: float
    attempts: tuple[Attempt, ...]
    sensitivity: Sensitivity | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Everything above but the file, as values that JSON can carry."""
        plain = {"spared": dict(self.spared), "attempts": [asdict(attempt) for attempt in self.attempts]}
        names = ("met", "float_score", "plain_score", "score", "max_drop", "seconds")
        recipe, ranking = self.recipe.model_dump(mode="json"), self.sensitivity and self.sensitivity.to_dict()
        return {**{name: getattr(self, name) for name in names}, **plain, "recipe": recipe, "sensitivity": ranking}


def mix_precisions(
    path: str | Path,
    recipe: Recipe,
    held_out: Trials,
    score: Score,
    max_drop: float,
    statistics: Mapping[str, Any] | None = None,
    *,
    ladders: Mapping[str, Sequence[Precision]] = LADDERS,
    finish: Callable[[bytes], bytes] = bytes,
    seconds: float = 600,
    progress: Progress = lambda line: None,
) -> MixedPrecision:
    """Finds a recipe whose score is within ``max_drop`` of the float model's.

    Every layer is first given the next higher precision that it can have; where even all layers at that fall short, the
    search goes on with the one after it.

    Args:
      path: the float ``.tflite``.
      recipe: what is wanted for every layer, if it were for size alone.
      held_out: samples on which the score is taken. They should not be those that the final judgement is made on.
      score: of the outputs by name for these samples, higher is better.
      max_drop: how far the score may lie below the float model's, at least 0.
      statistics: what ``calibrate`` found for this file; needed if a precision that occurs is calibrated.
      ladders: for each precision the higher ones to try, in order.
      finish: what else is done to every quantized file before it is scored, such as bias correction.
      seconds: after which nothing more is measured or given back; the search itself always ends.
      progress: is told every step.

    Raises:
      ModelError: the float model cannot be run, or not quantized by the recipe as it is.
      DataError: the samples do not fit the model.
    """
    search = Search(Path(path), recipe, held_out, score, max_drop, statistics, finish, seconds, progress)
    plain = search.attempt({})
    if plain.quantized is None:
        raise ModelError(plain.attempt.why)
    if search.meets(plain):
        return _result(search, plain, plain, None)
    ranking = sensitivity(path, recipe, held_out, score, statistics, seconds=seconds / 2, progress=progress)
    for step in range(max(len(ladder) for ladder in ladders.values())):
        higher = search.possible(_higher(ranking.layers, ladders, step))
        found = search.fewest(higher)
        if found is not None:
            return _result(search, plain, search.prune(found), ranking)
    best = max(search.tried, key=lambda one: one.rank)
    return _result(search, plain, best, ranking)


def _higher(costs: Sequence[LayerCost], ladders: Mapping[str, Sequence[Precision]], step: int) -> dict[str, Precision]:
    """The precision of every layer so many steps up its ladder, the costliest layer first."""
    ladder = {cost.name: ladders.get(cost.precision, ()) or ("float32",) for cost in costs}
    return {name: rungs[min(step, len(rungs) - 1)] for name, rungs in ladder.items()}


def _result(search: Search, plain: Tried, chosen: Tried, ranking: Sensitivity | None) -> MixedPrecision:
    assert chosen.quantized is not None
    return MixedPrecision(
        met=search.meets(chosen),
        recipe=chosen.recipe,
        quantized=chosen.quantized,
        spared=chosen.spared,
        float_score=search.float_score,
        plain_score=plain.rank[0],
        score=chosen.rank[0],
        max_drop=search.max_drop,
        attempts=tuple(tried.attempt for tried in search.tried),
        sensitivity=ranking,
        seconds=search.seconds,
    )
