"""The losses of distillation against what their papers say, computed by other means."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.distillation import losses
from tfx_edge.distillation.outputs import scores

SHAPES = st.sampled_from([(4, 3), (5, 2), (3, 4, 3)])
SEEDS = st.integers(0, 2**31)


def draw(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=shape).astype("f4") * 2, generator.normal(size=shape).astype("f4") * 2


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@settings(max_examples=15, deadline=None)
@given(SEEDS, SHAPES, st.floats(0.5, 8))
def test_classes_are_compared_as_softened_distributions(seed: int, shape: tuple[int, ...], temperature: float) -> None:
    teacher, student = draw(seed, shape)
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=-1))
    found = float(losses.soft_loss("classes", teacher, student, temperature))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(SEEDS, SHAPES, st.floats(0.5, 8))
def test_a_binary_output_is_two_classes(seed: int, shape: tuple[int, ...], temperature: float) -> None:
    teacher, student = (tf.constant(each) for each in draw(seed, shape))
    both = [tf.stack([each, tf.zeros_like(each)], axis=-1) for each in (teacher, student)]
    expected = float(losses.soft_loss("classes", *both, temperature))
    found = float(losses.soft_loss("binary", teacher, student, temperature))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_numbers_are_compared_by_squared_error_at_any_temperature() -> None:
    teacher, student = draw(0, (6, 2))
    for temperature in (1.0, 7.0):
        found = float(losses.soft_loss("regression", tf.constant(teacher), tf.constant(student), temperature))
        assert found == pytest.approx(float(np.mean((teacher - student) ** 2)), rel=1e-5)


def test_steps_that_are_padded_do_not_count() -> None:
    teacher, student = draw(1, (2, 5, 3))
    mask = np.array([[True, True, True, False, False], [True, False, False, False, False]])
    garbled = np.where(mask[..., None], student, 99.0).astype("f4")
    expected = float(losses.soft_loss("classes", teacher[mask], student[mask], 2.0))
    for values in (student, garbled):
        found = float(losses.soft_loss("classes", teacher, values, 2.0, tf.constant(mask)))
        assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("kind", "activation"), [("classes", "softmax"), ("binary", "sigmoid")])
def test_probabilities_are_as_good_as_logits(kind: str, activation: str) -> None:
    teacher, student = draw(2, (4, 3))
    made = getattr(tf.nn, activation)(student)
    expected = float(losses.soft_loss(kind, teacher, student, 3.0))
    found = losses.soft_loss(kind, teacher, scores(kind, activation, made), 3.0)
    assert float(found) == pytest.approx(expected, rel=1e-3)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.floats(0.1, 10))
def test_attention_knows_positions_alone(seed: int, scale: float) -> None:
    features, other = draw(seed, (3, 4, 4, 5))
    order = np.random.default_rng(seed).permutation(5)
    same = losses.attention_loss(losses.attention_map(features), losses.attention_map(features[..., order] * scale))
    assert float(same) < 1e-6
    assert float(losses.attention_loss(losses.attention_map(features), losses.attention_map(other))) > 1e-3
    assert losses.attention_map(features, (2, 2)).shape == (3, 4)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.floats(0.2, 5))
def test_relations_know_neither_place_nor_direction_nor_scale(seed: int, scale: float) -> None:
    values, other = draw(seed, (6, 4))
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))
    moved = (values @ turn.astype("f4") * scale + 3).astype("f4")
    assert float(losses.relational_loss(values, moved, 1.0, 1.0)) < 1e-4
    assert float(losses.relational_loss(values, other, 1.0, 0.0)) > 1e-3
    assert float(losses.relational_loss(values, other, 0.0, 1.0)) > 1e-3


@pytest.mark.parametrize("examples", [1, 2, 5])
def test_equal_examples_leave_a_gradient(examples: int) -> None:
    student = tf.Variable(tf.ones((examples, 3)))
    with tf.GradientTape() as tape:
        loss = losses.relational_loss(draw(0, (examples, 3))[0], student + 0.0, 25.0, 50.0)
    assert np.isfinite(float(loss))
    assert np.all(np.isfinite(tape.gradient(loss, student)))
