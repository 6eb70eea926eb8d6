"""The user module of the BasicMotions pipeline: a convolutional network over time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from tfx_edge.pipelines.training import train_classifier

STEPS, CHANNELS = 100, 6


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Standardizes each channel, and shapes a recording as an image of one column, since only those train in int8."""
    motion = tf.reshape(inputs["motion"], [-1, STEPS, CHANNELS])
    channels = [tft.scale_to_z_score(motion[:, :, channel]) for channel in range(CHANNELS)]
    return {"motion": tf.reshape(tf.stack(channels, -1), [-1, STEPS, 1, CHANNELS]), "label": inputs["label"]}


def run_fn(fn_args: Any) -> None:
    """Trains the float model."""
    keras.utils.set_random_seed(0)
    train_classifier(build_model(), fn_args, batch_size=8)


def build_model() -> keras.Model:
    """Three convolutions over time that end in logits; 40 recordings need much dropout."""
    motion = keras.Input((STEPS, 1, CHANNELS), name="motion")
    x = keras.layers.Dropout(0.2)(_convolution(motion, 64, 9, 2))
    x = keras.layers.Dropout(0.2)(_convolution(x, 128, 5, 2))
    x = _convolution(x, 128, 3, 1)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(motion, keras.layers.Dense(4, name="scores")(x))


def _convolution(x: Any, filters: int, width: int, stride: int) -> Any:
    x = keras.layers.Conv2D(filters, (width, 1), strides=(stride, 1), padding="same", use_bias=False)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
