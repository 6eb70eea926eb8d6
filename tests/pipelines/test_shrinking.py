"""Distiller with two teachers, Pruner that removes units, and Merger, one after another behind a Trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from wine import LABEL_KEY, Node, Winery, channels, imported, transformed

from tfx_edge.lineage.render import to_text
from tfx_edge.lineage.trace import trace

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def shrunk(winery: Winery, edge: dict[str, Node]) -> dict[str, Node]:
    """The nodes of a pipeline in which a student, made narrower, is merged with its teacher."""
    from tfx_edge import Distiller, EdgeEvaluator, LiteConverter, Merger, Pruner

    importers: dict[str, Any] = transformed(edge)
    data = {**channels(importers), "label_key": LABEL_KEY}
    teachers = [imported(f"teacher_{number}", edge["Trainer"].outputs["model"], "Model") for number in (1, 2)]
    first, second = (node.outputs["result"] for node in teachers)
    distiller = Distiller(
        model=first,
        teachers=[second],
        config={"student": "same", "teacher_weights": [2, 1], "epochs": 3, "learning_rate": 0.01},
        **data,
    ).with_id("Distiller.shrinking")
    pruner = Pruner(
        model=distiller.outputs["edge_model"],
        config={"method": {"kind": "structured", "amount": 0.4}, "epochs": 3, "learning_rate": 0.01},
        **data,
    ).with_id("Pruner.shrinking")
    merger = Merger(models=[first, pruner.outputs["edge_model"]], config={"measure_latency": False}, **data).with_id(
        "Merger.shrinking"
    )
    converter = LiteConverter(model=merger.outputs["edge_model"]).with_id("LiteConverter.shrinking")
    gate = EdgeEvaluator(
        model=converter.outputs["edge_model"], config={"thresholds": {"accuracy": {"min": 0.7}}}, **data
    ).with_id("EdgeEvaluator.shrinking")
    winery.run(*importers.values(), *teachers, distiller, pruner, merger, converter, gate)
    return {node.id.partition(".")[0]: winery.node(node.id) for node in (distiller, pruner, merger, converter, gate)}


def steps(node: Node) -> list[dict[str, Any]]:
    return json.loads(Path(node.outputs["edge_model"].uri, "Format-Keras", "steps.json").read_text())


def test_both_teachers_taught(shrunk: dict[str, Node]) -> None:
    (step,) = steps(shrunk["Distiller"])
    assert len(step["result"]["teachers_sha256"]) == 2
    assert step["result"]["val_accuracy"] >= 0.7


def test_units_are_gone_for_good(shrunk: dict[str, Node]) -> None:
    *_, step = steps(shrunk["Pruner"])
    before, after = (step["result"]["savings"][when] for when in ("before", "after"))
    assert after["macs"] <= 0.65 * before["macs"]
    assert after["size_bytes"] < before["size_bytes"]
    assert after["operators"] == before["operators"]


def test_the_merged_model_is_judged_like_any_other(shrunk: dict[str, Node]) -> None:
    merged = shrunk["Merger"].outputs["edge_model"]
    assert merged.custom_properties["models"].double_value == 2
    assert merged.custom_properties["difference"].double_value < 1e-4
    saved = steps(shrunk["Merger"])[-1]["result"]["savings"]
    assert saved["after"]["operators"] < saved["before"]["operators"]
    assert shrunk["EdgeEvaluator"].outputs["blessing"].custom_properties["blessed"].int_value == 1


def test_the_lineage_of_the_merged_model_names_all_that_led_to_it(winery: Winery, shrunk: dict[str, Node]) -> None:
    model = Path(shrunk["LiteConverter"].outputs["edge_model"].uri, "Format-Serving", "tflite")
    told = to_text(trace(str(model), winery.metadata))
    for node in ("Distiller.shrinking", "Pruner.shrinking", "Merger.shrinking", "LiteConverter.shrinking"):
        assert node in told
