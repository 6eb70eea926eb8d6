"""What Quantizer does, in a process of its own without TFX."""

from __future__ import annotations

import itertools
from typing import Any

from tfx_edge.lite.quantize import CALIBRATED
from tfx_edge.models import layout
from tfx_edge.models.training_types import Progress
from tfx_edge.quantizer.spec import QuantizerConfig
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest


def quantize(request: Request, progress: Progress) -> dict[str, Any]:
    """Quantizes the input model and returns the output's properties."""
    stage = StageContext(request)
    config = QuantizerConfig.parse(request.properties["config"])
    return _train(stage, config, progress) if config.mode == "qat" else _post_training(stage, config, progress)


def _post_training(stage: StageContext, config: QuantizerConfig, progress: Progress) -> dict[str, Any]:
    from tfx_edge.lite import bundle
    from tfx_edge.lite.quantize import quantize as quantize_file

    source = layout.require_lite_file(stage.model_uri)
    examples = stage.arrays("train", 1, labelled=False) if config.mode in CALIBRATED else iter(())
    calibration = (features for features, _ in itertools.islice(examples, config.calibration_examples))
    content, model = quantize_file(source, config.mode, calibration)
    parent = model_digest(stage.model_uri)
    steps = stage.steps("Quantizer", {"mode": config.mode}, {"precision": model.precision})
    written = bundle.write_bundle(stage.output_uri, content, steps, stage.model_uri, parent)
    progress(f"{written.precision}, {written.size_bytes:,} bytes, {written.gzip_bytes:,} compressed")
    return bundle.properties(written, config.to_json(), parent)


def _train(stage: StageContext, config: QuantizerConfig, progress: Progress) -> dict[str, Any]:
    import tf_keras

    from tfx_edge.models import quantize_aware, saving, training
    from tfx_edge.stages.training import finish_quantization_aware

    tf_keras.utils.set_random_seed(config.seed)
    model = stage.load_model()
    names = saving.model_input_names(model)
    train, evaluation, _ = stage.training_data(names, config.batch_size, config.seed)
    wrapped, refused = quantize_aware.wrap(model, preserve_sparsity=config.preserve_sparsity)
    if refused:
        progress(f"stay in float: {', '.join(refused)}")
    stage.compile(wrapped, model, train, config.learning_rate)
    figures = training.fit(wrapped, train, evaluation, config.epochs, progress)
    return finish_quantization_aware(stage, wrapped, model.output_names, config, {**figures, "float_layers": refused})
