"""A plain TFX pipeline gains tfx-edge by added lines: what that leaves in ML Metadata and in the push destination."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path

import pytest
from wine import HERE, Execution, Node, Winery

from tfx_edge.lite.inspect import inspect

pytestmark = pytest.mark.pipeline


def removed_lines(before: Path, after: Path) -> list[str]:
    lines = difflib.ndiff(before.read_text().splitlines(), after.read_text().splitlines())
    return [line[2:].strip() for line in lines if line.startswith("- ")]


def test_the_trainer_module_gains_lines_and_loses_none() -> None:
    assert removed_lines(HERE / "stock" / "model" / "wine_model.py", HERE / "edge" / "model" / "wine_model.py") == []


def test_the_pipeline_loses_no_line_but_the_model_of_pusher() -> None:
    assert removed_lines(HERE / "stock" / "pipeline.py", HERE / "edge" / "pipeline.py") == [
        'model=trainer.outputs["model"],'
    ]


def test_without_tfx_edge_the_saved_model_is_pushed(stock: dict[str, Node], winery: Winery) -> None:
    (pushed,) = winery.pushed("stock")
    assert (pushed / "saved_model.pb").is_file()
    assert stock["Pusher"].outputs["pushed_model"].custom_properties["pushed"].int_value == 1


def test_with_tfx_edge_a_blessed_int8_file_is_pushed(edge: dict[str, Node], winery: Winery) -> None:
    (pushed,) = winery.pushed("edge")
    assert sorted(path.name for path in pushed.iterdir()) == ["edge.json", "quantization.json", "recipe.json", "tflite"]
    digest = hashlib.sha256((pushed / "tflite").read_bytes()).hexdigest()
    assert json.loads((pushed / "edge.json").read_text())["sha256"] == digest
    assert inspect(pushed / "tflite").precision == "int8"
    blessing = edge["EdgeEvaluator"].outputs["blessing"].custom_properties
    assert (blessing["blessed"].int_value, blessing["sha256"].string_value) == (1, digest)
    assert edge["EdgeEvaluator"].outputs["report"].custom_properties["accuracy"].double_value >= 0.8


def test_what_the_trainer_serves_stays_as_it_was(stock: dict[str, Node], edge: dict[str, Node]) -> None:
    def files(node: Node) -> list[str]:
        root = Path(node.outputs["model"].uri)
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    assert files(edge["Trainer"]) == sorted([*files(stock["Trainer"]), "Format-Keras/model.keras"])


def test_what_comes_before_the_trainer_is_not_run_again(edge: dict[str, Node]) -> None:
    assert edge["Transform"].execution.last_known_state == Execution.CACHED
    assert edge["Trainer"].execution.last_known_state == Execution.COMPLETE


def test_the_module_file_travels_as_a_wheel(edge: dict[str, Node]) -> None:
    module, _, wheel = edge["Quantizer"].property("module_path").partition("@")
    assert module == "wine_model"
    assert Path(wheel).suffix == ".whl"
    assert not edge["Quantizer"].property("module_file")
