"""Transform and Trainer of a model whose preprocessing goes into the ``.tflite``: scaling, buckets, a vocabulary."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from tfx_edge import save_trainable

SCALED = ["alcohol", "malic_acid", "flavanoids", "hue", "proline"]
LABEL_KEY = "cultivar"
TRANSFORMED_LABEL = "cultivar_xf"


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = {f"{key}_xf": tft.scale_to_z_score(inputs[key]) for key in SCALED}
    outputs["color_bucket"] = tft.bucketize(inputs["color_intensity"], 4)
    vocabulary = tft.compute_and_apply_vocabulary(inputs["region"], num_oov_buckets=1, vocab_filename="regions")
    outputs["region_id"] = vocabulary
    outputs[TRANSFORMED_LABEL] = inputs[LABEL_KEY]
    return outputs


def run_fn(fn_args: FnArgs) -> None:
    keras.utils.set_random_seed(0)
    schema = tft.TFTransformOutput(fn_args.transform_output).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(batch_size=20, label_key=TRANSFORMED_LABEL)
    dataset = fn_args.data_accessor.tf_dataset_factory(fn_args.train_files, options, schema)
    scaled = [keras.Input((1,), name=f"{key}_xf") for key in SCALED]
    bucket = keras.Input((1,), name="color_bucket", dtype="int64")
    region = keras.Input((1,), name="region_id", dtype="int64")
    embedded = [
        keras.layers.Flatten()(keras.layers.Embedding(size, 2)(index)) for size, index in ((4, bucket), (4, region))
    ]
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.concatenate([*scaled, *embedded]))
    model = keras.Model([*scaled, bucket, region], keras.layers.Dense(3, name="score")(hidden))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(dataset.repeat(), steps_per_epoch=fn_args.train_steps, verbose=0)
    tf.saved_model.save(model, fn_args.serving_model_dir)
    save_trainable(model, fn_args)
