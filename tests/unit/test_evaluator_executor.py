"""EdgeEvaluator's executor writes a verdict whatever happens in its child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from tfx_edge import EdgeReport
from tfx_edge.edge_evaluator.executor import Executor


@pytest.mark.parametrize(
    "config",
    ['{"thresholds": {"accuracy": {"min": 0.9}}}', '{"thresholds": {}}'],
    ids=["no .tflite", "bad configuration"],
)
def test_what_cannot_be_judged_is_not_blessed_with_the_reason(tmp_path: Path, config: str) -> None:
    def artifact(kind: Any, name: str) -> Any:
        made = kind()
        made.uri = str(tmp_path / name)
        return made

    outputs = {
        "blessing": [artifact(standard_artifacts.ModelBlessing, "blessing")],
        "infra_blessing": [artifact(standard_artifacts.InfraBlessing, "infra")],
        "report": [artifact(EdgeReport, "report")],
    }
    Executor().Do({"model": [artifact(standard_artifacts.Model, "model")]}, outputs, {"config": config})
    assert [path.name for path in (tmp_path / "blessing").iterdir()] == ["NOT_BLESSED"]
    assert [path.name for path in (tmp_path / "infra").iterdir()] == ["INFRA_NOT_BLESSED"]
    for (made,) in outputs.values():
        assert made.get_int_custom_property("blessed") == 0
        assert "could not be evaluated" in made.get_string_custom_property("reason")
    assert outputs["blessing"][0].get_string_custom_property("current_model") == str(tmp_path / "model")
