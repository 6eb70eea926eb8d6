"""Executor of Quantizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfx_edge.lite.quantize import CALIBRATED
from tfx_edge.models import layout
from tfx_edge.models.training_types import Progress
from tfx_edge.quantizer.spec import QuantizerConfig
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest
from tfx_edge.stages.executor import ModelExecutor


class Executor(ModelExecutor):
    """Quantizes in a child process."""

    WORK = f"{__name__}:quantize"
    COMPONENT = "Quantizer"


def quantize(request: Request, progress: Progress) -> dict[str, Any]:
    """Quantizes the input model and returns the output's properties."""
    stage = StageContext(request)
    config = QuantizerConfig.parse(request.properties["config"])
    return _train(stage, config, progress) if config.mode == "qat" else _post_training(stage, config, progress)


def _post_training(stage: StageContext, config: QuantizerConfig, progress: Progress) -> dict[str, Any]:
    from tfx_edge.lite import bundle
    from tfx_edge.lite.quantize import quantize as quantize_file

    source = layout.require_lite_file(stage.model_uri)
    calibration = _calibration(stage, config.calibration_examples) if config.mode in CALIBRATED else iter(())
    content, model = quantize_file(source, config.mode, calibration)
    parent = model_digest(stage.model_uri)
    steps = stage.steps("Quantizer", {"mode": config.mode}, {"precision": model.precision})
    written = bundle.write_bundle(stage.output_uri, content, steps, stage.model_uri, parent)
    progress(f"{written.precision}, {written.size_bytes:,} bytes, {written.gzip_bytes:,} compressed")
    return bundle.properties(written, config.to_json(), parent)


def _calibration(stage: StageContext, count: int) -> Iterator[dict[str, np.ndarray]]:
    for features in stage.dataset("train", 1, labelled=False).take(count).as_numpy_iterator():
        yield features if isinstance(features, dict) else {"features": features}


def _train(stage: StageContext, config: QuantizerConfig, progress: Progress) -> dict[str, Any]:
    import tf_keras

    from tfx_edge.models import quantize_aware, saving, training

    tf_keras.utils.set_random_seed(config.seed)
    model = stage.load_model()
    names = saving.model_input_names(model)
    train, evaluation, _ = stage.training_data(names, config.batch_size, config.seed)
    wrapped, refused = quantize_aware.wrap(model, preserve_sparsity=config.preserve_sparsity)
    if refused:
        progress(f"stay in float: {', '.join(refused)}")
    stage.compile(wrapped, model, train, config.learning_rate)
    figures = training.fit(wrapped, train, evaluation, config.epochs, progress)
    saving.save_serving(wrapped, layout.serving_dir(stage.output_uri), output_names=model.output_names)
    steps = stage.steps("Quantizer", config.model_dump(mode="json"), {**figures, "float_layers": refused})
    layout.write_steps(stage.output_uri, steps)
    size = sum(path.stat().st_size for path in layout.serving_dir(stage.output_uri).rglob("*") if path.is_file())
    return {"size_bytes": size, "recipe": config.to_json(), "parent_sha256": model_digest(stage.model_uri)}
