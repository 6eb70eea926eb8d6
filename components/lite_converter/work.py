"""What LiteConverter does, in a process of its own without TFX."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfx_edge.lite import bundle, convert
from tfx_edge.lite_converter.spec import LiteConverterConfig
from tfx_edge.models.training_types import Progress
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest


def convert_model(request: Request, progress: Progress) -> dict[str, Any]:
    """Converts the input model and returns the output's properties."""
    stage = StageContext(request)
    config = LiteConverterConfig.parse(request.properties["config"])
    converted = convert.convert(
        stage.model_uri,
        batch_size=config.batch_size,
        io_dtype=config.io_dtype,
        allow_select_tf_ops=config.allow_select_tf_ops,
    )
    result = {name: value for name, value in dataclasses.asdict(converted.agreement).items() if value is not None}
    parent = model_digest(stage.model_uri)
    steps = stage.steps("LiteConverter", config.model_dump(mode="json"), result)
    model = bundle.write_bundle(stage.output_uri, converted.content, steps, stage.model_uri, parent)
    progress(f"{model.precision}, {model.size_bytes:,} bytes, {model.gzip_bytes:,} compressed")
    if converted.quantized and model.float_ops:
        progress(f"operators that stay in float: {', '.join(map(str, model.float_ops))}")
    progress(str(converted.agreement))
    difference = converted.agreement.max_output_difference
    return {**bundle.properties(model, config.to_json(), parent), "max_output_difference": difference}
