"""Executor of LiteConverter."""

from __future__ import annotations

from typing import Any

from tfx_edge.lite import bundle, convert
from tfx_edge.lite_converter.spec import LiteConverterConfig
from tfx_edge.models.training_types import Progress
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest
from tfx_edge.stages.executor import ModelExecutor


class Executor(ModelExecutor):
    """Converts in a child process, since a converter that meets what it cannot handle may abort."""

    WORK = f"{__name__}:convert_model"
    COMPONENT = "LiteConverter"


def convert_model(request: Request, progress: Progress) -> dict[str, Any]:
    """Converts the input model and returns the output's properties."""
    stage = StageContext(request)
    config = LiteConverterConfig.parse(request.properties["config"])
    content = convert.convert(
        stage.model_uri,
        batch_size=config.batch_size,
        io_dtype=config.io_dtype,
        allow_select_tf_ops=config.allow_select_tf_ops,
    )
    parent = model_digest(stage.model_uri)
    steps = stage.steps("LiteConverter", config.model_dump(mode="json"), {})
    model = bundle.write_bundle(stage.output_uri, content, steps, stage.model_uri, parent)
    progress(f"{model.precision}, {model.size_bytes:,} bytes, {model.gzip_bytes:,} compressed")
    return bundle.properties(model, config.to_json(), parent)
