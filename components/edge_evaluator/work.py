"""What EdgeEvaluator does, in a process of its own without TFX."""

from __future__ import annotations

from typing import Any

from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig
from tfx_edge.gate import evaluation
from tfx_edge.models.training_types import Progress
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext


def evaluate(request: Request, progress: Progress) -> dict[str, Any]:
    """Measures the candidate, and the baseline where there is one, and returns the report."""
    stage = StageContext(request)
    config = EdgeEvaluatorConfig.parse(request.properties["config"])
    baseline = request.inputs.get("baseline_model")
    return evaluation.evaluate(
        stage.model_uri,
        baseline[0] if baseline else None,
        lambda: stage.arrays("eval", config.batch_size),
        config.model_dump(exclude={"batch_size"}),
        progress,
    )
