"""User module of Trainer, as the TFX tutorials write it: the served signature takes serialized tf.Example strings."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import DataAccessor, FnArgs
from tfx_bsl.public import tfxio

FEATURE_KEYS = ["alcohol", "malic_acid", "flavanoids", "color_intensity", "hue", "proline"]
LABEL_KEY = "cultivar"
BATCH_SIZE = 20


def transformed_name(key: str) -> str:
    return key + "_xf"


def _input_fn(
    file_pattern: list[str], data_accessor: DataAccessor, tf_transform_output: tft.TFTransformOutput
) -> tf.data.Dataset:
    return data_accessor.tf_dataset_factory(
        file_pattern,
        tfxio.TensorFlowDatasetOptions(batch_size=BATCH_SIZE, label_key=transformed_name(LABEL_KEY)),
        tf_transform_output.transformed_metadata.schema,
    ).repeat()


def _make_keras_model() -> keras.Model:
    inputs = [keras.Input((1,), name=transformed_name(key)) for key in FEATURE_KEYS]
    d = keras.layers.concatenate(inputs)
    for _ in range(2):
        d = keras.layers.Dense(16, activation="relu")(d)
    outputs = keras.layers.Dense(3)(d)
    model = keras.Model(inputs=inputs, outputs=outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model


def _make_serving_signatures(model: keras.Model, tf_transform_output: tft.TFTransformOutput) -> dict[str, Any]:
    model.tft_layer = tf_transform_output.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_tf_examples_fn(serialized_tf_example: tf.Tensor) -> dict[str, tf.Tensor]:
        raw_feature_spec = tf_transform_output.raw_feature_spec()
        raw_feature_spec.pop(LABEL_KEY)
        raw_features = tf.io.parse_example(serialized_tf_example, raw_feature_spec)
        transformed_features = model.tft_layer(raw_features)
        return {"outputs": model(transformed_features)}

    return {"serving_default": serve_tf_examples_fn}


def run_fn(fn_args: FnArgs) -> None:
    keras.utils.set_random_seed(0)
    tf_transform_output = tft.TFTransformOutput(fn_args.transform_output)
    train_dataset = _input_fn(fn_args.train_files, fn_args.data_accessor, tf_transform_output)
    eval_dataset = _input_fn(fn_args.eval_files, fn_args.data_accessor, tf_transform_output)
    model = _make_keras_model()
    model.fit(
        train_dataset,
        steps_per_epoch=fn_args.train_steps,
        validation_data=eval_dataset,
        validation_steps=fn_args.eval_steps,
        verbose=0,
    )
    signatures = _make_serving_signatures(model, tf_transform_output)
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=signatures)
