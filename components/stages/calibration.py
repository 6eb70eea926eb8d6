"""The examples that a stage calibrates on, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.examples import audit, sampling
from tfx_edge.quantization.calibration import Calibrated, Statistics, calibrate_halves
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.stages.context import StageContext
from tfx_edge.training.types import Progress

_BATCH = 256


@dataclass(frozen=True)
class Drawn:
    """Examples of the training split.

    Attributes:
      calibration: those to calibrate on.
      features: of others, to choose between results on, by name; each of shape (examples, ...).
      labels: of these.
    """

    calibration: sampling.Sample
    features: Mapping[str, np.ndarray]
    labels: np.ndarray


def draw(stage: StageContext, recipe: Recipe) -> sampling.Sample:
    """Draws the examples to calibrate on from the training split, evenly over the classes where there is a label.

    Raises:
      DataError: there are no examples.
    """
    settings = recipe.calibration
    return sampling.draw(stage.arrays("train", _BATCH, labelled=False), settings.examples, settings.seed)


def draw_apart(stage: StageContext, recipe: Recipe, held_out: int, *, labelled: bool) -> Drawn:
    """Draws likewise, and others to hold out; of a small split half is held out.

    Args:
      stage: whose examples.
      recipe: how many to calibrate on, and the seed.
      held_out: how many to hold out at most.
      labelled: demand labels.

    Raises:
      DataError: there are no two examples.
    """
    wanted, seed = recipe.calibration.examples, recipe.calibration.seed
    sample = sampling.draw(stage.arrays("train", _BATCH, labelled=labelled), wanted + held_out, seed)
    wanted = min(wanted, len(sample.examples) // 2)
    if not wanted:
        raise DataError("the training split has one example, but one is to be calibrated on and another to judge by")
    rest, labels = sample.examples[wanted:], sample.labels[wanted:]
    return Drawn(sample.first(wanted), stacked(rest), np.concatenate(labels) if labels else np.empty(0))


def stacked(examples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Single examples as one batch."""
    return {name: np.concatenate([example[name] for example in examples]) for name in examples[0]}


def calibrate(
    stage: StageContext, path: Path, recipe: Recipe, sample: sampling.Sample, progress: Progress
) -> tuple[Statistics, audit.Audit]:
    """Learns the ranges of the activations of a float ``.tflite``, and audits the examples beside the eval split."""
    calibrated = calibrate_halves(path, sample.examples, recipe.calibration, recipe.activation_bits)
    return calibrated.statistics, audited(stage, sample, calibrated, progress)


def audited(stage: StageContext, sample: sampling.Sample, calibrated: Calibrated, progress: Progress) -> audit.Audit:
    """Audits the examples that a model was calibrated on beside the eval split, and says what was found."""
    evaluation = stage.arrays("eval", _BATCH, labelled=False) if stage.fn_args.eval_files else ()
    found = audit.audit(sample, calibrated, evaluation)
    for line in found.lines():
        progress(line)
    return found
