"""Recovery as a whole: what is tried, what is kept, and how a model that crashes the interpreter is survived."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest
import recovery_models
from ai_edge_litert import schema_py_generated as schema
from built_models import Builder

from tfx_edge.errors import ConfigError, DataError, DeviceError, ModelError
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.recovery.bias_correction import Corrected, correct_biases
from tfx_edge.recovery.recover import recover
from tfx_edge.recovery.settings import RecoveryConfig
from tfx_edge.recovery.trials import Trials, explained, sqnr_db


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return lite_models.write(tmp_path, recovery_models.digits().content)


def test_methods_that_cost_no_bytes_come_first_and_stop_when_they_suffice(digits: Path) -> None:
    trained = recovery_models.digits()
    lines: list[str] = []
    settings = RecoveryConfig(max_drop=0.03)
    found = recover(
        digits, Recipe(preset="int4_weights"), trained.samples, trained.held_out, None, settings, lines.append
    )
    plain = quantize(digits, Recipe(preset="int4_weights")).content
    assert found.met
    assert found.plain_score < 0.97 <= found.score
    assert "bias_correction" in found.methods
    assert "mixed_precision" not in found.methods
    assert len(found.content) == len(plain)
    assert found.shortfall() == ""
    assert any("bias_correction: score" in line for line in lines)
    json.dumps(found.report)


def test_mixed_precision_takes_over_where_the_others_fall_short(digits: Path) -> None:
    trained = recovery_models.digits()
    settings = RecoveryConfig(max_drop=0.005)
    found = recover(digits, Recipe(preset="int4_weights"), trained.samples, trained.held_out, None, settings)
    assert found.met
    assert found.methods[-1] == "mixed_precision"
    assert found.recipe.overrides
    assert len(quantize(digits, found.recipe).content) == len(found.content)


@pytest.mark.parametrize("kept", [True, False])
def test_a_correction_is_named_only_where_it_is_in_the_file(
    digits: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = recovery_models.digits()
    recipe = Recipe(preset="int4_weights")
    plain = quantize(digits, recipe).content

    def correct(float_path: Path, quantized: bytes, *others: Any) -> Corrected:
        found = correct_biases(float_path, quantized, *others)
        mixed = len(quantized) > len(plain)
        return found if kept or not mixed else replace(found, content=quantized, kept=False)

    monkeypatch.setattr("tfx_edge.recovery.recover.correct_biases", correct)
    settings = RecoveryConfig(max_drop=0.005, methods=("bias_correction", "mixed_precision"))
    found = recover(digits, recipe, trained.samples, trained.held_out, None, settings)
    assert found.methods == (("bias_correction", "mixed_precision") if kept else ("mixed_precision",))
    assert (found.content == quantize(digits, found.recipe).content) is not kept
    assert found.report["candidates"][-1]["methods"] == list(found.methods)


@pytest.mark.parametrize("spare", ["int16x8", "float32"])
def test_int8_layers_get_the_precision_that_is_asked_for(digits: Path, spare: str) -> None:
    trained = recovery_models.digits()
    settings = RecoveryConfig.parse({"max_drop": 1e-4, "spare": spare, "methods": ["mixed_precision"]})
    found = recover(digits, Recipe(preset="int8_float_io"), trained.samples, trained.held_out, None, settings)
    assert found.met
    assert {override.precision for override in found.recipe.overrides} == {spare}


def test_only_the_named_methods_are_used(digits: Path) -> None:
    trained = recovery_models.digits()
    settings = RecoveryConfig(max_drop=0.0, methods=("bias_correction",))
    found = recover(digits, Recipe(preset="int4_weights"), trained.samples, trained.held_out, None, settings)
    assert not found.met
    assert found.methods == ("bias_correction",)
    assert "beyond max_drop=0" in found.shortfall()
    assert "equalize" not in found.report


def test_a_recipe_that_is_good_enough_is_all_that_is_done(digits: Path) -> None:
    trained = recovery_models.digits()
    found = recover(
        digits,
        Recipe(preset="int8"),
        trained.samples,
        trained.held_out,
        trained.accuracy,
        RecoveryConfig(max_drop=0.05),
    )
    assert found.met
    assert found.methods == ()
    assert len(found.report["candidates"]) == 1


def test_rounded_inputs_are_named_when_nothing_helps(tmp_path: Path) -> None:
    trained = recovery_models.raw_features()
    path = lite_models.write(tmp_path, trained.content)
    found = recover(
        path, Recipe(preset="int8"), trained.samples, trained.held_out, trained.accuracy, RecoveryConfig(max_drop=0)
    )
    assert not found.met
    assert "int8_float_io" in found.shortfall()


@pytest.mark.parametrize(
    "wrong",
    [{"max_drop": -0.1}, {"methods": []}, {"methods": ["equalize", "equalize"]}, {"methods": ["magic"]}, {"drop": 1}],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RecoveryConfig.parse(wrong)


def test_a_crash_of_the_interpreter_fails_one_trial_and_the_next_goes_on(tmp_path: Path, digits: Path) -> None:
    model = Builder((1, 64))
    options = schema.IfOptionsT()
    options.thenSubgraphIndex = options.elseSubgraphIndex = 0  # its branches are the graph itself: it never ends
    x = model.op("IF", "output", [model.constant("true", [True], "bool"), model.input], (1, 64), options)
    crashing = lite_models.write(tmp_path, model.finish(x), "crashing")
    with Trials(recovery_models.digits().samples) as trials:
        expected = trials.outputs(digits)
        with pytest.raises(DeviceError, match="crashed"):
            trials.outputs(crashing)
        assert np.array_equal(trials.outputs(digits)["output"], expected["output"])


def test_a_trial_says_what_does_not_fit(tmp_path: Path, digits: Path) -> None:
    with Trials({"features": np.zeros((3, 7), np.float32)}) as trials:
        with pytest.raises(DataError, match="takes examples of shape"):
            trials.outputs(digits)
        with pytest.raises(ModelError, match="cannot load"):
            trials.outputs(b"nothing")
    with pytest.raises(DataError, match="without samples"):
        Trials({"features": np.zeros((0, 64), np.float32)})


def test_means_and_maxima_are_those_of_the_samples(digits: Path) -> None:
    samples = recovery_models.digits().samples
    with Trials(samples) as trials:
        assert np.allclose(trials.means(digits, [0])[0], samples["features"].mean(axis=0), atol=1e-6)
        assert np.allclose(trials.channel_maxima(digits, [0])[0], samples["features"].max(axis=0))


def test_measures_of_equal_and_of_broken_outputs() -> None:
    expected = {"output": np.array([[1.0, 2.0], [3.0, 5.0]])}
    assert sqnr_db(expected, expected) == 120
    assert sqnr_db(expected, {"output": expected["output"] * 1.1}) == pytest.approx(20)
    assert sqnr_db(expected, {"output": np.full((2, 2), np.nan)}) == -120
    assert explained(expected, expected) == 1
    assert explained(expected, {"output": np.tile(expected["output"].mean(axis=0), (2, 1))}) == pytest.approx(0)
