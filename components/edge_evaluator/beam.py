"""When the eval split is scored on Beam."""

from __future__ import annotations

from collections.abc import Sequence

from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig
from tfx_edge.gate.beam_engine import BATCH_TIMEOUT, Engine
from tfx_edge.gate.evaluation import OnBeam
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.stages.context import StageContext


def has_workers(pipeline_args: Sequence[str]) -> bool:
    """Whether Beam's arguments name more than the process that starts the job."""
    return Engine.parse(pipeline_args).has_workers


def job(stage: StageContext) -> OnBeam | None:
    """The Beam job of an evaluation, or None where this process scores the examples.

    Raises:
      DataError: there are no examples, or their schema is missing.
    """
    pipeline_args = stage.request.properties.get("beam_pipeline_args")
    if not pipeline_args or stage.user_code.get("input_fn") or not stage.label_key:
        return None
    config = EdgeEvaluatorConfig.parse(stage.request.properties["config"])
    arguments = [*pipeline_args, f"{BATCH_TIMEOUT}={config.batch_timeout_s}"]
    files = ExampleFiles.matching(stage.files("eval"), stage.schema().SerializeToString(), stage.label_key)
    return OnBeam(files, arguments, stage.request.properties["beam_folder"])
