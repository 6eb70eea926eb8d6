"""The user module of the spoken words pipeline: what a TFX user writes for Transform and Trainer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from tfx_edge.pipelines.training import train_classifier

FRAMES, BANDS, CLASSES = 49, 40, 12


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Gives each band the mean 0 and the variance 1, over all frames of all clips."""
    frames = tf.reshape(inputs["log_mel"], [-1, BANDS])
    mean, variance = tft.mean(frames, reduce_instance_dims=False), tft.var(frames, reduce_instance_dims=False)
    scaled = (frames - mean) / tf.sqrt(variance)
    return {"log_mel": tf.reshape(scaled, [-1, FRAMES, BANDS, 1]), "label": inputs["label"]}


def run_fn(fn_args: Any) -> None:
    """Trains the float model."""
    keras.utils.set_random_seed(0)
    train_classifier(build_model(), fn_args, batch_size=64, learning_rate=2e-3)


def build_model() -> keras.Model:
    """DS-CNN: depthwise separable convolutions over time and frequency, ending in logits.

    From Y. Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers" (arXiv:1711.07128, 2017). Wider where
    the picture is smaller, as in MobileNet: there most weights are in pointwise convolutions of many channels.
    """
    log_mel = keras.Input((FRAMES, BANDS, 1), name="log_mel")
    x = keras.layers.Conv2D(64, (10, 4), strides=2, padding="same", use_bias=False)(log_mel)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    for width, strides in ((128, 2), (512, 2), (512, 2)):
        x = keras.layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
        x = keras.layers.Conv2D(width, 1, use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(log_mel, keras.layers.Dense(CLASSES, name="scores")(x))
