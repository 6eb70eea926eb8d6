"""Several signatures in one file, states that last from call to call, batches, and operators that TFLite lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_edge.conversion import calls, source
from tfx_edge.conversion.convert import Conversion, convert, convert_source
from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.devices.local import infer
from tfx_edge.errors import DeviceError, ModelError
from tfx_edge.lite.inspect import inspect
from tfx_edge.models import layout, saving


def spec(*shape: int | None, name: str = "x") -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.float32, name=name)


class Autoencoder(tf.Module):
    """Both signatures use one kernel of 64 x 256 in the same way."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(0)
        self.kernel = tf.Variable(generator.normal(size=(64, 256)).astype(np.float32))
        self.head = tf.Variable(generator.normal(size=(256, 8)).astype(np.float32))

    @tf.function(input_signature=[spec(None, 64)], autograph=False)
    def encode(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"code": tf.matmul(x, self.kernel)}

    @tf.function(input_signature=[spec(None, 64)], autograph=False)
    def classify(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.matmul(tf.matmul(x, self.kernel), self.head)}


class Streaming(tf.Module):
    """A cell whose state stays in a variable."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32))
        self.state = tf.Variable(np.zeros((1, 8), np.float32), trainable=False)

    @tf.function(input_signature=[spec(1, 4)], autograph=False)
    def step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        self.state.assign(tf.tanh(tf.matmul(x, self.kernel) + 0.5 * self.state))
        return {"y": self.state + 0.0}

    @tf.function(input_signature=[], autograph=False)
    def reset(self) -> dict[str, tf.Tensor]:
        self.state.assign(tf.zeros([1, 8]))
        return {"done": tf.constant([1.0])}


def saved(folder: Path, module: tf.Module, **signatures: Any) -> Path:
    tf.saved_model.save(module, str(layout.serving_dir(folder)), signatures=signatures)
    return folder


def written(folder: Path, conversion: Conversion, name: str = "model.tflite") -> Path:
    path = folder / name
    path.write_bytes(conversion.content)
    return path


def test_signatures_share_their_weights_and_keep_their_order(tmp_path: Path) -> None:
    module = Autoencoder()
    uri = saved(tmp_path, module, encode=module.encode, classify=module.classify)
    both = convert(uri, signatures=("encode", "classify"))
    single = len(convert(uri, signatures=("classify",)).content)
    assert len(both.content) < single + 1024 < single + module.kernel.shape.num_elements() * 4
    model = inspect(written(tmp_path, both))
    names = {signature.name: signature.subgraph for signature in model.signatures}
    assert names == {"encode": 0, "classify": 1}  # the converter alone would sort them
    assert model.inputs[0].tensor_name.startswith("encode_x")
    assert list(both.agreements) == ["encode", "classify"]
    assert all(agreement.max_output_difference < 1e-4 for agreement in both.agreements.values())


def test_every_signature_can_be_called_by_name(tmp_path: Path) -> None:
    module = Autoencoder()
    uri = saved(tmp_path, module, encode=module.encode, classify=module.classify)
    path = written(tmp_path, convert(uri, signatures=("encode", "classify")))
    x = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    codes, scores = calls.run(path, [calls.Call("encode", {"x": x}), calls.Call("classify", {"x": x})])
    np.testing.assert_allclose(codes["code"], module.encode(x)["code"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores["scores"], module.classify(x)["scores"], rtol=1e-4, atol=1e-3)
    with pytest.raises(ModelError, match=r"no signature 'decode': it has encode, classify"):
        calls.run(path, [calls.Call("decode", {"x": x})])


def test_the_first_signature_is_the_one_that_is_evaluated(tmp_path: Path) -> None:
    uri = saved(tmp_path, module := Autoencoder(), encode=module.encode, classify=module.classify)
    batch = {"x": np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)}
    for first, second, output in (("encode", "classify", "code"), ("classify", "encode", "scores")):
        path = written(tmp_path, convert(uri, signatures=(first, second)))
        (found,) = infer(path, [batch])
        expected = getattr(module, first)(tf.constant(batch["x"]))[output]
        np.testing.assert_allclose(found[output], expected, rtol=1e-4, atol=1e-4)


def test_a_signature_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    module = Autoencoder()
    uri = saved(tmp_path, module, encode=module.encode)
    with pytest.raises(ModelError, match=r"has no signature 'decode': it has 'encode'"):
        convert(uri, signatures=("encode", "decode"))


def test_a_signature_that_takes_tensors_is_offered_where_one_takes_strings(tmp_path: Path) -> None:
    module = Autoencoder()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(examples)}

    uri = saved(tmp_path, module, serving_default=serve, raw=module.encode)
    with pytest.raises(ModelError, match=r"'serving_default' .* takes strings.* signatures \('raw'\)"):
        convert(uri)
    assert convert(uri, signatures=("raw",)).agreement.examples == 32


def test_a_state_in_a_variable_lasts_until_the_model_resets_it(tmp_path: Path) -> None:
    module = Streaming()
    uri = saved(tmp_path, module, serving_default=module.step, reset=module.reset)
    conversion = convert(uri, signatures=("serving_default", "reset"))
    assert {name: agreement.examples for name, agreement in conversion.agreements.items()} == {
        "serving_default": 8,
        "reset": 8,
    }
    path = written(tmp_path, conversion)
    step, reset = calls.Call("serving_default", {"x": np.ones((1, 4), np.float32)}), calls.Call("reset", {})
    first, second, _, again = calls.run(path, [step, step, reset, step])
    assert not np.allclose(first["y"], second["y"])
    np.testing.assert_array_equal(first["y"], again["y"])


def test_another_state_than_the_models_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Streaming()
    uri = saved(tmp_path, module, serving_default=module.step, again=module.step)
    monkeypatch.setattr(source.State, "reset", lambda _: None)
    with pytest.raises(ModelError, match=r"output 'y' of the \.tflite differs from the model's"):
        convert(uri, signatures=("serving_default", "again"))


def test_a_state_can_go_in_and_out_by_name(tmp_path: Path) -> None:
    cell = tf_keras.layers.GRUCell(8)
    cell.build((None, 4))

    @tf.function(input_signature=[spec(None, 4), spec(None, 8, name="state")], autograph=False)
    def step(x: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        output, (after,) = cell(x, [state])
        return {"y": output, "next_state": after}

    module = tf.Module()
    module.cell = cell.trainable_variables
    conversion = convert(saved(tmp_path, module, serving_default=step))
    assert conversion.agreement.max_output_difference < 1e-6
    path = written(tmp_path, conversion)
    frames = np.random.default_rng(0).normal(size=(5, 1, 4)).astype(np.float32)
    state = np.zeros((1, 8), np.float32)
    for frame in frames:
        (outputs,) = infer(path, [{"x": frame, "state": state}])
        state = outputs["next_state"]
    layer = tf_keras.layers.RNN(cell)
    np.testing.assert_allclose(state, layer(frames.transpose(1, 0, 2)), atol=1e-5)


def test_an_lstm_of_one_step_streams(tmp_path: Path) -> None:
    frame = tf_keras.Input((1, 4), name="frame")
    lstm = tf_keras.layers.LSTM(8, name="memory")
    model = tf_keras.Model(frame, tf_keras.layers.Dense(3, name="keyword")(lstm(frame)))
    path = written(tmp_path, convert_source(source.of_model(model)))
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in {op.name for graph in inspect(path).subgraphs for op in graph.ops}
    frames = np.random.default_rng(0).normal(size=(6, 1, 1, 4)).astype(np.float32)
    steps = [calls.Call("serving_default", {"frame": values}) for values in frames]
    whole = model.layers[-1](lstm(frames.transpose(1, 0, 2, 3)[:, :, 0])).numpy()
    np.testing.assert_allclose(calls.run(path, steps, keep_state=True)[-1]["keyword"], whole, atol=1e-5)
    alone = calls.run(path, steps)[-1]["keyword"]  # with a reset before every call
    np.testing.assert_allclose(alone, model(frames[-1]), atol=1e-5)
    assert not np.allclose(alone, whole, atol=1e-3)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_stateful_layer_keeps_its_state_in_the_file(tmp_path: Path, cell: str) -> None:
    sequence = tf_keras.Input(batch_shape=(1, 3, 4), name="sequence")
    layer = getattr(tf_keras.layers, cell)(8, stateful=True)
    model = tf_keras.Model(sequence, tf_keras.layers.Dense(2, name="y")(layer(sequence)))
    conversion = convert_source(source.of_model(model))
    assert conversion.agreement.examples == 8
    call = calls.Call("serving_default", {"sequence": np.ones((1, 3, 4), np.float32)})
    first, second = calls.run(written(tmp_path, conversion), [call, call], keep_state=True)
    model.reset_states()
    np.testing.assert_allclose(first["y"], model(call.inputs["sequence"]), atol=1e-5)
    np.testing.assert_allclose(second["y"], model(call.inputs["sequence"]), atol=1e-5)
    assert not np.allclose(second["y"], first["y"], atol=1e-3)
    loaded = LoadedModel(str(tmp_path / "model.tflite"), 1)
    for _ in range(2):
        np.testing.assert_allclose(loaded.run(call.inputs)["y"], first["y"], atol=1e-5)


def test_an_open_batch_is_resized_and_costs_operators(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(3, name="scores")(x))
    uri = tmp_path / "artifact"
    saving.save_trainable(model, type("Args", (), {"serving_model_dir": str(layout.serving_dir(uri))}))
    fixed, any_batch = (convert(uri, batch_size=size) for size in (1, None))
    assert fixed.dynamic_batch_operators == ()
    assert set(any_batch.dynamic_batch_operators) <= {"SHAPE", "STRIDED_SLICE", "PACK"}
    path = written(tmp_path, any_batch)
    for examples in (1, 5):
        images = np.random.default_rng(examples).normal(size=(examples, 8, 8, 1)).astype(np.float32)
        (outputs,) = calls.run(path, [calls.Call("serving_default", {"image": images})])
        np.testing.assert_allclose(outputs["scores"], model(images), atol=1e-5)


def test_a_recurrent_layer_with_an_open_batch_is_refused_with_the_way_out() -> None:
    sequence = tf_keras.Input((6, 4), name="sequence")
    model = tf_keras.Model(sequence, tf_keras.layers.LSTM(8)(sequence))
    with pytest.raises(ModelError, match=r"lists in which a recurrent layer.*Set batch_size to 1"):
        convert_source(source.of_model(model), batch_size=None)


def test_many_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    left, right = tf_keras.Input((4,), name="left"), tf_keras.Input((3,), name="right")
    joined = tf_keras.layers.Concatenate()([left, right])
    outputs = {name: tf_keras.layers.Dense(units, name=name)(joined) for name, units in (("b", 2), ("a", 3))}
    model = tf_keras.Model({"right": right, "left": left}, outputs)
    conversion = convert_source(source.of_model(model))
    signature = inspect(written(tmp_path, conversion)).signatures[0]
    assert {tensor.name: tensor.shape for tensor in signature.inputs} == {"left": (1, 4), "right": (1, 3)}
    assert {tensor.name: tensor.shape for tensor in signature.outputs} == {"a": (1, 3), "b": (1, 2)}
    assert conversion.agreement.examples == 32


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        return {"scores": self.dense(inputs), "sum": keras.ops.sum(inputs, axis=1, keepdims=True)}


@pytest.mark.parametrize("export", [True, False])
def test_a_subclassed_model_converts_from_its_export(tmp_path: Path, export: bool) -> None:
    model = Subclassed()
    model(np.ones((1, 4), np.float32))
    directory = str(layout.serving_dir(tmp_path))
    if export:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", model.call, input_signature=[spec(None, 4)])
        archive.write_out(directory)
    else:
        serve = tf.function(lambda x: model(x), input_signature=[spec(None, 4)], autograph=False)
        module = tf.Module()
        module.weights = [weight.value for weight in model.weights]
        tf.saved_model.save(module, directory, signatures={"serving_default": serve})
    conversion = convert(tmp_path)
    (outputs,) = infer(written(tmp_path, conversion), [{"x": np.ones((2, 4), np.float32)}])
    np.testing.assert_allclose(outputs["scores"], model(np.ones((2, 4), np.float32))["scores"], atol=1e-5)
    np.testing.assert_allclose(outputs["sum"], [[4.0], [4.0]])


def _function_source(function: Callable[..., Any], *specs: tf.TensorSpec) -> source.Source:
    named = {item.name: item for item in specs}
    return source.Source((source.EntryPoint("serving_default", function, named),), [])


def test_custom_operators_are_accepted_by_name_only() -> None:
    model = _function_source(lambda x: {"y": tf.raw_ops.Betainc(a=x, b=x, x=x)}, spec(None, 2))
    with pytest.raises(ModelError, match=r"operators for Betainc.*name them in allow_custom_ops"):
        convert_source(model)
    with pytest.raises(ModelError, match=r"custom operators Betainc, but allow_custom_ops names Other"):
        convert_source(model, operators=source_operators("Other"))
    conversion = convert_source(model, operators=source_operators("Betainc"))
    assert "lacks kernels for Betainc" in str(conversion.agreement)


def source_operators(*custom: str) -> Any:
    from tfx_edge.conversion.tf_converter import Operators

    return Operators(custom=custom)


def test_a_crash_of_the_interpreter_is_a_device_error(tmp_path: Path) -> None:
    import lite_models

    path = tmp_path / "model.tflite"
    path.write_bytes(lite_models.crashing())
    with pytest.raises(DeviceError, match="crashed"):
        calls.run(path, [calls.Call("serving_default", {"x": np.ones((1, 4), np.float32)})])
