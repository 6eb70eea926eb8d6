"""From a Model artifact to a .tflite: what converts, and what is refused with which words."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_edge.conversion.agreement import compare
from tfx_edge.conversion.convert import convert
from tfx_edge.conversion.judgement import Agreement, Kind
from tfx_edge.devices.local import infer
from tfx_edge.errors import ModelError
from tfx_edge.lite.inspect import inspect
from tfx_edge.lite_converter.work import convert_model
from tfx_edge.models import layout, saving
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import model_digest


def keras3_model() -> keras.Model:
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    return keras.Model(image, keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(x)))


def saved(model: keras.Model, folder: Path) -> Path:
    saving.save_trainable(model, types.SimpleNamespace(serving_model_dir=str(layout.serving_dir(folder))))
    return folder


def float32(uri: Path) -> bytes:
    return convert(uri).content


def exported(function: Callable[..., Any], folder: Path, *specs: tf.TensorSpec) -> Path:
    """A stage that holds nothing but a SavedModel of the function."""
    signature = tf.function(function, input_signature=specs, autograph=False)
    tf.saved_model.save(tf.Module(), str(layout.serving_dir(folder)), signatures={"serving_default": signature})
    return folder


def open_row(*shape: int, dtype: Any = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec([None, *shape], dtype, name="x")


def agreement_of(uri: Path, **options: Any) -> Agreement:
    return convert(uri, **options).agreement


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
    with pytest.raises(ModelError, match=r"takes strings, such as serialized tf\.Example.*save_trainable"):
        float32(tmp_path)


def test_recipe_qat_int8_needs_quantization_aware_training(tmp_path: Path) -> None:
    uri = saved(keras3_model(), tmp_path)
    with pytest.raises(ModelError, match="'qat_int8' needs a model that was trained quantization-aware"):
        convert(uri, recipe=Recipe(preset="qat_int8"))


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


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_any_batch_size_gives_the_outputs_of_the_model(tmp_path: Path, batch_size: int | None) -> None:
    model = keras3_model()
    converted = convert(saved(model, tmp_path / "artifact"), batch_size=batch_size)
    assert converted.agreement.examples == 32
    assert converted.agreement.max_output_difference < 1e-5
    path = tmp_path / "model.tflite"
    path.write_bytes(converted.content)
    assert inspect(path).inputs[0].shape_signature[0] == (batch_size or -1)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    (outputs,) = infer(path, [{"image": images}])
    np.testing.assert_allclose(outputs["scores"], model(images), atol=1e-5)


def test_a_model_over_words_is_compared(tmp_path: Path) -> None:
    words = keras.Input((6,), dtype="int32", name="words")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(2, 4)(words))
    agreement = agreement_of(saved(keras.Model(words, keras.layers.Dense(2)(x)), tmp_path))
    assert agreement.examples == 32
    assert agreement.max_output_difference < 1e-5


def test_the_comparison_can_use_given_examples(tmp_path: Path) -> None:
    uri = exported(lambda x: {"y": 2.0 * x}, tmp_path, open_row(2))
    batches = [{"x": np.ones((3, 2), np.float32), "label": np.ones(3)}, {"x": np.ones((2, 2), np.float32)}]
    assert agreement_of(uri, batches=batches).examples == 5


def test_random_examples_outside_a_models_domain_are_left_out(tmp_path: Path) -> None:
    uri = exported(lambda x: {"y": tf.nn.relu(tf.math.log(x))}, tmp_path, open_row(2))
    agreement = agreement_of(uri)
    assert 16 <= agreement.examples < 32
    assert agreement.max_output_difference < 1e-5


def test_what_is_not_finite_in_both_is_passed_on(tmp_path: Path) -> None:
    uri = exported(lambda x: {"y": x * np.float32(np.nan)}, tmp_path, open_row(2))
    agreement = agreement_of(uri)
    assert agreement.max_output_difference is None
    assert agreement.not_compared == "no output is a finite real number"


def test_a_model_that_takes_no_random_input_is_not_compared(tmp_path: Path) -> None:
    table = tf.constant([[1.0, 2.0]])
    uri = exported(lambda x: {"y": tf.gather(table, x[:, 0])}, tmp_path, open_row(1, dtype=tf.int32))
    assert "does not run on random inputs" in str(agreement_of(uri))
    assert agreement_of(uri, batches=[{"x": np.zeros((2, 1), np.int32)}]).max_output_difference == 0.0


def test_a_model_of_integer_outputs_alone_is_compared(tmp_path: Path) -> None:
    uri = exported(lambda x: {"place": tf.argmax(x, axis=1)}, tmp_path, open_row(5))
    assert agreement_of(uri) == Agreement(0.0, examples=32)


def test_operators_of_tensorflow_are_accepted_only_when_asked_and_not_compared(tmp_path: Path) -> None:
    uri = exported(lambda x: {"y": tf.linalg.inv(x)}, tmp_path, open_row(2, 2))
    with pytest.raises(ModelError, match=r"no operators for MatrixInverse.*allow_select_tf_ops"):
        agreement_of(uri)
    agreement = agreement_of(uri, allow_select_tf_ops=True)
    assert agreement.max_output_difference is None
    assert "FlexMatrixInverse" in str(agreement)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_savedmodel_of_another_fixed_batch_is_refused(tmp_path: Path, batch_size: int | None) -> None:
    uri = exported(lambda x: {"y": 2.0 * x}, tmp_path, tf.TensorSpec([4, 2], tf.float32, name="x"))
    with pytest.raises(ModelError, match=r"input 'x' of the SavedModel takes batches of 4.*set batch_size to 4"):
        agreement_of(uri, batch_size=batch_size)
    assert agreement_of(uri, batch_size=4).examples == 32


def test_a_model_without_a_row_for_each_example_is_refused(tmp_path: Path) -> None:
    uri = exported(lambda x: {"y": tf.reduce_sum(x)}, tmp_path, open_row(2))
    with pytest.raises(ModelError, match=r"output 'y' of the model has shape .* one row for each example"):
        agreement_of(uri)


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite that gives its input twofold, and the place of the largest of the two numbers."""
    folder = tmp_path_factory.mktemp("doubling")
    uri = exported(lambda x: {"twice": 2.0 * x, "place": tf.argmax(x, axis=1)}, folder, open_row(2))
    path = folder / "model.tflite"
    path.write_bytes(float32(uri))
    return path


def against(path: Path, factor: float, inputs: np.ndarray, *, kind: Kind = "float") -> Agreement:
    def model(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"twice": np.float32(factor) * batch["x"], "place": np.argmax(batch["x"], axis=1)}

    return compare(path, model, [{"x": inputs}], kind=kind)


INPUTS = np.array([[1, 2], [4, 3], [-2, 0.5]], np.float32)


def test_equal_outputs_agree_to_the_bit(doubling: Path) -> None:
    assert against(doubling, 2.0, INPUTS) == Agreement(0.0, examples=3)


def test_a_difference_within_rounding_is_measured(doubling: Path) -> None:
    agreement = against(doubling, 2.0001, INPUTS)
    assert agreement.max_output_difference == pytest.approx(4e-4, rel=0.01)


def test_other_outputs_are_refused_with_the_difference(doubling: Path) -> None:
    with pytest.raises(
        ModelError, match=r"output 'twice' .* by up to 0\.4, where the largest output is 8\.4;.*Replace"
    ):
        against(doubling, 2.1, INPUTS)


def test_quantization_may_cost_some_steps_and_no_more(doubling: Path) -> None:
    assert against(doubling, 2.1, INPUTS, kind="quantization_aware").max_output_steps == pytest.approx(
        0.4 / 8.4 * 127, rel=0.01
    )
    with pytest.raises(ModelError, match=r"quantization-aware model's by up to 12, 76 steps of .*; 64 are allowed"):
        against(doubling, 5.0, INPUTS, kind="quantization_aware")


def test_a_number_where_the_model_has_none_is_refused(doubling: Path) -> None:
    with pytest.raises(ModelError, match=r"output 'twice': 6 of 6 values are finite in one only.*2\.0 and nan"):
        against(doubling, np.nan, INPUTS)


def test_integers_must_be_equal(doubling: Path) -> None:
    def model(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"twice": 2 * batch["x"], "place": np.argmin(batch["x"], axis=1)}

    with pytest.raises(ModelError, match=r"output 'place' .* in 3 of 3 integers"):
        compare(doubling, model, [{"x": INPUTS}], kind="float")
    assert compare(doubling, model, [{"x": INPUTS}], kind="quantization_aware").max_output_difference == 0.0


def test_other_output_names_are_refused(doubling: Path) -> None:
    with pytest.raises(ModelError, match=r"has the outputs .*'place', 'twice'.*, the model .*'other'"):
        compare(doubling, lambda batch: {"other": batch["x"]}, [{"x": INPUTS}], kind="float")


def test_the_component_records_the_difference_and_where_the_model_came_from(tmp_path: Path) -> None:
    uri = exported(lambda x: {"y": tf.nn.softmax(x)}, tmp_path / "exported", open_row(5))
    output = tmp_path / "lite"
    request = Request(
        "LiteConverter",
        {"model": [str(uri)]},
        {"edge_model": [str(output)]},
        {"config": "{}"},
    )
    lines: list[str] = []
    properties = convert_model(request, lines.append)
    edge = json.loads((layout.serving_dir(output) / "edge.json").read_text())
    assert 0 <= properties["max_output_difference"] < 1e-5
    assert edge["steps"][-1]["result"] == {
        "max_output_difference": properties["max_output_difference"],
        "examples": 32,
    }
    assert edge["parent_sha256"] == properties["parent_sha256"] == model_digest(str(uri))
    assert "differs from the model by at most" in lines[-1]


def test_a_savedmodel_has_a_digest_of_what_it_computes(tmp_path: Path) -> None:
    uri = exported(lambda x: {"y": 2.0 * x}, tmp_path, open_row(2))
    digest = model_digest(str(uri))
    assert digest is not None
    assert len(digest) == 64
    serving = layout.serving_dir(uri)
    (serving / "fingerprint.pb").write_bytes(b"another random number")
    assert model_digest(str(uri)) == digest
    (serving / "assets").mkdir(exist_ok=True)
    (serving / "assets" / "words.txt").write_text("yes\n")
    with_words = model_digest(str(uri))
    (serving / "assets" / "words.txt").rename(serving / "assets" / "labels.txt")
    assert len({digest, with_words, model_digest(str(uri))}) == 3


def test_nothing_has_no_digest(tmp_path: Path) -> None:
    assert model_digest(str(tmp_path)) is None
