"""Small tf_keras models that lose channels, with weights that all matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tf_keras

KL = tf_keras.layers


def randomized(model: tf_keras.Model, seed: int = 0) -> tf_keras.Model:
    """Gives every weight a value that shows when it is lost or put elsewhere."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 4
        values = rng.normal(0, 1 / np.sqrt(fan_in), weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    return model


def features(model: tf_keras.Model, examples: int = 3) -> Any:
    """Random inputs."""
    rng = np.random.default_rng(1)
    found = [rng.normal(size=(examples, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    return found[0] if len(found) == 1 else found


def plain(filters: int = 16, units: int = 24) -> tf_keras.Model:
    """Convolutions, one with batch normalization, behind which comes a dense part."""
    image = tf_keras.Input((8, 8, 3), name="image")
    x = KL.Conv2D(filters, 3, padding="same", use_bias=False, name="first")(image)
    x = KL.ReLU()(KL.BatchNormalization(name="norm")(x))
    x = KL.MaxPooling2D()(x)
    x = KL.Conv2D(2 * filters, 3, activation="relu", name="second")(x)
    x = KL.Dense(units, activation="relu", name="dense")(KL.Flatten()(x))
    return randomized(tf_keras.Model(image, KL.Dense(5, name="scores")(x)))


def generated(steps: Sequence[str], head: str, seed: int) -> tf_keras.Model:
    """A Functional model of the given steps, each of which goes on from where the one before ended."""
    image = tf_keras.Input((8, 8, 3), name="image")
    x = KL.Conv2D(8, 3, padding="same")(image)
    for step in steps:
        x = _STEPS[step](x)
    x = KL.Flatten()(x) if head == "flatten" else KL.GlobalAveragePooling2D()(x)
    x = KL.Dense(12, activation="relu")(x)
    return randomized(tf_keras.Model(image, KL.Dense(4, name="scores")(x)), seed)


def _residual(x: Any) -> Any:
    y = KL.Conv2D(x.shape[-1], 1, activation="relu")(x)
    return KL.Add()([x, KL.Conv2D(x.shape[-1], 3, padding="same")(y)])


def _gated(x: Any) -> Any:
    gate = KL.Dense(4, activation="relu")(KL.GlobalAveragePooling2D(keepdims=True)(x))
    return KL.Multiply()([x, KL.Dense(x.shape[-1], activation="sigmoid")(gate)])


def _concatenated_then_added(x: Any) -> Any:
    both = KL.Concatenate()([KL.Conv2D(6, 1)(x), KL.Conv2D(4, 3, padding="same")(x)])
    return KL.Average()([both, KL.Conv2D(10, 1)(x)])


def _shared(x: Any) -> Any:
    layer = KL.Conv2D(x.shape[-1], 3, padding="same", activation="relu")
    return KL.Subtract()([layer(layer(x)), x])


def _as_a_sequence(x: Any) -> Any:
    sequence = KL.Conv1D(6, 3, padding="same")(KL.Reshape((-1, x.shape[-1]))(x))
    return KL.Reshape((x.shape[1], x.shape[2], 6))(sequence)


_STEPS = {
    "convolution": lambda x: KL.Conv2D(10, 3, padding="same", activation="relu")(x),
    "normalization": lambda x: KL.ReLU()(KL.BatchNormalization()(x)),
    "depthwise": lambda x: KL.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x),
    "separable": lambda x: KL.SeparableConv2D(9, 3, padding="same", depth_multiplier=2)(x),
    "transposed": lambda x: KL.Conv2DTranspose(7, 2, padding="same")(x),
    "residual": _residual,
    "gated": _gated,
    "shared": _shared,
    "concatenated": _concatenated_then_added,
    "dense": lambda x: KL.Dense(6)(x),
    "prelu": lambda x: KL.PReLU(shared_axes=[1, 2])(x),
    "prelu of each pixel": lambda x: KL.PReLU()(x),
    "pooled and padded": lambda x: KL.UpSampling2D()(KL.ZeroPadding2D(1)(KL.AveragePooling2D(2)(x))),
    "as a sequence": _as_a_sequence,
    "by TensorFlow": lambda x: x * 2.0 + KL.Activation("tanh")(x),
    "rows beside each other": lambda x: KL.Reshape((x.shape[1], x.shape[2], x.shape[3]))(KL.Flatten()(x)),
}
STEPS = sorted(_STEPS)
