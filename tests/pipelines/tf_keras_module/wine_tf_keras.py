"""User module of a Trainer that trains with tf_keras and saves as TFX's Keras 2 tutorials do, without save_trainable.

``compile_fn`` and ``input_fn`` are for tfx-edge's components.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

FEATURE_KEYS = ["alcohol", "malic_acid", "flavanoids", "color_intensity", "hue", "proline"]


def input_fn(files: list[str], fn_args: FnArgs, batch_size: int) -> tf.data.Dataset:
    return fn_args.data_accessor.tf_dataset_factory(
        files,
        tfxio.TensorFlowDatasetOptions(batch_size=batch_size, label_key="cultivar_xf", num_epochs=1, shuffle=False),
        tft.TFTransformOutput(fn_args.transform_output).transformed_metadata.schema,
    )


def compile_fn(model: tf_keras.Model, fn_args: FnArgs) -> None:
    model.compile(
        optimizer=tf_keras.optimizers.Adam(1e-3),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tf_keras.metrics.SparseCategoricalAccuracy(name=fn_args.custom_config["metric"])],
    )


def run_fn(fn_args: FnArgs) -> None:
    tf_keras.utils.set_random_seed(0)
    inputs = [tf_keras.Input((1,), name=f"{key}_xf") for key in FEATURE_KEYS]
    d = tf_keras.layers.concatenate(inputs)
    d = tf_keras.layers.Dense(32, activation="relu")(d)
    outputs = tf_keras.layers.Dense(3)(d)
    model = tf_keras.Model(inputs=inputs, outputs=outputs)
    model.compile(
        optimizer=tf_keras.optimizers.Adam(1e-2),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(input_fn(fn_args.train_files, fn_args, 20).repeat(), steps_per_epoch=fn_args.train_steps, verbose=0)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    model.tft_layer = transform_output.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_tf_examples_fn(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        raw_feature_spec = transform_output.raw_feature_spec()
        raw_feature_spec.pop("cultivar")
        return {"outputs": model(model.tft_layer(tf.io.parse_example(serialized, raw_feature_spec)))}

    model.save(fn_args.serving_model_dir, save_format="tf", signatures={"serving_default": serve_tf_examples_fn})
