"""Students derived from a teacher: narrower, with fewer blocks, of the same signature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.distillation.settings import Derivation
from tfx_edge.distillation.students import derive, scaled
from tfx_edge.errors import ModelError

KL = tf_keras.layers


def residual(blocks: int, width: int = 16, heads: int = 1) -> tf_keras.Model:
    """Two stages of residual blocks behind a convolution each."""
    x = image = tf_keras.Input((8, 8, 3), name="image")
    for stage, channels in enumerate((width, 2 * width)):
        x = KL.Conv2D(channels, 3, strides=2, padding="same", name=f"enter{stage}")(x)
        x = KL.ReLU()(KL.BatchNormalization()(x))
        for block in range(blocks):
            y = KL.Conv2D(channels // 2, 3, padding="same", activation="relu", name=f"in{stage}_{block}")(x)
            x = KL.ReLU()(KL.Add()([x, KL.Conv2D(channels, 3, padding="same", name=f"out{stage}_{block}")(y)]))
    x = KL.GlobalAveragePooling2D()(x)
    ends = [KL.Dense(3 + head, activation="softmax", name=f"scores{head}")(x) for head in range(heads)]
    return tf_keras.Model(image, ends[0] if heads == 1 else {end.name.split("/")[0]: end for end in ends})


def signature(model: tf_keras.Model) -> Any:
    def specs(names: list[str], tensors: list[Any]) -> list[Any]:
        return [(name, tuple(each.shape), each.dtype) for name, each in zip(names, tensors, strict=True)]

    return specs(model.input_names, model.inputs), specs(model.output_names, model.outputs), type(model.output)


def layer_names(model: tf_keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2), st.sampled_from([8, 16, 24]), st.integers(1, 2), st.sampled_from([0.1, 0.25, 0.5, 0.75]))
def test_a_narrower_student_fits_in_the_teachers_place(blocks: int, width: int, heads: int, share: float) -> None:
    teacher = residual(blocks, width, heads)
    student = derive(teacher, Derivation(width=share))
    assert signature(student) == signature(teacher)
    assert layer_names(student) == layer_names(teacher)
    assert student.get_layer("enter1").filters == scaled(2 * width, share)
    found = tf.nest.flatten(student(np.zeros((2, 8, 8, 3), "f4")))
    assert [each.shape for each in found] == [(2, 3 + head) for head in range(heads)]


@given(st.integers(1, 4096), st.floats(0.01, 0.99))
def test_widths_are_multiples_of_8_where_above(size: int, share: float) -> None:
    found = scaled(size, share)
    assert found >= 1
    assert found % 8 == 0 or found <= 8 or found == size
    assert found <= size
    assert abs(found - size * share) <= 4 or found == 1


@pytest.mark.parametrize(("depth", "left"), [(0.5, 2), (0.25, 1), (0.8, 4)])
def test_the_last_blocks_of_each_stage_go(depth: float, left: int) -> None:
    """A stage is the convolution that enters it and three blocks: four blocks in all."""
    teacher = residual(3)
    if left == 4:
        with pytest.raises(ModelError, match=r"depth 0.8 drops nothing"):
            derive(teacher, Derivation(depth=depth))
        return
    student = derive(teacher, Derivation(depth=depth))
    assert signature(student) == signature(teacher)
    kept = [name for name in layer_names(student) if name.startswith("out")]
    assert kept == [f"out{stage}_{block}" for stage in range(2) for block in range(left - 1)]


def test_both_at_once_and_sequences() -> None:
    x = steps = tf_keras.Input((None, 6), name="steps")
    x = KL.Bidirectional(KL.SimpleRNN(16, return_sequences=True))(KL.Masking()(x))
    for number in range(3):
        x = KL.SimpleRNN(32, return_sequences=True, name=f"again{number}")(x)
    teacher = tf_keras.Model(steps, KL.TimeDistributed(KL.Dense(5, activation="softmax"), name="kind")(x))
    student = derive(teacher, Derivation(width=0.25, depth=0.5))
    assert signature(student) == signature(teacher)
    assert [name for name in layer_names(student) if name.startswith("again")] == ["again0"]
    assert student.get_layer("again0").units == 8
    assert student.layers[2].forward_layer.units == 4


def test_the_same_is_untrained() -> None:
    teacher = residual(1)
    student = derive(teacher, Derivation())
    assert signature(student) == signature(teacher)
    assert [weight.shape for weight in student.weights] == [weight.shape for weight in teacher.weights]
    kernels = [model.get_layer("enter0").kernel.numpy() for model in (teacher, student)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_what_is_not_trained_is_kept() -> None:
    x = numbers = tf_keras.Input((4,), name="numbers")
    standard = KL.Normalization(name="standard")
    standard.adapt(np.arange(20.0).reshape(5, 4))
    frozen = KL.Dense(16, trainable=False, name="frozen")
    teacher = tf_keras.Model(numbers, KL.Dense(2)(KL.Dense(32, name="hidden")(frozen(standard(x)))))
    student = derive(teacher, Derivation(width=0.25))
    for name in ("standard", "frozen"):
        pairs = zip(student.get_layer(name).get_weights(), teacher.get_layer(name).get_weights(), strict=True)
        for ours, theirs in pairs:
            np.testing.assert_array_equal(ours, theirs)
    assert student.get_layer("hidden").units == 8


def test_models_inside_are_unfolded_and_names_stay() -> None:
    inner_input = tf_keras.Input((8,))
    inner = tf_keras.Model(inner_input, KL.Dense(3, name="last")(KL.Dense(32, name="wide")(inner_input)), name="inner")
    numbers = tf_keras.Input((8,), name="numbers")
    teacher = tf_keras.Model(numbers, inner(numbers))
    student = derive(teacher, Derivation(width=0.5))
    assert signature(student) == signature(teacher)
    assert student.output_names == ["inner"]
    assert student.get_layer("wide").units == 16


def test_a_layer_that_cannot_be_scaled_is_named() -> None:
    numbers = tf_keras.Input((16,), name="numbers")
    x = KL.Add(name="joined")([numbers, KL.Dense(16)(numbers)])
    with pytest.raises(ModelError, match=r"layer 'joined' \(Add\) does not fit.*build_student_fn"):
        derive(tf_keras.Model(numbers, KL.Dense(2)(x)), Derivation(width=0.5))
    x = KL.Reshape((4, 8), name="shaped")(KL.Dense(32)(numbers))
    with pytest.raises(ModelError, match=r"layer 'shaped' \(Reshape\)"):
        derive(tf_keras.Model(numbers, KL.Dense(2)(KL.Flatten()(x))), Derivation(width=0.5))


def test_a_student_that_would_be_its_teacher_is_refused() -> None:
    numbers = tf_keras.Input((16,), name="numbers")
    teacher = tf_keras.Model(numbers, KL.Dense(2, name="scores")(numbers))
    with pytest.raises(ModelError, match=r"width 0\.5 changes nothing.*numbers, scores"):
        derive(teacher, Derivation(width=0.5))
    wide = tf_keras.Model(numbers, KL.Dense(2)(KL.Dense(16)(numbers)))
    with pytest.raises(ModelError, match=r"width 0\.97 changes nothing"):
        derive(wide, Derivation(width=0.97))
    with pytest.raises(ModelError, match=r"depth 0\.5 drops nothing: no block repeats"):
        derive(teacher, Derivation(depth=0.5))
