"""What tfx-edge puts on artifacts and executions is what every store of ML Metadata takes."""

from __future__ import annotations

import math

import pytest
from tfx.types import standard_artifacts

from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig
from tfx_edge.stages.executor import set_property, storable


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "^conv_\\d+/", "x" * 2001, "年" * 700])
def test_what_a_store_refuses_is_left_out(value: str | float | None) -> None:
    model = standard_artifacts.Model()
    set_property(model, "name_of_it", value)
    assert not model.has_custom_property("name_of_it")


def test_numbers_are_doubles_and_texts_stay() -> None:
    model = standard_artifacts.Model()
    set_property(model, "flops", 2**40)
    set_property(model, "precision", "int8 für Zürich's [0-9]")
    assert model.get_float_custom_property("flops") == 2.0**40
    assert model.get_string_custom_property("precision") == "int8 für Zürich's [0-9]"


def test_prose_is_cut_between_characters_and_has_no_backslash() -> None:
    assert storable("a\\b") == "a/b"
    assert storable("年" * 700) == "年" * 666
    assert storable("all 8 checks passed") == "all 8 checks passed"


def test_names_in_any_script_need_no_backslash_in_a_configuration() -> None:
    config = EdgeEvaluatorConfig.parse({"slices": ["stadt_zürich", "年齢"], "thresholds": {"size_bytes": {"max": 1e6}}})
    assert "\\" not in config.to_json()
    assert EdgeEvaluatorConfig.parse(config.to_json()) == config
