"""The edge pipeline on TFX's BeamDagRunner: only the gate and Pusher have work to do, and the verdict is the same."""

from __future__ import annotations

import hashlib
import sys
from unittest import mock

import pytest
from wine import HERE, Execution, Node, Winery

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def beam(winery: Winery, edge: dict[str, Node]) -> dict[str, Node]:
    """The nodes of the edge pipeline, run by BeamDagRunner after LocalDagRunner."""
    from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner

    pipeline = winery.create(HERE / "edge" / "pipeline.py", HERE / "edge" / "model" / "wine_model.py", "beam")
    gate = next(node for node in pipeline.components if node.id == "EdgeEvaluator")
    # Another limit, or the cache would answer for the gate as well.
    gate.exec_properties["config"] = gate.exec_properties["config"].replace("20000", "20001")
    with mock.patch.object(sys, "argv", sys.argv[:1]):
        BeamDagRunner().run(pipeline)
    return {name: winery.node(name) for name in edge}


def test_the_gate_judges_anew_and_blesses_the_same_file(beam: dict[str, Node], edge: dict[str, Node]) -> None:
    assert beam["Quantizer"].execution.last_known_state == Execution.CACHED
    assert beam["EdgeEvaluator"].execution.last_known_state == Execution.COMPLETE
    before, after = (nodes["EdgeEvaluator"].outputs["blessing"] for nodes in (edge, beam))
    assert after.id != before.id
    for key in ("blessed", "sha256", "current_model"):
        assert after.custom_properties[key] == before.custom_properties[key]
    assert after.custom_properties["blessed"].int_value == 1


def test_what_is_blessed_is_pushed(beam: dict[str, Node], winery: Winery) -> None:
    (pushed,) = winery.pushed("beam")
    digest = hashlib.sha256((pushed / "tflite").read_bytes()).hexdigest()
    assert digest == beam["EdgeEvaluator"].outputs["blessing"].custom_properties["sha256"].string_value
