"""The user module of the JapaneseVowels pipeline: a recurrent network."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from tfx_edge.pipelines.training import train_classifier

FRAMES, CHANNELS, SPEAKERS = 30, 12, 9
STACKED = 5


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Standardizes each channel over the frames that were spoken; the others stay zero."""
    frames = tf.reshape(inputs["cepstrum"], [-1, FRAMES, CHANNELS])
    spoken = tf.reduce_any(frames != 0, -1)
    mean, variance = (
        analyze(tf.boolean_mask(frames, spoken), reduce_instance_dims=False) for analyze in (tft.mean, tft.var)
    )
    scaled = (frames - mean) / tf.sqrt(variance)
    return {"cepstrum": scaled * tf.cast(spoken, tf.float32)[:, :, None], "label": inputs["label"]}


def run_fn(fn_args: Any) -> None:
    """Trains the float model."""
    keras.utils.set_random_seed(0)
    train_classifier(build_model(), fn_args, batch_size=16, learning_rate=2e-3)


def build_model() -> keras.Model:
    """An LSTM whose last state is classified, ending in logits.

    It takes a step for five frames, which are 32 ms; longer steps were proposed by H. Sak et al., "Fast and Accurate
    Recurrent Neural Network Acoustic Models for Speech Recognition" (2015). The steps are unrolled. TFLite has an
    operator for a whole LSTM, but one that only TensorFlow's converter quantizes, and not to int4 or int16x8; unrolled
    it is multiplications by the same weights at every step, to which every recipe applies.
    """
    cepstrum = keras.Input((FRAMES, CHANNELS), name="cepstrum")
    x = keras.layers.Reshape((FRAMES // STACKED, STACKED * CHANNELS))(cepstrum)
    x = keras.layers.LSTM(256, unroll=True)(x)
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(cepstrum, keras.layers.Dense(SPEAKERS, name="scores")(x))
