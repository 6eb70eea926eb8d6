"""The user module of the Fashion-MNIST pipeline: a small network of depthwise-separable convolutions."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfx_edge.pipelines.training import train_classifier


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Scales pixels to 0..1 and shapes them as an image."""
    pixels = tf.cast(inputs["pixels"], tf.float32) / 255.0
    return {"image": tf.reshape(pixels, [-1, 28, 28, 1]), "label": inputs["label"]}


def run_fn(fn_args: Any) -> None:
    """Trains the float model."""
    keras.utils.set_random_seed(0)
    train_classifier(build_model(), fn_args, batch_size=64, learning_rate=3e-3)


def build_model() -> keras.Model:
    """A small MobileNet that ends in logits.

    Most weights are in one dense layer: each channel of a quantized layer costs 28 bytes of scales and bias beside its
    weights, which a network of depthwise convolutions alone would not earn back.

    Method: A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications"
    (2017).
    """
    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(image)
    x = _normalized(x)
    for filters, stride in ((64, 1), (128, 2), (128, 2)):
        x = _normalized(keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
        x = _normalized(keras.layers.Conv2D(filters, 1, use_bias=False)(x))
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(0.3)(keras.layers.Dense(128, activation="relu")(x))
    return keras.Model(image, keras.layers.Dense(10, name="scores")(x))


def _normalized(x: Any) -> Any:
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
