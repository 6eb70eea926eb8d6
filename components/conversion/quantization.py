"""Post-training quantization inside TensorFlow's converter, and quantization of a model that was trained for it.

The converter runs the examples through the float graph, so that it learns the ranges inside a fused LSTM too (Alvarez
and others, "On the efficient representation and execution of deep acoustic models", 2016, is the scheme of its gates).
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization describes the modes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.conversion.source import Source, Written
from tfx_edge.errors import ModelError
from tfx_edge.lite.inspect import inspect
from tfx_edge.lite.layers import Layer, layers
from tfx_edge.models.features import select_features
from tfx_edge.quantization.recipe import CALIBRATED, Recipe
from tfx_edge.quantization.report import LayerOutcome, QuantizationReport

Examples = Sequence[dict[str, np.ndarray]]
Setup = Callable[[Any], None]

_LISTED = 5


def after_training(recipe: Recipe, source: Source, written: Written, calibration: Examples) -> Setup:
    """Sets the converter up for a recipe.

    Args:
      recipe: one that the converter can do (`tfx_edge.quantization.backend.converter_obstacle`).
      source: what is converted.
      written: the same as a SavedModel.
      calibration: examples of one row each.
    """

    def setup(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if recipe.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if recipe.precision not in CALIBRATED:
            return
        sets = tf.lite.OpsSet
        wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [wide if recipe.precision == "int16x8" else sets.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _fed(source, written, calibration)
        if recipe.io != "float32":
            converter.inference_input_type = converter.inference_output_type = getattr(tf, recipe.io)

    return setup


def without_zeros(converter: Any) -> None:
    """Sets the converter up to store float weights that are mostly zero without their zeros.

    The interpreter fills them in as it loads the file; XNNPACK refuses such weights where they are quantized.
    """
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]


def while_training(recipe: Recipe | None) -> Setup:
    """Sets the converter up for a model that simulates quantization: the ranges are in the model itself.

    Raises:
      ModelError: the recipe is for another kind of model.
    """
    if recipe and (recipe.precision != "int8" or recipe.overrides):
        raise ModelError(
            f"recipe {recipe.preset!r} cannot be applied to a model that was trained quantization-aware for int8: use "
            "'int8', 'int8_float_io' or none"
        )

    def setup(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if recipe and recipe.io != "float32":
            converter.inference_input_type = converter.inference_output_type = getattr(tf, recipe.io)

    return setup


def check_edges(path: Path, recipe: Recipe | None) -> None:
    """Compares the types of a quantization-aware model's inputs and outputs with the recipe.

    Integers without a scale, such as indices, are not quantized by any recipe.

    Args:
      path: the ``.tflite``.
      recipe: what was asked; none asks for floats.

    Raises:
      ModelError: an input or output has another type.
    """
    wanted, model = recipe.io if recipe else "float32", inspect(path)
    edges = [edge for edge in (*model.inputs, *model.outputs) if edge.dtype == "float32" or edge.scale is not None]
    wrong = [f"{edge.name!r} is {edge.dtype}" for edge in edges if edge.dtype != wanted]
    if wrong:
        raise ModelError(
            f"the recipe asks for inputs and outputs of {wanted}, but {', '.join(wrong)}: "
            f"take 'int8_float_io' here, or io_dtype {wanted!r} in the recipe of the Quantizer that trained the model"
        )


def report(path: Path, before: Path, recipe: Recipe) -> QuantizationReport:
    """What became of every layer, read from the file.

    The converter fuses other operators when it quantizes, so these are the layers of the quantized file.

    Args:
      path: the quantized ``.tflite``.
      before: the float one.
      recipe: what was asked.

    Raises:
      ModelError: nothing was changed, or layers compute in float that should not.
    """
    found = layers(path)
    outcomes = tuple(_outcome(layer, recipe.precision_of(layer.name)) for layer in found)
    result = QuantizationReport(outcomes, path.stat().st_size, before.stat().st_size)
    floats = [layer for layer in found if recipe.precision in CALIBRATED and layer.kind != "integer"]
    if floats:
        named = ", ".join(map(str, floats[:_LISTED]))
        more = f" and {len(floats) - _LISTED} more" if len(floats) > _LISTED else ""
        raise ModelError(
            f"recipe {recipe.preset!r} asks for integers, but TensorFlow's converter leaves in float: {named}{more}. "
            "Make a GRU with unroll=True and implementation=1, replace these layers, take recipe 'dynamic_int8', or "
            "train quantization-aware"
        )
    if all(outcome.got == "float32" for outcome in outcomes):
        raise ModelError(
            f"recipe {recipe.preset!r} changed nothing: TensorFlow's converter left all of {len(outcomes)} layers in "
            "float32 (it leaves weights of fewer than 1,024 numbers alone)"
        )
    return result


def _outcome(layer: Layer, wanted: str) -> LayerOutcome:
    why = "" if layer.precision == wanted else f"TensorFlow's converter left it {layer.precision}"
    return LayerOutcome(layer.name, layer.op, layer.elements, wanted, layer.precision, why)


def _fed(source: Source, written: Written, examples: Examples) -> Iterator[Any]:
    """The examples as the converter takes them: with the signature's key where there are several."""
    for example in examples:
        for key, entry in zip(written.keys, source.entry_points, strict=True):
            if not entry.specs:
                continue
            features = select_features(example, list(entry.specs))
            inputs = {
                name: np.asarray(values, entry.specs[name].dtype.as_numpy_dtype) for name, values in features.items()
            }
            yield inputs if len(written.keys) == 1 else (key, inputs)
