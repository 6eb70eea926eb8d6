"""Converts a trained model to TFLite, quantizes it by a recipe, and proves the result by running it.

A batch of unknown size adds shape arithmetic and float tails, and a recurrent layer does not convert at all, so a batch
is fixed unless asked otherwise. Everything goes through a SavedModel, which keeps the names of inputs and outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.conversion import agreement, model_source, quantization, repairs, tf_converter
from tfx_edge.conversion.judgement import Agreement, Kind
from tfx_edge.conversion.source import Source, Written
from tfx_edge.conversion.tf_converter import Operators
from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite.compute import OTHER
from tfx_edge.lite.flatbuffer import CONTROL_FLOW, parse
from tfx_edge.lite.inspect import inspect
from tfx_edge.models.features import select_features
from tfx_edge.quantization import backend
from tfx_edge.quantization.calibration import Calibrated, calibrate_halves
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantization.report import QuantizationReport

if TYPE_CHECKING:
    import tf_keras

Batch = dict[str, np.ndarray]

_COMPARED = 32


@dataclass(frozen=True)
class Conversion:
    """A converted model.

    Attributes:
      content: the TFLite flatbuffer.
      quantized: the model was trained quantization-aware.
      agreements: by signature, the main one first, how its outputs compare with those of the model it was made of.
      report: what post-training quantization did to every layer; None where there was none.
      backend: what quantized: ``"converter"`` or ``"litert-quantizer"``; None where nothing did.
      dynamic_batch_operators: names of the operators that only compute shapes, which an open batch costs.
      calibrated: what calibration found in the float ``.tflite``; None where there was none.
    """

    content: bytes
    quantized: bool
    agreements: Mapping[str, Agreement]
    report: QuantizationReport | None = None
    backend: str | None = None
    dynamic_batch_operators: tuple[str, ...] = ()
    calibrated: Calibrated | None = None

    @property
    def agreement(self) -> Agreement:
        """That of the main signature."""
        return next(iter(self.agreements.values()))


def convert(
    model_uri: str | Path,
    *,
    batch_size: int | None = 1,
    recipe: Recipe | None = None,
    calibration: Iterable[Batch] = (),
    signatures: tuple[str, ...] | None = None,
    allow_select_tf_ops: bool = False,
    allow_custom_ops: Sequence[str] = (),
    sparse: bool = False,
    batches: Iterable[Batch] = (),
    build_model: Callable[[], tf_keras.Model] | None = None,
    preprocess: Callable[[Source], Source] | None = None,
) -> Conversion:
    """Converts the model of a stage and compares the result with it.

    Args:
      model_uri: the Model artifact's uri.
      batch_size: the first dimension of inputs and outputs, or None for any.
      recipe: how numbers are stored and computed. None keeps a float model float; a model that was trained
        quantization-aware becomes int8 anyhow, with float inputs and outputs unless the recipe says otherwise.
      calibration: examples for a recipe that is calibrated, one a time: feature name to array whose first dimension
        is 1.
      signatures: signatures of the SavedModel that go into the file, the main one first; None takes the model as a
        whole.
      allow_select_tf_ops: accept operators that need TensorFlow's Flex runtime.
      allow_custom_ops: names of custom operators that the device has kernels for.
      sparse: store float weights that are mostly zero without their zeros.
      batches: features by name to compare on, drawn after ``preprocess``; calibration examples or random inputs take
        their place.
      build_model: makes the architecture in tf_keras, where the user's module does.
      preprocess: puts something before the model, so that ``calibration`` and ``batches`` hold what that takes.

    Raises:
      DataError: a batch does not fit the model, or there are no calibration examples for a recipe that needs them.
      DeviceError: the interpreter crashed.
      ModelError: nothing convertible is there, the converter refuses the model, the recipe does not fit it or did not
        get through, the result does not run, or it computes something else than the model.
    """
    given = [] if preprocess else list(batches)
    source = model_source.of_artifact(model_uri, signatures, given, build_model)
    if preprocess:
        source, given = preprocess(source), list(batches)
    operators = Operators(allow_select_tf_ops, tuple(allow_custom_ops))
    return convert_source(
        source,
        batch_size=batch_size,
        recipe=recipe,
        calibration=calibration,
        operators=operators,
        sparse=sparse,
        batches=given,
    )


def convert_source(
    source: Source,
    *,
    batch_size: int | None = 1,
    recipe: Recipe | None = None,
    calibration: Iterable[Batch] = (),
    operators: Operators | None = None,
    sparse: bool = False,
    batches: Iterable[Batch] = (),
) -> Conversion:
    """Converts whatever can be traced; arguments, result and errors are those of `convert`."""
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        written = source.write(Path(scratch, "saved_model"), batch_size)
        work = _Work(source, written, batch_size, operators or Operators(), Path(scratch))
        given = [select_features(batch, list(source.main.specs)) for batch in batches]
        if sparse and (written.quantization_aware or (recipe and recipe.precisions != {"float32"})):
            raise ModelError(
                "sparse is for float weights, and this model is quantized: kernels for quantized ones do not take them "
                "without their zeros, so leave it out"
            )
        if written.quantization_aware:
            path = work.converted("model.tflite", quantization.while_training(recipe))
            quantization.check_edges(path, recipe)
            return work.finished(path, given, "quantization_aware")
        if recipe and recipe.preset == "qat_int8":
            raise ModelError(
                "recipe 'qat_int8' needs a model that was trained quantization-aware: put a Quantizer with it before "
                "LiteConverter, or quantize after training by 'int8'"
            )
        path = work.converted("float.tflite", quantization.without_zeros if sparse else None)
        if sparse and not any(
            tensor.sparse for graph in parse(path.read_bytes()).subgraphs for tensor in graph.tensors
        ):
            raise ModelError(
                "sparse changes nothing, since no weights are mostly zero: put a Pruner before, or leave it out"
            )
        converted = work.finished(path, given, "float")
        if recipe is None or recipe.precisions == {"float32"}:
            return converted
        return work.quantized(recipe, calibration, given)


@dataclass(frozen=True)
class _Work:
    """One conversion under way, in a folder of its own."""

    source: Source
    written: Written
    batch_size: int | None
    operators: Operators
    folder: Path

    def converted(self, name: str, setup: quantization.Setup | None = None) -> Path:
        path = self.folder / name
        path.write_bytes(tf_converter.run(self.written, self.operators, setup))
        unknown = [op.name for op in inspect(path).custom_ops if op.name not in self.operators.custom]
        if unknown:
            raise ModelError(
                f"the .tflite needs kernels for the custom operators {', '.join(unknown)}, but allow_custom_ops names "
                f"{', '.join(self.operators.custom) or 'none'}: replace the layers that use them, or name them too if "
                "the device has such kernels"
            )
        return path

    def finished(self, path: Path, batches: Sequence[Batch], kind: Kind, **more: Any) -> Conversion:
        agreements = agreement.compare_source(
            path, self.source, self.written, batches, batch_size=self.batch_size, kind=kind
        )
        shaping = () if self.batch_size else _shape_operators(path)
        return Conversion(
            path.read_bytes(), kind == "quantization_aware", agreements, dynamic_batch_operators=shaping, **more
        )

    def quantized(self, recipe: Recipe, calibration: Iterable[Batch], batches: Sequence[Batch]) -> Conversion:
        before, path = self.folder / "float.tflite", self.folder / "quantized.tflite"
        chosen = backend.choose(before, recipe)
        examples = list(calibration)
        calibrated = None
        if recipe.calibrated:
            if not examples:
                raise DataError("the recipe needs calibration examples, and there are none: give a split that has some")
            calibrated = calibrate_halves(before, examples, recipe.calibration, recipe.activation_bits)
        if chosen == "converter":
            setup = quantization.after_training(recipe, self.source, self.written, examples)
            path = self.converted("quantized.tflite", setup)
            path.write_bytes(repairs.repaired(path.read_bytes()))
            report = quantization.report(path, before, recipe)
        else:
            result = quantize(before, recipe, statistics=calibrated.statistics if calibrated else None)
            path.write_bytes(result.content)
            report = result.report
        # Other inputs may lie beyond the learnt ranges.
        first = examples[:_COMPARED]
        compared = batches or [select_features(example, list(self.source.main.specs)) for example in first]
        return self.finished(path, compared, "post_training", report=report, backend=chosen, calibrated=calibrated)


def _shape_operators(path: Path) -> tuple[str, ...]:
    operators = (op for graph in inspect(path).subgraphs for op in graph.ops)
    return tuple(op.name for op in operators if op.kind == OTHER and op.name not in CONTROL_FLOW)
