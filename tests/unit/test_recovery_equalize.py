"""Equalized models compute the same, with channels of like range, and lose less to int8."""

from __future__ import annotations

from pathlib import Path

import lite_models
import numpy as np
import pytest
from built_models import NONE, RELU, RELU6, VALID, Builder
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tfx_edge.errors import ModelError
from tfx_edge.lite.rewrite import Rewriter
from tfx_edge.quantization.calibration import calibrate
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.recovery.equalize import equalize
from tfx_edge.recovery.trials import Trials, sqnr_db

SHAPE = (1, 8, 8, 3)


def samples(count: int = 24, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"features": rng.normal(size=(count, *SHAPE[1:])).astype(np.float32)}


def uneven(rng: np.random.Generator, *shape: int, axis: int, spread: float = 1.5) -> np.ndarray:
    """Weights whose output channels differ in size, as folded batch normalisation leaves them."""
    factors = np.exp(rng.normal(scale=spread, size=shape[axis]))
    along = factors.reshape([-1 if number == axis else 1 for number in range(len(shape))])
    return (rng.normal(size=shape) * along / np.sqrt(np.prod(shape) / shape[axis])).astype(np.float32)


def separable(activation: int = RELU, spread: float = 1.5, seed: int = 0, scale: float = 1.0) -> bytes:
    """conv 3x3, depthwise 3x3, conv 1x1, mean, dense."""
    rng = np.random.default_rng(seed)
    model = Builder(SHAPE)

    def bias(size: int) -> np.ndarray:
        return rng.normal(scale=0.1, size=size).astype(np.float32)

    x = model.conv("conv", model.input, scale * uneven(rng, 16, 3, 3, 3, axis=0, spread=spread), bias(16), activation)
    x = model.depthwise("depthwise", x, uneven(rng, 1, 3, 3, 16, axis=3, spread=spread), bias(16), activation)
    x = model.conv("pointwise", x, uneven(rng, 24, 1, 1, 16, axis=0, spread=spread), bias(24), activation)
    x = model.dense("dense", model.mean("mean", x), uneven(rng, 5, 24, axis=0, spread=0), bias(5), NONE)
    return model.finish(x)


@pytest.fixture(scope="module")
def trials() -> Trials:
    with Trials(samples()) as running:
        yield running


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_a_random_net_computes_the_same_with_channels_more_alike(
    trials: Trials, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    model = Builder(SHAPE)
    x = model.input
    for number in range(data.draw(st.integers(2, 4))):
        activation = data.draw(st.sampled_from([NONE, RELU, RELU6]))
        stride = data.draw(st.sampled_from([1, 2]))
        channels = model.shape(x)[3]
        if data.draw(st.booleans()):
            multiplier = data.draw(st.sampled_from([1, 2]))
            weights = uneven(rng, 1, 3, 3, channels * multiplier, axis=3)
            x = model.depthwise(f"layer_{number}", x, weights, None, activation, stride=stride)
        else:
            bias = rng.normal(size=8).astype(np.float32)
            x = model.conv(f"layer_{number}", x, uneven(rng, 8, 3, 3, channels, axis=0), bias, activation)
        between = data.draw(st.sampled_from(["", "pool", "pad"]))
        x = model.max_pool(f"pool_{number}", x) if between == "pool" else x
        x = model.pad(f"pad_{number}", x) if between == "pad" else x
    x = model.mean("mean", x) if data.draw(st.booleans()) else model.flatten("flat", x)
    x = model.dense("dense", x, uneven(rng, 4, model.shape(x)[1], axis=0), rng.normal(size=4).astype(np.float32), NONE)
    path = lite_models.write(tmp_path_factory.mktemp("net"), model.finish(x))

    found = equalize(path, trials)

    expected, outputs = trials.outputs(path)["output"], trials.outputs(found.content)["output"]
    assert np.max(np.abs(outputs - expected)) <= 1e-4 * np.max(np.abs(expected))
    assert found.pairs


@pytest.mark.parametrize("activation", [NONE, RELU])
def test_a_depthwise_layer_takes_channels_of_equal_range(tmp_path: Path, trials: Trials, activation: int) -> None:
    path = lite_models.write(tmp_path, separable(activation))
    found = equalize(path, trials)
    assert found.pairs == ("conv → depthwise", "depthwise → pointwise", "pointwise → dense")
    graph = Rewriter(lite_models.write(tmp_path, found.content, "equalized")).model.subgraphs[0]
    output = graph.operators[0].outputs[0]
    reach = trials.channel_maxima(found.content, [output])[output]
    before = trials.channel_maxima(path, [output])[output]
    loud = before > before.max() / 16
    assert np.allclose(reach[loud], reach.max(), rtol=1e-2)
    assert np.allclose(reach[~loud & (before > 0)], 16 * before[~loud & (before > 0)], rtol=1e-2)
    assert found.spread_after < found.spread_before / 2


def test_int8_loses_less_on_the_equalized_model(tmp_path: Path, trials: Trials) -> None:
    path = lite_models.write(tmp_path, separable())
    equalized = lite_models.write(tmp_path, equalize(path, trials).content, "equalized")
    examples = [{"features": row[None]} for row in samples()["features"]]
    with Trials(samples(seed=1)) as held_out:
        expected = held_out.outputs(path)
        plain, better = (
            sqnr_db(expected, held_out.outputs(quantize(one, Recipe(preset="int8"), statistics=ranges).content))
            for one in (path, equalized)
            for ranges in [calibrate(one, examples)]
        )
    assert better > plain + 2


def test_channels_that_relu6_clips_stay_as_they_are_and_are_named(tmp_path: Path, trials: Trials) -> None:
    path = lite_models.write(tmp_path, separable(RELU6, scale=3))
    found = equalize(path, trials)
    assert "channels come near 6" in found.skipped["conv"]
    before, after = (
        model.constant(model.model.subgraphs[0].tensors[model.model.subgraphs[0].operators[0].inputs[1]])
        for model in (Rewriter(path), Rewriter(lite_models.write(tmp_path, found.content, "equalized")))
    )
    output = Rewriter(path).model.subgraphs[0].operators[0].outputs[0]
    clipped = trials.channel_maxima(path, [output])[output] >= 6
    assert clipped.any()
    assert np.array_equal(before[clipped], after[clipped])
    assert not np.allclose(before[~clipped], after[~clipped])


def test_relu6_clips_no_scaled_channel_on_inputs_a_little_larger_than_the_samples(
    tmp_path: Path, trials: Trials
) -> None:
    path = lite_models.write(tmp_path, separable(RELU6, scale=0.2))
    content = equalize(path, trials).content
    with Trials({"features": samples()["features"] * 1.02}) as larger:
        assert sqnr_db(larger.outputs(path), larger.outputs(content)) > 100


def test_an_output_that_is_read_twice_is_not_scaled(tmp_path: Path, trials: Trials) -> None:
    rng = np.random.default_rng(0)
    model = Builder(SHAPE)
    a = model.conv("a", model.input, uneven(rng, 8, 3, 3, 3, axis=0))
    b = model.conv("b", a, uneven(rng, 8, 3, 3, 8, axis=0))
    c = model.conv("c", model.arithmetic("ADD", "sum", a, b), uneven(rng, 8, 3, 3, 8, axis=0))
    path = lite_models.write(tmp_path, model.finish(model.conv("d", c, uneven(rng, 4, 3, 3, 8, axis=0))))
    found = equalize(path, trials)
    assert found.pairs == ("c → d",)
    assert "several places" in found.skipped["a"]
    assert "ADD" in found.skipped["b"]


def test_shared_weights_are_not_scaled(tmp_path: Path, trials: Trials) -> None:
    rng = np.random.default_rng(0)
    model = Builder(SHAPE)
    x = model.conv("a", model.input, uneven(rng, 8, 3, 3, 3, axis=0))
    x = model.conv("b", x, uneven(rng, 8, 3, 3, 8, axis=0))
    x = model.conv("c", x, uneven(rng, 8, 3, 3, 8, axis=0))
    tensors = model.graph.tensors
    named = {tensor.name: tensor for tensor in tensors}
    named[b"c/weights"].buffer = named[b"b/weights"].buffer
    path = lite_models.write(tmp_path, model.finish(x))
    with pytest.raises(ModelError, match="shared"):
        equalize(path, trials)


def test_a_model_without_two_layers_in_a_row_is_refused(tmp_path: Path, trials: Trials) -> None:
    rng = np.random.default_rng(0)
    model = Builder(SHAPE)
    x = model.conv("a", model.input, uneven(rng, 8, 3, 3, 3, axis=0), padding=VALID)
    path = lite_models.write(tmp_path, model.finish(model.softmax("b", x)))
    with pytest.raises(ModelError, match=r"no two layers to equalize.*SOFTMAX"):
        equalize(path, trials)
