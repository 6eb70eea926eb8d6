"""Merging computes the same with less: generated models, and what each rule makes of a model written for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.errors import ConfigError, ModelError, UserCodeError
from tfx_edge.merging.merge import Merged, difference, merge
from tfx_edge.models.random_inputs import random_batch
from tfx_edge.models.tracing import trace_as_it_is

trace_as_it_is()

KL = tf_keras.layers
CHANNELS = 4


def filled(model: tf_keras.Model, seed: int = 0) -> tf_keras.Model:
    """Weights at random, of a size that keeps outputs near 1; the statistics of batch normalization among them."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        weights = []
        for weight in layer.weights:
            if "variance" in weight.name or "gamma" in weight.name:
                weights.append(generator.uniform(0.5, 2, weight.shape))
            else:
                spread = 1 / math.sqrt(max(1, math.prod(weight.shape[:-1])))
                weights.append(generator.normal(0, spread, weight.shape))
        layer.set_weights(weights)
    return model


def image(shape: tuple[int | None, ...] = (7, 6, CHANNELS)) -> Any:
    return tf_keras.Input(shape, name="image")


def normal(x: Any) -> Any:
    return KL.BatchNormalization()(x)


def checked(models: list[tf_keras.Model], **options: Any) -> Merged:
    """Merges, and compares outputs."""
    made = merge(models, **options)
    assert difference(made.composed, made.model, [random_batch(made.composed, 3, 1)]) < 1e-5
    assert made.model.output_names == models[0].output_names
    assert made.model.input_names == models[0].input_names
    return made


def kinds(model: tf_keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers if not isinstance(layer, KL.InputLayer)]


STEPS = st.tuples(
    st.sampled_from(
        ["conv", "conv", "depthwise", "dense", "normal", "relu", "tanh", "pool", "dropout", "add", "concat"]
    ),
    st.integers(0, 9),
    st.integers(0, 9),
    st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([1, 3]), st.sampled_from([1, 1, 2]), st.booleans()),
    st.sampled_from(["same", "valid"]),
)


def generated(steps: list[Any], head: str, width: int, seed: int) -> tf_keras.Model:
    """A graph in which each step reads one or two tensors that are there already."""
    x = image()
    tensors = [x]
    for kind, one, other, (height, breadth, stride, biased), padding in steps:
        a, b = tensors[-1 - one % min(3, len(tensors))], tensors[other % len(tensors)]
        alike = [tensor for tensor in tensors if tensor.shape == a.shape]
        if kind == "conv" and min(a.shape[1:3]) >= 3:
            options = {"strides": stride, "padding": padding, "use_bias": biased}
            made = KL.Conv2D(width, (height, breadth), activation="relu" if other % 4 == 0 else None, **options)(a)
        elif kind == "depthwise" and min(a.shape[1:3]) >= 3:
            made = KL.DepthwiseConv2D((height, breadth), stride, padding, use_bias=biased)(a)
        elif kind == "pool" and min(a.shape[1:3]) >= 2:
            made = (KL.MaxPooling2D if biased else KL.AveragePooling2D)(2)(a)
        elif kind == "add":
            made = KL.Add()([a, *alike[: 1 + other % 3]])
        elif kind == "concat" and a.shape[:3] == b.shape[:3]:
            made = KL.Concatenate()([a, b])
        else:
            made = {
                "dense": KL.Dense(width),
                "normal": KL.BatchNormalization(),
                "relu": KL.ReLU(),
                "dropout": KL.Dropout(0.5),
            }.get(kind, KL.Activation("tanh"))(a)
        tensors.append(made)
    last = [tensors[-1], tensors[len(tensors) // 2]]
    flat = [(KL.Flatten() if head == "flatten" else KL.GlobalAveragePooling2D())(tensor) for tensor in last]
    scores = KL.Add()([KL.Dense(3)(value) for value in flat])
    scores = KL.Activation("linear" if head == "flatten" else "softmax", name="scores")(scores)
    return filled(tf_keras.Model(x, scores), seed)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(STEPS, min_size=1, max_size=9),
    st.sampled_from(["flatten", "mean"]),
    st.integers(1, 3),
    st.sampled_from(["average", "add", "concat", "maximum"]),
    st.sampled_from([None, None, None, "share", "linear", "fuse", "grouped"]),
    st.sampled_from([2, CHANNELS]),
)
def test_generated_models_merge_to_equal_outputs_and_no_more_weights(
    steps: list[Any], head: str, number: int, function: str, off: str | None, width: int
) -> None:
    models = [generated(steps, head, width, seed // 2) for seed in range(number)]  # the first two are equal
    made = merge(models, function, **({off: False} if off else {}))
    assert difference(made.composed, made.model, [random_batch(made.composed, 3, 1)]) < 1e-4
    assert made.model.output_names == ["scores"]
    kernels = [sum(w.shape.num_elements() for w in m.weights if len(w.shape) > 1) for m in (made.composed, made.model)]
    assert kernels[1] <= kernels[0]


def rep_vgg(stride: int = 1, size: int | None = 8) -> tf_keras.Model:
    """Two blocks of a 3x3 branch, a 1x1 branch and, where it fits, the tensor itself, each normalized."""
    x = inputs = image((size, size, CHANNELS))
    for strides in (stride, 1):
        branches = [normal(KL.Conv2D(CHANNELS, 3, strides, "same", use_bias=False)(x))]
        branches.append(normal(KL.Conv2D(CHANNELS, 1, strides, use_bias=False)(x)))
        if strides == 1:
            branches.append(normal(x))
        x = KL.ReLU()(KL.Add()(branches))
    return filled(tf_keras.Model(inputs, KL.Dense(3, name="scores")(KL.GlobalAveragePooling2D()(x))))


@pytest.mark.parametrize(("stride", "size"), [(1, 8), (1, None), (2, 8), (2, 9)])
def test_rep_vgg_becomes_one_convolution_a_block(stride: int, size: int | None) -> None:
    made = checked([rep_vgg(stride, size)])
    assert kinds(made.model) == ["Conv2D", "ReLU", "Conv2D", "ReLU", "GlobalAveragePooling2D", "Dense"]
    assert {layer.kernel_size for layer in made.model.layers if isinstance(layer, KL.Conv2D)} == {(3, 3)}


def test_strides_on_places_that_are_not_known_leave_the_branches() -> None:
    """Where TensorFlow pads depends on the size of the image then."""
    assert kinds(checked([rep_vgg(2, None)]).model).count("Conv2D") == 3


def sums(*branches: Callable[[Any], Any]) -> tf_keras.Model:
    x = image()
    summed = KL.Add()([branch(x) for branch in branches])
    return filled(tf_keras.Model(x, KL.ReLU(name="scores")(summed)))


@pytest.mark.parametrize(
    ("branches", "left"),
    [
        ([KL.Conv2D(CHANNELS, 3, padding="same", dilation_rate=2), KL.Conv2D(CHANNELS, 1)], ["Conv2D", "ReLU"]),
        ([KL.Conv2D(CHANNELS, (1, 3), padding="same"), KL.Conv2D(CHANNELS, 3, padding="same")], ["Conv2D", "ReLU"]),
        ([KL.DepthwiseConv2D(3, padding="same"), KL.BatchNormalization()], ["DepthwiseConv2D", "ReLU"]),
        ([KL.DepthwiseConv2D(3, padding="same"), KL.Conv2D(CHANNELS, 3, padding="same")], ["Conv2D", "ReLU"]),
        ([KL.Conv2D(CHANNELS, 3, padding="same", groups=2), KL.Conv2D(CHANNELS, 1, groups=2)], ["Conv2D", "ReLU"]),
        ([KL.Dense(CHANNELS), KL.Dense(CHANNELS, use_bias=False), lambda x: x], ["Dense", "ReLU"]),
        # one kernel for both would take more multiplications
        ([KL.Conv2D(CHANNELS, (1, 3), padding="same"), KL.Conv2D(CHANNELS, (3, 1), padding="same")], None),
        # taps that do not meet
        ([KL.Conv2D(CHANNELS, 3, padding="same", dilation_rate=2), KL.Conv2D(CHANNELS, 3, padding="same")], None),
        # not linear
        ([KL.Conv2D(CHANNELS, 3, padding="same", activation="relu"), KL.Conv2D(CHANNELS, 1)], None),
    ],
)  # fmt: skip
def test_branches_that_are_added(branches: list[Any], left: list[str] | None) -> None:
    model = sums(*branches)
    assert kinds(checked([model], fuse=False).model) == (left or kinds(model))


def test_a_layer_with_another_reader_stays() -> None:
    x = image()
    first = KL.Conv2D(CHANNELS, 3, padding="same")(x)
    scores = KL.Concatenate(name="scores")([KL.Add()([first, KL.Conv2D(CHANNELS, 1)(x)]), KL.ReLU()(first)])
    assert kinds(checked([filled(tf_keras.Model(x, scores))], fuse=False).model).count("Conv2D") == 2


def test_layers_in_a_row_become_one_only_if_that_is_less() -> None:
    def row(middle: int) -> tf_keras.Model:
        x = image()
        inner = KL.Conv2D(middle, 1, use_bias=False)(x)
        return filled(tf_keras.Model(x, KL.Conv2D(CHANNELS, 3, padding="same", name="scores")(inner)))

    assert kinds(checked([row(8)]).model) == ["Conv2D"]
    assert kinds(checked([row(1)]).model) == ["Conv2D", "Conv2D"]


def test_normalization_goes_into_the_layer_behind_it_too() -> None:
    x = image()
    scores = KL.Conv2D(3, 3, activation="softmax", name="scores")(normal(KL.ReLU()(x)))
    assert kinds(checked([filled(tf_keras.Model(x, scores))]).model) == ["ReLU", "Conv2D"]
    padded = KL.Conv2D(3, 3, padding="same", name="scores")(normal(KL.ReLU()(x)))
    assert "BatchNormalization" in kinds(checked([filled(tf_keras.Model(x, padded))]).model)


def test_a_layer_takes_in_one_activation_only() -> None:
    x = image()
    scores = KL.Activation("tanh", name="scores")(KL.Activation("relu")(normal(KL.Conv2D(3, 3)(x))))
    made = checked([filled(tf_keras.Model(x, scores))])
    assert kinds(made.model) == ["Conv2D", "Activation"]
    assert made.model.layers[1].activation is tf_keras.activations.relu


def convolutional(seed: int, width: int = 8) -> tf_keras.Model:
    x = image()
    y = KL.MaxPooling2D()(KL.ReLU()(normal(KL.Conv2D(width, 3, padding="same", use_bias=False)(x))))
    y = KL.Conv2D(width, 3, padding="same", activation="relu")(KL.DepthwiseConv2D(3, padding="same")(y))
    y = KL.Dense(6, activation="relu")(KL.Dropout(0.5)(KL.Flatten()(y)))
    return filled(tf_keras.Model(x, KL.Dense(3, name="scores")(y)), seed)


def test_an_ensemble_is_as_wide_as_its_members_up_to_the_dense_layers() -> None:
    made = checked([convolutional(seed) for seed in range(3)])
    assert kinds(made.model) == (
        ["Conv2D", "ReLU", "MaxPooling2D", "DepthwiseConv2D", "Conv2D", "TFOpLambda"]
        + ["Flatten"] * 3
        + ["Dense"] * 3
        + ["Concatenate", "Dense"]
    )
    assert [layer.groups for layer in made.model.layers if type(layer) is KL.Conv2D] == [1, 3]
    split = checked([convolutional(seed) for seed in range(3)], grouped=False)
    assert kinds(split.model).count("Conv2D") == 4


def test_members_of_other_widths_share_their_first_layers() -> None:
    made = checked([convolutional(0, 4), convolutional(1, 8)])
    assert kinds(made.model).count("DepthwiseConv2D") == 1
    assert kinds(made.model).count("Conv2D") == 3


def test_a_dense_layer_on_flattened_images_is_joined_across_its_channels() -> None:
    def flat(seed: int) -> tf_keras.Model:
        x = image()
        y = KL.Conv2D(5, 3, activation="relu")(x)
        return filled(tf_keras.Model(x, KL.Dense(3, name="scores")(KL.Flatten()(y))), seed)

    assert kinds(checked([flat(0), flat(1)]).model) == ["Conv2D", "Flatten", "Dense"]


def test_a_mean_of_linear_models_is_one_linear_model() -> None:
    def linear(seed: int) -> tf_keras.Model:
        x = tf_keras.Input((5,), name="x")
        return filled(tf_keras.Model(x, KL.Dense(3, name="scores")(x)), seed)

    models = [linear(seed) for seed in range(3)]
    made = checked(models, weights=[1, 2, 5])
    assert kinds(made.model) == ["Dense"]
    expected = sum(weight * model.get_weights()[0] for weight, model in zip((1, 2, 5), models, strict=True)) / 8
    np.testing.assert_allclose(made.model.get_weights()[0], expected, atol=1e-6)


def headed(seed: int, trunk: tf_keras.Model) -> tf_keras.Model:
    x = image()
    return filled_head(tf_keras.Model(x, KL.Dense(3, "softmax", name="scores")(trunk(x))), seed)


def filled_head(model: tf_keras.Model, seed: int) -> tf_keras.Model:
    generator = np.random.default_rng(seed)
    model.layers[-1].set_weights([generator.normal(size=w.shape) for w in model.layers[-1].get_weights()])
    return model


def test_a_trunk_that_models_have_in_common_is_computed_once() -> None:
    def trunk() -> tf_keras.Model:
        x = image()
        y = KL.GlobalAveragePooling2D()(normal(KL.Conv2D(8, 3, activation="relu")(x)))
        return filled(tf_keras.Model(x, y))

    models = [headed(seed, trunk()) for seed in range(3)]
    made = checked(models)
    assert made.done["equal, computed once"] == 6
    assert kinds(made.model).count("Conv2D") == 1
    apart = checked(models, share=False, fuse=False)
    assert kinds(apart.model).count("Conv2D") == 3


def test_equal_weights_on_different_tensors_are_stored_once() -> None:
    x = image()
    layers = [KL.Conv2D(2, 3) for _ in range(2)]
    ends = [layer(start) for layer, start in zip(layers, (KL.ReLU()(x), KL.Activation("tanh")(x)), strict=True)]
    model = filled(tf_keras.Model(x, KL.Concatenate(name="scores")(ends)))
    layers[1].set_weights(layers[0].get_weights())
    made = checked([model], fuse=False)
    assert made.model.count_params() == made.composed.count_params() / 2 == layers[0].count_params()
    assert made.done == {"weights stored once (numbers)": layers[0].count_params()}


def test_equal_models_are_one() -> None:
    made = checked([convolutional(0)] * 3)
    assert made.model.count_params() < convolutional(0).count_params()


def test_what_differs_only_in_weights_or_function_is_not_shared() -> None:
    x = image()
    one, two = KL.Conv2D(2, 3), KL.Conv2D(2, 3)
    ends = [KL.ReLU()(one(x)), KL.ReLU(max_value=0.1)(two(x))]
    model = filled(tf_keras.Model(x, KL.Concatenate(name="scores")(ends)))
    two.set_weights(one.get_weights())
    assert kinds(checked([model], fuse=False).model).count("ReLU") == 2


def several(seed: int) -> tf_keras.Model:
    """Two inputs by dict, two outputs by dict."""
    inputs = {"a": tf_keras.Input((4,), name="a"), "b": tf_keras.Input((4,), name="b")}
    hidden = KL.Dense(5, activation="relu")(KL.Concatenate()([inputs["a"], inputs["b"]]))
    outputs = {"mean": KL.Dense(2, name="mean")(hidden), "spread": KL.Dense(2, "softplus", name="spread")(hidden)}
    return filled(tf_keras.Model(inputs, outputs), seed)


def test_every_output_is_merged_and_keeps_its_name(tmp_path: Path) -> None:
    made = checked([several(0), several(1)])
    made.model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras", compile=False)
    batch = random_batch(loaded, 4, 2)
    assert sorted(loaded(batch)) == ["mean", "spread"]
    assert difference(made.composed, loaded, [batch]) < 1e-5


def test_the_user_merges_as_they_like(tmp_path: Path) -> None:
    def merge_fn(outputs: list[Any]) -> Any:
        return 0.25 * outputs[0] + 0.75 * tf_keras.activations.relu(outputs[1])

    models = [convolutional(0), convolutional(1)]
    made = checked(models, merge_fn=merge_fn)
    made.model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras", compile=False)
    batch = random_batch(loaded, 4, 2)
    expected = 0.25 * models[0](batch) + 0.75 * np.maximum(models[1](batch), 0)
    np.testing.assert_allclose(loaded(batch), expected, atol=1e-5)
    for wrong in (lambda outputs: 3, lambda outputs: None):
        with pytest.raises(UserCodeError, match="merge_fn returned"):
            merge(models, merge_fn=wrong)


def test_texts_with_masks_stay_as_they_are() -> None:
    def reader(seed: int) -> tf_keras.Model:
        x = tf_keras.Input((None,), dtype="int32", name="tokens")
        y = KL.Dense(4)(KL.Embedding(9, 4, mask_zero=True)(x))
        return filled(tf_keras.Model(x, KL.Dense(2, name="scores")(KL.GlobalAveragePooling1D()(y))), seed)

    made = checked([reader(0), reader(1)])
    assert kinds(made.model).count("Embedding") == 2


def test_models_that_do_not_fit_are_told_apart() -> None:
    other = tf_keras.Sequential([tf_keras.Input((7, 6, 1), name="picture"), KL.Flatten(), KL.Dense(3, name="scores")])
    with pytest.raises(ModelError, match=r"'image' \(float32 \(7, 6, 4\)\) and model 2 .*'picture' \("):
        merge([convolutional(0), other])
    x = image()
    two = tf_keras.Model(x, KL.Dense(2, name="scores")(KL.Flatten()(x)))
    with pytest.raises(ModelError, match=r"model 1 gives float32 \(3,\) and model 2 gives float32 \(2,\)"):
        merge([convolutional(0), two])
    assert merge([convolutional(0), two], "concat").model.output_shape == (None, 5)
    with pytest.raises(ConfigError, match="3 numbers for 2 models"):
        merge([convolutional(0), convolutional(1)], weights=[1, 1, 1])


class Subclassed(tf_keras.Model):
    def call(self, x: Any) -> Any:
        return x


def test_subclassed_models_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model 2 \(Subclassed\) is not a Functional or Sequential model"):
        merge([convolutional(0), Subclassed()])
    x = image()
    nested = tf_keras.Model(x, Subclassed(name="inner")(x))
    with pytest.raises(ModelError, match=r"'inner' \(Subclassed\) is not a Functional or Sequential"):
        merge([nested])


def test_models_merge_again() -> None:
    """Layers of merged models have names like those of the models."""
    pair = merge([convolutional(0), convolutional(1)]).model
    checked([pair, merge([convolutional(2), convolutional(3)]).model])


def test_outputs_in_another_order_are_not_mixed_up() -> None:
    def two(*names: str) -> tf_keras.Model:
        x = tf_keras.Input((3,), name="x")
        return tf_keras.Model(x, [KL.Dense(1, name=name)(x) for name in names])

    with pytest.raises(ModelError, match="gives the outputs age, price and model 2 gives price, age: put them in one"):
        merge([two("age", "price"), two("price", "age")])


def test_a_large_output_hides_no_difference_of_a_small_one() -> None:
    x = tf_keras.Input((2,), name="x")
    model = tf_keras.Model(x, [KL.Dense(1, name="box")(x), KL.Dense(1, name="probability")(x)])
    other = tf_keras.models.clone_model(model)
    weights = model.get_weights()
    weights[1][:] = 640
    model.set_weights(weights)
    weights[3][:] = 0.05
    other.set_weights(weights)
    assert difference(model, other, [{"x": np.zeros((1, 2), "f4")}]) == pytest.approx(0.05)


def test_a_difference_is_seen() -> None:
    model = convolutional(0)
    batch = random_batch(model, 4, 0)
    other = convolutional(0)
    weights = other.get_weights()
    weights[-1][0] += 0.5
    other.set_weights(weights)
    largest = max(1.0, float(np.max(np.abs(model(batch)))))
    assert difference(model, other, [batch]) == pytest.approx(0.5 / largest, rel=1e-4)
    weights[-1][0] = np.nan
    other.set_weights(weights)
    with pytest.raises(ModelError, match="not finite"):
        difference(model, other, [batch])
