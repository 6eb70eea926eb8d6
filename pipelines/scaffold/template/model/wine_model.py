"""What Transform and Trainer run: how examples are prepared, the model, and how it is trained."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

from tfx_edge import save_trainable

MEASURES = (
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
    "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280_od315", "proline",
)  # fmt: skip
LABEL = "cultivar"
CULTIVARS = 3


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Scales each measure to mean 0 and deviation 1, and puts them side by side: the model has one input."""
    scaled = [tft.scale_to_z_score(inputs[name]) for name in MEASURES]
    return {"measures": tf.concat(scaled, axis=1), LABEL: inputs[LABEL]}


def build_model() -> keras.Model:
    """A small classifier that ends in logits."""
    measures = keras.Input((len(MEASURES),), name="measures")
    x = keras.layers.Dense(64, activation="relu")(measures)
    x = keras.layers.Dense(64, activation="relu")(x)
    return keras.Model(measures, keras.layers.Dense(CULTIVARS, name="scores")(x))


def train(model: keras.Model, batches: tf.data.Dataset, epochs: int) -> None:
    """Trains on batches of measures and labels."""
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    model.fit(batches, epochs=epochs, verbose=0)


def run_fn(fn_args: Any) -> None:
    """Trains the float model from Transform's examples and saves it: once to be served, once to be worked on."""
    keras.utils.set_random_seed(0)
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(batch_size=16, label_key=LABEL, num_epochs=1, shuffle_seed=0)
    batches = fn_args.data_accessor.tf_dataset_factory(fn_args.train_files, options, schema)
    model = build_model()
    train(model, batches, fn_args.custom_config["epochs"])
    model.export(fn_args.serving_model_dir)
    save_trainable(model, fn_args)
