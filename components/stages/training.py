"""The end of every training stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfx_edge.config import Config
from tfx_edge.models import layout, saving
from tfx_edge.stages.context import StageContext, digest, model_digest

if TYPE_CHECKING:
    import tf_keras


def finish(
    stage: StageContext, model: tf_keras.Model, component: str, config: Config, result: dict[str, Any]
) -> dict[str, Any]:
    """Saves the model as a trainable stage and returns the output's properties."""
    saving.save_stage(model, stage.output_uri, stage.steps(component, config.model_dump(mode="json"), result))
    path = layout.keras_file(stage.output_uri)
    return {
        "sha256": digest(path),
        "size_bytes": path.stat().st_size,
        "recipe": config.to_json(),
        "parent_sha256": model_digest(stage.model_uri),
    }
