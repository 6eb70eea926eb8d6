"""The score of a model's outputs on examples that are at hand, by a metric of the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tfx_edge.gate.metric_kinds import Outputs
from tfx_edge.gate.output_kind import choose_output, gives_probabilities
from tfx_edge.gate.quality_metrics import QUALITY_METRICS
from tfx_edge.lite.inspect import inspect

Arrays = Mapping[str, np.ndarray]


def scorer(metric: str, path: Path, features: Arrays, labels: np.ndarray) -> Callable[[Arrays], float]:
    """A function of outputs by name that gives a score, of which more is better.

    Args:
      metric: one of ``QUALITY_METRICS``; the score is its negative where less is better.
      path: a ``.tflite`` that has the outputs: its only one is scored.
      features: of the examples, each of shape (n, ...).
      labels: of the examples, as the metric takes them.

    Raises:
      ConfigError: the model has several outputs.
    """
    chosen = QUALITY_METRICS[metric]
    output = choose_output(inspect(path), None)
    probabilities = gives_probabilities(path.read_bytes(), output)
    sign = 1 if chosen.better == "higher" else -1

    def score(outputs: Arrays) -> float:
        return sign * chosen.value(chosen.keep(Outputs(labels, outputs[output], features, probabilities)))

    return score
