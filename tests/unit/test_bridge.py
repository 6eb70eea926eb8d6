"""Keras 3 models carried over to tf_keras give the same outputs, under the same names, or are refused by name."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from tfx_edge.bridge import bridge
from tfx_edge.errors import DataError, ModelError

RNG = np.random.default_rng(7)


def randomize(model):
    """Gives every weight a value that shows when it is lost or put elsewhere."""
    for weight in model.weights:
        if weight.dtype.startswith("int"):
            continue
        fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 4
        value = RNG.normal(0, 1 / np.sqrt(fan_in), weight.shape)
        if "variance" in weight.path:
            value = np.abs(value) + 0.5
        weight.assign(value.astype("float32"))
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return model


def random_batch(model, size=3):
    def values(tensor):
        shape = [size, *(5 if n is None else n for n in tensor.shape[1:])]
        if tensor.dtype.startswith(("int", "uint")):
            return RNG.integers(0, 5, shape).astype(tensor.dtype)
        return RNG.normal(0, 2, shape).astype(tensor.dtype)

    return keras.tree.map_structure(values, model.input if not isinstance(model, keras.Sequential) else model.inputs[0])


def assert_carried_over(model):
    randomize(model)
    rebuilt = bridge.to_tf_keras(model)
    assert type(rebuilt).__module__.startswith("tf_keras.")
    assert [layer.name for layer in rebuilt.layers if layer.weights] == [
        layer.name for layer in model.layers if layer.weights and not isinstance(layer, layers.Normalization)
    ]
    if not isinstance(model, keras.Sequential):
        assert rebuilt.output_names == model.output_names
    assert rebuilt.input_names == [tensor.name for tensor in model.inputs]
    bridge.verify_equivalent(model, rebuilt, [random_batch(model), random_batch(model, 1)])
    return rebuilt


def chain(shape, *stack, dtype="float32"):
    """Builders of layers by name, so that no layer is made while tests are collected."""
    return lambda: keras.Sequential(
        [keras.Input(shape, name="x", dtype=dtype), *(make() for make in stack)], name="chain"
    )


D, A = layers.Dense, layers.Activation
IMAGE, SERIES, VOLUME = (8, 8, 3), (6, 4), (5, 5, 5, 2)

CHAINS = {
    "dense": chain(
        (5,), lambda: D(4, "relu"), lambda: layers.Dropout(0.5, seed=1), lambda: D(3, "softmax", use_bias=False)
    ),
    "conv1d": chain(SERIES, lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu")),
    "conv2d": chain(
        IMAGE, lambda: layers.Conv2D(4, 3, 2, "same", activation="relu6"), lambda: layers.Conv2D(4, 2, groups=2)
    ),
    "conv3d": chain(VOLUME, lambda: layers.Conv3D(3, 2, activation="tanh")),
    "depthwise": chain(
        IMAGE, lambda: layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), lambda: layers.ReLU(6.0)
    ),
    "depthwise1d": chain(SERIES, lambda: layers.DepthwiseConv1D(3, depth_multiplier=2)),
    "separable": chain(IMAGE, lambda: layers.SeparableConv2D(4, 3, activation="relu")),
    "separable1d": chain(SERIES, lambda: layers.SeparableConv1D(4, 3)),
    "transpose_same": chain(IMAGE, lambda: layers.Conv2DTranspose(4, 3, 2, "same")),
    "transpose_valid": chain(IMAGE, lambda: layers.Conv2DTranspose(4, 2, 3, "valid", output_padding=1)),
    "transpose1d": chain(SERIES, lambda: layers.Conv1DTranspose(4, 3, 2, "same")),
    "transpose3d": chain(VOLUME, lambda: layers.Conv3DTranspose(2, 3, 2, "same")),
    "batchnorm": chain(
        IMAGE, lambda: layers.BatchNormalization(epsilon=1e-2), lambda: layers.BatchNormalization(scale=False)
    ),
    "layernorm": chain(
        IMAGE, lambda: layers.LayerNormalization(), lambda: layers.LayerNormalization(axis=[1, 2], epsilon=1e-6)
    ),
    "groupnorm": chain((4, 4, 4), lambda: layers.GroupNormalization(2), lambda: layers.UnitNormalization()),
    "normalization": chain(SERIES, lambda: layers.Normalization(), lambda: layers.Normalization(axis=1)),
    "normalization_constants": chain(
        (2,),
        lambda: layers.Normalization(mean=[1.0, 2.0], variance=[2.0, 3.0]),
        lambda: layers.Normalization(mean=0.5, variance=4.0, invert=True),
    ),
    "pool1d": chain(
        (9, 2),
        lambda: layers.MaxPooling1D(2),
        lambda: layers.AveragePooling1D(2, 1, "same"),
        lambda: layers.GlobalMaxPooling1D(),
    ),
    "pool2d": chain(
        IMAGE,
        lambda: layers.MaxPooling2D(3, 2, "same"),
        lambda: layers.AveragePooling2D(2),
        lambda: layers.GlobalAveragePooling2D(keepdims=True),
    ),
    "pool3d": chain(
        VOLUME, lambda: layers.MaxPooling3D(2), lambda: layers.AveragePooling3D(2), lambda: layers.GlobalMaxPooling3D()
    ),
    "globals": chain(IMAGE, lambda: layers.GlobalMaxPooling2D()),
    "shapes": chain(
        IMAGE,
        lambda: layers.Permute((3, 1, 2)),
        lambda: layers.Reshape((-1, 16)),
        lambda: layers.Flatten(),
        lambda: layers.RepeatVector(2),
    ),
    "padding": chain(
        IMAGE,
        lambda: layers.ZeroPadding2D(((1, 2), (0, 1))),
        lambda: layers.Cropping2D(1),
        lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    ),
    "padding1d": chain(
        SERIES, lambda: layers.ZeroPadding1D((1, 2)), lambda: layers.Cropping1D((0, 1)), lambda: layers.UpSampling1D(2)
    ),
    "padding3d": chain(
        VOLUME,
        lambda: layers.ZeroPadding3D(1),
        lambda: layers.Cropping3D(((0, 1), (1, 0), (1, 1))),
        lambda: layers.UpSampling3D(2),
    ),
    "dropouts": chain(
        IMAGE,
        lambda: layers.SpatialDropout2D(0.3),
        lambda: layers.GaussianNoise(1.0),
        lambda: layers.GaussianDropout(0.3),
        lambda: layers.AlphaDropout(0.3),
        lambda: layers.ActivityRegularization(0.1),
    ),
    "activation_layers": chain(
        IMAGE,
        lambda: layers.LeakyReLU(0.1),
        lambda: layers.PReLU(shared_axes=[1, 2]),
        lambda: layers.ELU(0.7),
        lambda: layers.ReLU(4.0, negative_slope=0.1, threshold=0.2),
        lambda: layers.Softmax(axis=1),
    ),
    "layer_as_activation": chain((5,), lambda: D(4, activation=layers.LeakyReLU(0.3))),
    "images": chain(
        IMAGE,
        lambda: layers.Rescaling([0.5, 1.0, 2.0], -1.0),
        lambda: layers.Resizing(5, 7),
        lambda: layers.CenterCrop(4, 4),
        lambda: layers.RandomFlip(),
        lambda: layers.RandomRotation(0.2),
        lambda: layers.RandomZoom(0.2),
        lambda: layers.RandomContrast(0.2),
    ),
    "bytes": chain(IMAGE, lambda: layers.Rescaling(1 / 255), lambda: layers.Conv2D(2, 3), dtype="uint8"),
    "regularized": chain(
        (5,),
        lambda: D(
            4,
            kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2),
            kernel_constraint=keras.constraints.MaxNorm(3),
            bias_initializer=keras.initializers.Constant(0.2),
            activity_regularizer="l2",
        ),
        lambda: D(2, kernel_initializer="variance_scaling"),
    ),
    "half": chain((5,), lambda: D(4, "relu", dtype="mixed_bfloat16"), lambda: D(2, dtype="float32")),
    "lstm": chain(
        SERIES,
        lambda: layers.LSTM(3, return_sequences=True, dropout=0.1),
        lambda: layers.LSTM(2, go_backwards=True, recurrent_activation="hard_sigmoid"),
    ),
    "gru": chain(SERIES, lambda: layers.GRU(3, return_sequences=True), lambda: layers.GRU(2, reset_after=False)),
    "simple_rnn": chain(SERIES, lambda: layers.SimpleRNN(3, unroll=True)),
    "rnn_cells": chain(
        SERIES,
        lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
        lambda: layers.RNN(layers.SimpleRNNCell(2)),
    ),
    "bidirectional": chain(
        SERIES,
        lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum"),
        lambda: layers.Bidirectional(layers.GRU(2), backward_layer=layers.GRU(2, go_backwards=True, activation="relu")),
    ),
    "conv_lstm": chain((3, 5, 5, 2), lambda: layers.ConvLSTM2D(2, 2)),
    "time_distributed": chain(SERIES, lambda: layers.TimeDistributed(layers.Dense(3))),
    "time_distributed_model": chain(
        SERIES,
        lambda: layers.TimeDistributed(
            keras.Sequential([keras.Input((4,)), D(4), layers.BatchNormalization(), D(4), layers.BatchNormalization()])
        ),
    ),
    "masking": chain(
        SERIES,
        lambda: layers.Masking(0.0),
        lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        lambda: layers.GlobalAveragePooling1D(),
    ),
    "embedding": chain(
        (6,),
        lambda: layers.Embedding(5, 4, mask_zero=True),
        lambda: layers.BatchNormalization(),
        lambda: layers.GRU(3),
        dtype="int32",
    ),
    "embedding_flat": chain(
        (6,), lambda: layers.Embedding(5, 4, mask_zero=True), lambda: layers.Flatten(), lambda: D(2), dtype="int64"
    ),
    "einsum": chain(
        SERIES,
        lambda: layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", activation="gelu"),
        lambda: layers.Identity(),
    ),
    "category": chain((3,), lambda: layers.CategoryEncoding(5, output_mode="count"), lambda: D(2), dtype="int32"),
    "discretization": chain((3,), lambda: layers.Discretization([-1.0, 0.0, 1.0])),
    "frozen": chain(
        (5,), lambda: D(4, trainable=False), lambda: layers.BatchNormalization(trainable=False), lambda: D(2)
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_layers_gives_the_same_outputs(name):
    assert_carried_over(CHAINS[name]())


ACTIVATIONS = [
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu",
    "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus",
    "softsign", "squareplus", "swish", "tanh", "tanh_shrink",
]  # fmt: skip


def every_activation():
    x = keras.Input((6,), name="x")
    return keras.Model(x, {name: D(4, activation=name)(A(name)(x)) for name in ACTIVATIONS})


def test_an_activation_without_counterpart_is_refused():
    model = keras.Sequential([keras.Input((3,)), D(2, activation="glu", name="last")])
    with pytest.raises(ModelError, match=r"'last' \(Dense\).*glu.*build_model_fn"):
        bridge.to_tf_keras(model)


def merged():
    a, b = keras.Input((4, 3), name="a"), keras.Input((4, 3), name="b")
    kinds = [layers.Add, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum, layers.Subtract]
    merges = [kind()([a, b]) for kind in kinds]
    dot = layers.Dot(axes=2, normalize=True)([a, b])
    return keras.Model([a, b], layers.Concatenate(axis=-1, name="all")([*merges, dot]))


def shared():
    a, b = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    tower = keras.Sequential([D(5, "relu"), layers.BatchNormalization(), D(4)], name="tower")
    head = D(4, name="head")
    return keras.Model([a, b], [D(2, name="c")(head(head(tower(tower(a))))), D(2, name="d")(head(tower(b)))])


def nested():
    inner_in = [keras.Input((4,), name="p"), keras.Input((4,), name="q")]
    joined = layers.Concatenate()(inner_in)
    inner = keras.Model(inner_in, {"sum": D(3, name="s")(joined), "max": D(2, name="m")(joined)}, name="inner")
    x = keras.Input((4,), name="x")
    first = inner([x, D(4)(x)])
    second = inner([first["sum"] @ np.ones((3, 4), "float32"), x])
    return keras.Model(x, layers.Concatenate()([first["max"], second["sum"]]))


def dicts():
    inputs = {"size": keras.Input((1,), name="size"), "kind": keras.Input((1,), name="kind", dtype="int32")}
    kind = layers.Flatten()(layers.Embedding(5, 3)(inputs["kind"]))
    x = layers.Concatenate()([layers.Normalization(name="norm")(inputs["size"]), kind])
    return keras.Model(inputs, {"score": D(1, "sigmoid", name="score")(x), "class": D(3, name="class_logits")(x)})


def transformer():
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(5, 8, mask_zero=True)(tokens)
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)]))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x))
    x = layers.Add()(
        [x, layers.MultiHeadAttention(2, 4, value_dim=2, output_shape=8)(x, value=x, use_causal_mask=True)]
    )
    padded = layers.Embedding(5, 8, mask_zero=True)(tokens)
    padded = layers.MultiHeadAttention(2, 3, dropout=0.1)(padded, padded)
    return keras.Model(tokens, [D(2)(layers.GlobalAveragePooling1D()(x)), layers.LSTM(2)(x), D(2)(padded)])


def cross_attention():
    tokens, memory = keras.Input((6,), dtype="int32", name="tokens"), keras.Input((4, 3), name="memory")
    x = layers.Embedding(5, 3, mask_zero=True)(tokens)
    x, scores = layers.MultiHeadAttention(2, 3)(x, layers.Masking(0.0)(memory), memory, return_attention_scores=True)
    return keras.Model([tokens, memory], [D(2)(x), ops.sum(scores, axis=1)])


def attention():
    q, v = keras.Input((4, 3), name="q"), keras.Input((5, 3), name="v")
    masked = layers.Masking(0.0)(v)
    scored = layers.Attention(use_scale=True)([q, masked])
    return keras.Model([q, v], [scored, layers.AdditiveAttention()([q, masked])])


def seq2seq():
    source, target = keras.Input((5, 3), name="source"), keras.Input((4, 3), name="target")
    _, h, c = layers.LSTM(4, return_state=True, name="encoder")(source)
    x = layers.LSTM(4, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    _, state = layers.GRU(4, return_state=True)(x)
    return keras.Model([source, target], [layers.TimeDistributed(D(2))(x), state])


def masked_merge():
    a, b = (keras.Input((5,), dtype="int32", name=name) for name in "ab")
    embed = layers.Embedding(5, 3, mask_zero=True)
    joined = layers.Concatenate(axis=1)([embed(a), embed(b)])
    return keras.Model([a, b], layers.Bidirectional(layers.LSTM(3))(joined))


def mapped_ops():
    x, n = keras.Input((4, 6), name="x"), keras.Input((4,), dtype="int32", name="n")
    first, second = x[:, 0], x[:, 1]
    results = [
        *(op(x, axis=1) for op in (ops.mean, ops.max, ops.sum, ops.std, ops.var, ops.logsumexp)),
        ops.squeeze(ops.min(x, axis=[1], keepdims=True), axis=1),
        x[:, ::2][:, -1],
        x[..., :1, :][:, 0],
        x[..., None][:, 1, ..., 0],
        first + second * 2 - first / 3,
        1.0 - first,
        -first % 2.0,
        ops.floor(first) // 2.0,
        ops.abs(first) ** 1.5,
        first + np.arange(6, dtype="float64"),
        ops.maximum(first, second),
        ops.minimum(first, 0.5),
        ops.clip(first, -1, 1),
        ops.where(first > 0, second, -first),
        ops.exp(ops.tanh(first)) + ops.sin(first) + ops.cos(first),
        ops.sqrt(ops.square(first) + 1) + ops.rsqrt(ops.exp(first)),
        ops.log(ops.softplus(first) + 1),
        ops.normalize(first),
        ops.sign(first),
        *(op(first) for op in (ops.softmax, ops.log_softmax, ops.gelu, ops.leaky_relu, ops.elu, ops.relu, ops.relu6)),
        *(op(first) for op in (ops.silu, ops.selu, ops.sigmoid, ops.log_sigmoid, ops.hard_sigmoid, ops.hard_silu)),
        keras.activations.relu(first, max_value=1.0, negative_slope=0.1),
        ops.matmul(ops.transpose(x, (0, 2, 1)), x)[:, :, 0],
        ops.reshape(ops.split(x, 2, axis=1)[1], (-1, 12))[:, :6],
        ops.split(x, [1, 3], axis=1)[1][:, 0],
        ops.swapaxes(ops.moveaxis(x, 1, 2), 1, 2)[:, 0],
        ops.pad(first, ((0, 0), (1, 0)))[:, :6],
        ops.tile(first, (1, 2))[:, 3:9],
        ops.repeat(first, 2, axis=-1)[:, :6],
        ops.expand_dims(first, 1)[:, 0],
        ops.stack([first, second], axis=1)[:, 1],
        ops.zeros_like(first) + ops.ones_like(first),
        first * ops.cast(ops.argmax(x, axis=1), "float32"),
        first * ops.cast(ops.any(ops.logical_and(x > 0, ops.logical_not(x > 2)), axis=1), "float32"),
        ops.cast(first <= second, "float32"),
        first * ops.cast(n[:, :1], "float32"),
        first + n[:, :1],
        first * ops.mean(n, axis=-1, keepdims=True),
        first * (n[:, :1] / 2),
    ]
    return keras.Model([x, n], [ops.concatenate(results, axis=-1), n * 2, ops.equal(n, 2.5)])


GRAPHS = [
    every_activation,
    merged,
    shared,
    nested,
    dicts,
    transformer,
    cross_attention,
    attention,
    seq2seq,
    masked_merge,
    mapped_ops,
]


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_graph_gives_the_same_outputs(graph):
    assert_carried_over(graph())


def test_a_graph_read_from_a_file_gives_the_same_outputs(tmp_path):
    for graph in (transformer, nested, masked_merge):
        model = randomize(graph())
        model.save(tmp_path / "model.keras")
        loaded = bridge.load_keras3(tmp_path / "model.keras")
        bridge.verify_equivalent(model, bridge.to_tf_keras(loaded), [random_batch(model)])


@pytest.mark.parametrize("application", ["MobileNetV2", "MobileNetV3Small"])
def test_an_application_gives_the_same_outputs(application):
    make = getattr(keras.applications, application)
    assert_carried_over(make(input_shape=(32, 32, 3), weights=None, classes=4, classifier_activation=None))


def test_the_rebuilt_model_survives_saving_and_cloning(tmp_path):
    """What tensorflow-model-optimization does to a model before it changes it."""
    for graph in (every_activation, dicts, mapped_ops, transformer):
        model = randomize(graph())
        rebuilt = bridge.to_tf_keras(model)
        rebuilt.save(tmp_path / "model.keras")
        cloned = tf_keras.models.clone_model(rebuilt)
        cloned.set_weights(rebuilt.get_weights())
        batches = [random_batch(model)]
        bridge.verify_equivalent(model, cloned, batches)
        bridge.verify_equivalent(model, tf_keras.models.load_model(tmp_path / "model.keras", compile=False), batches)


def test_frozen_layers_stay_frozen_and_nothing_is_compiled():
    model = shared()
    model.get_layer("tower").layers[0].trainable = False
    model.compile("adam", "mse")
    rebuilt = bridge.to_tf_keras(model)
    assert len(rebuilt.trainable_weights) == len(model.trainable_weights)
    assert not rebuilt.get_layer("tower").layers[0].trainable
    assert rebuilt.optimizer is None


@keras.saving.register_keras_serializable(package="test_bridge")
class Doubling(layers.Layer):
    def call(self, x):
        return x * 2

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable(package="test_bridge")
class Halving(keras.regularizers.Regularizer):
    def __call__(self, w):
        return ops.sum(w) / 2

    def get_config(self):
        return {}


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = D(4, name="first"), layers.BatchNormalization(name="norm"), D(2, name="last")

    def call(self, x):
        return self.last(self.norm(self.first(x)))


def functional(layer):
    x = keras.Input((4,), name="x")
    return keras.Model(x, D(2)(layer(D(4, name="first")(x))))


REFUSED = {
    "lambda": (lambda: functional(layers.Lambda(lambda x: x * 2, name="odd")), r"layer 'odd' \(Lambda\)"),
    "custom": (lambda: functional(Doubling(name="odd")), r"layer 'odd' \(Doubling\).*class of your own"),
    "wrapped custom": (
        lambda: keras.Model(x := keras.Input((3, 4)), layers.TimeDistributed(Doubling(name="odd"))(x)),
        r"'odd' \(Doubling\)",
    ),
    "operation": (lambda: keras.Model(x := keras.Input((4,)), ops.sort(x)), r"layer 'sort.*' \(Sort\)"),
    "missing in tf_keras": (
        lambda: functional(layers.RMSNormalization(name="odd")),
        r"layer 'odd' \(RMSNormalization\)",
    ),
    "option": (
        lambda: chain(IMAGE, lambda: layers.Resizing(4, 4, pad_to_aspect_ratio=True, name="odd"))(),
        r"'odd' \(Resizing\).*pad_to_aspect_ratio=True",
    ),
    "lookup": (
        lambda: chain((2,), lambda: layers.IntegerLookup(vocabulary=[1, 2], name="odd"), dtype="int64")(),
        r"'odd' \(IntegerLookup\).*Transform",
    ),
    "activation": (
        lambda: functional(D(3, activation=lambda x: x * 2, name="odd")),
        r"layer 'odd' \(Dense\).*activation",
    ),
    "regularizer": (
        lambda: functional(D(3, kernel_regularizer=Halving(), name="odd")),
        r"layer 'odd' \(Dense\).*kernel_regularizer",
    ),
    "subclassed": (Subclassed, r"'subclassed.*' \(Subclassed\).*subclassed model"),
    "unbuilt": (lambda: keras.Sequential([D(2)], name="odd"), r"layer 'odd' \(Sequential\).*not built"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_carried_over_is_named_with_the_way_out(case):
    make, message = REFUSED[case]
    with pytest.raises(ModelError, match=message + ".*build_model_fn"):
        bridge.to_tf_keras(make())


def test_a_model_with_its_own_training_step_but_a_plain_graph_is_carried_over():
    class OwnTraining(keras.Model):
        def train_step(self, data):
            return {}

    x = keras.Input((4,), name="x")
    model = randomize(OwnTraining(x, D(2)(x)))
    bridge.verify_equivalent(model, bridge.to_tf_keras(model), [random_batch(model)])


def pair(last=2):
    model = randomize(functional(layers.BatchNormalization()))
    other = tf_keras.Sequential(
        [
            tf_keras.Input((4,)),
            tf_keras.layers.Dense(4),
            tf_keras.layers.BatchNormalization(),
            tf_keras.layers.Dense(last),
        ]
    )
    return model, other


def test_equal_models_differ_by_next_to_nothing_and_changed_ones_are_told_apart():
    model = randomize(dicts())
    rebuilt = bridge.to_tf_keras(model)
    batches = [random_batch(model) | {"label": np.zeros(3)}]
    assert bridge.verify_equivalent(model, rebuilt, batches) < 1e-5
    bias = rebuilt.get_layer("class_logits").weights[1]
    bias.assign_add([0.0, 0.5, 0.0])
    with pytest.raises(ModelError, match=r"output\['class'\] differs at \[\d, 1\]: -?\d.* in the original model, -?\d"):
        bridge.verify_equivalent(model, rebuilt, batches)
    assert bridge.verify_equivalent(model, rebuilt, batches, atol=0.6) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(("ours", "theirs", "equal"), [
    (np.nan, np.nan, True), (np.inf, np.inf, True), (np.nan, 1.0, False), (1.0, np.nan, False),
    (np.inf, -np.inf, False), (np.inf, 1.0, False), (1.0, np.inf, False),
    (1e6, 1e6 + 5, True), (1e6, 1e6 + 20, False), (0.0, 2e-5, False),
])  # fmt: skip
def test_values_agree_only_within_the_tolerance(ours, theirs, equal):
    models = [library.Sequential([library.Input((1,)), library.layers.Dense(1)]) for library in (keras, tf_keras)]
    for model, value in zip(models, (ours, theirs), strict=True):
        model.set_weights([np.zeros((1, 1)), np.array([value])])
    if equal:
        assert np.isfinite(bridge.verify_equivalent(*models, [np.ones((2, 1))]))
    else:
        with pytest.raises(ModelError, match="in the original model"):
            bridge.verify_equivalent(*models, [np.ones((2, 1))])


def test_other_shapes_or_structure_are_told_and_no_batch_is_no_proof():
    model, other = pair(last=3)
    with pytest.raises(ModelError, match=r"shape \(1, 2\).*\(1, 3\)"):
        bridge.verify_equivalent(model, other, [np.ones((1, 4))])
    with pytest.raises(DataError, match="no batch"):
        bridge.verify_equivalent(model, other, [])
    with pytest.raises(DataError, match="lacks the model's input 'x'"):
        bridge.verify_equivalent(model, other, [{"y": np.ones((1, 4))}])
    x = tf_keras.Input((4,))
    with pytest.raises(ModelError, match="returns"):
        bridge.verify_equivalent(model, tf_keras.Model(x, {"a": x}), [np.ones((1, 4))])


def test_weights_reach_a_model_of_the_users_own_by_order():
    model, other = pair()
    bridge.copy_weights_by_name(model, other)
    bridge.verify_equivalent(model, other, [random_batch(model)])


def test_weights_reach_a_model_of_the_users_own_by_name():
    model = Subclassed()
    model(np.zeros((1, 4)))
    randomize(model)
    x = tf_keras.Input((4,))
    made = {name: tf_keras.layers.Dense(n, name=name) for name, n in (("last", 2), ("first", 4))}
    other = tf_keras.Model(x, made["last"](tf_keras.layers.BatchNormalization(name="norm")(made["first"](x))))
    bridge.copy_weights_by_name(model, other)
    bridge.verify_equivalent(model, other, [np.ones((2, 4), "float32")])


def test_an_adaptable_normalization_of_the_users_own_is_filled():
    model = randomize(keras.Sequential([keras.Input((3,)), layers.Normalization(), D(2)]))
    other = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Normalization(), tf_keras.layers.Dense(2)])
    bridge.copy_weights_by_name(model, other)
    bridge.verify_equivalent(model, other, [random_batch(model)])


def test_weights_that_do_not_fit_are_named_and_nothing_is_changed():
    model, other = pair(last=3)
    before = other.get_weights()
    with pytest.raises(
        ModelError, match=r"\(Dense, weights \[\(4, 3\), \(3,\)\]\).*\(Dense, weights \[\(4, 2\), \(2,\)\]\)"
    ):
        bridge.copy_weights_by_name(model, other)
    short = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(4), tf_keras.layers.BatchNormalization()])
    with pytest.raises(ModelError, match=r"\(Dense, .*of the trained model has no counterpart"):
        bridge.copy_weights_by_name(model, short)
    np.testing.assert_array_equal(before[0], other.get_weights()[0])


def test_the_version_that_wrote_a_file_is_read(tmp_path):
    model, other = pair()
    model.save(tmp_path / "three.keras")
    other.save(tmp_path / "two.keras")
    assert bridge.keras_version(tmp_path / "three.keras") == keras.__version__
    assert bridge.keras_version(tmp_path / "two.keras") == tf_keras.__version__
    with pytest.raises(ModelError, match="written by Keras 2"):
        bridge.load_keras3(tmp_path / "two.keras")


def test_what_is_no_keras_file_is_told(tmp_path):
    with pytest.raises(ModelError, match="there is no model file"):
        bridge.load_keras3(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"name": "x"}))
    for name in ("text.keras", "other.keras"):
        with pytest.raises(ModelError, match=r"is not a \.keras file"):
            bridge.keras_version(tmp_path / name)


def test_a_file_with_code_or_an_unknown_class_is_refused_by_name(tmp_path):
    path = tmp_path / "model.keras"
    functional(layers.Lambda(lambda x: x * 2, name="odd")).save(path)
    with pytest.raises(ModelError, match=r"layer 'odd' \(Lambda\).*build_model_fn"):
        bridge.load_keras3(path)

    class Gone(layers.Layer):
        def call(self, x):
            return x

    functional(Gone(name="odd")).save(path)
    with pytest.raises(ModelError, match=r"(?s)layer 'odd' \(Gone\).*build_model_fn"):
        bridge.load_keras3(path)


STEPS = {
    "dense": lambda x: D(x.shape[-1], "tanh")(x),
    "norm": lambda x: layers.BatchNormalization()(x),
    "layer_norm": lambda x: layers.LayerNormalization()(x),
    "prelu": lambda x: layers.PReLU()(x),
    "conv": lambda x: layers.Conv1D(x.shape[-1], 3, padding="same", activation="hard_silu")(x),
    "depthwise": lambda x: layers.DepthwiseConv1D(2, padding="same")(x),
    "pool": lambda x: layers.MaxPooling1D(2, 1, "same")(x),
    "rnn": lambda x: layers.SimpleRNN(x.shape[-1], return_sequences=True)(x),
    "scale": lambda x: x * 0.5 + 1.0,
    "gate": lambda x: x * ops.sigmoid(x),
    "residual": lambda x: layers.Add()([x, D(x.shape[-1])(x)]),
}  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_graph_gives_the_same_outputs(data):
    """Random graphs: each step works on a random earlier tensor; some are joined, some layers are used twice."""
    x = keras.Input((data.draw(st.integers(3, 6)), 4), name="x")
    tensors = [x]
    reused = D(4, name="reused")
    for step in data.draw(st.lists(st.sampled_from([*STEPS, "join", "reuse"]), min_size=1, max_size=6)):
        source = tensors[data.draw(st.integers(0, len(tensors) - 1))]
        if step == "join":
            tensors.append(layers.Maximum()([source, tensors[-1]]) if source is not tensors[-1] else source)
        else:
            tensors.append(reused(source) if step == "reuse" else STEPS[step](source))
    outputs = [layers.Identity()(tensors[-1]), layers.GlobalAveragePooling1D()(tensors[len(tensors) // 2])]
    assert_carried_over(keras.Model(x, outputs))
