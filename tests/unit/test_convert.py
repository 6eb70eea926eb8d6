"""From a Model artifact to a .tflite: what converts, and what is refused with which words."""

from __future__ import annotations

import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_edge.devices.local import infer
from tfx_edge.errors import ModelError
from tfx_edge.lite.convert import convert
from tfx_edge.lite.inspect import inspect
from tfx_edge.models import layout, saving


def keras3_model() -> keras.Model:
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    return keras.Model(image, keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(x)))


def saved(model: keras.Model, folder: Path) -> Path:
    saving.save_trainable(model, types.SimpleNamespace(serving_model_dir=str(layout.serving_dir(folder))))
    return folder


def float32(uri: Path) -> bytes:
    return convert(uri, batch_size=1, io_dtype="float32", allow_select_tf_ops=False)


def test_a_keras_3_model_converts_to_equal_outputs(tmp_path: Path) -> None:
    model = keras3_model()
    path = tmp_path / "model.tflite"
    path.write_bytes(float32(saved(model, tmp_path / "artifact")))
    assert [tensor.name for tensor in inspect(path).inputs] == ["image"]
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    (outputs,) = infer(path, [{"image": images}])
    np.testing.assert_allclose(outputs["scores"], model(images), atol=1e-5)


def test_a_tf_keras_model_converts(tmp_path: Path) -> None:
    image = tf_keras.Input((8, 8, 1), name="image")
    model = tf_keras.Model(image, tf_keras.layers.Dense(3, name="scores")(tf_keras.layers.Flatten()(image)))
    path = tmp_path / "model.tflite"
    path.write_bytes(float32(saved(model, tmp_path / "artifact")))
    assert inspect(path).outputs[0].shape == (1, 3)


def test_a_signature_of_serialized_examples_is_refused(tmp_path: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(examples)}

    tf.saved_model.save(module, str(layout.serving_dir(tmp_path)), signatures={"serving_default": serve})
    with pytest.raises(ModelError, match=r"serialized tf\.Example strings.*save_trainable"):
        float32(tmp_path)


def test_integer_inputs_need_quantization_aware_training(tmp_path: Path) -> None:
    uri = saved(keras3_model(), tmp_path)
    with pytest.raises(ModelError, match="io_dtype 'int8' needs a model that was trained quantization-aware"):
        convert(uri, batch_size=1, io_dtype="int8", allow_select_tf_ops=False)


@keras.saving.register_keras_serializable("test")
class Doubled(keras.layers.Layer):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return 2.0 * inputs


def test_a_layer_that_cannot_be_carried_over_is_named_with_the_way_out(tmp_path: Path) -> None:
    image = keras.Input((4,), name="image")
    uri = saved(keras.Model(image, Doubled(name="twice")(image)), tmp_path)
    with pytest.raises(ModelError, match=r"'twice'.*build_model_fn"):
        float32(uri)


def test_a_custom_layer_converts_from_an_exported_tensor_signature(tmp_path: Path) -> None:
    image = keras.Input((4,), name="image")
    model = keras.Model(image, Doubled(name="twice")(image))
    uri = saved(model, tmp_path / "artifact")
    model.export(str(layout.serving_dir(uri)))
    path = tmp_path / "model.tflite"
    path.write_bytes(float32(uri))
    (outputs,) = infer(path, [{"image": np.ones((2, 4), np.float32)}])
    np.testing.assert_allclose(next(iter(outputs.values())), np.full((2, 4), 2.0))
