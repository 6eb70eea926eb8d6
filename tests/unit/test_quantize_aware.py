"""Quantization-aware training through to a .tflite: which layers compute in integers, and what the file answers."""

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

from tfx_edge.bridge import bridge
from tfx_edge.conversion.agreement import compare
from tfx_edge.conversion.convert import Conversion, convert
from tfx_edge.conversion.judgement import STEPS_TOLERANCE
from tfx_edge.devices.local import infer
from tfx_edge.errors import ModelError
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.lite_converter.work import convert_model
from tfx_edge.models import layout, saving
from tfx_edge.models.trainable import load_trainable
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantize_aware import proof, quantize_aware, scheme
from tfx_edge.quantizer.spec import QuantizerConfig
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest
from tfx_edge.stages.training import finish_quantization_aware
from tfx_edge.training import training
from tfx_edge.training.data import TrainingData
from tfx_edge.training.types import FitConfig

CLASSES = 3
QAT = Recipe(preset="qat_int8")
KL = tf_keras.layers


def sequences(examples: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of 6 steps of 4 noisy values that rise, fall or stay, and which of these they do."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, examples)
    trend = (labels - 1)[:, None, None] * np.linspace(-1, 1, 6)[None, :, None]
    return (trend + generator.normal(0, 0.2, (examples, 6, 4))).astype(np.float32), labels


def recurrent(cell: type[KL.Layer]) -> tf_keras.Model:
    sequence = tf_keras.Input((6, 4), name="sequence")
    x = cell(12, name="memory")(KL.Dense(8, activation="relu", name="before")(sequence))
    return tf_keras.Model(sequence, KL.Dense(CLASSES, activation="softmax", name="trend")(x))


def stage(model_uri: Path, output_uri: Path) -> StageContext:
    inputs = {"model": [str(model_uri)]}
    outputs = {"edge_model": [str(output_uri)]}
    return StageContext(Request("Quantizer", inputs, outputs, {}))


def quantization_aware(cell: type[KL.Layer], folder: Path) -> types.SimpleNamespace:
    """A float stage ``trainer`` and what qat_int8 makes of it: ``uri``, the model, and the output's properties."""
    tf_keras.utils.set_random_seed(0)
    trainer, uri = folder / "trainer", folder / "qat"
    saving.save_stage(recurrent(cell), trainer, [])
    float_model = load_trainable(trainer)
    model, layers = quantize_aware.wrap(float_model, QAT)
    inputs, labels = sequences()
    batches = tf.data.Dataset.from_tensor_slices(({"sequence": inputs}, labels)).batch(32)
    training.compile_for_labels(model, batches.element_spec[1], 0.01, float_model)
    training.fit(model, TrainingData(batches, None, 8, 32, 0), FitConfig(epochs=8), lambda line: None)
    config = QuantizerConfig(recipe=QAT)
    properties = finish_quantization_aware(
        stage(trainer, uri), model, float_model.output_names, config, {"layers": layers}
    )
    return types.SimpleNamespace(trainer=trainer, uri=uri, model=model, layers=layers, properties=properties)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> types.SimpleNamespace:
    return quantization_aware(KL.LSTM, tmp_path_factory.mktemp("lstm"))


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> types.SimpleNamespace:
    return quantization_aware(KL.GRU, tmp_path_factory.mktemp("gru"))


def converted(uri: Path, preset: str = "int8_float_io") -> Conversion:
    return convert(uri, recipe=Recipe(preset=preset))


def outcomes(layers: list[dict[str, str]]) -> dict[str, str]:
    return {row["layer"]: row["outcome"] for row in layers}


class Tried(types.SimpleNamespace):
    """A model that saw some batches quantization-aware, and the .tflite that it became."""

    float_model: tf_keras.Model
    model: tf_keras.Model
    layers: list[dict[str, str]]
    conversion: Conversion
    lite: LiteModel


@pytest.fixture
def tried(tmp_path: Path) -> Callable[..., Tried]:
    def run(model: tf_keras.Model, recipe: Recipe = QAT, batches: int = 12, **options: Any) -> Tried:
        generator = np.random.default_rng(0)
        wrapped, layers = quantize_aware.wrap(model, recipe, **options)
        for _ in range(batches):
            wrapped([examples(generator, tensor) for tensor in model.inputs], training=True)
        saving.save_quantization_aware(wrapped, tmp_path, [], model.output_names)
        conversion = converted(tmp_path, "int8" if recipe.io == "int8" else "int8_float_io")
        (tmp_path / "model.tflite").write_bytes(conversion.content)
        lite = inspect(tmp_path / "model.tflite")
        return Tried(float_model=model, model=wrapped, layers=layers, conversion=conversion, lite=lite)

    return run


def examples(generator: np.random.Generator, tensor: Any, number: int = 64) -> np.ndarray:
    shape = (number, *tensor.shape[1:])
    values = generator.normal(size=shape) if tensor.dtype.is_floating else generator.integers(0, 50, shape)
    return values.astype(tensor.dtype.as_numpy_dtype)


def used(model: tf_keras.Model) -> tf_keras.Model:
    """The model with normalizations that do something, as after training."""
    generator = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, KL.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def image_model() -> tf_keras.Model:
    """Layers for images that tensorflow-model-optimization by itself refuses, or leaves in float in the file."""
    image = tf_keras.Input((8, 8, 3), name="image")
    stem = tf_keras.Sequential(
        [KL.Input((8, 8, 3)), KL.Conv2D(4, 3, padding="same", use_bias=False, name="conv"), KL.BatchNormalization()],
        name="stem",
    )
    x = KL.ReLU(6.0)(stem(KL.Rescaling(0.5, -0.1)(image), training=False))
    x = KL.Conv2D(6, 3, activation="swish", name="conv")(x)  # a name that is also inside the stem
    gate = KL.Dense(6, activation="sigmoid")(KL.GlobalAveragePooling2D(keepdims=True)(x))
    x = KL.BatchNormalization(name="alone")(KL.Multiply()([x, gate]))
    x = KL.BatchNormalization()(KL.SeparableConv2D(6, 3, padding="same")(x))
    x = KL.BatchNormalization(name="merged")(KL.Conv2DTranspose(4, 2, strides=2, use_bias=False, name="up")(x))
    return used(tf_keras.Model(image, KL.Dense(CLASSES, name="scores")(KL.Flatten()(KL.ReLU()(x)))))


def signal_model() -> tf_keras.Model:
    signal = tf_keras.Input((24, 3), name="signal")
    x = KL.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu", name="past")(signal)
    x = KL.MaxPooling1D()(x)
    x = KL.BatchNormalization(name="merged")(KL.Conv1D(8, 3, strides=2, use_bias=False, name="step")(x))
    x = KL.BatchNormalization()(KL.SeparableConv1D(8, 2, name="apart")(KL.ReLU()(x)))
    x = KL.BatchNormalization(name="alone")(KL.TimeDistributed(KL.Dense(5, activation="tanh"), name="each")(x))
    return used(tf_keras.Model(signal, KL.Dense(CLASSES, name="scores")(KL.Flatten()(x))))


def word_model() -> tf_keras.Model:
    """Two texts that share a layer."""
    first, second = (tf_keras.Input((5,), dtype="int32", name=name) for name in ("first", "second"))
    shared = KL.Dense(6, activation="relu", name="shared")
    one, two = (shared(KL.GlobalAveragePooling1D()(KL.Embedding(50, 6)(words))) for words in (first, second))
    x = KL.Concatenate()([KL.Subtract()([one, two]), KL.Maximum()([one, two])])
    x = KL.BatchNormalization(name="merged")(KL.Dense(6, name="dense")(x))
    return used(tf_keras.Model([first, second], KL.Dense(CLASSES, name="scores")(KL.ReLU()(x))))


@pytest.mark.parametrize("build", [image_model, signal_model, word_model])
def test_everything_computes_in_integers(tried: Callable[..., Tried], build: Callable[[], tf_keras.Model]) -> None:
    result = tried(build())
    assert set(outcomes(result.layers).values()) == {"int8"}
    assert not result.lite.float_ops
    assert not result.lite.hybrid_ops
    assert {tensor.dtype for tensor in (*result.lite.inputs, *result.lite.outputs)} <= {"int8", "int32"}
    assert all(weight.dtype == "int8" for weight in result.lite.weights)
    assert result.conversion.agreement.max_output_steps <= STEPS_TOLERANCE / 4  # training differs from run to run


@pytest.mark.parametrize("build", [image_model, signal_model, word_model])
def test_rounding_is_all_that_changes(build: Callable[[], tf_keras.Model]) -> None:
    model = build()
    for layer in model._flatten_layers():
        layer.trainable = False  # batch normalizations keep their statistics
    generator = np.random.default_rng(0)
    wrapped, _ = quantize_aware.wrap(model, QAT)
    inputs = [examples(generator, tensor, 256) for tensor in model.inputs]
    for _ in range(5):
        wrapped(inputs, training=True)
    wanted, found = model(inputs).numpy(), wrapped(inputs).numpy()
    assert np.max(np.abs(found - wanted)) < 0.1 * np.ptp(wanted)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.995


def test_ranges_follow_the_data_from_the_first_batch_on() -> None:
    inputs = tf_keras.Input((4,), name="x")
    model = tf_keras.Model(inputs, KL.Dense(3, activation="gelu", name="small")(inputs))
    wrapped, _ = quantize_aware.wrap(model, QAT)
    data = np.random.default_rng(0).normal(0, 0.05, (256, 4)).astype(np.float32)
    for _ in range(3):
        wrapped(data, training=True)
    ranges = {weight.name: float(weight) for weight in wrapped.weights if "activation_m" in weight.name}
    (least,) = [value for name, value in ranges.items() if "pre_activation_min" in name]
    (greatest,) = [value for name, value in ranges.items() if "post_activation_max" in name]
    raw = data @ model.get_layer("small").get_weights()[0]
    np.testing.assert_allclose(least, raw.min(), rtol=0.02)
    np.testing.assert_allclose(greatest, tf.nn.gelu(raw).numpy().max(), rtol=0.02)


def test_the_original_model_is_left_alone() -> None:
    model = image_model()
    inputs = [examples(np.random.default_rng(0), tensor) for tensor in model.inputs]
    before = model(inputs).numpy()
    quantize_aware.wrap(model, QAT)[0](inputs, training=True)
    np.testing.assert_array_equal(model(inputs).numpy(), before)


def small_model() -> tf_keras.Model:
    image = tf_keras.Input((8, 8, 3), name="image")
    x = KL.Conv2D(4, 3, activation="relu", name="conv_1")(image)
    x = KL.ReLU()(KL.BatchNormalization(name="norm")(KL.Conv2D(4, 3, name="conv_2")(x)))
    x = KL.Dense(8, activation="elu", name="hidden")(KL.Flatten()(x))
    return used(tf_keras.Model(image, KL.Dense(CLASSES, name="scores")(x)))


def test_an_override_keeps_a_layer_in_float_and_the_next_in_integers(tried: Callable[..., Tried]) -> None:
    overrides = [{"layers": "^conv_2$", "precision": "float32"}, {"layers": "scores", "precision": "float32"}]
    result = tried(small_model(), Recipe.parse({"preset": "qat_int8", "overrides": overrides, "io_dtype": "float32"}))
    why = {row["layer"]: row["why"] for row in result.layers if row["outcome"] == "float32"}
    assert why.keys() == {"conv_2", "norm", "scores"}
    assert "recipe" in why["conv_2"]
    assert "conv_2" in why["norm"]
    floats = {(weight.shape[-1], len(weight.shape)) for weight in result.lite.float_weights}
    assert floats == {(4, 4), (8, 2)}  # conv_2 and scores
    assert {weight.shape for weight in result.lite.quantized_weights} == {(4, 3, 3, 3), (8, 64)}
    assert "ELU" in {op.name for op in result.lite.float_ops}
    assert result.conversion.agreement.max_output_difference < 1e-3


def test_an_override_that_names_nothing_is_refused() -> None:
    recipe = Recipe.parse({"preset": "qat_int8", "overrides": [{"layers": "cnov", "precision": "float32"}]})
    with pytest.raises(ModelError, match=r"'cnov' names no layer; the layers are conv_1, .*scores"):
        quantize_aware.wrap(small_model(), recipe)


class Twice(KL.Layer):
    """A layer that tensorflow-model-optimization has never heard of."""

    def call(self, inputs: Any) -> Any:
        return inputs + inputs


def test_a_layer_of_the_users_own_stays_and_is_named(tried: Callable[..., Tried]) -> None:
    inputs = tf_keras.Input((4,), name="x")
    x = KL.LayerNormalization(name="norm")(Twice(name="own")(KL.Dense(8, name="first")(inputs)))
    result = tried(tf_keras.Model(inputs, KL.Dense(3, name="last")(x)))
    assert outcomes(result.layers) == {"first": "int8", "own": "float32", "norm": "float32", "last": "int8"}
    assert all("no quantization-aware form of" in row["why"] for row in result.layers if row["outcome"] == "float32")
    assert [weight.shape for weight in result.lite.quantized_weights] == [(8, 4), (3, 8)]


def test_masked_sequences_stay_in_float_up_to_the_layer_that_uses_the_mask() -> None:
    words = tf_keras.Input((5,), dtype="int32", name="words")
    memory = KL.GRU(4, name="memory")(KL.Embedding(50, 6, mask_zero=True, name="embedding")(words))
    _, layers = quantize_aware.wrap(tf_keras.Model(words, KL.Dense(3, name="scores")(memory)), QAT)
    assert outcomes(layers) == {"embedding": "float32", "memory": "float32", "scores": "int8"}


def test_a_keras_3_model_with_several_outputs_keeps_their_names() -> None:
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu6")(image))
    outputs = {"kind": keras.layers.Dense(3, name="kind")(x), "size": keras.layers.Dense(1, name="size")(x)}
    model = bridge.to_tf_keras(keras.Model(image, outputs))
    wrapped, layers = quantize_aware.wrap(model, QAT)
    assert wrapped.output_names == model.output_names
    assert set(wrapped(np.zeros((2, 8, 8, 1), np.float32))) == {"kind", "size"}
    assert set(outcomes(layers).values()) == {"int8"}


def sparse_and_shared(weight: np.ndarray, zeros: float, values: int) -> np.ndarray:
    """The weight with its smallest entries at zero and the others moved to a few values."""
    if values:
        centres = np.quantile(weight, np.linspace(0.02, 0.98, values))
        weight = centres[np.argmin(np.abs(weight[..., None] - centres), axis=-1)]
    return np.where(np.abs(weight) <= np.quantile(np.abs(weight), zeros), 0.0, weight) if zeros else weight


def test_each_layer_keeps_zeros_of_its_own() -> None:
    image = tf_keras.Input((8, 8, 2), name="image")
    x = KL.Conv2D(8, 3, name="first")(image)
    model = tf_keras.Model(image, KL.Dense(CLASSES)(KL.Flatten()(KL.Conv2D(16, 3, name="second")(x))))
    for name in ("first", "second"):
        kernel, *rest = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([sparse_and_shared(kernel, 0.6, 0), *rest])
    wrapped, _ = quantize_aware.wrap(model, QAT)
    masks = [wrapped.get_layer(name).quantize_config.weight_quantizer.mask for name in ("first", "second")]
    kernels = [model.get_layer(name).kernel.numpy() for name in ("first", "second")]
    assert all(np.array_equal(mask, kernel != 0) for mask, kernel in zip(masks, kernels, strict=True))


def fitted(model: tf_keras.Model, *preserve: Any, epochs: int = 3) -> tf_keras.Model:
    """The model trained quantization-aware on noise, with proof of what is preserved."""
    wrapped, _ = quantize_aware.wrap(model, QAT, *preserve)
    promised = proof.promises(wrapped, *(preserve or [quantize_aware.PRESERVED]))
    inputs, labels = noise(model)
    batches = tf.data.Dataset.from_tensor_slices((dict(zip(model.input_names, inputs, strict=True)), labels)).batch(32)
    training.compile_for_labels(wrapped, batches.element_spec[1], 0.01, model)
    training.fit(wrapped, TrainingData(batches, None, 4, 32, 0), FitConfig(epochs=epochs), lambda line: None)
    scheme.settle_shared_values(wrapped)
    proof.require_kept(wrapped, promised)
    return wrapped


def noise(model: tf_keras.Model) -> tuple[list[np.ndarray], np.ndarray]:
    generator = np.random.default_rng(0)
    return [examples(generator, tensor, 128) for tensor in model.inputs], generator.integers(0, CLASSES, 128)


def int8_kernels(
    wrapped: tf_keras.Model, folder: Path, shapes: set[tuple[int, ...]]
) -> dict[tuple[int, ...], np.ndarray]:
    """The weights of these shapes in the .tflite that a trained model becomes."""
    saving.save_quantization_aware(wrapped, folder, [], wrapped.output_names)
    interpreter = tf.lite.Interpreter(model_content=converted(folder).content)
    interpreter.allocate_tensors()
    kernels = {
        tuple(detail["shape"]): interpreter.get_tensor(detail["index"])
        for detail in interpreter.get_tensor_details()
        if detail["dtype"] == np.int8 and tuple(detail["shape"]) in shapes
    }
    assert kernels.keys() == shapes
    return kernels


def prune(model: tf_keras.Model, zeros: float = 0.8) -> tf_keras.Model:
    """The model with its smallest weights at zero, layer by layer."""
    for layer in model.layers:
        layer.set_weights([sparse_and_shared(w, zeros, 0) if w.ndim > 1 else w for w in layer.get_weights()])
    return model


RELUS = {"layer": KL.ReLU, "layer_6": lambda: KL.ReLU(max_value=6), "activation": lambda: KL.Activation("relu")}


def model_of_separate(relu: Callable[[], KL.Layer]) -> tf_keras.Model:
    """Every kind of layer that a ReLU of its own fuses into."""
    image = tf_keras.Input((6, 6, 3), name="image")
    x = relu()(KL.DepthwiseConv2D(3, depth_multiplier=8, name="depthwise")(image))
    x = relu()(KL.Conv2D(8, 3, name="conv")(x))
    x = relu()(KL.Dense(16, name="dense")(KL.Flatten()(x)))
    x = relu()(KL.BatchNormalization()(KL.Dense(20, name="merged")(x)))
    return used(tf_keras.Model(image, KL.Dense(CLASSES, name="scores")(x)))


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_zeros_before_a_relu_of_its_own_reach_the_file(tmp_path: Path, relu: Callable[[], KL.Layer]) -> None:
    wrapped = fitted(prune(model_of_separate(relu)))
    kernels = int8_kernels(wrapped, tmp_path, {(1, 3, 3, 24), (8, 3, 3, 24), (16, 32), (20, 16)})
    assert min(float(np.mean(kernel == 0)) for kernel in kernels.values()) >= 0.79


def test_zeros_before_a_concatenation_reach_the_file(tmp_path: Path) -> None:
    inputs = tf_keras.Input((12,), name="x")
    x = KL.Concatenate()([KL.Dense(16, name="left")(inputs), KL.Dense(20, name="right")(inputs)])
    wrapped = fitted(prune(tf_keras.Model(inputs, KL.Dense(CLASSES, name="scores")(x))))
    kernels = int8_kernels(wrapped, tmp_path, {(16, 12), (20, 12)})
    assert min(float(np.mean(kernel == 0)) for kernel in kernels.values()) >= 0.79


def test_shared_values_before_a_relu_of_its_own_reach_the_file(tmp_path: Path) -> None:
    inputs = tf_keras.Input((12,), name="x")
    model = tf_keras.Model(inputs, KL.Dense(CLASSES)(KL.ReLU()(KL.Dense(16, name="hidden")(inputs))))
    kernel, bias = model.get_layer("hidden").get_weights()
    model.get_layer("hidden").set_weights([sparse_and_shared(kernel, 0.0, 8), bias])
    kernels = int8_kernels(fitted(model), tmp_path, {(16, 12)})
    assert len(np.unique(kernels[16, 12])) <= 8


def test_a_relu_computes_in_integers_where_the_row_says_so(tried: Callable[..., Tried]) -> None:
    inputs = tf_keras.Input((8,), name="x")
    x = KL.ReLU(negative_slope=0.1, name="sloping")(KL.Dense(8, name="first")(inputs))
    x = KL.ReLU(name="after_tanh")(KL.Dense(8, activation="tanh", name="second")(x))
    x = KL.ReLU(max_value=3.0, name="capped")(KL.Dense(8, name="third")(x))
    result = tried(tf_keras.Model(inputs, KL.Dense(CLASSES, name="scores")(x)))
    assert [name for name, outcome in outcomes(result.layers).items() if outcome == "float32"] == ["capped"]
    assert {op.name for op in result.lite.float_ops} == {"RELU", "MINIMUM"}


def test_a_layer_whose_weights_would_not_be_rounded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheme, "_leave_to_registry", lambda *args: None)
    with pytest.raises(
        ModelError, match=r"rounding of the weights of depthwise, conv, dense, merged, which .*override"
    ):
        quantize_aware.wrap(model_of_separate(KL.ReLU), QAT)


@pytest.mark.parametrize(("zeros", "values", "lost"), [(0.6, 0, r"59\.9% were"), (0.0, 8, r"values, not 8")])
def test_a_training_that_loses_what_it_had_to_preserve_is_refused(zeros: float, values: int, lost: str) -> None:
    inputs = tf_keras.Input((12,), name="x")
    model = tf_keras.Model(inputs, KL.Dense(CLASSES)(KL.Dense(16, activation="relu", name="hidden")(inputs)))
    kernel, bias = model.get_layer("hidden").get_weights()
    model.get_layer("hidden").set_weights([sparse_and_shared(kernel, zeros, values), bias])
    promised = proof.promises(quantize_aware.wrap(model, QAT)[0], quantize_aware.PRESERVED)
    assert [promise.layer for promise in promised] == ["hidden"]
    with pytest.raises(ModelError, match=rf"training lost what 'preserve' keeps: .*'hidden'.*{lost}"):
        proof.require_kept(fitted(model, (), epochs=1), promised)


@pytest.mark.parametrize(("zeros", "values"), [(0.6, 0), (0.0, 8), (0.6, 8)], ids=["sparsity", "clusters", "both"])
@pytest.mark.parametrize("preserve", [True, False])
def test_what_pruning_and_clustering_left_reaches_the_file(
    tmp_path: Path, zeros: float, values: int, preserve: bool
) -> None:
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((8, 8, 2), name="image")
    x = KL.BatchNormalization()(KL.Conv2D(16, 3, use_bias=False, name="conv")(image))
    x = KL.Dense(16, activation="relu", name="hidden")(KL.Flatten()(KL.ReLU()(x)))
    model = tf_keras.Model(image, KL.Dense(CLASSES, name="scores")(x))
    for name in ("conv", "hidden"):
        kernel, *rest = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([sparse_and_shared(kernel, zeros, values), *rest])
    wrapped = fitted(model, *([] if preserve else [()]))
    stored = int8_kernels(wrapped, tmp_path, {(16, 3, 3, 2), (16, 576)})
    share = min(float(np.mean(weight == 0)) for weight in stored.values())
    different = max(len(np.unique(channel)) for channel in stored[16, 3, 3, 2])
    different = max(different, len(np.unique(stored[16, 576])))
    assert (share >= zeros) is (preserve or not zeros)
    if values:
        assert (different <= values + 1) is preserve


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("preset", ["int8_float_io", "int8"])
def test_a_recurrent_model_converts_and_answers_as_the_model_does(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, preset: str
) -> None:
    trained = request.getfixturevalue(name)
    conversion = converted(trained.uri, preset)
    path = tmp_path / "model.tflite"
    path.write_bytes(conversion.content)
    inputs, labels = sequences()
    (outputs,) = infer(path, [{"sequence": inputs}])
    expected = trained.model.predict(inputs, verbose=0)
    np.testing.assert_allclose(outputs["trend"], expected, atol=4 / 256)  # a softmax has steps of 1/256
    assert np.mean(np.argmax(outputs["trend"], axis=1) == labels) > 0.9
    assert conversion.agreement.max_output_steps <= 4


def test_the_lstm_stays_in_float_and_the_layers_around_it_do_not(lstm: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(lstm.uri).content)
    model = inspect(path)
    assert outcomes(lstm.layers) == {"before": "int8", "memory": "float32", "trend": "int8"}
    floats = {op.name for op in model.float_ops}
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in floats
    assert not floats & {"FULLY_CONNECTED", "SOFTMAX"}
    assert [weight.shape for weight in model.quantized_weights] == [(8, 4), (CLASSES, 12)]
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
        compare(path, turned_round, [{"sequence": inputs}], kind="quantization_aware")


def test_no_further_training_after_it(lstm: Any) -> None:
    with pytest.raises(ModelError, match="can only be converted: put this step before it"):
        load_trainable(lstm.uri)


def test_a_model_without_any_supported_layer_is_refused() -> None:
    sequence = tf_keras.Input((6, 4), name="sequence")
    model = tf_keras.Model(sequence, KL.LSTM(3, name="memory")(sequence))
    with pytest.raises(ModelError, match=r"none of the layers with weights: memory .*post-training"):
        quantize_aware.wrap(model, QAT)
