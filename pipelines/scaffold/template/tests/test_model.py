"""The functions of the module file, without a pipeline."""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import wine_model

DATA = Path(__file__).parents[1] / "data" / "wine.csv"


def columns() -> dict[str, np.ndarray]:
    """The data by column."""
    with DATA.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_the_data_has_every_column() -> None:
    """What preprocessing_fn reads is there, and a number."""
    data = columns()
    assert {*wine_model.MEASURES, wine_model.LABEL} <= data.keys()
    assert set(data[wine_model.LABEL]) == set(range(wine_model.CULTIVARS))


def test_the_model_learns() -> None:
    """On measures scaled as preprocessing_fn scales them."""
    data = columns()
    measures = np.stack([data[name] for name in wine_model.MEASURES], axis=1)
    scaled = ((measures - measures.mean(axis=0)) / measures.std(axis=0)).astype("float32")
    labels = data[wine_model.LABEL].astype("int64")
    training = np.arange(len(labels)) % 3 > 0
    keras.utils.set_random_seed(0)
    model = wine_model.build_model()
    batches = tf.data.Dataset.from_tensor_slices((scaled[training], labels[training])).shuffle(256, seed=0).batch(16)
    wine_model.train(model, batches, epochs=20)
    found = model.predict(scaled[~training], verbose=0).argmax(axis=1)
    assert np.mean(found == labels[~training]) > 0.9
