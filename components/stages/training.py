"""The end of every training stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfx_edge.config import Config
from tfx_edge.models import layout, saving
from tfx_edge.stages.context import StageContext, model_digest

if TYPE_CHECKING:
    import tf_keras


def finish(
    stage: StageContext, model: tf_keras.Model, component: str, config: Config, result: dict[str, Any]
) -> dict[str, Any]:
    """Saves the model as a trainable stage and returns the output's properties."""
    saving.save_stage(model, stage.output_uri, stage.steps(component, config.model_dump(mode="json"), result))
    return properties(stage, config)


def finish_quantization_aware(
    stage: StageContext, model: tf_keras.Model, output_names: list[str], config: Config, result: dict[str, Any]
) -> dict[str, Any]:
    """Saves a model that can only be converted from now on, under the output names it had, likewise."""
    steps = stage.steps("Quantizer", config.model_dump(mode="json"), result)
    saving.save_quantization_aware(model, stage.output_uri, steps, output_names)
    return properties(stage, config)


def properties(stage: StageContext, config: Config, parents: Sequence[str] | None = None) -> dict[str, Any]:
    """What people query about a trainable stage that was written, for the artifact's custom properties.

    Args:
      stage: that wrote it.
      config: of the stage.
      parents: uris of the models that it was made of; None for the input model alone.
    """
    digests = [model_digest(uri) for uri in ([stage.model_uri] if parents is None else parents)]
    return {
        "sha256": model_digest(stage.output_uri),
        "size_bytes": layout.model_bytes(stage.output_uri),
        "recipe": config.to_json(),
        "parent_sha256": ",".join(digest for digest in digests if digest) or None,
    }
