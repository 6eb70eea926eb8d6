"""What a change of a model saves: counted by hand for small models, and timed against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf_keras

from tfx_edge.stages import savings
from tfx_edge.stages.savings import Cost, Savings

KL = tf_keras.layers


def dense(units: int) -> tf_keras.Model:
    inputs = tf_keras.Input((64,), name="x")
    x = KL.Dense(units, activation="relu")(inputs)
    return tf_keras.Model(inputs, KL.Dense(units)(x))


@pytest.fixture(scope="module")
def two_sizes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cost, Cost]:
    folder = tmp_path_factory.mktemp("two_sizes")
    return savings.cost(dense(1024), folder, "large"), savings.cost(dense(64), folder, "small")


def test_macs_of_every_kind_of_layer_are_counted_as_by_hand(tmp_path: Path) -> None:
    inputs = tf_keras.Input((8, 8, 3), name="image")
    x = KL.Conv2D(4, 3, padding="same")(inputs)  # 8·8·4 outputs of 3·3·3 products
    x = KL.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 4·4·4 of 3·3
    x = KL.Conv2DTranspose(5, 2, strides=2)(x)  # 4·4·4 inputs times 2·2·5
    x = KL.Reshape((8, 40))(x)
    x = KL.LSTM(6)(x)  # 8 steps of 4·(40·6 + 6·6)
    model = tf_keras.Model(inputs, KL.Dense(7)(x))  # 6·7
    found = savings.cost(model, tmp_path)
    by_hand = 8 * 8 * 4 * 27 + 4 * 4 * 4 * 9 + 4 * 4 * 4 * 20 + 8 * 4 * (40 * 6 + 6 * 6) + 6 * 7
    assert found.macs == by_hand
    assert found.parameters == model.count_params()
    assert found.path == tmp_path / "model.tflite"
    assert found.size_bytes == found.path.stat().st_size


def test_macs_of_attention_are_those_of_its_products(tmp_path: Path) -> None:
    inputs = tf_keras.Input((6, 8), name="sequence")
    model = tf_keras.Model(inputs, KL.MultiHeadAttention(2, 4)(inputs, inputs))
    projections, scores = 4 * 6 * 8 * 8, 2 * 2 * 6 * 6 * 4
    assert savings.cost(model, tmp_path).macs == projections + scores


def test_zeros_save_compressed_bytes_and_nothing_else(tmp_path: Path) -> None:
    model = dense(128)
    before = savings.cost(model, tmp_path, "before")
    model.layers[1].set_weights([np.zeros((64, 128), np.float32), np.zeros(128, np.float32)])
    saved = Savings(before, savings.cost(model, tmp_path, "after"))
    assert saved.after.gzip_bytes < 0.8 * saved.before.gzip_bytes
    for name in ("parameters", "macs", "operators", "size_bytes"):
        assert getattr(saved.after, name) == getattr(saved.before, name)
    assert saved.properties()["lite_gzip_bytes_before"] == saved.before.gzip_bytes
    assert "latency_ratio" not in saved.properties()
    assert f"{saved.before.size_bytes:,} as before" in saved.lines()[0]


def test_the_time_of_a_smaller_model_is_told_from_that_of_a_larger(two_sizes: tuple[Cost, Cost]) -> None:
    saved = Savings(*two_sizes).timed()
    assert saved.latency is not None
    assert saved.latency.high < 0.8
    assert saved.properties()["latency_ratio"] == saved.latency.value
    assert saved.to_dict()["latency_ratio"]["samples"] == savings.PROCESSES
    assert len(saved.lines()) == 2
