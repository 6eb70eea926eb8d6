"""Trained models that lose accuracy when they are quantized: real data, trained by scikit-learn in a second each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from built_models import NONE, RELU, Builder


@dataclass(frozen=True)
class Trained:
    """A float model with its data.

    Attributes:
      content: the float ``.tflite``; one input ``features``, one output ``output`` of probabilities.
      samples: features to calibrate on.
      held_out: other features, and their ``labels``.
    """

    content: bytes
    samples: dict[str, np.ndarray]
    held_out: dict[str, np.ndarray]
    labels: np.ndarray

    def accuracy(self, outputs: Any) -> float:
        """The share of held-out labels that have the greatest probability."""
        return float(np.mean(outputs["output"].argmax(axis=-1) == self.labels))


@functools.cache
def raw_features() -> Trained:
    """Tumours told apart by 30 raw measurements that the model standardizes: areas of 1,000, slopes of 0.01."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    mean, deviation = data.data[:300].mean(axis=0), data.data[:300].std(axis=0)
    model = Builder((1, 30))
    x = model.arithmetic("SUB", "scale/minus mean (1)", model.input, model.constant("mean", mean[None]))
    x = model.arithmetic("MUL", "scale/times+", x, model.constant("inverse", 1 / deviation[None]))
    return _finish(model, x, (data.data - mean) / deviation, data.data, data.target, (16, 8))


@functools.cache
def digits() -> Trained:
    """Digits in 8 by 8 pixels told apart by three dense layers."""
    from sklearn.datasets import load_digits

    data = load_digits()
    model = Builder((1, 64))
    return _finish(model, model.input, data.data / 16, data.data / 16, data.target, (32, 16), train=1000)


def _finish(
    model: Builder, x: int, scaled: Any, raw: Any, labels: Any, hidden: tuple[int, ...], train: int = 300
) -> Trained:
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(hidden, random_state=0, max_iter=60).fit(
        scaled[:train], np.eye(labels.max() + 1)[labels[:train]]
    )
    last = len(network.coefs_) - 1
    for number, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        activation = NONE if number == last else RELU
        x = model.dense(f"dense_{number}", x, weights.T.astype(np.float32), bias.astype(np.float32), activation)
    content = model.finish(model.softmax("output", x))
    features = raw.astype(np.float32)
    return Trained(content, {"features": features[:100]}, {"features": features[train:]}, labels[train:])
