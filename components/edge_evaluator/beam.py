"""When the eval split is scored on Beam."""

from __future__ import annotations

from collections.abc import Sequence

from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig
from tfx_edge.gate.beam_engine import BATCH_TIMEOUT, Engine
from tfx_edge.gate.evaluation import OnBeam
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.stages.context import StageContext
from tfx_edge.training.types import Progress


def has_workers(pipeline_args: Sequence[str]) -> bool:
    """Whether Beam's arguments name more than the process that starts the job."""
    return Engine.parse(pipeline_args).has_workers


def job(stage: StageContext, progress: Progress) -> OnBeam | None:
    """The Beam job of an evaluation, or None where this process scores the examples; tells if that was not asked for.

    Raises:
      DataError: there are no examples, or their schema is missing.
    """
    pipeline_args = stage.request.properties.get("beam_pipeline_args")
    if not pipeline_args:
        return None
    if stage.user_code.get("input_fn") or not stage.label_key:
        why = "the module's input_fn reads them" if stage.label_key else "there is no label_key"
        progress(f"Beam's workers do not score the examples, for {why}; this process does")
        return None
    config = EdgeEvaluatorConfig.parse(stage.request.properties["config"])
    arguments = [*pipeline_args, f"{BATCH_TIMEOUT}={config.batch_timeout_s}"]
    files = ExampleFiles.matching(stage.files("eval"), stage.schema().SerializeToString(), stage.label_key)
    return OnBeam(files, arguments, stage.request.properties["beam_folder"])
