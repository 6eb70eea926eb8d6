"""Wins back what quantization costs: equalization and bias correction first, then higher precision where it is needed.

Each step is kept only where it helps on samples of the training split that took no part in calibration. Never on the
eval split: what is chosen among many candidates by a sample looks better on that sample than it is, and a gate that
judges on the same examples would bless the luck.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import DeviceError, ModelError
from tfx_edge.quantization.calibration import calibrate
from tfx_edge.quantization.quantize import Quantized, quantize
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantization.report import QuantizationReport
from tfx_edge.recovery.bias_correction import correct_biases
from tfx_edge.recovery.equalize import equalize
from tfx_edge.recovery.mixed_precision import LADDERS, mix_precisions
from tfx_edge.recovery.settings import RecoveryConfig
from tfx_edge.recovery.trials import Trials, explained, sqnr_db

_ROUNDING = 1e-9

Progress = Callable[[str], None]
Batch = Mapping[str, np.ndarray]
Score = Callable[[Mapping[str, np.ndarray]], float]


@dataclass(frozen=True)
class Recovered:
    """A quantized model and how it was got.

    Attributes:
      content: the flatbuffer.
      recipe: by which it was quantized; with overrides where layers have a higher precision.
      met: whether its score is within the drop that was allowed.
      methods: what was done besides, in order; empty when the recipe alone was good enough.
      float_score: score of the float model on the held-out samples.
      plain_score: of the recipe alone.
      score: of the result.
      quantization: what became of every layer.
      report: all that was tried and found, as values that JSON can carry.
    """

    content: bytes
    recipe: Recipe
    met: bool
    methods: tuple[str, ...]
    float_score: float
    plain_score: float
    score: float
    quantization: QuantizationReport
    report: Mapping[str, Any]

    def shortfall(self) -> str:
        """What was reached and what could still be done, for an error; empty if the bar was met."""
        if self.met:
            return ""
        integer_io = self.recipe.io != "float32"
        more = "recipe 'int8_float_io' (here the inputs themselves are rounded), " if integer_io else ""
        return (
            f"the quantized model scores {self.score:.4g} where the float model scores {self.float_score:.4g} (by the "
            f"recipe alone {self.plain_score:.4g}), which is beyond max_drop={self.report['max_drop']:g}; try {more}"
            "'qat_int8' before LiteConverter, more calibration examples, or a larger max_drop"
        )


@dataclass(frozen=True)
class _Source:
    path: Path
    statistics: Mapping[str, Any] | None


@dataclass(frozen=True)
class _Candidate:
    source: _Source
    recipe: Recipe
    quantized: Quantized
    methods: tuple[str, ...]
    score: float
    sqnr_db: float

    def __str__(self) -> str:
        methods = " + ".join(self.methods) or "recipe alone"
        return f"{methods}: score {self.score:.4g}, {self.sqnr_db:.1f} dB, {len(self.quantized.content):,} bytes"

    def to_dict(self) -> dict[str, Any]:
        figures = {"score": self.score, "sqnr_db": self.sqnr_db, "size_bytes": len(self.quantized.content)}
        return {"methods": list(self.methods), **figures}


def recover(
    path: str | Path,
    recipe: Recipe,
    samples: Batch,
    held_out: Batch,
    score: Score | None,
    settings: RecoveryConfig,
    progress: Progress = lambda line: None,
    statistics: Mapping[str, Any] | None = None,
) -> Recovered:
    """Quantizes a float model by a recipe so that its score holds.

    Args:
      path: the float ``.tflite``.
      recipe: what is wanted for every layer, if it were for size alone.
      samples: examples to calibrate and to measure mean errors on: features by name, each of shape (examples, ...).
      held_out: other examples of the training split, likewise, on which everything is scored.
      score: of a model's outputs by name for ``held_out``, higher is better; None compares them with the float model's.
      settings: what may be done, and how much the score may drop.
      progress: is told every step.
      statistics: what calibrating ``path`` on ``samples`` found, where that was done already.

    Returns:
      The first result that holds, or the best that was found; ``met`` says which.

    Raises:
      ModelError: the model cannot be run, or not quantized by the recipe as it is.
      DataError: there are no samples, or they do not fit the model.
    """
    with Trials(samples) as calibration, Trials(held_out) as judges:
        return _Recovery(Path(path), recipe, calibration, judges, score, settings, progress, statistics).run()


@dataclass
class _Recovery:
    path: Path
    recipe: Recipe
    calibration: Trials
    judges: Trials
    given_score: Score | None
    settings: RecoveryConfig
    progress: Progress
    statistics: Mapping[str, Any] | None

    def run(self) -> Recovered:
        begin = time.monotonic()
        self.expected = self.judges.outputs(self.path)
        self.float_score = self.score(self.expected)
        self.candidates: list[_Candidate] = []
        self.report: dict[str, Any] = {"max_drop": self.settings.max_drop, "metric": self.settings.metric}
        plain = self.quantize(self.path)
        for method, step in (
            ("equalize", self.equalize),
            ("bias_correction", self.correct_biases),
            ("mixed_precision", self.mix_precisions),
        ):
            if method in self.settings.methods and not self.holds(self.best):
                step()
        best = self.best
        self.report["candidates"] = [one.to_dict() for one in self.candidates]
        self.report["seconds"] = round(time.monotonic() - begin, 3)
        return Recovered(
            content=best.quantized.content,
            recipe=best.recipe,
            met=self.holds(best),
            methods=best.methods,
            float_score=self.float_score,
            plain_score=plain.score,
            score=best.score,
            quantization=best.quantized.report,
            report=self.report,
        )

    @property
    def best(self) -> _Candidate:
        """The candidate of the highest score, and among equals the one closest to the float model."""
        return max(self.candidates, key=lambda one: (one.score, one.sqnr_db))

    def holds(self, candidate: _Candidate) -> bool:
        """Whether a candidate's score is within the allowed drop."""
        return self.float_score - candidate.score <= self.settings.max_drop + _ROUNDING

    def score(self, outputs: Mapping[str, np.ndarray]) -> float:
        """The caller's score, or how much of the float model's outputs these explain."""
        return self.given_score(outputs) if self.given_score else explained(self.expected, outputs)

    def quantize(self, source: Path, methods: tuple[str, ...] = ()) -> _Candidate:
        """Adds what the recipe makes of a float model to the candidates."""
        statistics = (
            self.ranges(source) if self.recipe.calibrated or "mixed_precision" in self.settings.methods else None
        )
        quantized = quantize(source, self.recipe, statistics=statistics)
        return self.add(_Source(source, statistics), self.recipe, quantized, methods)

    def ranges(self, source: Path) -> Mapping[str, Any]:
        if self.statistics is not None and source == self.path:
            return self.statistics
        rows = len(next(iter(self.calibration.samples.values())))
        examples = (
            {name: values[row : row + 1] for name, values in self.calibration.samples.items()} for row in range(rows)
        )
        return calibrate(source, examples, self.recipe.calibration, self.recipe.activation_bits)

    def add(self, source: _Source, recipe: Recipe, quantized: Quantized, methods: tuple[str, ...]) -> _Candidate:
        outputs = self.judges.outputs(quantized.content)
        candidate = _Candidate(source, recipe, quantized, methods, self.score(outputs), sqnr_db(self.expected, outputs))
        self.candidates.append(candidate)
        self.progress(f"{candidate}; the float model scores {self.float_score:.4g}")
        return candidate

    def equalize(self) -> None:
        """Adds the recipe on the equalized model."""
        try:
            result = equalize(self.path, self.calibration)
        except (ModelError, DeviceError) as error:
            self.report["equalize"] = {"why_not": str(error)}
            self.progress(f"equalize: {error}")
            return
        self.report["equalize"] = result.to_dict()
        equalized = self.calibration.folder / "equalized.tflite"
        equalized.write_bytes(result.content)
        self.quantize(equalized, ("equalize",))

    def correct_biases(self) -> None:
        """Adds each candidate with corrected biases: equalized models gain most by it, and need it most."""
        reports = []
        for one in tuple(self.candidates):
            result = correct_biases(
                one.source.path, one.quantized.content, self.calibration, self.judges, self.progress
            )
            reports.append({"methods": one.methods, **result.to_dict()})
            if result.kept:
                corrected = replace(one.quantized, content=result.content)
                self.add(one.source, one.recipe, corrected, (*one.methods, "bias_correction"))
        self.report["bias_correction"] = reports

    def mix_precisions(self) -> None:
        """Adds the recipe with some layers at a higher precision, on top of what helped so far."""
        base = self.best
        corrected: set[bytes] = set()

        def finish(content: bytes) -> bytes:
            if "bias_correction" not in base.methods:
                return content
            found = correct_biases(base.source.path, content, self.calibration, self.judges)
            if found.kept:
                corrected.add(found.content)
            return found.content

        result = mix_precisions(
            base.source.path,
            self.recipe,
            self.judges,
            self.score,
            self.settings.max_drop,
            base.source.statistics,
            ladders=LADDERS if self.settings.spare == "int16x8" else {**LADDERS, "int8": ("float32",)},
            finish=finish,
            seconds=self.settings.seconds,
            progress=self.progress,
        )
        self.report["mixed_precision"] = result.to_dict()
        methods = base.methods
        if result.quantized.content not in corrected:
            methods = tuple(method for method in methods if method != "bias_correction")
        self.add(base.source, result.recipe, result.quantized, (*methods, "mixed_precision"))
