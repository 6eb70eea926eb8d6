"""Pairs of real models for benchmarks of latency: a base, and one that really does about 5 % more work.

The slowed one has a hidden layer before its last one, whose width is searched for by measuring. Files and the search's
result are kept in ``build/bench``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices.local import Local
from tfx_edge.devices.target import RunOptions
from tfx_edge.gate.latency import relative

FOLDER = Path(__file__).parents[1] / "build" / "bench"
WANTED, TOLERANCE = 1.05, 0.005
STEP = 16  # XNNPACK works in steps of so many channels
PROCESSES = 8


@dataclass(frozen=True)
class ModelPair:
    """A base model, a copy of its file, and a slowed one with so many hidden units more."""

    name: str
    base: Path
    copy: Path
    slowed: Path
    hidden_units: int


def speech(hidden_units: int) -> bytes:
    """A depthwise separable CNN in int8 for keywords in 49 frames of 10 MFCCs (Zhang et al., "Hello Edge", 2017)."""
    import tf_keras as keras

    layers = keras.layers
    blocks: list[Any] = []
    for _ in range(4):
        blocks += [layers.DepthwiseConv2D(3, padding="same", activation="relu")]
        blocks += [layers.Conv2D(64, 1, activation="relu")]
    stem = layers.Conv2D(64, (10, 4), strides=2, padding="same", activation="relu")
    return _convert((49, 10, 1), [stem, *blocks], hidden_units, 12, int8=True)


def vision(hidden_units: int) -> bytes:
    """A plain CNN in float32 for images of 96 x 96."""
    import tf_keras as keras

    widths = ((16, 2), (32, 2), (64, 2), (64, 1), (128, 2), (128, 1))
    stack = [
        keras.layers.Conv2D(width, 3, strides=strides, padding="same", activation="relu") for width, strides in widths
    ]
    return _convert((96, 96, 3), stack, hidden_units, 10, int8=False)


MODELS: dict[str, Callable[[int], bytes]] = {"speech": speech, "vision": vision}


def load(name: str, log: Callable[[str], None]) -> ModelPair:
    """The pair of that name, from ``build/bench`` or newly made (a minute or two)."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    base, copy, found = (FOLDER / f"{name}-{part}" for part in ("base.tflite", "copy.tflite", "slowed.json"))
    if not found.exists():
        base.write_bytes(MODELS[name](0))
        copy.write_bytes(base.read_bytes())
        found.write_text(json.dumps({"hidden_units": _search(name, base, log)}))
    units = json.loads(found.read_text())["hidden_units"]
    return ModelPair(name, base, copy, _slowed(name, units), units)


def _slowed(name: str, hidden_units: int) -> Path:
    path = FOLDER / f"{name}-{hidden_units}.tflite"
    if not path.exists():
        path.write_bytes(MODELS[name](hidden_units))
    return path


def _search(name: str, base: Path, log: Callable[[str], None]) -> int:
    """The number of units whose measured cost comes nearest to 5 %: the secant method from two guesses."""
    measured: dict[int, float] = {}
    units = 16 * STEP
    while units not in measured and len(measured) < 8:
        pairs = [Local().compare(_slowed(name, units), base, RunOptions())[0] for _ in range(PROCESSES)]
        estimate = relative(pairs, "min", 0.95)
        assert estimate is not None
        measured[units] = estimate.value
        log(f"{name} with {units} hidden units takes {estimate.value:.4f} times as long")
        if abs(estimate.value - WANTED) <= TOLERANCE:
            break
        near = sorted(measured, key=lambda n: abs(measured[n] - WANTED))[:2]
        if len(near) == 1:
            near.append(0)
        first, second = near
        slope = (measured[first] - measured.get(second, 1.0)) / (first - second)
        units = max(STEP, round((first + (WANTED - measured[first]) / slope) / STEP) * STEP)
    return min(measured, key=lambda n: abs(measured[n] - WANTED))


def _convert(shape: tuple[int, ...], stack: list[Any], hidden_units: int, classes: int, *, int8: bool) -> bytes:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(hidden_units, activation="relu")] if hidden_units else []
    head = [keras.layers.GlobalAveragePooling2D(), *hidden, keras.layers.Dense(classes)]
    model = keras.Sequential([keras.layers.InputLayer(shape), *stack, *head])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((1, *shape), tf.float32)])
    def serve(tensor: Any) -> Any:
        return model(tensor, training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model)
    if int8:
        samples = np.random.default_rng(0).random((8, 1, *shape), dtype=np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()
