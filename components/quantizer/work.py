"""What Quantizer does, in a process of its own without TFX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfx_edge.errors import ModelError
from tfx_edge.models import layout
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantization.report import QuantizationReport
from tfx_edge.quantizer.spec import QuantizerConfig
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest
from tfx_edge.training.types import Progress


@dataclass(frozen=True)
class _Made:
    """A quantized model, by which recipe in the end, and what there is to say of it."""

    content: bytes
    recipe: Recipe
    report: QuantizationReport
    documents: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)


def quantize(request: Request, progress: Progress) -> dict[str, Any]:
    """Quantizes the input model and returns the output's properties."""
    stage = StageContext(request)
    config = QuantizerConfig.parse(request.properties["config"])
    return _train(stage, config, progress) if config.trains else _post_training(stage, config, progress)


def _post_training(stage: StageContext, config: QuantizerConfig, progress: Progress) -> dict[str, Any]:
    from tfx_edge.lite import bundle
    from tfx_edge.model_metadata.metadata import carry_metadata

    made = _recover(stage, config, progress) if config.recovery else _by_recipe(stage, config.recipe, progress)
    for line in made.report.lines():
        progress(line)
    parent, recipe = model_digest(stage.model_uri), made.recipe.model_dump(mode="json")
    result = {"missed": [outcome.name for outcome in made.report.missed], **made.properties}
    documents = {"recipe.json": recipe, "quantization.json": {**made.report.to_dict(), **made.documents}}
    steps = stage.steps("Quantizer", {"recipe": recipe}, result)
    content = carry_metadata(layout.require_lite_file(stage.model_uri).read_bytes(), made.content)
    written = bundle.write_bundle(stage.output_uri, content, steps, stage.model_uri, parent, documents)
    progress(f"{written.precision}, {written.size_bytes:,} bytes, {written.gzip_bytes:,} compressed")
    return {**bundle.properties(written, made.recipe.to_json(), parent), **made.properties}


def _by_recipe(stage: StageContext, recipe: Recipe, progress: Progress) -> _Made:
    from tfx_edge.quantization.quantize import quantize as quantize_file
    from tfx_edge.stages import calibration

    source = layout.require_lite_file(stage.model_uri)
    if not recipe.calibrated:
        quantized = quantize_file(source, recipe)
        return _Made(quantized.content, recipe, quantized.report)
    sample = calibration.draw(stage, recipe)
    statistics, audit = calibration.calibrate(stage, source, recipe, sample, progress)
    quantized = quantize_file(source, recipe, statistics=statistics)
    return _Made(quantized.content, recipe, quantized.report, {"audit": audit.to_dict()}, audit.properties())


def _recover(stage: StageContext, config: QuantizerConfig, progress: Progress) -> _Made:
    from tfx_edge.gate.held_out import scorer
    from tfx_edge.lite.inspect import inspect
    from tfx_edge.models.features import select_features
    from tfx_edge.recovery.recover import recover
    from tfx_edge.stages import calibration

    assert config.recovery
    metric, source = config.recovery.metric, layout.require_lite_file(stage.model_uri)
    drawn = calibration.draw_apart(stage, config.recipe, config.recovery.examples, labelled=metric is not None)
    statistics, audit = calibration.calibrate(stage, source, config.recipe, drawn.calibration, progress)
    inputs = [tensor.name for tensor in inspect(source).inputs]
    samples = select_features(calibration.stacked(drawn.calibration.examples), inputs)
    held_out = select_features(drawn.features, inputs)
    score = scorer(metric, source, held_out, drawn.labels) if metric else None
    found = recover(source, config.recipe, samples, held_out, score, config.recovery, progress, statistics)
    if not found.met:
        raise ModelError(found.shortfall())
    figures = {"recovery_float_score": found.float_score, "recovery_score": found.score}
    return _Made(
        found.content,
        found.recipe,
        found.quantization,
        {"audit": audit.to_dict(), "recovery": dict(found.report)},
        {**audit.properties(), **figures, "recovery_methods": ", ".join(found.methods) or "none needed"},
    )


def _train(stage: StageContext, config: QuantizerConfig, progress: Progress) -> dict[str, Any]:
    import tf_keras

    from tfx_edge.models import saving
    from tfx_edge.quantize_aware import proof, quantize_aware, scheme
    from tfx_edge.stages.resuming import resumable
    from tfx_edge.stages.training import finish_quantization_aware
    from tfx_edge.training import training

    tf_keras.utils.set_random_seed(config.seed)
    model = stage.load_model()
    data = stage.training_data(saving.model_input_names(model), config.batch_size, config.seed)
    wrapped, layers = quantize_aware.wrap(model, config.recipe, config.preserve)
    promised = proof.promises(wrapped, config.preserve)
    left = [row["layer"] for row in layers if row["outcome"] == "float32"]
    for row in layers:
        if row["outcome"] == "float32":
            progress(f"{row['class']} {row['layer']!r} stays in float: {row['why']}")
    stage.compile(wrapped, model, data.batches, config.learning_rate)
    with resumable(stage, config) as checkpoint:
        figures = training.fit(wrapped, data, config, progress, checkpoint=checkpoint)
        scheme.settle_shared_values(wrapped)
        proof.require_kept(wrapped, promised)
        result = {**figures, "float_layers": left, "layers": layers}
        return finish_quantization_aware(stage, wrapped, model.output_names, config, result)
