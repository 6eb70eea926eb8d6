"""Post-training quantization of a ``.tflite`` by a recipe, proven from the file that comes out.

The work is done by litert-quantizer, which needs no TensorFlow. It may leave layers as they were without saying so;
every result is inspected layer by layer, and a step that changed nothing is an error.
"""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import ConfigError, DataError, ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.lite.layers import layers_of
from tfx_edge.quantization import rules
from tfx_edge.quantization.calibration import calibrate
from tfx_edge.quantization.finishing import with_usable_blocks
from tfx_edge.quantization.preparation import QuantizationInput
from tfx_edge.quantization.recipe import CALIBRATED, Recipe
from tfx_edge.quantization.report import LayerOutcome, QuantizationReport, compare
from tfx_edge.quantization.rules import Plan

_LISTED = 5


@dataclass(frozen=True)
class Quantized:
    """A quantized model.

    Attributes:
      content: the flatbuffer.
      model: what inspecting it found; ``path`` is that of a temporary file.
      report: what happened to every layer.
    """

    content: bytes
    model: LiteModel
    report: QuantizationReport


def quantize(
    path: str | Path,
    recipe: Recipe,
    calibration: Iterable[dict[str, np.ndarray]] = (),
    statistics: Mapping[str, Any] | None = None,
) -> Quantized:
    """Quantizes a float model.

    Args:
      path: the float ``.tflite``.
      recipe: which precision for which layer.
      calibration: examples for a recipe that is calibrated, one a time: feature name to array whose first dimension
        is 1.
      statistics: what an earlier calibration of this file found, instead of ``calibration``.

    Returns:
      The quantized flatbuffer and what became of every layer.

    Raises:
      ConfigError: the recipe is not for quantizing after training.
      DataError: the recipe needs calibration examples and there are none, or none that runs some signature.
      ModelError: the file cannot be quantized, an override names no layer, nothing was changed, or a layer that should
        compute in integers does not.
    """
    if recipe.preset == "qat_int8":
        raise ConfigError("recipe 'qat_int8' trains; quantize a .tflite by 'int8' or another recipe")
    before, source = inspect(path), QuantizationInput(path)
    raw, plans = _planned(source, recipe)
    _refuse_in_vain(path, recipe, plans)
    if not recipe.calibrated:
        statistics = None
    elif statistics is None:
        statistics = calibrate(path, calibration, recipe.calibration, recipe.activation_bits)
    source.widen([plan.layer.name for plan in plans if plan.planned is not None])
    source.make_lookups([plan.layer.name for plan in plans if plan.planned not in {None, *CALIBRATED}])
    ranges = None if statistics is None else _ranges(path, source, plans, statistics)
    content = _run(path, source, rules.rules(plans, raw, recipe), ranges)
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        result = Path(scratch, "quantized.tflite")
        result.write_bytes(content)
        if any(plan.planned == "int4_blockwise" for plan in plans):
            content = with_usable_blocks(result)
            result.write_bytes(content)
        after = inspect(result)
    report = compare(plans, layers_of(flatbuffer.parse(content)), after.size_bytes, before.size_bytes)
    _check(path, recipe, plans, report)
    _check_edges(path, recipe, before, after)
    return Quantized(content, after, report)


def foresee(path: str | Path, recipe: Recipe) -> tuple[Plan, ...]:
    """What `quantize` is going to do with every layer, without doing it.

    Raises:
      ModelError: the file cannot be read, or an override names no layer.
    """
    return _planned(QuantizationInput(path), recipe)[1]


def _planned(source: QuantizationInput, recipe: Recipe) -> tuple[flatbuffer.RawModel, tuple[Plan, ...]]:
    raw = flatbuffer.parse(source.content)
    outer = rules.outer_subgraphs(raw)
    return raw, rules.plan(layers_of(raw), recipe, source.lookups(), outer)


def _run(path: str | Path, source: QuantizationInput, rules: list[Any], statistics: Mapping[str, Any] | None) -> bytes:
    from litert_quantizer.quantizer import Quantizer

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            engine = Quantizer(bytearray(source.content), rules)
            quantized = engine.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
        return bytes(quantized.quantized_model)
    except Exception as error:  # it fails in whatever way an unforeseen model leads to
        raise ModelError(f"{path} cannot be quantized: {type(error).__name__}: {error}") from error


def _ranges(
    path: str | Path, source: QuantizationInput, plans: tuple[Plan, ...], statistics: Mapping[str, Any]
) -> dict[str, Any]:
    """A copy of the statistics for the tensors of the source, since litert-quantizer writes into what it is given.

    Weights get none: it would take their ranges from there, and one range for all channels.

    Raises:
      DataError: an activation of a layer that is to compute in integers has no range.
    """
    graphs = flatbuffer.parse(source.content).subgraphs
    active = [[t for t in graph.tensors if not (t.constant or t.variable)] for graph in graphs]
    names = {tensor.name: source.renamed.get(tensor.name, tensor.name) for tensors in active for tensor in tensors}
    ranges = {new: copy.deepcopy(statistics[old]) for new, old in names.items() if old in statistics}
    missing = {
        plan.layer.subgraph: output
        for plan in plans
        for output in plan.layer.outputs
        if plan.planned in CALIBRATED and output in names and output not in ranges
    }
    if missing:
        number, tensor = next(iter(missing.items()))
        inputs = ", ".join(repr(graphs[number].tensors[index].name) for index in graphs[number].inputs)
        raise DataError(
            f"calibration found no range of {tensor!r} in {path}: no example ran the part of the model with the inputs "
            f"{inputs}. Give examples with the features of every signature"
        )
    return ranges


def _refuse_in_vain(path: str | Path, recipe: Recipe, plans: tuple[Plan, ...]) -> None:
    """Fails before any work where no layer can be changed, or one that must compute in integers cannot."""
    floats = [plan for plan in plans if plan.missed and plan.wanted in CALIBRATED and plan.layer.kind != "integer"]
    _refuse_floats(path, recipe, [(plan.layer.op, plan.layer.name, plan.why) for plan in floats])
    if all(plan.planned is None for plan in plans):
        reasons = dict.fromkeys(f"{plan.layer.op}: {plan.why}" for plan in plans if plan.missed)
        found = "; ".join([*reasons][:_LISTED]) or "every layer that could has the precision already"
        raise ModelError(f"recipe {recipe.preset!r} would change nothing in {path}: {found}")


def _check(path: str | Path, recipe: Recipe, plans: tuple[Plan, ...], report: QuantizationReport) -> None:
    floats = [o for o in report.missed if o.wanted in CALIBRATED and o.got not in CALIBRATED]
    _refuse_floats(path, recipe, [(o.op, o.name, o.why) for o in floats])
    if all(outcome.got == plan.layer.precision for outcome, plan in zip(report.layers, plans, strict=True)):
        raise ModelError(
            f"quantizing {path} by recipe {recipe.preset!r} changed nothing: {_summary(report.missed) or 'no layer'}"
        )


def _refuse_floats(path: str | Path, recipe: Recipe, floats: list[tuple[str, str, str]]) -> None:
    if not floats:
        return
    named = ", ".join(f"{op} {name!r} ({why})" for op, name, why in floats[:_LISTED])
    more = f" and {len(floats) - _LISTED} more" if len(floats) > _LISTED else ""
    raise ModelError(
        f"recipe {recipe.preset!r} asks for integers, but in {path} these layers would stay in float: {named}{more}. "
        "Give the recipe to LiteConverter, whose converter knows more operators, or keep these layers in float by an "
        'override {"layers": "<pattern of their names>", "precision": "float32"}, or take recipe \'dynamic_int8\''
    )


def _check_edges(path: str | Path, recipe: Recipe, before: LiteModel, after: LiteModel) -> None:
    was_float = [tensor.dtype == "float32" for tensor in (*before.inputs, *before.outputs)]
    wrong = [
        f"{tensor.name!r} is {tensor.dtype}"
        for tensor, real in zip((*after.inputs, *after.outputs), was_float, strict=True)
        if real and tensor.dtype != recipe.io
    ]
    if wrong:
        raise ModelError(f"inputs and outputs of {path} should be {recipe.io}, but {', '.join(wrong)}")


def _summary(outcomes: tuple[LayerOutcome, ...]) -> str:
    return "; ".join(f"{o.op} {o.name!r}: {o.why}" for o in outcomes[:_LISTED])
