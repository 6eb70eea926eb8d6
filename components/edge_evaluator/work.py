"""What EdgeEvaluator does, in a process of its own without TFX."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfx_edge.edge_evaluator import beam
from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig
from tfx_edge.errors import EdgeError
from tfx_edge.gate import evaluation
from tfx_edge.gate.own_metrics import HOOK, own_metrics
from tfx_edge.gate.verdict import interrupts
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext
from tfx_edge.training.types import Progress

Batch = tuple[dict[str, np.ndarray], np.ndarray]


def in_time(batches: Iterator[Batch], seconds: float) -> Iterator[Batch]:
    """Ends this process when a batch takes too long: nothing else stops an interpreter that hangs."""
    try:
        for batch in batches:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            yield batch
    finally:  # also when the rest of the batches is not wanted
        signal.setitimer(signal.ITIMER_REAL, 0)


def evaluate(request: Request, progress: Progress) -> dict[str, Any]:
    """Judges the candidate, beside the baseline where there is one, and returns the report."""
    name = request.properties["name"]
    try:
        return _evaluate(request, progress, name)
    except EdgeError as error:
        return evaluation.unevaluated(f"the candidate could not be evaluated: {error}", name, interrupts(error))


def _evaluate(request: Request, progress: Progress, name: str) -> dict[str, Any]:
    stage = StageContext(request)
    config = EdgeEvaluatorConfig.parse(request.properties["config"])
    metric_fns = stage.user_code.require(HOOK, "(fn_args), which own_metrics needs") if config.own_metrics else None
    return evaluation.evaluate(
        stage.model_uri,
        next(iter(request.inputs.get("baseline_model") or ()), None),
        lambda: in_time(stage.arrays("eval", config.batch_size), config.batch_timeout_s),
        config,
        progress,
        label_key=stage.label_key,
        on_beam=beam.job(stage, progress) if config.quality_metrics else None,
        own=own_metrics(metric_fns(stage.fn_args)) if metric_fns else None,
        name=name,
    )
