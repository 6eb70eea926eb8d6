"""The user module of the sentiment pipeline: a convolution over the embeddings of words."""

from __future__ import annotations

from typing import Any

import keras

from tfx_edge.pipelines.sentiment.tokens import IDS, LENGTH
from tfx_edge.pipelines.training import train_classifier

WIDTH, FILTERS = 64, 128


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Leaves the ids as they are."""
    return {"tokens": inputs["tokens"], "label": inputs["label"]}


def run_fn(fn_args: Any) -> None:
    """Trains the float model."""
    keras.utils.set_random_seed(0)
    train_classifier(build_model(), fn_args, batch_size=64, learning_rate=2e-3)


def build_model() -> keras.Model:
    """A convolution over three words at a time, averaged over the text, ending in logits.

    From Y. Kim, "Convolutional Neural Networks for Sentence Classification" (arXiv:1408.5882, 2014), with the mean in
    place of the maximum. The places after a short text count in the mean like its words; no mask is needed, which
    TFLite's operators do not know. Nearly all weights are embeddings: in int4 each row has a scale of its own, which
    takes 12 bytes, and a row of 64 earns them back.
    """
    tokens = keras.Input((LENGTH,), name="tokens", dtype="int32")
    x = keras.layers.Embedding(IDS, WIDTH)(tokens)
    x = keras.layers.Dropout(0.5)(keras.layers.Reshape((LENGTH, 1, WIDTH))(x))
    x = keras.layers.Conv2D(FILTERS, (3, 1), padding="same", activation="relu")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(tokens, keras.layers.Dense(2, name="scores")(x))
