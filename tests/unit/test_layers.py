"""The layers of a file, and the precision that each is in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import lite_models
import pytest

from tfx_edge import cli
from tfx_edge.errors import ModelError
from tfx_edge.lite.layers import Layer, layers

WEIGHTS = {"CONV_2D", "FULLY_CONNECTED"}


def of(folder: Path, make: Callable[[], bytes]) -> tuple[Layer, ...]:
    return layers(lite_models.write(folder, make()))


def test_layers_are_named_after_what_they_were_in_the_trained_model(tmp_path: Path) -> None:
    found = of(tmp_path, lite_models.float32)
    ops = ["CONV_2D", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED", "SOFTMAX"]
    assert [layer.op for layer in found] == ops
    assert [layer.elements for layer in found] == [72, 1152, 0, 0, 3072, 480, 0]
    assert "conv_a" in found[0].name
    assert "dense" in found[4].name
    assert len({layer.name for layer in found}) == len(found)


@pytest.mark.parametrize(
    ("make", "precision"),
    [
        (lite_models.float32, "float32"),
        (lite_models.float16, "float16"),
        (lite_models.dynamic_int8, "dynamic_int8"),
        (lite_models.int8_weight_only, "dynamic_int8"),
        (lite_models.int8, "int8"),
        (lite_models.int8_float_io, "int8"),
        (lite_models.int16x8, "int16x8"),
        (lite_models.int4_weights, "int4_weights"),
        (lite_models.int4_blocks, "int4_blockwise"),
        (lite_models.int8x4, "int8x4"),
    ],
)
def test_the_precision_of_a_layer_is_read_from_the_file(
    tmp_path: Path, make: Callable[[], bytes], precision: str
) -> None:
    weighty = [layer for layer in of(tmp_path, make) if layer.op in WEIGHTS and layer.elements >= 1024]
    assert weighty
    assert {layer.precision for layer in weighty} == {precision}


def test_converting_and_control_flow_operators_are_no_layers(tmp_path: Path) -> None:
    assert {"QUANTIZE", "DEQUANTIZE"}.isdisjoint(layer.op for layer in of(tmp_path, lite_models.int8_float_io))
    loop = of(tmp_path, lite_models.gru_loop)
    assert "WHILE" not in {layer.op for layer in loop}
    assert {layer.subgraph for layer in loop if layer.op == "FULLY_CONNECTED"} == {0, 2}


def test_a_float_operator_in_an_integer_model_is_seen(tmp_path: Path) -> None:
    assert [layer.op for layer in of(tmp_path, lite_models.float_island) if layer.precision == "float32"] == ["SIN"]


def test_the_command_lists_them_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lite_models.write(tmp_path, lite_models.float32())
    assert cli.main(["inspect", "--layers", str(path)]) == 0
    assert re.search(r"^CONV_2D +float32 +1,152 +sequential\w*/conv_b/", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["inspect", "--layers", "--json", str(path)]) == 0
    assert [layer["name"] for layer in json.loads(capsys.readouterr().out)] == [layer.name for layer in layers(path)]


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="tflite"):
        layers(path)
