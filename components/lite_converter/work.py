"""What LiteConverter does, in a process of its own without TFX."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.conversion.agreement import Agreement
from tfx_edge.conversion.convert import Conversion, convert
from tfx_edge.examples.sampling import Sample
from tfx_edge.lite import bundle
from tfx_edge.lite_converter.spec import LiteConverterConfig
from tfx_edge.model_metadata.metadata import with_metadata
from tfx_edge.stages import calibration
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext, model_digest
from tfx_edge.training.types import Progress

if TYPE_CHECKING:
    from tfx_edge.preprocessing.bake import Preprocessing

Batch = dict[str, np.ndarray]

_COMPARED = 32


def convert_model(request: Request, progress: Progress) -> dict[str, Any]:
    """Converts the input model and returns the output's properties."""
    stage = StageContext(_on_examples_as_they_are(request))
    config = LiteConverterConfig.parse(request.properties["config"])
    sample = _calibrated_on(stage, config)
    made = _convert(stage, config, sample, next(iter(request.inputs.get("transform_graph", ())), None))
    parent = model_digest(stage.model_uri)
    result = _known(made.agreement)
    if len(made.agreements) > 1:
        result["signatures"] = {name: _known(agreement) for name, agreement in made.agreements.items()}
    if made.dynamic_batch_operators:
        result["dynamic_batch_operators"] = list(made.dynamic_batch_operators)
    documents: dict[str, Any] = {}
    audit = None
    if config.recipe:
        documents["recipe.json"] = config.recipe.model_dump(mode="json")
    if made.report:
        audit = calibration.audited(stage, sample, made.calibrated, progress) if sample and made.calibrated else None
        documents["quantization.json"] = made.report.to_dict() | ({"audit": audit.to_dict()} if audit else {})
        result |= {"backend": made.backend, "missed": [outcome.name for outcome in made.report.missed]}
    steps = stage.steps("LiteConverter", config.model_dump(mode="json"), result)
    content = with_metadata(made.content, config.metadata) if config.metadata else made.content
    model = bundle.write_bundle(stage.output_uri, content, steps, stage.model_uri, parent, documents)
    progress(f"{model.precision}, {model.size_bytes:,} bytes, {model.gzip_bytes:,} compressed")
    for line in made.report.lines() if made.report else ():
        progress(line)
    if made.quantized and model.float_ops:
        progress(f"operators that stay in float: {', '.join(map(str, model.float_ops))}")
    for name, found in made.agreements.items():
        progress(f"{f'{name}: ' if len(made.agreements) > 1 else ''}{found}")
    recipe = config.recipe.to_json() if config.recipe else config.to_json()
    properties = bundle.properties(model, recipe, parent) | (audit.properties() if audit else {})
    return {**properties, "max_output_difference": made.agreement.max_output_difference}


def _known(agreement: Agreement) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(agreement).items() if value is not None}


def _on_examples_as_they_are(request: Request) -> Request:
    """A transform graph is part of the model here, and says nothing of the examples, which a schema describes."""
    return dataclasses.replace(request, fn_args={**request.fn_args, "transform_graph_path": None})


def _convert(
    stage: StageContext, config: LiteConverterConfig, sample: Sample | None, transform_graph: str | None
) -> Conversion:
    from tfx_edge.preprocessing.bake import Preprocessing

    preprocessing = Preprocessing(transform_graph) if transform_graph else None
    build = stage.user_code.get("build_model_fn")
    examples = sample.examples if sample else _first(stage)
    with preprocessing.explained() if preprocessing else contextlib.nullcontext():
        return convert(
            stage.model_uri,
            batch_size=config.batch_size,
            recipe=config.recipe,
            calibration=sample.examples if sample else (),
            signatures=config.signatures,
            allow_select_tf_ops=config.allow_select_tf_ops,
            allow_custom_ops=config.allow_custom_ops,
            sparse=config.sparse,
            batches=_compared(examples, preprocessing),
            build_model=functools.partial(build, stage.fn_args) if build else None,
            preprocess=preprocessing.before if preprocessing else None,
        )


def _compared(examples: list[Batch], preprocessing: Preprocessing | None) -> Iterator[Batch]:
    """Batches to compare on; none leaves it to the conversion to make some up."""
    if examples:
        yield calibration.stacked(examples[:_COMPARED])
    elif preprocessing:
        yield from preprocessing.samples()


def _calibrated_on(stage: StageContext, config: LiteConverterConfig) -> Sample | None:
    """The examples to calibrate on; None where nothing is calibrated."""
    if "examples" in stage.request.inputs and config.recipe and config.recipe.calibrated:
        return calibration.draw(stage, config.recipe)
    return None


def _first(stage: StageContext) -> list[Batch]:
    """Single examples to compare on; none where the component was given none."""
    if "examples" not in stage.request.inputs:
        return []
    return [features for features, _ in itertools.islice(stage.arrays("train", 1, labelled=False), _COMPARED)]
