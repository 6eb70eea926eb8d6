"""The search for the fewest layers at a higher precision, step by step; `mixed_precision` directs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import DeviceError, ModelError
from tfx_edge.quantization.quantize import Quantized, quantize
from tfx_edge.quantization.recipe import Override, Precision, Recipe
from tfx_edge.recovery.sensitivity import exactly
from tfx_edge.recovery.trials import Trials, sqnr_db

Progress = Callable[[str], None]
Score = Callable[[Mapping[str, np.ndarray]], float]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Attempt:
    """One recipe that was tried.

    Attributes:
      spared: how many layers had a higher precision.
      precisions: which ones these were.
      score: on the held-out samples; None when it could not be quantized or run.
      sqnr_db: of the outputs against the float model's; likewise.
      size_bytes: of the file; likewise.
      why: what failed, else "".
    """

    spared: int
    precisions: tuple[str, ...]
    score: float | None
    sqnr_db: float | None
    size_bytes: int | None
    why: str = ""


@dataclass(frozen=True)
class Tried:
    """An attempt with what it made.

    Attributes:
      spared: the precision of each layer that has a higher one.
      recipe: the whole recipe.
      quantized: the result, finished; None when it could not be quantized or run.
      attempt: its figures.
    """

    spared: dict[str, Precision]
    recipe: Recipe
    quantized: Quantized | None
    attempt: Attempt

    @property
    def rank(self) -> tuple[float, float]:
        """Grows with the score, and among equals with how close the outputs are."""
        score, decibels = self.attempt.score, self.attempt.sqnr_db
        return (-np.inf, -np.inf) if score is None or decibels is None else (score, decibels)


class Search:
    """Tries recipes on one model.

    Attributes:
      float_score: of the model as it is.
      tried: everything so far, in order.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        held_out: Trials,
        score: Score,
        max_drop: float,
        statistics: Mapping[str, Any] | None,
        finish: Callable[[bytes], bytes],
        seconds: float,
        progress: Progress,
    ) -> None:
        """Scores the float model; arguments are those of ``mix_precisions``."""
        self.path, self.recipe, self.max_drop = path, recipe, max_drop
        self.tried: list[Tried] = []
        self._held_out, self._score, self._statistics = held_out, score, statistics
        self._finish, self._progress = finish, progress
        self._begin = time.monotonic()
        self._deadline = self._begin + seconds
        self._expected = held_out.outputs(path)
        self.float_score = score(self._expected)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._begin

    def attempt(self, spared: dict[str, Precision]) -> Tried:
        """Quantizes with some layers at a higher precision, and scores the result."""
        recipe = self._with(spared)
        precisions = tuple(sorted(set(spared.values())))
        quantized = None
        try:
            plain = quantize(self.path, recipe, statistics=self._statistics)
            quantized = replace(plain, content=self._finish(plain.content))
            outputs = self._held_out.outputs(quantized.content)
            decibels = sqnr_db(self._expected, outputs)
            found = Attempt(len(spared), precisions, self._score(outputs), decibels, len(quantized.content))
            said = f"score {found.score:.4g}, the float model's {self.float_score:.4g}"
        except (ModelError, DeviceError) as error:
            quantized = None
            found = Attempt(len(spared), precisions, None, None, None, str(error))
            said = str(error)
        self._progress(f"mixed precision: {len(spared)} layers at {' and '.join(precisions) or 'no other'}: {said}")
        tried = Tried(spared, recipe, quantized, found)
        self.tried.append(tried)
        return tried

    def meets(self, tried: Tried) -> bool:
        """Whether the score holds."""
        return self.float_score - tried.rank[0] <= self.max_drop + _ROUNDING

    def possible(self, higher: dict[str, Precision]) -> dict[str, Precision]:
        """The same with float32 for the layers that cannot have what they should."""
        if self._quantizes(higher):
            return higher
        return {
            name: target if target == "float32" or self._quantizes({name: target}) else "float32"
            for name, target in higher.items()
        }

    def fewest(self, higher: dict[str, Precision]) -> Tried | None:
        """The result with the fewest of the costliest layers that holds, or None if none does."""
        names, low, high, best = list(higher), 0, len(higher), None
        if set(higher.values()) != {"float32"}:  # with all layers in float nothing is quantized, and nothing to try
            best = self.attempt(higher)
            if not self.meets(best):
                return None
        while high - low > 1:
            middle = (low + high) // 2
            tried = self.attempt({name: higher[name] for name in names[:middle]})
            if self.meets(tried):
                high, best = middle, tried
            else:
                low = middle
        return best

    def prune(self, best: Tried) -> Tried:
        """The same without those layers that turn out not to be needed, the cheapest tried first."""
        for name in [*best.spared][-2::-1]:  # without the last one it was tried already
            if time.monotonic() > self._deadline:
                break
            tried = self.attempt({other: higher for other, higher in best.spared.items() if other != name})
            if self.meets(tried):
                best = tried
        return best

    def _with(self, spared: Mapping[str, Precision]) -> Recipe:
        overrides = tuple(Override(layers=exactly(name), precision=higher) for name, higher in spared.items())
        return self.recipe.model_copy(update={"overrides": (*self.recipe.overrides, *overrides)})

    def _quantizes(self, spared: Mapping[str, Precision]) -> bool:
        if set(spared.values()) == {"float32"}:
            return True
        try:
            quantize(self.path, self._with(spared), statistics=self._statistics)
        except ModelError:
            return False
        return True
