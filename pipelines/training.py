"""The ``run_fn`` that the tasks share: a Keras classifier is trained, exported and kept trainable."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

from tfx_edge import save_trainable

LABEL_KEY = "label"


def train_classifier(model: keras.Model, fn_args: Any, *, batch_size: int = 32, learning_rate: float = 1e-3) -> None:
    """Trains a model that ends in logits and writes what a Trainer writes.

    The learning rate falls to zero along a cosine, so that the last weights are settled ones.

    Args:
      model: of one input or a dict of inputs named as the transformed features.
      fn_args: TFX's; ``custom_config["epochs"]`` says how long.
      batch_size: examples a step.
      learning_rate: of Adam at the start.
    """
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(batch_size=1024, label_key=LABEL_KEY, num_epochs=1, shuffle=False)
    examples = fn_args.data_accessor.tf_dataset_factory(fn_args.train_files, options, schema).unbatch().cache()
    batches = examples.shuffle(20_000, seed=0).batch(batch_size)
    epochs = fn_args.custom_config["epochs"]
    steps = -(-int(examples.reduce(0, lambda count, _: count + 1)) // batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(batches.prefetch(tf.data.AUTOTUNE), epochs=epochs, verbose=2)
    model.export(fn_args.serving_model_dir)
    save_trainable(model, fn_args)
