"""The user module of the digits pipeline: what a TFX user writes for Transform, Trainer and Distiller."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

from tfx_edge import save_trainable


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Scales pixels to 0..1 and shapes them as an image."""
    return {"image": tf.reshape(inputs["pixels"] / 16.0, [-1, 8, 8, 1]), "label": inputs["label"]}


def build_model(width: int) -> keras.Model:
    """A small convolutional classifier that ends in logits."""
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(2 * width, 3, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(2 * width, activation="relu")(x)
    return keras.Model(image, keras.layers.Dense(10, name="scores")(x))


def run_fn(fn_args: Any) -> None:
    """Trains the float model."""
    keras.utils.set_random_seed(0)
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema

    def batches(files: list[str]) -> tf.data.Dataset:
        options = tfxio.TensorFlowDatasetOptions(batch_size=32, label_key="label", num_epochs=1, shuffle_seed=0)
        return fn_args.data_accessor.tf_dataset_factory(files, options, schema)

    model = build_model(width=32)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(batches(fn_args.train_files), epochs=fn_args.custom_config["epochs"], verbose=0)
    model.export(fn_args.serving_model_dir)
    save_trainable(model, fn_args)


def build_student_fn(fn_args: Any) -> keras.Model:
    """The student: the same network at half the width."""
    return build_model(width=16)
