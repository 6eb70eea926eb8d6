"""Automatic mixed precision: few layers, enough of them, and one recipe that gives the same file again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lite_models
import pytest
import recovery_models

from tfx_edge.quantization.calibration import calibrate
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Override, Recipe
from tfx_edge.recovery.mixed_precision import mix_precisions
from tfx_edge.recovery.sensitivity import sensitivity
from tfx_edge.recovery.trials import Trials

MINUS, TIMES = "scale/minus mean (1)", "scale/times+"
TRAINED = recovery_models.raw_features


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lite_models.write(tmp_path_factory.mktemp("float"), TRAINED().content)


@pytest.fixture(scope="module")
def ranges(path: Path) -> Any:
    return calibrate(path, [{"features": row[None]} for row in TRAINED().samples["features"]])


@pytest.fixture(scope="module")
def held_out() -> Iterator[Trials]:
    with Trials(TRAINED().held_out) as running:
        yield running


def test_the_layers_that_cost_most_rank_first(path: Path, ranges: Any, held_out: Trials) -> None:
    found = sensitivity(path, Recipe(preset="int8_float_io"), held_out, TRAINED().accuracy, ranges)
    assert {layer.name for layer in found.layers[:2]} == {MINUS, TIMES}
    assert found.layers[0].score < found.float_score - 0.1
    assert found.layers[-1].sqnr_db > found.layers[0].sqnr_db + 20
    assert {layer.name for layer in found.layers} == {MINUS, TIMES, "dense_0", "dense_1", "dense_2", "output"}


def test_layers_for_which_the_time_is_over_rank_first_and_say_so(path: Path, ranges: Any, held_out: Trials) -> None:
    found = sensitivity(path, Recipe(preset="int8"), held_out, TRAINED().accuracy, ranges, seconds=0)
    assert all(layer.sqnr_db is None and "were over" in layer.why for layer in found.layers)


def test_few_spared_layers_win_the_accuracy_back_by_a_recipe_that_repeats(
    path: Path, ranges: Any, held_out: Trials
) -> None:
    recipe = Recipe(preset="int8_float_io")
    found = mix_precisions(path, recipe, held_out, TRAINED().accuracy, 0.005, ranges)
    assert found.plain_score < found.float_score - 0.1
    assert found.met
    assert found.score >= found.float_score - 0.005
    assert set(found.spared) == {MINUS, TIMES}
    again = quantize(path, Recipe.parse(found.recipe.to_json()), statistics=ranges)
    assert again.content == found.quantized.content
    kept = {outcome.name: outcome.got for outcome in again.report.layers}
    assert kept == {**dict.fromkeys(["dense_0", "dense_1", "dense_2", "output"], "int8"), **found.spared}


def test_a_model_that_loses_nothing_is_left_alone(path: Path, ranges: Any, held_out: Trials) -> None:
    recipe = Recipe(preset="int8_float_io")
    found = mix_precisions(path, recipe, held_out, TRAINED().accuracy, 1.0, ranges)
    assert found.met
    assert found.recipe == recipe
    assert len(found.attempts) == 1
    assert found.sensitivity is None


def test_a_bar_that_no_layer_can_meet_is_reported_with_the_best_that_was_found(
    path: Path, ranges: Any, held_out: Trials
) -> None:
    found = mix_precisions(path, Recipe(preset="int8"), held_out, TRAINED().accuracy, 0.0, ranges)
    assert not found.met  # the inputs themselves are rounded
    assert found.score == max(attempt.score for attempt in found.attempts)
    assert found.score < found.float_score


def test_layers_that_the_recipe_already_keeps_in_float_stay_and_are_not_counted(
    path: Path, ranges: Any, held_out: Trials
) -> None:
    mine = Override(layers="^scale/minus", precision="float32")
    recipe = Recipe(preset="int8_float_io", overrides=(mine,))
    found = mix_precisions(path, recipe, held_out, TRAINED().accuracy, 0.005, ranges)
    assert found.met
    assert set(found.spared) == {TIMES}
    assert found.recipe.overrides[0] == mine


def test_int4_weights_are_lifted_to_int8(tmp_path: Path) -> None:
    trained = recovery_models.digits()
    path = lite_models.write(tmp_path, trained.content)
    with Trials(trained.held_out) as held_out:
        plain = mix_precisions(path, Recipe(preset="int4_weights"), held_out, trained.accuracy, 1.0)
        drop = (plain.float_score - plain.plain_score) / 2
        found = mix_precisions(path, Recipe(preset="int4_weights"), held_out, trained.accuracy, drop)
    assert drop > 0
    assert found.met
    assert set(found.spared.values()) == {"dynamic_int8"}
    assert 1 <= len(found.spared) <= 2
    assert len(plain.quantized.content) < len(found.quantized.content)
