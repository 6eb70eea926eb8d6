"""Corrected biases take the mean error away, and are kept only where they help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lite_models
import numpy as np
import pytest
import recovery_models
from built_models import NONE, RELU, SAME, VALID, Builder
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tfx_edge.quantization.calibration import calibrate
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.recovery.bias_correction import correct_biases
from tfx_edge.recovery.trials import Trials

SHAPE = (1, 9, 10, 4)


def images(count: int, seed: int, shift: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"features": (rng.normal(size=(count, *SHAPE[1:])) + shift).astype(np.float32)}


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    with Trials(images(30, seed=0)) as running:
        yield running


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    depthwise=st.booleans(),
    padding=st.sampled_from([SAME, VALID]),
    steps=st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2)]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    preset=st.sampled_from(["dynamic_int8", "int8_float_io", "int4_weights"]),
    seed=st.integers(0, 1000),
)
def test_a_corrected_layer_has_no_mean_error(
    trials: Trials,
    tmp_path_factory: pytest.TempPathFactory,
    depthwise: bool,
    padding: int,
    steps: tuple[int, int],
    kernel: tuple[int, int],
    preset: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    model, (stride, dilation) = Builder(SHAPE), steps
    channels = (1, *kernel, 8) if depthwise else (8, *kernel, 4)
    add = model.depthwise if depthwise else model.conv
    weights, bias = rng.normal(size=channels).astype(np.float32), rng.normal(size=8).astype(np.float32)
    output = add("layer", model.input, weights, bias, NONE, padding, stride, dilation)
    path = lite_models.write(tmp_path_factory.mktemp("layer"), model.finish(output))
    quantized = quantize(path, Recipe(preset=preset), statistics=calibrate(path, rows(trials))).content

    found = correct_biases(path, quantized, trials, trials)

    expected, plain, corrected = (
        trials.outputs(one)["output"].reshape(-1, 8).mean(axis=0) for one in (path, quantized, found.content)
    )
    # One step of the bias or, by the kernels' own rounding, a fraction of a step of the output is left.
    assert np.max(np.abs(corrected - expected)) <= max(0.3 * np.max(np.abs(plain - expected)), 0.01)


def rows(trials: Trials) -> list[dict[str, np.ndarray]]:
    return [{"features": row[None]} for row in trials.samples["features"]]


def test_a_trained_model_of_int4_weights_gets_closer_to_its_float_model(tmp_path: Path) -> None:
    trained = recovery_models.digits()
    path = lite_models.write(tmp_path, trained.content)
    quantized = quantize(path, Recipe(preset="int4_weights")).content
    with Trials(trained.samples) as samples, Trials(trained.held_out) as held_out:
        found = correct_biases(path, quantized, samples, held_out)
    assert found.kept
    assert found.sqnr_after_db > found.sqnr_before_db + 0.5
    assert found.layers == ("dense_0", "dense_1", "dense_2")


def test_a_correction_that_makes_other_samples_worse_is_not_kept(tmp_path: Path, trials: Trials) -> None:
    rng = np.random.default_rng(0)
    model = Builder(SHAPE)
    x = model.conv("conv", model.input, rng.normal(size=(8, 3, 3, 4)).astype(np.float32))
    path = lite_models.write(
        tmp_path, model.finish(model.conv("last", x, rng.normal(size=(4, 3, 3, 8)), activation=NONE))
    )
    quantized = quantize(path, Recipe(preset="int4_weights")).content
    with Trials(images(30, seed=1, shift=-1.0)) as elsewhere:
        found = correct_biases(path, quantized, trials, elsewhere)
    assert not found.kept
    assert found.content == quantized
    assert found.sqnr_after_db < found.sqnr_before_db


def test_layers_without_a_bias_or_with_a_shared_one_are_left_and_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = Builder((1, 16))
    weights = rng.normal(size=(16, 16)).astype(np.float32)
    x = model.dense("bare", model.input, weights)
    x = model.dense("one", x, weights + 1, np.zeros(16, np.float32))
    x = model.dense("two", x, weights - 1, np.ones(16, np.float32), RELU)
    named = {tensor.name: tensor for tensor in model.graph.tensors}
    named[b"two/bias"].buffer = named[b"one/bias"].buffer
    path = lite_models.write(tmp_path, model.finish(model.dense("last", x, weights, np.ones(16, np.float32), NONE)))
    quantized = quantize(path, Recipe(preset="dynamic_int8")).content
    with Trials({"features": rng.normal(size=(20, 16)).astype(np.float32)}) as samples:
        found = correct_biases(path, quantized, samples, samples)
    assert found.layers == ("last",)
    assert found.skipped == {"bare": "it has no bias", "one": "its bias is shared", "two": "its bias is shared"}
