"""What the report of a quantization says of each layer."""

from __future__ import annotations

import json
from pathlib import Path

import lite_models
import pytest
import quantize_models

from tfx_edge.errors import ModelError
from tfx_edge.lite.layers import layers
from tfx_edge.quantization.quantize import foresee, quantize
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantization.report import QuantizationReport, compare
from tfx_edge.quantization.rules import Plan


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lite_models.write(tmp_path_factory.mktemp("report"), lite_models.float32())


def report(path: Path, preset: str) -> QuantizationReport:
    return quantize(path, Recipe(preset=preset), lite_models.images()).report


def test_every_layer_is_in_it_in_the_order_of_the_float_file(cnn: Path) -> None:
    found = report(cnn, "int8")
    assert [(outcome.name, outcome.elements) for outcome in found.layers] == [(o.name, o.elements) for o in layers(cnn)]
    assert {(outcome.wanted, outcome.got, outcome.why) for outcome in found.layers} == {("int8", "int8", "")}
    assert found.float_bytes == cnn.stat().st_size


def test_a_layer_without_weights_is_not_missed_where_weights_alone_shrink(cnn: Path) -> None:
    found = report(cnn, "dynamic_int8")
    assert [outcome.op for outcome in found.layers if outcome.got == "float32"] == ["MAX_POOL_2D", "RESHAPE", "SOFTMAX"]
    assert not found.missed


def test_people_read_what_came_out_and_what_was_missed(cnn: Path) -> None:
    found = report(cnn, "int4_blockwise")
    lines = found.lines()
    assert lines[0] == f"{found.size_bytes:,} bytes, {found.size_bytes / cnn.stat().st_size:.3f} of the float file"
    assert lines[1:3] == ["int4_weights: 3 layers, 1,704 weights", "int4_blockwise: 1 layer, 3,072 weights"]
    assert len(lines) == 3 + len(found.missed) == 6
    assert all("is int4_weights, not int4_blockwise: " in line for line in lines[3:])


def test_it_goes_into_json(cnn: Path) -> None:
    found = report(cnn, "int4_blockwise")
    again = json.loads(json.dumps(found.to_dict()))
    assert again["layers"][0] == {
        "name": found.layers[0].name,
        "op": "CONV_2D",
        "elements": 72,
        "wanted": "int4_blockwise",
        "got": "int4_weights",
        "why": found.layers[0].why,
    }


@pytest.mark.parametrize("preset", ["float16", "dynamic_int8", "int8", "int16x8", "int4_weights", "int4_blockwise"])
def test_what_is_foreseen_comes_out(cnn: Path, preset: str) -> None:
    plans, outcomes = foresee(cnn, Recipe(preset=preset)), report(cnn, preset).layers
    assert [(plan.layer.name, plan.planned or plan.layer.precision) for plan in plans] == [
        (outcome.name, outcome.got) for outcome in outcomes
    ]
    assert [plan.missed for plan in plans] == [outcome.missed for outcome in outcomes]


def test_what_is_foreseen_knows_embeddings(tmp_path: Path) -> None:
    path = lite_models.write(tmp_path, quantize_models.embedding())
    assert [plan.planned for plan in foresee(path, Recipe(preset="int4_weights")) if plan.layer.weights] == [
        "int4_weights",
        "int4_weights",
    ]


def test_the_file_counts_and_not_the_plan(cnn: Path) -> None:
    plans = [Plan(layer, "int8", "int8", "") for layer in layers(cnn)]
    found = compare(plans, layers(cnn), 1, 1)
    assert {outcome.why for outcome in found.missed} == {"litert-quantizer made it float32"}
    assert len(found.missed) == len(plans)


def test_a_layer_that_is_gone_is_an_error(cnn: Path) -> None:
    plans = [Plan(layer, "int8", "int8", "") for layer in layers(cnn)]
    with pytest.raises(ModelError, match="lacks SOFTMAX"):
        compare(plans, layers(cnn)[:-1], 1, 1)
