"""The user module of the next-character pipeline: a feed-forward language model."""

from __future__ import annotations

from typing import Any

import keras

from tfx_edge.pipelines.next_character.characters import ALPHABET, CONTEXT
from tfx_edge.pipelines.training import train_classifier

WIDTH = 32


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Leaves the ids as they are."""
    return {"context": inputs["context"], "label": inputs["label"]}


def run_fn(fn_args: Any) -> None:
    """Trains the float model."""
    keras.utils.set_random_seed(0)
    train_classifier(build_model(), fn_args, batch_size=256, learning_rate=2e-3)


def build_model() -> keras.Model:
    """Two hidden layers over the embeddings of the characters, each at its own place, ending in logits.

    From Y. Bengio et al., "A Neural Probabilistic Language Model", Journal of Machine Learning Research 3 (2003), with
    characters for words and rectifiers for tanh.
    """
    context = keras.Input((CONTEXT,), name="context", dtype="int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(len(ALPHABET), WIDTH)(context))
    for units in (512, 256):
        x = keras.layers.Dropout(0.1)(keras.layers.Dense(units, activation="relu")(x))
    return keras.Model(context, keras.layers.Dense(len(ALPHABET), name="scores")(x))
