"""What the checks of calibration data work on, and what they say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfx_edge.examples import eval_split
from tfx_edge.examples.eval_split import FeatureValues
from tfx_edge.examples.sampling import Batch, Sample
from tfx_edge.quantization.calibration import Calibrated, Range


@dataclass(frozen=True)
class Finding:
    """Something about the data that a person should know.

    Attributes:
      name: what it is about.
      severity: ``"warning"`` where results are probably wrong or misleading, else ``"info"``.
      text: a sentence with the numbers and the remedy.
    """

    name: str
    severity: Literal["warning", "info"]
    text: str


class Facts:
    """What the checks work on, read once; each check adds its figures.

    Attributes:
      sample: the calibration examples.
      calibrated: what calibration on them found.
      ranges: of each feature of float numbers, with 0, as quantization takes it.
      prints: fingerprint of each calibration example.
      copies: how many of them are the same as another one before.
      values: of each feature with a range, in the calibration examples.
      split: the same and more of the eval split.
      figures: by name.
    """

    def __init__(self, sample: Sample, calibrated: Calibrated, evaluation: Iterable[Batch], limit: int) -> None:
        self.sample = sample
        self.calibrated = calibrated
        self.ranges = {name: with_zero(fed.range) for name, fed in calibrated.inputs.items() if fed.range}
        names = sorted(calibrated.inputs)
        self.prints = [eval_split.fingerprints(features, names)[0] for features in sample.examples]
        self.copies = len(self.prints) - len(set(self.prints))
        labels = [label.tobytes() for label in sample.labels] or [b""] * len(self.prints)
        watched = dict(zip(self.prints, labels, strict=True))
        known = np.concatenate([eval_split.checksums(features, names) for features in sample.examples])
        self.split = eval_split.read(evaluation, self.ranges, names, watched, known, limit)
        self.values = {name: FeatureValues() for name in self.ranges}
        for name, values in self.values.items():
            values.add(np.concatenate([np.ravel(features[name]) for features in sample.examples]))
        self.figures: dict[str, int | float] = {"examples": len(self.prints), "eval_examples": self.split.examples}


def with_zero(ends: Range) -> Range:
    """The range that quantization makes of it, since 0 must have an integer."""
    return min(ends[0], 0.0), max(ends[1], 0.0)
