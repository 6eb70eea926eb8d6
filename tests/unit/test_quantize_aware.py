"""Quantization-aware training through to a .tflite: which layers compute in integers, and what the file answers."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_edge.devices.local import infer
from tfx_edge.errors import ModelError
from tfx_edge.lite.agreement import compare
from tfx_edge.lite.convert import Conversion, convert
from tfx_edge.lite.inspect import inspect
from tfx_edge.lite_converter.work import convert_model
from tfx_edge.models import layout, quantize_aware, saving, training
from tfx_edge.models.trainable import load_trainable
from tfx_edge.quantizer.spec import QuantizerConfig
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest
from tfx_edge.stages.training import finish_quantization_aware

CLASSES = 3


def sequences(examples: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of 6 steps of 4 noisy values that rise, fall or stay, and which of these they do."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, examples)
    trend = (labels - 1)[:, None, None] * np.linspace(-1, 1, 6)[None, :, None]
    return (trend + generator.normal(0, 0.2, (examples, 6, 4))).astype(np.float32), labels


def recurrent(cell: type[tf_keras.layers.Layer]) -> tf_keras.Model:
    sequence = tf_keras.Input((6, 4), name="sequence")
    x = cell(12, name="memory")(tf_keras.layers.Dense(8, activation="relu", name="before")(sequence))
    return tf_keras.Model(sequence, tf_keras.layers.Dense(CLASSES, activation="softmax", name="trend")(x))


def stage(model_uri: Path, output_uri: Path) -> StageContext:
    inputs = {"model": [str(model_uri)]}
    outputs = {"edge_model": [str(output_uri)]}
    return StageContext(Request("Quantizer", inputs, outputs, {}))


def quantization_aware(cell: type[tf_keras.layers.Layer], folder: Path) -> types.SimpleNamespace:
    """A float stage ``trainer`` and what mode qat makes of it: ``uri``, the model, and the output's properties."""
    tf_keras.utils.set_random_seed(0)
    trainer, uri = folder / "trainer", folder / "qat"
    saving.save_stage(recurrent(cell), trainer, [])
    float_model = load_trainable(trainer)
    model, refused = quantize_aware.wrap(float_model, preserve_sparsity=False)
    inputs, labels = sequences()
    batches = tf.data.Dataset.from_tensor_slices(({"sequence": inputs}, labels)).batch(32)
    training.compile_for_labels(model, batches.element_spec[1], 0.01, float_model)
    training.fit(model, batches, None, 8, lambda line: None)
    config = QuantizerConfig(mode="qat")
    properties = finish_quantization_aware(
        stage(trainer, uri), model, float_model.output_names, config, {"float_layers": refused}
    )
    return types.SimpleNamespace(trainer=trainer, uri=uri, model=model, refused=refused, properties=properties)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> types.SimpleNamespace:
    return quantization_aware(tf_keras.layers.LSTM, tmp_path_factory.mktemp("lstm"))


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> types.SimpleNamespace:
    return quantization_aware(tf_keras.layers.GRU, tmp_path_factory.mktemp("gru"))


def converted(uri: Path, **options: Any) -> Conversion:
    return convert(uri, **{"batch_size": 1, "io_dtype": "float32", "allow_select_tf_ops": False, **options})


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("io_dtype", ["float32", "int8"])
def test_a_recurrent_model_converts_and_answers_as_the_model_does(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, io_dtype: str
) -> None:
    trained = request.getfixturevalue(name)
    conversion = converted(trained.uri, io_dtype=io_dtype)
    path = tmp_path / "model.tflite"
    path.write_bytes(conversion.content)
    inputs, labels = sequences()
    (outputs,) = infer(path, [{"sequence": inputs}])
    expected = trained.model.predict(inputs, verbose=0)
    np.testing.assert_allclose(outputs["trend"], expected, atol=4 / 256)  # a softmax has steps of 1/256
    assert np.mean(np.argmax(outputs["trend"], axis=1) == labels) > 0.9
    assert conversion.agreement.max_output_steps <= 4


def test_the_lstm_and_what_takes_its_float_outputs_stay_in_float(lstm: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(lstm.uri).content)
    model = inspect(path)
    assert lstm.refused == ["memory"]
    assert {op.name for op in model.float_ops} >= {"UNIDIRECTIONAL_SEQUENCE_LSTM", "FULLY_CONNECTED"}
    assert [weight.shape for weight in model.quantized_weights] == [(8, 4)]
    assert model.inputs[0].shape_signature == (1, 6, 4)


def test_the_stage_is_traced_for_one_example_and_for_any(lstm: Any) -> None:
    signatures = tf.saved_model.load(str(layout.serving_dir(lstm.uri))).signatures
    inputs, _ = sequences(3)
    many = signatures["serving_default"](sequence=inputs)["trend"]
    for row in range(3):
        one = signatures["batch_1"](sequence=inputs[row : row + 1])["trend"]
        np.testing.assert_allclose(one[0], many[row], atol=1e-6)


def test_the_stage_names_itself_and_what_it_was_made_of(lstm: Any) -> None:
    assert lstm.properties["sha256"] == model_digest(str(lstm.uri))
    assert lstm.properties["parent_sha256"] == model_digest(str(lstm.trainer))
    assert None not in lstm.properties.values()
    assert lstm.properties["sha256"] != lstm.properties["parent_sha256"]
    assert lstm.properties["size_bytes"] > (layout.serving_dir(lstm.uri) / "saved_model.pb").stat().st_size


def test_edge_json_tells_the_way_and_the_difference(lstm: Any, tmp_path: Path) -> None:
    inputs = {"model": [str(lstm.uri)]}
    outputs = {"edge_model": [str(tmp_path)]}
    lines: list[str] = []
    properties = convert_model(Request("LiteConverter", inputs, outputs, {"config": "{}"}), lines.append)
    edge = json.loads((layout.serving_dir(tmp_path) / "edge.json").read_text())
    assert [step["component"] for step in edge["steps"]] == ["Quantizer", "LiteConverter"]
    assert edge["parent_sha256"] == lstm.properties["sha256"]
    result = edge["steps"][-1]["result"]
    assert result["max_output_difference"] == properties["max_output_difference"] > 0
    assert result["max_output_steps"] == pytest.approx(256 * properties["max_output_difference"], rel=0.01)
    assert any("stay in float: " in line and "UNIDIRECTIONAL_SEQUENCE_LSTM" in line for line in lines)


def test_a_file_of_another_model_is_refused(lstm: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(lstm.uri).content)
    inputs, _ = sequences()

    def turned_round(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"trend": lstm.model.predict(batch["sequence"], verbose=0)[:, ::-1]}

    with pytest.raises(ModelError, match=r"output 'trend' .*quantization-aware model's.* steps of 0\.0039"):
        compare(path, turned_round, [{"sequence": inputs}], quantized=True)


def test_no_further_training_after_it(lstm: Any) -> None:
    with pytest.raises(ModelError, match="can only be converted: put this step before it"):
        load_trainable(lstm.uri)


def test_a_model_without_any_supported_layer_is_refused() -> None:
    sequence = tf_keras.Input((6, 4), name="sequence")
    model = tf_keras.Model(sequence, tf_keras.layers.LSTM(3, name="memory")(sequence))
    with pytest.raises(ModelError, match=r"none of the layers with weights: memory\. .*post-training"):
        quantize_aware.wrap(model, preserve_sparsity=False)
